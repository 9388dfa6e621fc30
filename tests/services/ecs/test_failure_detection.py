"""Circuit breaker, alarms, early success, bake time and zone rebalancing through the API: accepted, shown, refused."""

from __future__ import annotations

from typing import Any

import pytest

from .rig import Rig, service_params

PERCENT = "deploymentConfiguration"
INVALID = "InvalidParameterException"
EARLY = {"enable": True, "healthyPercent": 80, "sourceServiceRevisionCleanup": "DEFERRED"}


def alarms(*names: str, enable: bool = True) -> dict[str, Any]:
    return {"alarms": {"alarmNames": list(names), "enable": enable, "rollback": True}}


async def update(main: Rig, **params: Any) -> dict[str, Any]:
    return (await main.call("UpdateService", cluster="main", service="web", **params))["service"]


async def newest(main: Rig) -> dict[str, Any]:
    listed = await main.call("ListServiceDeployments", cluster="main", service="web")
    arn = listed["serviceDeployments"][0]["serviceDeploymentArn"]
    return (await main.call("DescribeServiceDeployments", serviceDeploymentArns=[arn]))["serviceDeployments"][0]


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        (alarms("x"), "The following CloudWatch alarms do not exist: x"),
        (alarms("there", "x", "y"), "The following CloudWatch alarms do not exist: x, y"),
        (alarms(), "alarmNames can not be empty when deployment alarms are enabled."),
        (alarms(""), "Alarm names can not be blank."),
        (
            {"earlySuccessCriteria": {"enable": True}},
            "healthyPercent and sourceServiceRevisionCleanup are required when earlySuccessCriteria is enabled.",
        ),
        (
            {"earlySuccessCriteria": EARLY, "minimumHealthyPercent": 81},
            "healthyPercent of earlySuccessCriteria must be greater than or equal to minimumHealthyPercent.",
        ),
        (
            {
                "deploymentCircuitBreaker": {
                    "enable": True,
                    "rollback": True,
                    "thresholdConfiguration": {"type": "COUNT", "value": 0},
                }
            },
            "The value of thresholdConfiguration must be at least 1.",
        ),
        (
            {
                "deploymentCircuitBreaker": {
                    "enable": True,
                    "rollback": True,
                    "thresholdConfiguration": {"type": "BOUNDED_PERCENT", "value": 101},
                }
            },
            "The value of thresholdConfiguration must be at most 100 for the type BOUNDED_PERCENT.",
        ),
    ],
)
async def test_what_is_refused(main: Rig, configuration: dict[str, Any], message: str) -> None:
    main.alarms.set("there")
    refusal = await main.refused("CreateService", **service_params(**{PERCENT: configuration}))
    assert (refusal.code, refusal.message) == (INVALID, message)


async def test_a_percentage_below_early_success_later(main: Rig) -> None:
    await main.service(**{PERCENT: {"earlySuccessCriteria": EARLY, "minimumHealthyPercent": 80}})
    percent = {PERCENT: {"minimumHealthyPercent": 90}}
    refusal = await main.refused("UpdateService", cluster="main", service="web", **percent)
    assert "healthyPercent of earlySuccessCriteria" in refusal.message
    off = await update(main, **{PERCENT: {"earlySuccessCriteria": {"enable": False}, "minimumHealthyPercent": 90}})
    assert off[PERCENT]["earlySuccessCriteria"] == {"enable": False}


async def test_what_was_configured_is_shown(main: Rig) -> None:
    main.alarms.set("slow")
    breaker = {
        "enable": True,
        "rollback": False,
        "resetOnHealthyTask": False,
        "thresholdConfiguration": {"type": "COUNT", "value": 7},
    }
    given = {
        **alarms("slow"),
        "deploymentCircuitBreaker": breaker,
        "earlySuccessCriteria": EARLY,
        "bakeTimeInMinutes": 3,
        "minimumHealthyPercent": 50,
    }
    service = await main.service(**{PERCENT: given})
    assert {name: service[PERCENT][name] for name in given} == given
    record = await newest(main)
    assert record["alarms"] == {"status": "MONITORING", "alarmNames": ["slow"], "triggeredAlarmNames": []}
    assert record["deploymentCircuitBreaker"] == {"status": "MONITORING", "failureCount": 0, "threshold": 7}


async def test_the_threshold_follows_the_desired_count(main: Rig) -> None:
    await main.service(**{PERCENT: {"deploymentCircuitBreaker": {"enable": True, "rollback": True}}})
    assert (await newest(main))["deploymentCircuitBreaker"]["threshold"] == 3
    await update(main, desiredCount=25)
    assert (await newest(main))["deploymentCircuitBreaker"]["threshold"] == 13


async def test_alarms_of_terraform_that_watch_nothing(main: Rig) -> None:
    """CDK and Terraform send empty and disabled alarms."""
    assert (await main.service(**{PERCENT: alarms(enable=False)}))["status"] == "ACTIVE"
    assert (await newest(main))["alarms"] == {"status": "DISABLED"}
    kept = await update(main, **{PERCENT: alarms("not-there-yet", enable=False)})
    assert kept[PERCENT]["alarms"]["alarmNames"] == ["not-there-yet"]


async def test_an_alarm_that_was_deleted_does_not_stop_an_update(main: Rig) -> None:
    main.alarms.set("slow")
    await main.service(**{PERCENT: alarms("slow")})
    main.alarms._alarms.clear()
    assert len((await update(main, forceNewDeployment=True))["deployments"]) == 2


# --- availability zone rebalancing -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "shown"),
    [
        ({}, "ENABLED"),
        ({"availabilityZoneRebalancing": "DISABLED"}, "DISABLED"),
        ({PERCENT: {"maximumPercent": 100, "minimumHealthyPercent": 50}}, "DISABLED"),
    ],
)
async def test_rebalancing_is_on_where_it_can_be(main: Rig, params: dict[str, Any], shown: str) -> None:
    assert (await main.service(**params))["availabilityZoneRebalancing"] == shown


async def test_rebalancing_needs_room(main: Rig) -> None:
    tight = {PERCENT: {"maximumPercent": 100, "minimumHealthyPercent": 50}}
    message = "Availability Zone Rebalancing requires a maximumPercent greater than 100."
    asked = service_params(availabilityZoneRebalancing="ENABLED", **tight)
    assert (await main.refused("CreateService", **asked)).message == message
    await main.service()
    assert (await main.refused("UpdateService", cluster="main", service="web", **tight)).message == message
    changed = await update(main, availabilityZoneRebalancing="DISABLED", **tight)
    assert changed["availabilityZoneRebalancing"] == "DISABLED"
    assert len(changed["deployments"]) == 1
