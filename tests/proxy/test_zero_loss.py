"""Disturbances under constant load, each with not one failed request: through new connections, through connections that
are kept, and through HTTPS. Everything here is at the level of the proxy; what ECS does to services is in
`tests/clients`."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from moorage.domain.load_balancer import FixedResponse, Rule
from moorage.proxy.driver import Certificate, Endpoint, LoadBalancerConfig
from moorage.proxy.envoy.proxy import EnvoyProxy
from moorage.settings import Settings
from proxy.builders import a_config, a_listener, a_load_balancer, a_rule, path, targets, tg_arn, to
from proxy.certificates import Root
from proxy.conftest import Ports
from proxy.servers import Address, Backend, ask, backend, parse

ENOUGH = 300
"""Requests that must have been answered for a disturbance to count as survived."""
NAME = "a.example.com"


class World:
    """A load balancer with HTTP and HTTPS, and two backends that stay."""

    def __init__(self, settings: Settings, ports: Ports, root: Root, members: tuple[Backend, Backend]) -> None:
        self.settings = settings
        self.ports = ports
        self.root = root
        self.members = members
        self.balancer = a_load_balancer()
        self.certificate = root.issue(NAME, arn="arn:aws:acm:us-east-1:000000000000:certificate/one")
        self.proxy = self.new_proxy()

    def new_proxy(self) -> EnvoyProxy:
        return EnvoyProxy(self.settings, port_of=self.ports, workers=2)

    def door(self, port: int) -> Address:
        return (self.balancer.loopback, self.ports(port))

    async def everything(self) -> None:
        """What a control plane that has just come says."""
        await self.group(*self.members)
        await self.put()
        await self.proxy.retain([self.balancer.arn], [tg_arn("web"), tg_arn("green")])

    async def group(self, *members: Backend | Endpoint, name: str = "web") -> None:
        endpoints = [one.endpoint if isinstance(one, Backend) else one for one in members]
        await self.proxy.put_target_group(targets(name, *endpoints))

    async def put(self, *rules: Rule, group: str = "web", certificate: Certificate | None = None) -> None:
        served = certificate or self.certificate
        plain = a_listener(self.balancer, to(group))
        secure = a_listener(self.balancer, to(group), port=443, protocol="HTTPS")
        secure = msgspec.structs.replace(secure, certificates=(served.arn,))
        config = a_config(self.balancer, plain, secure, rules={80: rules})
        config = msgspec.structs.replace(config, certificates={served.arn: served})
        assert isinstance(config, LoadBalancerConfig)
        await self.proxy.put_load_balancer(config)


class Load:
    """Clients that ask without pause until the block ends."""

    def __init__(self, world: World) -> None:
        self.answered = 0
        self.failed: list[str] = []
        self._world = world
        self._done = False
        self._more = asyncio.Event()

    async def fresh(self) -> None:
        while not self._done:
            await self._count(lambda: ask(self._world.door(80)))

    async def kept(self) -> None:
        """On one connection for as long as the load balancer keeps it."""
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

        async def one() -> object:
            nonlocal streams
            streams = streams or await asyncio.open_connection(*self._world.door(80))
            streams[1].write(b"GET / HTTP/1.1\r\nHost: a.example.com\r\n\r\n")
            head = await streams[0].readuntil(b"\r\n\r\n")
            answer = parse(head)
            await streams[0].readexactly(int(answer.header("content-length") or 0))
            if answer.header("connection") == "close":
                streams[1].close()
                streams = None
            return answer

        while not self._done:
            await self._count(one)
        if streams is not None:
            streams[1].close()

    async def secure(self) -> None:
        context = self._world.root.trust()

        async def one() -> object:
            reader, writer = await asyncio.open_connection(*self._world.door(443), ssl=context, server_hostname=NAME)
            writer.write(b"GET / HTTP/1.1\r\nHost: a.example.com\r\nConnection: close\r\n\r\n")
            answer = parse(await reader.read())
            writer.close()
            return answer

        while not self._done:
            await self._count(one)

    async def more(self, number: int = 40) -> None:
        """Until so many more have been answered."""
        wanted = self.answered + number
        async with asyncio.timeout(30):
            while self.answered < wanted:
                self._more.clear()
                await self._more.wait()

    async def _count(self, asked: Callable[[], Awaitable[object]]) -> None:
        try:
            answer = await asked()
        except (OSError, EOFError, ssl.SSLError) as error:
            self.failed.append(f"{type(error).__name__}: {error}")
        else:
            self.answered += 1
            if getattr(answer, "status", 0) != 200:
                self.failed.append(str(answer))
        self._more.set()
        await asyncio.sleep(0.001)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Load]:
        clients = [asyncio.create_task(one()) for one in (self.fresh, self.fresh, self.kept, self.kept, self.secure)]
        try:
            yield self
            await self.more(max(ENOUGH - self.answered, 40))
        finally:
            self._done = True
            await asyncio.gather(*clients)


async def target_killed(world: World, load: Load) -> None:
    """It is gone before anybody says so."""
    for number in range(3):
        async with backend(f"killed-{number}") as victim:
            await world.group(*world.members, victim)
            await load.more()
        await load.more()
        await world.group(*world.members)


async def rolling_update(world: World, load: Load) -> None:
    async with backend("new-1") as first, backend("new-2") as second:
        for members in ((*world.members, first), (world.members[1], first, second), (first, second)):
            await world.group(*members)
            await load.more()
        await world.group(*world.members)
        await load.more()


async def scale_in(world: World, load: Load) -> None:
    async with backend("extra") as extra:
        await world.group(*world.members, extra)
        await load.more()
        await world.group(*world.members)
        await load.more()
    await world.group(world.members[0])


async def deregistration(world: World, load: Load) -> None:
    """With requests in flight at the target that goes: they are answered."""
    async with backend("leaving") as leaving:
        await world.group(leaving)
        slow = [asyncio.create_task(ask(world.door(80), "/slow")) for _ in range(4)]
        await leaving.has_busy(4)
        await world.group(*world.members)
        await load.more()
        leaving.let_go()
        assert {answer.status for answer in await asyncio.gather(*slow)} == {200}


async def becomes_unhealthy(world: World, load: Load) -> None:
    first, second = world.members
    for sick in (first, second):
        await world.group(*(one.sick if one is sick else one for one in world.members))
        await load.more()
    await world.group(first.sick, second.sick)  # fail-open


async def certificate_swap(world: World, load: Load) -> None:
    for _ in range(5):
        await world.put(certificate=world.root.issue(NAME, arn=world.certificate.arn))
        await load.more(20)


async def rule_edits(world: World, load: Load) -> None:
    async with backend("green") as green:
        await world.group(green, name="green")
        for group in ("green", "web") * 3:
            await world.put(group=group)
            await load.more(20)


async def two_hundred_rule_changes(world: World, load: Load) -> None:
    for number in range(200):
        await world.put(a_rule(1, path(f"/x{number}"), action=FixedResponse("200", None, str(number))))
    assert (await ask(world.door(80), "/x199")).text == "199"


async def control_plane_restarts(world: World, load: Load) -> None:
    for _ in range(3):
        await world.proxy.close()
        await load.more(20)
        world.proxy = world.new_proxy()
        await world.proxy.start()
        await world.everything()


async def envoy_is_replaced(world: World, load: Load) -> None:
    for _ in range(3):
        assert await world.proxy.restart()
        await load.more()


async def everything_at_once(world: World, load: Load) -> None:
    async def rules() -> None:
        for number in range(20):
            await world.put(a_rule(1, path(f"/x{number}"), action=FixedResponse("200")))

    async def members() -> None:
        async with backend("coming") as coming:
            for _ in range(10):
                await world.group(*world.members, coming)
                await world.group(*world.members)
            await load.more(20)

    await asyncio.gather(rules(), members(), world.proxy.restart())


DISTURBANCES = (
    target_killed, rolling_update, scale_in, deregistration, becomes_unhealthy, certificate_swap, rule_edits,
    two_hundred_rule_changes, control_plane_restarts, envoy_is_replaced, everything_at_once,
)  # fmt: skip


@pytest.mark.parametrize("disturbance", DISTURBANCES, ids=lambda one: one.__name__)
async def test_not_one_request_fails(
    tmp_path: Path, ports: Ports, disturbance: Callable[[World, Load], Awaitable[None]]
) -> None:
    async with backend("one") as one, backend("two") as two:
        world = World(Settings(data_dir=tmp_path), ports, Root(), (one, two))
        await world.proxy.start()
        try:
            await world.everything()
            load = Load(world)
            async with load.running():
                await disturbance(world, load)
        finally:
            await world.proxy.stop()
    assert load.failed == []
    assert load.answered >= ENOUGH
