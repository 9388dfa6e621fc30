"""Targets of network load balancers in virtual time: zones, connections that are ended, how they are checked."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from moorage.domain.target_group import HealthCheck, Target
from moorage.store.elbv2_queries import put_listener
from moorage.store.tables.elbv2 import LOAD_BALANCERS, TARGET_GROUPS, TARGETS

from .load_balancing_world import DOWN, GROUP, LB, UP, World, a_listener, a_target_group, in_world


async def seed(world: World, protocol: str = "TCP", check: HealthCheck | None = None, **attributes: str) -> None:
    """As `World.seed`, of type network."""
    await world.seed(check or HealthCheck(protocol="TCP", path="", interval=10), used=False, **attributes)
    balancer, group = world.store.get(LOAD_BALANCERS, LB), world.store.get(TARGET_GROUPS, GROUP)
    assert balancer is not None
    assert group is not None

    def change(tx: Any) -> None:
        tx.put(LOAD_BALANCERS, msgspec.structs.replace(balancer, type="network"))
        tx.put(TARGET_GROUPS, msgspec.structs.replace(group, protocol=protocol, protocol_version=None))
        put_listener(tx, msgspec.structs.replace(a_listener(), protocol=protocol, port=5432))

    await world.store.update(change)


@pytest.mark.parametrize(
    ("protocol", "attributes", "cut"),
    [
        ("HTTP", {}, True),
        ("TCP", {}, False),
        ("TCP", {"deregistration_delay__connection_termination__enabled": "true"}, True),
        ("UDP", {}, True),
        ("UDP", {"deregistration_delay__connection_termination__enabled": "false"}, False),
    ],
)
def test_what_is_open_at_the_end_of_the_delay(protocol: str, attributes: dict[str, str], cut: bool) -> None:
    async def story(world: World) -> None:
        await seed(world, protocol, deregistration_delay__timeout_seconds="60", **attributes)
        world.prober.answers["10.0.0.1"] = UP
        await world.register("10.0.0.1")
        await world.start()
        await asyncio.sleep(1)
        await world.deregister("10.0.0.1")
        await asyncio.sleep(59)
        assert world.proxy.cuts == []
        await asyncio.sleep(2)
        assert world.proxy.cuts == ([("10.0.0.1", 80)] if cut else [])
        assert world.state("10.0.0.1").state == "unused"

    in_world(story)


@pytest.mark.parametrize(("protocol", "state"), [("TCP", "unhealthy"), ("UDP", "healthy")])
def test_a_target_that_security_groups_do_not_let_out_to_is_not_healthy(protocol: str, state: str) -> None:
    async def story(world: World) -> None:
        await seed(world, protocol)
        world.targets.health.lets_out = lambda load_balancer, address, port: (load_balancer, port) != (LB, 80)
        world.prober.answers["10.0.0.1"] = UP
        await world.register("10.0.0.1")
        await world.start()
        await asyncio.sleep(60)
        assert world.state("10.0.0.1").state == state
        if state == "unhealthy":
            assert world.state("10.0.0.1").reason == "Target.Timeout"
            assert "security groups of the load balancer" in (world.targets.said(GROUP) or "")

    in_world(story)


@pytest.mark.parametrize(("protocol", "stays"), [("TCP", False), ("UDP", True), ("TCP_UDP", True)])
def test_flows_of_datagrams_stay_with_a_draining_target(protocol: str, stays: bool) -> None:
    async def story(world: World) -> None:
        await seed(world, protocol, deregistration_delay__timeout_seconds="60")
        for one in ("10.0.0.1", "10.0.0.2"):
            world.prober.answers[one] = UP
        await world.register("10.0.0.1", "10.0.0.2")
        await world.start()
        await asyncio.sleep(1)
        await world.deregister("10.0.0.1")
        await asyncio.sleep(59)
        assert world.proxy.endpoints() == {"10.0.0.2": True}
        leaving = [one.address for one in world.proxy.target_groups[GROUP].leaving]
        assert leaving == (["10.0.0.1"] if stays else [])
        await asyncio.sleep(2)
        assert world.proxy.target_groups[GROUP].leaving == ()
        assert world.state("10.0.0.1").state == "unused"

    in_world(story)


def test_a_place_that_another_group_uses_as_well_is_not_cut() -> None:
    async def story(world: World) -> None:
        await seed(world, "HTTP", deregistration_delay__timeout_seconds="10")
        world.prober.answers["10.0.0.1"] = UP
        await world.register("10.0.0.1", "10.0.0.2")
        other = msgspec.structs.replace(a_target_group(HealthCheck(), {}), arn=GROUP + "2", name="other")
        twin = Target(other.arn, "10.0.0.1", 80, None, registered_at=world.clock.now())
        await world.store.update(lambda tx: (tx.put(TARGET_GROUPS, other), tx.put(TARGETS, twin)))
        await world.start()
        await asyncio.sleep(1)
        await world.deregister("10.0.0.1")
        await world.deregister("10.0.0.2")
        await asyncio.sleep(11)
        assert world.proxy.cuts == [("10.0.0.2", 80)]

    in_world(story)


@pytest.mark.parametrize(
    ("protocol", "attributes", "cut"),
    [
        ("HTTP", {}, False),
        ("TCP", {}, True),
        ("TLS", {}, True),
        ("TCP", {"target_health_state__unhealthy__connection_termination__enabled": "false"}, False),
        ("UDP", {}, False),
    ],
)
def test_what_is_open_when_a_target_falls_ill(protocol: str, attributes: dict[str, str], cut: bool) -> None:
    async def story(world: World) -> None:
        await seed(world, protocol, **attributes)
        for one in ("10.0.0.1", "10.0.0.2"):
            world.prober.answers[one] = UP
        await world.register("10.0.0.1", "10.0.0.2")
        await world.start()
        await asyncio.sleep(1)
        world.prober.answers["10.0.0.1"] = DOWN
        await asyncio.sleep(30)
        assert world.proxy.endpoints() == {"10.0.0.1": False, "10.0.0.2": True}
        assert world.proxy.cuts == ([("10.0.0.1", 80)] if cut else [])

    in_world(story)


def test_zones_are_kept_apart_until_the_load_balancer_crosses_them() -> None:
    async def story(world: World) -> None:
        await seed(world)
        await world.register("10.0.0.1", zone="us-east-1a")
        await world.register("10.0.0.2", zone="us-east-1b")
        await world.start()
        await asyncio.sleep(1)
        config = world.proxy.target_groups[GROUP]
        assert not config.cross_zone
        assert {one.address: one.zone for one in config.endpoints} == {
            "10.0.0.1": "us-east-1a",
            "10.0.0.2": "us-east-1b",
        }
        balancer = world.store.get(LOAD_BALANCERS, LB)
        assert balancer is not None
        crossing = msgspec.structs.replace(balancer, attributes={"load_balancing.cross_zone.enabled": "true"})
        await world.store.update(lambda tx: tx.put(LOAD_BALANCERS, crossing))
        await asyncio.sleep(1)
        config = world.proxy.target_groups[GROUP]
        assert config.cross_zone
        assert {one.zone for one in config.endpoints} == {""}

    in_world(story)


def test_a_check_names_the_load_balancer() -> None:
    async def story(world: World) -> None:
        await seed(world, check=HealthCheck(interval=10, timeout=6, matcher="200-399"))
        await world.register("10.0.0.1")
        await world.start()
        await asyncio.sleep(1)
        assert {one.host for one in world.prober.requests} == {"127.0.10.1:5432"}

    in_world(story)


def test_a_load_balancer_behind_is_asked_on_the_port_of_this_machine() -> None:
    async def story(world: World) -> None:
        await seed(world, check=HealthCheck(interval=10, timeout=6, matcher="200-399"))
        group = world.store.get(TARGET_GROUPS, GROUP)
        assert group is not None
        behind = msgspec.structs.replace(group, target_type="alb")
        await world.store.update(lambda tx: tx.put(TARGET_GROUPS, behind))
        world.targets.listens_at(lambda port: port + 8000)
        await world.register("10.0.0.1")
        await world.start()
        await asyncio.sleep(1)
        assert {one.port for one in world.prober.requests} == {8080}
        world.prober.answers["10.0.0.1"] = UP
        await asyncio.sleep(2)
        world.prober.answers["10.0.0.1"] = DOWN
        await asyncio.sleep(40)
        assert world.proxy.cuts == [("10.0.0.1", 8080)]

    in_world(story)
