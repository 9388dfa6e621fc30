"""Random stories of a service whose deployments are somebody else's (EXTERNAL): task sets are made, scaled, promoted and
deleted, and everything else goes wrong as in `story.py`. In the end every task set has its share."""

from __future__ import annotations

import random
from collections import Counter

from moorage.domain.task_set import TaskSet
from moorage.simulation.calls import CLUSTER
from moorage.simulation.player import Player
from moorage.simulation.story import GOOD, Step, pause, written
from moorage.store.tables.ecs import SERVICES, TASK_SETS

NAME = "a"
FAULTS = (
    "stop_task",
    "kill_container",
    "flap_container",
    "freeze_container",
    "kill_sandbox",
    "remove_container",
    "lose_answer",
    "slow_disk",
    "engine_outage",
    "engine_freeze",
    "lose_events",
    "proxy_outage",
    "disk_full",
    "crash",
    "restart_control_plane",
)


def write_sets(seed: int, length: int = 14) -> list[Step]:
    dice = random.Random(seed)
    steps = [Step(0.0, "create_outside", {"desired": dice.randint(1, 4)}), _make(dice)]
    for _ in range(length):
        if dice.random() < 0.45:
            steps.append(written(dice, FAULTS))
            continue
        step = dice.choice((_make, _make, _scale, _scale, _promote, _delete, _desired))(dice)
        steps.append(Step(pause(dice), step.verb, step.arguments))
    return steps


def _make(dice: random.Random) -> Step:
    share = {"percent": dice.choice((0.0, 30.0, 50.0, 100.0)), "image": dice.choice(list(GOOD))}
    return Step(0.0, "make_set", {**share, "balanced": dice.random() < 0.6})


def _scale(dice: random.Random) -> Step:
    return Step(0.0, "scale_set", {"which": dice.randrange(100), "percent": dice.choice((0.0, 25.0, 60.0, 100.0))})


def _promote(dice: random.Random) -> Step:
    return Step(0.0, "promote_set", {"which": dice.randrange(100)})


def _delete(dice: random.Random) -> Step:
    return Step(0.0, "delete_set", {"which": dice.randrange(100), "force": dice.random() < 0.7})


def _desired(dice: random.Random) -> Step:
    return Step(0.0, "scale", {"name": NAME, "desired": dice.randint(0, 5)})


class SetsPlayer(Player):
    patience = 1800.0

    async def create_outside(self, desired: int) -> None:
        self._fronts[NAME] = await self.world.create_load_balancer(NAME)
        controller = {"type": "EXTERNAL"}
        await self.world.ecs(
            "CreateService", cluster=CLUSTER, serviceName=NAME, desiredCount=desired, deploymentController=controller
        )

    async def make_set(self, percent: float, image: str, balanced: bool) -> None:
        front = self._fronts.get(NAME) if balanced else None
        balancer = (
            {"targetGroupArn": front.target_group, "containerName": "app", "containerPort": 80} if front else None
        )
        await self.world.ecs(
            "CreateTaskSet",
            cluster=CLUSTER,
            service=NAME,
            taskDefinition=await self.revision(NAME, image, False),
            launchType="FARGATE",
            networkConfiguration=self.world.network_configuration(),
            loadBalancers=[balancer] if balancer else None,
            scale={"value": percent, "unit": "PERCENT"},
        )

    def _set(self, which: int) -> TaskSet | None:
        found = self.world.store.all(TASK_SETS)
        return found[which % len(found)] if found else None

    async def scale_set(self, which: int, percent: float) -> None:
        if (one := self._set(which)) is not None:
            scale = {"value": percent, "unit": "PERCENT"}
            await self.world.ecs("UpdateTaskSet", cluster=CLUSTER, service=NAME, taskSet=one.id, scale=scale)

    async def promote_set(self, which: int) -> None:
        if (one := self._set(which)) is not None:
            await self.world.ecs("UpdateServicePrimaryTaskSet", cluster=CLUSTER, service=NAME, primaryTaskSet=one.id)

    async def delete_set(self, which: int, force: bool) -> None:
        if (one := self._set(which)) is not None:
            await self.world.ecs("DeleteTaskSet", cluster=CLUSTER, service=NAME, taskSet=one.id, force=force)

    async def mend(self) -> None:
        await self.end_faults()

    async def rest(self) -> None:
        if not self.world.store.all(SERVICES):
            return
        await self.world.until(self._have_their_share, within=self.patience, what="task sets as they should be")
        await self.world.delete_service(NAME)
        await self.world.until(
            lambda: all(one.status == "INACTIVE" for one in self.world.store.all(SERVICES)), within=300
        )
        if self.world.store.all(TASK_SETS):
            self.world.invariants.note("task sets outlive their service")
        await self.world.settled(within=300)

    def _have_their_share(self) -> bool:
        sets, desired = self.world.store.all(TASK_SETS), self.world.service(NAME).desired_count
        counts = Counter(t.deployment_id for t in self.world.living_tasks() if t.last_status == "RUNNING")
        wanted = {one.id: one.desired(desired) for one in sets if one.desired(desired)}
        return dict(counts) == wanted and all(one.steady for one in sets)
