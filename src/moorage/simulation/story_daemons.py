"""Random stories of a DAEMON service: instances come, are painted, drain, change and go, and everything else goes wrong as
in `story.py`. In the end one task runs on every instance it belongs on, and nowhere else."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from moorage.simulation.calls import CLUSTER
from moorage.simulation.player import Player
from moorage.simulation.story import GOOD, Step, pause, written
from moorage.simulation.story_hosts import SHARED, HostsPlayer
from moorage.store.tables.ecs import CONTAINER_INSTANCES, SERVICES

NAME = "agent"
BLUE: Sequence[Mapping[str, str]] = ({"type": "memberOf", "expression": "attribute:stack == blue"},)
FAULTS = tuple(verb for verb in SHARED if verb not in ("scale", "redeploy", "delete_service", "set_percents"))


def write_daemons(seed: int, length: int = 14) -> list[Step]:
    dice = random.Random(seed)
    steps = [_register(dice) for _ in range(3)]
    create = {"blue": dice.random() < 0.5, "image": dice.choice(list(GOOD)), "balanced": dice.random() < 0.3}
    steps.append(Step(0.0, "create_daemon", create))
    for _ in range(length):
        if dice.random() < 0.4:
            steps.append(written(dice, FAULTS))
            continue
        writer = dice.choice((_register, _state, _state, _paint, _paint, _deregister, _deploy, _deploy, _minimum))
        step = writer(dice)
        steps.append(Step(pause(dice), step.verb, step.arguments))
    return steps


def _register(dice: random.Random) -> Step:
    sizes = {"cpu": dice.choice((128, 1024)), "fast": dice.random() < 0.5, "zone": "us-east-1a"}
    return Step(0.0, "register_instance", sizes)


def _state(dice: random.Random) -> Step:
    status = dice.choice(("ACTIVE", "DRAINING"))
    return Step(0.0, "set_instance", {"which": dice.randrange(100), "status": status})


def _paint(dice: random.Random) -> Step:
    return Step(0.0, "paint", {"which": dice.randrange(100), "color": dice.choice(("blue", "green"))})


def _deregister(dice: random.Random) -> Step:
    return Step(0.0, "deregister_instance", {"which": dice.randrange(100)})


def _deploy(dice: random.Random) -> Step:
    return Step(0.0, "deploy_daemon", {"image": dice.choice(list(GOOD)), "cpu": dice.choice((64, 200))})


def _minimum(dice: random.Random) -> Step:
    return Step(0.0, "set_minimum", {"percent": dice.choice((0, 34, 50))})


class DaemonsPlayer(HostsPlayer):
    patience = 1800.0
    _blue = False

    async def paint(self, which: int, color: str) -> None:
        if (instance := self._instance(which)) is not None:
            attribute = {"name": "stack", "value": color, "targetId": instance.arn}
            await self.world.ecs("PutAttributes", cluster=CLUSTER, attributes=[attribute])

    async def create_daemon(self, blue: bool, image: str, balanced: bool) -> None:
        self._blue = blue
        front = await self.world.create_load_balancer(NAME, target_type="instance") if balanced else None
        balancer = (
            {"targetGroupArn": front.target_group, "containerName": "app", "containerPort": 80} if front else None
        )
        await self.world.ecs(
            "CreateService",
            cluster=CLUSTER,
            serviceName=NAME,
            taskDefinition=await self._definition(image, 64),
            schedulingStrategy="DAEMON",
            loadBalancers=[balancer] if balancer else None,
            placementConstraints=list(BLUE) if blue else None,
        )

    async def deploy_daemon(self, image: str, cpu: int) -> None:
        await self.world.update_service(NAME, taskDefinition=await self._definition(image, cpu))

    async def set_minimum(self, percent: int) -> None:
        await self.world.update_service(NAME, deploymentConfiguration={"minimumHealthyPercent": percent})

    async def _definition(self, image: str, cpu: int) -> str:
        app: dict[str, Any] = {
            "name": "app",
            "image": image,
            "cpu": cpu,
            "memory": 128,
            "essential": True,
            "portMappings": [{"containerPort": 80, "hostPort": 9100}],
        }
        answer = await self.world.ecs("RegisterTaskDefinition", family=NAME, containerDefinitions=[app])
        return str(answer["taskDefinition"]["taskDefinitionArn"])

    async def mend(self) -> None:
        """A percentage that blocks is the user's own doing, and so is a task that does not fit."""
        await Player.end_faults(self)
        if self.world.store.all(SERVICES):
            await self.set_minimum(0)
            await self.deploy_daemon("good", 64)
        self.world.invariants.passes.mended(self.world.store)

    async def rest(self) -> None:
        if self.world.store.all(SERVICES):
            await self.world.until(self._is_everywhere, within=self.patience, what="a daemon everywhere")

    def _is_everywhere(self) -> bool:
        instances = [one for one in self.world.store.all(CONTAINER_INSTANCES) if one.status == "ACTIVE"]
        wanted = sorted(one.arn for one in instances if not self._blue or one.attributes.get("stack") == "blue")
        mine = [task for task in self.world.tasks(NAME) if task.last_status == "RUNNING"]
        newest = self.world.service(NAME).deployments[0]
        on = sorted(task.instance.arn for task in mine if task.instance is not None)
        at_rest = newest.rollout_state == "COMPLETED" and len(mine) == len(self.world.living_tasks())
        return on == wanted and at_rest and {task.deployment_id for task in mine} <= {newest.id}
