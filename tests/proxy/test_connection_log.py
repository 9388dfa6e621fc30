"""What a real Envoy tells of connections, read back: HTTPS connections that ended, flows of network load balancers."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from moorage.decide.elbv2_connection_log import verify_status
from moorage.domain.connection_record import ConnectionRecord
from moorage.domain.load_balancer import FixedResponse
from moorage.domain.request_record import RequestRecord
from moorage.proxy.driver import Certificate, Endpoint, TrustAnchors
from moorage.proxy.envoy.proxy import EnvoyProxy
from moorage.settings import Settings
from proxy.builders import a_load_balancer, tg_arn
from proxy.certificates import Root
from proxy.conftest import Balanced, Ports
from proxy.flows import UdpClient, echo, say, udp_echo
from proxy.servers import Address, Backend, ask, backend, free_port, raw_backend, reset
from proxy.test_https import get
from proxy.test_https import serve as serve_https
from proxy.test_mutual_tls import STORE, VERIFY, client, refused
from proxy.test_mutual_tls import serve as serve_mutual
from proxy.test_network import a_network, put, serve, tcp

Fits = Callable[[ConnectionRecord], bool]


class Log:
    def __init__(self, balanced: Balanced) -> None:
        self.balanced = balanced
        self.requests: list[RequestRecord] = []
        self.connections: list[ConnectionRecord] = []
        self._came = asyncio.Event()

    def take_requests(self, records: list[RequestRecord]) -> None:
        self.requests += records
        self._came.set()

    def take(self, records: list[ConnectionRecord]) -> None:
        self.connections += records
        self._came.set()

    async def one(self, fits: Fits = lambda record: True) -> ConnectionRecord:
        return (await self.some(1, fits))[0]

    async def some(self, count: int, fits: Fits = lambda record: True) -> list[ConnectionRecord]:
        async with asyncio.timeout(10):
            while True:
                self._came.clear()
                found = [record for record in self.connections if fits(record)]
                if len(found) >= count:
                    return found
                await self._came.wait()


@pytest.fixture
async def log(settings: Settings, ports: Ports) -> AsyncIterator[Log]:
    proxy = EnvoyProxy(settings, port_of=ports, workers=1)
    made = Log(Balanced(proxy, ports))
    proxy.on_requests = made.take_requests  # type: ignore[assignment]
    proxy.on_connections = made.take  # type: ignore[assignment]
    await proxy.start()
    try:
        yield made
    finally:
        await proxy.stop()


@pytest.fixture
async def web(log: Log) -> AsyncIterator[Backend]:
    async with backend("web") as made:
        await log.balanced.group("web", made)
        yield made


@pytest.fixture(scope="module")
def root() -> Root:
    return Root()


def ended(record: ConnectionRecord) -> bool:
    return record.event == "end"


# === HTTPS ===========================================================================================================


async def test_a_connection_with_a_client_certificate(log: Log, web: Backend, root: Root, tmp_path: Path) -> None:
    clients = Root()
    door = await serve_mutual(log.balanced, root, VERIFY, TrustAnchors(STORE, clients.pem))
    await get(door, "a.example.com", client(root, tmp_path, clients.issue("alice")))
    record = await log.one()
    assert (record.load_balancer_arn, record.port) == (a_load_balancer().arn, 443)
    assert (record.protocol, record.event, record.subject) == ("HTTPS", "end", "CN=alice")
    assert record.serial
    assert record.not_before < record.not_after
    assert record.handshake is not None
    assert record.tls_version.startswith("TLSv1.")
    assert record.tls_cipher
    assert record.tls_group
    assert verify_status(record) == "Success"
    (request,) = log.requests
    assert (record.connection_id, record.client) == (request.connection_id, request.client)


async def test_connections_that_mutual_tls_refuses(log: Log, web: Backend, root: Root, tmp_path: Path) -> None:
    clients = Root()
    revoked = clients.issue("bob")
    anchors = TrustAnchors(STORE, clients.pem, clients.revoke(revoked))
    door = await serve_mutual(log.balanced, root, VERIFY, anchors)

    async def status_of(shown: Certificate | None) -> str:
        before = len(log.connections)
        assert await refused(door, client(root, tmp_path, shown))
        record = (await log.some(before + 1))[before]
        assert record.handshake is None
        assert record.tls_cipher
        return verify_status(record)

    assert await status_of(clients.issue("late", days=-1)) == "Failed:ClientCertExpired"
    assert await status_of(revoked) == "Failed:ClientCertCrlHit"
    assert await status_of(Root().issue("stranger")) == "Failed:ClientCertUntrusted"
    assert await status_of(None) == "Failed:UnmappedConnectionError"
    assert log.requests == []


async def test_handshakes_that_fail(log: Log, web: Backend, root: Root) -> None:
    door = await serve_https(log.balanced, root.issue("a.example.com"))
    with pytest.raises(ssl.SSLError):
        await get(door, "a.example.com", Root().trust())  # does not believe the load balancer
    record = await log.one()
    assert verify_status(record) == "Failed:UnmappedConnectionError"
    newer = root.trust()
    newer.minimum_version = ssl.TLSVersion.TLSv1_3  # which the default policy does not have
    with pytest.raises(ssl.SSLError):
        await get(door, "a.example.com", newer)
    (_, record) = await log.some(2)
    assert "UNSUPPORTED_PROTOCOL" in record.failure
    assert (record.handshake, record.tls_cipher) == (None, "")


async def test_the_shared_door_says_whose_connection_it_was(log: Log, web: Backend, root: Root) -> None:
    balancer = a_load_balancer()
    await serve_https(log.balanced, root.issue(balancer.dns_name), balancer=balancer)
    with contextlib.suppress(ConnectionError, ssl.SSLError, IndexError):
        await get(log.balanced.edge(443), "nobody.example.com", root.trust())
    await get(log.balanced.edge(443), balancer.dns_name, root.trust(), host=balancer.dns_name)
    record = await log.one()
    assert (record.load_balancer_arn, record.server_name) == (balancer.arn, balancer.dns_name)
    assert len(log.connections) == 1  # a name that nobody has is nobody's connection


async def test_plain_connections_write_nothing_and_requests_tell_them_apart(log: Log, web: Backend) -> None:
    door = await log.balanced.serve(FixedResponse("200"))
    reader, writer = await asyncio.open_connection(*door)
    for _ in range(2):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
    writer.close()
    await ask(door)
    async with asyncio.timeout(10):
        while len(log.requests) < 3:
            await asyncio.sleep(0.02)
    first, second, third = (one.connection_id for one in log.requests)
    assert first == second != third
    assert log.connections == []


# === flows of network load balancers ==================================================================================


async def test_a_flow_begins_and_ends(log: Log) -> None:
    net = a_network()
    async with echo("one") as one:
        await put(log.balanced, "web", one)
        await serve(log.balanced, tcp(net, "web"), balancer=net)
        for door in ((net.loopback, log.balanced.ports(5432)), log.balanced.edge(5432)):
            await say(door)
    own, shared = await log.some(2, ended)
    assert (own.load_balancer_arn, own.port, own.protocol) == (net.arn, 5432, "TCP")
    assert (own.received_bytes, own.sent_bytes) == (5, 9)
    assert (own.target_group_arn, own.target) == (tg_arn("web"), f"{one.address}:{one.port}")
    assert (own.client_close, own.target_close, own.flags) == ("Normal", "Normal", "")
    assert shared.load_balancer_arn == net.arn
    begun = [record.connection_id for record in log.connections if record.event == "begin"]
    assert begun == [own.connection_id, shared.connection_id]


async def test_who_reset_a_flow(log: Log) -> None:
    async def angry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        reset(writer)

    net = a_network()
    async with echo("one") as one, raw_backend(angry) as two:
        await put(log.balanced, "web", one)
        await put(log.balanced, "angry", two)
        await serve(log.balanced, tcp(net, "web", port=1), tcp(net, "angry", port=2), balancer=net)
        await say((net.loopback, log.balanced.ports(2)))
        by_target = await log.one(ended)
        reader, writer = await asyncio.open_connection(net.loopback, log.balanced.ports(1))
        writer.write(b"x")
        await reader.read(100)
        reset(writer)
        by_client = (await log.some(2, ended))[1]
    assert by_target.target_close == "RemoteReset"
    assert (by_client.client_close, by_client.target_close) == ("RemoteReset", "Normal")


async def test_flows_that_no_target_takes(log: Log) -> None:
    net = a_network()
    await put(log.balanced, "dead", Endpoint("127.0.0.1", free_port()))
    await put(log.balanced, "none")
    await serve(log.balanced, tcp(net, "dead", port=1), tcp(net, "none", port=2), balancer=net)
    for port in (1, 2):
        assert await say((net.loopback, log.balanced.ports(port))) == b""
    dead, none = await log.some(2)
    assert (dead.event, none.event) == ("end", "end")
    assert "UF" in dead.flags
    assert dead.target
    assert "UH" in none.flags


async def test_tls_flows(log: Log, root: Root) -> None:
    net, server = a_network(), root.issue("a.example.com")
    async with echo("one") as one:
        await put(log.balanced, "web", one)
        plain = tcp(net, "web", port=443, protocol="TLS")
        await serve(
            log.balanced,
            msgspec.structs.replace(plain, certificates=(server.arn,)),
            balancer=net,
            certificates=(server,),
        )
        door = (net.loopback, log.balanced.ports(443))
        reader, writer = await asyncio.open_connection(*door, ssl=root.trust(), server_hostname="a.example.com")
        writer.write(b"hello")
        assert await reader.read(100) == b"one:hello"
        writer.close()
        good = await log.one(ended)
        with pytest.raises(ssl.SSLError):
            await asyncio.open_connection(*door, ssl=Root().trust(), server_hostname="a.example.com")
        await _talk(door, b"GET / HTTP/1.1\r\n\r\n")
        _, distrusted, nonsense = await log.some(3, ended)
    assert (good.protocol, good.server_name, good.received_bytes, good.sent_bytes) == ("TLS", "a.example.com", 5, 9)
    assert good.tls_is_settled
    assert good.tls_cipher
    assert not distrusted.tls_is_settled
    assert not nonsense.tls_is_settled
    # a target never hears of a client that TLS fails for
    assert [record.connection_id for record in log.connections if record.event == "begin"] == [good.connection_id]


async def test_a_tls_flow_through_the_shared_door_is_told_once(log: Log, root: Root) -> None:
    net = a_network()
    server = root.issue(net.dns_name)
    async with echo("one") as one:
        await put(log.balanced, "web", one)
        secured = msgspec.structs.replace(tcp(net, "web", port=443, protocol="TLS"), certificates=(server.arn,))
        await serve(log.balanced, secured, balancer=net, certificates=(server,))
        door = log.balanced.edge(443)
        for _ in range(2):
            _, writer = await asyncio.open_connection(*door, ssl=root.trust(), server_hostname=net.dns_name)
            writer.close()
        ends = await log.some(2, ended)
    assert [(one.protocol, one.load_balancer_arn) for one in ends] == [("TLS", net.arn)] * 2


async def test_datagrams(log: Log) -> None:
    net = a_network()
    async with udp_echo("one") as one:
        await put(log.balanced, "web", one, protocol="UDP")
        await serve(log.balanced, tcp(net, "web", port=53, protocol="UDP"), balancer=net)
        async with UdpClient((net.loopback, log.balanced.ports(53))) as flow:
            await flow.say(b"hello")
        await log.balanced.proxy.remove_load_balancer(net.arn)
        record = await log.one()
    assert (record.load_balancer_arn, record.port, record.protocol, record.event) == (net.arn, 53, "UDP", "end")
    assert (record.received_bytes, record.sent_bytes) == (5, 9)
    assert record.target_group_arn == tg_arn("web")


async def _talk(door: Address, data: bytes) -> None:
    """What somebody says who does not speak TLS."""
    reader, writer = await asyncio.open_connection(*door)
    writer.write(data)
    with contextlib.suppress(ConnectionError):
        await reader.read()
    writer.close()
