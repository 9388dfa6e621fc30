"""Capacity providers of Auto Scaling groups (semantics ecs-services §8)."""

from __future__ import annotations

from typing import Any

import pytest

from .rig import BASE, Rig, run_params

ARN = BASE + "capacity-provider/hosts"
UNKNOWN = "The specified capacity provider does not exist. Specify a valid name or ARN and try again."


async def create(rig: Rig, name: str = "hosts", **members: Any) -> dict[str, Any]:
    group = rig.groups.add(name)
    provider = {"autoScalingGroupArn": group, **members}
    return (await rig.call("CreateCapacityProvider", name=name, autoScalingGroupProvider=provider))["capacityProvider"]


async def put(rig: Rig, *names: str, default: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    answer = await rig.call(
        "PutClusterCapacityProviders",
        cluster="main",
        capacityProviders=list(names),
        defaultCapacityProviderStrategy=default or [],
    )
    return answer["cluster"]


async def test_create_describe_update_delete(ecs: Rig) -> None:
    made = await create(ecs, managedScaling={"status": "ENABLED", "targetCapacity": 80})
    assert made == {
        "capacityProviderArn": ARN,
        "name": "hosts",
        "status": "ACTIVE",
        "type": "EC2_AUTOSCALING",
        "autoScalingGroupProvider": {
            "autoScalingGroupArn": ecs.groups.by_name["hosts"].arn,
            "managedScaling": {
                "status": "ENABLED",
                "targetCapacity": 80,
                "minimumScalingStepSize": 1,
                "maximumScalingStepSize": 10000,
                "instanceWarmupPeriod": 300,
            },
            "managedTerminationProtection": "DISABLED",
            "managedDraining": "ENABLED",
        },
        "updateStatus": "CREATE_COMPLETE",
        "tags": [],
    }
    shown = await ecs.call("DescribeCapacityProviders")
    assert [one["name"] for one in shown["capacityProviders"]] == ["FARGATE", "FARGATE_SPOT", "hosts"]
    changed = await ecs.call(
        "UpdateCapacityProvider",
        name="hosts",
        autoScalingGroupProvider={"managedScaling": {"instanceWarmupPeriod": 60}, "managedDraining": "DISABLED"},
    )
    provider = changed["capacityProvider"]["autoScalingGroupProvider"]
    assert (provider["managedScaling"]["targetCapacity"], provider["managedScaling"]["instanceWarmupPeriod"]) == (
        80,
        60,
    )
    assert provider["managedDraining"] == "DISABLED"
    gone = await ecs.call("DeleteCapacityProvider", capacityProvider=ARN)
    assert gone["capacityProvider"]["updateStatus"] == "DELETE_IN_PROGRESS"
    shown = await ecs.call("DescribeCapacityProviders", capacityProviders=["hosts"])
    assert shown["failures"] == [{"arn": ARN, "reason": "MISSING"}]


async def test_a_group_may_be_named_and_scaling_is_off_unless_asked_for(ecs: Rig) -> None:
    ecs.groups.add("hosts")
    made = await ecs.call("CreateCapacityProvider", name="p", autoScalingGroupProvider={"autoScalingGroupArn": "hosts"})
    provider = made["capacityProvider"]["autoScalingGroupProvider"]
    assert provider["autoScalingGroupArn"] == ecs.groups.by_name["hosts"].arn
    assert provider["managedScaling"]["status"] == "DISABLED"


@pytest.mark.parametrize("name", ["aws-x", "ECS1", "fargate_x", "a b", "x" * 256])
async def test_refused_names(ecs: Rig, name: str) -> None:
    group = ecs.groups.add()
    refusal = await ecs.refused(
        "CreateCapacityProvider", name=name, autoScalingGroupProvider={"autoScalingGroupArn": group}
    )
    assert refusal.message.startswith("The specified capacity provider name is invalid.")


@pytest.mark.parametrize(
    ("members", "begins"),
    [
        (
            {"managedScaling": {"minimumScalingStepSize": 5, "maximumScalingStepSize": 2}},
            "The minimum or maximum scaling",
        ),
        ({"managedScaling": {"maximumScalingStepSize": 10001}}, "The minimum or maximum scaling step size value is"),
        ({"managedScaling": {"targetCapacity": 101}}, "The target capacity value is invalid."),
        ({"managedScaling": {"instanceWarmupPeriod": 10001}}, "The instance warmup period value is invalid."),
        ({"managedTerminationProtection": "ENABLED"}, "The managed termination protection setting for the capacity"),
        (
            {"managedScaling": {"status": "ENABLED"}, "managedTerminationProtection": "ENABLED"},
            "The managed termination protection setting for the capacity provider is invalid. To enable managed "
            "termination protection for a capacity provider, the Auto Scaling group must have instance protection from "
            "scale in enabled.",
        ),
        ({"autoScalingGroupArn": "unknown"}, "The specified Auto Scaling group ARN is invalid."),
    ],
)
async def test_refused_settings(ecs: Rig, members: dict[str, Any], begins: str) -> None:
    asked = {"autoScalingGroupArn": ecs.groups.add(), **members}
    refusal = await ecs.refused("CreateCapacityProvider", name="p", autoScalingGroupProvider=asked)
    assert (refusal.code, refusal.message[: len(begins)]) == ("ClientException", begins)


async def test_other_refusals(ecs: Rig) -> None:
    await create(ecs)
    asked = {"autoScalingGroupArn": "hosts"}
    for request, code, begins in [
        (
            {"name": "hosts", "autoScalingGroupProvider": asked},
            "ClientException",
            "The specified capacity provider already",
        ),
        (
            {"name": "p2", "autoScalingGroupProvider": asked},
            "ClientException",
            "The specified Auto Scaling group ARN is al",
        ),
        ({"name": "p3"}, "ClientException", "The capacity provider must have an Auto Scaling group."),
    ]:
        refusal = await ecs.refused("CreateCapacityProvider", **request)
        assert (refusal.code, refusal.message[: len(begins)]) == (code, begins)
    for operation, member in (("UpdateCapacityProvider", "name"), ("DeleteCapacityProvider", "capacityProvider")):
        assert (await ecs.refused(operation, **{member: "none"})).message == UNKNOWN
        assert "reserved" in (await ecs.refused(operation, **{member: "FARGATE"})).message


async def test_protection_needs_a_group_that_protects(ecs: Rig) -> None:
    group = ecs.groups.add(protects=True)
    made = await ecs.call(
        "CreateCapacityProvider",
        name="p",
        autoScalingGroupProvider={
            "autoScalingGroupArn": group,
            "managedScaling": {"status": "ENABLED"},
            "managedTerminationProtection": "ENABLED",
        },
    )
    assert made["capacityProvider"]["autoScalingGroupProvider"]["managedTerminationProtection"] == "ENABLED"
    scaling = {"managedScaling": {"status": "DISABLED"}}
    refusal = await ecs.refused("UpdateCapacityProvider", name="p", autoScalingGroupProvider=scaling)
    assert "managed scaling must be enabled" in refusal.message


async def test_on_a_cluster(main: Rig) -> None:
    await create(main, managedScaling={"status": "ENABLED"})
    shown = await put(main, "hosts", "FARGATE", default=[{"capacityProvider": ARN, "base": 1}])
    assert shown["attachmentsStatus"] == "UPDATE_IN_PROGRESS"
    assert shown["defaultCapacityProviderStrategy"] == [{"capacityProvider": "hosts", "weight": 1, "base": 1}]
    described = await main.call("DescribeClusters", clusters=["main"], include=["ATTACHMENTS"])
    (cluster,) = described["clusters"]
    assert cluster["attachmentsStatus"] == "UPDATE_COMPLETE"
    assert [one["type"] for one in cluster["attachments"]] == ["as_policy", "managed_draining"]
    assert cluster["attachments"][0]["details"][0] == {"name": "capacityProviderName", "value": "hosts"}
    of_cluster = await main.call("DescribeCapacityProviders", cluster="main")
    assert [one["name"] for one in of_cluster["capacityProviders"]] == ["FARGATE", "hosts"]
    refusal = await main.refused("DeleteCapacityProvider", capacityProvider="hosts")
    assert refusal.message == (
        "The capacity provider cannot be deleted because it is associated with cluster: main. Remove the capacity "
        "provider from the cluster and try again."
    )
    assert "attachmentsStatus" not in await put(main, "FARGATE")
    await main.call("DeleteCapacityProvider", capacityProvider="hosts")


async def test_a_deleted_cluster_lets_its_provider_go(ecs: Rig) -> None:
    await create(ecs)
    await ecs.cluster("main", capacityProviders=["hosts"])
    await ecs.call("DeleteCluster", cluster="main")
    await ecs.call("DeleteCapacityProvider", capacityProvider="hosts")


async def test_unknown_and_mixed(main: Rig) -> None:
    await create(main)
    refusal = await main.refused(
        "PutClusterCapacityProviders", cluster="main", capacityProviders=["none"], defaultCapacityProviderStrategy=[]
    )
    assert refusal.message == UNKNOWN
    await put(main, "hosts", "FARGATE")
    mix = [{"capacityProvider": name, "weight": 1} for name in ("FARGATE", "hosts")]
    params = run_params(capacityProviderStrategy=mix)
    params.pop("launchType", None)
    assert "cannot contain a mix" in (await main.refused("RunTask", **params)).message


async def test_a_service_holds_its_provider(main: Rig) -> None:
    await create(main)
    await put(main, "hosts")
    await main.call(
        "RegisterTaskDefinition", family="bridge", containerDefinitions=[{"name": "app", "image": "a", "memory": 64}]
    )
    strategy = [{"capacityProvider": "hosts", "weight": 1}]
    await main.call(
        "CreateService",
        cluster="main",
        serviceName="b",
        taskDefinition="bridge",
        desiredCount=0,
        capacityProviderStrategy=strategy,
    )
    refusal = await main.refused(
        "PutClusterCapacityProviders", cluster="main", capacityProviders=[], defaultCapacityProviderStrategy=[]
    )
    assert (refusal.code, refusal.message) == (
        "ResourceInUseException",
        "The specified capacity provider is in use and cannot be removed.",
    )


async def test_tags(ecs: Rig) -> None:
    await create(ecs)
    await ecs.call("TagResource", resourceArn=ARN, tags=[{"key": "a", "value": "b"}])
    assert (await ecs.call("ListTagsForResource", resourceArn=ARN))["tags"] == [{"key": "a", "value": "b"}]
    shown = await ecs.call("DescribeCapacityProviders", capacityProviders=["hosts"], include=["TAGS"])
    assert shown["capacityProviders"][0]["tags"] == [{"key": "a", "value": "b"}]
