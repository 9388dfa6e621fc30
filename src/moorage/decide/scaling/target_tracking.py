"""Target tracking: how many tasks a service should have so that a metric stays at its target. Pure.

Source: semantics ecs-services §9. Out when the metric was above the target in each of the last 3 minutes, in when it was
below nine tenths of it in each of the last 15; never again within the cooldown of the same direction, and in only when
nothing went out within its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import msgspec

HIGH_MINUTES, LOW_MINUTES = 3, 15
LOW = 0.9
"""The low alarm's part of the target: 60 → 54."""
COOLDOWN = 300.0


class Limits(msgspec.Struct, frozen=True):
    """`target` in the metric's own unit (per cent, or requests a minute and target)."""

    minimum: int
    maximum: int
    target: float


class Move(msgspec.Struct, frozen=True):
    """`desired`: tasks from now on. `alarm`: "AlarmHigh" or "AlarmLow", what made it; None: nothing moves, `said` why."""

    desired: int
    alarm: str | None
    said: str


def track(
    samples: Sequence[float],
    current: int,
    limits: Limits,
    *,
    since_out: float,
    since_in: float,
    deploying: bool,
) -> Move:
    """`samples`: one a minute, the newest last. `since_out`, `since_in`: seconds since the last move of each kind.
    `deploying`: nothing is scaled in meanwhile.

    A count that somebody set outside the limits stays until an alarm moves it, as on AWS.

    4 tasks at 90 % of a target of 60 for three minutes → ceil(4 × 90 / 60) = 6; at 20 % for fifteen → ceil(1.33) = 2."""
    if not samples:
        return Move(current, None, "no measurement yet")
    metric = samples[-1]
    now = f"{metric:.0f} of {limits.target:.0f}"
    if _all(samples, HIGH_MINUTES, lambda value: value > limits.target):
        wanted = min(limits.maximum, math.ceil(current * metric / limits.target))
        if wanted <= current:
            return Move(current, None, f"{now}: already at its maximum of {limits.maximum}")
        if since_out < COOLDOWN:
            return Move(current, None, f"{now}: scaled out a moment ago, {COOLDOWN - since_out:.0f} s of rest left")
        return Move(wanted, "AlarmHigh", now)
    if _all(samples, LOW_MINUTES, lambda value: value < LOW * limits.target):
        wanted = min(limits.maximum, max(limits.minimum, math.ceil(current * metric / limits.target)))
        if wanted >= current:
            return Move(
                current, None, f"{now}: fewer tasks would be above it, or below its minimum of {limits.minimum}"
            )
        if deploying:
            return Move(current, None, f"{now}: nothing is scaled in while a deployment runs")
        if min(since_in, since_out) < COOLDOWN:
            return Move(current, None, f"{now}: scaled a moment ago")
        return Move(wanted, "AlarmLow", now)
    return Move(current, None, now)


def _all(samples: Sequence[float], minutes: int, holds: Callable[[float], bool]) -> bool:
    newest = samples[-minutes:]
    return len(newest) == minutes and all(holds(value) for value in newest)
