"""Random stories of rolling deployments one after another: good and broken ones, watched by circuit breakers and alarms,
stopped by request, over before they were whole; with tasks that are protected, tasks of several containers, images that
are long in coming, containers that are started again, and network load balancers."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from moorage.simulation.calls import CLUSTER
from moorage.simulation.network import SCOPE
from moorage.simulation.player import Player
from moorage.simulation.story import BROKEN, GOOD, PERCENTS, Step, pause, written
from moorage.store.tables.ecs import SERVICES

NAME = "a"
SHARED = (
    "scale",
    "redeploy",
    "watch",
    "watch",
    "ring",
    "ring",
    "move_tag",
    "move_tag",
    "move_tag",
    "set_percents",
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
    "lose_host",
    "proxy_outage",
    "disk_full",
    "crash",
    "restart_control_plane",
)
CHECK: Mapping[str, Any] = {"command": ["CMD-SHELL", "true"], "interval": 5, "retries": 2}
AGAIN: Mapping[str, Any] = {"enabled": True, "restartAttemptPeriod": 60}
# What stands beside the container that serves, and what that one waits for.
SHAPES: Mapping[str, tuple[Mapping[str, Any] | None, str | None]] = {
    "alone": (None, None),
    "restarted": (None, None),
    "after init": ({"image": "brief", "essential": False}, "SUCCESS"),
    "after sidecar": ({"image": "moody", "essential": False, "restartPolicy": AGAIN}, "START"),
    "after healthy sidecar": ({"image": "good", "essential": False, "healthCheck": CHECK}, "HEALTHY"),
}


def write_rolls(seed: int, length: int = 14) -> list[Step]:
    dice = random.Random(seed)
    percents = dice.choice(PERCENTS)
    create = {
        "name": NAME,
        "image": dice.choice(list(GOOD)),
        "desired": dice.randint(1, 4),
        "balanced": dice.random() < 0.6,
        "checked": dice.random() < 0.5,
        "minimum": percents[0],
        "maximum": percents[1],
        "breaker": dice.random() < 0.7,
        "rollback": dice.random() < 0.6,
    }
    first = [Step(0.0, "open_network_front", {"name": NAME})] if dice.random() < 0.3 else []
    steps = [*first, Step(0.0, "create_service", create), Step(dice.choice((1.0, 60.0, 120.0)), "nothing")]
    for _ in range(length):
        chance = dice.random()
        after = dice.choice((pause(dice), pause(dice), 60.0, 200.0))
        if chance < 0.4:
            image = dice.choice([*GOOD, "distant", *BROKEN])
            arguments = {"name": NAME, "image": image, "shape": dice.choice(list(SHAPES))}
            steps.append(Step(after, "deploy_shape", arguments))
        elif chance < 0.46:
            steps.append(Step(after, "stop_deployment", {"how": dice.choice(("ROLLBACK", "ABORT"))}))
        elif chance < 0.54:
            steps.append(Step(after, "protect", {"which": dice.randrange(100), "minutes": dice.choice((None, 1, 5))}))
        else:
            steps.append(written(dice, SHARED))
    return steps


class RollsPlayer(Player):
    async def nothing(self) -> None:
        """Time goes on."""

    async def open_network_front(self, name: str) -> None:
        self._fronts[name] = await self.world.create_load_balancer(name, network=True)

    async def deploy_shape(self, name: str, image: str, shape: str) -> None:
        beside, condition = SHAPES[shape]
        app: dict[str, Any] = {
            "name": "app",
            "image": image,
            "essential": True,
            "portMappings": [{"containerPort": 80}],
            "restartPolicy": AGAIN if shape == "restarted" else None,
            "dependsOn": [{"containerName": "beside", "condition": condition}] if condition else None,
        }
        containers = [{name: value for name, value in app.items() if value is not None}]
        if beside is not None:
            containers.append({"name": "beside", **beside})
        await self.world.update_service(name, taskDefinition=await self.world.register(name, containers=containers))

    async def stop_deployment(self, how: str) -> None:
        service = self.world.store.get(SERVICES, SCOPE.arn("ecs", f"service/{CLUSTER}/{NAME}"))
        if service is not None and service.deployments:
            arn = service.deployments[0].service_deployment_arn
            await self.world.ecs("StopServiceDeployment", serviceDeploymentArn=arn, stopType=how)

    async def protect(self, which: int, minutes: int | None) -> None:
        """A task is protected from being scaled in, or (`minutes` None) is so no longer."""
        tasks = [task for task in self.world.living_tasks() if task.service_arn is not None]
        if tasks:
            await self.world.ecs(
                "UpdateTaskProtection",
                cluster=CLUSTER,
                tasks=[tasks[which % len(tasks)].arn],
                protectionEnabled=minutes is not None,
                expiresInMinutes=minutes,
            )
