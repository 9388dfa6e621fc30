"""The answers that the load balancer makes itself when something is wrong (semantics elbv2 §8), on a real Envoy."""

from __future__ import annotations

import asyncio

import pytest

from moorage.domain.load_balancer import FixedResponse, Redirect
from moorage.proxy.driver import Endpoint
from moorage.proxy.envoy.pages import page
from proxy.builders import a_load_balancer, to
from proxy.conftest import Balanced
from proxy.servers import Answer, Backend, ask, backend, free_port, raw, raw_backend, reset


def is_page(answer: Answer, status: int) -> None:
    assert (answer.status, answer.text) == (status, page(status))
    assert answer.header("server") == "awselb/2.0"
    assert answer.header("content-type") == "text/html"


async def test_empty_target_group(envoy: Balanced) -> None:
    await envoy.group("web")
    is_page(await ask(await envoy.serve(to("web"))), 503)


async def test_target_group_that_comes_later(envoy: Balanced) -> None:
    door = await envoy.serve(to("web"))
    is_page(await ask(door), 503)
    async with backend("web") as web:
        await envoy.group("web", web)
        assert (await ask(door)).status == 200
        from proxy.builders import tg_arn

        await envoy.proxy.remove_target_group(tg_arn("web"))
        is_page(await ask(door), 503)


async def test_refused_connection(envoy: Balanced) -> None:
    await envoy.group("web", Endpoint("127.0.0.1", free_port()))
    is_page(await ask(await envoy.serve(to("web"))), 502)


async def test_no_connection_in_time(envoy: Balanced) -> None:
    """A full backlog: the kernel answers nothing, as a dead address does."""
    import socket

    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        clients = [socket.socket() for _ in range(4)]
        for client in clients:
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        await envoy.group("web", Endpoint(*full.getsockname()))
        is_page(await ask(await envoy.serve(to("web"))), 504)
        for client in clients:
            client.close()


@pytest.mark.parametrize("how", ["fin", "rst", "nonsense", "big-headers"])
async def test_target_breaks_off(envoy: Balanced, how: str) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if how == "rst":
            reset(writer)
        elif how == "nonsense":
            writer.write(b"what?\r\n\r\n")
        elif how == "big-headers":
            writer.write(b"HTTP/1.1 200 OK\r\n" + b"x-big: " + b"x" * 40_000 + b"\r\n\r\n")

    async with raw_backend(talk) as endpoint:
        await envoy.group("web", endpoint)
        door = await envoy.serve(to("web"))
        is_page(await ask(door, method="POST", body=b"x"), 502)
        is_page(await ask(door), 502)


async def test_target_says_nothing(envoy: Balanced) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with raw_backend(talk) as endpoint:
        await envoy.group("web", endpoint)
        balancer = a_load_balancer(idle_timeout__timeout_seconds="1")
        door = await envoy.serve(to("web"), balancer=balancer)
        is_page(await ask(door), 504)
        # through the script, whose first route knows no timeout
        traced = {"X-Amzn-Trace-Id": "Root=1-67891233-abcdef012345678912345678"}
        is_page(await ask(envoy.edge(), host=balancer.dns_name, headers=traced), 504)


async def test_client_says_nothing(envoy: Balanced, web: Backend) -> None:
    door = await envoy.serve(to("web"), balancer=a_load_balancer(idle_timeout__timeout_seconds="1"))
    request = b"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc"
    is_page(await raw(door, request), 408)


MALFORMED = {
    b"GET / HTTP/1.1\r\n\r\n": 400,
    b"nonsense\r\n\r\n": 400,
    b"GET / HTTP/1.1\r\nHost: x\r\nbad name: 1\r\n\r\n": 400,
    b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n": 400,
    b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n": 501,
    b"GET / HTTP/1.1\r\nHost: x\r\nx-big: " + b"x" * 70_000 + b"\r\n\r\n": 400,
}


@pytest.mark.parametrize("request_bytes", MALFORMED, ids=lambda r: str(r[:60]))
async def test_malformed_requests(envoy: Balanced, web: Backend, request_bytes: bytes) -> None:
    door = await envoy.serve(to("web"))
    is_page(await raw(door, request_bytes), MALFORMED[request_bytes])
    assert web.requests == 0


async def test_a_fixed_response_of_the_same_status_is_left_alone(envoy: Balanced) -> None:
    for status in ("400", "403", "408", "431", "501", "502", "503", "504"):
        door = await envoy.serve(FixedResponse(status, "application/json", "{}"))
        answer = await ask(door)
        assert (answer.status, answer.text) == (int(status), "{}")
        assert answer.header("content-type") == "application/json"


async def test_a_targets_own_errors_pass(envoy: Balanced, web: Backend) -> None:
    door = await envoy.serve(to("web"))
    for status in (404, 500, 502, 503, 504):
        answer = await ask(door, f"/?status={status}")
        assert (answer.status, answer.seen["name"]) == (status, "web")
        assert answer.header("server") == "my-app/1.0"
    assert web.requests == 5


@pytest.mark.parametrize(
    "sent", [b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n"]
)
async def test_what_is_no_request_for_a_resource(envoy: Balanced, web: Backend, sent: bytes) -> None:
    for door in (await envoy.serve(to("web")), envoy.edge()):
        is_page(await raw(door, sent), 400)
    assert web.requests == 0


async def test_many_headers_are_fine_while_they_are_small(envoy: Balanced, web: Backend) -> None:
    door = await envoy.serve(to("web"))
    answer = await ask(door, headers={f"x-h{i}": "1" for i in range(120)})
    assert (answer.status, answer.seen["headers"]["x-h119"]) == (200, "1")


async def test_a_target_may_send_many_headers(envoy: Balanced) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        many = b"".join(b"x-h%d: 1\r\n" % i for i in range(120))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + many + b"\r\n")

    async with raw_backend(talk) as endpoint:
        await envoy.group("web", endpoint)
        answer = await ask(await envoy.serve(to("web")))
        assert (answer.status, answer.header("x-h119")) == (200, "1")


async def test_methods_that_nobody_knows_reach_the_target(envoy: Balanced) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n" + request[:3])

    async with raw_backend(talk) as endpoint:
        await envoy.group("web", endpoint)
        answer = await ask(await envoy.serve(to("web")), method="FOO-BAR")
        assert (answer.status, answer.text) == (200, "FOO")


@pytest.mark.parametrize(("length", "status"), [(8000, 301), (8200, 507)])
async def test_a_redirect_to_more_than_8k(envoy: Balanced, length: int, status: int) -> None:
    for redirect in (Redirect("HTTP_301", host="b.test"), Redirect("HTTP_301", path="/new/#{path}")):
        door = await envoy.serve(redirect)
        is_page(await ask(door, "/" + "x" * length), status)


async def test_trace_is_refused(envoy: Balanced, web: Backend) -> None:
    door = await envoy.serve(to("web"))
    is_page(await ask(door, method="TRACE"), 405)
    assert web.requests == 0


@pytest.mark.parametrize(("addresses", "status"), [(30, 200), (31, 463)])
async def test_more_than_30_forwarders_is_463(envoy: Balanced, web: Backend, addresses: int, status: int) -> None:
    door = await envoy.serve(to("web"))
    answer = await ask(door, headers={"X-Forwarded-For": ", ".join(["192.0.2.1"] * addresses)})
    assert answer.status == status
    if status == 463:
        assert answer.header("server") == "awselb/2.0"


@pytest.mark.parametrize(("length", "status"), [(16_384, 200), (16_385, 414)])
async def test_a_path_longer_than_16k_is_414(envoy: Balanced, web: Backend, length: int, status: int) -> None:
    door = await envoy.serve(FixedResponse("200"))
    answer = await ask(door, "/" + "x" * (length - 1))
    assert answer.status == status
    if status == 414:
        assert "414 Request-URI Too Large" in answer.text


@pytest.mark.parametrize(("drop", "seen"), [("true", False), ("false", True)])
async def test_header_names_that_are_not_valid(envoy: Balanced, web: Backend, drop: str, seen: bool) -> None:
    balancer = a_load_balancer(routing__http__drop_invalid_header_fields__enabled=drop)
    door = await envoy.serve(to("web"), balancer=balancer)
    headers = {"X_Under": "1", "x.dot": "1", "X-Good-1": "1", "b!d": "1"}
    got = (await ask(door, headers=headers)).seen["headers"]
    assert got["x-good-1"] == "1"
    assert [name in got for name in ("x_under", "x.dot", "b!d")] == [seen] * 3
    assert got["host"] == "any.example.com"
