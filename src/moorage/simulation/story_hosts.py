"""Random stories of services on container instances: instances come, drain, change and go while tasks with fixed and
dynamic host ports, constraints and strategies are placed on them, and everything else goes wrong as in `story.py`."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from moorage.domain.container_instance import ContainerInstance
from moorage.simulation.calls import CLUSTER
from moorage.simulation.player import Player
from moorage.simulation.story import BROKEN, GOOD, NAMES, PERCENTS, Step, pause, written
from moorage.store.tables.ecs import CONTAINER_INSTANCES

ZONES = ("us-east-1a", "us-east-1b")
CONSTRAINTS: Mapping[str, Sequence[Mapping[str, str]]] = {
    "none": (),
    "distinct": ({"type": "distinctInstance"},),
    "fast": ({"type": "memberOf", "expression": "attribute:disk == fast"},),
}
STRATEGIES: Mapping[str, Sequence[Mapping[str, str]]] = {
    "default": (),
    "binpack": ({"type": "binpack", "field": "memory"},),
    "spread": ({"type": "spread", "field": "instanceId"},),
}
# Faults of `story.py` that have nothing to do with where a task runs.
SHARED = (
    "scale",
    "redeploy",
    "delete_service",
    "stop_task",
    "kill_container",
    "flap_container",
    "remove_container",
    "kill_sandbox",
    "lose_answer",
    "set_percents",
    "slow_disk",
    "engine_outage",
    "engine_freeze",
    "lose_events",
    "disk_full",
    "crash",
    "restart_control_plane",
)


def write_hosts(seed: int, length: int = 16) -> list[Step]:
    dice = random.Random(seed)
    steps = [_register(dice) for _ in range(dice.randint(1, 4))]
    steps += [_create(dice, name) for name in NAMES[: dice.randint(1, len(NAMES))]]
    for _ in range(length):
        if dice.random() < 0.55:
            steps.append(written(dice, SHARED))
        else:
            writer = dice.choice((_register, _create, _deploy, _deploy, _state, _state, _deregister))
            step = writer(dice)
            steps.append(Step(pause(dice), step.verb, step.arguments))
    return steps


def _register(dice: random.Random) -> Step:
    sizes = {"cpu": dice.choice((256, 1024, 2048)), "fast": dice.random() < 0.5, "zone": dice.choice(ZONES)}
    return Step(0.0, "register_instance", sizes)


def _create(dice: random.Random, name: str | None = None) -> Step:
    minimum, maximum = dice.choice(PERCENTS)
    return Step(
        0.0,
        "create_on_instances",
        {
            "name": name or dice.choice(NAMES),
            "image": dice.choice(list(GOOD)),
            "desired": dice.randint(1, 4),
            "host_port": dice.choice((0, 0, 8080)),
            "balanced": dice.random() < 0.6,
            "constraint": dice.choice(list(CONSTRAINTS)),
            "strategy": dice.choice(list(STRATEGIES)),
            "minimum": minimum,
            "maximum": maximum,
            "breaker": dice.random() < 0.5,
        },
    )


def _deploy(dice: random.Random) -> Step:
    arguments = {"name": dice.choice(NAMES), "image": dice.choice([*GOOD, *BROKEN]), "checked": dice.random() < 0.5}
    return Step(0.0, "deploy", arguments)


def _state(dice: random.Random) -> Step:
    return Step(
        0.0, "set_instance", {"which": dice.randrange(100), "status": dice.choice(("ACTIVE", "DRAINING", "DRAINING"))}
    )


def _deregister(dice: random.Random) -> Step:
    return Step(0.0, "deregister_instance", {"which": dice.randrange(100)})


class HostsPlayer(Player):
    """`_host_ports` by service: what its task definitions ask for."""

    _host_ports: dict[str, int]

    async def register_instance(self, cpu: int, fast: bool, zone: str) -> None:
        attributes = [{"name": "ecs.availability-zone", "value": zone}]
        if fast:
            attributes.append({"name": "disk", "value": "fast"})
        await self.world.ecs(
            "RegisterContainerInstance",
            cluster=CLUSTER,
            totalResources=[
                {"name": "CPU", "type": "INTEGER", "integerValue": cpu},
                {"name": "MEMORY", "type": "INTEGER", "integerValue": 2 * cpu},
            ],
            attributes=attributes,
        )

    def _instance(self, which: int) -> ContainerInstance | None:
        found = [one for one in self.world.store.all(CONTAINER_INSTANCES) if one.status != "INACTIVE"]
        return found[which % len(found)] if found else None

    async def set_instance(self, which: int, status: str) -> None:
        if (instance := self._instance(which)) is not None:
            await self.world.ecs(
                "UpdateContainerInstancesState",
                cluster=CLUSTER,
                containerInstances=[instance.arn],
                status=status,
            )

    async def deregister_instance(self, which: int) -> None:
        if (instance := self._instance(which)) is not None:
            await self.world.ecs(
                "DeregisterContainerInstance", cluster=CLUSTER, containerInstance=instance.arn, force=True
            )

    async def create_on_instances(
        self,
        name: str,
        image: str,
        desired: int,
        host_port: int,
        balanced: bool,
        constraint: str,
        strategy: str,
        minimum: int,
        maximum: int,
        breaker: bool,
    ) -> None:
        self._ports()[name] = host_port
        front = None
        if balanced:
            if name not in self._fronts:
                self._fronts[name] = await self.world.create_load_balancer(name, target_type="instance")
            front = self._fronts[name]
        balancers = (
            [{"targetGroupArn": front.target_group, "containerName": "app", "containerPort": 80}] if front else None
        )
        await self.world.ecs(
            "CreateService",
            cluster=CLUSTER,
            serviceName=name,
            taskDefinition=await self.revision(name, image, False),
            desiredCount=desired,
            launchType="EC2",
            loadBalancers=balancers,
            placementConstraints=list(CONSTRAINTS[constraint]) or None,
            placementStrategy=list(STRATEGIES[strategy]) or None,
            deploymentConfiguration={
                "minimumHealthyPercent": minimum,
                "maximumPercent": maximum,
                "deploymentCircuitBreaker": {"enable": breaker, "rollback": breaker},
            },
        )

    async def revision(self, name: str, image: str, checked: bool) -> str:
        app: dict[str, Any] = {
            "name": "app",
            "image": image,
            "cpu": 200,
            "memory": 256,
            "essential": True,
            "portMappings": [{"containerPort": 80, "hostPort": self._ports().get(name, 0)}],
        }
        if checked:
            app["healthCheck"] = {"command": ["CMD-SHELL", "true"], "interval": 5, "retries": 2}
        answer = await self.world.ecs(
            "RegisterTaskDefinition", family=name, networkMode="bridge", containerDefinitions=[app]
        )
        return str(answer["taskDefinition"]["taskDefinitionArn"])

    async def end_faults(self) -> None:
        """As ever, and there is room for everything that the services ask for."""
        await super().end_faults()
        for number in range(14):
            await self.register_instance(4096, True, ZONES[number % 2])

    def _ports(self) -> dict[str, int]:
        if not hasattr(self, "_host_ports"):
            self._host_ports = {}
        return self._host_ports
