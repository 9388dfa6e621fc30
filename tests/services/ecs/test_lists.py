"""Lists: filters, pages, tokens that are not ours, names of other places, and two callers at once."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

from moorage.domain.errors import AwsError

from .rig import ACCOUNT, BASE, Rig, service_params

LISTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("ListClusters", {}),
    ("ListServices", {"cluster": "main"}),
    ("ListTasks", {"cluster": "main"}),
    ("ListTaskDefinitions", {}),
    ("ListTaskDefinitionFamilies", {}),
    ("ListContainerInstances", {"cluster": "main"}),
    ("ListAccountSettings", {}),
    ("ListServicesByNamespace", {"namespace": "here"}),
)
TOKENS = ("garbage", "ü", "====", base64.urlsafe_b64encode(b"-5|x").decode(), base64.urlsafe_b64encode(b"x|y").decode())


@pytest.mark.parametrize(("operation", "params"), LISTS, ids=[name for name, _ in LISTS])
async def test_tokens_and_sizes_that_are_none(main: Rig, operation: str, params: dict[str, Any]) -> None:
    for token in TOKENS:
        refusal = await main.refused(operation, nextToken=token, **params)
        assert (refusal.code, refusal.message) == ("InvalidParameterException", "Invalid token.")
    for size in (0, -1, 101):
        assert (await main.refused(operation, maxResults=size, **params)).code == "InvalidParameterException"


async def test_pages_stay_right_while_services_come_and_go(main: Rig) -> None:
    for number in range(7):
        await main.service(f"s{number}")
    first = await main.call("ListServices", cluster="main", maxResults=3)
    await main.service("s15")  # before the token's place
    await main.call("DeleteService", cluster="main", service="s2", force=True)
    await main.write_service(BASE + "service/main/s2", status="INACTIVE")  # the very one that the token names
    rest = await main.call("ListServices", cluster="main", nextToken=first["nextToken"])
    seen = first["serviceArns"] + rest["serviceArns"]
    assert len(seen) == len(set(seen))
    assert {f"{BASE}service/main/s{number}" for number in (3, 4, 5, 6)} <= set(seen)


async def test_services_by_who_manages_them_and_how_they_run(main: Rig) -> None:
    await main.service("web")
    for filters, expected in (
        ({"launchType": "FARGATE"}, 1),
        ({"launchType": "EC2"}, 0),
        ({"schedulingStrategy": "REPLICA"}, 1),
        ({"schedulingStrategy": "DAEMON"}, 0),
        ({"resourceManagementType": "CUSTOMER"}, 1),
        ({"resourceManagementType": "ECS"}, 0),
    ):
        assert len((await main.call("ListServices", cluster="main", **filters))["serviceArns"]) == expected, filters


async def test_a_service_without_a_task_set_is_listed_under_what_it_shows(main: Rig) -> None:
    external = {"type": "EXTERNAL"}
    made = await main.call(
        "CreateService", cluster="main", serviceName="sets", desiredCount=1, deploymentController=external
    )
    assert made["service"]["launchType"] == "EC2"
    listed = await main.call("ListServices", cluster="main", launchType="EC2")
    assert listed["serviceArns"] == [made["service"]["serviceArn"]]


async def test_a_cluster_of_another_region_or_account_is_unknown(main: Rig) -> None:
    for arn in (
        f"arn:aws:ecs:eu-west-1:{ACCOUNT}:cluster/main",
        "arn:aws:ecs:us-east-1:111111111111:cluster/main",
        "arn:aws:ecs:us-east-1:",
    ):
        refusal = await main.refused("CreateService", **service_params("web", cluster=arn))
        assert (refusal.code, refusal.message) == ("ClusterNotFoundException", "Cluster not found.")
        assert (await main.refused("ListTasks", cluster=arn)).code == "ClusterNotFoundException"
    elsewhere = f"arn:aws:ecs:eu-west-1:{ACCOUNT}:service/main/web"
    described = await main.call("DescribeServices", cluster="main", services=[elsewhere, "web"])
    assert [one["reason"] for one in described["failures"]] == ["MISSING", "MISSING"]
    assert described["failures"][0]["arn"] == elsewhere


async def test_two_callers_create_one_service(main: Rig) -> None:
    same = await asyncio.gather(*(main.call("CreateService", **service_params("web")) for _ in range(3)))
    assert len({one["service"]["deployments"][0]["id"] for one in same}) == 1, "one was made, all are told of it"
    different = await asyncio.gather(
        *(main.call("CreateService", **service_params("api", desiredCount=count)) for count in (1, 2)),
        return_exceptions=True,
    )
    [made] = [one for one in different if isinstance(one, dict)]
    [refused] = [one for one in different if isinstance(one, AwsError)]
    assert refused.message == "Creation of service was not idempotent."
    listed = await main.call("ListServices", cluster="main")
    assert made["service"]["serviceArn"] in listed["serviceArns"]
