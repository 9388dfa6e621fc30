"""A service of CodeDeploy becomes one of ECS, through the API (its tasks: control/test_service.py)."""

from __future__ import annotations

from typing import Any

import pytest

from moorage.store.tables.ecs import REVISIONS, TASK_SETS

from .rig import Rig

CODE_DEPLOY = {"deploymentController": {"type": "CODE_DEPLOY"}}
ECS = {"deploymentController": {"type": "ECS"}}


@pytest.fixture
async def deployed(main: Rig) -> Rig:
    """The service "web" of CodeDeploy, with its first task set."""
    balancers = [{"targetGroupArn": await main.target_group("blue"), "containerName": "app", "containerPort": 80}]
    await main.service("web", loadBalancers=balancers, **CODE_DEPLOY)
    return main


async def update(rig: Rig, **params: Any) -> dict[str, Any]:
    return (await rig.call("UpdateService", cluster="main", service="web", **params))["service"]


async def test_its_task_set_becomes_its_deployment(deployed: Rig) -> None:
    [one] = deployed.store.all(TASK_SETS)
    shown = await update(deployed, **ECS)
    assert shown["deploymentController"] == {"type": "ECS"}
    [deployment] = shown["deployments"]
    assert (deployment["id"], deployment["status"], deployment["rolloutState"]) == (one.id, "PRIMARY", "COMPLETED")
    assert "taskSets" not in shown or shown["taskSets"] == []
    assert list(deployed.store.all(TASK_SETS)) == []
    assert deployed.store.get(REVISIONS, one.arn) is None
    arn = shown["currentServiceDeployment"]
    answer = await deployed.call("DescribeServiceDeployments", serviceDeploymentArns=[arn])
    assert answer["serviceDeployments"][0]["status"] == "SUCCESSFUL"


async def test_with_a_change_it_is_deployed_at_once(deployed: Rig) -> None:
    [one] = deployed.store.all(TASK_SETS)
    shown = await update(deployed, forceNewDeployment=True, **ECS)
    assert [d["status"] for d in shown["deployments"]] == ["PRIMARY", "ACTIVE"]
    assert shown["deployments"][1]["id"] == one.id


async def test_not_in_the_middle_of_a_code_deploy_deployment(deployed: Rig) -> None:
    await deployed.call("CreateTaskSet", cluster="main", service="web", taskDefinition="web", launchType="FARGATE",
                        networkConfiguration={"awsvpcConfiguration": {"subnets": ["subnet-a"]}})  # fmt: skip
    refusal = await deployed.refused("UpdateService", cluster="main", service="web", **ECS)
    assert "more than one task set" in refusal.message


@pytest.mark.parametrize(("before", "after"), [("ECS", "CODE_DEPLOY"), ("ECS", "EXTERNAL"), ("EXTERNAL", "ECS")])
async def test_other_ways_are_closed(main: Rig, before: str, after: str) -> None:
    if before == "EXTERNAL":
        await main.call(
            "CreateService",
            cluster="main",
            serviceName="web",
            desiredCount=1,
            deploymentController={"type": "EXTERNAL"},
        )
    else:
        await main.service("web")
    refusal = await main.refused("UpdateService", cluster="main", service="web", deploymentController={"type": after})
    assert refusal.message == f"The deployment controller of a service cannot be changed from {before} to {after}."
