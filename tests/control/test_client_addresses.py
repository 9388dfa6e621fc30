"""Clients' addresses: which target groups preserve them, and that no target gets traffic without a way back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, cast

import msgspec
import pytest

from decide.builders import a_task
from moorage.control.client_addresses import ClientAddresses
from moorage.decide.ipam import mac_of
from moorage.domain.load_balancer import LoadBalancerNode
from moorage.domain.network import NetworkInterface, Subnet
from moorage.domain.target_group import HealthCheck
from moorage.engine.driver import Engine, SubnetNetwork
from moorage.network.return_paths import ReturnPathsUnavailable, Way, foot_mac
from moorage.store.elbv2_queries import put_listener
from moorage.store.tables.ecs import TASKS
from moorage.store.tables.elbv2 import LOAD_BALANCER_NODES, LOAD_BALANCERS, TARGET_GROUPS
from moorage.store.tables.network import NETWORK_INTERFACES, SUBNETS

from .load_balancing_world import GROUP, LB, LISTENER, UP, World, a_listener, a_load_balancer, a_target_group, in_world

NODE = LoadBalancerNode(LB, "subnet-1", "us-east-1a", "10.0.1.9", "/netns/node", "node")


class Paths:
    """`open` has what was done, in order; those in `refused` (namespaces) are refused."""

    streams = True
    datagrams = True

    def __init__(self) -> None:
        self.open: list[tuple[str, Any]] = []
        self.refused: set[str] = set()
        self.kept: set[str] = set()

    def mac_of(self, bridge: str) -> str | None:
        return f"mac of {bridge}"

    def _try(self, namespace: str, what: Any) -> None:
        if namespace in self.refused:
            raise ReturnPathsUnavailable("No way", "refused", "Wait")
        self.open.append((namespace, what))

    async def open_node(self, namespace: str, address: str, feet: Mapping[str, str]) -> None:
        self._try(namespace, dict(feet))

    async def keep_nodes(self, namespaces: Collection[str]) -> None:
        self.kept = set(namespaces)

    async def open_target(self, namespace: str, ways: Sequence[Way]) -> None:
        self._try(namespace, list(ways))

    async def open_machine(self) -> None:
        self._try("machine", None)


class Sandboxes:
    async def namespace_of(self, sandbox_id: str) -> str | None:
        return f"/netns/{sandbox_id}"

    def bridge_of(self, network: SubnetNetwork) -> str | None:
        return f"bridge-{network.subnet_id}"


def story(protocol: str = "TCP", **attributes: str) -> Callable[[Callable[[World, Paths], Awaitable[None]]], None]:
    """Runs what it decorates in a world with a network load balancer that has a node in subnet 1."""
    settings = {key.replace("__", "."): value for key, value in attributes.items()}
    check = HealthCheck(protocol="TCP", path="", interval=10)

    async def prepared(told: Callable[[World, Paths], Awaitable[None]], world: World) -> None:
        paths = Paths()
        clients = ClientAddresses(world.store, cast("Engine", Sandboxes()), paths)
        world.targets.endpoints.clients, world.load_balancers.preserved = clients, clients.preserved
        group = msgspec.structs.replace(a_target_group(check, settings), protocol=protocol, protocol_version=None)

        def write(tx: Any) -> None:
            tx.put(LOAD_BALANCERS, msgspec.structs.replace(a_load_balancer(), type="network"))
            tx.put(TARGET_GROUPS, group)
            put_listener(tx, msgspec.structs.replace(a_listener(), protocol=protocol, port=5432))
            tx.put(LOAD_BALANCER_NODES, NODE)
            for number in (1, 2):
                cidr = f"10.0.{number}.0/24"
                tx.put(SUBNETS, Subnet("000000000000", "us-east-1", f"subnet-{number}", "vpc-1", cidr, "us-east-1a"))

        await world.store.update(write)
        clients.start()
        await world.start()
        try:
            await told(world, paths)
        finally:
            await clients.close()

    def decorate(told: Callable[[World, Paths], Awaitable[None]]) -> None:
        in_world(lambda world: prepared(told, world))

    return decorate


async def a_task_at(world: World, address: str) -> None:
    """A running task, registered and healthy."""
    subnet = f"subnet-{address.split('.')[2]}"
    task = a_task(address, sandbox_id=f"sandbox-{address}")
    interface = NetworkInterface(
        "000000000000", "us-east-1", f"eni-{address}", subnet, address, mac_of(address), (), task.arn, ""
    )
    await world.store.update(lambda tx: (tx.put(TASKS, task), tx.put(NETWORK_INTERFACES, interface)))
    world.prober.answers[address] = UP
    await world.register(address)


def preserving(world: World) -> bool:
    return world.proxy.load_balancers[LB].preserving == frozenset({LISTENER})


ON = {"preserve_client_ip__enabled": "true"}


def test_targets_near_and_far_have_a_way_back_before_they_get_traffic() -> None:
    @story("TCP", **ON)
    async def told(world: World, paths: Paths) -> None:
        paths.refused = {"/netns/sandbox-10.0.2.5"}
        await a_task_at(world, "10.0.1.5")
        await a_task_at(world, "10.0.2.5")
        await asyncio.sleep(3)
        assert preserving(world)
        assert set(world.proxy.endpoints()) == {"10.0.1.5"}
        assert "1 cannot answer clients in their subnets yet (10.0.2.5: No way" in (world.targets.said(GROUP) or "")
        paths.refused = set()
        await asyncio.sleep(3)
        assert world.proxy.endpoints() == {"10.0.1.5": True, "10.0.2.5": True}
        assert ("/netns/node", {"bridge-subnet-2": "10.0.2.0/24"}) in paths.open
        assert ("/netns/sandbox-10.0.1.5", [Way(mac_of("10.0.1.9"), "tcp", "10.0.1.9")]) in paths.open
        assert ("/netns/sandbox-10.0.2.5", [Way(foot_mac("10.0.1.9"), "tcp", "10.0.1.9", known=False)]) in paths.open
        done = len(paths.open)
        await asyncio.sleep(60)
        assert len(paths.open) == done, "nothing is done twice"


def test_datagrams_come_back_by_this_machine() -> None:
    @story("UDP")
    async def told(world: World, paths: Paths) -> None:
        await a_task_at(world, "10.0.2.5")
        await asyncio.sleep(1)
        assert preserving(world)
        assert ("machine", None) in paths.open
        ways = [Way("mac of bridge-subnet-2", one, "10.0.2.1") for one in ("tcp", "udp")]
        assert ("/netns/sandbox-10.0.2.5", ways) in paths.open


def test_a_node_that_is_made_again() -> None:
    @story("TCP", **ON)
    async def told(world: World, paths: Paths) -> None:
        await a_task_at(world, "10.0.1.5")
        await asyncio.sleep(1)
        again = msgspec.structs.replace(NODE, namespace="/netns/again", sandbox_id="again")
        await world.store.update(lambda tx: tx.put(LOAD_BALANCER_NODES, again))
        await asyncio.sleep(1)
        assert ("/netns/again", {}) in paths.open
        assert paths.kept == {"/netns/again"}, "what the other one left on this machine is removed"
        source = world.proxy.target_groups[GROUP].source
        assert source is not None
        assert source.namespace == "/netns/again"


@pytest.mark.parametrize(
    ("protocol", "attributes", "possible", "preserved"),
    [
        ("TCP", {}, True, False),
        ("TCP", ON, True, True),
        ("TLS", ON, True, True),
        ("TCP", ON, False, False),
        ("UDP", {}, True, True),
        ("TCP_UDP", {}, True, True),
        ("UDP", {}, False, False),
    ],
)
def test_which_groups_preserve(protocol: str, attributes: dict[str, str], possible: bool, preserved: bool) -> None:
    @story(protocol, **attributes)
    async def told(world: World, paths: Paths) -> None:
        paths.streams = paths.datagrams = possible
        await a_task_at(world, "10.0.1.5")
        await asyncio.sleep(1)
        assert preserving(world) == preserved
        assert set(world.proxy.endpoints()) == {"10.0.1.5"}


def test_a_target_outside_the_vpc_ends_it_for_all() -> None:
    @story("TCP", **ON)
    async def told(world: World, paths: Paths) -> None:
        await a_task_at(world, "10.0.1.5")
        await asyncio.sleep(1)
        assert preserving(world)
        await world.register("127.0.0.1")
        await asyncio.sleep(1)
        assert not preserving(world)
        assert set(world.proxy.endpoints()) == {"10.0.1.5", "127.0.0.1"}
        await world.deregister("127.0.0.1")
        await asyncio.sleep(1)
        assert preserving(world)


def test_a_load_balancers_own_address_is_no_target() -> None:
    @story("TCP")
    async def told(world: World, paths: Paths) -> None:
        await world.register("10.0.1.9")
        await asyncio.sleep(1)
        assert (world.state("10.0.1.9").state, world.state("10.0.1.9").reason) == ("unused", "Target.IpUnusable")
        assert world.proxy.endpoints() == {}
        await world.store.update(lambda tx: tx.delete(LOAD_BALANCER_NODES, NODE.key))
        await asyncio.sleep(1)
        assert world.state("10.0.1.9").state == "initial"
