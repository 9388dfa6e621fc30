"""The wire to the letter, byte by byte through a real Envoy (semantics elbv2 §4, §7, §8)."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from moorage.domain.load_balancer import FixedResponse, Listener, LoadBalancer, Redirect
from proxy.builders import a_config, a_listener, a_load_balancer, to
from proxy.certificates import Root
from proxy.conftest import Balanced
from proxy.servers import Address, Backend, ask, parse, raw
from proxy.test_https import get

RESPONSE = "routing.http.response."


async def served(envoy: Balanced, *actions: object, balancer: LoadBalancer | None = None, **attributes: str) -> Address:
    """A listener with these attributes ("." written as "__")."""
    balancer = balancer or a_load_balancer()
    listener = a_listener(balancer, *actions)  # type: ignore[arg-type]
    dotted = {key.replace("__", "."): value for key, value in attributes.items()}
    await envoy.proxy.put_load_balancer(a_config(balancer, msgspec.structs.replace(listener, attributes=dotted)))
    return (balancer.loopback, envoy.ports(80))


async def test_headers_that_a_listener_adds_to_every_answer(envoy: Balanced, web: Backend) -> None:
    attributes = {
        f"{RESPONSE}strict_transport_security.header_value": "max-age=31536000",
        f"{RESPONSE}access_control_allow_origin.header_value": "https://shop.test",
        f"{RESPONSE}x_content_type_options.header_value": "nosniff",
        f"{RESPONSE}content_security_policy.header_value": "default-src 'self'; img-src 100%",
        f"{RESPONSE}x_frame_options.header_value": "",
    }
    for action in (to("web"), FixedResponse("200", "text/plain", "x")):
        answer = await ask(await served(envoy, action, **attributes))
        assert answer.header("strict-transport-security") == "max-age=31536000"
        assert answer.header("access-control-allow-origin") == "https://shop.test"
        assert answer.header("x-content-type-options") == "nosniff"
        assert answer.header("content-security-policy") == "default-src 'self'; img-src 100%"
        assert answer.header("x-frame-options") is None


async def test_the_server_header_can_be_left_out(envoy: Balanced, web: Backend) -> None:
    for action in (to("web"), FixedResponse("200")):
        door = await served(envoy, action, **{f"{RESPONSE}server.enabled": "false"})
        assert (await ask(door)).header("server") is None
        assert (await ask(await served(envoy, action))).header("server") in ("my-app/1.0", "awselb/2.0")


async def test_the_server_header_is_left_out_of_what_the_load_balancer_says_itself(envoy: Balanced) -> None:
    balancer, off = a_load_balancer(), {f"{RESPONSE}server.enabled": "false"}
    await envoy.group("web")
    for action, status in ((to("web"), 503), (Redirect("HTTP_301", host="b.test"), 301)):
        for door in (await served(envoy, action, balancer=balancer, **off), envoy.edge()):
            answer = await ask(door, host=balancer.dns_name)
            assert (answer.status, answer.header("server")) == (status, None)
    answer = await raw(await served(envoy, to("web"), **off), b"nonsense\r\n\r\n")
    assert (answer.status, answer.header("server")) == (400, None)


async def test_tls_headers_and_their_names(envoy: Balanced, web: Backend) -> None:
    root = Root()
    certificate = root.issue("a.example.com")
    balancer = a_load_balancer(routing__http__x_amzn_tls_version_and_cipher_suite__enabled="true")
    plain = a_listener(balancer, to("web"), port=443, protocol="HTTPS")

    async def seen(**attributes: str) -> dict[str, str]:
        listener: Listener = msgspec.structs.replace(plain, certificates=(certificate.arn,), attributes=attributes)
        config = msgspec.structs.replace(
            a_config(balancer, listener, a_listener(balancer, to("web"))), certificates={certificate.arn: certificate}
        )
        await envoy.proxy.put_load_balancer(config)
        answer = await get((balancer.loopback, envoy.ports(443)), "a.example.com", root.trust())
        return dict(answer.seen["headers"])

    headers = await seen()
    assert headers["x-amzn-tls-version"] == "TLSv1.2"  # the newest of the default policy
    assert headers["x-amzn-tls-cipher-suite"].startswith("ECDHE-")
    prefix = "routing.http.request.x_amzn_tls_"
    headers = await seen(
        **{f"{prefix}version.header_name": "X-My-Tls", f"{prefix}cipher_suite.header_name": "X-My-Cipher"}
    )
    assert headers["x-my-tls"] == "TLSv1.2"
    assert "x-amzn-tls-version" not in headers
    # there is no TLS on the HTTP listener, whatever the client says
    claimed = {"x-amzn-tls-version": "TLSv9", "x-amzn-tls-cipher-suite": "mine"}
    got = (await ask((balancer.loopback, envoy.ports(80)), headers=claimed)).seen["headers"]
    assert [name for name in got if name.startswith("x-amzn-tls")] == []


@pytest.mark.parametrize("upgrade", ["h2c", "TLS/1.0", "foo/2", "wat"])
async def test_an_offer_to_speak_something_else_is_passed_over(envoy: Balanced, web: Backend, upgrade: str) -> None:
    door = await envoy.serve(to("web"))
    head = f"GET /x HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: {upgrade}\r\n"
    answer = await raw(door, f"{head}HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n".encode())
    assert (answer.status, answer.seen["path"]) == (200, "/x")
    assert "upgrade" not in answer.seen["headers"]


async def test_expect_100_continue(envoy: Balanced, web: Backend) -> None:
    door = await envoy.serve(to("web"))
    reader, writer = await asyncio.open_connection(*door)
    writer.write(b"POST /length HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
    writer.write(b"hello")
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert await reader.readexactly(1) == b"5"
    writer.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n",
        b"GET / HT",
        b"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc",
    ],
)
async def test_a_client_that_does_not_finish(envoy: Balanced, web: Backend, sent: bytes) -> None:
    door = await envoy.serve(to("web"), balancer=a_load_balancer(idle_timeout__timeout_seconds="1"))
    assert (await raw(door, sent)).status == 408


async def test_a_connection_that_sends_nothing_is_closed(envoy: Balanced, web: Backend) -> None:
    door = await envoy.serve(to("web"), balancer=a_load_balancer(idle_timeout__timeout_seconds="1"))
    reader, writer = await asyncio.open_connection(*door)
    assert await reader.read() == b""
    writer.close()


async def test_a_connection_that_is_too_old_is_told_to_go(envoy: Balanced, web: Backend) -> None:
    door = await envoy.serve(to("web"), balancer=a_load_balancer(client_keep_alive__seconds="1"))
    reader, writer = await asyncio.open_connection(*door)
    async with asyncio.timeout(20):
        while True:
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = parse(await reader.readuntil(b"\r\n\r\n"))
            await reader.readexactly(int(answer.header("content-length") or 0))
            assert answer.status == 200
            if answer.header("connection") == "close":
                break
            await asyncio.sleep(0.05)
    writer.close()


MALFORMED = {
    b"GET / HTTP/1.1\r\nHost: x\r\nUser-Agent: a\x1fb\r\n\r\n": 400,  # what separates the fields of the request log
    b"GET /a\x1fb HTTP/1.1\r\nHost: x\r\n\r\n": 400,
    b"GET / HTTP/1.1\r\nHost: a\x1fb\r\n\r\n": 400,
    b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab": 400,
    b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n": 400,
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n": 400,
    b"G\x00T / HTTP/1.1\r\nHost: x\r\n\r\n": 400,
}


@pytest.mark.parametrize("sent", MALFORMED, ids=lambda sent: repr(sent[:50]))
async def test_what_is_not_http(envoy: Balanced, web: Backend, sent: bytes) -> None:
    door = await envoy.serve(to("web"))
    answer = await raw(door, sent)
    assert answer.status == MALFORMED[sent]
    assert answer.header("server") == "awselb/2.0"
