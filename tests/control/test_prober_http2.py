"""Health checks over HTTP/2: gRPC of real gRPC servers, and GET (semantics elbv2 §5)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import h2.config
import h2.connection
import h2.events
import pytest

from moorage.control.prober import HttpProber, ProbeRequest
from proxy.certificates import Root
from proxy.servers import backend, raw_backend


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Knows /test.Health/Check and answers everything else with UNIMPLEMENTED."""
    server = grpc.aio.server()

    async def check(request: bytes, context: object) -> bytes:
        return b""

    handlers = {"Check": grpc.unary_unary_rpc_method_handler(check)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Health", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield port
    await server.stop(None)


def a_request(port: int, path: str, **changes: object) -> ProbeRequest:
    values: dict[str, object] = {"protocol": "HTTP", "timeout": 5.0, "version": "GRPC", **changes}
    return ProbeRequest(address="127.0.0.1", port=port, host=f"127.0.0.1:{port}", path=path, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(("path", "status"), [("/test.Health/Check", 0), ("/AWS.ALB/healthcheck", 12)])
async def test_the_status_is_grpcs(port: int, path: str, status: int) -> None:
    result = await HttpProber().probe(a_request(port, path))
    assert (result.outcome, result.status) == ("answered", status)


async def test_nobody_there() -> None:
    result = await HttpProber().probe(a_request(1, "/AWS.ALB/healthcheck"))
    assert result.outcome == "failed"
    assert result.detail


async def test_over_tls() -> None:
    """The certificate is not looked at."""
    own = Root().issue("inside.example.com")
    server = grpc.aio.server()
    credentials = grpc.ssl_server_credentials([(own.key, own.chain)])
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    result = await HttpProber().probe(a_request(port, "/AWS.ALB/healthcheck", protocol="HTTPS"))
    assert (result.outcome, result.status) == ("answered", 12)
    await server.stop(None)


async def test_a_server_of_http1_is_not_grpc() -> None:
    async with backend("old") as old:
        result = await HttpProber().probe(a_request(old.address[1], "/AWS.ALB/healthcheck"))
    assert result.outcome == "failed"
    assert result.detail


@pytest.mark.parametrize(("path", "status"), [("/", 200), ("/missing", 404)])
async def test_a_get_over_http2(path: str, status: int) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        connection.initiate_connection()
        writer.write(connection.data_to_send())
        while data := await reader.read(65536):
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    asked = dict(event.headers or ())
                    assert asked[b"user-agent"] == b"ELB-HealthChecker/2.0"
                    code = b"200" if asked[b":path"] == b"/" else b"404"
                    connection.send_headers(event.stream_id, [(b":status", code)], end_stream=True)
            writer.write(connection.data_to_send())

    async with raw_backend(talk) as one:
        result = await HttpProber().probe(a_request(one.port, path, version="HTTP2"))
    assert (result.outcome, result.status) == ("answered", status)
