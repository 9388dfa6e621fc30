"""Capacity providers of Auto Scaling groups (semantics ecs-services §8)."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from moorage.domain.capacity_provider import SpotShortage
from moorage.store.tables.ecs import CONTAINER_INSTANCES, SPOT_SHORTAGES

from .rig import ACCOUNT, BASE, REGION, Rig, run_params

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


# --- RunTask ---------------------------------------------------------------------------------------------------------
async def hosts_of(rig: Rig, *, managed: bool = True, instances: int = 0) -> None:
    """A provider "hosts" on the cluster with so many instances of 2,048 CPU units, and the definition "bridge" of 1,024."""
    await create(rig, managedScaling={"status": "ENABLED" if managed else "DISABLED"})
    await put(rig, "hosts", default=[{"capacityProvider": "hosts"}])
    container = {"name": "app", "image": "a", "memory": 64, "cpu": 1024}
    await rig.call("RegisterTaskDefinition", family="bridge", containerDefinitions=[container])
    for number in range(instances):
        made = await rig.call("RegisterContainerInstance", cluster="main")
        arn = made["containerInstance"]["containerInstanceArn"]
        record = rig.store.get(CONTAINER_INSTANCES, arn)
        assert record is not None
        mine = replace(record, capacity_provider="hosts", registered_at=float(number))
        await rig.store.update(lambda tx, mine=mine: tx.put(CONTAINER_INSTANCES, mine))


async def test_tasks_go_to_the_instances_of_their_provider_and_the_others_wait(main: Rig) -> None:
    await hosts_of(main, instances=1)
    await main.call("RegisterContainerInstance", cluster="main")  # nobody's: not for this provider
    ran = await main.call("RunTask", cluster="main", taskDefinition="bridge", count=3)
    assert ran["failures"] == []
    placed, same, waits = ran["tasks"]
    assert placed["containerInstanceArn"] == same["containerInstanceArn"]
    assert {(t["capacityProviderName"], t["launchType"]) for t in ran["tasks"]} == {("hosts", "EC2")}
    assert (placed["lastStatus"], waits["lastStatus"]) == ("PENDING", "PROVISIONING")
    assert "containerInstanceArn" not in waits
    assert "availabilityZone" not in waits
    assert [len(one["containers"]) for one in (placed, waits)] == [1, 0], "it has containers when it has an instance"
    assert [len(one["overrides"]["containerOverrides"]) for one in (placed, waits)] == [1, 0]
    described = await main.call("DescribeClusters", clusters=["main"], include=["STATISTICS"])
    assert {"name": "pendingEC2TasksCount", "value": "3"} in described["clusters"][0]["statistics"]


async def test_without_managed_scaling_nothing_waits(main: Rig) -> None:
    await hosts_of(main, managed=False)
    refusal = await main.refused("RunTask", cluster="main", taskDefinition="bridge")
    assert refusal.message == "No Container Instances were found in your capacity provider."


async def test_without_managed_scaling_a_full_instance_is_a_failure(main: Rig) -> None:
    await hosts_of(main, managed=False, instances=1)
    ran = await main.call("RunTask", cluster="main", taskDefinition="bridge", count=3)
    assert len(ran["tasks"]) == 2
    assert [failure["reason"] for failure in ran["failures"]] == ["RESOURCE:CPU"]


async def test_a_waiting_task_can_be_stopped(main: Rig) -> None:
    await hosts_of(main)
    (task,) = (await main.call("RunTask", cluster="main", taskDefinition="bridge"))["tasks"]
    stopped = await main.call("StopTask", cluster="main", task=task["taskArn"])
    assert (stopped["task"]["desiredStatus"], stopped["task"]["stopCode"]) == ("STOPPED", "UserInitiated")


async def test_no_more_than_500_tasks_wait(main: Rig) -> None:
    await hosts_of(main)
    for _ in range(50):
        await main.call("RunTask", cluster="main", taskDefinition="bridge", count=10)
    ran = await main.call("RunTask", cluster="main", taskDefinition="bridge", count=2)
    assert (ran["tasks"], len(ran["failures"])) == ([], 2)


async def test_spot_capacity_may_lack_and_nothing_falls_back(main: Rig) -> None:
    await put(main, "FARGATE", "FARGATE_SPOT")
    shortage = SpotShortage(ACCOUNT, REGION, main.clock.now() + 60)
    await main.store.update(lambda tx: tx.put(SPOT_SHORTAGES, shortage))
    params = run_params(count=4, capacityProviderStrategy=[item("FARGATE"), item("FARGATE_SPOT")])
    del params["launchType"]
    ran = await main.call("RunTask", **params)
    assert [task["capacityProviderName"] for task in ran["tasks"]] == ["FARGATE", "FARGATE"]
    reason = "Capacity is unavailable at this time. Please try again later or in a different availability zone"
    assert ran["failures"] == [{"reason": reason}] * 2
    main.clock.time += 60
    assert len((await main.call("RunTask", **params))["tasks"]) == 4


def item(provider: str) -> dict[str, Any]:
    return {"capacityProvider": provider, "weight": 1}
