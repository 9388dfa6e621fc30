"""CodeDeploy deployments of an ECS service in the simulated world: the replacement beside the original, traffic moved
between them, the original ended; and back again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from moorage.control.explainer import Explainer
from moorage.domain.code_deployment import CodeDeployment
from moorage.domain.errors import AwsError
from moorage.services.aws_backed.codedeploy import CodeDeployProvider
from moorage.services.base import RequestContext
from moorage.simulation.calls import CLUSTER, Front
from moorage.simulation.world import SCOPE, World
from moorage.store.tables.codedeploy import CODE_DEPLOYMENTS
from moorage.store.tables.ecs import TASK_SETS

from .test_container_instances import living

GROUP: dict[str, Any] = {
    "ecsServices": [{"serviceName": "web", "clusterName": CLUSTER}],
    "deploymentConfigName": "CodeDeployDefault.OneAtATime",
    "autoRollbackConfiguration": {"enabled": True, "events": ["DEPLOYMENT_FAILURE"]},
}


class Backed:
    """What moto remembers of applications and groups."""

    def __init__(self, group: dict[str, Any]) -> None:
        self.group = group

    async def call(self, scope: Any, service: str, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        match operation:
            case "GetApplication":
                return {"application": {"computePlatform": "ECS"}}
            case "GetDeploymentGroup":
                return {"deploymentGroupInfo": self.group}
        raise AssertionError(operation)


class CodeDeploy:
    def __init__(self, world: World, front: Front, green: str, **settings: Any) -> None:
        self.world = world
        self.front = front
        self.green = green
        pair = {
            "targetGroups": [{"name": "web"}, {"name": "green"}],
            "prodTrafficRoute": {"listenerArns": [front.listener]},
        }
        group = {**GROUP, "loadBalancerInfo": {"targetGroupPairInfoList": [pair]}, **settings}
        self.backed: Any = Backed(group)

    async def call(self, operation: str, **request: Any) -> dict[str, Any]:
        provider = CodeDeployProvider(self.backed, self.world.store, self.world.clock, self.world.ids)
        context = RequestContext(SCOPE.account, SCOPE.region, "codedeploy", operation, "r", "test", "root")
        return dict(await provider.handlers()[operation](context, request) or {})

    async def deploy(self, definition: str = "web:2", **more: Any) -> str:
        properties = {"TaskDefinition": definition, "LoadBalancerInfo": {"ContainerName": "app", "ContainerPort": 80}}
        spec = {"Resources": [{"TargetService": {"Type": "AWS::ECS::Service", "Properties": properties}}]}
        answer = await self.call(
            "CreateDeployment",
            applicationName="app",
            deploymentGroupName="group",
            revision={"revisionType": "AppSpecContent", "appSpecContent": {"content": json.dumps(spec)}},
            **more,
        )
        return str(answer["deploymentId"])

    def record(self, id: str) -> CodeDeployment:
        found: CodeDeployment | None = self.world.process.store.get(CODE_DEPLOYMENTS, id)
        assert found is not None
        return found

    async def ends(self, id: str, status: str) -> CodeDeployment:
        await self.world.until(lambda: self.record(id).status in ("Succeeded", "Failed", "Stopped"), within=4000)
        assert self.record(id).status == status, self.record(id).error
        return self.record(id)

    async def weights(self) -> list[int]:
        """Of blue and green in the listener."""
        found = await self.world.elbv2("DescribeListeners", ListenerArns=[self.front.listener])
        config = found["Listeners"][0]["DefaultActions"][0]["ForwardConfig"]["TargetGroups"]
        by_group = {one["TargetGroupArn"]: one["Weight"] for one in config}
        return [by_group.get(arn, 0) for arn in (self.front.target_group, self.green)]


@pytest.fixture
async def blue(world: World) -> tuple[Front, str]:
    """The service "web" of the controller CODE_DEPLOY with two tasks, and the target group for its replacement."""
    front = await world.create_load_balancer("web")
    green = await world.create_target_group("green")
    await world.register("web")
    await world.ecs(
        "CreateService",
        cluster=CLUSTER,
        serviceName="web",
        desiredCount=2,
        taskDefinition="web:1",
        launchType="FARGATE",
        networkConfiguration=world.network_configuration(),
        deploymentController={"type": "CODE_DEPLOY"},
        loadBalancers=[{"targetGroupArn": front.target_group, "containerName": "app", "containerPort": 80}],
    )
    await world.until(lambda: all(one.steady for one in world.process.store.all(TASK_SETS)))
    return front, green


def running(world: World) -> list[str]:
    """The revisions that run."""
    return sorted(t.task_definition_arn[-1] for t in living(world))


async def test_all_at_once_under_load(world, blue):
    deploy = CodeDeploy(world, *blue)
    users = world.users.traffic(blue[0].load_balancer, rate=20)
    id = await deploy.deploy()
    done = await deploy.ends(id, "Succeeded")
    await world.until(lambda: len(world.store.all(TASK_SETS)) == 1, within=120)
    assert await users.stop() == []
    assert running(world) == ["2", "2"]
    assert await deploy.weights() == [0, 100]
    shown = await world.describe_service("web")
    (only,) = shown["taskSets"]
    assert (only["id"], only["status"], only["externalId"], only["startedBy"]) == (
        done.green,
        "PRIMARY",
        id,
        "CODE_DEPLOY",
    )
    info = (await deploy.call("GetDeployment", deploymentId=id))["deploymentInfo"]
    assert (info["status"], info["computePlatform"], info["deploymentOverview"]["Succeeded"]) == ("Succeeded", "ECS", 1)
    target = (await deploy.call("GetDeploymentTarget", deploymentId=id, targetId=f"{CLUSTER}:web"))["deploymentTarget"]
    told = [(event["lifecycleEventName"], event["status"]) for event in target["ecsTarget"]["lifecycleEvents"]]
    assert told == [("Install", "Succeeded"), ("AllowTestTraffic", "Succeeded"), ("AllowTraffic", "Succeeded")]


async def test_the_next_one_goes_the_other_way(world, blue):
    deploy = CodeDeploy(world, *blue)
    await deploy.ends(await deploy.deploy(), "Succeeded")
    await world.register("web")
    await deploy.ends(await deploy.deploy("web:3"), "Succeeded")
    assert await deploy.weights() == [100, 0]
    await world.until(lambda: running(world) == ["3", "3"], within=120)


async def test_a_canary_waits_and_the_original_ends_later(world, blue):
    ends = {"action": "TERMINATE", "terminationWaitTimeInMinutes": 5}
    settings = {"terminateBlueInstancesOnDeploymentSuccess": ends}
    deploy = CodeDeploy(world, *blue, blueGreenDeploymentConfiguration=settings)
    id = await deploy.deploy(deploymentConfigName="CodeDeployDefault.ECSCanary10Percent5Minutes")
    await world.until(lambda: deploy.record(id).percent == 10, within=120)
    assert await deploy.weights() == [90, 10]
    await world.run_for(290)
    assert deploy.record(id).percent == 10
    await world.until(lambda: deploy.record(id).phase == "terminate", within=60)
    assert await deploy.weights() == [0, 100]
    assert running(world) == ["1", "1", "2", "2"]
    await deploy.call("ContinueDeployment", deploymentId=id, deploymentWaitType="TERMINATION_WAIT")
    await deploy.ends(id, "Succeeded")
    await world.until(lambda: running(world) == ["2", "2"], within=120)


async def test_nothing_moves_before_somebody_continues(world, blue):
    ready = {"deploymentReadyOption": {"actionOnTimeout": "STOP_DEPLOYMENT", "waitTimeInMinutes": 60}}
    deploy = CodeDeploy(world, *blue, blueGreenDeploymentConfiguration=ready)
    id = await deploy.deploy()
    await world.until(lambda: deploy.record(id).status == "Ready", within=120)
    await world.run_for(600)
    assert await deploy.weights() == [100, 0]
    told = await Explainer(world.store, world.clock, world.process.plane).explain("web", "service", SCOPE)
    assert told.section("CodeDeploy") == (f"{id} is Ready (ready): Ready: waits for ContinueDeployment",)
    await deploy.call("ContinueDeployment", deploymentId=id)
    await deploy.ends(id, "Succeeded")


async def test_stopping_goes_back_and_leaves_the_original(world, blue):
    deploy = CodeDeploy(world, *blue)
    users = world.users.traffic(blue[0].load_balancer, rate=20)
    id = await deploy.deploy(deploymentConfigName="CodeDeployDefault.ECSLinear10PercentEvery1Minutes")
    await world.until(lambda: deploy.record(id).percent == 30, within=400)
    await deploy.call("StopDeployment", deploymentId=id, autoRollbackEnabled=True)
    await deploy.ends(id, "Stopped")
    await world.until(lambda: running(world) == ["1", "1"] and len(world.store.all(TASK_SETS)) == 1, within=120)
    assert await users.stop() == []
    assert await deploy.weights() == [100, 0]
    (only,) = (await world.describe_service("web"))["taskSets"]
    assert only["status"] == "PRIMARY"
    with pytest.raises(AwsError, match="has already completed"):
        await deploy.call("StopDeployment", deploymentId=id)


async def test_a_replacement_that_never_gets_steady_times_out_and_goes_back(world, blue):
    await world.register("web", image="nowhere to be found")
    deploy = CodeDeploy(world, *blue)
    id = await deploy.deploy("web:3")
    done = await deploy.ends(id, "Failed")
    assert done.error is not None
    assert done.error[0] == "TIMEOUT"
    await world.until(lambda: running(world) == ["1", "1"], within=120)


@pytest.mark.parametrize("after", [0.01, 0.3, 1.0, 5.0, 14.0])
async def test_killed_anywhere_it_goes_on(world, blue, after):
    deploy = CodeDeploy(world, *blue)
    id = await deploy.deploy()
    for _ in range(3):
        await world.run_for(after)
        await world.restart_control_plane(0.5)
    await deploy.ends(id, "Succeeded")
    await world.until(lambda: running(world) == ["2", "2"] and len(world.store.all(TASK_SETS)) == 1, within=120)


async def test_one_at_a_time_and_what_is_refused(world, blue):
    deploy = CodeDeploy(world, *blue)
    id = await deploy.deploy()
    with pytest.raises(AwsError, match=f"already has an active Deployment '{id}'"):
        await deploy.deploy()
    with pytest.raises(AwsError, match="No deployment configuration found for name: x"):
        await deploy.deploy(deploymentConfigName="x")
    for content, message in (
        ("{", "neither valid JSON nor valid YAML"),
        ("[]", "exactly one resource"),
        ("Resources: [{a: {Type: AWS::EC2}}]", "must be AWS::ECS::Service"),
        ("Resources: [{a: {Type: 'AWS::ECS::Service', Properties: {}}}]", "must contain a task definition"),
        ("", "cannot be located"),
    ):
        with pytest.raises(AwsError, match=message):
            await deploy.call(
                "CreateDeployment",
                applicationName="app",
                deploymentGroupName="group",
                revision={"revisionType": "AppSpecContent", "appSpecContent": {"content": content}},
            )
    await deploy.ends(id, "Succeeded")


async def test_a_service_that_is_deleted_in_the_middle(world, blue):
    deploy = CodeDeploy(world, *blue)
    id = await deploy.deploy(deploymentConfigName="CodeDeployDefault.ECSLinear10PercentEvery1Minutes")
    await world.until(lambda: deploy.record(id).percent == 10, within=120)
    await world.delete_service("web")
    await deploy.ends(id, "Failed")


async def test_what_a_stopped_deployment_left_goes_before_the_next_uses_its_target_group(world, blue):
    """Found by a story: stopped while the original waited for its end, the original stayed. The next replacement was put
    beside it, and a deployment that had Succeeded served the old revision too."""
    keeps = {"terminateBlueInstancesOnDeploymentSuccess": {"action": "TERMINATE", "terminationWaitTimeInMinutes": 5}}
    deploy = CodeDeploy(
        world, *blue, blueGreenDeploymentConfiguration=keeps, autoRollbackConfiguration={"enabled": False}
    )
    await world.register("web")
    id = await deploy.deploy()
    await world.until(lambda: deploy.record(id).phase == "terminate")
    await deploy.call("StopDeployment", deploymentId=id)
    await deploy.ends(id, "Stopped")
    assert running(world) == ["1", "1", "2", "2"], "it stops where it is"
    users = world.users.traffic(blue[0].load_balancer, rate=20)
    await world.register("web")
    await deploy.ends(await deploy.deploy("web:3"), "Succeeded")
    await world.until(lambda: len(world.store.all(TASK_SETS)) == 1, within=120)
    assert await users.stop() == []
    assert running(world) == ["3", "3"]
