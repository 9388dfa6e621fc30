"""CodeDeploy over HTTP: applications and groups are moto's, deployments of ECS services are made here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError
from front import Front

from moorage.domain.service import Revision, Service
from moorage.domain.target_group import HealthCheck, TargetGroup
from moorage.domain.task import LoadBalancerRef
from moorage.domain.task_set import TaskSet
from moorage.store.api import Transaction
from moorage.store.tables.codedeploy import CODE_DEPLOYMENTS
from moorage.store.tables.ecs import REVISIONS, SERVICES, TASK_SETS
from moorage.store.tables.elbv2 import TARGET_GROUPS

ACCOUNT, REGION = "000000000000", "us-east-1"
ECS, ELB = f"arn:aws:ecs:{REGION}:{ACCOUNT}:", f"arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:"
CLUSTER, SERVICE = f"{ECS}cluster/main", f"{ECS}service/main/web"
TASK_SET = f"{ECS}task-set/main/web/ecs-svc/1"
LISTENER = f"{ELB}listener/app/web/1/1"
GROUPS = {name: f"{ELB}targetgroup/{name}/1" for name in ("blue", "green")}
SPEC = """
version: 0.0
Resources:
  - TargetService:
      Type: AWS::ECS::Service
      Properties:
        TaskDefinition: web:2
        LoadBalancerInfo: {ContainerName: app, ContainerPort: 80}
        NetworkConfiguration: {AwsvpcConfiguration: {Subnets: [subnet-1], AssignPublicIp: ENABLED}}
"""
APP_SPEC = {"revisionType": "AppSpecContent", "appSpecContent": {"content": SPEC}}


@pytest.fixture
def codedeploy(front: Front, client: Callable[..., Any]) -> Any:
    """A service of the controller CODE_DEPLOY, and a deployment group for it."""
    reference = LoadBalancerRef(target_group_arn=GROUPS["blue"], container_name="app", container_port=80)

    def write(tx: Transaction) -> None:
        for one in tx.all(CODE_DEPLOYMENTS):
            tx.delete(CODE_DEPLOYMENTS, one.id)
        service = Service(
            SERVICE, ACCOUNT, REGION, CLUSTER, "web", "ACTIVE", 2, TASK_SET, 0.0, "root", (), controller="CODE_DEPLOY"
        )
        tx.put(SERVICES, service)
        tx.put(
            TASK_SETS,
            TaskSet(
                TASK_SET, "ecs-svc/1", SERVICE, CLUSTER, ACCOUNT, REGION, 0.0, 0.0, 0.0, scale=100.0, status="PRIMARY"
            ),
        )
        tx.put(
            REVISIONS,
            Revision(TASK_SET, SERVICE, CLUSTER, "1", 0.0, "web:1", launch_type="FARGATE", load_balancers=(reference,)),
        )
        for name, arn in GROUPS.items():
            tail = f"targetgroup/{name}/1"
            group = TargetGroup(
                arn, ACCOUNT, REGION, name, tail, "ip", "HTTP", "HTTP1", 80, "vpc-1", "ipv4", HealthCheck(), 0.0
            )
            tx.put(TARGET_GROUPS, group)

    front.run(front.store.update(write))
    codedeploy = client("codedeploy")
    if "app" not in codedeploy.list_applications()["applications"]:
        make_group(codedeploy)
    return codedeploy


def make_group(codedeploy: Any) -> None:
    codedeploy.create_application(applicationName="app", computePlatform="ECS")
    codedeploy.create_deployment_group(
        applicationName="app",
        deploymentGroupName="group",
        serviceRoleArn="arn:aws:iam::000000000000:role/x",
        deploymentStyle={"deploymentType": "BLUE_GREEN", "deploymentOption": "WITH_TRAFFIC_CONTROL"},
        blueGreenDeploymentConfiguration={
            "terminateBlueInstancesOnDeploymentSuccess": {"action": "TERMINATE", "terminationWaitTimeInMinutes": 5},
            "deploymentReadyOption": {"actionOnTimeout": "CONTINUE_DEPLOYMENT"},
        },
        ecsServices=[{"serviceName": "web", "clusterName": "main"}],
        loadBalancerInfo={
            "targetGroupPairInfoList": [
                {
                    "targetGroups": [{"name": "blue"}, {"name": "green"}],
                    "prodTrafficRoute": {"listenerArns": [LISTENER]},
                }
            ]
        },
    )


def test_a_deployment_is_made_from_the_group_and_the_app_spec(front: Front, codedeploy: Any) -> None:
    id = codedeploy.create_deployment(applicationName="app", deploymentGroupName="group", revision=APP_SPEC)[
        "deploymentId"
    ]
    record = front.store.get(CODE_DEPLOYMENTS, id)
    assert record is not None
    assert (record.green_group, record.listeners, record.termination_wait) == (GROUPS["green"], (LISTENER,), 300.0)
    assert record.config == "CodeDeployDefault.ECSAllAtOnce"
    assert record.task_set == {
        "taskDefinition": "web:2",
        "launchType": "FARGATE",
        "loadBalancers": [{"targetGroupArn": GROUPS["green"], "containerName": "app", "containerPort": 80}],
        "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"], "assignPublicIp": "ENABLED"}},
    }
    info = codedeploy.get_deployment(deploymentId=id)["deploymentInfo"]
    assert (info["status"], info["computePlatform"], info["applicationName"]) == ("Created", "ECS", "app")
    assert info["loadBalancerInfo"]["targetGroupPairInfoList"][0]["targetGroups"][1]["name"] == "green"
    assert codedeploy.list_deployments(applicationName="app", deploymentGroupName="group")["deployments"] == [id]
    assert codedeploy.batch_get_deployments(deploymentIds=[id])["deploymentsInfo"][0]["deploymentId"] == id
    (target,) = codedeploy.list_deployment_targets(deploymentId=id)["targetIds"]
    shown = codedeploy.get_deployment_target(deploymentId=id, targetId=target)["deploymentTarget"]["ecsTarget"]
    assert (target, shown["taskSetsInfo"][0]["taskSetLabel"]) == ("main:web", "Blue")
    assert codedeploy.stop_deployment(deploymentId=id)["status"] == "Pending"


def test_what_is_not_there_is_said_in_the_words_of_codedeploy(codedeploy: Any) -> None:
    for call, code in (
        (
            lambda: codedeploy.create_deployment(applicationName="x", deploymentGroupName="group", revision=APP_SPEC),
            "ApplicationDoesNotExistException",
        ),
        (
            lambda: codedeploy.create_deployment(applicationName="app", deploymentGroupName="x", revision=APP_SPEC),
            "DeploymentGroupDoesNotExistException",
        ),
        (lambda: codedeploy.get_deployment(deploymentId="d-X"), "DeploymentDoesNotExistException"),
        (lambda: codedeploy.stop_deployment(deploymentId="d-X"), "DeploymentDoesNotExistException"),
        (lambda: codedeploy.continue_deployment(deploymentId="d-X"), "DeploymentDoesNotExistException"),
        (
            lambda: codedeploy.create_deployment(applicationName="app", deploymentGroupName="group"),
            "InvalidRevisionException",
        ),
    ):
        with pytest.raises(ClientError) as refusal:
            call()
        assert refusal.value.response["Error"]["Code"] == code


def test_other_compute_platforms_are_motos(codedeploy: Any) -> None:
    codedeploy.create_application(applicationName="servers", computePlatform="Server")
    codedeploy.create_deployment_group(applicationName="servers", deploymentGroupName="g", serviceRoleArn="arn:x")
    id = codedeploy.create_deployment(applicationName="servers", deploymentGroupName="g", revision={})["deploymentId"]
    assert codedeploy.get_deployment(deploymentId=id)["deploymentInfo"]["applicationName"] == "servers"
