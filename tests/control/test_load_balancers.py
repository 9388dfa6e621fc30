"""Load balancers on their way into the proxy, in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

from moorage.domain.load_balancer import FixedResponse, Rule
from moorage.proxy.driver import ProxyRefused
from moorage.store.elbv2_queries import delete_load_balancer, put_listener, put_rule
from moorage.store.tables.elbv2 import LOAD_BALANCERS

from .load_balancing_world import GROUP, LB, LISTENER, World, a_listener, in_world


def _state(world: World) -> tuple[str, str]:
    record = world.store.get(LOAD_BALANCERS, LB)
    assert record is not None
    return record.state, record.state_reason


def test_it_is_active_when_the_proxy_has_taken_it() -> None:
    async def story(world: World) -> None:
        await world.start()
        await world.seed()
        await asyncio.sleep(0.01)
        assert _state(world) == ("active", "")
        config = world.proxy.load_balancers[LB]
        assert [listener.port for listener in config.listeners] == [80]
        assert world.proxy.calls.count("put_load_balancer") == 1  # its own state is no reason to push again
        assert world.load_balancers.said(LB) == "active with 1 listeners and 0 rules"

    in_world(story)


def test_listeners_and_rules_are_pushed_as_they_come() -> None:
    async def story(world: World) -> None:
        await world.seed()
        await world.start()
        second = a_listener(arn=LISTENER[:-1] + "2", port=81)
        await world.store.update(lambda tx: put_listener(tx, second))
        arn = LISTENER.replace(":listener/", ":listener-rule/") + "/7"
        rule = Rule(arn, LISTENER, 7, (), (FixedResponse("200"),))
        await world.store.update(lambda tx: put_rule(tx, rule))
        await asyncio.sleep(0.01)
        config = world.proxy.load_balancers[LB]
        assert [listener.port for listener in config.listeners] == [80, 81]
        assert config.rules[LISTENER] == (rule,)
        await world.store.update(lambda tx: delete_load_balancer(tx, LB))
        await asyncio.sleep(0.01)
        assert world.proxy.load_balancers == {}
        assert world.load_balancers.said(LB) is None

    in_world(story)


def test_a_refusal_is_shown_and_offered_again() -> None:
    async def story(world: World) -> None:
        world.proxy.refusal = ProxyRefused("port 80 of this machine is taken")
        await world.seed()
        await world.start()
        await asyncio.sleep(1)
        assert _state(world) == ("failed", "port 80 of this machine is taken")
        world.proxy.refusal = None
        await asyncio.sleep(16)
        assert _state(world) == ("active", "")

    in_world(story)


def test_it_stays_provisioning_while_the_proxy_is_away() -> None:
    async def story(world: World) -> None:
        world.proxy.away = True
        await world.seed()
        await world.start()
        await asyncio.sleep(10)
        assert _state(world) == ("provisioning", "")
        assert world.proxy.retained == []
        world.proxy.away = False
        await asyncio.sleep(31)
        assert _state(world) == ("active", "")

    in_world(story)


def test_after_a_restart_the_proxy_forgets_only_when_it_has_taken_everything() -> None:
    async def before(world: World) -> None:
        await world.seed()
        disks.append(world.disk)

    async def after(world: World) -> None:
        world.proxy.away = True
        await world.start()
        await asyncio.sleep(1)
        world.proxy.away = False
        await asyncio.sleep(31)
        assert world.proxy.retained == [((LB,), (GROUP,))]
        retain = world.proxy.calls.index("retain")
        assert {"put_load_balancer", "put_target_group"} <= set(world.proxy.calls[:retain])

    disks: list[Any] = []
    in_world(before)
    in_world(after, disks[0])
