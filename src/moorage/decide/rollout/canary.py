"""A small share of the production traffic first, then all of it (semantics ecs-services §5.1, §5.2)."""

from __future__ import annotations

from moorage.decide.rollout.blue_green import ShiftStep
from moorage.domain.service import Canary


def steps(canary: Canary) -> tuple[ShiftStep, ...]:
    """5 % for 10 min → 5, 100. A canary of 100 % is everything at once."""
    if canary.canary_percent >= 100.0:
        return (ShiftStep(100.0),)
    return ShiftStep(canary.canary_percent, canary.canary_bake_time_in_minutes * 60.0), ShiftStep(100.0)
