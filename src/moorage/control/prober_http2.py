"""Health checks over HTTP/2: a GET of target groups with that protocol version, and gRPC calls (semantics elbv2 §5).

One connection, one request, in the clear (with prior knowledge, as an ALB does) or over TLS. The answer counts when its
status is known: the head of an HTTP answer, the trailers of a gRPC call.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import msgspec

from moorage.domain.target_group import ProbeResult

Headers = list[tuple[str, str]]
_EMPTY_MESSAGE = bytes(5)
"""gRPC's frame around no bytes: not compressed, length 0."""
_GRPC = "application/grpc"


class Call(msgspec.Struct, frozen=True):
    """`authority`: for the `:authority` header. `grpc`: call the method `path` instead of asking for it."""

    address: str
    port: int
    authority: str
    path: str
    user_agent: str
    grpc: bool
    tls: ssl.SSLContext | None = None


async def ask(call: Call) -> ProbeResult:
    """Raises OSError, EOFError or ValueError when there is no answer of HTTP/2. Does not end by itself: bound it."""
    reader, writer = await asyncio.open_connection(
        call.address, call.port, ssl=call.tls, server_hostname="" if call.tls else None
    )
    try:
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        connection.initiate_connection()
        connection.send_headers(1, _head(call), end_stream=not call.grpc)
        if call.grpc:
            connection.send_data(1, _EMPTY_MESSAGE, end_stream=True)
        writer.write(connection.data_to_send())
        answer = _Answer(call.grpc)
        while answer.result is None:
            data = await reader.read(65536)
            if not data:
                raise EOFError("the connection was closed before an answer came")
            for event in connection.receive_data(data):
                answer.take(event)
            writer.write(connection.data_to_send())
        return answer.result
    except h2.exceptions.ProtocolError as error:
        raise ValueError(f"the answer is not HTTP/2: {error}") from error
    finally:
        writer.transport.abort()


def _head(call: Call) -> Headers:
    head = [
        (":method", "POST" if call.grpc else "GET"),
        (":scheme", "https" if call.tls else "http"),
        (":authority", call.authority),
        (":path", call.path),
        ("user-agent", call.user_agent),
    ]
    return [*head, ("content-type", _GRPC), ("te", "trailers")] if call.grpc else head


class _Answer:
    """What has come so far; `result` once it is known."""

    def __init__(self, grpc: bool) -> None:
        self.result: ProbeResult | None = None
        self._grpc = grpc
        self._status = ""

    def take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ResponseReceived):
            headers = _plain(event.headers)
            self._status = headers.get(":status", "")
            if not self._grpc:
                self.result = ProbeResult("answered", int(self._status))
            elif not headers.get("content-type", "").startswith(_GRPC):
                self.result = ProbeResult("failed", detail=f"not gRPC: HTTP status {self._status}")
            else:
                self._called(headers)  # an answer without a message has its status here
        elif isinstance(event, h2.events.TrailersReceived):
            self._called(_plain(event.headers))
        elif isinstance(event, h2.events.StreamReset):
            raise ValueError("the target reset the stream")
        elif isinstance(event, h2.events.ConnectionTerminated):
            raise ValueError(f"the target ended the connection with error code {int(event.error_code or 0)}")
        elif isinstance(event, h2.events.StreamEnded) and self.result is None:
            raise ValueError("the answer has no gRPC status")

    def _called(self, headers: dict[str, str]) -> None:
        status = headers.get("grpc-status")
        if status is not None:
            self.result = ProbeResult("answered", int(status))


def _plain(headers: Iterable[tuple[bytes, bytes]] | None) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in headers or ()}
