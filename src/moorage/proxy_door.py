"""The door behind `moor proxy restart`: a new Envoy takes over from the running one.

    POST /_moorage/proxy/restart

Answers when the new process serves. Its failure is the caller's answer; the old process serves on then.
"""

from __future__ import annotations

from typing import Any, Protocol

from aiohttp import web

from moorage.domain.errors import MoorageError


class RestartableProxy(Protocol):
    async def restart(self) -> bool: ...

    def status(self) -> dict[str, Any]: ...


class ProxyDoor:
    path = "/_moorage/proxy/restart"

    def __init__(self, proxy: RestartableProxy) -> None:
        self._proxy = proxy

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method != "POST":
            return web.json_response({"message": "Send a POST."}, status=405)
        before = self._proxy.status()["pid"]
        try:
            taken_over = await self._proxy.restart()
        except MoorageError as error:
            return web.json_response({"message": str(error)}, status=503)
        pid = self._proxy.status()["pid"]
        return web.json_response({"before": before, "pid": pid, "without_a_gap": taken_over})
