"""UpdateService: what starts a deployment, what is merged, what is refused (semantics ecs-services §3.2)."""

from __future__ import annotations

from typing import Any

import pytest

from moorage.store.tables.elbv2 import TARGET_GROUPS

from .rig import Rig, network_configuration, service_params
from .test_services import ARN, INVALID, PERCENT, behind, prepare, update


@pytest.mark.parametrize(
    ("params", "deploys"),
    [
        ({"taskDefinition": "web:2"}, True),
        ({"taskDefinition": "web"}, True),
        ({"taskDefinition": "web:1"}, False),
        ({"forceNewDeployment": True}, True),
        ({"networkConfiguration": network_configuration("subnet-a")}, True),
        ({"networkConfiguration": network_configuration()}, False),
        ({"platformVersion": "1.4.0"}, True),
        ({"loadBalancers": []}, True),
        ({"desiredCount": 5}, False),
        ({"desiredCount": 0}, False),
        ({"deploymentConfiguration": {"maximumPercent": 150}}, False),
        ({"healthCheckGracePeriodSeconds": 9}, False),
        ({"enableExecuteCommand": True}, False),
        ({"propagateTags": "SERVICE", "enableECSManagedTags": True}, False),
        ({"availabilityZoneRebalancing": "ENABLED"}, False),
        ({}, False),
    ],
)
async def test_what_starts_a_deployment(main: Rig, params: dict[str, Any], deploys: bool) -> None:
    await main.definition("web")
    made = await main.service(taskDefinition="web:1", loadBalancers=behind(await main.target_group()))
    changed = await update(main, **params)
    assert len(changed["deployments"]) == (2 if deploys else 1)
    if deploys:
        new, old = changed["deployments"]
        assert (new["status"], old["status"]) == ("PRIMARY", "ACTIVE")
        assert (new["desiredCount"], old["desiredCount"]) == (2, 0)
        assert old["id"] == made["deployments"][0]["id"]
        assert changed["currentServiceDeployment"] != made["currentServiceDeployment"]
    for name in set(params) - {"taskDefinition", "forceNewDeployment", "deploymentConfiguration"}:
        wanted = params[name]
        if name == "networkConfiguration":
            assert changed[name]["awsvpcConfiguration"]["subnets"] == wanted["awsvpcConfiguration"]["subnets"]
        else:
            assert changed[name] == wanted


async def test_tags_are_in_the_answer_to_create_only(main: Rig) -> None:
    """Afterwards they are shown to those who ask for them (§1)."""
    tags = [{"key": "team", "value": "a"}]
    assert (await main.service(tags=tags))["tags"] == tags
    assert "tags" not in await update(main, desiredCount=1)
    described = await main.call("DescribeServices", cluster="main", services=["web"], include=["TAGS"])
    assert described["services"][0]["tags"] == tags


async def test_configuration_is_merged(main: Rig) -> None:
    await main.service(deploymentConfiguration={"maximumPercent": 150, "minimumHealthyPercent": 50})
    breaker = {"enable": True, "rollback": True, "thresholdConfiguration": {"type": "COUNT", "value": 5}}
    changed = await update(main, deploymentConfiguration={"deploymentCircuitBreaker": breaker})
    configuration = changed["deploymentConfiguration"]
    assert (configuration["maximumPercent"], configuration["minimumHealthyPercent"]) == (150, 50)
    assert configuration["deploymentCircuitBreaker"] == breaker
    alarms = {"alarmNames": [], "enable": False, "rollback": False}
    changed = await update(main, deploymentConfiguration={"alarms": alarms})
    assert changed["deploymentConfiguration"]["alarms"] == alarms


async def test_updating_what_is_not_there(main: Rig) -> None:
    refusal = await main.refused("UpdateService", cluster="main", service="none")
    assert (refusal.code, refusal.message) == ("ServiceNotFoundException", "Service not found.")
    await main.service()
    for status in ("DRAINING", "INACTIVE"):
        await main.write_service(ARN, status=status)
        refusal = await main.refused("UpdateService", cluster="main", service="web")
        assert (refusal.code, refusal.message) == ("ServiceNotActiveException", "Service was not ACTIVE.")


async def test_updates_refuse_what_creation_refuses(main: Rig) -> None:
    groups = await prepare(main)
    await main.service()
    rows: list[tuple[dict[str, Any], str, str]] = [
        ({"desiredCount": -1}, INVALID, "desiredCount cannot be a negative number."),
        ({"taskDefinition": "none"}, "ClientException", "TaskDefinition not found."),
        ({"taskDefinition": "old:1"}, "ClientException", "TaskDefinition is inactive"),
        ({"taskDefinition": "bridge"}, INVALID, "Task definition does not support launch_type FARGATE."),
        ({"networkConfiguration": {"awsvpcConfiguration": {"subnets": []}}}, INVALID, "subnets can not be empty."),
        ({PERCENT: {"minimumHealthyPercent": 100, "maximumPercent": 100}}, INVALID, "Both maximumPercent"),
        ({"loadBalancers": behind(groups["free"])}, INVALID, "The target group with targetGroupArn"),
        ({"placementConstraints": [{"type": "distinctInstance"}]}, INVALID, "Placement constraints are not"),
    ]
    for params, code, message in rows:
        refusal = await main.refused("UpdateService", cluster="main", service="web", **params)
        assert refusal.code == code
        assert refusal.message.startswith(message)


async def test_constraints_of_the_service_and_of_its_task_definition_count_together(main: Rig) -> None:
    rule = {"type": "memberOf", "expression": "attribute:ecs.os-type == linux"}
    app = {"name": "app", "image": "a", "memory": 64}
    for _ in range(2):
        await main.call("RegisterTaskDefinition", family="ruled", containerDefinitions=[app])
    await main.call("RegisterTaskDefinition", family="ruled", containerDefinitions=[app], placementConstraints=[rule])
    created = {"cluster": "main", "serviceName": "web", "desiredCount": 1, "placementConstraints": [rule] * 10}
    refusal = await main.refused("CreateService", taskDefinition="ruled:3", **created)
    assert (refusal.code, refusal.message) == (INVALID, "Maximum number of constraints is 10")
    await main.call("CreateService", taskDefinition="ruled:1", **created)
    refusal = await main.refused("UpdateService", cluster="main", service="web", taskDefinition="ruled:3")
    assert refusal.message == "Maximum number of constraints is 10"
    changed = await update(main, taskDefinition="ruled:3", placementConstraints=[rule] * 9)
    assert len(changed["placementConstraints"]) == 9
    refusal = await main.refused("UpdateService", cluster="main", service="web", placementConstraints=[rule] * 10)
    assert refusal.message == "Maximum number of constraints is 10"


async def test_a_service_keeps_what_it_has_when_that_is_retired(main: Rig) -> None:
    """Its task definition is deregistered, its listener deleted: it can still be scaled, above all to nothing."""
    group = await main.target_group()
    await main.service(loadBalancers=behind(group))
    await main.call("DeregisterTaskDefinition", taskDefinition="web:1")
    balancer = (await main.call("DescribeLoadBalancers", api="elbv2"))["LoadBalancers"][0]["LoadBalancerArn"]
    await main.call("DeleteLoadBalancer", api="elbv2", LoadBalancerArn=balancer)
    assert (await update(main, desiredCount=4))["desiredCount"] == 4
    assert len((await update(main, forceNewDeployment=True))["deployments"]) == 2
    await main.call("DeleteTargetGroup", api="elbv2", TargetGroupArn=group)
    assert not main.store.get(TARGET_GROUPS, group)
    assert (await update(main, desiredCount=0))["desiredCount"] == 0
    await main.definition("web")
    assert (await update(main, taskDefinition="web"))["taskDefinition"].endswith(":2")


async def test_updates_at_the_same_time_do_not_undo_each_other(main: Rig) -> None:
    await main.service(taskDefinition="web:1")
    await main.definition("web")

    async def between() -> None:
        await update(main, taskDefinition="web:2", desiredCount=7)

    main.networks.between = between
    changed = await update(main, networkConfiguration=network_configuration("subnet-b"))
    assert changed["taskDefinition"].endswith("web:2")
    assert changed["networkConfiguration"]["awsvpcConfiguration"]["subnets"] == ["subnet-b"]
    assert changed["desiredCount"] == 7
    assert len(changed["deployments"]) == 3


async def test_capacity_providers(main: Rig) -> None:
    await main.call(
        "PutClusterCapacityProviders",
        cluster="main",
        capacityProviders=["FARGATE", "FARGATE_SPOT"],
        defaultCapacityProviderStrategy=[],
    )
    await main.service()
    spot = [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]
    refusal = await main.refused("UpdateService", cluster="main", service="web", capacityProviderStrategy=spot)
    assert refusal.message.startswith("When switching from launch type to capacity provider strategy on an existing")
    changed = await update(main, capacityProviderStrategy=spot, forceNewDeployment=True)
    assert changed["capacityProviderStrategy"] == [{"capacityProvider": "FARGATE_SPOT", "weight": 1, "base": 0}]
    assert "launchType" not in changed
    back = await update(main, capacityProviderStrategy=[], platformVersion="1.3.0", forceNewDeployment=True)
    assert (back["launchType"], back["platformVersion"]) == ("FARGATE", "1.3.0")
    assert "capacityProviderStrategy" not in back


async def test_a_service_of_a_strategy_has_no_launch_type_to_fall_back_to(main: Rig) -> None:
    spot = [{"capacityProvider": "FARGATE_SPOT", "weight": 1, "base": 0}]

    async def put(default: list[dict[str, Any]]) -> None:
        providers = ["FARGATE", "FARGATE_SPOT"]
        await main.call(
            "PutClusterCapacityProviders",
            cluster="main",
            capacityProviders=providers,
            defaultCapacityProviderStrategy=default,
        )

    await put([])
    params = service_params()
    del params["launchType"]
    await main.call("CreateService", **params, capacityProviderStrategy=spot)
    nothing: dict[str, Any] = {"capacityProviderStrategy": [], "forceNewDeployment": True}
    refusal = await main.refused("UpdateService", cluster="main", service="web", **nothing)
    assert refusal.message == (
        "No launch type to fall back to for empty capacity provider strategy. Your service was not created with a "
        "launch type."
    )
    await put([{"capacityProvider": "FARGATE"}])
    back = await update(main, **nothing)
    assert back["capacityProviderStrategy"] == [{"capacityProvider": "FARGATE", "weight": 1, "base": 0}]
