"""Random stories of deployments that shift traffic: blue/green, linear and canary, updated in the middle of updates,
stopped and rolled back, while everything goes wrong as in `story.py`."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from moorage.domain.service import Service
from moorage.simulation.calls import CLUSTER
from moorage.simulation.network import SCOPE
from moorage.simulation.player import Player
from moorage.simulation.story import BROKEN, GOOD, Step, pause, written
from moorage.store.tables.ecs import SERVICES
from moorage.store.tables.elbv2 import LISTENERS

ROLE = "arn:aws:iam::000000000000:role/ecsInfrastructureRole"
NAME = "a"
STRATEGIES: Mapping[str, Mapping[str, Any]] = {
    "blue/green": {"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 1},
    "linear": {
        "strategy": "LINEAR",
        "bakeTimeInMinutes": 0,
        "linearConfiguration": {"stepPercent": 35.0, "stepBakeTimeInMinutes": 1},
    },
    "canary": {
        "strategy": "CANARY",
        "bakeTimeInMinutes": 1,
        "canaryConfiguration": {"canaryPercent": 10.0, "canaryBakeTimeInMinutes": 1},
    },
    "rolling": {"strategy": "ROLLING"},
}
SHARED = (
    "stop_task",
    "kill_container",
    "sicken_container",
    "flap_container",
    "kill_sandbox",
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


def write_shifts(seed: int, length: int = 14) -> list[Step]:
    dice = random.Random(seed)
    create = {
        "strategy": dice.choice([name for name in STRATEGIES if name != "rolling"]),
        "desired": dice.randint(1, 3),
        "breaker": dice.random() < 0.5,
    }
    steps = [Step(0.0, "create_street", create), Step(dice.choice((1.0, 60.0, 120.0)), "nothing")]
    for _ in range(length):
        chance = dice.random()
        after = pause(dice)
        if chance < 0.3:
            image = dice.choice([*GOOD, *GOOD, *BROKEN])
            steps.append(Step(after, "deploy", {"name": NAME, "image": image, "checked": dice.random() < 0.5}))
        elif chance < 0.4:
            steps.append(Step(after, "stop_deployment", {"how": dice.choice(("ROLLBACK", "ABORT"))}))
        elif chance < 0.5:
            steps.append(Step(after, "scale", {"name": NAME, "desired": dice.randint(0, 4)}))
        elif chance < 0.57:
            steps.append(Step(after, "set_strategy", {"strategy": dice.choice(list(STRATEGIES))}))
        elif chance < 0.6:
            steps.append(Step(after, "delete_service", {"name": NAME}))
        elif chance < 0.63:
            steps.append(Step(after, "create_street", create))
        else:
            steps.append(written(dice, SHARED))
    return steps


class ShiftsPlayer(Player):
    """One service behind two target groups, production on port 80 and test traffic on port 8080."""

    patience = 3600.0
    _alternate: str | None = None
    _test_listener: str | None = None

    async def nothing(self) -> None:
        """Time goes on."""

    async def create_street(self, strategy: str, desired: int, breaker: bool) -> None:
        if NAME not in self._fronts:
            self._fronts[NAME] = await self.world.create_load_balancer(NAME)
        front = self._fronts[NAME]
        if self._alternate is None:
            self._alternate = await self.world.create_target_group("a-2")
        if self._test_listener is None:
            self._test_listener = await self.world.create_listener(front.load_balancer, self._alternate, port=8080)
        advanced = {
            "alternateTargetGroupArn": self._alternate,
            "productionListenerRule": self._rule(front.listener),
            "testListenerRule": self._rule(self._test_listener),
            "roleArn": ROLE,
        }
        balancer = {
            "targetGroupArn": front.target_group,
            "containerName": "app",
            "containerPort": 80,
            "advancedConfiguration": advanced,
        }
        await self.world.ecs(
            "CreateService",
            cluster=CLUSTER,
            serviceName=NAME,
            taskDefinition=await self.revision(NAME, "good", False),
            desiredCount=desired,
            launchType="FARGATE",
            networkConfiguration=self.world.network_configuration(),
            loadBalancers=[balancer],
            deploymentConfiguration={
                **STRATEGIES[strategy],
                "deploymentCircuitBreaker": {"enable": breaker, "rollback": breaker},
            },
        )

    def _rule(self, listener: str) -> str:
        return str(self.world.store.get(LISTENERS, listener).default_rule_arn)

    async def stop_deployment(self, how: str) -> None:
        service = self._service()
        if service is None or not service.deployments:
            return
        arn = service.deployments[0].service_deployment_arn
        await self.world.ecs("StopServiceDeployment", serviceDeploymentArn=arn, stopType=how)

    def _service(self) -> Service | None:
        found: Service | None = self.world.store.get(SERVICES, SCOPE.arn("ecs", f"service/{CLUSTER}/{NAME}"))
        return found

    async def set_strategy(self, strategy: str) -> None:
        await self.world.update_service(NAME, deploymentConfiguration=dict(STRATEGIES[strategy]))
