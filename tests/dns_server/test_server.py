"""The DNS server on a free port, asked by a real resolver library."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import dns.asyncquery
import dns.message
import dns.rcode
import pytest

from moorage.dns import server as module
from moorage.dns.answers import answer
from moorage.dns.resolvers import nameservers
from moorage.dns.server import DnsServer

NAMES = {"web.us-east-1.elb.localhost": ["10.0.0.5", "10.0.1.5"], "empty.elb.localhost": []}


def names(name: str) -> Sequence[str] | None:
    return NAMES.get(name)


@pytest.fixture
async def door() -> AsyncIterator[int]:
    server = DnsServer(names, lambda: ["127.0.0.1"], port=0)
    yield await server.listen("127.0.0.1")
    await server.close()


@pytest.mark.parametrize("ask", [dns.asyncquery.udp, dns.asyncquery.tcp])
async def test_our_names_are_answered(door: int, ask: object) -> None:
    question = dns.message.make_query("WEB.us-east-1.elb.localhost.", "A")
    reply = await ask(question, "127.0.0.1", port=door, timeout=5)  # type: ignore[operator]
    assert sorted(item.address for item in reply.answer[0]) == ["10.0.0.5", "10.0.1.5"]
    assert reply.answer[0].ttl == 60


async def test_other_types_and_names_without_addresses_are_empty(door: int) -> None:
    for name, kind in (("web.us-east-1.elb.localhost.", "AAAA"), ("empty.elb.localhost.", "A")):
        reply = await dns.asyncquery.udp(dns.message.make_query(name, kind), "127.0.0.1", port=door, timeout=5)
        assert (reply.rcode(), list(reply.answer)) == (dns.rcode.NOERROR, [])


async def test_other_names_go_to_the_machines_resolvers(monkeypatch: pytest.MonkeyPatch) -> None:
    behind = DnsServer({"example.com": ["192.0.2.1"]}.get, list, port=0)
    monkeypatch.setattr(module, "PORT", await behind.listen("127.0.0.1"))
    front = DnsServer(names, lambda: ["127.0.0.1"], port=0)
    port = await front.listen("127.0.0.1")
    for ask in (dns.asyncquery.udp, dns.asyncquery.tcp):
        reply = await ask(dns.message.make_query("example.com.", "A"), "127.0.0.1", port=port, timeout=5)
        assert [item.address for item in reply.answer[0]] == ["192.0.2.1"]
    await front.close()
    await behind.close()


async def test_nobody_to_ask_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    server = DnsServer(names, list, port=0)
    port = await server.listen("127.0.0.1")
    reply = await dns.asyncquery.udp(dns.message.make_query("example.com.", "A"), "127.0.0.1", port=port, timeout=5)
    assert reply.rcode() == dns.rcode.SERVFAIL
    await server.close()


async def test_nonsense_is_survived(door: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", door)
    writer.write(b"\x00\x03abc")
    assert await reader.read() == b""
    writer.close()
    assert answer(b"", names) is None
    assert answer(b"\xff" * 40, names) is None
    await test_our_names_are_answered(door, dns.asyncquery.udp)


async def test_it_listens_where_no_address_is_yet() -> None:
    server = DnsServer(names, list, port=0)
    assert await server.listen("192.0.2.77")
    assert server.addresses == ("192.0.2.77",)
    await server.close()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("nameserver 10.0.0.2\nsearch x\nnameserver ::1\n", ("10.0.0.2",)),
        ("nameserver 127.0.0.53\noptions edns0\n", ()),
        ("# nameserver 1.1.1.1\nnameserver nonsense\nnameserver\n", ()),
    ],
)
def test_resolv_conf(text: str, found: tuple[str, ...]) -> None:
    assert nameservers(text) == found


async def test_a_door_can_be_closed_and_opened_again() -> None:
    server = DnsServer(names, list, port=0)
    await server.listen("127.0.0.1")
    server.leave("127.0.0.1")
    server.leave("127.0.0.1")
    assert server.addresses == ()
    port = await server.listen("127.0.0.1")
    question = dns.message.make_query("web.us-east-1.elb.localhost.", "A")
    assert (await dns.asyncquery.udp(question, "127.0.0.1", port=port, timeout=5)).answer
    await server.close()
