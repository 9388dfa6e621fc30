"""Contents that an API gives out by address, as AWS does with pre-signed URLs: `GET /_moorage/downloads/<token>`.

Ten minutes, an address that nobody can guess, and no more of them than `MOST`: what is older goes first. Nothing of this
survives a restart.
"""

from __future__ import annotations

from aiohttp import web

from moorage.domain.clock import Clock, Ids

VALID = 600.0
"""Seconds (semantics elbv2 §3)."""
MOST = 100


class DownloadsDoor:
    path = "/_moorage/downloads/"

    def __init__(self, clock: Clock, ids: Ids, *, port: int) -> None:
        self._clock = clock
        self._ids = ids
        self._base = f"http://localhost:{port}{self.path}"
        self._offers: dict[str, tuple[float, bytes]] = {}

    def offer(self, content: bytes) -> str:
        """An address that answers with `content` for ten minutes, and that nobody can guess."""
        token = self._ids.url_safe(43)
        self._offers[token] = (self._clock.now() + VALID, content)
        while len(self._offers) > MOST:
            del self._offers[next(iter(self._offers))]
        return self._base + token

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        expires, content = self._offers.get(request.path.removeprefix(self.path), (0.0, b""))
        if expires < self._clock.now():
            return web.json_response(
                {"message": "This address is not valid, or not any more. Ask for it again."}, status=403
            )
        return web.Response(body=content, content_type="application/x-pem-file")
