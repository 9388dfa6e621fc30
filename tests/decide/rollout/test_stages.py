"""The stage machine, move by move; and the hooks that hold it."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from moorage.decide.rollout import hooks, stages
from moorage.decide.rollout.hooks import HookAnswer
from moorage.decide.rollout.stages import Facts, advance
from moorage.domain.service import Canary, DeploymentConfiguration, Hook, HookTimeout, Linear, Shift

NOW = 1000.0
UP = Facts(desired=2, green_healthy=2, blue_healthy=2)
FUNCTION = Hook(hook_target_arn="arn:function", role_arn="arn:role", lifecycle_stages=("PRE_SCALE_UP",))
PAUSE = Hook(target_type="PAUSE", lifecycle_stages=("POST_SCALE_UP",))


def a_shift(strategy: str = "BLUE_GREEN", *, stage: str = "PRE_SCALE_UP", **changes: Any) -> Shift:
    configuration = DeploymentConfiguration(
        strategy=strategy, bake_time_minutes=5, canary=Canary(10, 3), linear=Linear(50, 2)
    )  # type: ignore[arg-type]
    fields: dict[str, Any] = {"green": "ecs-svc/2", "blue": "ecs-svc/1", "configuration": configuration}
    return Shift(service_deployment_arn="sd", stage=stage, since=NOW, **(fields | changes))


def walk(shift: Shift, facts: Facts = UP) -> list[tuple[str, float, float]]:
    """Lets time pass until the clean-up; (stage, percent, seconds in it) of every stage that was entered."""
    seen: list[tuple[str, float, float]] = []
    now, entered = NOW, NOW
    for _ in range(200):
        turn = advance(shift, facts, now, "7")
        if turn.shift.stage != shift.stage or (shift.entered and not turn.shift.entered):
            seen.append((shift.stage, shift.percent, now - entered))
        if turn.shift.entered and not shift.entered:
            entered = now
        shift = turn.shift
        if shift.stage == "CLEAN_UP" and shift.entered:
            return [*seen, ("CLEAN_UP", shift.percent, 0.0)]
        assert turn.again_after is not None, f"nothing would ever move in {shift.stage}"
        now += turn.again_after
    raise AssertionError(seen)


def test_blue_green() -> None:
    assert walk(a_shift()) == [
        ("PRE_SCALE_UP", 0, 0),
        ("SCALE_UP", 0, 0),
        ("POST_SCALE_UP", 0, 0),
        ("TEST_TRAFFIC_SHIFT", 0, stages.SETTLES),
        ("POST_TEST_TRAFFIC_SHIFT", 0, 0),
        ("PRE_PRODUCTION_TRAFFIC_SHIFT", 0, 0),
        ("PRODUCTION_TRAFFIC_SHIFT", 100, stages.SETTLES),
        ("POST_PRODUCTION_TRAFFIC_SHIFT", 100, 0),
        ("BAKE_TIME", 100, 300),
        ("CLEAN_UP", 100, 0),
    ]


@pytest.mark.parametrize(("strategy", "first", "bake"), [("LINEAR", 50, 120), ("CANARY", 10, 180)])
def test_steps_have_their_stage_before_and_their_bake_time_but_not_after_the_last(
    strategy: str, first: float, bake: float
) -> None:
    shifts = [row for row in walk(a_shift(strategy)) if "PRODUCTION" in row[0]]
    assert shifts == [
        ("PRE_PRODUCTION_TRAFFIC_SHIFT", 0, 0),
        ("PRODUCTION_TRAFFIC_SHIFT", first, bake),
        ("PRE_PRODUCTION_TRAFFIC_SHIFT", first, 0),
        ("PRODUCTION_TRAFFIC_SHIFT", 100, stages.SETTLES),
        ("POST_PRODUCTION_TRAFFIC_SHIFT", 100, 0),
    ]


def test_a_first_deployment_only_scales_up() -> None:
    assert [row[0] for row in walk(a_shift(blue=None))] == ["PRE_SCALE_UP", "SCALE_UP", "POST_SCALE_UP", "CLEAN_UP"]


@pytest.mark.parametrize(
    ("percent", "test_percent", "way"),
    [
        (0, 0, ["CLEAN_UP"]),
        (0, 100, ["TEST_TRAFFIC_SHIFT", "CLEAN_UP"]),
        (10, 100, ["PRODUCTION_TRAFFIC_SHIFT", "TEST_TRAFFIC_SHIFT", "CLEAN_UP"]),
    ],
)
def test_the_way_back_undoes_what_was_done(percent: float, test_percent: float, way: list[str]) -> None:
    shift = a_shift("CANARY", stage="BAKE_TIME", percent=percent, test_percent=test_percent, entered=True)
    back = stages.turn_back(shift, "because", NOW).shift
    assert [row[0] for row in walk(back, replace(UP, green_healthy=0))] == way
    writes = []
    while not (back.stage == "CLEAN_UP" and back.entered):
        turn = advance(back, UP, NOW + 10 * len(writes), "7")
        writes.append((turn.production, turn.test))
        back = turn.shift
    assert all(one in (None, 0) for pair in writes for one in pair)


@pytest.mark.parametrize("stage", ["SCALE_UP", "PRE_PRODUCTION_TRAFFIC_SHIFT", "BAKE_TIME"])
def test_nothing_moves_while_green_is_not_all_healthy(stage: str) -> None:
    shift = a_shift(stage=stage, entered=True)
    turn = advance(shift, replace(UP, green_healthy=1), NOW + 3600, "7")
    assert turn.shift == shift
    assert "1 of 2 tasks" in turn.said


def test_others_go_before_anything_begins() -> None:
    shift = a_shift(stage="RECONCILE_SERVICE")
    entered = advance(shift, replace(UP, others=2), NOW, "7")
    assert (entered.production, entered.test) == (0, 0)
    assert advance(entered.shift, replace(UP, others=2), NOW + 60, "7").shift == entered.shift
    assert advance(entered.shift, UP, NOW + 60, "7").shift.stage == "PRE_SCALE_UP"


def test_a_stage_that_takes_a_day_turns_back() -> None:
    turn = advance(a_shift(stage="SCALE_UP", entered=True), replace(UP, green_healthy=0), NOW + 24 * 3600 + 1, "7")
    assert turn.failed == "Service deployment rolled back because the SCALE_UP stage took longer than 24 hours."


def test_rules_that_do_not_fit_turn_back_before_anything_is_started() -> None:
    turn = advance(a_shift(), replace(UP, problem="no"), NOW, "7")
    assert (turn.failed, turn.shift.direction, turn.shift.stage) == ("no", "back", "CLEAN_UP")


def test_without_a_blue_there_is_nowhere_to_go() -> None:
    turn = stages.turn_back(a_shift(blue=None), "because", NOW)
    assert (turn.failed, turn.shift.direction) == ("because", "halted")
    assert advance(turn.shift, UP, NOW + 9999, "7").shift == turn.shift


def with_hook(hook: Hook, stage: str) -> Shift:
    shift = a_shift(stage=stage)
    shift = replace(shift, configuration=replace(shift.configuration, hooks=(hook,)))
    return advance(shift, UP, NOW, "7").shift


@pytest.mark.parametrize(
    ("answer", "status", "again"),
    [
        (HookAnswer("SUCCEEDED"), "SUCCEEDED", None),
        (HookAnswer("FAILED"), "FAILED", None),
        (HookAnswer("IN_PROGRESS"), "IN_PROGRESS", NOW + 30),
        (HookAnswer("IN_PROGRESS", callback_delay=7), "IN_PROGRESS", NOW + 7),
        (HookAnswer(None), "FAILED", None),
        (HookAnswer("what"), "FAILED", None),
        (HookAnswer(failed=True), "IN_PROGRESS", NOW + 30),
    ],
)
def test_what_a_function_said(answer: HookAnswer, status: str, again: float | None) -> None:
    [run] = with_hook(FUNCTION, "PRE_SCALE_UP").hooks
    after = hooks.answered(run, answer, NOW)
    assert (after.status, after.again_at, after.execution_id) == (status, again, run.execution_id)


def test_a_function_that_never_answers_has_failed_at_the_third_time() -> None:
    [run] = with_hook(FUNCTION, "PRE_SCALE_UP").hooks
    for status in ("IN_PROGRESS", "IN_PROGRESS", "FAILED"):
        run = hooks.answered(run, HookAnswer(failed=True), NOW)
        assert run.status == status


def test_details_are_merged_into_the_next_call() -> None:
    [run] = with_hook(replace(FUNCTION, hook_details={"a": 1, "b": 1}), "PRE_SCALE_UP").hooks
    assert hooks.answered(run, HookAnswer("IN_PROGRESS", details={"b": 2}), NOW).details == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (HookAnswer("FAILED"), "Lifecycle hook target arn:function returned FAILED status."),
        (HookAnswer(None), "parse the response from arn:function due to HookStatus must not be null"),
    ],
)
def test_a_failed_hook_turns_the_deployment_back(answer: HookAnswer, words: str) -> None:
    shift = with_hook(FUNCTION, "PRE_SCALE_UP")
    failed = replace(shift, hooks=(hooks.answered(shift.hooks[0], answer, NOW),))
    reason = advance(failed, UP, NOW, "7").failed
    assert reason is not None
    assert reason.startswith("Service deployment rolled back because PRE_SCALE_UP lifecycle hook(s) failed.")
    assert words in reason


@pytest.mark.parametrize(("action", "stage"), [("ROLLBACK", "CLEAN_UP"), ("CONTINUE", "TEST_TRAFFIC_SHIFT")])
def test_a_pause_that_nobody_ends(action: str, stage: str) -> None:
    shift = with_hook(replace(PAUSE, timeout_configuration=HookTimeout(60, action)), "POST_SCALE_UP")
    assert shift.hooks[0].hook_id == "ecs-pause-70"
    waiting = advance(shift, UP, NOW + 3599, "7")
    assert (waiting.shift, waiting.again_after) == (shift, 1)
    assert advance(shift, UP, NOW + 3600, "7").shift.stage == stage


def test_a_pause_may_last_longer_than_a_day() -> None:
    shift = with_hook(replace(PAUSE, timeout_configuration=HookTimeout(20160, "ROLLBACK")), "POST_SCALE_UP")
    assert advance(shift, UP, NOW + 10 * 24 * 3600, "7").shift == shift


def test_on_the_way_back_only_functions_of_the_shifts_are_called() -> None:
    both = (replace(FUNCTION, lifecycle_stages=("PRODUCTION_TRAFFIC_SHIFT", "PRE_SCALE_UP")), PAUSE)
    assert len(hooks.begin(both, "PRODUCTION_TRAFFIC_SHIFT", NOW, "7", back=True)) == 1
    for stage in ("PRE_SCALE_UP", "POST_SCALE_UP"):
        assert hooks.begin(both, stage, NOW, "7", back=True) == ()


def test_thirty_days_are_enough() -> None:
    day = 24 * 3600.0
    pause = replace(PAUSE, timeout_configuration=HookTimeout(20_160))
    shift = a_shift(stage="POST_SCALE_UP", began=NOW)
    shift = replace(shift, configuration=replace(shift.configuration, hooks=(pause,)))
    begun = advance(shift, UP, NOW + 20 * day, "7").shift
    waiting = advance(begun, UP, NOW + 20 * day, "7")
    assert waiting.again_after == 10 * day + 1
    turned = advance(begun, UP, NOW + 30 * day + 1, "7")
    assert turned.failed == "Service deployment rolled back because it took longer than 30 days."
