"""One health check of one target: what to ask, what came back, and the prober that really asks.

It decides nothing: `decide/target_health` says what an outcome means and when to ask again.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Literal, Protocol

import msgspec

from moorage.control import prober_http2
from moorage.domain.target_group import ProbeResult

__all__ = ["HttpProber", "ProbeRequest", "ProbeResult", "Prober", "ProtocolVersion"]

ProtocolVersion = Literal["HTTP1", "HTTP2", "GRPC"]

USER_AGENT = "ELB-HealthChecker/2.0"
LONGEST_HEAD = 64 * 1024


class ProbeRequest(msgspec.Struct, frozen=True):
    """`address` and `port` are connected to; `host` is what the Host header says ("10.0.0.7:8080", the registered
    address, which `address` need not be). `timeout`: seconds for the whole check. TCP: connecting is enough. `version`
    HTTP2: a GET over HTTP/2; GRPC: a call of the method `path`, and the status that comes back is gRPC's."""

    protocol: Literal["HTTP", "HTTPS", "TCP"]
    address: str
    port: int
    host: str
    path: str
    timeout: float
    version: ProtocolVersion = "HTTP1"


class Prober(Protocol):
    async def probe(self, request: ProbeRequest) -> ProbeResult:
        """One check, on a connection of its own. Never raises for anything that the target does."""
        ...


class HttpProber:
    """GET with a new connection each time, redirects not followed, certificates not validated (semantics elbv2 §5).
    The answer counts when its head is complete; the body is not read."""

    def __init__(self) -> None:
        self._trusting: dict[tuple[str, ...], ssl.SSLContext] = {}

    async def probe(self, request: ProbeRequest) -> ProbeResult:
        try:
            async with asyncio.timeout(request.timeout):
                return await (self._ask(request) if request.version == "HTTP1" else self._ask_http2(request))
        except TimeoutError:
            return ProbeResult("timeout", detail=f"no answer within {request.timeout:g} s")
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
            return ProbeResult("failed", detail=str(error) or type(error).__name__)

    async def _ask(self, request: ProbeRequest) -> ProbeResult:
        reader, writer = await asyncio.open_connection(
            request.address,
            request.port,
            limit=LONGEST_HEAD,
            ssl=self._tls() if request.protocol == "HTTPS" else None,
        )
        try:
            if request.protocol == "TCP":
                return ProbeResult("answered", detail="connected")
            writer.write(request_head(request))
            while True:
                status = status_of(await reader.readuntil(b"\r\n\r\n"))
                if status >= 200:  # 1xx only announces the answer
                    return ProbeResult("answered", status)
        finally:
            # The answer is known: do not wait for the goodbye of a target that may be stuck.
            writer.transport.abort()

    async def _ask_http2(self, request: ProbeRequest) -> ProbeResult:
        call = prober_http2.Call(
            request.address,
            request.port,
            request.host,
            request.path,
            USER_AGENT,
            grpc=request.version == "GRPC",
            tls=self._tls("h2") if request.protocol == "HTTPS" else None,
        )
        return await prober_http2.ask(call)

    def _tls(self, *alpn: str) -> ssl.SSLContext:
        context = self._trusting.get(alpn)
        if context is None:
            context = self._trusting[alpn] = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            if alpn:
                context.set_alpn_protocols(list(alpn))
        return context


def request_head(request: ProbeRequest) -> bytes:
    return (
        f"GET {request.path} HTTP/1.1\r\n"
        f"Host: {request.host}\r\n"
        "Connection: close\r\n"
        f"User-Agent: {USER_AGENT}\r\n"
        "Accept-Encoding: gzip, compressed\r\n"
        "\r\n"
    ).encode("latin-1", "replace")


def status_of(head: bytes) -> int:
    """The status code of a response head. Raises ValueError when this is not HTTP/1."""
    line = head.split(b"\r\n", 1)[0].split(b" ", 2)
    if len(line) < 2 or not line[0].startswith(b"HTTP/1.") or not line[1].isdigit() or len(line[1]) != 3:
        raise ValueError("the answer is not HTTP/1.1")
    return int(line[1])
