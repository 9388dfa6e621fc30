"""Deployments that alarms watch over, in the simulated world."""

from __future__ import annotations

from typing import Any

import pytest

from control.virtual_world import *  # noqa: F403
from control.virtual_world import VIRTUAL, PortsWorld
from moorage.control.alarms import POLL
from moorage.domain.errors import AwsError
from moorage.store.tables.ecs import SERVICE_DEPLOYMENTS

pytestmark = VIRTUAL


def alarms(*names: str, rollback: bool = True) -> dict[str, Any]:
    return {"alarms": {"alarmNames": list(names), "enable": True, "rollback": rollback}}


async def shown(world: PortsWorld) -> dict[str, Any]:
    """The newest service deployment."""
    records = world.store.find(SERVICE_DEPLOYMENTS, "service", world.service().arn)
    newest = max(records, key=lambda record: record.created_at)
    answer = await world.ecs("DescribeServiceDeployments", serviceDeploymentArns=[newest.arn])
    found: dict[str, Any] = answer["serviceDeployments"][0]
    return found


@pytest.fixture(name="watched")
async def a_watched_service(world: PortsWorld) -> PortsWorld:
    """Two tasks, stable, alarms "errors" and "latency", which need 90 s to notice anything."""
    world.alarms.set("errors", window=90)
    world.alarms.set("latency")
    await world.create_service(desired=2)
    await world.stable()
    await world.update_service(deploymentConfiguration=alarms("errors", "latency"))
    return world


async def test_a_quiet_deployment_bakes_and_succeeds(watched: PortsWorld) -> None:
    await watched.update_service(forceNewDeployment=True)
    assert (await shown(watched))["alarms"] == {
        "status": "MONITORING",
        "alarmNames": ["errors", "latency"],
        "triggeredAlarmNames": [],
    }
    await watched.until(lambda: watched.service().deployments[0].baking_since is not None, what="the bake time")
    baking = watched.clock.now()
    await watched.stable()
    assert watched.clock.now() - baking >= 89
    assert (await shown(watched))["alarms"]["status"] == "MONITORING_COMPLETE"


@pytest.mark.parametrize("after", [0.0, 50.0, 120.0])
async def test_an_alarm_rolls_back_whenever_it_goes_off(watched: PortsWorld, after: float) -> None:
    serving = {task.arn for task in watched.running()}
    await watched.update_service(forceNewDeployment=True)
    await watched.run_for(after)
    watched.alarms.set("errors", "ALARM")
    await watched.until(lambda: watched.service().deployments[0].rollback_of is not None, within=1, what="the rollback")
    watched.alarms.set("errors", "OK")
    await watched.stable()
    found = await shown(watched)
    assert found["status"] == "ROLLBACK_SUCCESSFUL"
    assert found["alarms"]["status"] == "TRIGGERED"
    assert found["alarms"]["triggeredAlarmNames"] == ["errors"]
    assert any("deployment failed: alarm detected." in event for event in watched.events())
    if after < 50:
        assert serving == {task.arn for task in watched.running()}, "what still served was not touched"
    await watched.settled()


async def test_an_alarm_that_is_in_alarm_already_fails_the_deployment(watched: PortsWorld) -> None:
    watched.alarms.set("latency", "ALARM")
    await watched.update_service(forceNewDeployment=True)
    await watched.until(lambda: watched.service().deployments[0].rollback_of is not None, within=1, what="the rollback")
    await watched.stable()


async def test_without_rollback_the_deployment_is_failed(watched: PortsWorld) -> None:
    await watched.update_service(deploymentConfiguration=alarms("errors", rollback=False), forceNewDeployment=True)
    watched.alarms.set("errors", "ALARM")
    await watched.until(lambda: watched.service().deployments[0].rollout_state == "FAILED", within=1, what="the end")
    assert (await shown(watched))["status"] == "STOPPED"
    assert len(watched.service().deployments) == 2


async def test_an_alarm_noted_before_a_crash_is_not_forgotten(watched: PortsWorld) -> None:
    await watched.update_service(forceNewDeployment=True)
    watched.crash_after(1)
    watched.alarms.set("errors", "ALARM")
    await watched.recovered()
    await watched.until(lambda: watched.service().deployments[0].rollback_of is not None, within=5, what="the rollback")
    await watched.stable()


async def test_alarms_are_read_again_when_nobody_told_of_a_change(watched: PortsWorld) -> None:
    await watched.update_service(forceNewDeployment=True)
    await watched.run_for(1)
    watched.alarms._alarms |= {"errors": type(watched.alarms._alarms["errors"])("errors", "ALARM")}
    await watched.until(lambda: watched.service().deployments[0].rollback_of is not None, within=POLL + 1)


async def test_nobody_asks_while_nothing_is_deployed(watched: PortsWorld) -> None:
    assert watched.process is not None
    await watched.run_for(POLL)
    assert watched.process.plane.alarms._task is None
    watched.alarms.set("errors", "ALARM")
    await watched.run_for(200)
    assert watched.is_stable(), "a service at rest does not look at its alarms"


async def test_unknown_alarms_are_refused(world: PortsWorld) -> None:
    await world.create_service()
    with pytest.raises(AwsError, match="alarms do not exist: nobody") as refusal:
        await world.update_service(deploymentConfiguration=alarms("nobody"))
    assert refusal.value.code == "InvalidParameterException"
