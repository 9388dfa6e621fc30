"""HTTPS listeners of a real Envoy, asked by clients that verify what they are shown."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import ssl
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest

from moorage.domain.load_balancer import FixedResponse, Listener, LoadBalancer, Redirect
from moorage.proxy.driver import Certificate, Endpoint
from proxy.builders import a_config, a_listener, a_load_balancer, a_target_group, targets, to
from proxy.certificates import Root
from proxy.conftest import Balanced
from proxy.servers import Address, Answer, Backend, ask, parse

DNS = "web-1234567890.us-east-1.elb.localhost"


@pytest.fixture(scope="module")
def root() -> Root:
    return Root()


def a_tls_listener(balancer: LoadBalancer, *certificates: Certificate, policy: str | None = None) -> Listener:
    import msgspec

    plain = a_listener(balancer, to("web"), port=443, protocol="HTTPS")
    return msgspec.structs.replace(plain, certificates=tuple(c.arn for c in certificates), ssl_policy=policy)


async def serve(
    envoy: Balanced,
    *certificates: Certificate,
    balancer: LoadBalancer | None = None,
    policy: str | None = None,
    also: tuple[Listener, ...] = (),
) -> Address:
    import msgspec

    balancer = balancer or a_load_balancer()
    config = a_config(balancer, a_tls_listener(balancer, *certificates, policy=policy), *also)
    held = {one.arn: one for one in certificates}
    await envoy.proxy.put_load_balancer(msgspec.structs.replace(config, certificates=held))
    return (balancer.loopback, envoy.ports(443))


async def get(address: Address, name: str | None, context: ssl.SSLContext, *, host: str = "a.example.com") -> Answer:
    reader, writer = await asyncio.open_connection(*address, ssl=context, server_hostname=name or "")
    writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    answer = parse(await reader.read())
    writer.close()
    return answer


async def test_a_verified_request_reaches_the_target_as_https(envoy: Balanced, web: Backend, root: Root) -> None:
    door = await serve(envoy, root.issue("a.example.com"))
    answer = await get(door, "a.example.com", root.trust())
    assert answer.status == 200
    assert answer.seen["headers"]["x-forwarded-proto"] == "https"
    assert answer.seen["headers"]["x-forwarded-port"] == "443"


async def test_the_name_chooses_the_certificate(envoy: Balanced, web: Backend, root: Root) -> None:
    door = await serve(envoy, root.issue("a.example.com"), root.issue("b.example.com"), root.issue("*.c.example.com"))
    for name in ("a.example.com", "b.example.com", "x.c.example.com"):
        assert (await get(door, name, root.trust())).status == 200
    with pytest.raises(ssl.SSLCertVerificationError, match=r"not valid for|mismatch"):
        await get(door, "unknown.example.com", root.trust())


async def test_a_certificate_is_swapped_without_closing_connections(envoy: Balanced, web: Backend, root: Root) -> None:
    first = root.issue("a.example.com", arn="arn:aws:acm:us-east-1:000000000000:certificate/1")
    door = await serve(envoy, first)
    context = root.trust()
    reader, writer = await asyncio.open_connection(*door, ssl=context, server_hostname="a.example.com")
    request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"

    async def once() -> bytes:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(parse(head).header("content-length") or 0))
        return head

    await once()
    second = root.issue("b.example.com", arn=first.arn)
    await serve(envoy, second)
    assert (await get(door, "b.example.com", context)).status == 200
    assert (await once()).startswith(b"HTTP/1.1 200")
    writer.close()


async def test_the_shared_door_knows_load_balancers_by_name(envoy: Balanced, web: Backend, root: Root) -> None:
    other = a_load_balancer("other", loopback="127.83.0.2")
    await serve(envoy, root.issue(DNS))
    await serve(envoy, root.issue(other.dns_name), balancer=other)
    for name in (DNS, other.dns_name):
        assert (await get(envoy.edge(443), name, root.trust(), host=name)).status == 200
    await envoy.proxy.remove_load_balancer(other.arn)
    assert (await get(envoy.edge(443), DNS, root.trust(), host=DNS)).status == 200
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await get(envoy.edge(443), other.dns_name, root.trust())


async def test_http_and_https_of_two_load_balancers_on_one_port(envoy: Balanced, web: Backend, root: Root) -> None:
    await serve(envoy, root.issue(DNS))
    plain = a_load_balancer("plain", loopback="127.83.0.2")
    await envoy.serve(FixedResponse("200", None, "plain"), port=443, balancer=plain)
    assert (await get(envoy.edge(443), DNS, root.trust(), host=DNS)).status == 200
    assert (await ask(envoy.edge(443), host=plain.dns_name)).text == "plain"


async def test_plain_http_on_an_https_port(envoy: Balanced, web: Backend, root: Root) -> None:
    door = await serve(envoy, root.issue(DNS))
    for address in (door, envoy.edge(443)):
        answer = await ask(address, host=DNS)
        assert (answer.status, answer.header("server")) == (400, "awselb/2.0")
        assert answer.header("connection") == "close"
        assert "<title>400 The plain HTTP request was sent to HTTPS port</title>" in answer.text
    assert web.requests == 0


async def test_http_is_redirected_to_https(envoy: Balanced, web: Backend, root: Root) -> None:
    balancer = a_load_balancer()
    redirect = Redirect("HTTP_301", protocol="HTTPS", port="443")
    await serve(envoy, root.issue(DNS), balancer=balancer, also=(a_listener(balancer, redirect, port=80),))
    answer = await ask((balancer.loopback, envoy.ports(80)), "/x?y=z", host=DNS)
    assert answer.status == 301
    assert answer.header("location") == f"https://{DNS}:{envoy.ports(443)}/x?y=z"


@pytest.mark.parametrize(
    ("policy", "low", "high", "served"),
    [
        ("ELBSecurityPolicy-TLS13-1-3-2021-06", ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2, False),
        ("ELBSecurityPolicy-TLS13-1-3-2021-06", ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3, True),
        ("ELBSecurityPolicy-2016-08", ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3, False),
        (None, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2, True),
        ("ELBSecurityPolicy-TLS13-1-2-2021-06", ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3, True),
    ],
)
async def test_policies(
    envoy: Balanced, web: Backend, root: Root, policy: str, low: ssl.TLSVersion, high: ssl.TLSVersion, served: bool
) -> None:
    door = await serve(envoy, root.issue("a.example.com"), policy=policy)
    context = root.trust()
    context.minimum_version, context.maximum_version = low, high
    if served:
        assert (await get(door, "a.example.com", context)).status == 200
    else:
        with pytest.raises(ssl.SSLError):
            await get(door, "a.example.com", context)


async def test_the_default_certificate_missing_closes_the_listener(envoy: Balanced, web: Backend, root: Root) -> None:
    balancer = a_load_balancer()
    listener = a_tls_listener(balancer, root.issue("a.example.com"))
    await envoy.proxy.put_load_balancer(a_config(balancer, listener))
    with pytest.raises(ConnectionError):
        await get((balancer.loopback, envoy.ports(443)), "a.example.com", root.trust())


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize(("attribute", "version"), [("true", "2"), ("false", "1.1")])
async def test_http2_to_clients(envoy: Balanced, web: Backend, root: Root, attribute: str, version: str) -> None:
    balancer = a_load_balancer(routing__http2__enabled=attribute)
    address, port = await serve(envoy, root.issue("a.example.com"), balancer=balancer)
    command = ["-sS", "--http2", "-k", "-o", "/dev/null", "-w", "%{http_version} %{http_code}"]
    to_there = ["--resolve", f"a.example.com:{port}:{address}", f"https://a.example.com:{port}/"]
    curl = await asyncio.create_subprocess_exec("curl", *command, *to_there, stdout=asyncio.subprocess.PIPE)
    out, _ = await curl.communicate()
    assert out.decode() == f"{version} 200"


@contextlib.asynccontextmanager
async def grpc_echo() -> AsyncIterator[Endpoint]:
    """Answers every unary call with its request."""
    server = grpc.aio.server()

    class Everything(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
            async def echo(request: bytes, context: object) -> bytes:
                return request

            return grpc.unary_unary_rpc_method_handler(echo)

    server.add_generic_rpc_handlers((Everything(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield Endpoint("127.0.0.1", port)
    await server.stop(None)


@pytest.fixture
async def grpc_server() -> AsyncIterator[Endpoint]:
    async with grpc_echo() as endpoint:
        yield endpoint


async def call(door: Address, root: Root, name: str) -> bytes:
    options = [("grpc.ssl_target_name_override", name), ("grpc.default_authority", name)]
    credentials = grpc.ssl_channel_credentials(root.pem)
    async with grpc.aio.secure_channel(f"{door[0]}:{door[1]}", credentials, options) as channel:
        answer: bytes = await channel.unary_unary("/test.Echo/Echo")(b"hello", timeout=10)
        return answer


@pytest.mark.parametrize("version", ["GRPC", "HTTP2"])
async def test_grpc_reaches_a_grpc_target(envoy: Balanced, root: Root, grpc_server: Endpoint, version: str) -> None:
    await envoy.proxy.put_target_group(targets(a_target_group("web", version=version), grpc_server))
    door = await serve(envoy, root.issue("a.example.com"))
    assert await call(door, root, "a.example.com") == b"hello"


async def test_protocol_mismatches_are_464(envoy: Balanced, web: Backend, root: Root, grpc_server: Endpoint) -> None:
    door = await serve(envoy, root.issue("a.example.com"))
    with pytest.raises(grpc.aio.AioRpcError) as refusal:  # gRPC to a target that speaks HTTP/1.1
        await call(door, root, "a.example.com")
    assert "464" in str(refusal.value.details())
    await envoy.proxy.put_target_group(targets(a_target_group("web", version="GRPC"), grpc_server))
    answer = await get(door, "a.example.com", root.trust())  # HTTP/1.1 to a target that speaks gRPC
    assert answer.status == 464


def test_a_key_is_not_shown(root: Root) -> None:
    certificate = root.issue("a.example.com")
    assert "PRIVATE" not in repr(certificate)
