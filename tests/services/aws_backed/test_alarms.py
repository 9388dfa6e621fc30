"""CloudWatch alarms as deployments read them, from the embedded CloudWatch that boto3 writes to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from front import Front

from moorage.domain.alarm import Alarm
from moorage.domain.scope import Scope
from moorage.services.aws_backed.alarms import MotoAlarms, alarm

SCOPE = Scope("000000000000", "us-east-1")


@pytest.fixture(scope="module")
def alarms(front: Front) -> MotoAlarms:
    return MotoAlarms(front.backed)


def put(cloudwatch: Any, name: str, **members: Any) -> None:
    shape = {
        "AlarmName": name,
        "MetricName": "Errors",
        "Namespace": "Web",
        "Statistic": "Sum",
        "Period": 30,
        "EvaluationPeriods": 3,
        "Threshold": 1,
        "ComparisonOperator": "GreaterThanThreshold",
    }
    cloudwatch.put_metric_alarm(**shape | members)


def test_states_are_those_that_were_set(front: Front, client: Callable[..., Any], alarms: MotoAlarms) -> None:
    cloudwatch = client("cloudwatch")
    put(cloudwatch, "one")
    put(cloudwatch, "two")
    cloudwatch.set_alarm_state(AlarmName="one", StateValue="ALARM", StateReason="a test")
    found = front.run(alarms.alarms(SCOPE, ["one", "two", "nobody"]))
    assert set(found) == {"one", "two"}
    assert found["one"] == Alarm("one", "ALARM", 90.0)
    assert found["two"].state != "ALARM"
    assert front.run(alarms.alarms(Scope("000000000000", "eu-west-1"), ["one"])) == {}


def test_more_names_than_one_call_takes(front: Front, client: Callable[..., Any], alarms: MotoAlarms) -> None:
    put(client("cloudwatch"), "last")
    names = [f"none-{number}" for number in range(150)]
    assert list(front.run(alarms.alarms(SCOPE, [*names, "last"]))) == ["last"]


def test_a_change_is_noticed(front: Front, client: Callable[..., Any], alarms: MotoAlarms) -> None:
    async def wait() -> asyncio.Future[None]:
        return asyncio.ensure_future(alarms.changed())

    noticed = front.run(wait())
    put(client("cloudwatch"), "three")

    async def seen() -> None:
        await asyncio.wait_for(noticed, 10)

    front.run(seen())


@pytest.mark.parametrize(
    ("shape", "window"),
    [
        ({"Period": 60, "EvaluationPeriods": 5}, 300.0),
        ({"EvaluationPeriods": 2}, 120.0),
        ({"EvaluationPeriods": 2, "Metrics": [{"MetricStat": {"Period": 300}}, {"Expression": "m1"}]}, 600.0),
        ({}, 60.0),
    ],
)
def test_the_time_that_an_alarm_needs(shape: dict[str, Any], window: float) -> None:
    assert alarm({"AlarmName": "a", "StateValue": "OK", **shape}).window == window
