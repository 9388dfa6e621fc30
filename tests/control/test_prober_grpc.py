"""gRPC health checks of real gRPC servers (semantics elbv2 §5)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest

from moorage.control.prober import HttpProber, ProbeRequest


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
    values: dict[str, object] = {"protocol": "HTTP", "timeout": 5.0, "grpc": True, **changes}
    return ProbeRequest(address="127.0.0.1", port=port, host=f"127.0.0.1:{port}", path=path, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(("path", "status"), [("/test.Health/Check", 0), ("/AWS.ALB/healthcheck", 12)])
async def test_the_status_is_grpcs(port: int, path: str, status: int) -> None:
    result = await HttpProber().probe(a_request(port, path))
    assert (result.outcome, result.status) == ("answered", status)


async def test_nobody_there() -> None:
    result = await HttpProber().probe(a_request(1, "/AWS.ALB/healthcheck"))
    assert result.outcome == "failed"
    assert result.detail


async def test_over_tls_it_says_so(port: int) -> None:
    result = await HttpProber().probe(a_request(port, "/AWS.ALB/healthcheck", protocol="HTTPS"))
    assert result.detail == "gRPC health checks over TLS are not supported here"
