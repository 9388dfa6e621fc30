"""Tasks move between availability zones: the arithmetic, and the story of a service pass by pass."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from decide.builders import NOW, a_deployment, a_fresh_task, a_service, a_snapshot, a_task
from moorage.decide.rebalancing import LONGEST_MOVE, REST, REST_AFTER_FAILURE, in_zones, is_balanced, moves
from moorage.decide.service import ServicePlan, decide_service
from moorage.domain.service import DeploymentConfiguration, Rebalance, Service
from moorage.domain.task import Task

ZONES = ("a", "b", "c")


@pytest.mark.parametrize(
    ("tasks_in", "room", "expected"),
    [
        ({"a": 4, "b": 1, "c": 1}, 6, ("b", "c")),
        ({"a": 2, "b": 1, "c": 1}, 6, ()),
        ({"a": 4}, 1, ("b",)),
        ({"a": 4}, 0, ()),
        ({"a": 2}, 6, ("b",)),
        ({"a": 1, "b": 1, "elsewhere": 3}, 6, ("c",)),
    ],
)
def test_moves(tasks_in: dict[str, int], room: int, expected: tuple[str, ...]) -> None:
    assert moves(ZONES, tasks_in, room) == expected


def test_protected_tasks_do_not_make_way() -> None:
    assert moves(("a", "b"), {"a": 4}, 9, {"a": 3}) == ("b",)
    assert moves(("a", "b"), {"a": 4}, 9, {"a": 4}) == ()
    protected = [replace(task, protected_until=NOW + 60) for task in in_a(3)]
    assert a_pass(a_balanced_service(), *protected).start_in == ()


def test_without_zones_nothing_moves() -> None:
    assert moves((), {"a": 9}, 9) == ()


@given(st.dictionaries(st.sampled_from(ZONES), st.integers(0, 20)), st.integers(0, 40))
def test_moves_only_make_it_better_and_end(tasks_in: dict[str, int], room: int) -> None:
    counts = Counter(in_zones(ZONES, tasks_in))
    found = moves(ZONES, tasks_in, room)
    assert len(found) <= room
    for zone in found:
        fullest = max(counts.values())
        assert fullest - counts[zone] >= 2
        counts[max(sorted(counts), key=lambda z: counts[z])] -= 1
        counts[zone] += 1
    assert len(found) == room or is_balanced(ZONES, counts)


# --- pass by pass ----------------------------------------------------------------------------------------------------
def a_balanced_service(**changes: Any) -> Service:
    fields = {"az_rebalancing": "ENABLED", "desired_count": 3, "steady_since": NOW - REST, "steady_said_at": NOW - REST}
    return a_service(**(fields | changes))  # type: ignore[arg-type]


def a_pass(service: Service, *tasks: Task, now: float = NOW) -> ServicePlan:
    return decide_service(replace(a_snapshot(service, *tasks), zones=("a", "b")), now)


def in_a(count: int) -> list[Task]:
    return [a_task(f"a{i}", availability_zone="a") for i in range(count)]


def test_a_task_is_started_in_the_poor_zone_first() -> None:
    plan = a_pass(a_balanced_service(), *in_a(3))
    assert (plan.start_in, plan.start, plan.stop) == ((("ecs-svc/1", "b"),), (), ())
    assert plan.events == (
        "service (web) is not AZ balanced with 3 tasks in a and 0 in b. AZ Rebalancing in progress.",
    )


def test_nobody_makes_way_before_the_newcomer_is_healthy() -> None:
    service = a_balanced_service(rebalance=Rebalance(NOW, ("b",)), steady_since=None)
    newcomer = a_fresh_task("new", availability_zone="b")
    plan = a_pass(service, *in_a(3), newcomer)
    assert (plan.stop, plan.start, plan.start_in) == ((), (), ())
    assert "moves tasks to b" in plan.said


def test_then_a_task_of_the_rich_zone_stops() -> None:
    service = a_balanced_service(rebalance=Rebalance(NOW, ("b",)), steady_since=None)
    plan = a_pass(service, *in_a(3), a_task("new", availability_zone="b"))
    assert [order.task_arn[-2:] for order in plan.stop] == ["a2"]
    assert plan.events == (
        "web has stopped 1 running tasks in a due to AZ rebalancing: a2.",
        "service (web) is AZ balanced with 2 tasks in a and 1 in b.",
    )
    assert plan.service.rebalance is None


def test_newcomers_that_die_are_not_tried_again_at_once() -> None:
    service = a_balanced_service(rebalance=Rebalance(NOW - 10, ("b",)), steady_since=None)
    plan = a_pass(service, *in_a(3))
    assert plan.service.rebalance == Rebalance(NOW, failed_at=NOW)
    resting = replace(plan.service, steady_since=NOW - REST)
    again = a_pass(resting, *in_a(3), now=NOW + 1)
    assert again.start_in == ()
    assert again.again_after == REST_AFTER_FAILURE - 1
    assert a_pass(resting, *in_a(3), now=NOW + REST_AFTER_FAILURE).start_in


def test_newcomers_that_never_get_ready_are_given_up() -> None:
    service = a_balanced_service(rebalance=Rebalance(NOW, ("b",)), steady_since=None)
    tasks = [*in_a(3), a_fresh_task("new", availability_zone="b")]
    assert a_pass(service, *tasks).again_after == LONGEST_MOVE
    plan = a_pass(service, *tasks, now=NOW + LONGEST_MOVE)
    assert [order.task_arn[-3:] for order in plan.stop] == ["new"]
    assert plan.service.rebalance == Rebalance(NOW + LONGEST_MOVE, failed_at=NOW + LONGEST_MOVE)


@pytest.mark.parametrize(
    "changes",
    [
        {"az_rebalancing": "DISABLED"},
        {"steady_since": NOW - 1, "steady_said_at": NOW - 1},
        {"deployment_configuration": DeploymentConfiguration(maximum_percent=133)},
        {"desired_count": 2},
        {"deployments": (a_deployment(rollout_state="IN_PROGRESS"),)},
        {"deployments": (a_deployment(2), a_deployment(1, status="ACTIVE"))},
    ],
    ids=["disabled", "not long enough at rest", "no room", "scaling in", "deploying", "replacing"],
)
def test_when_nothing_moves(changes: dict[str, Any]) -> None:
    tasks = in_a(3) if "deployment_configuration" not in changes else in_a(2)
    service = a_balanced_service(**({"desired_count": len(tasks)} | changes))
    assert a_pass(service, *tasks).start_in == ()


def test_switching_it_off_in_the_middle_scales_in_as_usual() -> None:
    service = a_balanced_service(az_rebalancing="DISABLED", rebalance=Rebalance(NOW, ("b",)))
    plan = a_pass(service, *in_a(3), a_fresh_task("new", availability_zone="b"))
    assert plan.service.rebalance is None
