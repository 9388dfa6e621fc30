"""What the calls of Express Mode accept and refuse (semantics ecs-services §14); what comes of them is tested beside the
controller."""

from __future__ import annotations

from typing import Any

import pytest

from moorage.store.tables.ecs import EXPRESS_SERVICES

from .rig import ACCOUNT, BASE, ROLE, Rig, container, fargate

NETWORK = {"subnets": ["subnet-a", "subnet-b"]}


def request(**members: Any) -> dict[str, Any]:
    given = {
        "cluster": "main",
        "serviceName": "web",
        "infrastructureRoleArn": ROLE,
        "executionRoleArn": ROLE,
        "primaryContainer": {"image": "web:1"},
        "networkConfiguration": NETWORK,
    } | members
    return {name: value for name, value in given.items() if value is not None}


async def make(main: Rig, **members: Any) -> dict[str, Any]:
    found: dict[str, Any] = (await main.call("CreateExpressGatewayService", **request(**members)))["service"]
    return found


async def test_what_is_wanted_is_shown_before_anything_is_made(main: Rig) -> None:
    made = await make(main, tags=[{"key": "a", "value": "b"}])
    assert made["serviceArn"] == BASE + "service/main/web"
    assert (made["cluster"], made["serviceName"]) == ("main", "web")
    assert made["status"] == {"statusCode": "ACTIVE"}
    assert made["tags"] == [{"key": "a", "value": "b"}]
    [configuration] = made["activeConfigurations"]
    assert (configuration["cpu"], configuration["memory"]) == ("256", "512")
    assert configuration["primaryContainer"]["containerPort"] == 80
    assert configuration["primaryContainer"]["awsLogsConfiguration"]["logStreamPrefix"] == "ecs"
    assert "serviceRevisionArn" not in configuration
    described = await main.call("DescribeExpressGatewayService", serviceArn=made["serviceArn"])
    assert "tags" not in described["service"]


async def test_names_and_the_default_cluster_are_made_when_missing(ecs: Rig) -> None:
    made = await make(ecs, cluster=None, serviceName=None)
    assert made["serviceName"].startswith("express-")
    assert (await ecs.call("DescribeClusters"))["clusters"][0]["clusterName"] == "default"
    assert (await ecs.refused("CreateExpressGatewayService", **request(cluster="nowhere"))).code == (
        "ClusterNotFoundException"
    )


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"serviceName": "a b"}, "ServiceName must match"),
        ({"primaryContainer": None}, "primaryContainer.image is required"),
        ({"executionRoleArn": None}, "executionRoleArn is required"),
        ({"primaryContainer": {"image": "x", "containerPort": 0}}, "between 1 and 65535"),
        ({"primaryContainer": {"image": "x", "containerPort": 70000}}, "between 1 and 65535"),
        ({"cpu": "300"}, "No Fargate configuration exists"),
        ({"cpu": "lots"}, "No Fargate configuration exists"),
        ({"healthCheckPath": "ping"}, "must start with a forward slash"),
        ({"scalingTarget": {"minTaskCount": 5, "maxTaskCount": 2}}, "cannot be greater"),
        ({"scalingTarget": {"minTaskCount": -1}}, "cannot be negative"),
        ({"scalingTarget": {"autoScalingTargetValue": 101}}, "at most 100"),
        ({"networkConfiguration": {"subnets": ["subnet-a"]}}, "two different Availability Zones"),
        ({"networkConfiguration": {"subnets": ["subnet-a", "subnet-x"]}}, "'subnet-x' does not exist"),
        ({"networkConfiguration": {"subnets": ["subnet-a", "subnet-c"]}}, "same VPC"),
        ({"networkConfiguration": {**NETWORK, "securityGroups": ["sg-9"]}}, "'sg-9' does not exist"),
        ({"networkConfiguration": None}, "no default VPC"),
        ({"taskDefinitionArn": "web"}, "cannot be specified together with taskDefinitionArn"),
        ({"tags": [{"key": "aws:x", "value": "y"}]}, "aws: prefixed"),
    ],
)
async def test_refusals(main: Rig, members: dict[str, Any], said: str) -> None:
    assert said in (await main.refused("CreateExpressGatewayService", **request(**members))).message


BROUGHT = {"primaryContainer": None, "executionRoleArn": None}


async def test_a_task_definition_that_the_caller_brings(main: Rig) -> None:
    refusal = await main.refused("CreateExpressGatewayService", **request(**BROUGHT, taskDefinitionArn="web"))
    assert refusal.message == "The task definition must have a container named Main."
    for ports in (
        [],
        [{"containerPort": 80}],
        [{"containerPort": 80, "name": "a"}, {"containerPort": 81, "name": "b"}],
    ):
        main_container = container("Main", portMappings=ports)
        await main.call("RegisterTaskDefinition", **fargate("own", containerDefinitions=[main_container]))
        refusal = await main.refused("CreateExpressGatewayService", **request(**BROUGHT, taskDefinitionArn="own"))
        assert "single TCP port mapping" in refusal.message
    good = container("Main", portMappings=[{"containerPort": 8080, "name": "web"}])
    await main.call("RegisterTaskDefinition", **fargate("own", containerDefinitions=[good]))
    made = await make(main, **BROUGHT, taskDefinitionArn="own")
    [configuration] = made["activeConfigurations"]
    assert configuration["taskDefinitionArn"].endswith(":task-definition/own:4")
    assert "primaryContainer" not in configuration
    assert main.store.all(EXPRESS_SERVICES)[0].wanted.container_port == 8080


async def test_a_service_of_that_name(main: Rig) -> None:
    await main.service("web")
    assert "not idempotent" in (await main.refused("CreateExpressGatewayService", **request())).message


async def test_unknown_ones(main: Rig) -> None:
    arn = BASE + "service/main/none"
    assert (await main.refused("DescribeExpressGatewayService", serviceArn=arn)).code == "ResourceNotFoundException"
    assert (await main.refused("UpdateExpressGatewayService", serviceArn=arn)).code == "ServiceNotFoundException"
    assert (await main.refused("DeleteExpressGatewayService", serviceArn=arn)).code == "ServiceNotFoundException"
    assert (await main.refused("DeleteExpressGatewayService", serviceArn="web")).code == "InvalidParameterException"
    made = await make(main)
    refusal = await main.refused("DescribeExpressGatewayService", serviceArn=made["serviceArn"], region="eu-west-1")
    assert refusal.code == "ResourceNotFoundException"


async def test_an_update_stays_in_its_vpc_and_is_checked_like_a_creation(main: Rig) -> None:
    arn = (await make(main))["serviceArn"]
    refusal = await main.refused("UpdateExpressGatewayService", serviceArn=arn, scalingTarget={"maxTaskCount": 0})
    assert "at least 1" in refusal.message
    refusal = await main.refused(
        "UpdateExpressGatewayService", serviceArn=arn, networkConfiguration={"subnets": ["subnet-c"]}
    )
    assert "two different Availability Zones" in refusal.message
    answer = await main.call(
        "UpdateExpressGatewayService", serviceArn=arn, taskRoleArn=f"arn:aws:iam::{ACCOUNT}:role/task"
    )
    assert answer["service"]["targetConfiguration"]["taskRoleArn"].endswith(":role/task")
