"""The life of a target, from registration to the end of its draining, in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from moorage.domain.load_balancer import Rule
from moorage.domain.target_group import HealthCheck, ProbeResult
from moorage.store.elbv2_queries import delete_listener, delete_rule, put_rule
from moorage.store.tables.elbv2 import LOAD_BALANCERS, TARGET_GROUPS, TARGET_HEALTH, TARGETS

from .load_balancing_world import DOWN, GROUP, LB, LISTENER, UP, World, a_listener, in_world


def test_a_target_that_answers_is_in_rotation_at_once() -> None:
    async def story(world: World) -> None:
        await world.seed()
        await world.start()
        world.prober.answers["10.0.0.1"] = UP
        await world.register("10.0.0.1")
        await asyncio.sleep(0.01)
        assert world.state("10.0.0.1").state == "healthy"
        assert world.proxy.endpoints() == {"10.0.0.1": True}

    in_world(story)


def test_one_that_listens_after_three_seconds_is_found_soon() -> None:
    async def story(world: World) -> None:
        await world.seed(HealthCheck(interval=30))
        await world.start()
        await world.register("10.0.0.1")
        await asyncio.sleep(3)
        assert world.state("10.0.0.1").reason == "Elb.InitialHealthChecking"
        assert world.proxy.endpoints() == {"10.0.0.1": False}
        world.prober.answers["10.0.0.1"] = UP
        await asyncio.sleep(1)
        assert world.state("10.0.0.1").state == "healthy"
        assert len(world.prober.log) < 35

    in_world(story)


def test_one_that_never_listens_is_unhealthy_after_the_configured_time() -> None:
    async def story(world: World) -> None:
        await world.seed(HealthCheck(interval=10, unhealthy_threshold=3))
        await world.start()
        await world.register("10.0.0.1")
        await asyncio.sleep(19.9)
        assert world.state("10.0.0.1").state == "initial"
        await asyncio.sleep(1.2)
        assert world.state("10.0.0.1").state == "unhealthy"
        assert world.state("10.0.0.1").description == "Health checks failed"
        assert world.targets.said(GROUP) == (
            "1 in the proxy, 0 of them healthy, 0 draining; "
            "10.0.0.1:80 unhealthy: Health checks failed (last check: refused)"
        )
        assert world.proxy.endpoints() == {"10.0.0.1": False}

    in_world(story)


def test_a_failing_health_page_takes_it_out_and_brings_it_back() -> None:
    async def story(world: World) -> None:
        check = HealthCheck(interval=10, unhealthy_threshold=2, healthy_threshold=3)
        await world.seed(check)
        await world.start()
        world.prober.answers |= {"10.0.0.1": UP, "10.0.0.2": UP}
        await world.register("10.0.0.1", "10.0.0.2")
        await asyncio.sleep(1)
        assert world.proxy.endpoints() == {"10.0.0.1": True, "10.0.0.2": True}
        world.prober.answers["10.0.0.1"] = ProbeResult("answered", 500)
        await asyncio.sleep(21)
        assert world.proxy.endpoints() == {"10.0.0.1": False, "10.0.0.2": True}
        assert world.state("10.0.0.1").description == "Health checks failed with these codes: [500]"
        world.prober.answers["10.0.0.1"] = UP
        await asyncio.sleep(20)
        assert world.proxy.endpoints()["10.0.0.1"] is False
        await asyncio.sleep(11)
        assert world.proxy.endpoints()["10.0.0.1"] is True

    in_world(story)


def test_settled_checks_keep_the_interval_and_write_nothing() -> None:
    async def story(world: World) -> None:
        await world.seed(HealthCheck(interval=10))
        await world.start()
        world.prober.answers["10.0.0.1"] = UP
        world.prober.took = 0.5
        await world.register("10.0.0.1")
        await asyncio.sleep(15)
        commits, before = world.disk.commits, len(world.prober.log)
        await asyncio.sleep(100)
        assert len(world.prober.log) - before == 10
        assert world.disk.commits == commits
        gaps = [b[0] - a[0] for a, b in zip(world.prober.log[1:], world.prober.log[2:], strict=False)]
        assert all(gap == pytest.approx(10, abs=0.01) for gap in gaps)

    in_world(story)


def test_deregistration_leaves_the_proxy_at_once_and_is_shown_for_the_delay() -> None:
    async def story(world: World) -> None:
        await world.seed(deregistration_delay__timeout_seconds="60")
        await world.start()
        world.prober.answers |= {"10.0.0.1": UP, "10.0.0.2": UP}
        await world.register("10.0.0.1", "10.0.0.2")
        await asyncio.sleep(1)
        await world.deregister("10.0.0.1")
        await asyncio.sleep(0.001)
        assert world.proxy.endpoints() == {"10.0.0.2": True}
        await asyncio.sleep(59)
        assert world.state("10.0.0.1").state == "draining"
        checks = [address for _, address in world.prober.log[-5:]]
        assert "10.0.0.1" not in checks
        await asyncio.sleep(1.1)
        assert world.state("10.0.0.1").reason == "Target.NotRegistered"
        assert [target.id for target in world.store.all(TARGETS)] == ["10.0.0.2"]
        assert [health.id for health in world.store.all(TARGET_HEALTH)] == ["10.0.0.2"]

    in_world(story)


def test_a_registration_ends_only_after_the_proxy_has_let_go() -> None:
    async def story(world: World) -> None:
        await world.seed(deregistration_delay__timeout_seconds="0")
        await world.start()
        world.prober.answers["10.0.0.1"] = UP
        await world.register("10.0.0.1")
        await asyncio.sleep(1)
        world.proxy.away = True
        await world.deregister("10.0.0.1")
        await asyncio.sleep(20)
        assert world.state("10.0.0.1").state == "draining"
        world.proxy.away = False
        await asyncio.sleep(31)
        assert world.proxy.endpoints() == {}
        assert world.state("10.0.0.1").reason == "Target.NotRegistered"

    in_world(story)


def test_registering_again_cancels_draining_and_begins_anew() -> None:
    async def story(world: World) -> None:
        await world.seed(HealthCheck(interval=10))
        await world.start()
        world.prober.answers["10.0.0.1"] = UP
        await world.register("10.0.0.1")
        await asyncio.sleep(1)
        await world.deregister("10.0.0.1")
        await asyncio.sleep(5)
        world.prober.answers["10.0.0.1"] = DOWN
        await world.register("10.0.0.1")
        await asyncio.sleep(1)
        assert world.state("10.0.0.1").state == "initial"
        assert world.proxy.endpoints() == {"10.0.0.1": False}
        world.prober.answers["10.0.0.1"] = UP
        await asyncio.sleep(1)
        assert world.proxy.endpoints() == {"10.0.0.1": True}

    in_world(story)


def test_only_groups_in_use_are_checked() -> None:
    async def story(world: World) -> None:
        await world.seed(used=False)
        await world.start()
        world.prober.answers["10.0.0.1"] = UP
        await world.register("10.0.0.1")
        await asyncio.sleep(60)
        assert world.prober.log == []
        assert world.state("10.0.0.1").reason == "Target.NotInUse"
        assert world.proxy.endpoints() == {"10.0.0.1": False}  # known, for the rule that may come

        rule = Rule(
            LISTENER.replace(":listener/", ":listener-rule/") + "/9", LISTENER, 1, (), a_listener().default_actions
        )
        await world.store.update(lambda tx: put_rule(tx, rule))
        await asyncio.sleep(0.01)
        assert world.state("10.0.0.1").state == "healthy"
        await world.store.update(lambda tx: delete_rule(tx, rule.arn))
        await asyncio.sleep(0.01)
        assert world.state("10.0.0.1").reason == "Target.NotInUse"
        assert not world.store.all(TARGET_HEALTH)
        checks = len(world.prober.log)
        await asyncio.sleep(60)
        assert len(world.prober.log) == checks

    in_world(story)


def test_without_users_draining_is_over_at_once() -> None:
    async def story(world: World) -> None:
        await world.seed()
        await world.start()
        await world.register("10.0.0.1")
        await world.deregister("10.0.0.1")
        await asyncio.sleep(1)
        await world.store.update(lambda tx: delete_listener(tx, LISTENER))
        await asyncio.sleep(0.01)
        assert not world.store.all(TARGETS)

    in_world(story)


def test_a_zone_that_the_load_balancer_does_not_serve() -> None:
    async def story(world: World) -> None:
        await world.seed()
        await world.start()
        world.prober.answers["10.0.0.1"] = UP
        await world.register("10.0.0.1", zone="us-east-1c")
        await asyncio.sleep(1)
        assert world.state("10.0.0.1").description == (
            "Target is in an Availability Zone that is not enabled for the load balancer"
        )
        assert world.proxy.endpoints() == {}
        before = world.store.get(LOAD_BALANCERS, LB)
        assert before is not None
        wider = msgspec.structs.replace(before, subnets=(*before.subnets, ("subnet-c", "us-east-1c")))
        await world.store.update(lambda tx: tx.put(LOAD_BALANCERS, wider))
        await asyncio.sleep(0.01)
        assert world.proxy.endpoints() == {"10.0.0.1": True}

    in_world(story)


def test_changed_check_settings_are_used_soon() -> None:
    async def story(world: World) -> None:
        await world.seed(HealthCheck(interval=300))
        await world.start()
        world.prober.answers["10.0.0.1"] = UP
        await world.register("10.0.0.1")
        await asyncio.sleep(1)
        group = world.store.get(TARGET_GROUPS, GROUP)
        assert group is not None
        check = HealthCheck(interval=5, path="/health", port="8080", matcher="204")
        changed = msgspec.structs.replace(group, health_check=check)
        await world.store.update(lambda tx: tx.put(TARGET_GROUPS, changed))
        await asyncio.sleep(11)
        assert world.state("10.0.0.1").state == "unhealthy"
        last = world.prober.requests[-1]
        assert (last.path, last.port, last.host) == ("/health", 8080, "10.0.0.1:8080")

    in_world(story)


def test_a_restart_keeps_the_health_and_checks_again_spread_out() -> None:
    ids = [f"10.0.0.{n}" for n in range(1, 31)]

    async def before(world: World) -> None:
        await world.seed(HealthCheck(interval=10))
        await world.start()
        world.prober.answers |= dict.fromkeys(ids, UP)
        await world.register(*ids)
        await asyncio.sleep(1)
        disks.append(world.disk)

    async def after(world: World) -> None:
        world.prober.answers |= dict.fromkeys(ids, UP)
        await world.start()
        await asyncio.sleep(0.001)
        assert world.proxy.endpoints() == dict.fromkeys(ids, True)
        assert len(world.prober.log) < 5
        await asyncio.sleep(5)
        assert len(world.prober.log) == 30
        assert len({when for when, _ in world.prober.log}) > 20

    disks: list[Any] = []
    in_world(before)
    in_world(after, disks[0])


def test_a_check_under_way_says_nothing_about_a_target_that_left() -> None:
    async def story(world: World) -> None:
        await world.seed(deregistration_delay__timeout_seconds="0")
        await world.start()
        world.prober.answers["10.0.0.1"] = UP
        world.prober.took = 2.0
        await world.register("10.0.0.1")
        await asyncio.sleep(1)
        await world.deregister("10.0.0.1")
        await asyncio.sleep(5)
        assert not world.store.all(TARGET_HEALTH)
        assert not world.store.all(TARGETS)
        assert world.targets.checks.said(f"{GROUP}|10.0.0.1|80") is None  # nothing is kept of what is gone

    in_world(story)


def test_the_proxy_away_is_retried_and_explained() -> None:
    async def story(world: World) -> None:
        await world.seed()
        world.proxy.away = True
        await world.start()
        world.prober.answers["10.0.0.1"] = UP
        await world.register("10.0.0.1")
        await asyncio.sleep(2)
        assert "Envoy does not answer" in (world.targets.said(GROUP) or "")
        assert world.state("10.0.0.1").state == "healthy"
        world.proxy.away = False
        await asyncio.sleep(31)
        assert world.proxy.endpoints() == {"10.0.0.1": True}
        assert world.targets.said(GROUP) == "1 in the proxy, 1 of them healthy, 0 draining"

    in_world(story)


def test_a_deleted_group_leaves_the_proxy() -> None:
    async def story(world: World) -> None:
        await world.seed(used=False)
        await world.start()
        await asyncio.sleep(0.01)
        assert GROUP in world.proxy.target_groups
        await world.register("10.0.0.1")
        await world.store.update(lambda tx: tx.delete(TARGET_GROUPS, GROUP))
        await asyncio.sleep(0.01)
        assert GROUP not in world.proxy.target_groups
        assert not world.store.all(TARGETS)
        assert world.targets.said(GROUP) is None

    in_world(story)


def test_five_hundred_targets_cost_one_check_each_an_interval() -> None:
    async def story(world: World) -> None:
        await world.seed(HealthCheck(interval=10))
        ids = [f"10.0.{n // 250}.{n % 250}" for n in range(500)]
        world.prober.answers |= dict.fromkeys(ids, UP)
        await world.start()
        await world.register(*ids)
        await asyncio.sleep(15)
        before = len(world.prober.log)
        pushes = world.proxy.calls.count("put_target_group")
        await asyncio.sleep(20)
        assert len(world.prober.log) - before == 1000
        assert world.proxy.calls.count("put_target_group") == pushes
        moments = [round(when, 2) for when, _ in world.prober.log[before:]]
        assert max(moments.count(moment) for moment in set(moments)) < 15  # not all at once

    in_world(story)


def test_a_reset_empties_the_proxy() -> None:
    async def story(world: World) -> None:
        await world.seed()
        await world.start()
        world.prober.answers["10.0.0.1"] = UP
        await world.register("10.0.0.1")
        await asyncio.sleep(1)
        await world.store.reset()
        await asyncio.sleep(1)
        assert (world.proxy.load_balancers, world.proxy.target_groups) == ({}, {})
        checks = len(world.prober.log)
        await asyncio.sleep(60)
        assert len(world.prober.log) == checks

    in_world(story)
