"""Requests that proxies and servers may read differently, through a real Envoy (semantics elbv2 §7)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from moorage.domain.desync import TIERS
from moorage.domain.load_balancer import LoadBalancer
from moorage.domain.request_record import RequestRecord
from moorage.proxy.envoy.desync import filters, mode_of, per_route, shared_mode
from moorage.proxy.envoy.proxy import EnvoyProxy
from moorage.settings import Settings
from proxy.builders import a_load_balancer, to
from proxy.certificates import Root
from proxy.conftest import Balanced, Ports
from proxy.servers import Backend, ask, backend, raw
from proxy.test_https import get, serve
from proxy.test_request_log import Log

GET = b"GET /length HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /length HTTP/1.1\r\nHost: x\r\n"
NOT_COMPLIANT = {
    "EmptyHeader": GET + b"X-Empty:\r\n\r\n",
    "NonCompliantHeader": GET + b"X-Odd: \xff\r\n\r\n",
    "SuspiciousHeader": GET + b"Transfer_Encoding: chunked\r\n\r\n",
    "GetHeadZeroContentLength": GET + b"Content-Length: 0\r\n\r\n",
    "UndefinedContentLengthSemantics": GET + b"Content-Length: 1\r\n\r\na",
    "UndefinedTransferEncodingSemantics": GET + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
}
BOTH = POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"
COMPLIANT = [
    GET + b"\r\n",
    POST + b"Content-Length: 1\r\n\r\na",
    POST + b"Content-Length: 0\r\n\r\n",
    POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
]


def in_mode(mode: str, name: str = "web", loopback: str = "127.83.0.1") -> LoadBalancer:
    return a_load_balancer(name, loopback=loopback, routing__http__desync_mitigation_mode=mode)


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


async def test_strictest_refuses_and_closes(log: Log) -> None:
    async with backend("web") as web:
        await log.balanced.group("web", web)
        balancer = in_mode("strictest")
        for door in (await log.balanced.serve(to("web"), balancer=balancer), log.balanced.edge()):
            for reason, sent in NOT_COMPLIANT.items():
                log.records.clear()
                reader, writer = await asyncio.open_connection(*door)
                writer.write(sent.replace(b"Host: x", f"Host: {balancer.dns_name}".encode()))
                async with asyncio.timeout(10):
                    answer = await reader.read()  # until it is closed
                writer.close()
                assert answer.startswith(b"HTTP/1.1 400"), reason
                record = await log.one()
                assert (record.status, record.desync) == (400, reason)
        assert web.requests == 0


@pytest.mark.parametrize("mode", ["monitor", "strictest", "defensive"])
async def test_what_complies_passes_in_every_mode(envoy: Balanced, web: Backend, mode: str) -> None:
    door = await envoy.serve(to("web"), balancer=in_mode(mode))
    for sent in COMPLIANT:
        assert (await raw(door, sent)).status == 200, sent
    seen = (await raw(door, COMPLIANT[3].replace(b"/length", b"/"))).seen
    assert [name for name in seen["headers"] if name.startswith("x-moorage")] == []


async def test_monitor_lets_it_through_and_notes_it(log: Log) -> None:
    async with backend("web") as web:
        await log.balanced.group("web", web)
        door = await log.balanced.serve(to("web"), balancer=in_mode("monitor"))
        for reason, sent in NOT_COMPLIANT.items():
            log.records.clear()
            assert (await raw(door, sent)).status == 200, reason
            assert (await log.one()).desync == reason
        assert (await raw(door, BOTH)).text == "1", "Transfer-Encoding counts"


async def test_defensive_refuses_what_is_severe_only(envoy: Balanced, web: Backend) -> None:
    door = await envoy.serve(to("web"))
    for reason, sent in NOT_COMPLIANT.items():
        assert (await raw(door, sent)).status == 200, reason
    assert (await raw(door, BOTH)).status == 400


async def test_https_is_watched_too(log: Log) -> None:
    root, balancer = Root(), in_mode("strictest")
    async with backend("web") as web:
        await log.balanced.group("web", web)
        door = await serve(log.balanced, root.issue("a.example.com"), balancer=balancer)
        assert (await get(door, "a.example.com", root.trust(), host="a.example.com\r\nX-Empty:")).status == 400
        record = await log.one()
    assert (record.desync, record.tls_version) == ("EmptyHeader", "TLSv1.2")


async def test_load_balancers_in_different_modes_share_a_door(log: Log) -> None:
    async with backend("web") as web:
        await log.balanced.group("web", web)
        modes = {"monitor": 200, "defensive": 200, "strictest": 400}
        for i, mode in enumerate(modes):
            await log.balanced.serve(to("web"), balancer=in_mode(mode, mode, f"127.83.0.{i + 1}"))
        for mode, status in modes.items():
            log.records.clear()
            host = in_mode(mode, mode).dns_name
            assert (await ask(log.balanced.edge(), host=host, headers={"X-Empty": ""})).status == status
            record = await log.one(lambda record: record.method == "GET")
            assert record.desync == ("" if mode == "defensive" else "EmptyHeader")
            chunked = COMPLIANT[3].replace(b"Host: x", f"Host: {host}".encode()).replace(b"/length", b"/")
            seen = (await raw(log.balanced.edge(), chunked)).seen
            assert [name for name in seen["headers"] if name.startswith("x-moorage")] == []


def test_only_those_who_ask_for_it_are_watched() -> None:
    assert per_route(a_load_balancer()) == {}
    assert filters("defensive") == []
    assert mode_of(a_load_balancer()) == "defensive"


@pytest.mark.parametrize(
    ("modes", "shared"),
    [
        (set(), "defensive"),
        ({"defensive"}, "defensive"),
        ({"defensive", "monitor"}, "strictest"),
        ({"strictest", "monitor"}, "strictest"),
        ({"monitor"}, "monitor"),
    ],
)
def test_a_shared_door_is_as_strict_as_its_strictest(modes: set, shared: str) -> None:  # type: ignore[type-arg]
    assert shared_mode(modes) == shared


def test_every_reason_has_a_tier() -> None:
    assert set(NOT_COMPLIANT) <= set(TIERS)
    assert RequestRecord(0.0, "c", 80, "HTTP/1.1", "GET", "h", "/", 200, 0.0).desync == ""
