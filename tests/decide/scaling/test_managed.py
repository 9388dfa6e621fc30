from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.decide.scaling.managed import Fleet, ScaledInstance, decide_scaling, reservation
from moorage.domain.capacity_provider import ManagedScaling

NOW = 1000.0


def instances(*tasks: int, at: float = 0.0, zones: str = "a") -> tuple[ScaledInstance, ...]:
    return tuple(ScaledInstance(f"i-{n}", zones[n % len(zones)], at, count) for n, count in enumerate(tasks))


def scaling(target: int = 100, least: int = 1, most: int = 10_000, warmup: int = 300) -> ManagedScaling:
    return ManagedScaling("ENABLED", target, least, most, warmup)


def fleet(*tasks: int, opened: int = 0, minimum: int = 0, maximum: int = 100, **more: object) -> Fleet:
    members: dict[str, object] = {"desired": len(tasks), "instances": instances(*tasks), "waiting": opened} | more
    return Fleet(minimum=minimum, maximum=maximum, opened=opened, **members)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("needed", "running", "percent"), [(0, 0, 100), (1, 0, 200), (9, 0, 200), (3, 2, 150), (1, 4, 25), (0, 5, 0)]
)
def test_the_reservation(needed: int, running: int, percent: float) -> None:
    assert reservation(needed, running) == percent


@pytest.mark.parametrize(
    ("settings", "given_fleet", "desired"),
    [
        (scaling(), fleet(), None),
        (scaling(), fleet(opened=2), 2),
        (scaling(most=2), fleet(1, 1, opened=3), 4),
        (scaling(least=3), fleet(1, 1, opened=1), 5),
        (scaling(50), fleet(1, 1), 4),
        (scaling(90), fleet(*[1] * 9), 10),
        (scaling(90), fleet(*[1] * 9, 0), None),
        # The group's own bounds come last.
        (scaling(), fleet(1, opened=5, maximum=3), 3),
        (scaling(least=4), fleet(1, opened=1, maximum=3), 3),
        (scaling(), fleet(1, 1, opened=1, maximum=2), None),
        # What leaves is not counted, and asked for no more.
        (scaling(), fleet(1, opened=1, desired=2, apart=1), 3),
        (scaling(), fleet(1, desired=3, apart=2), None),
        # Drained instances are of no use to tasks that wait.
        (scaling(), fleet(0, opened=1, instances=(ScaledInstance("i-0", "a", 0.0, 0, draining=True),)), 2),
        # What was asked for is coming: not once more, but what is missing beyond it.
        (scaling(), fleet(opened=2, desired=2), None),
        (scaling(), fleet(opened=3, desired=2), 3),
    ],
)
def test_scale_out(settings: ManagedScaling, given_fleet: Fleet, desired: int | None) -> None:
    plan = decide_scaling(settings, given_fleet, NOW)
    assert (plan.desired, plan.terminate) == (desired, ())


@pytest.mark.parametrize(
    ("settings", "given_fleet", "terminate"),
    [
        (scaling(), fleet(1, 0, 0, below_since=700.0), ("i-1", "i-2")),
        (scaling(), fleet(0, 0, 0, below_since=700.0), ("i-0", "i-1", "i-2")),
        (scaling(), fleet(0, 0, 0, minimum=2, below_since=700.0), ("i-0",)),
        (scaling(50), fleet(1, 0, 0, below_since=700.0), ("i-1",)),
        # Not yet: it has not been so for long enough, or only began.
        (scaling(), fleet(1, 0, below_since=701.0), ()),
        (scaling(), fleet(1, 0), ()),
        (scaling(warmup=0), fleet(1, 0), ("i-1",)),
        # An instance warms up.
        (scaling(), fleet(1, 0, instances=instances(1, 0, at=900.0), below_since=700.0), ()),
        # Never one with tasks.
        (scaling(), fleet(1, 1, 1, below_since=0.0), ()),
        # The zone with the most instances gives first.
        (
            scaling(),
            fleet(1, 0, 0, 0, instances=instances(1, 0, 0, 0, zones="aab"), minimum=3, below_since=0.0),
            ("i-1",),
        ),
    ],
)
def test_scale_in(settings: ManagedScaling, given_fleet: Fleet, terminate: tuple[str, ...]) -> None:
    plan = decide_scaling(settings, given_fleet, NOW)
    assert (plan.desired, plan.terminate) == (None, terminate)


def test_the_time_below_the_target_is_remembered_and_forgotten() -> None:
    begins = decide_scaling(scaling(), fleet(1, 0), NOW)
    assert (begins.below_since, begins.again_after) == (NOW, 300.0)
    later = decide_scaling(scaling(), fleet(1, 0, below_since=NOW), NOW + 100)
    assert (later.below_since, later.again_after) == (NOW, 200.0)
    assert decide_scaling(scaling(), fleet(1, 1, below_since=NOW), NOW + 100).below_since is None


def test_sentences() -> None:
    def said(settings: ManagedScaling, given_fleet: Fleet) -> str:
        return decide_scaling(settings, given_fleet, NOW).said

    assert said(scaling(), fleet(opened=1)) == (
        "scales out from 0 to 1 instance: 1 task waits (M 1 needed / N 0 running = 200 %, target 100 %)"
    )
    assert said(scaling(), fleet(1, opened=2, maximum=1)).startswith(
        "no action: 2 tasks wait, 3 instances wanted, but the maxSize of the group is 1"
    )
    assert said(scaling(), fleet(opened=1, desired=1)).startswith("waits for 1 instance to join: 1 task waits")
    assert said(scaling(), fleet(1)).startswith("no action: the capacity fits")


@given(
    st.lists(st.integers(0, 2), max_size=12),
    st.integers(0, 12),
    st.integers(1, 100),
    st.integers(1, 5),
    st.integers(0, 4),
    st.integers(4, 20),
)
def test_it_settles_and_never_touches_what_is_used(
    tasks: list[int], opened: int, target: int, most: int, minimum: int, maximum: int
) -> None:
    """Played until nothing more happens: bounds are kept, no busy instance ends, and what was wanted is there."""
    settings = scaling(target, 1, most, 0)
    current = fleet(*tasks, opened=opened, minimum=minimum, maximum=maximum)
    for _ in range(60):
        plan = decide_scaling(settings, current, NOW)
        busy = {one.ec2_instance_id for one in current.instances if one.tasks}
        assert not busy.intersection(plan.terminate)
        if plan.desired is not None:
            assert current.desired < plan.desired <= maximum
            assert plan.desired - current.desired <= most
            # They come, and take the tasks that waited for them.
            grown = [one.tasks for one in current.instances] + [0] * (plan.desired - len(current.instances))
            left = current.opened
            for n, count in enumerate(grown):
                if not count and left:
                    grown[n], left = 1, left - 1
            current = fleet(*grown, opened=left, minimum=minimum, maximum=maximum)
        elif plan.terminate:
            assert len(current.instances) - len(plan.terminate) >= minimum
            kept = tuple(one for one in current.instances if one.ec2_instance_id not in plan.terminate)
            current = Fleet(len(kept), minimum, maximum, kept)
        else:
            break
    else:
        raise AssertionError("it never settles")
