"""The stages of a blue/green, linear or canary deployment as a pure machine (semantics ecs-services §5.2).

`advance(shift, facts, now)` makes at most one move: it enters the stage, waits in it, leaves it, or turns back. A move is
a value: the machine as it should be written and the share of traffic that green should get. Which tasks run in which
stage is decided in `decide/shifting.py`; nothing here knows tasks, rules or functions.

Forward, with a blue to shift from:

    RECONCILE_SERVICE  only when something else than blue still runs: traffic returns to blue, the rest goes
    PRE_SCALE_UP → SCALE_UP (all of green healthy) → POST_SCALE_UP
    TEST_TRAFFIC_SHIFT → POST_TEST_TRAFFIC_SHIFT
    PRE_PRODUCTION_TRAFFIC_SHIFT → PRODUCTION_TRAFFIC_SHIFT → its bake time, for every step
    POST_PRODUCTION_TRAFFIC_SHIFT → BAKE_TIME → CLEAN_UP (blue goes)

The first deployment has nothing to shift from: PRE_SCALE_UP → SCALE_UP → POST_SCALE_UP → CLEAN_UP. The way back undoes
what was done, in reverse: PRODUCTION_TRAFFIC_SHIFT, TEST_TRAFFIC_SHIFT, CLEAN_UP (green goes).
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from moorage.decide.rollout import hooks, traffic_shift
from moorage.domain import sentences
from moorage.domain.service import Shift

SETTLES = 5.0
"""Seconds until every request follows new weights. Tasks are never stopped before that."""
LONGEST_STAGE = 24 * 3600.0
LONGEST_DEPLOYMENT = 30 * 24 * 3600.0

_FORWARD = (
    "RECONCILE_SERVICE",
    "PRE_SCALE_UP",
    "SCALE_UP",
    "POST_SCALE_UP",
    "TEST_TRAFFIC_SHIFT",
    "POST_TEST_TRAFFIC_SHIFT",
    "PRE_PRODUCTION_TRAFFIC_SHIFT",
    "PRODUCTION_TRAFFIC_SHIFT",
    "POST_PRODUCTION_TRAFFIC_SHIFT",
    "BAKE_TIME",
    "CLEAN_UP",
)
_FIRST = ("PRE_SCALE_UP", "SCALE_UP", "POST_SCALE_UP", "CLEAN_UP")


class Facts(msgspec.Struct, frozen=True):
    """What the machine looks at. `green_healthy`, `blue_healthy`: tasks that count as healthy. `others`: tasks, of
    neither, that have not stopped. `problem`: why traffic cannot be shifted. `routed`: there are rules to shift."""

    desired: int
    green_healthy: int
    blue_healthy: int
    others: int = 0
    problem: str | None = None
    routed: bool = True


class Turn(msgspec.Struct, frozen=True):
    """One move. `production`/`test`: the share of green to be written on the rules now; None: leave them. `failed`: why
    the deployment turns back with this move. `again_after`: seconds until time alone changes something."""

    shift: Shift
    production: float | None = None
    test: float | None = None
    failed: str | None = None
    again_after: float | None = None
    said: str = ""


def advance(shift: Shift, facts: Facts, now: float, number: str) -> Turn:
    """`number`: digits for the hooks that may begin now."""
    if shift.direction == "halted" or (shift.stage == "CLEAN_UP" and shift.entered):
        return Turn(shift, said=f"is in {shift.stage}" if shift.direction != "halted" else "is halted")
    if not shift.entered:
        if shift.direction == "forward" and shift.stage == "PRE_SCALE_UP" and shift.blue and facts.problem:
            return turn_back(shift, facts.problem, now)
        return _enter(shift, now, number)
    shift = replace(shift, hooks=hooks.timed_out(shift.hooks, now))
    if shift.direction == "forward" and (reason := _failure(shift, now)) is not None:
        return turn_back(shift, reason, now)
    if (waits := _waits(shift, facts, now)) is not None:
        what, left = waits
        if left is not None and shift.began:
            left = min(left, max(0.0, shift.began + LONGEST_DEPLOYMENT - now) + 1.0)
        return Turn(shift, again_after=left, said=f"waits in {shift.stage}: {what}")
    return _leave(shift, now)


def turn_back(shift: Shift, reason: str, now: float) -> Turn:
    """Everything that was done is undone. Without a blue there is nowhere to go: the deployment halts."""
    if shift.blue is None:
        return Turn(halt(shift), failed=reason, said=f"fails: {reason}")
    shift = replace(shift, direction="back", failure=reason)
    return Turn(_at(shift, _next_back(shift, None), now), failed=reason, again_after=0.0, said=f"turns back: {reason}")


def halt(shift: Shift) -> Shift:
    """Nothing moves any more, traffic and tasks stay as they are."""
    return replace(shift, direction="halted", hooks=())


def first_stage(*, blue: bool, others: bool) -> str:
    return "RECONCILE_SERVICE" if blue and others else "PRE_SCALE_UP"


def settled(shift: Shift, now: float) -> bool:
    return shift.entered and now - shift.since >= SETTLES


def _enter(shift: Shift, now: float, number: str) -> Turn:
    back = shift.direction == "back"
    begun = hooks.begin(shift.configuration.hooks, shift.stage, now, number, back=back)
    shift = replace(shift, entered=True, since=now, hooks=begun)
    production: float | None = None
    test: float | None = None
    match shift.stage:
        case "RECONCILE_SERVICE":
            production = test = 0.0
        case "TEST_TRAFFIC_SHIFT":
            test = 0.0 if back else 100.0
            shift = replace(shift, test_percent=test)
        case "PRODUCTION_TRAFFIC_SHIFT":
            production = 0.0 if back else traffic_shift.steps(shift.configuration)[shift.step].percent
            shift = replace(shift, percent=production)
    return Turn(shift, production, test, again_after=0.0, said=f"enters {shift.stage}")


def _failure(shift: Shift, now: float) -> str | None:
    """Why the stage has failed. A pause lasts as long as it may, a bake time as long as it was set to."""
    reason = hooks.failure(shift.hooks)
    if reason is not None:
        return reason
    paused = any(run.hook.target_type == "PAUSE" for run in shift.hooks)
    baking = shift.stage in ("BAKE_TIME", "PRODUCTION_TRAFFIC_SHIFT")
    if now - shift.since > LONGEST_STAGE and not paused and not baking:
        return sentences.stage_timed_out(shift.stage)
    if shift.began and now - shift.began > LONGEST_DEPLOYMENT:
        return sentences.DEPLOYMENT_TIMED_OUT
    return None


def _waits(shift: Shift, facts: Facts, now: float) -> tuple[str, float | None] | None:
    """What must still happen in this stage, and the seconds until time alone may do it."""
    if (hook := hooks.pending(shift.hooks, now)) is not None:
        return hook
    age = now - shift.since
    settling = SETTLES - age if facts.routed else 0.0
    green_is_up = facts.green_healthy >= facts.desired
    not_up = f"{facts.green_healthy} of {facts.desired} tasks of the new revision are healthy"
    match shift.stage:
        case "RECONCILE_SERVICE":
            if settling > 0:
                return "traffic returns to the old revision", settling
            if facts.others:
                return f"{facts.others} tasks of interrupted deployments are stopping", None
        case "SCALE_UP" | "PRE_PRODUCTION_TRAFFIC_SHIFT":
            if not green_is_up:
                return not_up, LONGEST_STAGE - age + 1
        case "TEST_TRAFFIC_SHIFT":
            if settling > 0:
                return "traffic follows the new weights", settling
        case "PRODUCTION_TRAFFIC_SHIFT":
            step = traffic_shift.steps(shift.configuration)[shift.step]
            bake = step.bake - age if shift.direction == "forward" else 0.0
            if (rest := max(settling, bake)) > 0:
                return f"{shift.percent:g} % go to the new revision for {rest:.0f} s more", rest
        case "BAKE_TIME":
            left = (shift.configuration.bake_time_minutes or 0) * 60.0 - age
            if left > 0:
                return f"both revisions run for {left:.0f} s more", left
            if not green_is_up:
                return not_up, None
    return None


def _leave(shift: Shift, now: float) -> Turn:
    if shift.direction == "back":
        to = _next_back(shift, shift.stage)
    elif shift.blue is None:
        to = _FIRST[_FIRST.index(shift.stage) + 1]
    elif shift.stage == "PRODUCTION_TRAFFIC_SHIFT" and shift.step + 1 < len(traffic_shift.steps(shift.configuration)):
        to, shift = "PRE_PRODUCTION_TRAFFIC_SHIFT", replace(shift, step=shift.step + 1)
    else:
        to = _FORWARD[_FORWARD.index(shift.stage) + 1]
    return Turn(_at(shift, to, now), again_after=0.0, said=f"leaves {shift.stage}")


def _next_back(shift: Shift, after: str | None) -> str:
    if after is None and shift.percent > 0:
        return "PRODUCTION_TRAFFIC_SHIFT"
    if after != "TEST_TRAFFIC_SHIFT" and shift.test_percent > 0:
        return "TEST_TRAFFIC_SHIFT"
    return "CLEAN_UP"


def _at(shift: Shift, stage: str, now: float) -> Shift:
    return replace(shift, stage=stage, since=now, entered=False, hooks=())
