"""Services and deployments explained: what is being done, what it waits for, what the circuit breaker counted."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from decide.builders import NOW, a_container, a_deployment, a_fresh_task, a_service, a_snapshot, a_task, with_breaker
from moorage.control.explain import DeploymentRecords, ServiceRecords, explain_deployment, explain_service
from moorage.control.explain_task import Place, TaskRecords, counts
from moorage.decide.service import decide_service
from moorage.domain import sentences
from moorage.domain.service import Revision, Service, ServiceDeployment, ServiceEvent
from moorage.domain.target_group import TargetState
from moorage.domain.task import Task


def records(service: Service, *tasks: Task, ended: tuple[Task, ...] = (), **more) -> ServiceRecords:
    plan = decide_service(a_snapshot(service, *tasks), NOW)
    revision = Revision("revision/1", service.arn, service.cluster_arn, "1" * 19, NOW, tasks_definition(2))
    return ServiceRecords(
        service,
        plan,
        tuple(TaskRecords(task, None, "", plan.verdicts.get(task.arn)) for task in tasks),
        ended,
        {"revision/1": revision},
        **more,
    )


def tasks_definition(revision: int) -> str:
    return f"arn:aws:ecs:us-east-1:111111111111:task-definition/web:{revision}"


def an_end(name: str, seconds_ago: float, code: str, reason: str = "because", **changes) -> Task:
    fields = {
        "desired_status": "STOPPED", "last_status": "STOPPED", "stop_code": code, "stopped_reason": reason,
        "stopping_at": NOW - seconds_ago, "stopped_at": NOW - seconds_ago, "became_healthy_at": None, "accounted": True,
    }  # fmt: skip
    return a_task(name, **(fields | changes))


def an_event(message: str, seconds_ago: float = 3.0) -> ServiceEvent:
    return ServiceEvent("e", "u", a_service().arn, NOW - seconds_ago, 1, message)


DRAINING = TargetState("draining", "Target.DeregistrationInProgress", "Target deregistration is in progress")
ROLLING = a_deployment(rollout_state="IN_PROGRESS", failures=2, failed_tasks=2)


def test_a_service_at_rest_is_a_few_lines() -> None:
    told = explain_service(records(a_service(), a_task("t1"), a_task("t2")), NOW)
    assert told.title == "Service web in cluster c is ACTIVE: 2 desired, 2 running, 0 pending."
    assert [section.heading for section in told.sections] == ["Now", "Tasks", "Deployments"]
    assert told.section("Tasks") == ("2 tasks healthy: t1, t2",)
    assert told.next == "moor events --service web --follow"


def test_protected_tasks_are_told_because_they_hold_up_a_scale_in() -> None:
    protected = [a_task(f"t{n}", protected_until=NOW + 300 + n) for n in range(2)]
    told = explain_service(records(a_service(desired_count=1), *protected), NOW)
    assert told.section("Tasks") == (
        "2 tasks healthy: t0, t1",
        "2 tasks protected from scale-in and deployments: t0, t1; the first for 5 min",
    )


def test_a_service_that_waits_names_the_task_and_the_time_that_is_left() -> None:
    young = a_task("young", started_at=NOW - 30, became_healthy_at=None)
    told = explain_service(records(a_service(ROLLING, desired_count=1), young), NOW)
    assert told.section("Tasks") == ("young is waiting: counts as healthy in 10 s",)
    assert told.section("Now")[0].startswith("waits: a task has no health check: counts as healthy in 10 s")
    assert told.next == "moor explain task young"


def test_launches_that_are_held_back_say_for_how_long() -> None:
    service = a_service(replace(ROLLING, launches_blocked_until=NOW + 8, failed_tasks=3), desired_count=1)
    told = explain_service(records(service), NOW)
    assert "  launches again in 8 s after 3 failed launches" in told.section("Deployments")
    assert told.section("Now")[0].startswith("launches again in 8 s after 3 failed launches")


def test_the_percentages_are_told_as_tasks() -> None:
    told = explain_service(records(a_service(desired_count=3), a_task("t1")), NOW)
    allowed = "  allowed: at least 3 healthy (100 % of 3), at most 6 tasks (200 %)"
    assert told.section("Deployments")[:2] == (
        "ecs-svc/1 PRIMARY COMPLETED (web:2, created 59 min 59 s ago): 1 running, 1 healthy",
        allowed,
    )


@pytest.mark.parametrize(
    ("last_good", "then"),
    [
        ("revision/0", "it rolls back"),
        ("revision/1", "it stops launching: there is no earlier deployment to roll back to"),
    ],
)
def test_the_circuit_breaker_says_how_far_it_is_and_what_then(last_good: str, then: str) -> None:
    service = replace(with_breaker(a_service(ROLLING)), last_good_revision=last_good)
    lines = explain_service(records(service), NOW).section("Deployments")
    assert f"  circuit breaker: 2 of 3 failures counted, then {then}" in lines


def test_every_failure_is_listed_with_what_it_counted() -> None:
    died = an_end("died", 9, "EssentialContainerExited", containers=(a_container(exit_code=3, known="STOPPED"),))
    ended = (
        died,
        an_end("unhealthy", 20, "ServiceSchedulerInitiated", sentences.FAILED_CONTAINER_HEALTH),
        an_end("other", 25, "TaskFailedToStart", deployment_id="ecs-svc/0"),
        an_end("scaled", 30, "ServiceSchedulerInitiated", sentences.scaling_activity("ecs-svc/1")),
        an_end("pull", 40, "TaskFailedToStart", "CannotPullContainerError: no"),
    )
    told = explain_service(records(with_breaker(a_service(ROLLING)), ended=ended), NOW)
    assert told.section("Failed tasks") == (
        "died 9 s ago, counted (it exited before it ever counted as healthy): EssentialContainerExited: because "
        "(app: exit code 3)",
        "unhealth 20 s ago, counted (it failed its health checks): ServiceSchedulerInitiated: Task failed container "
        "health checks",
        "pull 40 s ago, counted (it failed to start): TaskFailedToStart: CannotPullContainerError: no",
    )
    assert told.next == "moor explain task died"


def test_a_task_that_became_healthy_later_took_the_failures_back() -> None:
    ended = (an_end("before", 50, "TaskFailedToStart"),)
    healthy = a_task("good", became_healthy_at=NOW - 10)
    told = explain_service(records(with_breaker(a_service(ROLLING)), healthy, ended=ended), NOW)
    assert told.section("Failed tasks")[0].startswith("before 50 s ago, counted until a task became healthy:")


@pytest.mark.parametrize(
    ("task", "counted", "why"),
    [
        (an_end("t", 1, "TaskFailedToStart"), True, "counted (it failed to start)"),
        (
            an_end("t", 1, "EssentialContainerExited", became_healthy_at=NOW - 9),
            False,
            "not counted (it had been healthy before)",
        ),
        (an_end("t", 1, "UserInitiated"), False, "not counted (a user stopped it)"),
        (
            an_end("t", 1, "ServiceSchedulerInitiated"),
            False,
            "not counted (scaling or a newer deployment stopped it)",
        ),
        (an_end("t", 1, "SpotInterruption"), False, "not counted"),
    ],
)
def test_whether_a_stopped_task_counts(task: Task, counted: bool, why: str) -> None:
    assert counts(task) == (counted, why)


def test_why_no_place_was_found_and_trouble_of_the_loop() -> None:
    refused = an_event(sentences.no_instances("web"))
    found = records(a_service(), events=(refused,), trouble="The disk is full (attempt 3, next in 0.8 s)")
    told = explain_service(found, NOW)
    assert told.section("Not placed") == (f"3 s ago: {refused.message}",)
    assert told.section("Now")[1] == "the last pass failed: The disk is full (attempt 3, next in 0.8 s)"


def test_a_task_that_did_not_start_is_told_once() -> None:
    """ECS calls that a task it was unable to place."""
    reason = "CannotPullContainerError: no"
    told = sentences.not_placed("web", reason)
    found = records(a_service(ROLLING), ended=(an_end("t", 3, "TaskFailedToStart", reason),), events=(an_event(told),))
    explained = explain_service(found, NOW)
    assert "Not placed" not in [section.heading for section in explained.sections]
    assert explained.section("Last events") == (f"3 s ago: {told}",)


def test_the_time_until_the_last_target_has_drained() -> None:
    old, new = a_deployment(1, status="ACTIVE"), a_deployment(2, rollout_state="IN_PROGRESS")
    service = a_service(new, old, desired_count=1)
    going = [a_task(name, desired_status="STOPPED", last_status="DEACTIVATING") for name in "xy"]
    found = records(service, a_task("a", deployment_id="ecs-svc/2"), *going)
    places = [Place("arn:aws:elasticloadbalancing:targetgroup/web/1", 80, DRAINING, rest) for rest in (12.0, 54.0)]
    staying, *rest = found.tasks
    found = replace(found, tasks=(staying, *(replace(t, places=(p,)) for t, p in zip(rest, places, strict=True))))
    now = explain_service(found, NOW).section("Now")
    assert now[0].startswith("waits: 2 tasks of older deployments still stopping. ")
    assert now[1] == "54 s until the last of its targets has drained"


def test_events_name_target_groups_shortly() -> None:
    arn = "arn:aws:elasticloadbalancing:us-east-1:1:targetgroup/front/73e2d6bc24d8a067"
    told = explain_service(records(a_service(), events=(an_event(sentences.registered("web", 1, arn)),)), NOW)
    assert told.section("Last events") == ("3 s ago: (service web) registered 1 targets in (target-group front)",)


def test_a_failed_deployment_says_that_nothing_more_happens() -> None:
    failed = replace(ROLLING, rollout_state="FAILED", rollout_reason=sentences.BREAKER_TRIPPED)
    found = records(with_breaker(a_service(failed)))
    told = explain_deployment(DeploymentRecords(failed.id, found, failed), NOW)
    assert told.title.startswith("Deployment ecs-svc/1 of service web is PRIMARY, FAILED: ECS deployment circuit")
    assert any("Nothing more is launched until the service is updated." in line for line in told.section("Deployment"))


def test_a_deployment_shows_its_own_tasks_only() -> None:
    old, new = a_deployment(1, status="ACTIVE"), a_deployment(2, rollout_state="IN_PROGRESS")
    service = a_service(new, old)
    found = records(service, a_task("old1"), a_task("old2"), a_fresh_task("new1", deployment_id="ecs-svc/2"))
    told = explain_deployment(DeploymentRecords("ecs-svc/1", found, old), NOW)
    assert told.section("Now") == ("it is being replaced: 2 tasks left",)
    assert told.section("Tasks") == ("2 tasks healthy: old1, old2",)
    assert told.facts["running"] == 2


def test_a_deployment_that_is_over_is_told_from_its_record() -> None:
    record = ServiceDeployment(
        "sd", a_service().arn, "c", "revision/1", (), NOW - 600, status="ROLLBACK_SUCCESSFUL",
        status_reason=sentences.ROLLED_BACK, finished_at=NOW - 500, failure_count=3, threshold=3,
        breaker_status="TRIGGERED", rollback_revision="revision/0", rollback_started_at=NOW - 550,
    )  # fmt: skip
    found = records(a_service(), ended=(an_end("x", 560, "TaskFailedToStart", deployment_id="ecs-svc/9"),))
    told = explain_deployment(DeploymentRecords("ecs-svc/9", found, None, record), NOW)
    assert told.title == "Deployment ecs-svc/9 of service web is over: ROLLBACK_SUCCESSFUL."
    assert told.section("How it ended") == (
        "service deployment ROLLBACK_SUCCESSFUL, created 10 min ago, took 1 min 40 s",
        sentences.ROLLED_BACK,
        "circuit breaker TRIGGERED: 3 failures of 3",
        "rolled back 9 min 10 s ago, to revision 0",
    )
    assert told.section("Failed tasks")[0].startswith("x 9 min 20 s ago, counted (it failed to start)")
