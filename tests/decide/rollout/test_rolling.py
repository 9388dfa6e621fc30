from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decide.builders import a_candidate
from moorage.decide.rollout.percent import maximum_running, minimum_healthy
from moorage.decide.rollout.rolling import Candidate, next_step


@pytest.mark.parametrize(
    ("desired", "minimum", "maximum", "expected"),
    [
        (1, 100, 200, (1, 2)),
        (1, 50, 100, (1, 1)),
        (1, 0, 100, (0, 1)),
        (4, 50, 100, (2, 4)),
        (3, 100, 150, (3, 4)),
        (3, 67, 100, (3, 3)),
        (3, 66, 100, (2, 3)),
        (10, 50, 150, (5, 15)),
    ],
)
def test_percentages_round_as_documented(desired: int, minimum: int, maximum: int, expected: tuple[int, int]) -> None:
    assert (minimum_healthy(desired, minimum), maximum_running(desired, maximum)) == expected


def old(count: int, state: str = "healthy", **more: object) -> list[Candidate]:
    return [a_candidate(state, new=False, name=f"o{i}", **more) for i in range(count)]  # type: ignore[arg-type]


def new(count: int, state: str = "healthy", **more: object) -> list[Candidate]:
    return [a_candidate(state, name=f"n{i}", **more) for i in range(count)]  # type: ignore[arg-type]


PENDING = {"last_status": "PENDING", "started_at": None}


@pytest.mark.parametrize(
    ("story", "candidates", "desired", "minimum", "maximum", "start", "stop"),
    [
        ("first deployment starts all", [], 2, 2, 4, 2, 0),
        ("100/200 starts all new ones, stops none yet", old(4), 4, 4, 8, 4, 0),
        (
            "100/200 stops one old task per healthy new one",
            [*old(4), *new(1), *new(3, "waiting", **PENDING)],
            4,
            4,
            8,
            0,
            1,
        ),
        ("50/100 stops half first", old(4), 4, 2, 4, 0, 2),
        ("50/100 then starts into the gap", old(2), 4, 2, 4, 2, 0),
        ("100/150 goes one at a time", old(3), 3, 3, 4, 1, 0),
        ("0/100 stops first", old(1), 1, 0, 1, 0, 1),
        ("scale-out starts the difference", new(2), 5, 5, 10, 3, 0),
        ("scale-in stops the difference", new(4), 2, 2, 4, 0, 2),
        ("a killed task is replaced", new(1), 2, 2, 4, 1, 0),
        ("an unhealthy task is replaced before it is stopped", [*new(1), *new(1, "unhealthy")], 2, 2, 4, 1, 0),
        ("an unhealthy task goes when it is replaced", [*new(2), *new(1, "unhealthy")], 2, 2, 4, 0, 1),
        ("without room the unhealthy task goes first", [*new(1), *new(1, "unhealthy")], 2, 1, 2, 0, 1),
        ("old tasks that serve nobody go at once", old(2, "waiting", **PENDING), 2, 2, 4, 2, 2),
        ("old tasks that run uncounted stay until others serve", old(2, "waiting"), 2, 2, 4, 2, 0),
        ("nothing desired: everything goes", new(3), 0, 0, 0, 0, 3),
    ],
)
def test_a_step(
    story: str, candidates: list[Candidate], desired: int, minimum: int, maximum: int, start: int, stop: int
) -> None:
    step = next_step(candidates, desired=desired, minimum=minimum, maximum=maximum, may_start=True)
    assert (step.start, len(step.stop)) == (start, stop), story


def test_percentages_that_allow_nothing_are_reported() -> None:
    assert next_step(old(1), desired=1, minimum=1, maximum=1, may_start=True).blocked
    assert not next_step(old(1), desired=1, minimum=1, maximum=2, may_start=True).blocked


def test_protected_tasks_stay() -> None:
    step = next_step(
        [a_candidate(name="a", protected=True), a_candidate(name="b")], desired=0, minimum=0, maximum=0, may_start=True
    )
    assert [s.task.id for s in step.stop] == ["b"]
    assert step.protected == 1


def test_protection_holds_up_a_deployment_not_the_end_of_a_sick_task() -> None:
    step = next_step(
        [*old(1, "unhealthy", protected=True), a_candidate(name="o1", new=False, protected=True), *new(2)],
        desired=2,
        minimum=2,
        maximum=4,
        may_start=True,
    )
    assert [(stop.task.id, stop.why) for stop in step.stop] == [("o0", "unhealthy")]
    assert step.protected == 2


def test_scale_in_takes_from_the_fullest_zone() -> None:
    candidates = [
        a_candidate(name="a1", availability_zone="a"),
        a_candidate(name="a2", availability_zone="a"),
        a_candidate(name="b1", availability_zone="b"),
    ]
    step = next_step(candidates, desired=2, minimum=2, maximum=4, may_start=True)
    assert [s.task.availability_zone for s in step.stop] == ["a"]


def test_scale_in_takes_tasks_that_do_not_serve_first() -> None:
    candidates = [a_candidate(name="good"), a_candidate("waiting", name="starting", **PENDING)]  # type: ignore[arg-type]
    step = next_step(candidates, desired=1, minimum=1, maximum=2, may_start=True)
    assert [s.task.id for s in step.stop] == ["starting"]


states = st.sampled_from(["healthy", "unhealthy", "waiting"])


@st.composite
def fleets(draw: st.DrawFn) -> list[Candidate]:
    count = draw(st.integers(0, 12))
    return [
        a_candidate(
            draw(states),
            new=draw(st.booleans()),
            name=f"t{i}",
            availability_zone=draw(st.sampled_from("abc")),
            protected=draw(st.booleans()),
            last_status=draw(st.sampled_from(["PENDING", "RUNNING"])),
        )
        for i in range(count)
    ]


@given(fleets(), st.integers(0, 10), st.integers(0, 100), st.integers(100, 300), st.booleans())
def test_never_below_the_minimum_and_never_above_the_maximum(
    candidates: list[Candidate], desired: int, low: int, high: int, may_start: bool
) -> None:
    minimum, maximum = minimum_healthy(desired, low), maximum_running(desired, high)
    step = next_step(candidates, desired=desired, minimum=minimum, maximum=maximum, may_start=may_start)
    healthy = sum(1 for c in candidates if c.verdict.state == "healthy")
    stopped_old = sum(1 for s in step.stop if s.why == "replaced" and s.verdict.state == "healthy")
    if stopped_old:
        assert healthy - stopped_old >= minimum
    if step.start:
        assert len(candidates) + step.start <= maximum
    assert may_start or step.start == 0
    assert len({s.task.arn for s in step.stop}) == len(step.stop)
    protected = {c.task.arn for c in candidates if c.protected}
    assert not any(s.task.arn in protected for s in step.stop if s.why != "unhealthy")
