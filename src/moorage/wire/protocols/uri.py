"""REST operations by method and path: the URI templates of a model as one matcher."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

import msgspec

from moorage.wire.messages import WireRequest
from moorage.wire.model import Service

_LABEL = re.compile(r"\{([^}]+)\}")


class Route(msgspec.Struct, frozen=True):
    """`needed` are query parameters that the template spells out; `hinted` are required ones, which only break ties.
    `rank` orders routes: more literal path first, then more spelled-out query, deprecated operations last."""

    operation: str
    pattern: re.Pattern[str]
    labels: tuple[str, ...]
    needed: tuple[tuple[str, str | None], ...]
    hinted: tuple[tuple[str, str], ...]
    rank: tuple[int, int, int, bool]


class Match(msgspec.Struct, frozen=True):
    operation: str
    labels: dict[str, str]


class Router:
    def __init__(self, service: Service) -> None:
        self._routes: dict[str, list[Route]] = {}
        for name in sorted(service.operation_names):
            http = service.description["operations"][name].get("http", {})
            self._routes.setdefault(http.get("method", "POST"), []).append(_route(service, name, http))
        for routes in self._routes.values():
            routes.sort(key=lambda route: route.rank, reverse=True)

    def match(self, request: WireRequest) -> Match | None:
        """The most specific operation for the request's method, path and query string."""
        best: tuple[tuple[Any, ...], Match] | None = None
        query: dict[str, str] | None = None
        for route in self._routes.get(request.method, ()):
            found = route.pattern.match(request.path)
            if found is None:
                continue
            if query is None:
                query = dict(request.query_items())
            if not all(key in query and value in (None, query[key]) for key, value in route.needed):
                continue
            hints = [key in query if where == "querystring" else key in request.headers for where, key in route.hinted]
            score = (*route.rank, all(hints), len(hints))
            if best is None or score > best[0]:
                labels = {
                    name: unquote(text)
                    for name, text in zip(route.labels, found.groups(), strict=True)
                    if text is not None
                }
                best = (score, Match(route.operation, labels))
        return best[1] if best else None


def _route(service: Service, name: str, http: dict[str, Any]) -> Route:
    template, _, query = http.get("requestUri", "/").partition("?")
    labels: list[str] = []
    position = literals = 0
    parts: list[str] = []
    for label in _LABEL.finditer(template):
        literal = template[position : label.start()]
        literals += len(literal.strip("/").split("/")) if literal.strip("/") else 0
        parts.append(re.escape(literal))
        greedy = label[1].endswith("+")
        labels.append(label[1].rstrip("+"))
        parts.append("(.+)" if greedy else "([^/]+)")
        position = label.end()
    rest = template[position:].rstrip("/")
    literals += len(rest.strip("/").split("/")) if rest.strip("/") else 0
    parts.append(re.escape(rest))
    needed = tuple(
        (key, value if equals else None)
        for key, equals, value in (item.partition("=") for item in query.split("&") if item)
    )
    return Route(
        operation=name,
        pattern=re.compile("^" + "".join(parts) + "/?$", re.DOTALL),
        labels=tuple(labels),
        needed=needed,
        hinted=_required(service, name),
        rank=(literals, len(needed), -len(labels), not service.description["operations"][name].get("deprecated")),
    )


def _required(service: Service, name: str) -> tuple[tuple[str, str], ...]:
    """Required members that travel in the query string or in headers."""
    described = service.description
    reference = described["operations"][name].get("input")
    shape = described["shapes"].get(reference["shape"]) if reference else None
    if not shape:
        return ()
    members = shape.get("members", {})
    return tuple(
        (member["location"], member.get("locationName", key))
        for key in shape.get("required", ())
        if (member := members.get(key, {})).get("location") in ("querystring", "header")
    )


def router_of(service: Service) -> Router:
    found = service.codecs.get("router")
    if found is None:
        found = service.codecs["router"] = Router(service)
    return found
