"""Real backends and a client that sees every byte of the head: what the tests of a real Envoy talk through."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
from aiohttp import WSMsgType, web

from moorage.proxy.driver import Endpoint

Address = tuple[str, int]


class Answer(msgspec.Struct, frozen=True):
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        values = self.all(name)
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name]

    @property
    def seen(self) -> Any:
        """What the backend saw."""
        return msgspec.json.decode(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


async def ask(
    address: Address,
    path: str = "/",
    *,
    host: str | None = "any.example.com",
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    version: str = "1.1",
    source: str | None = None,
    raw_headers: Sequence[str] = (),
) -> Answer:
    """One request on one connection. `host` None sends no Host. `raw_headers`: lines, where a name comes twice."""
    head = [f"{method} {path} HTTP/{version}"]
    if host is not None:
        head.append(f"Host: {host}")
    head += [f"{key}: {value}" for key, value in (headers or {}).items()]
    head += raw_headers
    if body:
        head.append(f"Content-Length: {len(body)}")
    head.append("Connection: close")
    return await raw(address, "\r\n".join([*head, "", ""]).encode() + body, source=source)


async def raw(address: Address, request: bytes, *, source: str | None = None) -> Answer:
    local = (source, 0) if source else None
    reader, writer = await asyncio.open_connection(*address, local_addr=local)
    try:
        writer.write(request)
        data = await reader.readuntil(b"\r\n\r\n")
        length = parse(data).header("content-length")
        return parse(data + (await reader.read() if length is None else await reader.readexactly(int(length))))
    finally:
        writer.close()


def parse(data: bytes) -> Answer:
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = tuple((k, v.strip()) for k, _, v in (line.partition(":") for line in lines))
    answer = Answer(int(first.split()[1]), headers, body)
    if body and answer.header("transfer-encoding") == "chunked":
        out = b""
        while body:
            size, _, rest = body.partition(b"\r\n")
            length = int(size, 16)
            out, body = out + rest[:length], rest[length + 2 :]
        return Answer(answer.status, headers, out)
    return answer


class Backend:
    """An application that answers with what it saw. `/slow` waits for `let_go()`, having counted itself in `busy`."""

    def __init__(self, name: str, runner: web.AppRunner, address: Address) -> None:
        self.name = name
        self.address = address
        self.runner = runner
        self.requests = 0
        self.status = 200
        self.busy = 0
        self.arrived = asyncio.Event()
        self._go = asyncio.Event()

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(*self.address)

    @property
    def sick(self) -> Endpoint:
        return Endpoint(*self.address, healthy=False)

    def let_go(self) -> None:
        self._go.set()

    async def has_busy(self, count: int) -> None:
        while self.busy < count:
            self.arrived.clear()
            await self.arrived.wait()

    async def stop(self) -> None:
        await self.runner.cleanup()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        if request.path == "/ws":
            return await self._web_socket(request)
        if request.path == "/slow":
            self.busy += 1
            self.arrived.set()
            await self._go.wait()
        if request.path == "/chunks":
            return await self._chunks(request)
        if request.path == "/length":
            return web.Response(text=str(len(await request.read())))
        seen = {
            "name": self.name,
            "method": request.method,
            "path": request.path_qs,
            "headers": {k.lower(): v for k, v in request.headers.items()},
        }
        headers = {} if request.path == "/serverless" else {"Server": "my-app/1.0"}
        if "cookie" in request.query:
            headers["Set-Cookie"] = request.query["cookie"]
        return web.json_response(seen, headers=headers, status=int(request.query.get("status", self.status)))

    async def _web_socket(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type == WSMsgType.TEXT:
                await socket.send_str(f"{self.name}: {message.data}")
        return socket

    async def _chunks(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        async for chunk in request.content.iter_any():
            await response.write(chunk)
        await response.write_eof()
        return response


@contextlib.asynccontextmanager
async def backend(name: str, *, ip: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Backend]:
    made: list[Backend] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        return await made[0].handle(request)

    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_route("*", "/{tail:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, keepalive_timeout=75)
    await runner.setup()
    site = web.TCPSite(runner, ip, port, reuse_address=True)
    await site.start()
    made.append(Backend(name, runner, runner.addresses[0][:2]))
    try:
        yield made[0]
    finally:
        made[0].let_go()
        await runner.cleanup()


@contextlib.asynccontextmanager
async def raw_backend(
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Endpoint]:
    """A server that misbehaves as `talk` wants."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await talk(reader, writer)
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    try:
        yield Endpoint(*server.sockets[0].getsockname()[:2])
    finally:
        server.close()


def free_port() -> int:
    """Below the ports that the kernel gives to outgoing connections, so that nobody takes it before Envoy does."""
    for port in random.sample(range(12000, 32000), 200):
        with socket.socket() as probe:
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")


def reset(writer: asyncio.StreamWriter) -> None:
    """Closes with RST instead of FIN."""
    import struct

    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
