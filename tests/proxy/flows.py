"""Servers and clients of plain TCP and UDP."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import cast

from moorage.proxy.driver import Endpoint
from proxy.servers import Address, raw_backend


@contextlib.asynccontextmanager
async def echo(name: str, *, ip: str = "127.0.0.1") -> AsyncIterator[Endpoint]:
    """Answers every read with its name and what it read."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            writer.write(name.encode() + b":" + data)

    async with raw_backend(talk) as endpoint:
        yield endpoint


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, answer: Callable[[bytes], bytes] | None = None) -> None:
        self.answer = answer
        self.got: asyncio.Queue[bytes] = asyncio.Queue()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self.got.put_nowait(data)
        if self.answer is not None:
            self.transport.sendto(self.answer(data), addr)


@contextlib.asynccontextmanager
async def udp_echo(name: str, port: int = 0) -> AsyncIterator[Endpoint]:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _Datagrams(lambda data: name.encode() + b":" + data), local_addr=("127.0.0.1", port)
    )
    try:
        yield Endpoint(*transport.get_extra_info("sockname"))
    finally:
        transport.close()


class UdpClient:
    """One socket, so one flow. Repeats what is lost."""

    def __init__(self, door: Address) -> None:
        self.door = door

    async def __aenter__(self) -> UdpClient:
        loop = asyncio.get_running_loop()
        self._transport, self._protocol = await loop.create_datagram_endpoint(_Datagrams, remote_addr=self.door)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._transport.close()

    async def say(self, data: bytes) -> bytes:
        for _ in range(50):
            self._transport.sendto(data)
            with contextlib.suppress(TimeoutError):
                return await asyncio.wait_for(self._protocol.got.get(), 0.2)
        raise AssertionError("no answer")


async def say(door: Address, data: bytes = b"hello", *, source: str | None = None) -> bytes:
    """What comes back on a new connection; empty when it is closed."""
    reader, writer = await asyncio.open_connection(*door, local_addr=(source, 0) if source else None)
    try:
        writer.write(data)
        return await reader.read(4096)
    except ConnectionError:
        return b""
    finally:
        writer.close()
