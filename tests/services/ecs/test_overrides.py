"""What RunTask may say instead of the task definition (semantics ecs-tasks §9.1, §10)."""

from __future__ import annotations

from typing import Any

import pytest

from .rig import INVALID_CPU, INVALID_MEMORY, ROLE, Rig, container, run_params


@pytest.fixture
async def bridge(main: Rig) -> Rig:
    """Also the task definition "bridge" of one container with 64 MiB, and an instance to run it on."""
    await main.call(
        "RegisterTaskDefinition", family="bridge", containerDefinitions=[{"name": "app", "image": "a", "memory": 64}]
    )
    await main.call("RegisterContainerInstance", cluster="main")
    return main


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"environmentFiles": [{"type": "s3", "value": "b/x.env"}]}, "Invalid arn syntax"),
        (
            {"environmentFiles": [{"type": "s3", "value": "arn:aws:s3:::b/x.txt"}]},
            "The environment file 'arn:aws:s3:::b/x.txt' must have the file extension .env.",
        ),
        (
            {"resourceRequirements": [{"type": "GPU", "value": "1"}]},
            "Tasks using the Fargate launch type do not support GPU resource requirements.",
        ),
        (
            {"resourceRequirements": [{"type": "GPU", "value": "x"}]},
            "Invalid GPU resource requirement 'x' for container 'app'",
        ),
        (
            {"environment": [{"name": "HIDDEN", "value": "seen"}]},
            "The secret name must be unique and not shared with any new or existing environment variables set on the "
            "container, such as 'HIDDEN'.",
        ),
        ({"memory": 513}, "The 'memory' setting for container 'app' is greater than for the task"),
        ({"memory": 5}, "Invalid 'memory' setting for container 'app'"),
        ({"memoryReservation": 5}, "Invalid 'memoryReservation' setting for container 'app'"),
        ({"cpu": -1}, "Invalid 'cpu' setting for container 'app'"),
        (
            {"cpu": 257},
            "The sum of all container 'cpu' values cannot be greater than the value of the task 'cpu'.",
        ),
    ],
)
async def test_overrides_that_are_refused(main: Rig, override: dict[str, Any], message: str) -> None:
    await main.definition(
        executionRoleArn=ROLE, containerDefinitions=[container(secrets=[{"name": "HIDDEN", "valueFrom": "/hidden"}])]
    )
    overrides = {"containerOverrides": [{"name": "app", **override}]}
    assert (await main.refused("RunTask", **run_params(overrides=overrides))).message == message


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"cpu": "much"}, INVALID_CPU),
        ({"memory": "-1"}, INVALID_MEMORY),
        ({"cpu": "1"}, INVALID_CPU),
        ({"memory": "32"}, "The 'memory' setting for container 'app' is greater than for the task"),
    ],
)
async def test_sizes_that_no_instance_gives(bridge: Rig, overrides: dict[str, Any], message: str) -> None:
    refusal = await bridge.refused("RunTask", cluster="main", taskDefinition="bridge", overrides=overrides)
    assert (refusal.code, refusal.message) == ("ClientException", message)


async def test_sizes_in_units_are_plain_numbers_afterwards(bridge: Rig) -> None:
    started = await bridge.call(
        "RunTask", cluster="main", taskDefinition="bridge", overrides={"cpu": ".5 vCPU", "memory": "1GB"}
    )
    (task,) = started["tasks"]
    assert (task["cpu"], task["memory"]) == ("512", "1024")
    assert (task["overrides"]["cpu"], task["overrides"]["memory"]) == ("512", "1024")


async def test_of_two_overrides_for_one_container_the_first_counts(main: Rig) -> None:
    given = [{"name": "app", "command": ["a"]}, {"name": "app", "command": ["b"]}, {}]
    task = await main.task(overrides={"containerOverrides": given})
    assert task["overrides"]["containerOverrides"] == [{"name": "app", "command": ["a"]}]
