"""One health check of one target: what to ask, what came back, and the prober that really asks.

It decides nothing: `decide/target_health` says what an outcome means and when to ask again.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Literal, Protocol

import msgspec

from moorage.domain.target_group import ProbeResult

__all__ = ["HttpProber", "ProbeRequest", "ProbeResult", "Prober"]

USER_AGENT = "ELB-HealthChecker/2.0"
LONGEST_HEAD = 64 * 1024


class ProbeRequest(msgspec.Struct, frozen=True):
    """`address` and `port` are connected to; `host` is what the Host header says ("10.0.0.7:8080", the registered
    address, which `address` need not be). `timeout`: seconds for the whole check. TCP: connecting is enough. `grpc`: a
    call of the method `path` instead of a GET; the status that comes back is gRPC's."""

    protocol: Literal["HTTP", "HTTPS", "TCP"]
    address: str
    port: int
    host: str
    path: str
    timeout: float
    grpc: bool = False


class Prober(Protocol):
    async def probe(self, request: ProbeRequest) -> ProbeResult:
        """One check, on a connection of its own. Never raises for anything that the target does."""
        ...


class HttpProber:
    """GET with a new connection each time, redirects not followed, certificates not validated (semantics elbv2 §5).
    The answer counts when its head is complete; the body is not read."""

    def __init__(self) -> None:
        self._trusting: ssl.SSLContext | None = None

    async def probe(self, request: ProbeRequest) -> ProbeResult:
        try:
            async with asyncio.timeout(request.timeout):
                return await (call_grpc(request) if request.grpc else self._ask(request))
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

    def _tls(self) -> ssl.SSLContext:
        if self._trusting is None:
            self._trusting = ssl.create_default_context()
            self._trusting.check_hostname = False
            self._trusting.verify_mode = ssl.CERT_NONE
        return self._trusting


async def call_grpc(request: ProbeRequest) -> ProbeResult:
    """A unary call with an empty message, on a connection of its own. A target that does not speak gRPC, or that is not
    there, has no status of its own."""
    if request.protocol != "HTTP":
        return ProbeResult("failed", detail="gRPC health checks over TLS are not supported here")
    import grpc  # only where there are gRPC target groups: it takes a moment to load
    import grpc.aio

    options = [
        ("grpc.default_authority", request.host),
        ("grpc.primary_user_agent", USER_AGENT),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_retries", 0),
    ]
    async with grpc.aio.insecure_channel(f"{request.address}:{request.port}", options) as channel:
        call = channel.unary_unary(request.path)(b"", timeout=request.timeout)
        code, told = await call.code(), await call.details() or ""
        answered = bool(await call.initial_metadata()) or code not in (
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.DEADLINE_EXCEEDED,
        )
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return ProbeResult("timeout", detail=f"no answer within {request.timeout:g} s")
    if not answered:
        return ProbeResult("failed", detail=told.partition(";")[0] or "nobody answers")
    return ProbeResult("answered", int(code.value[0]))


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
