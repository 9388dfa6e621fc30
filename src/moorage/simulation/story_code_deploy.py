"""Random stories of a service that CodeDeploy deploys (CODE_DEPLOY): replacement task sets, traffic moved at once, in steps
and back again, deployments stopped, and everything else gone wrong as in `story.py`. In the end every deployment has ended
and all traffic goes to the one task set that is left."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any

from moorage.domain.code_deployment import CodeDeployment
from moorage.domain.load_balancer import Forward
from moorage.services.aws_backed.codedeploy import CodeDeployProvider
from moorage.services.base import RequestContext
from moorage.simulation.calls import CLUSTER
from moorage.simulation.network import SCOPE
from moorage.simulation.player import Player
from moorage.simulation.story import BROKEN, GOOD, Step, pause, written
from moorage.simulation.story_sets import FAULTS
from moorage.store.tables.codedeploy import CODE_DEPLOYMENTS
from moorage.store.tables.ecs import SERVICES, TASK_SETS
from moorage.store.tables.elbv2 import LISTENERS

NAME, GREEN = "a", "a-2"
ENDED = ("Succeeded", "Failed", "Stopped")
CONFIGURATIONS = (
    "CodeDeployDefault.ECSAllAtOnce",
    "CodeDeployDefault.ECSCanary10Percent5Minutes",
    "CodeDeployDefault.ECSLinear10PercentEvery1Minutes",
)


def write_code_deploy(seed: int, length: int = 14) -> list[Step]:
    dice = random.Random(seed)
    create = {"desired": dice.randint(1, 3), "wait": dice.choice((0, 5)), "rollback": dice.random() < 0.7}
    steps = [Step(0.0, "create_deployed", create), Step(dice.choice((1.0, 60.0)), "nothing")]
    for _ in range(length):
        chance = dice.random()
        if chance < 0.35:
            image = dice.choice([*GOOD, *GOOD, *BROKEN])
            how = {"image": image, "configuration": dice.choice(CONFIGURATIONS)}
            steps.append(Step(pause(dice), "deploy_code", how))
        elif chance < 0.5:
            steps.append(Step(pause(dice), "stop_code", {"back": dice.random() < 0.6}))
        elif chance < 0.55:
            steps.append(Step(pause(dice), "scale", {"name": NAME, "desired": dice.randint(1, 4)}))
        else:
            steps.append(written(dice, FAULTS))
    return steps


class Backed:
    """What the embedded AWS remembers of the application and its group."""

    def __init__(self, group: Mapping[str, Any]) -> None:
        self._group = group

    async def call(self, scope: Any, service: str, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        if operation == "GetApplication":
            return {"application": {"computePlatform": "ECS"}}
        return {"deploymentGroupInfo": self._group}


class CodeDeployPlayer(Player):
    patience = 7200.0
    _group: Mapping[str, Any] | None = None

    async def nothing(self) -> None:
        """Time goes on."""

    async def create_deployed(self, desired: int, wait: int, rollback: bool) -> None:
        front = self._fronts[NAME] = await self.world.create_load_balancer(NAME)
        await self.world.create_target_group(GREEN)
        ends = {"action": "TERMINATE", "terminationWaitTimeInMinutes": wait}
        pair = {
            "targetGroups": [{"name": NAME}, {"name": GREEN}],
            "prodTrafficRoute": {"listenerArns": [front.listener]},
        }
        self._group = {
            "ecsServices": [{"serviceName": NAME, "clusterName": CLUSTER}],
            "deploymentConfigName": CONFIGURATIONS[0],
            "autoRollbackConfiguration": {"enabled": rollback, "events": ["DEPLOYMENT_FAILURE"]},
            "blueGreenDeploymentConfiguration": {"terminateBlueInstancesOnDeploymentSuccess": ends},
            "loadBalancerInfo": {"targetGroupPairInfoList": [pair]},
        }
        await self.world.ecs(
            "CreateService",
            cluster=CLUSTER,
            serviceName=NAME,
            desiredCount=desired,
            taskDefinition=await self.revision(NAME, "good", False),
            launchType="FARGATE",
            networkConfiguration=self.world.network_configuration(),
            deploymentController={"type": "CODE_DEPLOY"},
            loadBalancers=[{"targetGroupArn": front.target_group, "containerName": "app", "containerPort": 80}],
        )

    async def _call(self, operation: str, **request: Any) -> None:
        if self._group is None:
            return
        backed: Any = Backed(self._group)
        provider = CodeDeployProvider(backed, self.world.store, self.world.clock, self.world.ids)
        context = RequestContext(SCOPE.account, SCOPE.region, "codedeploy", operation, "r", "test", "root")
        await self.world.ask(provider.handlers()[operation](context, request))

    async def deploy_code(self, image: str, configuration: str) -> None:
        definition = await self.revision(NAME, image, False)
        properties = {"TaskDefinition": definition, "LoadBalancerInfo": {"ContainerName": "app", "ContainerPort": 80}}
        spec = {"Resources": [{"TargetService": {"Type": "AWS::ECS::Service", "Properties": properties}}]}
        await self._call(
            "CreateDeployment",
            applicationName="app",
            deploymentGroupName="group",
            deploymentConfigName=configuration,
            revision={"revisionType": "AppSpecContent", "appSpecContent": {"content": json.dumps(spec)}},
        )

    async def stop_code(self, back: bool) -> None:
        for one in self._going():
            await self._call("StopDeployment", deploymentId=one.id, autoRollbackEnabled=back)

    def _going(self) -> list[CodeDeployment]:
        return [one for one in self.world.store.all(CODE_DEPLOYMENTS) if one.status not in ENDED]

    async def mend(self) -> None:
        await self.end_faults()

    async def rest(self) -> None:
        """What is under way ends; one more deployment, of an image that works, cleans up whatever a stopped one left."""
        if not self.world.store.all(SERVICES):
            return
        await self.world.until(lambda: not self._going(), within=self.patience, what="the end of every deployment")
        await self.deploy_code("good", CONFIGURATIONS[0])
        await self.world.until(self._is_whole, within=self.patience, what="one task set with all traffic")

    def _is_whole(self) -> bool:
        sets, tasks = self.world.store.all(TASK_SETS), self.world.living_tasks()
        desired = self.world.service(NAME).desired_count
        if self._going() or len(sets) != 1 or not sets[0].steady or len(tasks) != desired:
            return False
        listener = self.world.store.get(LISTENERS, self._fronts[NAME].listener)
        forwarded = [
            group for one in listener.default_actions if isinstance(one, Forward) for group in one.target_groups
        ]
        serving = {one.arn for one in forwarded if one.weight > 0 or len(forwarded) == 1}
        return serving == {place.target_group_arn for task in tasks for place in task.target_places}
