"""What fails a deployment and what then, and when it is over: breaker, alarms, bake time, early success."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from decide.builders import NOW, a_deployment, a_fresh_task, a_service, a_snapshot, a_task, stopped_names
from moorage.decide.service import ServicePlan, decide_service
from moorage.domain import sentences
from moorage.domain.service import CircuitBreaker, DeploymentConfiguration, EarlySuccess, Service
from moorage.domain.task import Task

ALARMS = {"alarmNames": ["slow", "broken"], "enable": True, "rollback": True}
MINE = {"deployment_id": "ecs-svc/2"}


def rolling(configuration: DeploymentConfiguration, desired: int = 2, **primary: Any) -> Service:
    """Deployment 2 replaces deployment 1."""
    return a_service(
        a_deployment(2, **({"rollout_state": "IN_PROGRESS"} | primary)),
        a_deployment(1, status="ACTIVE"),
        deployment_configuration=configuration,
        desired_count=desired,
    )


def alarms(**changes: Any) -> DeploymentConfiguration:
    return DeploymentConfiguration(alarms=ALARMS | changes)


def old(count: int) -> list[Task]:
    return [a_task(f"o{i}") for i in range(count)]


def new(count: int, **changes: Any) -> list[Task]:
    return [a_task(f"n{i}", **(MINE | changes)) for i in range(count)]


def decide(service: Service, *tasks: Task, now: float = NOW) -> ServicePlan:
    return decide_service(a_snapshot(service, *tasks), now)


# --- alarms ----------------------------------------------------------------------------------------------------------
def test_an_alarm_rolls_back() -> None:
    plan = decide(rolling(alarms(), alarms=("broken",)), *old(2), *new(2))
    back, failed = plan.service.deployments
    assert (back.id, back.rollback_of, back.revision_arn) == ("ecs-svc/99", "ecs-svc/2", "revision/1")
    assert (failed.rollout_state, failed.rollout_reason) == ("FAILED", "ECS deployment failed: alarm detected.")
    assert plan.events[:2] == (
        "(service web) (deployment ecs-svc/2) deployment failed: alarm detected.",
        "(service web) rolling back to deployment ecs-svc/99.",
    )
    outcome = plan.outcomes[0]
    assert (outcome.status, outcome.tripped, outcome.alarms) == ("ROLLBACK_IN_PROGRESS", "alarms", ("broken",))
    assert outcome.reason == "Service deployment rolled back because of alarms in the ALARM state: broken."
    assert stopped_names(plan) == {"n0", "n1"}


def test_an_alarm_without_rollback_leaves_everything_as_it_is() -> None:
    plan = decide(rolling(alarms(rollback=False), alarms=("slow",)), *old(1), *new(2))
    assert plan.service.deployments[0].rollout_state == "FAILED"
    assert (plan.start, plan.stop) == ((), ())
    assert [o.status for o in plan.outcomes] == ["STOPPED"]
    assert decide(plan.service, *old(1), *new(2)).stop == ()


def test_an_alarm_without_a_candidate_says_so() -> None:
    service = a_service(
        a_deployment(1, rollout_state="IN_PROGRESS", alarms=("slow",)),
        deployment_configuration=alarms(),
        last_good_revision=None,
    )
    plan = decide(service)
    assert plan.service.deployments[0].rollout_state == "FAILED"
    assert "no rollback candidate was found" in plan.events[1]


@pytest.mark.parametrize(
    ("configuration", "primary"),
    [
        (alarms(enable=False), {"alarms": ("slow",)}),
        (alarms(), {"alarms": ("no-longer-named",)}),
        (alarms(), {"alarms": ("slow",), "rollout_state": "COMPLETED"}),
        (alarms(), {"alarms": ("slow",), "rollback_of": "ecs-svc/0"}),
    ],
)
def test_alarms_that_do_not_matter(configuration: DeploymentConfiguration, primary: dict[str, Any]) -> None:
    assert decide(rolling(configuration, **primary), *old(2)).service.deployments[0].rollout_state != "FAILED"


# --- the breaker -----------------------------------------------------------------------------------------------------
def breaker(**changes: Any) -> DeploymentConfiguration:
    return DeploymentConfiguration(circuit_breaker=CircuitBreaker(enable=True, **changes))


def test_the_threshold_is_that_of_the_latest_desired_count() -> None:
    service = rolling(breaker(), desired=10, failures=4)
    assert decide(service, *old(10)).service.deployments[0].rollout_state == "IN_PROGRESS"
    lowered = replace(service, desired_count=8)
    assert decide(lowered, *old(8)).service.deployments[0].rollout_state == "FAILED"


def test_a_healthy_task_does_not_reset_the_count_when_that_is_switched_off() -> None:
    service = rolling(breaker(reset_on_healthy_task=False), failures=2, failed_tasks=2)
    primary = decide(service, *old(2), *new(1, started_at=NOW - 41, became_healthy_at=None)).service.deployments[0]
    assert (primary.failed_tasks, primary.failures) == (0, 2)


def test_a_failed_deployment_launches_nothing_and_keeps_both_sets() -> None:
    service = rolling(breaker(), failures=3)
    plan = decide(service, *old(1), a_fresh_task("n", **MINE))
    assert (plan.start, plan.stop) == ((), ())
    assert "launches nothing until the service is updated" in plan.said


def test_a_failed_deployment_can_still_be_scaled_in() -> None:
    service = replace(rolling(breaker(), rollout_state="FAILED"), desired_count=1)
    assert len(decide(service, *old(2), *new(2)).stop) == 2
    nothing = replace(service, desired_count=0)
    assert len(decide(nothing, *old(2), *new(2)).stop) == 4


def test_a_rollback_that_fails_itself_ends() -> None:
    service = rolling(breaker(rollback=True), failures=3, rollback_of="ecs-svc/0")
    plan = decide(service, *old(1))
    assert [o.status for o in plan.outcomes] == ["ROLLBACK_FAILED"]
    assert plan.service.deployments[0].rollout_state == "FAILED"


def test_stopping_a_deployment_goes_back() -> None:
    service = replace(rolling(DeploymentConfiguration()), stop_requested="ROLLBACK")
    plan = decide(service, *old(2), *new(1))
    assert plan.service.deployments[1].rollout_reason == sentences.STOP_REQUESTED
    assert plan.outcomes[0].tripped is None


# --- bake time -------------------------------------------------------------------------------------------------------
def done(configuration: DeploymentConfiguration, **primary: Any) -> Service:
    fields = {"rollout_state": "IN_PROGRESS"} | primary
    return a_service(a_deployment(2, **fields), deployment_configuration=configuration)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("configuration", "primary", "seconds"),
    [
        (DeploymentConfiguration(bake_time_minutes=2), {}, 120),
        (alarms(), {"alarm_window": 180.0}, 180),
        (DeploymentConfiguration(alarms=ALARMS, bake_time_minutes=1), {"alarm_window": 180.0}, 60),
    ],
)
def test_a_rolling_deployment_bakes(
    configuration: DeploymentConfiguration, primary: dict[str, Any], seconds: float
) -> None:
    service = done(configuration, **primary)
    plan = decide(service, *new(2))
    assert plan.service.deployments[0].rollout_state == "IN_PROGRESS"
    assert plan.again_after == seconds
    assert f"watched for {seconds:.0f} s more" in plan.said
    later = decide(plan.service, *new(2), now=NOW + seconds)
    assert later.service.deployments[0].rollout_state == "COMPLETED"


def test_an_alarm_in_the_bake_time_rolls_back() -> None:
    service = done(alarms(), alarm_window=60.0, baking_since=NOW - 30, alarms=("slow",))
    assert decide(service, *new(2)).service.deployments[0].rollback_of == "ecs-svc/2"


def test_a_rollback_does_not_bake() -> None:
    service = done(DeploymentConfiguration(bake_time_minutes=5), rollback_of="ecs-svc/1")
    assert decide(service, *new(2)).service.deployments[0].rollout_state == "COMPLETED"


# --- early success ---------------------------------------------------------------------------------------------------
def early(percent: int, cleanup: str, **changes: Any) -> DeploymentConfiguration:
    return DeploymentConfiguration(
        minimum_healthy_percent=50, early_success=EarlySuccess(True, percent, cleanup), **changes
    )


def test_deferred_early_success_leaves_the_old_tasks_for_later() -> None:
    plan = decide(rolling(early(50, "DEFERRED"), desired=4), *old(4), *new(2), *[a_fresh_task("n8", **MINE)])
    assert plan.service.deployments[0].rollout_state == "COMPLETED"
    assert plan.service.last_good_revision == "revision/2"
    assert [d.id for d in plan.service.deployments] == ["ecs-svc/2", "ecs-svc/1"]
    assert plan.start or plan.stop, "the rest follows in the background"


def test_blocking_early_success_waits_for_the_old_tasks() -> None:
    configuration = early(50, "BLOCKING")
    plan = decide(rolling(configuration, desired=4), *old(1), *new(2))
    assert plan.service.deployments[0].rollout_state == "IN_PROGRESS"
    gone = decide(rolling(configuration, desired=4), *new(2))
    assert gone.service.deployments[0].rollout_state == "COMPLETED"
    assert not any("steady" in event for event in gone.events), "it is not at rest yet"


def test_too_few_healthy_tasks_are_no_early_success() -> None:
    plan = decide(rolling(early(75, "DEFERRED"), desired=4), *old(4), *new(2))
    assert plan.service.deployments[0].rollout_state == "IN_PROGRESS"


def test_early_success_bakes_too() -> None:
    service = rolling(early(50, "DEFERRED", bake_time_minutes=1), desired=4)
    plan = decide(service, *old(4), *new(2))
    assert plan.service.deployments[0].baking_since == NOW
