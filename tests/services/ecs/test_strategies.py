"""What CreateService and UpdateService accept and refuse of deployment strategies (semantics ecs-services §5.1, §5.5)."""

from __future__ import annotations

from typing import Any

import pytest

from services.ecs.rig import ACCOUNT, REGION, Rig, service_params

INVALID = "InvalidParameterException"
PERCENT = "deploymentConfiguration"
BLUE_GREEN = {"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 5}
FUNCTION = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:f"
HOOK = {"hookTargetArn": FUNCTION, "roleArn": "r", "lifecycleStages": ["PRE_SCALE_UP"]}
PAUSE = {"targetType": "PAUSE", "lifecycleStages": ["PRE_SCALE_UP"]}


@pytest.fixture
async def main() -> Rig:
    rig = await Rig.make()
    await rig.cluster()
    await rig.definition()
    return rig


async def references(rig: Rig, **changes: Any) -> list[dict[str, Any]]:
    """Two target groups, each behind a listener of its own: the first is production, the second for tests."""
    first, second = await rig.target_group("one"), await rig.target_group("two")
    rules = {}
    for arn in (first, second):
        listener = next(x for x in rig.everything() if type(x).__name__ == "Listener" and arn in str(x.default_actions))
        rules[arn] = listener.default_rule_arn
    advanced = {
        "alternateTargetGroupArn": second,
        "productionListenerRule": rules[first],
        "testListenerRule": rules[second],
        "roleArn": "arn:aws:iam::000000000000:role/r",
    } | changes
    return [
        {
            "targetGroupArn": first,
            "containerName": "app",
            "containerPort": 80,
            "advancedConfiguration": {k: v for k, v in advanced.items() if v is not None},
        }
    ]


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        ({"strategy": "BLUE_GREEN"}, "bakeTimeInMinutes is required for the BLUE_GREEN deployment strategy."),
        ({**BLUE_GREEN, "bakeTimeInMinutes": 1441}, "bakeTimeInMinutes must be between 0 and 1440."),
        (
            {"strategy": "LINEAR", "linearConfiguration": {"stepPercent": 2.9}},
            "stepPercent must be between 3 and 100.",
        ),
        (
            {"strategy": "LINEAR", "linearConfiguration": {"stepPercent": 3.25}},
            "stepPercent must be a multiple of 0.1.",
        ),
        (
            {"strategy": "CANARY", "canaryConfiguration": {"canaryPercent": 0.0}},
            "canaryPercent must be between 0.1 and 100.",
        ),
        (
            {"strategy": "CANARY", "canaryConfiguration": {"canaryBakeTimeInMinutes": -1}},
            "canaryBakeTimeInMinutes must be between 0 and 1440.",
        ),
        (
            {**BLUE_GREEN, "canaryConfiguration": {"canaryPercent": 5.0}},
            "canaryConfiguration is only allowed with the CANARY deployment strategy.",
        ),
        (
            {"strategy": "CANARY"},
            "The CANARY deployment strategy requires an Application Load Balancer or Service Connect.",
        ),
        (
            {**BLUE_GREEN, "alarms": {"alarmNames": ["a"], "enable": True, "rollback": True}},
            "The following CloudWatch alarms do not exist: a",
        ),
        (
            {
                **BLUE_GREEN,
                "earlySuccessCriteria": {
                    "enable": True,
                    "healthyPercent": 100,
                    "sourceServiceRevisionCleanup": "BLOCKING",
                },
            },
            "earlySuccessCriteria is only allowed with the ROLLING deployment strategy.",
        ),
        (
            {"lifecycleHooks": [HOOK]},
            "Moorage does not support deployment lifecycle hooks with the deployment strategy ROLLING yet.",
        ),
        (
            {**BLUE_GREEN, "lifecycleHooks": [HOOK | {"targetType": "SNS"}]},
            "Invalid targetType. Valid values are: AWS_LAMBDA, PAUSE",
        ),
        (
            {**BLUE_GREEN, "lifecycleHooks": [PAUSE | {"lifecycleStages": ["PRODUCTION_TRAFFIC_SHIFT"]}]},
            "Invalid lifecycle stage provided for Pause Hook",
        ),
        (
            {**BLUE_GREEN, "lifecycleHooks": [{"lifecycleStages": ["PRE_SCALE_UP"]}]},
            "hookTargetArn is required for lifecycle hooks with the target type AWS_LAMBDA.",
        ),
        (
            {**BLUE_GREEN, "lifecycleHooks": [PAUSE | {"timeoutConfiguration": {"timeoutInMinutes": 20161}}]},
            "timeoutInMinutes must be between 1 and 20160.",
        ),
    ],
    ids=lambda value: value[:60] if isinstance(value, str) else "",
)
async def test_configurations_that_are_refused(main: Rig, configuration: dict[str, Any], message: str) -> None:
    refusal = await main.refused("CreateService", **service_params(**{PERCENT: configuration}))
    assert (refusal.code, refusal.message) == (INVALID, message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"productionListenerRule": "arn:x"},
            "productionListenerRule has an invalid ARN format. Must be RuleArn for ALB or ListenerArn for NLB. Got: arn:x",
        ),
        (
            {"testListenerRule": None},
            "For Application LoadBalancer, testListenerRule is required when productionListenerRule is not associated "
            "with both targetGroup and alternateTargetGroup",
        ),
        ({"roleArn": None}, "roleArn is required in advancedConfiguration."),
        ({"alternateTargetGroupArn": "arn:nothing"}, "The alternateTargetGroupArn arn:nothing does not exist"),
    ],
    ids=lambda value: value[:60] if isinstance(value, str) else "",
)
async def test_load_balancers_that_are_refused(main: Rig, changes: dict[str, Any], message: str) -> None:
    params = service_params(loadBalancers=await references(main, **changes), **{PERCENT: BLUE_GREEN})
    refusal = await main.refused("CreateService", **params)
    assert refusal.code == INVALID
    assert refusal.message.startswith(message)


async def test_one_rule_for_production_and_tests(main: Rig) -> None:
    [reference] = await references(main)
    rule = reference["advancedConfiguration"]["productionListenerRule"]
    reference["advancedConfiguration"]["testListenerRule"] = rule
    params = service_params(loadBalancers=[reference], **{PERCENT: BLUE_GREEN})
    refusal = await main.refused("CreateService", **params)
    assert refusal.message == (f"The following rules cannot be used as both production and test listener rules: {rule}")


async def test_the_same_target_group_twice(main: Rig) -> None:
    [reference] = await references(main)
    reference["advancedConfiguration"]["alternateTargetGroupArn"] = reference["targetGroupArn"]
    params = service_params(loadBalancers=[reference], **{PERCENT: BLUE_GREEN})
    refusal = await main.refused("CreateService", **params)
    assert refusal.message == f"Duplicate targetGroupArn found: {reference['targetGroupArn']}"


async def test_load_balancers_without_alternates(main: Rig) -> None:
    [reference] = await references(main)
    plain = {k: v for k, v in reference.items() if k != "advancedConfiguration"}
    params = service_params(loadBalancers=[plain], **{PERCENT: BLUE_GREEN})
    refusal = await main.refused("CreateService", **params)
    assert refusal.message == (
        "advancedConfiguration field is required for all loadBalancers when using a non-ROLLING deployment strategy"
    )
    refusal = await main.refused(
        "CreateService", **service_params(loadBalancers=[reference, plain], **{PERCENT: BLUE_GREEN})
    )
    assert refusal.message == "Either all or none of the provided loadBalancers must have advancedConfiguration defined"
    refusal = await main.refused("CreateService", **service_params(loadBalancers=[reference]))
    assert refusal.message == "advancedConfiguration is only allowed with a deployment strategy other than ROLLING."


async def test_what_was_configured_is_shown(main: Rig) -> None:
    configuration = {
        "strategy": "LINEAR",
        "bakeTimeInMinutes": 7,
        "linearConfiguration": {"stepPercent": 12.5},
        "lifecycleHooks": [
            HOOK,
            PAUSE | {"timeoutConfiguration": {"timeoutInMinutes": 5}},
        ],
    }
    wanted = await references(main)
    made = await main.service(loadBalancers=wanted, **{PERCENT: configuration})
    assert made["loadBalancers"] == wanted
    shown = made[PERCENT]
    assert (shown["strategy"], shown["bakeTimeInMinutes"]) == ("LINEAR", 7)
    assert shown["linearConfiguration"] == {"stepPercent": 12.5, "stepBakeTimeInMinutes": 6}
    first, second = shown["lifecycleHooks"]
    assert first == HOOK | {"targetType": "AWS_LAMBDA"}
    assert second["timeoutConfiguration"] == {"timeoutInMinutes": 5, "action": "ROLLBACK"}
    [revision] = (
        await main.call("DescribeServiceRevisions", serviceRevisionArns=[made["currentServiceRevisions"][0]["arn"]])
    )["serviceRevisions"]
    assert revision["resolvedConfiguration"]["loadBalancers"] == [
        {
            "targetGroupArn": wanted[0]["targetGroupArn"],
            "productionListenerRule": wanted[0]["advancedConfiguration"]["productionListenerRule"],
        }
    ]


@pytest.mark.parametrize(
    ("strategy", "member", "shown"),
    [
        ("LINEAR", "linearConfiguration", {"stepPercent": 10.0, "stepBakeTimeInMinutes": 6}),
        ("CANARY", "canaryConfiguration", {"canaryPercent": 5.0, "canaryBakeTimeInMinutes": 10}),
    ],
)
async def test_what_nobody_configured_is_shown_as_it_works(
    main: Rig, strategy: str, member: str, shown: dict[str, Any]
) -> None:
    made = await main.service(loadBalancers=await references(main), **{PERCENT: {"strategy": strategy}})
    assert made[PERCENT][member] == shown


async def test_an_update_keeps_what_it_does_not_name(main: Rig) -> None:
    await main.service(loadBalancers=await references(main), **{PERCENT: BLUE_GREEN})
    changed = await main.call("UpdateService", cluster="main", service="web", **{PERCENT: {"bakeTimeInMinutes": 1}})
    shown = changed["service"][PERCENT]
    assert (shown["strategy"], shown["bakeTimeInMinutes"]) == ("BLUE_GREEN", 1)
    assert len(changed["service"]["deployments"]) == 1
