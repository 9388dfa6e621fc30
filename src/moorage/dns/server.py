"""The DNS server of the subnets: it listens at the gateway of each, where tasks ask first.

Answers names of ours itself, hands every other question to the machine's resolvers and their answer back, byte for byte.
It runs in a process of its own (`process`), because the control plane may be away.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import Callable, Sequence
from typing import cast

from moorage.dns.answers import Names, answer, failure

log = logging.getLogger("moorage.dns")

PORT = 53
PATIENCE = 2.0
"""Seconds that one resolver may take."""
LONGEST_WAIT = 10.0
"""Seconds that a TCP connection may be silent."""
_IP_FREEBIND = 15


class DnsServer:
    """`upstream` tells the resolvers for everything else, asked in order. `port` 0 takes a free one (for tests)."""

    def __init__(self, names: Names, upstream: Callable[[], Sequence[str]], *, port: int = PORT) -> None:
        self._names = names
        self._upstream = upstream
        self._port = port
        self._open: dict[str, tuple[asyncio.DatagramTransport, asyncio.Server]] = {}
        self._questions: set[asyncio.Task[None]] = set()

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where it listens."""
        return tuple(self._open)

    async def listen(self, address: str) -> int:
        """Listens on this address too, which need not be there yet; returns the port. Raises OSError (port taken, not
        allowed)."""
        if address in self._open:
            return int(self._open[address][0].get_extra_info("sockname")[1])
        loop = asyncio.get_running_loop()
        stream = _socket(socket.SOCK_STREAM, address, self._port)
        try:
            port = int(stream.getsockname()[1])
            datagrams = _socket(socket.SOCK_DGRAM, address, port)
            transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), sock=datagrams)
            server = await asyncio.start_server(self._serve, sock=stream)
        except OSError:
            stream.close()
            raise
        self._open[address] = (transport, server)
        return port

    def leave(self, address: str) -> None:
        """Listens there no longer."""
        transport, server = self._open.pop(address, (None, None))
        if transport is not None and server is not None:
            transport.close()
            server.close()

    async def close(self) -> None:
        for transport, server in self._open.values():
            transport.close()
            server.close()
        self._open.clear()
        for task in list(self._questions):
            task.cancel()
        await asyncio.gather(*self._questions, return_exceptions=True)

    def asked(self, question: bytes, peer: tuple[str, int], transport: asyncio.DatagramTransport) -> None:
        """A datagram came."""
        known = answer(question, self._names)
        if known is not None:
            transport.sendto(known, peer)
            return

        async def hand_on() -> None:
            reply = await self._elsewhere(question, stream=False)
            if reply is not None and not transport.is_closing():
                transport.sendto(reply, peer)

        task = asyncio.get_running_loop().create_task(hand_on(), name="dns question")
        self._questions.add(task)
        task.add_done_callback(self._questions.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                async with asyncio.timeout(LONGEST_WAIT):
                    (length,) = struct.unpack("!H", await reader.readexactly(2))
                    question = await reader.readexactly(length)
                reply = answer(question, self._names) or await self._elsewhere(question, stream=True)
                if reply is None:
                    break
                writer.write(struct.pack("!H", len(reply)) + reply)
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError, TimeoutError):
            pass
        finally:
            writer.close()

    async def _elsewhere(self, question: bytes, *, stream: bool) -> bytes | None:
        for resolver in self._upstream():
            ask = _ask_by_stream if stream else _ask_by_datagram
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                async with asyncio.timeout(PATIENCE):
                    return await ask(resolver, question)
        return failure(question)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        assert self._transport is not None
        self._server.asked(data, addr, self._transport)


class _Reply(asyncio.DatagramProtocol):
    def __init__(self, identity: bytes, reply: asyncio.Future[bytes]) -> None:
        self._identity = identity
        self._reply = reply

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if not self._reply.done() and data[:2] == self._identity:
            self._reply.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self._reply.done():
            self._reply.set_exception(exc)


async def _ask_by_datagram(resolver: str, question: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    reply: asyncio.Future[bytes] = loop.create_future()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _Reply(question[:2], reply), remote_addr=(resolver, PORT)
    )
    try:
        transport.sendto(question)
        return await reply
    finally:
        transport.close()


async def _ask_by_stream(resolver: str, question: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(resolver, PORT)
    try:
        writer.write(struct.pack("!H", len(question)) + question)
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        return await reader.readexactly(length)
    finally:
        writer.close()


def _socket(kind: int, address: str, port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, kind)
    try:
        made.setblocking(False)
        if kind == socket.SOCK_STREAM:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            # the bridge of a subnet, and the gateway's address with it, comes with its first task
            made.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        made.bind((address, port))
    except OSError:
        made.close()
        raise
    return made
