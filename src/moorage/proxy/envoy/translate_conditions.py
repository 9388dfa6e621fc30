"""Rule conditions → Envoy's RouteMatch. Pure. Source: semantics elbv2 §6.

Conditions are AND-ed, the values of one are OR-ed. `*` is any number of characters, `?` exactly one. Envoy matches a
safe_regex against the whole text.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Any

from moorage.domain.load_balancer import Condition

PEER = "envoy.network.ip"
"""Filter state in which every listener keeps the address of the TCP peer."""


def route_match(conditions: Iterable[Condition]) -> dict[str, Any]:
    """The RouteMatch of a rule; of the default rule with no conditions."""
    match: dict[str, Any] = {}
    headers: list[dict[str, Any]] = []
    peers: list[dict[str, Any]] = []
    for condition in conditions:
        if condition.field == "path-pattern":
            match.update(_path(condition))
        elif condition.field == "source-ip":
            ranges = [_cidr(value) for value in condition.values]
            peers.append({"key": PEER, "address_match": {"ranges": ranges}})
        else:
            headers.append(_HEADER_MATCHERS[condition.field](condition))
    if not match:
        match["prefix"] = "/"
    if headers:
        match["headers"] = headers
    if peers:
        match["filter_state"] = peers
    return match


def path_beginnings(conditions: Iterable[Condition]) -> tuple[str, ...] | None:
    """Every path that matches begins with one of these letters; None when that cannot be told."""
    for condition in conditions:
        if condition.field == "path-pattern" and not condition.regex:
            found = tuple(re.split(r"[*?]", value, maxsplit=1)[0] for value in condition.values)
            return found if all(found) else None
    return None


def wildcards(pattern: str, *, any_char: str = ".", escapes: bool = False) -> str:
    """AWS's wildcards as a regular expression. `escapes`: `\\*` and `\\?` mean the characters themselves."""
    out: list[str] = []
    characters = iter(pattern)
    for c in characters:
        if escapes and c == "\\":
            out.append(re.escape(next(characters, "\\")))
        elif c == "*":
            out.append(f"{any_char}*")
        elif c == "?":
            out.append(any_char)
        else:
            out.append(re.escape(c))
    return "".join(out)


def _path(condition: Condition) -> dict[str, Any]:
    """Cheap matchers where they say the same: 20 literal or prefix rules cost less than 20 regular expressions."""
    if condition.regex:
        return {"safe_regex": {"regex": _searched(condition.regex)}}
    if len(condition.values) == 1:
        value = condition.values[0]
        if not set("*?") & set(value):
            return {"path": value}
        if value.endswith("*") and not set("*?") & set(value[:-1]):
            return {"prefix": value[:-1] or "/"}
    return {"safe_regex": {"regex": _any_of(wildcards(value) for value in condition.values)}}


def _host(condition: Condition) -> dict[str, Any]:
    if condition.regex:
        return _header(":authority", f"(?i){_searched(condition.regex)}")
    return _header(":authority", f"(?i){_any_of(wildcards(value) for value in condition.values)}(?::\\d+)?")


def _http_header(condition: Condition) -> dict[str, Any]:
    name = (condition.header or "").lower()
    if condition.regex:
        return _header(name, f"(?i){_searched(condition.regex)}")
    return _header(name, f"(?i){_any_of(wildcards(value, escapes=True) for value in condition.values)}")


def _method(condition: Condition) -> dict[str, Any]:
    if len(condition.values) == 1:
        return {"name": ":method", "string_match": {"exact": condition.values[0]}}
    return _header(":method", _any_of(re.escape(value) for value in condition.values))


def _query(condition: Condition) -> dict[str, Any]:
    """Envoy's own matcher wants one exact key; a regular expression over the whole `:path` can say AWS's rules."""

    def one(key: str | None, value: str) -> str:
        text = wildcards(value, any_char="[^&]", escapes=True)
        if key is None:
            return f"(?:[^&=]*=)?{text}"
        return f"{wildcards(key, any_char='[^&=]', escapes=True)}={text}"

    return _header(":path", rf"(?i)[^?]*\?(?:.*&)?{_any_of(one(k, v) for k, v in condition.pairs)}(?:&.*)?")


def _cidr(value: str) -> dict[str, Any]:
    network = ipaddress.ip_network(value, strict=False)
    return {"address_prefix": str(network.network_address), "prefix_len": network.prefixlen}


def _any_of(alternatives: Iterable[str]) -> str:
    return f"(?:{'|'.join(alternatives)})"


def _searched(patterns: Iterable[str]) -> str:
    """Regex values match anywhere unless they are anchored."""
    return _any_of(f"(?s:.*)(?:{pattern})(?s:.*)" for pattern in patterns)


def _header(name: str, regex: str) -> dict[str, Any]:
    return {"name": name, "string_match": {"safe_regex": {"regex": regex}}}


_HEADER_MATCHERS = {
    "host-header": _host,
    "http-header": _http_header,
    "http-request-method": _method,
    "query-string": _query,
}
