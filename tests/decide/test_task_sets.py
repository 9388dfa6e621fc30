"""One pass over a service with task sets: every one of them gets to its computed desired count and stays there."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from decide.builders import NOW, TARGET_GROUP, a_fresh_task, a_service, a_snapshot, a_task, balanced, stopped_names
from moorage.decide.health import TargetFact
from moorage.decide.scheduler import decide
from moorage.decide.service_plan import ServiceSnapshot
from moorage.domain.service import Service
from moorage.domain.task import Task
from moorage.domain.task_set import TaskSet


def a_task_set(number: int = 1, **changes: Any) -> TaskSet:
    fields: dict[str, Any] = {
        "arn": f"task-set/{number}",
        "id": f"ecs-svc/{number}",
        "service_arn": "s",
        "cluster_arn": "c",
        "account": "1",
        "region": "r",
        "created_at": NOW - 3600 + number,
        "updated_at": NOW - 3600,
        "stability_at": NOW - 3600,
        "scale": 100.0,
        "steady": True,
    }
    return TaskSet(**(fields | changes))


def outside(**changes: Any) -> Service:
    return replace(
        a_service(), **{"controller": "EXTERNAL", "deployments": (), "revision_arn": "task-set/1", **changes}
    )


def snapshot(service: Service, sets: list[TaskSet], *tasks: Task, **more: Any) -> ServiceSnapshot:
    return replace(a_snapshot(service, *tasks, **more), task_sets=tuple(sets))


def test_without_task_sets_there_is_nothing_to_do() -> None:
    plan = decide(snapshot(outside(), []), NOW)
    assert (plan.start, plan.stop) == ((), ())
    assert plan.said == "no action: the service has no task set"


def test_every_task_set_starts_its_share() -> None:
    sets = [a_task_set(1, scale=100.0), a_task_set(2, scale=25.0), a_task_set(3, scale=0.0)]
    plan = decide(snapshot(outside(desired_count=5), sets), NOW)
    assert plan.start == (("ecs-svc/1", 5), ("ecs-svc/2", 2))
    assert [one.id for one in plan.task_sets if not one.steady] == ["ecs-svc/1", "ecs-svc/2"]
    assert plan.service.deployments == ()


def test_a_smaller_scale_stops_the_rest_and_tells_it_in_the_name_of_the_task_set() -> None:
    tasks = [balanced(a_task(name)) for name in "abc"]
    targets = {t.arn: {TARGET_GROUP: TargetFact(TARGET_GROUP, 80, "healthy")} for t in tasks}
    one = a_task_set(scale=50.0)
    plan = decide(snapshot(outside(desired_count=4), [one], *tasks, targets=targets), NOW)
    assert len(plan.stop) == 1
    (name,) = stopped_names(plan)
    assert plan.events[:2] == (
        f"(service web, taskSet ecs-svc/1) has stopped 1 running tasks: (task {name}).",
        "(service web, taskSet ecs-svc/1) has begun draining connections on 1 tasks.",
    )
    assert plan.stop[0].reason == "Scaling activity initiated by (deployment ecs-svc/1)"


def test_a_deleted_task_set_stops_everything_even_what_is_protected() -> None:
    tasks = [a_task("a"), a_task("b", protected_until=NOW + 60)]
    plan = decide(snapshot(outside(), [a_task_set(status="DRAINING")], *tasks), NOW)
    assert stopped_names(plan) == {"a", "b"}
    assert plan.gone == ()


def test_and_it_is_gone_with_its_last_task_and_the_service_shows_nothing_of_it() -> None:
    stopping = a_task("a", desired_status="STOPPED", last_status="STOPPING")
    draining = a_task_set(status="DRAINING", steady=False)
    assert decide(snapshot(outside(), [draining], stopping), NOW).gone == ()
    plan = decide(snapshot(outside(), [draining]), NOW)
    assert plan.gone == ("task-set/1",)
    assert plan.service.revision_arn == ""


def test_steady_means_all_of_it_runs_and_serves() -> None:
    one = a_task_set(steady=False)
    plan = decide(snapshot(outside(), [one], a_task("a"), a_task("b")), NOW)
    (changed,) = plan.task_sets
    assert (changed.steady, changed.stability_at) == (True, NOW)
    assert plan.events == (
        "(service web, taskSet ecs-svc/1) has reached a steady state.",
        "(service web) has reached a steady state.",
    )
    again = decide(snapshot(plan.service, [changed], a_task("a"), a_task("b")), NOW + 1)
    assert (again.task_sets, again.events) == ((), ())


def test_what_is_not_steady() -> None:
    one, fine = a_task_set(), a_task("a")
    for other, leaving in (
        (a_fresh_task("b"), False),
        (a_task("b", desired_status="STOPPED", last_status="STOPPING"), False),
        (a_task("b"), True),
    ):
        seen = snapshot(outside(), [one], fine, other)
        plan = decide(replace(seen, leaving=frozenset({other.arn} if leaving else ())), NOW)
        assert [changed.steady for changed in plan.task_sets] == [False]
        assert plan.service.steady_since is None


def test_an_unhealthy_task_is_replaced_before_it_goes() -> None:
    sick, sound = balanced(a_task("sick")), balanced(a_task("sound"))
    targets = {
        sick.arn: {TARGET_GROUP: TargetFact(TARGET_GROUP, 80, "unhealthy", "Request timed out")},
        sound.arn: {TARGET_GROUP: TargetFact(TARGET_GROUP, 80, "healthy")},
    }
    plan = decide(snapshot(outside(), [a_task_set()], sick, sound, targets=targets), NOW)
    assert (plan.start, plan.stop) == ((("ecs-svc/1", 1),), ())


def test_failed_launches_are_throttled_per_task_set() -> None:
    dead = a_task(
        "dead",
        desired_status="STOPPED",
        last_status="STOPPED",
        stop_code="TaskFailedToStart",
        stopped_reason="no image",
    )
    dead = replace(dead, started_at=None)
    sets = [a_task_set(1, failed_tasks=1), a_task_set(2)]
    plan = decide(snapshot(outside(desired_count=1), sets, ended=(dead,)), NOW)
    assert plan.start == (("ecs-svc/2", 1),)
    changed = {one.id: one for one in plan.task_sets}
    assert changed["ecs-svc/1"].failed_tasks == 2
    assert changed["ecs-svc/1"].launches_blocked_until == NOW + 1
    assert plan.again_after == 1
    assert plan.accounted == (dead.arn,)


def test_protected_tasks_keep_a_task_set_from_shrinking() -> None:
    tasks = [a_task(name, protected_until=NOW + 60) for name in "ab"]
    plan = decide(snapshot(outside(desired_count=1), [a_task_set()], *tasks), NOW)
    assert plan.stop == ()
    assert "task set (ecs-svc/1) was unable to scale in" in plan.events[0]


def test_a_deleted_service_stops_all_and_takes_its_task_sets_with_it() -> None:
    deleted = outside(status="DRAINING", desired_count=0)
    plan = decide(snapshot(deleted, [a_task_set()], a_task("a")), NOW)
    assert (stopped_names(plan), plan.gone) == ({"a"}, ())
    plan = decide(snapshot(deleted, [a_task_set()]), NOW)
    assert (plan.service.status, plan.gone) == ("INACTIVE", ("task-set/1",))
