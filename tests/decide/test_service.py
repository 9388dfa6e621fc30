"""Stories of one service, told pass by pass to the pure scheduler."""

from __future__ import annotations

from msgspec.structs import replace

from decide.builders import (
    NOW,
    TARGET_GROUP,
    a_deployment,
    a_document,
    a_fresh_task,
    a_service,
    a_snapshot,
    a_task,
    balanced,
    stopped_names,
    with_breaker,
)
from moorage.decide.health import TargetFact
from moorage.decide.service import decide_service
from moorage.domain import sentences

IN_PROGRESS = {"rollout_state": "IN_PROGRESS"}


def fact(state: str, description: str = "") -> dict[str, TargetFact]:
    return {TARGET_GROUP: TargetFact(TARGET_GROUP, 80, state, description)}


def test_a_new_service_starts_its_tasks() -> None:
    plan = decide_service(a_snapshot(a_service(a_deployment(**IN_PROGRESS))), NOW)
    assert plan.start == (("ecs-svc/1", 2),)
    assert plan.service.deployments[0].rollout_state == "IN_PROGRESS"


def test_a_deployment_completes_when_all_tasks_are_healthy() -> None:
    service = a_service(a_deployment(**IN_PROGRESS), last_good_revision=None)
    plan = decide_service(a_snapshot(service, a_task("a"), a_task("b")), NOW)
    assert plan.service.deployments[0].rollout_state == "COMPLETED"
    assert plan.service.last_good_revision == "revision/1"
    assert plan.events == (
        "(service web) (deployment ecs-svc/1) deployment completed.",
        "(service web) has reached a steady state.",
    )


def test_a_steady_service_says_nothing_again() -> None:
    service = a_service(steady_since=NOW - 60, steady_said_at=NOW - 60)
    plan = decide_service(a_snapshot(service, a_task("a"), a_task("b")), NOW)
    assert plan.events == ()
    assert plan.service == service
    assert plan.said.startswith("no action")


def test_a_task_without_checks_counts_after_forty_seconds() -> None:
    service = a_service(a_deployment(**IN_PROGRESS))
    young = {"started_at": NOW - 30, "became_healthy_at": None}
    plan = decide_service(a_snapshot(service, a_task("a", **young), a_task("b", **young)), NOW)
    assert plan.service.deployments[0].rollout_state == "IN_PROGRESS"
    assert plan.again_after == 10
    assert decide_service(a_snapshot(service, a_task("a", **young), a_task("b", **young)), NOW + 10).healthy


def test_a_killed_task_is_replaced_at_once_and_is_no_failure() -> None:
    dead = a_task("dead", desired_status="STOPPED", stop_code="EssentialContainerExited", stopped_reason="x")
    plan = decide_service(a_snapshot(a_service(), a_task("a"), ended=(dead,)), NOW)
    assert plan.start == (("ecs-svc/1", 1),)
    assert plan.accounted == (dead.arn,)
    assert plan.service.deployments[0].failed_tasks == 0


def test_a_target_that_fails_is_replaced_then_stopped() -> None:
    sick, sound = balanced(a_task("sick")), balanced(a_task("sound"))
    targets = {sick.arn: fact("unhealthy", "Health checks failed with these codes: [500]"), sound.arn: fact("healthy")}
    plan = decide_service(a_snapshot(a_service(), sick, sound, targets=targets), NOW)
    assert plan.start == (("ecs-svc/1", 1),)
    assert plan.stop == ()

    newcomer = balanced(a_task("newcomer"))
    targets[newcomer.arn] = fact("healthy")
    plan = decide_service(a_snapshot(a_service(), sick, sound, newcomer, targets=targets), NOW)
    assert stopped_names(plan) == {"sick"}
    assert plan.stop[0].reason == f"Task failed ELB health checks in (target-group {TARGET_GROUP})"
    assert plan.events[0] == (
        f"(service web) (task sick) (port 80) is unhealthy in (target-group {TARGET_GROUP}) due to "
        "(reason Health checks failed with these codes: [500])."
    )


def test_the_grace_period_spares_unhealthy_tasks() -> None:
    sick = balanced(a_task("sick", started_at=NOW - 20, became_healthy_at=None))
    service = a_service(health_check_grace_period=60, desired_count=1)
    snapshot = a_snapshot(service, sick, targets={sick.arn: fact("unhealthy")})
    assert decide_service(snapshot, NOW).start == ()
    assert decide_service(snapshot, NOW + 60).start == (("ecs-svc/1", 1),)


def test_a_target_must_be_healthy_and_the_task_a_little_old() -> None:
    task = balanced(a_task("a", started_at=NOW - 3, became_healthy_at=None))
    service = a_service(a_deployment(**IN_PROGRESS), desired_count=1)
    snapshot = a_snapshot(service, task, targets={task.arn: fact("healthy")})
    assert decide_service(snapshot, NOW).healthy == ()
    assert decide_service(snapshot, NOW + 7).healthy == (task.arn,)


def failed(name: str, deployment: str = "ecs-svc/2", **changes: object) -> object:
    fields: dict[str, object] = {
        "deployment_id": deployment,
        "desired_status": "STOPPED",
        "last_status": "STOPPED",
        "stop_code": "TaskFailedToStart",
        "stopped_reason": "CannotPullContainerError: gone",
        "started_at": None,
        "became_healthy_at": None,
    }
    return a_task(name, **(fields | changes))  # type: ignore[arg-type]


def rolling(**changes: object) -> object:
    """Deployment 2 replaces deployment 1 and is in progress."""
    return with_breaker(
        a_service(a_deployment(2, **(IN_PROGRESS | changes)), a_deployment(1, status="ACTIVE"))  # type: ignore[arg-type]
    )


def test_failures_are_counted_explained_and_slow_the_launches() -> None:
    plan = decide_service(
        a_snapshot(rolling(), a_task("a"), a_task("b"), ended=(failed("x"), failed("y"))),  # type: ignore[arg-type]
        NOW,
    )
    primary = plan.service.deployments[0]
    assert primary.failed_tasks == 2
    assert plan.start == ()
    assert plan.again_after == 1
    assert "launches again in 1 s after 2 failed launches" in plan.said
    assert plan.events[0] == "(service web) was unable to place a task. Reason: CannotPullContainerError: gone."


def test_the_breaker_rolls_back_to_the_tasks_that_still_run() -> None:
    service = rolling(failures=2, failed_tasks=2)
    plan = decide_service(a_snapshot(service, a_task("a"), a_task("b"), ended=(failed("x"),)), NOW)  # type: ignore[arg-type]
    primary = plan.service.deployments[0]
    assert (primary.id, primary.status, primary.rollback_of) == ("ecs-svc/99", "PRIMARY", "ecs-svc/2")
    assert plan.moved == (("ecs-svc/1", "ecs-svc/99"),)
    assert plan.service.revision_arn == "revision/1"
    assert (plan.start, plan.stop) == ((), ())
    assert "(service web) (deployment ecs-svc/2) deployment failed: tasks failed to start." in plan.events
    assert "(service web) rolling back to deployment ecs-svc/99." in plan.events
    # The failed deployment has no tasks left: the rollback is complete in the same pass.
    assert [d.id for d in plan.service.deployments] == ["ecs-svc/99"]
    assert primary.rollout_state == "COMPLETED"
    assert [(o.status, o.service_deployment_arn) for o in plan.outcomes] == [
        ("ROLLBACK_IN_PROGRESS", "service-deployment/2"),
        ("ROLLBACK_SUCCESSFUL", "service-deployment/2"),
    ]


def test_tasks_of_a_failed_deployment_are_stopped() -> None:
    service = rolling(failures=3, failed_tasks=3)
    crashing = a_fresh_task("n", deployment_id="ecs-svc/2")
    plan = decide_service(a_snapshot(service, a_task("a"), a_task("b"), crashing), NOW)  # type: ignore[arg-type]
    assert stopped_names(plan) == {"n"}
    assert [(d.id, d.rollout_state) for d in plan.service.deployments] == [
        ("ecs-svc/99", "IN_PROGRESS"),
        ("ecs-svc/2", "FAILED"),
    ]


def test_a_rollback_whose_old_deployment_is_gone_makes_a_new_one() -> None:
    service = with_breaker(a_service(a_deployment(2, **IN_PROGRESS, failures=3)))
    plan = decide_service(a_snapshot(service), NOW)
    assert plan.service.deployments[0].id == "ecs-svc/99"
    assert plan.service.deployments[0].revision_arn == "revision/1"


def test_without_a_candidate_the_deployment_stalls() -> None:
    service = with_breaker(a_service(a_deployment(1, **IN_PROGRESS, failures=3), last_good_revision=None))
    plan = decide_service(a_snapshot(service), NOW)
    primary = plan.service.deployments[0]
    assert primary.rollout_state == "FAILED"
    assert primary.rollout_reason == sentences.BREAKER_TRIPPED
    assert plan.start == ()
    assert any("no rollback candidate was found" in event for event in plan.events)


def test_a_healthy_task_resets_the_count() -> None:
    service = rolling(failures=2, failed_tasks=2, launches_blocked_until=NOW + 5)
    young = a_task("n", deployment_id="ecs-svc/2", started_at=NOW - 41, became_healthy_at=None)
    plan = decide_service(a_snapshot(service, a_task("a"), a_task("b"), young), NOW)  # type: ignore[arg-type]
    primary = plan.service.deployments[0]
    assert (primary.failed_tasks, primary.failures, primary.launches_blocked_until) == (0, 0, None)


def test_old_deployments_stay_listed_while_they_drain() -> None:
    service = a_service(a_deployment(2, **IN_PROGRESS), a_deployment(1, status="ACTIVE"))
    mine = {"deployment_id": "ecs-svc/2"}
    draining = a_task("o", desired_status="STOPPED", last_status="DEACTIVATING")
    plan = decide_service(a_snapshot(service, a_task("a", **mine), a_task("b", **mine), draining), NOW)
    assert len(plan.service.deployments) == 2
    assert plan.service.deployments[0].rollout_state == "IN_PROGRESS"
    assert plan.said.startswith(
        "waits: 1 task of older deployments still stopping. Deployment ecs-svc/2 is IN_PROGRESS"
    )


def test_a_scale_in_waits_for_what_it_stopped() -> None:
    stopping = [a_task(name, desired_status="STOPPED", last_status="DEACTIVATING") for name in "xy"]
    plan = decide_service(a_snapshot(a_service(), a_task("a"), a_task("b"), *stopping), NOW)
    assert plan.said.startswith("waits: 2 tasks still stopping. ")


def test_a_deleted_service_stops_everything_and_ends() -> None:
    service = a_service(status="DRAINING", desired_count=0)
    plan = decide_service(a_snapshot(service, a_task("a")), NOW)
    assert stopped_names(plan) == {"a"}
    assert plan.events == ("(service web) has stopped 1 running tasks: (task a).",)
    assert decide_service(a_snapshot(service), NOW).service.status == "INACTIVE"


def test_the_targets_of_a_deleted_service_are_told_to_drain() -> None:
    service = a_service(status="DRAINING", desired_count=0)
    tasks = [a_task(name, targets_registered=True) for name in "ab"]
    assert decide_service(a_snapshot(service, *tasks), NOW).events == (
        "(service web) has stopped 2 running tasks: (task a) (task b).",
        "(service web, taskSet ecs-svc/1) has begun draining connections on 2 tasks.",
    )
    stopping = [a_task(name, targets_registered=True, desired_status="STOPPED") for name in "ab"]
    assert decide_service(a_snapshot(service, *stopping), NOW).events == ()


def test_container_health_decides_when_there_is_a_check() -> None:
    document = a_document(
        {"name": "app", "image": "x", "healthCheck": {"command": ["CMD", "true"]}}, {"name": "side", "image": "y"}
    )
    task = a_task("a")
    sick = replace(task, containers=(replace(task.containers[0], health="UNHEALTHY"),))
    plan = decide_service(a_snapshot(a_service(desired_count=1), sick, document=document), NOW)
    assert plan.verdicts[sick.arn].state == "unhealthy"
    assert plan.start


def test_fresh_tasks_count_towards_the_maximum() -> None:
    service = a_service(a_deployment(2, **IN_PROGRESS), a_deployment(1, status="ACTIVE"))
    fresh = [a_fresh_task(f"n{i}", deployment_id="ecs-svc/2") for i in range(2)]
    plan = decide_service(a_snapshot(service, a_task("a"), a_task("b"), *fresh), NOW)
    assert (plan.start, plan.stop) == ((), ())
