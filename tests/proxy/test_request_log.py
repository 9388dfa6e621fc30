"""What a real Envoy writes about requests, read back and explained."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable

import grpc.aio
import pytest

from moorage.decide.elbv2_cause import cause_of
from moorage.domain.load_balancer import FixedResponse, Redirect
from moorage.domain.request_record import RequestRecord
from moorage.proxy.driver import Endpoint
from moorage.proxy.envoy.proxy import EnvoyProxy
from moorage.settings import Settings
from proxy.builders import PREFIX, a_load_balancer, a_rule, a_target_group, path, targets, tg_arn, to
from proxy.certificates import Root
from proxy.conftest import Balanced, Ports
from proxy.servers import ask, backend, free_port, raw, raw_backend, reset
from proxy.test_https import call, grpc_echo, serve


class Log:
    def __init__(self, balanced: Balanced) -> None:
        self.balanced = balanced
        self.records: list[RequestRecord] = []
        self._came = asyncio.Event()

    def take(self, records: list[RequestRecord]) -> None:
        self.records += records
        self._came.set()

    async def one(self, fits: Callable[[RequestRecord], bool] = lambda record: True) -> RequestRecord:
        async with asyncio.timeout(10):
            while True:
                self._came.clear()
                found = [record for record in self.records if fits(record)]
                if found:
                    return found[0]
                await self._came.wait()

    async def cause(self, fits: Callable[[RequestRecord], bool] = lambda record: True) -> str | None:
        cause = cause_of(await self.one(fits))
        return cause.code if cause else None


@pytest.fixture
async def log(settings: Settings, ports: Ports) -> AsyncIterator[Log]:
    proxy = EnvoyProxy(settings, port_of=ports, workers=1)
    made = Log(Balanced(proxy, ports))
    proxy.on_requests = made.take  # type: ignore[assignment]
    await proxy.start()
    try:
        yield made
    finally:
        await proxy.stop()


async def test_a_request_is_recorded_with_rule_target_group_and_target(log: Log) -> None:
    async with backend("web") as web:
        await log.balanced.group("web", web)
        door = await log.balanced.serve(to("web"), rules=(a_rule(7, path("/api/*"), action=to("web")),))
        answer = await ask(door, "/api/x?q=1", headers={"User-Agent": "me"})
        record = await log.one()
    assert (record.status, record.method, record.path, record.protocol) == (200, "GET", "/api/x?q=1", "HTTP/1.1")
    assert (record.priority, record.target_group_arn) == (7, tg_arn("web"))
    assert record.target == f"{web.address[0]}:{web.address[1]}"
    assert record.user_agent == "me"
    assert record.trace_id == answer.seen["headers"]["x-amzn-trace-id"]
    assert record.request_time is not None
    assert record.target_time is not None
    assert record.response_time is not None
    assert record.received_bytes > 0
    assert record.sent_bytes > len(answer.body)
    assert record.local_port == door[1]
    assert record.client.startswith("127.")
    assert cause_of(record) is None


async def test_the_default_rule_names_its_load_balancer(log: Log) -> None:
    async with backend("web") as web:
        await log.balanced.group("web", web)
        await ask(await log.balanced.serve(to("web")))
        record = await log.one()
    assert record.priority == 0
    assert record.rule_arn.startswith(f"{PREFIX}listener-rule/app/web/")
    assert record.load_balancer == a_load_balancer().full_name


async def test_nothing_registered(log: Log) -> None:
    await log.balanced.group("web")
    answer = await ask(await log.balanced.serve(to("web")))
    assert answer.status == 503
    assert await log.cause() == "NoRegisteredTargets"
    assert (await log.one()).target_group_arn == tg_arn("web")


async def test_a_refused_connection_names_the_target(log: Log) -> None:
    port = free_port()
    await log.balanced.group("web", Endpoint("127.0.0.1", port))
    answer = await ask(await log.balanced.serve(to("web")))
    assert answer.status == 502
    assert await log.cause() == "TargetConnectionRefused"
    record = await log.one()
    assert record.target == f"127.0.0.1:{port}"
    assert record.status == 502


async def test_a_target_that_resets(log: Log) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        reset(writer)

    async with raw_backend(talk) as endpoint:
        await log.balanced.group("web", endpoint)
        answer = await ask(await log.balanced.serve(to("web")), method="POST", body=b"x")
        assert answer.status == 502
        assert await log.cause() == "TargetReset"


async def test_a_target_that_says_nothing(log: Log) -> None:
    async with backend("web") as web:
        await log.balanced.group("web", web)
        balancer = a_load_balancer(idle_timeout__timeout_seconds="1")
        answer = await ask(await log.balanced.serve(to("web"), balancer=balancer), "/slow")
        assert answer.status == 504
        assert await log.cause() == "TargetTimeout"


async def test_a_target_that_talks_nonsense(log: Log) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"nonsense\r\n\r\n")
        await writer.drain()

    async with raw_backend(talk) as endpoint:
        await log.balanced.group("web", endpoint)
        assert (await ask(await log.balanced.serve(to("web")))).status == 502
        assert await log.cause() == "TargetBadResponse"


async def test_a_target_that_answers_500_by_itself(log: Log) -> None:
    async with backend("web") as web:
        await log.balanced.group("web", web)
        assert (await ask(await log.balanced.serve(to("web")), "/?status=500")).status == 500
        assert await log.cause() == "TargetAnsweredError"


async def test_a_host_that_no_load_balancer_has(log: Log) -> None:
    await log.balanced.serve(FixedResponse("200"))
    await ask(log.balanced.edge(), host="nobody.example.com")
    assert await log.cause() == "UnknownHost"


async def test_a_client_that_goes_away_is_460(log: Log) -> None:
    async with backend("web") as web:
        await log.balanced.group("web", web)
        door = await log.balanced.serve(to("web"))
        _, writer = await asyncio.open_connection(*door)
        writer.write(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        await web.arrived.wait()
        writer.close()
        record = await log.one()
    assert record.status == 460
    assert await log.cause() == "ClientClosed"


async def test_a_client_that_goes_away_in_the_middle_of_its_head_is_400(log: Log) -> None:
    door = await log.balanced.serve(FixedResponse("200"))
    _, writer = await asyncio.open_connection(*door)
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n")
    await writer.drain()
    writer.close()
    assert (await log.one()).status == 400
    assert await log.cause() == "ClientClosed"


async def test_grpc_calls_are_told_from_others(log: Log) -> None:
    root = Root()
    async with grpc_echo() as endpoint:
        for version in ("GRPC", "HTTP2"):
            await log.balanced.proxy.put_target_group(targets(a_target_group("web", version=version), endpoint))
            door = await serve(log.balanced, root.issue("a.example.com"))
            log.records.clear()
            assert await call(door, root, "a.example.com") == b"hello"
            record = await log.one()
            assert (record.status, record.priority, record.grpc) == (200, 0, version == "GRPC")


async def test_grpc_failures_are_logged_with_what_they_are(log: Log) -> None:
    """A gRPC client is told in `grpc-status`; the status on the wire is 200."""
    root = Root()
    refusing = Endpoint("127.0.0.1", free_port())
    for version, members, status in (
        ("GRPC", (), 503),
        ("GRPC", (refusing,), 502),
        ("HTTP1", (), 464),
    ):
        await log.balanced.proxy.put_target_group(targets(a_target_group("web", version=version), *members))
        door = await serve(log.balanced, root.issue("a.example.com"))
        with pytest.raises(grpc.aio.AioRpcError):
            await call(door, root, "a.example.com")
        assert await log.one(lambda record, wanted=status: record.status == wanted)  # type: ignore[misc]
    assert await log.cause(lambda record: record.status == 464) == "ProtocolMismatch"


async def test_redirects_and_fixed_responses(log: Log) -> None:
    rules = (a_rule(1, path("/r"), action=Redirect("HTTP_301", protocol="HTTPS", port="443")),)
    door = await log.balanced.serve(FixedResponse("503", None, "closed"), rules=rules)
    await ask(door, "/r", host="h.example.com")
    await ask(door, "/x")
    fixed = await log.one(lambda record: record.path == "/x")
    assert re.fullmatch("Root=1-[0-9a-f]{8}-[0-9a-f]{24}", fixed.trace_id)
    redirected = await log.one(lambda record: record.status == 301)
    assert redirected.location.startswith("https://h.example.com:")
    assert cause_of(redirected) is None
    assert await log.cause(lambda record: record.status == 503) == "RuleFixedResponse"


async def test_a_malformed_request(log: Log) -> None:
    door = await log.balanced.serve(FixedResponse("200"))
    reader, writer = await asyncio.open_connection(*door)
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n")
    await reader.read()
    writer.close()
    assert await log.cause() == "BadRequest"


@pytest.mark.parametrize("kind", ["lb_cookie", "app_cookie"])
async def test_a_target_that_no_cookie_led_to(log: Log, kind: str) -> None:
    sticky = {"stickiness__enabled": "true", "stickiness__type": kind, "stickiness__app_cookie__cookie_name": "ID"}
    async with backend("web") as web:
        await log.balanced.group("web", web, **sticky)
        door = await log.balanced.serve(to("web"))
        answer = await ask(door, "/first?cookie=ID%3D1")
        cookies = "; ".join(one.partition(";")[0] for one in answer.all("set-cookie"))
        await ask(door, "/second", headers={"Cookie": cookies})
        await ask(door, "/third")
        seen = [await log.one(lambda r, path=path: r.path.startswith(path)) for path in ("/first", "/second", "/third")]
    assert [one.chosen_anew for one in seen] == [True, False, True]


async def test_after_a_restart_of_the_control_plane_a_request_is_told_once(settings: Settings, ports: Ports) -> None:
    told: list[list[str]] = []
    door = None
    for number in (1, 2):
        proxy, fresh, known = EnvoyProxy(settings, port_of=ports, workers=1), Log(Balanced(None, ports)), []  # type: ignore
        proxy.on_requests = fresh.take  # type: ignore[assignment]
        proxy.on_known = known.extend
        await proxy.start()
        balanced = Balanced(proxy, ports)
        door = door or await balanced.serve(FixedResponse("200"))
        await ask(door, f"/{number}")
        await fresh.one(lambda record, number=number: record.path == f"/{number}")
        told.append([record.path for record in (*known, *fresh.records)])
        assert [record.path for record in known] == ([] if number == 1 else ["/1"])
        await (proxy.close() if number == 1 else proxy.stop())
    assert told == [["/1"], ["/1", "/2"]]


async def test_a_trace_id_that_the_client_brought_is_recorded(log: Log) -> None:
    root = "Root=1-67891233-abcdef012345678912345678"
    async with backend("web") as web:
        await log.balanced.group("web", web)
        door = await log.balanced.serve(to("web"), rules=(a_rule(1, path("/own"), action=FixedResponse("200")),))
        seen = (await ask(door, "/forwarded", headers={"X-Amzn-Trace-Id": root})).seen["headers"]["x-amzn-trace-id"]
        await ask(door, "/own", headers={"X-Amzn-Trace-Id": root})
        await raw(door, b'GET /bytes HTTP/1.1\r\nHost: h\r\nX-Amzn-Trace-Id: \xff\xfe"\r\nConnection: close\r\n\r\n')
        forwarded = await log.one(lambda record: record.path == "/forwarded")
        own = await log.one(lambda record: record.path == "/own")
        odd = await log.one(lambda record: record.path == "/bytes")
    assert forwarded.trace_id == seen
    assert own.trace_id.startswith("Self=")
    assert own.trace_id.endswith(root)
    assert odd.trace_id.startswith("Root=1-"), "what it is to be told by, when the client's cannot be written"
