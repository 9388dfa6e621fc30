"""The doors that are not AWS APIs and that Moorage itself answers: health, status, reset."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

import moorage

if TYPE_CHECKING:
    from moorage.gateway.server import Gateway

Door = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Hooks(msgspec.Struct, frozen=True):
    """`reset` empties everything; `status` tells the state as a dict; `health` names further services and their state."""

    reset: Callable[[], Awaitable[None]] | None = None
    status: Callable[[], dict[str, Any]] | None = None
    health: Callable[[], dict[str, str]] | None = None


def built_in(gateway: Gateway) -> list[tuple[str, Door]]:
    async def health(request: web.BaseRequest) -> web.StreamResponse:
        """In the shape that LocalStack users know."""
        if request.method == "POST":
            return _json({"message": "Nothing to do."})
        services = dict.fromkeys(gateway.handlers, "running")
        if gateway.hooks.health is not None:
            services = {**gateway.hooks.health(), **services}
        return _json({"services": dict(sorted(services.items())), "edition": "moorage", "version": moorage.__version__})

    async def reset(request: web.BaseRequest) -> web.StreamResponse:
        if request.method != "POST":
            return _json({"message": "Send a POST to empty everything: curl -X POST …/_moorage/state/reset"}, 405)
        if gateway.hooks.reset is None:
            return _json({"message": "Nothing here can be reset."}, 501)
        await gateway.hooks.reset()
        return _json({"status": "ok"})

    async def status(_request: web.BaseRequest) -> web.StreamResponse:
        return _json(gateway.hooks.status() if gateway.hooks.status is not None else {})

    async def unknown(request: web.BaseRequest) -> web.StreamResponse:
        return _json(
            {"message": f"There is no door {request.path}. There are /_moorage/health, /_moorage/status and more."}, 404
        )

    doors: list[tuple[str, Door]] = [
        ("/_moorage/state/reset", reset),
        ("/_localstack/state/reset", reset),
        ("/_localstack/health", health),
        ("/_moorage/health", health),
        ("/_moorage/status", status),
        ("/_localstack", unknown),
        ("/_moorage", unknown),
    ]
    return sorted(doors, key=lambda door: -len(door[0]))


def is_from_a_page(request: web.BaseRequest) -> bool:
    """A web page of somebody else's may make a browser send a POST to this machine; it cannot hide that it did."""
    origin = request.headers.get("Origin")
    if origin is None:
        return False
    host = origin.partition("://")[2].rsplit(":", 1)[0]
    return host not in ("localhost", "127.0.0.1", "[::1]") and not host.endswith(".localhost")


def refused_page() -> web.Response:
    return _json({"message": "Web pages may not change anything here. Use the moor command."}, 403)


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")
