"""Production traffic in equal steps (semantics ecs-services §5.1, §5.2)."""

from __future__ import annotations

from moorage.decide.rollout.blue_green import ShiftStep
from moorage.domain.service import Linear


def steps(linear: Linear) -> tuple[ShiftStep, ...]:
    """`step_percent` more each time, the last step whatever is left and without a bake time.

    25 % → 25, 50, 75, 100. 30 % → 30, 60, 90, 100. 100 % → 100. Tenths of a percent stay exact: 33.3 % → 33.3, 66.6,
    99.9, 100."""
    stride = round(linear.step_percent * 10)
    bake = linear.step_bake_time_in_minutes * 60.0
    before_last = tuple(ShiftStep(tenths / 10, bake) for tenths in range(stride, 1000, stride))
    return (*before_last, ShiftStep(100.0))
