"""One task explained: what it waits for with the time that is left, and how it ended."""

from __future__ import annotations

from msgspec.structs import replace

from decide.builders import (
    NOW,
    TARGET_GROUP,
    a_container,
    a_document,
    a_fresh_task,
    a_service,
    a_task,
    balanced,
)
from moorage.control.explain_task import Place, TaskRecords, explain_task
from moorage.decide.health import Verdict
from moorage.domain.target_group import DRAINING, HEALTHY, TargetState
from moorage.engine.driver import ObservedContainer

CHECKED = a_document({"name": "app", "image": "app:1", "essential": True, "healthCheck": {"command": ["CMD", "true"]}})
UNHEALTHY = TargetState("unhealthy", "Target.Timeout", "Request timed out")


def now_of(records: TaskRecords) -> tuple[str, ...]:
    return explain_task(records, NOW).section("Now")


def test_passed_checks_and_what_is_missing_until_it_counts() -> None:
    task = balanced(a_task(containers=(a_container(known="RUNNING", health="HEALTHY"),)))
    verdict = Verdict("waiting", "passes its checks, counts as healthy in 6 s", again_after=6.2, serving=True)
    records = TaskRecords(task, CHECKED, "no action: runs as it should", verdict, (Place(TARGET_GROUP, 80, HEALTHY),))
    assert now_of(records) == ("is waiting: 2 of 2 health checks passed, counts as healthy in 6 s",)


def test_a_healthy_task_and_one_without_checks() -> None:
    healthy = Verdict("healthy", "passes all its checks", serving=True)
    records = TaskRecords(balanced(a_task()), a_document(), "", healthy, (Place(TARGET_GROUP, 80, HEALTHY),))
    assert now_of(records) == ("is healthy: 1 of 1 health checks passed",)
    plain = TaskRecords(a_task(), a_document(), "", Verdict("healthy", "has been running for 40 s"))
    assert now_of(plain) == ("is healthy: has been running for 40 s",)
    assert now_of(TaskRecords(a_task(service_arn=None), a_document())) == ("runs as it should",)


def test_health_checks_are_counted_as_the_engine_counts_them() -> None:
    task = a_task(service_arn=None, containers=(a_container(known="RUNNING", health="HEALTHY", restarts=2),))
    seen = ObservedContainer("id", {}, "running", failed_checks=2, check_output="connection\nrefused")
    told = explain_task(TaskRecords(task, CHECKED, observed={"app": seen}), NOW).section("Containers")
    assert "HEALTHY, 2 of 3 health checks failed (the last one said: connection refused)" in told[0]
    assert "started again 2 times" in told[0]


def test_a_container_that_was_started_again() -> None:
    again = a_container(known="RUNNING", started_at=NOW - 7, finished_at=NOW - 8, restarts=1, restarted_after=137)
    told = explain_task(TaskRecords(a_task(service_arn=None, containers=(again,)), a_document()), NOW)
    (line,) = told.section("Containers")
    assert line.endswith("RUNNING, for 7 s, started again once (last after exit code 137 (SIGKILL))")
    moments = told.section("What happened")
    assert any(
        "container app ended (exit code 137 (SIGKILL)), its restart policy starts it again" in m for m in moments
    )


def test_how_long_a_dependency_may_still_take() -> None:
    document = a_document(
        {"name": "app", "image": "a", "startTimeout": 60, "healthCheck": {"command": ["CMD", "x"]}},
        {"name": "late", "image": "b", "dependsOn": [{"containerName": "app", "condition": "HEALTHY"}]},
    )
    containers = (a_container(known="RUNNING", started_at=NOW - 20), a_container("late", known="PULLED"))
    task = a_fresh_task("t1", last_status="ACTIVATING", created_at=NOW - 21, containers=containers)
    said = "container late waits for app to be HEALTHY"
    assert now_of(TaskRecords(task, document, said)) == (
        f"is ACTIVATING, created 21 s ago: {said}",
        "40 s left of the startTimeout of container app: then the task stops",
    )


def test_when_sigkill_comes() -> None:
    document = a_document({"name": "app", "image": "app:1", "essential": True, "stopTimeout": 45})
    container = a_container(known="RUNNING", stop_sent_at=NOW - 5)
    task = a_task(desired_status="STOPPED", last_status="STOPPING", containers=(container,))
    assert now_of(TaskRecords(task, document, "stops app")) == (
        "is STOPPING: stops app",
        "container app got its stop signal 5 s ago, SIGKILL in 40 s",
    )


def test_an_unhealthy_task_in_its_grace_period() -> None:
    task = balanced(a_task(started_at=NOW - 15, became_healthy_at=None))
    verdict = Verdict("waiting", f"is unhealthy in {TARGET_GROUP}")
    service = a_service(health_check_grace_period=60)
    records = TaskRecords(task, a_document(), "", verdict, (Place(TARGET_GROUP, 80, UNHEALTHY),), service)
    told = explain_task(records, NOW)
    assert told.section("Now") == (
        "is waiting: 0 of 1 health checks passed, is unhealthy in target group web",
        "45 s of its health check grace period (1 min) left: it is not replaced before",
    )
    assert told.section("Target groups") == ("web (port 80): unhealthy: Request timed out",)


def test_a_draining_task_says_how_long_and_what_comes_then() -> None:
    task = balanced(a_task(desired_status="STOPPED", last_status="DEACTIVATING", stop_code="ServiceSchedulerInitiated"))
    document = a_document({"name": "app", "image": "app:1", "essential": True, "stopTimeout": 45})
    said = "drains: 1 targets are still deregistering"
    records = TaskRecords(task, document, said, None, (Place(TARGET_GROUP, 80, DRAINING, drain_left=60.0),))
    assert now_of(records) == (
        f"is DEACTIVATING: {said}",
        "1 min drain left of target group web",
        "its containers then have 45 s between the stop signal and SIGKILL",
    )


def test_a_task_that_pulls_says_since_when() -> None:
    task = a_fresh_task("p", last_status="PENDING", created_at=NOW - 20, pull_started_at=NOW - 12)
    assert now_of(TaskRecords(task, a_document(), "waits for pull app")) == (
        "is PENDING, created 20 s ago: waits for pull app",
        "pulling the image of app for 12 s",
    )


def test_the_whole_story_of_a_stopped_task() -> None:
    container = a_container(
        known="STOPPED", exit_code=137, reason="OutOfMemoryError", started_at=NOW - 98, finished_at=NOW - 90
    )
    task = a_task(
        "0123456789abcdef", desired_status="STOPPED", last_status="STOPPED", created_at=NOW - 100,
        started_at=NOW - 98, became_healthy_at=None, stopping_at=NOW - 90, stopped_at=NOW - 89,
        stop_code="EssentialContainerExited", stopped_reason="Essential container in task exited",
        containers=(container,),
    )  # fmt: skip
    told = explain_task(TaskRecords(task, a_document()), NOW)
    assert told.title == "Task 0123456789abcdef of service web is STOPPED (1 min 29 s ago)."
    assert told.section("Now") == ()
    assert told.section("Why it stopped") == (
        "EssentialContainerExited: Essential container in task exited",
        "by the circuit breaker it is counted (it exited before it ever counted as healthy)",
    )
    assert told.section("Containers") == ("app [app:1]: STOPPED, ran 8 s, exit code 137 (SIGKILL), OutOfMemoryError",)
    assert told.section("What happened") == (
        "created 1 min 40 s ago",
        "+2 s RUNNING",
        "+10 s was to stop",
        "+10 s container app ended (exit code 137, OutOfMemoryError)",
        "+11 s STOPPED",
    )
    assert (told.facts["exit_codes"], told.facts["counted"]) == ({"app": 137}, True)
    assert told.next == "moor explain service web"


def test_a_container_that_never_started() -> None:
    container = a_container(known="STOPPED", reason="CannotPullContainerError: no such image")
    task = a_fresh_task("x", last_status="STOPPED", desired_status="STOPPED", containers=(container,), service_arn=None)
    told = explain_task(TaskRecords(replace(task, stop_code="TaskFailedToStart")), NOW)
    assert told.section("Containers") == (
        "app [app:1]: STOPPED, never started, CannotPullContainerError: no such image",
    )
    assert told.next == "moor aws ecs describe-tasks --cluster c --tasks x"


def test_the_next_command_is_its_logs_when_it_writes_any() -> None:
    options = {"awslogs-group": "/web", "awslogs-stream-prefix": "ecs"}
    document = a_document(
        {"name": "app", "image": "app:1", "logConfiguration": {"logDriver": "awslogs", "options": options}}
    )
    told = explain_task(TaskRecords(a_task("t9"), document), NOW)
    assert told.next == "moor aws logs tail /web --log-stream-names ecs/app/t9"
