"""All production traffic at once (semantics ecs-services §5.1, §5.2)."""

from __future__ import annotations

import msgspec


class ShiftStep(msgspec.Struct, frozen=True):
    """`percent` of the requests go to green; then nothing moves for `bake` seconds."""

    percent: float
    bake: float = 0.0


def steps() -> tuple[ShiftStep, ...]:
    """One shift to 100 %. The bake time of the deployment is a stage of its own and comes after it."""
    return (ShiftStep(100.0),)
