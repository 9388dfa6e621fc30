"""The HTTP front door: one port for every AWS API and for the doors beside them.

Decides which door a request belongs to, reads bodies within limits and writes responses. Must not know what any call means;
AWS calls go down the `chain`.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import Awaitable, Callable, Container, Mapping
from typing import Any

from aiohttp import ClientPayloadError, web
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict

from moorage.domain.clock import Clock, Ids
from moorage.domain.errors import AwsError
from moorage.gateway import chain, doors
from moorage.gateway.credentials import SessionLookup
from moorage.gateway.exchange import Exchange, Forward
from moorage.gateway.limits import body_limit
from moorage.services.base import Handler, Provider
from moorage.settings import Settings
from moorage.wire import model
from moorage.wire.messages import WireRequest, WireResponse

log = logging.getLogger(__name__)

# Presigned URLs and session tokens are longer than the 8 KiB that HTTP servers usually take.
LONGEST_LINE = 65536

DoorHandler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Gateway:
    """The one AWS endpoint. Register providers, a fallback and doors, then `start`. `port` is the first one listened on."""

    def __init__(self, settings: Settings, clock: Clock, ids: Ids) -> None:
        self.settings = settings
        self.clock = clock
        self.ids = ids
        self.handlers: dict[str, dict[str, Handler]] = {}
        self.own_services = model.index_of(())
        self.fallback: Forward | None = None
        self.session_lookup: SessionLookup | None = None
        self.hooks = doors.Hooks()
        self.started_at = clock.now()
        self.port = 0
        self._mixed: Container[str] = ()
        self._forwarded: Container[str] | None = None
        self._doors: list[tuple[str, DoorHandler]] = doors.built_in(self)
        self._server: web.Server | None = None
        self._listeners: list[asyncio.AbstractServer] = []

    # ── registration ─────────────────────────────────────────────────────────────────────────────────────────────────

    def add_provider(self, provider: Provider) -> None:
        """Serves the provider's operations. Several providers may share a service, but not an operation."""
        mine = self.handlers.setdefault(provider.service, {})
        for name, handler in provider.handlers().items():
            if name in mine:
                raise ValueError(f"{provider.service}:{name} has two handlers")
            mine[name] = handler
        self.own_services = model.index_of(self.handlers)

    def add_fallback(
        self, forward: Forward, *, services: Container[str] | None = None, mixed: Container[str] = frozenset()
    ) -> None:
        """Hands services without a provider to `forward` (only those in `services`, when given). `mixed` names services
        with a provider whose missing operations are handed on too; otherwise those are refused, because the state that
        they would need is not there."""
        self.fallback, self._forwarded, self._mixed = forward, services, mixed

    def add_route(self, prefix: str, handler: DoorHandler) -> None:
        """A door that is not an AWS API: every path that is or is below `prefix`. The longest prefix wins."""
        self._doors.append((prefix.rstrip("/"), handler))
        self._doors.sort(key=lambda door: -len(door[0]))

    def set_session_lookup(self, lookup: SessionLookup) -> None:
        self.session_lookup = lookup

    def set_hooks(
        self,
        *,
        reset: Callable[[], Awaitable[None]] | None = None,
        status: Callable[[], dict[str, Any]] | None = None,
        health: Callable[[], dict[str, str]] | None = None,
    ) -> None:
        """What the built-in doors call: empty everything, tell the state, name further services that run."""
        self.hooks = doors.Hooks(reset or self.hooks.reset, status or self.hooks.status, health or self.hooks.health)

    # ── asked by the chain ───────────────────────────────────────────────────────────────────────────────────────────

    def forwards(self, service: str) -> bool:
        if self.fallback is None or (self._forwarded is not None and service not in self._forwarded):
            return False
        return service not in self.handlers or service in self._mixed

    def session_of(self, access_key_id: str, session_token: str) -> tuple[str, str] | None:
        return self.session_lookup.session_of(access_key_id, session_token) if self.session_lookup else None

    # ── serving ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def start(self, host: str | None = None, port: int | None = None) -> int:
        """Listens (by default where the settings say) and returns the port; may be called for several addresses. Raises
        OSError when the port is taken."""
        if self._server is None:
            self._server = web.Server(
                self._handle,
                access_log=None,
                auto_decompress=False,
                keepalive_timeout=75.0,
                max_line_size=LONGEST_LINE,
                max_field_size=LONGEST_LINE,
            )
        listener = await asyncio.get_running_loop().create_server(
            self._server, host or self.settings.host, self.settings.port if port is None else port, backlog=1024
        )
        self._listeners.append(listener)
        found: int = listener.sockets[0].getsockname()[1]
        self.port = self.port or found
        return found

    async def close(self, grace: float = 5.0) -> None:
        """Stops listening, lets running requests finish for `grace` seconds, then cuts them."""
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        if self._server is not None:
            self._server.pre_shutdown()
            await self._server.shutdown(grace)
            self._server = None

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        target = request.raw_path
        if not target.startswith("/"):  # absolute form, as sent to proxies
            target = request.rel_url.raw_path_qs
        if target != "/":
            door = self._door(request, target.partition("?")[0])
            if door is not None:
                if request.method != "GET" and doors.is_from_a_page(request):
                    return doors.refused_page()
                await _continue(request)
                return await door(request)
        return await self._aws(request, target)

    def _door(self, request: web.BaseRequest, path: str) -> DoorHandler | None:
        """The door with the longest prefix that is the path or above it."""
        for prefix, handler in self._doors:
            if path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in ("", "/"):
                # API Gateway's version 2 API lives under /v2/ like the image registry; only AWS clients sign.
                return None if prefix == "/v2" and _is_signed_for_aws(request) else handler
        return None

    async def _aws(self, request: web.BaseRequest, target: str) -> web.StreamResponse:
        path, _, query = target.partition("?")
        request_id = self.ids.uuid()
        try:
            body, headers = await read_body(request, body_limit(request))
        except BodyRefused as refused:
            wire = WireRequest(request.method, path, query, request.headers, b"")
            exchange = Exchange(wire, request_id, request.remote or "")
            response = _to_http(chain.refuse(exchange, refused.error), wire)
            response.force_close()
            return response
        wire = WireRequest(request.method, path, query, headers, body)
        exchange = Exchange(wire, request_id, request.remote or "")
        answer = await chain.answer(self, exchange)
        if isinstance(answer.body, bytes):
            return _to_http(answer, wire)
        return await _stream(request, answer)


def _is_signed_for_aws(request: web.BaseRequest) -> bool:
    return request.headers.get("Authorization", "").startswith("AWS4-")


class BodyRefused(Exception):
    def __init__(self, error: AwsError) -> None:
        super().__init__(str(error))
        self.error = error


async def read_body(request: web.BaseRequest, limit: int) -> tuple[bytes, Mapping[str, str]]:
    """The whole body, decompressed, and the headers that describe it; `BodyRefused` beyond `limit` bytes."""
    if "Expect" in request.headers:
        await _continue(request)
    if not request.can_read_body:
        return b"", request.headers
    length = request.content_length
    if length is not None and length > limit:
        raise BodyRefused(_too_large(limit))
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in request.content.iter_any():
            size += len(chunk)
            if size > limit:
                raise BodyRefused(_too_large(limit))
            chunks.append(chunk)
    except (ConnectionError, web.HTTPException, HttpProcessingError, ClientPayloadError, ValueError) as error:
        raise BodyRefused(AwsError("IncompleteBody", "The request body could not be read.")) from error
    body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
    encoding = request.headers.get("Content-Encoding", "")
    if encoding in ("gzip", "deflate") and "/s3/" not in request.headers.get("Authorization", ""):
        headers = CIMultiDict(request.headers)
        del headers["Content-Encoding"]
        return _decompress(body, limit), headers
    return body, request.headers


def _decompress(body: bytes, limit: int) -> bytes:
    engine = zlib.decompressobj(wbits=47)
    try:
        plain = engine.decompress(body, limit + 1)
    except zlib.error:
        raise BodyRefused(AwsError("SerializationException", "The compressed body could not be read.")) from None
    if len(plain) > limit:
        raise BodyRefused(_too_large(limit))
    return plain


def _too_large(limit: int) -> AwsError:
    return AwsError("RequestEntityTooLarge", f"The request body is larger than {limit} bytes.", status=413)


async def _continue(request: web.BaseRequest) -> None:
    """Tells a client that waits with its body to go on."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0


def _to_http(answer: WireResponse, request: WireRequest) -> web.Response:
    body = answer.body
    assert isinstance(body, bytes)
    headers = CIMultiDict(answer.headers)
    if request.method == "HEAD":
        # A fallback answers HEAD with the length of the body it does not send.
        response = web.Response(status=answer.status, headers=headers)
    else:
        headers.pop("Content-Length", None)
        headers.pop("Transfer-Encoding", None)
        response = web.Response(status=answer.status, body=body, headers=headers)
    return response


async def _stream(request: web.BaseRequest, answer: WireResponse) -> web.StreamResponse:
    assert not isinstance(answer.body, bytes)
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    try:
        await response.prepare(request)
        async for chunk in answer.body:
            await response.write(chunk)
        await response.write_eof()
    except ConnectionError:
        log.debug("The client left in the middle of a stream.")
    finally:
        close = getattr(answer.body, "aclose", None)
        if close is not None:
            await close()
    return response
