"""Random histories from a seed, in virtual time: registrations, deregistrations, failing targets, a proxy that comes
and goes, a store that refuses, restarts of the control plane. After the storm everything agrees; during it, what must
never be never is."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from moorage.domain.errors import Retryable
from moorage.domain.target_group import HealthCheck, ProbeResult
from moorage.store.elbv2_queries import delete_listener, put_listener
from moorage.store.log_memory import MemoryDisk
from moorage.store.tables.elbv2 import LISTENERS, TARGET_GROUPS, TARGET_HEALTH, TARGETS

from .load_balancing_world import DOWN, GROUP, LISTENER, UP, World, a_listener, in_world

IDS = [f"10.0.0.{n}" for n in range(1, 7)]
ANSWERS = [UP, UP, UP, DOWN, ProbeResult("timeout"), ProbeResult("answered", 500)]


class Storm:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.disk: MemoryDisk | None = None
        self.answers: dict[str, ProbeResult] = {}

    async def rage(self, world: World) -> None:
        self.disk = world.disk
        world.prober.answers = self.answers
        if not world.store.all(TARGET_GROUPS):
            await world.seed(HealthCheck(interval=5, timeout=2), deregistration_delay__timeout_seconds="8")
        await world.start()
        for _ in range(40):
            await self.one_event(world)
            await asyncio.sleep(self.random.choice([0, 0.01, 0.3, 2.0]))
            self.never(world)

    async def one_event(self, world: World) -> None:
        one = self.random.choice(IDS)
        event = self.random.choice(["register", "register", "deregister", "answer", "answer", "away", "slow", "use"])
        target = world.store.get(TARGETS, f"{GROUP}|{one}|80")
        if event == "register" and (target is None or target.deregistered_at is not None):
            await world.register(one)
        elif event == "deregister" and target is not None and target.deregistered_at is None:
            await world.deregister(one)
        elif event == "answer":
            world.prober.answers[one] = self.random.choice(ANSWERS)
        elif event == "away":
            world.proxy.away = self.random.random() < 0.3
        elif event == "slow":
            world.prober.took = self.random.choice([0.0, 0.0, 0.2, 1.9])
        elif event == "use":
            used = bool(world.store.all(LISTENERS))
            await world.store.update(
                lambda tx: delete_listener(tx, LISTENER) if used else put_listener(tx, a_listener()) and None
            )

    def never(self, world: World) -> None:
        for health in world.store.all(TARGET_HEALTH):
            assert (health.reason is None) == (health.state == "healthy")
        assert all(world.state(one).state != "healthy" for one in IDS) or world.store.all(LISTENERS)

    async def settle(self, world: World) -> None:
        world.proxy.away = False
        world.prober.took = 0.0
        if not world.store.all(LISTENERS):
            await world.store.update(lambda tx: put_listener(tx, a_listener()))
        await asyncio.sleep(120)
        registered = {target.id: target for target in world.store.all(TARGETS)}
        assert all(target.deregistered_at is None for target in registered.values())
        expected = {one: world.prober.answers.get(one, DOWN) == UP for one in registered}
        assert world.proxy.endpoints() == expected
        assert {one: world.state(one).state == "healthy" for one in registered} == expected
        assert {health.id for health in world.store.all(TARGET_HEALTH)} == set(registered)
        assert set(world.targets.health._watched) == {target.key for target in registered.values()}


@pytest.mark.parametrize("seed", range(40))
def test_everything_agrees_after_the_storm(seed: int) -> None:
    storm = Storm(seed)
    in_world(storm.rage)
    in_world(storm.rage, storm.disk)  # the control plane was killed in the middle and starts again

    async def last(world: World) -> None:
        world.prober.answers = storm.answers
        await world.start()
        await storm.settle(world)

    in_world(last, storm.disk)


def test_a_full_disk_holds_up_what_is_shown_and_loses_nothing() -> None:
    async def story(world: World) -> None:
        await world.seed()
        await world.start()
        world.prober.answers["10.0.0.1"] = UP
        log: Any = world.store._log
        log.refuse(OSError("no space left on device"))
        with pytest.raises(Retryable):
            await world.register("10.0.0.1")
        log.refuse(None)
        world.prober.took = 0.1
        await world.register("10.0.0.1")
        log.refuse(OSError("no space left on device"))
        await asyncio.sleep(1)
        assert world.state("10.0.0.1").state == "initial"
        log.refuse(None)
        await asyncio.sleep(1)
        assert world.state("10.0.0.1").state == "healthy"
        log.refuse(OSError("no space left on device"))
        world.prober.answers["10.0.0.1"] = DOWN
        await asyncio.sleep(100)
        assert world.state("10.0.0.1").state == "healthy"
        log.refuse(None)
        await asyncio.sleep(60)
        assert world.state("10.0.0.1").state == "unhealthy"
        assert world.proxy.endpoints() == {"10.0.0.1": False}

    in_world(story)
