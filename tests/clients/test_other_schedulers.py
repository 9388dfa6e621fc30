"""The other schedulers with real containers: a daemon on carved instances, task sets and CodeDeploy behind an ALB."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from .server import Server
from .stack import Stack
from .waiting import until

pytestmark = pytest.mark.docker
CLUSTER = f"daemons-{os.getpid()}"
HOST_PORT = 25_000 + os.getpid() % 2_000


@pytest.fixture
def ecs(server: Server) -> Iterator[Any]:
    """The cluster goes empty away."""
    ecs = server.client("ecs")
    ecs.create_cluster(clusterName=CLUSTER)
    yield ecs
    for service in ecs.list_services(cluster=CLUSTER)["serviceArns"]:
        ecs.delete_service(cluster=CLUSTER, service=service)
    until(lambda: not ecs.list_services(cluster=CLUSTER)["serviceArns"], "the service is gone")
    until(lambda: ecs.describe_clusters(clusters=[CLUSTER])["clusters"][0]["runningTasksCount"] == 0, "no task runs")


def an_instance(ecs: Any) -> str:
    share = [{"name": name, "type": "INTEGER", "integerValue": 512} for name in ("CPU", "MEMORY")]
    found = ecs.register_container_instance(cluster=CLUSTER, totalResources=share)["containerInstance"]
    arn: str = found["containerInstanceArn"]
    return arn


def running(ecs: Any) -> list[dict[str, Any]]:
    arns = ecs.list_tasks(cluster=CLUSTER, serviceName="agent")["taskArns"]
    tasks = ecs.describe_tasks(cluster=CLUSTER, tasks=arns)["tasks"] if arns else []
    return [task for task in tasks if task["lastStatus"] == "RUNNING"]


def test_a_daemon_is_on_every_instance_and_is_replaced_in_place(ecs: Any, image: str) -> None:
    instances = [an_instance(ecs), an_instance(ecs)]
    mapping = [{"containerPort": 8000, "hostPort": HOST_PORT}]
    app = {"name": "app", "image": image, "memory": 64, "stopTimeout": 2, "portMappings": mapping}
    ecs.register_task_definition(family="agent", containerDefinitions=[app])
    made = ecs.create_service(
        cluster=CLUSTER, serviceName="agent", taskDefinition="agent", schedulingStrategy="DAEMON"
    )["service"]
    assert made["desiredCount"] == 2

    def on_all() -> bool:
        return sorted(task["containerInstanceArn"] for task in running(ecs)) == sorted(instances)

    until(on_all, "a daemon on both instances")
    instances.append(an_instance(ecs))
    until(on_all, "a daemon on the new instance")
    # One fixed host port on every instance: a second task would find it taken.
    first = {task["taskArn"] for task in running(ecs)}
    new = ecs.register_task_definition(
        family="agent", containerDefinitions=[app | {"environment": [{"name": "VERSION", "value": "2"}]}]
    )["taskDefinition"]["taskDefinitionArn"]
    ecs.update_service(cluster=CLUSTER, service="agent", taskDefinition=new)
    until(lambda: on_all() and not first & {task["taskArn"] for task in running(ecs)}, "all replaced in place")
    gone = instances.pop(0)
    ecs.update_container_instances_state(cluster=CLUSTER, containerInstances=[gone], status="DRAINING")
    until(on_all, "no daemon on a draining instance")
    (shown,) = ecs.describe_services(cluster=CLUSTER, services=["agent"])["services"]
    assert shown["desiredCount"] == 2


def test_one_task_set_takes_over_from_another_under_load(stack: Stack) -> None:
    ecs, name = stack.ecs, {"cluster": stack.name, "service": "app"}
    ecs.create_service(cluster=stack.name, serviceName="app", desiredCount=2, deploymentController={"type": "EXTERNAL"})
    stack.services.append("app")

    def a_task_set(version: str) -> str:
        made = ecs.create_task_set(
            **name,
            taskDefinition=stack.register(VERSION=version),
            launchType="FARGATE",
            networkConfiguration=stack.network,
            loadBalancers=[{"targetGroupArn": stack.target_group, "containerName": "app", "containerPort": 8000}],
            scale={"value": 100, "unit": "PERCENT"},
        )
        id: str = made["taskSet"]["id"]

        def steady() -> bool:
            (found,) = ecs.describe_task_sets(**name, taskSets=[id])["taskSets"]
            return bool(found["stabilityStatus"] == "STEADY_STATE")

        until(steady, f"the task set {version} is steady")
        ecs.update_service_primary_task_set(**name, primaryTaskSet=id)
        return id

    blue = a_task_set("blue")
    assert stack.get().json()["version"] == "blue"
    with stack.load(30) as load:
        green = a_task_set("green")
        ecs.delete_task_set(**name, taskSet=blue, force=True)
        until(lambda: [t["id"] for t in ecs.describe_task_sets(**name)["taskSets"]] == [green], "blue is gone")
    assert load.failures() == []
    assert {stack.get().json()["version"] for _ in range(10)} == {"green"}
    assert {task["startedBy"] for task in stack.tasks()} == {green}


def test_codedeploy_moves_a_service_from_blue_to_green_under_load(stack: Stack) -> None:
    codedeploy = stack.server.client("codedeploy")
    balancers = [{"targetGroupArn": stack.target_group, "containerName": "app", "containerPort": 8000}]
    stack.create_service(
        stack.register(VERSION="blue"),
        1,
        deploymentController={"type": "CODE_DEPLOY"},
        loadBalancers=balancers,
        deploymentConfiguration={"maximumPercent": 200, "minimumHealthyPercent": 100},
    )
    green = f"{stack.name}-g"
    stack.new_target_group(green)
    codedeploy.create_application(applicationName=stack.name, computePlatform="ECS")
    pair = {
        "targetGroups": [{"name": stack.name}, {"name": green}],
        "prodTrafficRoute": {"listenerArns": [stack.listener]},
    }
    codedeploy.create_deployment_group(
        applicationName=stack.name,
        deploymentGroupName="g",
        serviceRoleArn="arn:aws:iam::000000000000:role/codedeploy",
        deploymentStyle={"deploymentType": "BLUE_GREEN", "deploymentOption": "WITH_TRAFFIC_CONTROL"},
        ecsServices=[{"serviceName": "app", "clusterName": stack.name}],
        loadBalancerInfo={"targetGroupPairInfoList": [pair]},
    )
    stack.wait_healthy(1)
    properties = {
        "TaskDefinition": stack.register(VERSION="green"),
        "LoadBalancerInfo": {"ContainerName": "app", "ContainerPort": 8000},
    }
    spec = {"Resources": [{"TargetService": {"Type": "AWS::ECS::Service", "Properties": properties}}]}
    with stack.load(30) as load:
        id = codedeploy.create_deployment(
            applicationName=stack.name,
            deploymentGroupName="g",
            revision={"revisionType": "AppSpecContent", "appSpecContent": {"content": json.dumps(spec)}},
        )["deploymentId"]

        def status() -> str:
            found: str = codedeploy.get_deployment(deploymentId=id)["deploymentInfo"]["status"]
            return found

        until(lambda: status() == "Succeeded", "the deployment has succeeded")
        until(lambda: len(stack.service()["taskSets"]) == 1, "the original task set is gone")
    assert load.failures() == []
    assert {stack.get().json()["version"] for _ in range(10)} == {"green"}
    assert stack.service()["taskSets"][0]["externalId"] == id
