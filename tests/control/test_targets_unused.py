"""Targets that cannot be any: addresses of load balancers, and instances that are gone (semantics elbv2 §5)."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from moorage.domain.load_balancer import LoadBalancerNode
from moorage.store.api import Transaction
from moorage.store.tables.elbv2 import LOAD_BALANCER_NODES, LOAD_BALANCERS, TARGET_GROUPS, TARGET_HEALTH

from .load_balancing_world import GROUP, LB, UP, World, a_load_balancer, in_world

OTHER = LB.replace("app/web", "net/other")
NODE = LoadBalancerNode(OTHER, "subnet-a", "us-east-1a", "10.0.0.1", "/run/netns/x", "s")


async def stand(world: World, *, kind: str = "application", vpc: str = "vpc-1") -> None:
    """Another load balancer, one node of which has the target's address."""
    other = msgspec.structs.replace(a_load_balancer(OTHER), type=kind, vpc_id=vpc, loopback="127.0.10.2")

    def write(tx: Transaction) -> None:
        tx.put(LOAD_BALANCERS, other)
        tx.put(LOAD_BALANCER_NODES, NODE)

    await world.store.update(write)


async def flows(world: World, protocol: str) -> None:
    group = world.store.get(TARGET_GROUPS, GROUP)
    assert group is not None
    await world.store.update(lambda tx: tx.put(TARGET_GROUPS, msgspec.structs.replace(group, protocol=protocol)))


def test_the_address_of_a_load_balancer_is_unusable_until_it_moves_away() -> None:
    async def story(world: World) -> None:
        await world.seed()
        await world.start()
        world.prober.answers["10.0.0.1"] = UP
        await world.register("10.0.0.1")
        await asyncio.sleep(1)
        assert world.state("10.0.0.1").state == "healthy"
        await stand(world)
        await asyncio.sleep(1)
        state = world.state("10.0.0.1")
        assert (state.state, state.reason, state.description) == (
            "unused",
            "Target.IpUnusable",
            "The IP address cannot be used as a target, as it is in use by a load balancer",
        )
        assert world.proxy.endpoints() == {}
        checks = len(world.prober.log)
        await asyncio.sleep(60)
        assert len(world.prober.log) == checks
        await world.store.update(lambda tx: tx.delete(LOAD_BALANCER_NODES, NODE.key))
        await asyncio.sleep(1)
        assert world.state("10.0.0.1").state == "healthy"
        assert world.proxy.endpoints() == {"10.0.0.1": True}

    in_world(story)


@pytest.mark.parametrize(
    ("protocol", "kind", "vpc", "usable"),
    [
        ("HTTP", "network", "vpc-1", False),
        ("HTTP", "application", "vpc-2", True),  # the same address, elsewhere
        ("TCP", "application", "vpc-1", True),  # static addresses for an application load balancer
        ("TCP", "network", "vpc-1", False),
    ],
)
def test_which_load_balancers_may_be_targets(protocol: str, kind: str, vpc: str, usable: bool) -> None:
    async def story(world: World) -> None:
        await world.seed()
        await flows(world, protocol)
        await stand(world, kind=kind, vpc=vpc)
        await world.register("10.0.0.1")
        assert (world.state("10.0.0.1").reason != "Target.IpUnusable") == usable

    in_world(story)


def test_an_instance_that_is_gone_is_unused_until_it_is_back() -> None:
    async def story(world: World) -> None:
        there = {"i-1"}
        world.targets.health.instance_runs = lambda account, region, id: id in there
        await world.seed()
        group = world.store.get(TARGET_GROUPS, GROUP)
        assert group is not None
        instances = msgspec.structs.replace(group, target_type="instance")
        await world.store.update(lambda tx: tx.put(TARGET_GROUPS, instances))
        await world.start()
        world.prober.answers["i-1"] = UP
        await world.register("i-1")
        await asyncio.sleep(1)
        assert world.state("i-1").state == "healthy"
        there.clear()
        await asyncio.sleep(11)
        state = world.state("i-1")
        assert (state.state, state.reason, state.description) == (
            "unused",
            "Target.InvalidState",
            "Target is in the terminated state",
        )
        assert world.proxy.endpoints() == {}
        commits = world.disk.commits
        await asyncio.sleep(60)
        assert world.disk.commits == commits
        there.add("i-1")
        world.targets.checks.wake(f"{GROUP}|i-1|80")  # as a container instance that comes does
        await asyncio.sleep(1)
        assert world.state("i-1").state == "healthy"
        assert world.proxy.endpoints() == {"i-1": True}
        assert len(world.store.all(TARGET_HEALTH)) == 1

    in_world(story)
