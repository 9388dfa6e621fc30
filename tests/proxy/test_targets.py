"""Targets of a real Envoy come, go, fall ill and die under load."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp

from moorage.proxy.driver import Endpoint
from moorage.proxy.envoy.pages import page
from proxy.builders import a_load_balancer, a_target_group, targets, tg_arn, to
from proxy.certificates import Root
from proxy.conftest import Balanced
from proxy.servers import Address, Answer, Backend, ask, backend, free_port, raw_backend, reset


async def names(door: Address, count: int = 20) -> set[str]:
    return {(await ask(door)).seen["name"] for _ in range(count)}


async def test_only_healthy_targets(envoy: Balanced) -> None:
    async with backend("one") as one, backend("two") as two:
        await envoy.group("web", one, two)
        door = await envoy.serve(to("web"))
        assert await names(door) == {"one", "two"}
        await envoy.group("web", one, two.sick)
        assert await names(door) == {"one"}


async def test_fail_open(envoy: Balanced) -> None:
    async with backend("one") as one, backend("two") as two:
        await envoy.group("web", one.sick, two.sick)
        door = await envoy.serve(to("web"))
        assert await names(door) == {"one", "two"}
        await envoy.group("web", one.sick, two)
        assert await names(door) == {"two"}


async def test_algorithms(envoy: Balanced) -> None:
    async with backend("one") as one, backend("two") as two:
        await envoy.group("web", one, two)
        door = await envoy.serve(to("web"))
        counts = collections.Counter([(await ask(door)).seen["name"] for _ in range(40)])
        assert set(counts.values()) == {20}
        await envoy.group("web", one, two, load_balancing__algorithm__type="least_outstanding_requests")
        held = []
        for i in range(4):
            held.append(asyncio.create_task(ask(door, "/slow")))
            while one.busy + two.busy <= i:
                await asyncio.sleep(0.01)
        assert (one.busy, two.busy) == (2, 2)
        one.let_go()
        two.let_go()
        await asyncio.gather(*held)


async def test_requests_in_flight_finish_when_the_target_goes(envoy: Balanced) -> None:
    async with backend("old") as old, backend("new") as new:
        await envoy.group("web", old)
        door = await envoy.serve(to("web"))
        held = [asyncio.create_task(ask(door, "/slow", method=m)) for m in ("GET", "POST")]
        while old.busy < 2:
            await asyncio.sleep(0.01)
        await envoy.group("web", new)
        assert await names(door) == {"new"}
        await asyncio.sleep(3.0)  # as long as such a request lasts in real life
        assert not any(task.done() for task in held)
        old.let_go()
        assert {answer.seen["name"] for answer in await asyncio.gather(*held)} == {"old"}


async def test_requests_in_flight_finish_when_the_load_balancer_goes(envoy: Balanced, web: Backend) -> None:
    door = await envoy.serve(to("web"))
    held = asyncio.create_task(ask(door, "/slow"))
    await web.arrived.wait()
    await envoy.proxy.remove_load_balancer(a_load_balancer().arn)
    web.let_go()
    assert (await held).status == 200


async def test_a_refused_connection_is_tried_elsewhere(envoy: Balanced) -> None:
    async with backend("one") as one:
        await envoy.group("web", one, Endpoint("127.0.0.1", free_port()), Endpoint("127.0.0.1", free_port()))
        door = await envoy.serve(to("web"))
        for method in ("GET", "POST"):
            answers = [await ask(door, method=method, body=b"x") for _ in range(30)]
            assert {answer.status for answer in answers} == {200}


async def test_a_pooled_connection_that_breaks(envoy: Balanced) -> None:
    """The target drops a kept connection at the very moment of the next request: GET is repeated, POST is not."""
    methods: list[str] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        methods.append(request.split()[0].decode())
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        request = await reader.readuntil(b"\r\n\r\n")
        methods.append(request.split()[0].decode() + " broken")
        reset(writer)

    async with raw_backend(talk) as endpoint:
        await envoy.group("web", endpoint)
        door = await envoy.serve(to("web"))
        assert [(await ask(door)).status for _ in range(4)] == [200] * 4
        assert "GET broken" in methods
        posts = [(await ask(door, method="POST")).status for _ in range(4)]
        assert methods.count("POST broken") == posts.count(502)
        assert methods.count("POST") == posts.count(200)


async def test_https_targets_are_believed_whatever_they_show(envoy: Balanced, tmp_path: Path) -> None:
    shown = Root().issue("nobody.example.com", days=-1)
    (tmp_path / "chain.pem").write_bytes(shown.chain)
    (tmp_path / "key.pem").write_bytes(shown.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "chain.pem", tmp_path / "key.pem")

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()

    async with raw_backend(talk, tls=context) as endpoint:
        await envoy.proxy.put_target_group(targets(a_target_group("web", protocol="HTTPS"), endpoint))
        answer = await ask(await envoy.serve(to("web")))
        assert (answer.status, answer.text) == (200, "ok")


async def test_https_targets_that_do_not_speak_tls(envoy: Balanced, web: Backend) -> None:
    await envoy.proxy.put_target_group(targets(a_target_group("web", protocol="HTTPS"), web.endpoint))
    answer = await ask(await envoy.serve(to("web")))
    assert (answer.status, answer.text) == (502, page(502))


@contextlib.asynccontextmanager
async def load(door: Address, *, host: str = "any.example.com") -> AsyncIterator[list[Answer | Exception]]:
    """Four clients asking without pause; what they got."""
    got: list[Answer | Exception] = []
    done = asyncio.Event()

    async def client() -> None:
        while not done.is_set():
            try:
                got.append(await ask(door, host=host))
            except Exception as error:
                got.append(error)
            await asyncio.sleep(0.002)

    clients = [asyncio.create_task(client()) for _ in range(4)]
    try:
        yield got
    finally:
        done.set()
        await asyncio.gather(*clients)


async def test_no_request_fails_while_targets_change(envoy: Balanced) -> None:
    async with backend("base") as base:
        await envoy.group("web", base)
        door = await envoy.serve(to("web"))
        async with load(door) as got:
            for i in range(12):
                async with backend(f"extra-{i}") as extra:
                    await envoy.group("web", base, extra)
                    while extra.requests < 5:
                        await asyncio.sleep(0.005)
                    if i % 3 == 0:
                        await envoy.group("web", base)  # removed, then stopped
                    elif i % 3 == 1:
                        await envoy.group("web", base, extra.sick)
                # i % 3 == 2: killed while it is in rotation
            await envoy.group("web", base)
    bad = [a for a in got if isinstance(a, Exception) or a.status != 200]
    assert len(got) > 100
    assert bad == []


async def test_no_request_fails_while_rules_change(envoy: Balanced, web: Backend) -> None:
    from moorage.domain.load_balancer import FixedResponse
    from proxy.builders import a_rule, path

    door = await envoy.serve(to("web"))
    async with load(door) as got:
        for i in range(50):
            rules = (a_rule(1, path(f"/x{i}"), action=FixedResponse("200", None, str(i))),)
            await envoy.serve(to("web"), rules=rules)
            assert (await ask(door, f"/x{i}")).text == str(i)
    assert [a for a in got if isinstance(a, Exception) or a.status != 200] == []


async def test_attributes_change_under_load(envoy: Balanced, web: Backend) -> None:
    door = await envoy.serve(to("web"))
    async with load(door) as got:
        for algorithm in ("least_outstanding_requests", "weighted_random", "round_robin") * 3:
            await envoy.group("web", web, load_balancing__algorithm__type=algorithm)
    assert [a for a in got if isinstance(a, Exception) or a.status != 200] == []


async def test_web_socket(envoy: Balanced, web: Backend) -> None:
    await envoy.serve(to("web"))
    url = f"http://127.0.0.1:{envoy.ports(80)}/ws"
    async with (
        aiohttp.ClientSession(headers={"Host": a_load_balancer().dns_name}) as session,
        session.ws_connect(url) as socket,
    ):
        await socket.send_str("hello")
        assert await socket.receive_str() == "web: hello"


async def test_the_idle_timeout_holds_for_web_sockets(envoy: Balanced, web: Backend) -> None:
    door = await envoy.serve(to("web"), balancer=a_load_balancer(idle_timeout__timeout_seconds="1"))
    url = f"http://{door[0]}:{door[1]}/ws"
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
        await socket.send_str("hello")
        assert await socket.receive_str() == "web: hello"
        assert (await socket.receive(timeout=20)).type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSE)


async def test_big_and_chunked_bodies(envoy: Balanced, web: Backend) -> None:
    door = await envoy.serve(to("web"))
    base = f"http://{door[0]}:{door[1]}"
    big = bytes(range(256)) * 4096 * 20  # 20 MB

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(big), 1 << 20):
            yield big[start : start + (1 << 20)]

    async with aiohttp.ClientSession() as session:
        async with session.post(f"{base}/length", data=big) as answer:
            assert await answer.text() == str(len(big))
        async with session.post(f"{base}/chunks", data=pieces()) as answer:
            assert await answer.read() == big


async def test_an_address_that_answers_nothing_is_passed_over(envoy: Balanced) -> None:
    """What a killed task leaves behind: here a full backlog, which the kernel leaves unanswered."""
    import socket

    with socket.socket() as dead, contextlib.ExitStack() as stack:
        dead.bind(("127.0.0.1", 0))
        dead.listen(0)
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(dead.getsockname())
        async with backend("alive") as alive:
            await envoy.group("web", alive, Endpoint(*dead.getsockname()))
            door = await envoy.serve(to("web"))
            answers = await asyncio.gather(*(ask(door, method=m, body=b"x") for m in ("GET", "POST") * 10))
    assert {answer.status for answer in answers} == {200}


async def test_anomaly_mitigation_passes_a_failing_target_over(envoy: Balanced) -> None:
    async with backend("one") as one, backend("two") as two, backend("bad") as bad:
        await envoy.group(
            "web", one, two, bad,
            load_balancing__algorithm__type="weighted_random",
            load_balancing__algorithm__anomaly_mitigation="on",
        )  # fmt: skip
        door = await envoy.serve(to("web"))
        assert await envoy.proxy.passed_over(tg_arn("web")) == frozenset()
        bad.status = 500
        for _ in range(200):
            await ask(door)
            if found := await envoy.proxy.passed_over(tg_arn("web")):
                break
        assert found == {bad.address}
        assert await names(door) == {"one", "two"}
