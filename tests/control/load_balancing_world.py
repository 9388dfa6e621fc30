"""A small world in virtual time for the load balancing controllers: a store in memory, a proxy that remembers what it
was told, and targets that answer as a test says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from moorage.control.load_balancers import LoadBalancersController
from moorage.control.prober import ProbeRequest, ProbeResult
from moorage.control.targets import TargetsController
from moorage.domain.load_balancer import Forward, Listener, LoadBalancer, WeightedTargetGroup
from moorage.domain.target_group import HealthCheck, Target, TargetGroup, TargetState
from moorage.proxy.driver import Endpoint, LoadBalancerConfig, ProxyUnavailable, TargetGroupConfig
from moorage.simulation.loop import VirtualClock, run
from moorage.store.elbv2_queries import put_listener, target_state
from moorage.store.log_memory import MemoryDisk, MemoryLog
from moorage.store.memory import Store
from moorage.store.tables import ecs, elbv2, network
from moorage.store.tables.elbv2 import LOAD_BALANCERS, TARGET_GROUPS, TARGETS

TABLES = (*ecs.TABLES, *elbv2.TABLES, *network.TABLES)

ELB = "arn:aws:elasticloadbalancing:us-east-1:000000000000:"
LB, GROUP = f"{ELB}loadbalancer/app/web/1", f"{ELB}targetgroup/web/1"
LISTENER = f"{ELB}listener/app/web/1/1"
UP, DOWN = ProbeResult("answered", 200), ProbeResult("failed", detail="refused")


class RememberingProxy:
    """`log` has one line per call; `away` makes every call fail, `refusal` every `put_load_balancer`."""

    def __init__(self) -> None:
        self.load_balancers: dict[str, LoadBalancerConfig] = {}
        self.target_groups: dict[str, TargetGroupConfig] = {}
        self.calls: list[str] = []
        self.cuts: list[tuple[str, int]] = []
        self.retained: list[tuple[Sequence[str], Sequence[str]]] = []
        self.away = False
        self.refusal: Exception | None = None

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if self.away:
            raise ProxyUnavailable("Envoy does not answer")

    async def put_load_balancer(self, config: LoadBalancerConfig) -> None:
        self._called("put_load_balancer")
        if self.refusal is not None:
            raise self.refusal
        self.load_balancers[config.load_balancer.arn] = config

    async def remove_load_balancer(self, arn: str) -> None:
        self._called("remove_load_balancer")
        self.load_balancers.pop(arn, None)

    async def put_target_group(self, config: TargetGroupConfig) -> None:
        self._called("put_target_group")
        self.target_groups[config.target_group.arn] = config

    async def remove_target_group(self, arn: str) -> None:
        self._called("remove_target_group")
        self.target_groups.pop(arn, None)

    async def cut(self, places: Sequence[tuple[str, int]]) -> int:
        self._called("cut")
        self.cuts += places
        return len(places)

    async def retain(self, load_balancers: Sequence[str], target_groups: Sequence[str]) -> None:
        self._called("retain")
        self.retained.append((tuple(load_balancers), tuple(target_groups)))

    def endpoints(self, arn: str = GROUP) -> dict[str, bool]:
        """address → healthy"""
        config = self.target_groups.get(arn)
        return {} if config is None else {e.address: e.healthy for e in config.endpoints}

    def group(self, arn: str = GROUP) -> tuple[Endpoint, ...]:
        return self.target_groups[arn].endpoints


class ScriptedProber:
    """`answers` by address; `log` has (seconds since the start, address)."""

    def __init__(self) -> None:
        self.answers: dict[str, ProbeResult] = {}
        self.took = 0.0
        self.log: list[tuple[float, str]] = []
        self.requests: list[ProbeRequest] = []

    async def probe(self, request: ProbeRequest) -> ProbeResult:
        self.log.append((asyncio.get_running_loop().time(), request.address))
        self.requests.append(request)
        await asyncio.sleep(self.took)
        return self.answers.get(request.address, DOWN)


class World:
    def __init__(self, store: Store, disk: MemoryDisk) -> None:
        self.store = store
        self.disk = disk
        self.clock = VirtualClock(asyncio.get_running_loop())
        self.proxy = RememberingProxy()
        self.prober = ScriptedProber()
        self.targets = TargetsController(store, self.clock, self.prober, self.proxy)
        self.load_balancers = LoadBalancersController(store, self.clock, self.proxy, self.targets.endpoints)

    @classmethod
    async def make(cls, disk: MemoryDisk | None = None) -> World:
        disk = disk or MemoryDisk()
        return cls(await Store.open(MemoryLog(disk), TABLES, verify=True), disk)

    async def start(self) -> None:
        await self.targets.start()
        await self.load_balancers.start()

    async def close(self) -> None:
        await self.load_balancers.close()
        await self.targets.close()

    async def seed(self, check: HealthCheck | None = None, *, used: bool = True, **attributes: str) -> None:
        """One load balancer, one target group, and (if `used`) a listener that forwards to it."""
        settings = {key.replace("__", "."): value for key, value in attributes.items()}

        def write(tx: Any) -> None:
            tx.put(LOAD_BALANCERS, a_load_balancer())
            tx.put(TARGET_GROUPS, a_target_group(check or HealthCheck(interval=10), settings))
            if used:
                put_listener(tx, a_listener())

        await self.store.update(write)

    async def register(self, *ids: str, zone: str | None = None) -> None:
        now = self.clock.now()
        for one in ids:
            target = Target(GROUP, one, 80, zone, registered_at=now)
            await self.store.update(lambda tx, target=target: tx.put(TARGETS, target))

    async def deregister(self, one: str) -> None:
        before = self.store.get(TARGETS, f"{GROUP}|{one}|80")
        assert before is not None
        after = msgspec.structs.replace(before, deregistered_at=self.clock.now())
        await self.store.update(lambda tx: tx.put(TARGETS, after))

    def state(self, one: str) -> TargetState:
        return target_state(self.store, GROUP, one, 80)


def in_world(story: Callable[[World], Awaitable[None]], disk: MemoryDisk | None = None) -> None:
    """Runs a story in virtual time; the controllers are closed at its end."""

    async def main() -> None:
        world = await World.make(disk)
        try:
            await story(world)
        finally:
            await world.close()

    run(main())


def a_load_balancer(arn: str = LB) -> LoadBalancer:
    return LoadBalancer(
        arn=arn,
        account="000000000000",
        region="us-east-1",
        name="web",
        type="application",
        scheme="internet-facing",
        dns_name="web-1.us-east-1.elb.localhost",
        full_name="app/web/1",
        vpc_id="vpc-1",
        subnets=(("subnet-a", "us-east-1a"), ("subnet-b", "us-east-1b")),
        security_groups=(),
        ip_address_type="ipv4",
        canonical_hosted_zone_id="Z",
        loopback="127.0.10.1",
        created_at=0.0,
    )


def a_target_group(check: HealthCheck, attributes: dict[str, str], arn: str = GROUP) -> TargetGroup:
    return TargetGroup(
        arn=arn,
        account="000000000000",
        region="us-east-1",
        name="web",
        full_name="targetgroup/web/1",
        target_type="ip",
        protocol="HTTP",
        protocol_version="HTTP1",
        port=80,
        vpc_id="vpc-1",
        ip_address_type="ipv4",
        health_check=check,
        created_at=0.0,
        attributes=attributes,
    )


def a_listener(*groups: str, arn: str = LISTENER, port: int = 80) -> Listener:
    weighted = tuple(WeightedTargetGroup(group) for group in groups or (GROUP,))
    rule = arn.replace(":listener/", ":listener-rule/") + "/0"
    return Listener(arn, LB, port, "HTTP", (Forward(weighted),), rule)
