"""Clients that people use, as judges: curl, h2load, gRPC, aiohttp's WebSocket over TLS that is verified."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import grpc
import grpc.aio
import msgspec
import pytest

from moorage.domain.load_balancer import FixedResponse, Redirect
from moorage.proxy.driver import Endpoint
from proxy.builders import a_config, a_listener, a_load_balancer, a_target_group, targets, to
from proxy.certificates import Root
from proxy.conftest import Balanced
from proxy.servers import Backend
from proxy.test_https import a_tls_listener, serve

NAME = "a.example.com"
SIZE = 20_000_000
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")


async def said(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, err.decode()
    return out.decode()


@pytest.fixture(scope="module")
def root() -> Root:
    return Root()


@pytest.fixture
async def url(envoy: Balanced, root: Root) -> str:
    _, port = await serve(envoy, root.issue(NAME))
    return f"https://{NAME}:{port}"


@pytest.fixture
def curl(url: str, root: Root, tmp_path: Path) -> list[str]:
    """curl that believes the root, and nobody else."""
    (tmp_path / "root.pem").write_bytes(root.pem)
    port = url.rpartition(":")[2]
    address = a_load_balancer().loopback
    return ["curl", "-sS", "--cacert", str(tmp_path / "root.pem"), "--resolve", f"{NAME}:{port}:{address}"]


@needs_curl
@pytest.mark.parametrize(("flag", "version"), [("--http1.1", "1.1"), ("--http2", "2")])
async def test_curl_keeps_its_connection(web: Backend, curl: list[str], url: str, flag: str, version: str) -> None:
    form = "%{http_version} %{http_code} %{ssl_verify_result} %{num_connects}\n"
    each = ["-o", "/dev/null", f"{url}/"]
    out = await said(*curl, flag, "-w", form, *each, *each, *each)
    assert out.splitlines() == [f"{version} 200 0 1", f"{version} 200 0 0", f"{version} 200 0 0"]


@needs_curl
@pytest.mark.parametrize("flag", ["--http1.1", "--http2"])
async def test_curl_sends_a_large_body(web: Backend, curl: list[str], url: str, tmp_path: Path, flag: str) -> None:
    """With `Expect: 100-continue`, which must be answered before anything is sent."""
    (tmp_path / "body").write_bytes(b"x" * SIZE)
    sending = ["-H", "Expect: 100-continue", "--expect100-timeout", "30", "--data-binary", f"@{tmp_path / 'body'}"]
    out = await said(*curl, flag, *sending, "-w", " %{time_total}", f"{url}/length")
    length, seconds = out.split()
    assert int(length) == SIZE
    assert float(seconds) < 25, "waited for the 100 in vain"


@needs_curl
async def test_curl_gets_a_large_answer(web: Backend, curl: list[str], url: str, tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(b"x" * SIZE)
    asking = ["-X", "POST", "--data-binary", f"@{tmp_path / 'body'}", "-o", "/dev/null", "-w", "%{size_download}"]
    assert int(await said(*curl, "--http2", *asking, f"{url}/chunks")) == SIZE


@needs_curl
async def test_curl_follows_a_redirect_to_https(envoy: Balanced, web: Backend, curl: list[str], root: Root) -> None:
    balancer = a_load_balancer()
    redirect = Redirect("HTTP_301", protocol="HTTPS", port="443")
    await serve(envoy, root.issue(NAME), balancer=balancer, also=(a_listener(balancer, redirect, port=80),))
    port = envoy.ports(80)
    there = [
        "--resolve",
        f"{NAME}:{port}:{balancer.loopback}",
        "-L",
        "-o",
        "/dev/null",
        "-w",
        "%{num_redirects} %{scheme}",
    ]
    assert await said(*curl, *there, f"http://{NAME}:{port}/x?y=z") == "1 HTTPS"


@pytest.mark.skipif(shutil.which("h2load") is None, reason="needs h2load")
async def test_h2load(web: Backend, url: str) -> None:
    port = url.rpartition(":")[2]
    address = a_load_balancer().loopback
    out = await said("h2load", "-n", "2000", "-c", "4", "-m", "32", f"--connect-to={address}:{port}", f"{url}/")
    assert "2000 succeeded, 0 failed, 0 errored, 0 timeout" in out
    assert web.requests == 2000


async def test_a_web_socket_over_tls(envoy: Balanced, web: Backend, root: Root, url: str) -> None:
    port = url.rpartition(":")[2]
    address = a_load_balancer().loopback
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"wss://{address}:{port}/ws", ssl=root.trust(), server_hostname=NAME) as line,
    ):
        for word in ("one", "two", "x" * 100_000):
            await line.send_str(word)
            assert (await line.receive_str(timeout=10)) == f"web: {word}"


async def test_listeners_and_load_balancers_on_the_same_ports(envoy: Balanced, root: Root, tmp_path: Path) -> None:
    """Two load balancers with an HTTP and an HTTPS listener each, all on ports 80 and 443 of one address."""
    names = {"one": "127.83.0.1", "two": "127.83.0.2"}
    for name, loopback in names.items():
        balancer = a_load_balancer(name, loopback=loopback)
        issued = root.issue(balancer.dns_name)
        plain = a_listener(balancer, FixedResponse("200", None, f"{name} plain"), port=80)
        secure = msgspec.structs.replace(
            a_tls_listener(balancer, issued), default_actions=(FixedResponse("200", None, f"{name} secure"),)
        )
        config = a_config(balancer, plain, secure)
        await envoy.proxy.put_load_balancer(msgspec.structs.replace(config, certificates={issued.arn: issued}))
    (tmp_path / "root.pem").write_bytes(root.pem)
    http, https = envoy.ports(80), envoy.ports(443)
    for name in names:
        host = a_load_balancer(name).dns_name
        asking = ["curl", "-sS", "--cacert", str(tmp_path / "root.pem"), "--connect-to", "::127.0.0.1:"]
        assert await said(*asking, f"http://{host}:{http}/") == f"{name} plain"
        assert await said(*asking, f"https://{host}:{https}/") == f"{name} secure"


async def test_a_name_of_ones_own_is_the_load_balancers(envoy: Balanced, web: Backend) -> None:
    """On its own address a load balancer answers for every name, also for those that look like buckets."""
    door = await envoy.serve(to("web"))
    for host in ("shop.example.com", "bucket.s3.amazonaws.com", "bucket.s3.localhost", "s3.us-east-1.amazonaws.com"):
        asked = aiohttp.request("GET", f"http://{door[0]}:{door[1]}/key", headers={"Host": host})
        async with asked as answer:
            seen = await answer.json()
        assert (seen["name"], seen["headers"]["host"].partition(":")[0], seen["path"]) == ("web", host, "/key")


class _Streams(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Answers every message of a stream with itself; without any, it fails in its own words."""

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        async def echo(requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
            count = 0
            async for request in requests:
                count += 1
                yield request
            if not count:
                await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "say something")

        return grpc.stream_stream_rpc_method_handler(echo)


async def test_grpc_streams_both_ways_and_its_errors_pass(envoy: Balanced, root: Root) -> None:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_Streams(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    await envoy.proxy.put_target_group(targets(a_target_group("web", version="GRPC"), Endpoint("127.0.0.1", port)))
    address, secure_port = await serve(envoy, root.issue(NAME))
    options = [("grpc.ssl_target_name_override", NAME), ("grpc.default_authority", NAME)]
    async with grpc.aio.secure_channel(
        f"{address}:{secure_port}", grpc.ssl_channel_credentials(root.pem), options
    ) as channel:
        stream = channel.stream_stream("/test.Echo/Talk")(timeout=20)
        for word in (b"one", b"two", b"x" * 100_000):
            await stream.write(word)
            assert await stream.read() == word, "answered before the client has finished"
        await stream.done_writing()
        assert await stream.code() == grpc.StatusCode.OK
        silent = channel.stream_stream("/test.Echo/Talk")(timeout=20)
        await silent.done_writing()
        assert (await silent.code(), await silent.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "say something")
    await server.stop(None)
