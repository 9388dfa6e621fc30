"""Services of the controllers EXTERNAL and CODE_DEPLOY, and their task sets, as the API shows and refuses them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from moorage.domain.task_set import TaskSet
from moorage.services.ecs.validate_controller import check_update
from moorage.store.tables.ecs import REVISIONS, TASK_SETS

from .rig import BASE, Rig, network_configuration

INVALID = "InvalidParameterException"
EBS = [{"name": "data", "managedEBSVolume": {"roleArn": "r", "sizeInGiB": 1}}]
EXTERNAL = {"deploymentController": {"type": "EXTERNAL"}}


@pytest.fixture
async def outside(main: Rig) -> Rig:
    """The service "outside" of the controller EXTERNAL, with a desired count of 3."""
    await main.call("CreateService", cluster="main", serviceName="outside", desiredCount=3, **EXTERNAL)
    return main


def params(**more: Any) -> dict[str, Any]:
    return {
        "cluster": "main",
        "service": "outside",
        "taskDefinition": "web",
        "launchType": "FARGATE",
        "networkConfiguration": network_configuration(),
    } | more


async def made(rig: Rig, **more: Any) -> dict[str, Any]:
    return (await rig.call("CreateTaskSet", **params(**more)))["taskSet"]


def percent(value: float) -> dict[str, Any]:
    return {"value": value, "unit": "PERCENT"}


async def test_an_external_service_begins_with_nothing(outside: Rig) -> None:
    (shown,) = (await outside.call("DescribeServices", cluster="main", services=["outside"]))["services"]
    assert (shown["deployments"], shown["taskSets"], shown["loadBalancers"]) == ([], [], [])
    assert shown["deploymentController"] == {"type": "EXTERNAL"}
    assert shown["roleArn"].endswith("AWSServiceRoleForECS")
    assert not {"taskDefinition", "currentServiceDeployment", "networkConfiguration"} & set(shown)


async def test_what_a_new_task_set_shows(outside: Rig) -> None:
    group = await outside.target_group("blue")
    balancers = [{"targetGroupArn": group, "containerName": "app", "containerPort": 80}]
    shown = await made(
        outside, externalId="build-7", loadBalancers=balancers, scale=percent(50), tags=[{"key": "a", "value": "b"}]
    )
    id = shown["id"]
    assert id.startswith("ecs-svc/")
    assert len(id.removeprefix("ecs-svc/")) == 19
    assert shown["taskSetArn"] == f"{BASE}task-set/main/outside/{id}"
    assert shown["serviceArn"] == f"{BASE}service/main/outside"
    assert (shown["computedDesiredCount"], shown["runningCount"], shown["pendingCount"]) == (2, 0, 0)
    assert (shown["status"], shown["stabilityStatus"]) == ("ACTIVE", "STABILIZING")
    assert (shown["externalId"], shown["scale"]) == ("build-7", {"value": 50.0, "unit": "PERCENT"})
    assert shown["loadBalancers"] == balancers
    assert shown["platformVersion"] == "LATEST"
    assert shown["tags"] == [{"key": "a", "value": "b"}]
    (again,) = (await outside.call("DescribeTaskSets", cluster="main", service="outside"))["taskSets"]
    assert again == shown | {"tags": []}
    (tagged,) = (await outside.call("DescribeTaskSets", cluster="main", service="outside", include=["TAGS"]))[
        "taskSets"
    ]
    assert tagged == shown


async def test_without_a_scale_it_is_zero(outside: Rig) -> None:
    shown = await made(outside)
    assert (shown["scale"]["value"], shown["computedDesiredCount"]) == (0.0, 0)


@pytest.mark.parametrize(("scale", "of", "computed"), [(40, 3, 2), (30, 10, 3), (0.1, 10, 1), (100, 7, 7), (0, 5, 0)])
def test_the_computed_desired_count_is_rounded_up(scale: float, of: int, computed: int) -> None:
    record = TaskSet("a", "ecs-svc/1", "s", "c", "1", "r", 0.0, 0.0, 0.0, scale=scale)
    assert record.desired(of) == computed


async def test_the_same_token_makes_one_task_set_and_another_request_with_it_is_a_conflict(outside: Rig) -> None:
    first, second = await asyncio.gather(
        made(outside, clientToken="t"), outside.call("CreateTaskSet", **params(clientToken="t"))
    )
    assert first["id"] == second["taskSet"]["id"]
    assert len(outside.store.all(TASK_SETS)) == 1
    conflict = await outside.refused("CreateTaskSet", **params(clientToken="t", scale=percent(1)))
    assert conflict.code == "ConflictException"


async def test_a_service_has_at_most_five(outside: Rig) -> None:
    for _ in range(5):
        await made(outside)
    error = await outside.refused("CreateTaskSet", **params())
    assert (error.code, error.message) == (
        INVALID,
        "5 deployments exist on the service. Unable to create new TaskSet since this exceeds the maximum limit.",
    )


async def test_becoming_primary(outside: Rig) -> None:
    first, second = await made(outside), await made(outside)
    for one in (first, second):
        answer = await outside.call(
            "UpdateServicePrimaryTaskSet", cluster="main", service="outside", primaryTaskSet=one["taskSetArn"]
        )
        assert answer["taskSet"]["status"] == "PRIMARY"
    (shown,) = (await outside.call("DescribeServices", cluster="main", services=["outside"]))["services"]
    assert [one["status"] for one in shown["taskSets"]] == ["ACTIVE", "PRIMARY"]
    assert shown["taskDefinition"].endswith("web:1")
    assert shown["networkConfiguration"]["awsvpcConfiguration"]["subnets"] == ["subnet-a", "subnet-b"]


async def test_deleting_needs_force_while_it_is_scaled(outside: Rig) -> None:
    one = await made(outside, scale=percent(1))
    who = {"cluster": "main", "service": "outside", "taskSet": one["id"]}
    assert (await outside.refused("DeleteTaskSet", **who)).message == (
        "The task set cannot be deleted while it is scaled above 0."
    )
    assert (await outside.call("DeleteTaskSet", **who, force=True))["taskSet"]["status"] == "DRAINING"
    assert (await outside.call("DeleteTaskSet", **who))["taskSet"]["status"] == "DRAINING"
    assert (await outside.refused("UpdateTaskSet", **who, scale=percent(5))).code == "TaskSetNotFoundException"


async def test_one_that_is_not_scaled_is_deleted_without_force(outside: Rig) -> None:
    one = await made(outside)
    answer = await outside.call("DeleteTaskSet", cluster="main", service="outside", taskSet=one["id"])
    assert answer["taskSet"]["computedDesiredCount"] == 0


async def test_scaling(outside: Rig) -> None:
    one = await made(outside)
    answer = await outside.call(
        "UpdateTaskSet", cluster="main", service="outside", taskSet=one["id"], scale=percent(100)
    )
    assert (answer["taskSet"]["computedDesiredCount"], answer["taskSet"]["stabilityStatus"]) == (3, "STABILIZING")


@pytest.mark.parametrize("scale", [{"value": 101.0}, {"value": -1.0}, {"value": float("nan")}, {"unit": "PERCENT"}, {}])
async def test_scales_that_are_none(outside: Rig, scale: dict[str, Any]) -> None:
    one = await made(outside)
    error = await outside.refused("UpdateTaskSet", cluster="main", service="outside", taskSet=one["id"], scale=scale)
    assert (error.code, error.message) == (INVALID, "The scale value must be between 0 and 100.")


async def test_missing_ones_are_failures(outside: Rig) -> None:
    answer = await outside.call("DescribeTaskSets", cluster="main", service="outside", taskSets=["ecs-svc/1"])
    assert answer == {
        "taskSets": [],
        "failures": [{"arn": f"{BASE}task-set/main/outside/ecs-svc/1", "reason": "MISSING"}],
    }


async def test_who_has_no_task_sets(outside: Rig) -> None:
    await outside.service("web")
    error = await outside.refused("CreateTaskSet", **params(service="web"))
    assert (error.code, error.message) == (
        INVALID,
        "Amazon ECS only supports task set management on services configured to use external deployment controllers.",
    )
    assert (await outside.refused("CreateTaskSet", **params(service="x"))).code == "ServiceNotFoundException"
    assert (await outside.refused("CreateTaskSet", **params(cluster="x"))).code == "ClusterNotFoundException"
    await outside.call("DeleteService", cluster="main", service="outside", force=True)
    assert (await outside.refused("CreateTaskSet", **params())).code == "ServiceNotActiveException"


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"taskDefinition": "none"}, "ClientException", "TaskDefinition not found."),
    (
        {"networkConfiguration": None},
        INVALID,
        "Network Configuration must be provided when networkMode 'awsvpc' is specified.",
    ),
    ({"platformVersion": "9"}, "PlatformUnknownException", "The specified platform does not exist."),
    (
        {"loadBalancers": [{"targetGroupArn": "x", "containerName": "db", "containerPort": 80}]},
        INVALID,
        "The container db does not exist in the task definition.",
    ),
    ({"scale": {"value": 100.5, "unit": "PERCENT"}}, INVALID, "The scale value must be between 0 and 100."),
    (
        {"serviceRegistries": [{"registryArn": "a"}, {"registryArn": "b"}]},
        INVALID,
        "service registries can have at most 1 items.",
    ),
]


@pytest.mark.parametrize(("change", "code", "message"), REFUSED)
async def test_refused_task_sets(outside: Rig, change: dict[str, Any], code: str, message: str) -> None:
    given = {name: value for name, value in params(**change).items() if value is not None}
    error = await outside.refused("CreateTaskSet", **given)
    assert (error.code, error.message) == (code, message)


async def test_tags_of_task_sets(outside: Rig) -> None:
    one = await made(outside)
    await outside.call("TagResource", resourceArn=one["taskSetArn"], tags=[{"key": "team", "value": "x"}])
    listed = await outside.call("ListTagsForResource", resourceArn=one["taskSetArn"])
    assert listed["tags"] == [{"key": "team", "value": "x"}]


# --- the service itself ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"taskDefinition": "web"}, "TaskDefinition must be blank."),
        ({"launchType": "FARGATE"}, "LaunchType must be blank."),
        ({"loadBalancers": [{"targetGroupArn": "x"}]}, "LoadBalancers must be empty or null."),
        ({"networkConfiguration": network_configuration()}, "NetworkConfiguration must be empty or null."),
        ({"volumeConfigurations": EBS}, "VolumeConfigurations must be empty or null."),
        (
            {"schedulingStrategy": "DAEMON", "desiredCount": None},
            "The daemon scheduling strategy does not support the EXTERNAL deployment controller",
        ),
        (
            {"deploymentConfiguration": {"deploymentCircuitBreaker": {"enable": True, "rollback": False}}},
            "Deployment circuit breaker is not supported with the EXTERNAL deployment controller.",
        ),
    ],
)
async def test_what_an_external_service_may_not_have(main: Rig, change: dict[str, Any], message: str) -> None:
    asked = {"cluster": "main", "serviceName": "outside", "desiredCount": 1, **EXTERNAL, **change}
    error = await main.refused("CreateService", **{name: value for name, value in asked.items() if value is not None})
    assert (error.code, error.message) == (INVALID, message)


async def test_the_same_external_service_again(outside: Rig) -> None:
    await outside.call("CreateService", cluster="main", serviceName="outside", desiredCount=3, **EXTERNAL)
    error = await outside.refused("CreateService", cluster="main", serviceName="outside", desiredCount=4, **EXTERNAL)
    assert error.message == "Creation of service was not idempotent."


async def test_what_can_be_updated_of_an_external_service(outside: Rig) -> None:
    await made(outside, scale=percent(100))
    answer = await outside.call(
        "UpdateService", cluster="main", service="outside", desiredCount=5, healthCheckGracePeriodSeconds=7
    )
    assert (answer["service"]["desiredCount"], answer["service"]["healthCheckGracePeriodSeconds"]) == (5, 7)
    assert [one["computedDesiredCount"] for one in answer["service"]["taskSets"]] == [5]
    for change, what in (
        ({"taskDefinition": "web"}, "Unable to update task definition"),
        ({"forceNewDeployment": True}, "Cannot force a new deployment"),
        ({"networkConfiguration": network_configuration()}, "Unable to update network parameters"),
        ({"volumeConfigurations": EBS}, "Unable to update volume configurations"),
    ):
        error = await outside.refused("UpdateService", cluster="main", service="outside", **change)
        assert error.message == (
            f"{what} on services with a EXTERNAL deployment controller. Create a new task set to trigger a new deployment."
        )


async def test_a_code_deploy_service_is_made_with_its_first_task_set(main: Rig) -> None:
    group = await main.target_group("blue")
    balancers = [{"targetGroupArn": group, "containerName": "app", "containerPort": 80}]
    shown = await main.service("bg", deploymentController={"type": "CODE_DEPLOY"}, loadBalancers=balancers)
    assert shown["deployments"] == []
    (only,) = shown["taskSets"]
    assert (only["status"], only["scale"]["value"], only["loadBalancers"]) == ("PRIMARY", 100.0, balancers)
    assert shown["loadBalancers"] == balancers
    assert shown["taskDefinition"] == only["taskDefinition"]
    assert main.store.get(REVISIONS, only["taskSetArn"]) is not None
    error = await main.refused("UpdateService", cluster="main", service="bg", taskDefinition="web")
    assert error.message == (
        "Unable to update task definition on services with a CODE_DEPLOY deployment controller. "
        "Use AWS CodeDeploy to trigger a new deployment."
    )
    updated = await main.call("UpdateService", cluster="main", service="bg", desiredCount=4)
    assert updated["service"]["taskSets"][0]["computedDesiredCount"] == 4
    assert (await main.call("DescribeServiceRevisions", serviceRevisionArns=[only["taskSetArn"]]))["failures"]


def test_empty_lists_are_as_good_as_none() -> None:
    class Managed:
        controller, scheduling_strategy = "EXTERNAL", "REPLICA"

    check_update(Managed(), {"loadBalancers": [], "serviceRegistries": [], "forceNewDeployment": False})  # type: ignore[arg-type]
