"""DAEMON services as the API accepts, shows and refuses them."""

from __future__ import annotations

from typing import Any

import pytest

from .rig import Rig, container

INVALID = "InvalidParameterException"


@pytest.fixture
async def machines(ecs: Rig) -> Rig:
    """A cluster with two container instances, and the task definition "agent"."""
    await ecs.cluster("main")
    await ecs.call("RegisterTaskDefinition", family="agent", containerDefinitions=[container(memory=64)])
    for _ in range(2):
        await ecs.call("RegisterContainerInstance", cluster="main")
    return ecs


def params(**more: Any) -> dict[str, Any]:
    return {"cluster": "main", "serviceName": "agent", "taskDefinition": "agent", "schedulingStrategy": "DAEMON"} | more


async def test_what_a_daemon_shows(machines: Rig) -> None:
    shown = (await machines.call("CreateService", **params()))["service"]
    assert (shown["schedulingStrategy"], shown["launchType"], shown["desiredCount"]) == ("DAEMON", "EC2", 2)
    configuration = shown["deploymentConfiguration"]
    assert (configuration["minimumHealthyPercent"], configuration["maximumPercent"]) == (0, 100)
    assert shown["availabilityZoneRebalancing"] == "DISABLED"
    listed = await machines.call("ListServices", cluster="main", schedulingStrategy="DAEMON")
    assert listed["serviceArns"] == [shown["serviceArn"]]
    assert (await machines.call("ListServices", cluster="main", schedulingStrategy="REPLICA"))["serviceArns"] == []


async def test_the_default_strategy_of_the_cluster_is_not_for_daemons(machines: Rig) -> None:
    await machines.call(
        "PutClusterCapacityProviders",
        cluster="main",
        capacityProviders=["FARGATE"],
        defaultCapacityProviderStrategy=[{"capacityProvider": "FARGATE", "weight": 1}],
    )
    shown = (await machines.call("CreateService", **params()))["service"]
    assert shown["launchType"] == "EC2"
    assert "capacityProviderStrategy" not in shown


@pytest.mark.parametrize(
    ("expression", "desired"),
    [("attribute:ecs.availability-zone == us-east-1a", 1), ("attribute:x exists", 0), ("runningTasksCount == 0", 2)],
)
async def test_desired_are_the_instances_that_meet_the_constraints(
    machines: Rig, expression: str, desired: int
) -> None:
    rule = [{"type": "memberOf", "expression": expression}]
    shown = (await machines.call("CreateService", **params(placementConstraints=rule)))["service"]
    assert shown["desiredCount"] == desired


async def test_the_same_daemon_again(machines: Rig) -> None:
    first = await machines.call("CreateService", **params())
    again = await machines.call("CreateService", **params())
    assert again["service"]["serviceArn"] == first["service"]["serviceArn"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"launchType": "FARGATE"}, "The daemon scheduling strategy does not support the FARGATE launch type"),
        (
            {"deploymentController": {"type": "CODE_DEPLOY"}},
            "The daemon scheduling strategy does not support the CODE_DEPLOY deployment controller",
        ),
        (
            {"capacityProviderStrategy": [{"capacityProvider": "FARGATE"}]},
            "The daemon scheduling strategy does not support capacity provider strategies",
        ),
        (
            {"deploymentConfiguration": {"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 1}},
            "The daemon scheduling strategy does not support deployment strategies other than ROLLING",
        ),
        ({"deploymentConfiguration": {"minimumHealthyPercent": 101}}, "minimumHealthyPercent must be at most 100"),
        (
            {"deploymentConfiguration": {"minimumHealthyPercent": 100}},
            "Both maximumPercent and minimumHealthyPercent cannot be 100 as this will block deployments.",
        ),
    ],
)
async def test_refused_daemons(machines: Rig, change: dict[str, Any], message: str) -> None:
    error = await machines.refused("CreateService", **params(**change))
    assert (error.code, error.message) == (INVALID, message)


async def test_updates_of_a_daemon(machines: Rig) -> None:
    await machines.call("CreateService", **params())
    error = await machines.refused("UpdateService", cluster="main", service="agent", desiredCount=1)
    assert error.message == "The daemon scheduling strategy does not support a desired count for services"
    answer = await machines.call("UpdateService", cluster="main", service="agent", forceNewDeployment=True)
    assert len(answer["service"]["deployments"]) == 2
    error = await machines.refused(
        "UpdateService", cluster="main", service="agent", availabilityZoneRebalancing="ENABLED"
    )
    assert error.message.startswith("The service couldn't be created because Availability Zone Rebalancing")


async def test_a_daemon_is_deleted_without_force(machines: Rig) -> None:
    await machines.call("CreateService", **params())
    answer = await machines.call("DeleteService", cluster="main", service="agent")
    assert answer["service"]["status"] == "DRAINING"
