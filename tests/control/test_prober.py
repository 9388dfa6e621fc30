"""The real prober against real servers on this machine: what counts as an answer, a timeout, a failure."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from moorage.control.prober import HttpProber, ProbeRequest


@asynccontextmanager
async def serving(
    answer: Callable[[bytes], list[bytes]] | None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that answers each request head with some pieces (none: it hangs). Yields its port and what it read."""
    heads: list[bytes] = []
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        try:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            if answer is None:
                return
            for piece in answer(heads[-1]):
                writer.write(piece)
                await writer.drain()
            writer.close()
        except (OSError, asyncio.IncompleteReadError):
            pass

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1], heads
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()


def request(port: int, protocol: str = "HTTP", path: str = "/health", timeout: float = 5.0) -> ProbeRequest:
    return ProbeRequest(protocol, "127.0.0.1", port, f"127.0.0.1:{port}", path, timeout)  # type: ignore[arg-type]


async def test_what_it_asks() -> None:
    async with serving(lambda _: [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]) as (port, heads):
        result = await HttpProber().probe(request(port))
        assert (result.outcome, result.status) == ("answered", 200)
        assert await HttpProber().probe(request(port)) == result
        assert len(heads) == 2  # a connection of its own each time
        lines = heads[0].decode().split("\r\n")
        assert lines[0] == "GET /health HTTP/1.1"
        assert f"Host: 127.0.0.1:{port}" in lines
        assert "User-Agent: ELB-HealthChecker/2.0" in lines


@pytest.mark.parametrize(
    ("pieces", "status"),
    [
        ([b"HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n"], 302),
        ([b"HTTP/1.0 503 Busy\r\n\r\n"], 503),
        ([b"HTTP/1.1 200\r\n\r\n"], 200),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 204 None\r\n\r\n"], 204),
        ([b"HTT", b"P/1.1 404 ", b"Not Found\r\nA: b\r\n", b"\r\n"], 404),
    ],
)
async def test_answers(pieces: list[bytes], status: int) -> None:
    async with serving(lambda _: pieces) as (port, _):
        result = await HttpProber().probe(request(port))
        assert (result.outcome, result.status) == ("answered", status)


@pytest.mark.parametrize(
    "pieces",
    [[], [b"hello\r\n\r\n"], [b"HTTP/1.1 200 OK\r\n"], [b"\r\n\r\n"], [b"HTTP/1.1 2000 X\r\n\r\n"], [b"x" * 100_000]],
)
async def test_what_is_no_answer(pieces: list[bytes]) -> None:
    async with serving(lambda _: pieces) as (port, _):
        result = await HttpProber().probe(request(port))
        assert result.outcome == "failed"
        assert result.detail


async def test_nobody_listens() -> None:
    async with serving(lambda _: []) as (port, _):
        pass
    for protocol in ("HTTP", "HTTPS", "TCP"):
        assert (await HttpProber().probe(request(port, protocol))).outcome == "failed"


async def test_one_that_hangs() -> None:
    async with serving(None) as (port, _):
        result = await HttpProber().probe(request(port, timeout=0.05))
        assert result.outcome == "timeout"
        assert (await HttpProber().probe(request(port, "TCP"))).outcome == "answered"


async def test_certificates_are_not_validated(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    making = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=nobody", "-days", "1"]
    subprocess.run([*making, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    async with serving(lambda _: [b"HTTP/1.1 200 OK\r\n\r\n"], tls) as (port, _):
        result = await HttpProber().probe(request(port, "HTTPS"))
        assert (result.outcome, result.status) == ("answered", 200)
