"""Lifecycle hooks of a stage: which ones begin, what an answer means, which one fails the stage (semantics
ecs-services §5.4). Calls nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from moorage.domain import sentences
from moorage.domain.service import Hook, HookRun, HookTimeout

CALLBACK_DELAY = 30.0
MOST_ATTEMPTS = 3
SHIFTS = ("TEST_TRAFFIC_SHIFT", "PRODUCTION_TRAFFIC_SHIFT")


class HookAnswer(msgspec.Struct, frozen=True):
    """What a function said: `status` SUCCEEDED | FAILED | IN_PROGRESS, None for an answer without one. `failed`: it gave
    no answer at all (function error, time-out): it is asked again."""

    status: str | None = None
    callback_delay: float | None = None
    details: Any = None
    failed: bool = False


def begin(hooks: Sequence[Hook], stage: str, now: float, number: str, *, back: bool = False) -> tuple[HookRun, ...]:
    """The hooks of a stage as it is entered. On the way back only functions are called, and only where traffic moves.
    `number`: digits that nobody else has."""
    mine = [h for h in hooks if stage in h.lifecycle_stages]
    if back:
        mine = [h for h in mine if h.target_type == "AWS_LAMBDA" and stage in SHIFTS]
    return tuple(_begin(hook, stage, now, f"{number}{index}") for index, hook in enumerate(mine))


def _begin(hook: Hook, stage: str, now: float, number: str) -> HookRun:
    if hook.target_type == "PAUSE":
        minutes = (hook.timeout_configuration or HookTimeout()).timeout_in_minutes
        return HookRun(f"ecs-pause-{number}", hook, stage, number, "AWAITING_ACTION", expires_at=now + 60.0 * minutes)
    return HookRun(f"ecs-lambda-{number}", hook, stage, number, "IN_PROGRESS", again_at=now, details=hook.hook_details)


def answered(run: HookRun, answer: HookAnswer, now: float) -> HookRun:
    """The run after its function was asked once more."""
    if answer.failed:
        attempts = run.attempts + 1
        if attempts >= MOST_ATTEMPTS:
            return replace(run, status="FAILED", again_at=None, attempts=attempts)
        return replace(run, again_at=now + CALLBACK_DELAY, attempts=attempts)
    match answer.status:
        case "SUCCEEDED":
            return replace(run, status="SUCCEEDED", again_at=None)
        case "IN_PROGRESS":
            delay = CALLBACK_DELAY if answer.callback_delay is None else max(1.0, answer.callback_delay)
            return replace(run, again_at=now + delay, attempts=0, details=_merged(run.details, answer.details))
        case None:
            return replace(run, status="FAILED", again_at=None, details=UNREADABLE)
        case _:
            return replace(run, status="FAILED", again_at=None)


UNREADABLE = "HookStatus must not be null"


def _merged(before: Any, more: Any) -> Any:
    """What the function returned is merged into what the next call gets."""
    if isinstance(before, dict) and isinstance(more, dict):
        return before | more
    return before if more is None else more


def timed_out(runs: Sequence[HookRun], now: float) -> tuple[HookRun, ...]:
    """The same runs; pauses that nobody ended in time are TIMED_OUT."""
    return tuple(
        replace(run, status="TIMED_OUT")
        if run.status == "AWAITING_ACTION" and run.expires_at is not None and run.expires_at <= now
        else run
        for run in runs
    )


def timeout_action(run: HookRun) -> str:
    return (run.hook.timeout_configuration or HookTimeout()).action


def failure(runs: Sequence[HookRun]) -> str | None:
    """Why the stage has failed, in AWS's words; None: it has not."""
    for run in runs:
        if run.status == "FAILED" and run.hook.target_type == "PAUSE":
            return sentences.pause_refused(run.stage)
        if run.status == "FAILED" and run.details == UNREADABLE:
            return sentences.hook_unreadable(run.stage, run.hook.hook_target_arn)
        if run.status == "FAILED":
            return sentences.hook_failed(run.stage, run.hook.hook_target_arn)
        if run.status == "TIMED_OUT" and timeout_action(run) == "ROLLBACK":
            return sentences.pause_timed_out(run.stage)
    return None


def pending(runs: Sequence[HookRun], now: float) -> tuple[str, float | None] | None:
    """What the stage waits for and for how many seconds at most; None: for no hook."""
    for run in runs:
        if run.status == "AWAITING_ACTION":
            return f"{run.hook_id} waits for ContinueServiceDeployment", (run.expires_at or now) - now
        if run.status == "IN_PROGRESS":
            left = max(0.0, (run.again_at or now) - now)
            return f"the hook {run.hook.hook_target_arn} is in progress", left or None
    return None
