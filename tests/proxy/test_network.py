"""Network load balancers on a real Envoy, talked to over TCP, TLS and UDP."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from moorage.domain.load_balancer import Listener, LoadBalancer
from moorage.proxy.driver import Certificate, Endpoint
from moorage.proxy.envoy.proxy import EnvoyProxy
from moorage.settings import Settings
from proxy.builders import a_config, a_listener, a_load_balancer, a_target_group, targets, tg_arn, to
from proxy.certificates import Root
from proxy.conftest import Balanced, Ports
from proxy.flows import UdpClient, echo, say, udp_echo
from proxy.servers import Address, Backend, ask, backend, raw_backend


def a_network(name: str = "net", *, loopback: str = "127.83.0.9", created_at: float = 0.0) -> LoadBalancer:
    plain = a_load_balancer(name, loopback=loopback, dns_name=f"{name}-50dc6c495c0c9188.elb.us-east-1.localhost")
    return msgspec.structs.replace(
        plain, arn=plain.arn.replace("/app/", "/net/"), type="network", created_at=created_at, full_name=f"net/{name}/1"
    )


async def serve(
    envoy: Balanced, *listeners: Listener, balancer: LoadBalancer, certificates: tuple[Certificate, ...] = ()
) -> LoadBalancer:
    config = a_config(balancer, *listeners)
    await envoy.proxy.put_load_balancer(
        msgspec.structs.replace(config, certificates={one.arn: one for one in certificates})
    )
    return balancer


def tcp(balancer: LoadBalancer, *groups: str | tuple[str, int], port: int = 5432, protocol: str = "TCP") -> Listener:
    return a_listener(balancer, to(*groups), port=port, protocol=protocol)


async def put(envoy: Balanced, name: str, *endpoints: Endpoint, protocol: str = "TCP", **attributes: str) -> None:
    await envoy.proxy.put_target_group(targets(a_target_group(name, protocol=protocol, **attributes), *endpoints))


async def test_bytes_flow_through_both_doors(envoy: Balanced) -> None:
    async with echo("one") as one:
        await put(envoy, "web", one)
        net = a_network()
        await serve(envoy, tcp(net, "web"), balancer=net)
        assert await say((net.loopback, envoy.ports(5432))) == b"one:hello"
        assert await say(envoy.edge(5432)) == b"one:hello"


async def test_connections_go_round_and_follow_weights(envoy: Balanced) -> None:
    async with echo("one") as one, echo("two") as two:
        await put(envoy, "web", one, two)
        net = a_network()
        await serve(envoy, tcp(net, "web"), balancer=net)
        door = (net.loopback, envoy.ports(5432))
        assert collections.Counter([(await say(door))[:3] for _ in range(20)]) == {b"one": 10, b"two": 10}
        await put(envoy, "blue", one)
        await put(envoy, "green", two)
        await serve(envoy, tcp(net, ("blue", 1), ("green", 0)), balancer=net)
        assert {(await say(door))[:3] for _ in range(10)} == {b"one"}
        await serve(envoy, tcp(net, ("blue", 1), ("green", 1)), balancer=net)
        assert {(await say(door))[:3] for _ in range(40)} == {b"one", b"two"}


async def test_an_ill_target_gets_no_connections_until_all_are_ill(envoy: Balanced) -> None:
    async with echo("one") as one, echo("two") as two:
        net = a_network()
        ill = msgspec.structs.replace(one, healthy=False)
        await put(envoy, "web", ill, two)
        await serve(envoy, tcp(net, "web"), balancer=net)
        door = (net.loopback, envoy.ports(5432))
        assert {(await say(door))[:3] for _ in range(10)} == {b"two"}
        await put(envoy, "web", ill)
        assert await say(door) == b"one:hello"
        await put(envoy, "web")
        assert await say(door) == b""


async def test_a_sticky_group_chooses_by_the_client_address(envoy: Balanced) -> None:
    async with echo("one") as one, echo("two") as two, echo("six") as three:
        await put(envoy, "web", one, two, three, stickiness__enabled="true")
        net = a_network()
        await serve(envoy, tcp(net, "web"), balancer=net)
        door = (net.loopback, envoy.ports(5432))
        by_client = {
            source: {(await say(door, source=source))[:3] for _ in range(5)}
            for source in (f"127.0.7.{n}" for n in range(1, 13))
        }
        assert all(len(found) == 1 for found in by_client.values())
        assert len(set().union(*by_client.values())) > 1


async def test_a_target_may_speak_first_behind_tls(envoy: Balanced) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 ready")
        await reader.read()

    root, net = Root(), a_network()
    server = root.issue("a.example.com")
    async with raw_backend(greet) as endpoint:
        await put(envoy, "web", endpoint)
        listener = msgspec.structs.replace(tcp(net, "web", port=465, protocol="TLS"), certificates=(server.arn,))
        await serve(envoy, listener, balancer=net, certificates=(server,))
        door = (net.loopback, envoy.ports(465))
        reader, writer = await asyncio.open_connection(*door, ssl=root.trust(), server_hostname="a.example.com")
        assert await reader.readexactly(9) == b"220 ready"
        writer.close()


async def test_datagrams(envoy: Balanced) -> None:
    async with udp_echo("one") as one, udp_echo("two") as two:
        await put(envoy, "web", one, two, protocol="UDP")
        net = a_network()
        await serve(envoy, tcp(net, "web", port=53, protocol="UDP"), balancer=net)
        heard = set()
        for door in ((net.loopback, envoy.ports(53)), envoy.edge(53)):
            for _ in range(8):
                async with UdpClient(door) as client:
                    first = await client.say(b"a")
                    assert (await client.say(b"b"))[:3] == first[:3]  # a flow stays where it began
                    heard.add(first[:3])
        assert heard == {b"one", b"two"}
        async with UdpClient((net.loopback, envoy.ports(53))) as client:
            large = bytes(65000)
            assert (await client.say(large))[4:] == large


async def test_flows_stay_with_a_target_that_is_ill_or_drains(envoy: Balanced) -> None:
    async with udp_echo("one") as one, udp_echo("two") as two:
        group = a_target_group("web", protocol="UDP")
        await envoy.proxy.put_target_group(targets(group, one))
        net = a_network()
        await serve(envoy, tcp(net, "web", port=53, protocol="UDP"), balancer=net)
        door = (net.loopback, envoy.ports(53))

        async def new_ones() -> set[bytes]:
            heard = set()
            for _ in range(10):
                async with UdpClient(door) as client:
                    heard.add((await client.say(b"x"))[:3])
            return heard

        ill = msgspec.structs.replace(one, healthy=False)
        async with UdpClient(door) as flow:
            assert (await flow.say(b"a"))[:3] == b"one"
            for config in (targets(group, ill, two), msgspec.structs.replace(targets(group, two), leaving=(ill,))):
                await envoy.proxy.put_target_group(config)
                assert (await flow.say(b"b"))[:3] == b"one"
                assert await new_ones() == {b"two"}
            await envoy.proxy.put_target_group(targets(group, two))
            assert (await flow.say(b"c"))[:3] == b"two", "the delay is over"


async def test_weights_of_datagrams(envoy: Balanced) -> None:
    async with udp_echo("one") as one, udp_echo("two") as two:
        await put(envoy, "blue", one, protocol="UDP")
        await put(envoy, "green", two, protocol="UDP")
        net = a_network()
        await serve(envoy, tcp(net, ("blue", 1), ("green", 1), port=53, protocol="UDP"), balancer=net)
        door = (net.loopback, envoy.ports(53))
        heard = set()
        for _ in range(40):
            async with UdpClient(door) as client:
                heard.add((await client.say(b"a"))[:3])
        assert heard == {b"one", b"two"}


async def test_both_on_one_port(envoy: Balanced) -> None:
    async with echo("tcp") as stream, udp_echo("udp", stream.port) as _:
        await put(envoy, "web", stream, protocol="TCP_UDP")
        net = a_network()
        await serve(envoy, tcp(net, "web", port=53, protocol="TCP_UDP"), balancer=net)
        door = (net.loopback, envoy.ports(53))
        assert await say(door) == b"tcp:hello"
        async with UdpClient(door) as client:
            assert await client.say(b"hello") == b"udp:hello"


async def test_the_proxy_protocol_tells_the_client(envoy: Balanced) -> None:
    seen: asyncio.Queue[bytes] = asyncio.Queue()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.put_nowait(await reader.readexactly(28 + 5))

    async with raw_backend(talk) as one:
        await put(envoy, "web", one, proxy_protocol_v2__enabled="true")
        net = a_network()
        await serve(envoy, tcp(net, "web"), balancer=net)
        await say((net.loopback, envoy.ports(5432)), source="127.0.7.7")
        head = await seen.get()
        assert head[:16] == b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c"
        assert head[16:20] == bytes((127, 0, 7, 7))
        assert head[20:24] == bytes(int(part) for part in net.loopback.split("."))
        assert head[28:] == b"hello"


@pytest.fixture(scope="module")
def root() -> Root:
    return Root()


def secured(balancer: LoadBalancer, *certificates: Certificate, alpn: str | None = None, port: int = 443) -> Listener:
    return msgspec.structs.replace(
        tcp(balancer, "web", port=port, protocol="TLS"),
        certificates=tuple(one.arn for one in certificates),
        alpn_policy=(alpn,) if alpn else (),
    )


async def say_tls(
    door: Address, context: ssl.SSLContext, name: str, data: bytes = b"hello"
) -> tuple[bytes, str | None]:
    reader, writer = await asyncio.open_connection(*door, ssl=context, server_hostname=name)
    try:
        writer.write(data)
        answer = await reader.read(4096)
        return answer, writer.get_extra_info("ssl_object").selected_alpn_protocol()
    finally:
        writer.close()


async def test_tls_ends_at_the_load_balancer(envoy: Balanced, root: Root) -> None:
    async with echo("one") as one:
        await put(envoy, "web", one)
        net = a_network()
        a, b = root.issue("a.example.com"), root.issue("b.example.com")
        await serve(envoy, secured(net, a, b), balancer=net, certificates=(a, b))
        door = (net.loopback, envoy.ports(443))
        for name in ("a.example.com", "b.example.com"):
            assert await say_tls(door, root.trust(), name) == (b"one:hello", None)


@pytest.mark.parametrize(
    ("policy", "offered", "chosen"),
    [
        ("HTTP1Only", ["h2", "http/1.1"], "http/1.1"),
        ("HTTP2Only", ["http/1.1", "h2"], "h2"),
        ("HTTP2Optional", ["h2", "http/1.1"], "http/1.1"),
        ("HTTP2Preferred", ["http/1.1", "h2"], "h2"),
        ("None", ["h2", "http/1.1"], None),
    ],
)
async def test_alpn(envoy: Balanced, root: Root, policy: str, offered: list[str], chosen: str | None) -> None:
    async with echo("one") as one:
        await put(envoy, "web", one)
        net = a_network()
        certificate = root.issue("a.example.com")
        await serve(envoy, secured(net, certificate, alpn=policy), balancer=net, certificates=(certificate,))
        context = root.trust()
        context.set_alpn_protocols(offered)
        door = (net.loopback, envoy.ports(443))
        assert await say_tls(door, context, "a.example.com") == (b"one:hello", chosen)


async def test_tls_to_the_target_and_the_shared_door_by_name(envoy: Balanced, root: Root, tmp_path: Path) -> None:
    """Two network load balancers on one port of the shared address, told apart by the TLS name."""
    inner = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own = root.issue("inside.example.com")
    (tmp_path / "inside.pem").write_bytes(own.key + own.chain)
    inner.load_cert_chain(tmp_path / "inside.pem")

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"inside:" + await reader.read(100))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=inner)
    async with server, echo("one") as one:
        await put(envoy, "deep", Endpoint(*server.sockets[0].getsockname()), protocol="TLS")
        await put(envoy, "flat", one)
        doors = {}
        for number, (name, group) in enumerate((("net-a", "deep"), ("net-b", "flat"))):
            net = a_network(name, loopback=f"127.83.0.{20 + number}")
            certificate = root.issue(net.dns_name)
            listener = msgspec.structs.replace(secured(net, certificate), default_actions=(to(group),))
            await serve(envoy, listener, balancer=net, certificates=(certificate,))
            doors[name] = net
        for name, answer in (("net-a", b"inside:hello"), ("net-b", b"one:hello")):
            assert (await say_tls(envoy.edge(443), root.trust(), doors[name].dns_name))[0] == answer


async def test_a_shared_port_stays_with_those_who_share_it_by_name(envoy: Balanced, web: Backend) -> None:
    async with echo("one") as one, echo("two") as two:
        await put(envoy, "first", one)
        await put(envoy, "second", two)
        first = a_network("first", loopback="127.83.0.30", created_at=1.0)
        second = a_network("second", loopback="127.83.0.31", created_at=2.0)
        await serve(envoy, tcp(second, "second", port=80), balancer=second)
        assert await say(envoy.edge(80)) == b"two:hello"
        await serve(envoy, tcp(first, "first", port=80), balancer=first)
        assert await say(envoy.edge(80)) == b"one:hello"
        await envoy.serve(to("web"))
        answer = await ask(envoy.edge(80), host=a_load_balancer().dns_name)
        assert answer.seen["name"] == "web"
        for net, said in ((first, b"one:hello"), (second, b"two:hello")):
            assert await say((net.loopback, envoy.ports(80))) == said
        await envoy.proxy.remove_load_balancer(a_load_balancer().arn)
        assert await say(envoy.edge(80)) == b"one:hello"
        await envoy.proxy.remove_load_balancer(first.arn)
        assert await say(envoy.edge(80)) == b"two:hello"
        await envoy.proxy.remove_load_balancer(second.arn)
        with pytest.raises(OSError):
            await say(envoy.edge(80))


async def test_a_taken_port_of_the_shared_address_does_no_harm(envoy: Balanced) -> None:
    async with echo("one") as one:
        await put(envoy, "web", one)
        net = a_network()
        async with raw_backend_on(envoy.ports(5432)):
            await serve(envoy, tcp(net, "web"), balancer=net)
            assert await say((net.loopback, envoy.ports(5432))) == b"one:hello"


@contextlib.asynccontextmanager
async def raw_backend_on(port: int) -> AsyncIterator[None]:
    server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", port)
    async with server:
        yield


async def test_connections_of_a_deregistered_target_live_until_they_are_cut(envoy: Balanced) -> None:
    async with echo("one") as one, echo("two") as two:
        await put(envoy, "web", one, two)
        net = a_network()
        await serve(envoy, tcp(net, "web"), balancer=net)
        held = []
        for _ in range(2):
            reader, writer = await asyncio.open_connection(net.loopback, envoy.ports(5432))
            writer.write(b"x")
            held.append((await reader.read(100), reader, writer))
        await put(envoy, "web", two)
        for name, reader, writer in held:
            writer.write(b"y")
            assert (await reader.read(100))[:3] == name[:3]
        assert await envoy.proxy.cut([(one.address, one.port)]) == 1
        for name, reader, writer in held:
            if name.startswith(b"one"):
                assert await reader.read(100) == b""
            else:
                writer.write(b"z")
                assert await reader.read(100) == b"two:z"


async def test_a_request_in_flight_answers_502_when_it_is_cut(envoy: Balanced) -> None:
    async with backend("old") as old:
        await envoy.group("web", old)
        door = await envoy.serve(to("web"))
        held = asyncio.create_task(ask(door, "/slow", method="POST"))
        await old.arrived.wait()
        await envoy.group("web")
        assert not held.done()
        assert await envoy.proxy.cut([old.address]) == 1
        assert (await held).status == 502


async def test_zones_have_the_same_share_without_cross_zone_balancing(envoy: Balanced) -> None:
    async with contextlib.AsyncExitStack() as stack:
        made = {name: await stack.enter_async_context(echo(name)) for name in ("a11", "a22", "a33", "b11")}
        endpoints = tuple(msgspec.structs.replace(one, zone=name[0]) for name, one in made.items())
        group = a_target_group("web", protocol="TCP")
        config = msgspec.structs.replace(targets(group, *endpoints), cross_zone=False)
        await envoy.proxy.put_target_group(config)
        net = a_network()
        await serve(envoy, tcp(net, "web"), balancer=net)
        door = (net.loopback, envoy.ports(5432))
        counts = collections.Counter([(await say(door))[:1] for _ in range(40)])
        assert counts == {b"a": 20, b"b": 20}
        ill = (*(msgspec.structs.replace(one, healthy=one.zone == "a") for one in endpoints),)
        await envoy.proxy.put_target_group(msgspec.structs.replace(config, endpoints=ill))
        assert {(await say(door))[:1] for _ in range(20)} == {b"a"}


async def test_a_restart_of_the_control_plane_leaves_the_shared_doors_as_they_are(
    settings: Settings, ports: Ports, root: Root
) -> None:
    """Until all load balancers are known again: the first one alone would make another door of them."""
    before, after = (EnvoyProxy(settings, port_of=ports, workers=1) for _ in range(2))
    await before.start()
    async with echo("one") as one, backend("web") as web:
        try:
            first, names = Balanced(before, ports), ("net-a", "net-b")
            await put(first, "web", one)
            balancers = [a_network(name, loopback=f"127.83.0.4{number}") for number, name in enumerate(names)]
            certificates = [root.issue(net.dns_name) for net in balancers]
            for net, certificate in zip(balancers, certificates, strict=True):
                await serve(first, secured(net, certificate), balancer=net, certificates=(certificate,))
            plain, app = a_network("plain", loopback="127.83.0.45"), a_load_balancer()
            await first.group("app", web)
            await first.serve(to("app"), balancer=app)
            await serve(first, tcp(plain, "web", port=80), balancer=plain)
            await before.close()

            await after.start()
            second = Balanced(after, ports)
            await serve(
                second, secured(balancers[0], certificates[0]), balancer=balancers[0], certificates=(certificates[0],)
            )
            await serve(second, tcp(plain, "web", port=80), balancer=plain)
            for net in balancers:
                assert (await say_tls(second.edge(443), root.trust(), net.dns_name))[0] == b"one:hello"
            assert (await ask(second.edge(80), host=app.dns_name)).seen["name"] == "web"
            await put(second, "web", one)
            await after.retain([balancers[0].arn, plain.arn], [tg_arn("web")])
            assert (await say_tls(second.edge(443), root.trust(), balancers[0].dns_name))[0] == b"one:hello"
            with pytest.raises(OSError):
                await say_tls(second.edge(443), root.trust(), balancers[1].dns_name)
            assert await say(second.edge(80)) == b"one:hello"
        finally:
            await after.stop()
