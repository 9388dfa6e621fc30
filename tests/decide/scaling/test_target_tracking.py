from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.decide.scaling.target_tracking import Limits, Move, track

LONG = 10_000.0


def decide(
    samples: list[float],
    current: int,
    *,
    target: float = 60,
    out: float = LONG,
    into: float = LONG,
    deploying: bool = False,
) -> Move:
    limits = Limits(1, 10, target)
    return track(samples, current, limits, since_out=out, since_in=into, deploying=deploying)


@pytest.mark.parametrize(
    ("samples", "current", "how", "expected"),
    [
        ([], 2, {}, (2, None)),
        ([90.0, 90.0], 4, {}, (4, None)),  # two minutes are not three
        ([90.0, 50.0, 90.0], 4, {}, (4, None)),
        ([90.0, 90.0, 90.0], 4, {}, (6, "AlarmHigh")),
        ([61.0, 61.0, 61.0], 1, {}, (2, "AlarmHigh")),
        ([200.0, 200.0, 200.0], 8, {}, (10, "AlarmHigh")),  # no further than the maximum
        ([200.0, 200.0, 200.0], 10, {}, (10, None)),
        ([90.0, 90.0, 90.0], 4, {"out": 299.0}, (4, None)),  # the cooldown
        ([90.0, 90.0, 90.0], 4, {"deploying": True}, (6, "AlarmHigh")),
        ([20.0] * 14, 4, {}, (4, None)),  # fourteen minutes are not fifteen
        ([20.0] * 15, 4, {}, (2, "AlarmLow")),
        ([0.0] * 15, 4, {}, (1, "AlarmLow")),
        ([55.0] * 15, 4, {}, (4, None)),  # between nine tenths and the target
        ([53.0] * 15, 4, {}, (4, None)),  # 3.5 tasks are 4
        ([20.0] * 15, 4, {"deploying": True}, (4, None)),
        ([20.0] * 15, 4, {"into": 10.0}, (4, None)),
        ([20.0] * 15, 4, {"out": 10.0}, (4, None)),
        ([50.0], 12, {}, (12, None)),  # outside the limits by somebody's own wish
        ([], 0, {}, (0, None)),
        ([20.0] * 15, 40, {}, (10, "AlarmLow")),
    ],
)
def test_moves(samples: list[float], current: int, how: dict[str, float], expected: tuple[int, str | None]) -> None:
    move = decide(samples, current, **how)  # type: ignore[arg-type]
    assert (move.desired, move.alarm) == expected


@given(
    st.lists(st.floats(0, 500), max_size=15),
    st.integers(0, 20),
    st.integers(0, 5),
    st.integers(0, 10),
    st.floats(1, 100),
)
def test_never_outside_the_limits_nor_the_wrong_way(
    samples: list[float], current: int, minimum: int, more: int, target: float
) -> None:
    limits = Limits(minimum, max(1, minimum + more), target)
    move = track(samples, current, limits, since_out=LONG, since_in=LONG, deploying=False)
    if move.alarm == "AlarmHigh":
        assert current < move.desired <= limits.maximum
    elif move.alarm == "AlarmLow":
        assert limits.minimum <= move.desired <= limits.maximum
        assert move.desired < current
    else:
        assert move.desired == current
