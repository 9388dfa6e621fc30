"""A CodeDeploy deployment, phase by phase."""

from __future__ import annotations

from typing import Any

import pytest

from moorage.decide.code_deploy import CONFIGS, Action, Known, advance, failed
from moorage.domain.code_deployment import CodeDeployment, TrafficStep

NOW = 1000.0
HERE = Known()
"""The replacement is there and not steady yet."""


def a_deployment(**changes: Any) -> CodeDeployment:
    fields: dict[str, Any] = {
        "id": "d-1",
        "account": "1",
        "region": "r",
        "application": "app",
        "group": "group",
        "config": "x",
        "revision": {},
        "cluster_arn": "c",
        "service_arn": "s",
        "task_set": {},
        "blue": "blue",
        "blue_group": "tg-blue",
        "green_group": "tg-green",
        "listeners": ("prod",),
        "test_listeners": (),
        "steps": CONFIGS["CodeDeployDefault.ECSAllAtOnce"],
        "created_at": NOW,
        "since": NOW,
        "status": "InProgress",
        "green": "green",
    }
    return CodeDeployment(**(fields | changes))


def test_it_begins_with_a_replacement_that_gets_no_request() -> None:
    turn = advance(a_deployment(status="Created", green=None), HERE, NOW)
    assert turn.actions == (Action("route", listeners=("prod",), percent=0.0), Action("create"))
    assert (turn.after.phase, turn.after.status, turn.after.started_at) == ("settle", "InProgress", NOW)


def test_it_waits_for_the_replacement_but_not_for_ever() -> None:
    one = a_deployment(phase="settle")
    assert advance(one, HERE, NOW + 10).again_after == 3590
    assert advance(one, Known(green_steady=True), NOW).after.phase == "test"
    late = advance(one, HERE, NOW + 3600).after
    assert (late.phase, late.error and late.error[0]) == ("back", "TIMEOUT")
    assert advance(a_deployment(phase="settle", roll_back=False), HERE, NOW + 3600).after.status == "Failed"


def test_a_replacement_that_somebody_deletes_fails_it() -> None:
    assert advance(a_deployment(phase="settle"), Known(green_gone=True), NOW).after.phase == "back"


def test_test_traffic_first() -> None:
    turn = advance(a_deployment(phase="test", test_listeners=("t",)), HERE, NOW)
    assert turn.actions == (Action("route", listeners=("t",), percent=100.0),)
    assert advance(a_deployment(phase="test"), HERE, NOW).actions == ()


def test_ready_waits_only_when_it_was_asked_to() -> None:
    assert advance(a_deployment(phase="ready"), HERE, NOW).after.phase == "shift"
    waiting = a_deployment(phase="ready", ready_wait=60.0)
    assert advance(waiting, HERE, NOW + 1).after.status == "Ready"
    assert advance(a_deployment(phase="ready", ready_wait=60.0, continued=("READY_WAIT",)), HERE, NOW).after.phase == (
        "shift"
    )
    over = advance(waiting, HERE, NOW + 60).after
    assert (over.phase, over.stop, over.error and over.error[0]) == ("back", "STOP", "TIMEOUT")


@pytest.mark.parametrize("config", CONFIGS)
def test_every_configuration_ends_with_everything_and_never_goes_back(config: str) -> None:
    steps = CONFIGS[config]
    shares = [step.percent for step in steps]
    assert shares == sorted(shares)
    assert (shares[-1], steps[-1].wait) == (100.0, 0.0)


def test_steps_take_their_time() -> None:
    one = a_deployment(phase="shift", steps=(TrafficStep(10, 300), TrafficStep(100, 0)))
    first = advance(one, HERE, NOW)
    assert first.actions == (Action("route", listeners=("prod",), percent=10),)
    waiting = advance(first.after, HERE, NOW + 100)
    assert (waiting.after, waiting.actions, waiting.again_after) == (first.after, (), 200)
    second = advance(first.after, HERE, NOW + 300)
    assert second.actions[0].percent == 100
    assert advance(second.after, HERE, NOW + 300).after.phase == "promote"


def test_the_original_ends_after_its_time_or_is_kept() -> None:
    one = a_deployment(phase="terminate", termination_wait=300.0)
    assert advance(one, HERE, NOW + 100).again_after == 200
    assert advance(one, HERE, NOW + 300).after.phase == "clean"
    done = advance(a_deployment(phase="clean"), HERE, NOW)
    assert (done.actions, done.after.status) == ((Action("delete", "blue"),), "Succeeded")
    assert advance(a_deployment(phase="clean", termination_wait=None), HERE, NOW).actions == ()


def test_the_way_back_undoes_what_was_done_and_nothing_else() -> None:
    early = a_deployment(phase="back")
    assert advance(early, HERE, NOW).actions == (Action("delete", "green"),)
    late = a_deployment(phase="back", step=1, test_listeners=("t",))
    assert advance(late, HERE, NOW).actions == (
        Action("route", listeners=("prod",), percent=0.0),
        Action("route", listeners=("t",), percent=0.0),
        Action("promote", "blue"),
        Action("delete", "green"),
    )
    assert advance(late, HERE, NOW).after.status == "Failed"


@pytest.mark.parametrize(
    ("stop", "roll_back", "phase"), [("STOP", False, "over"), ("STOP", True, "back"), ("ROLLBACK", False, "back")]
)
def test_stopping(stop: Any, roll_back: bool, phase: str) -> None:
    after = advance(a_deployment(phase="shift", stop=stop, roll_back=roll_back), HERE, NOW).after
    assert after.phase == phase
    assert after.error == ("MANUAL_STOP", "The deployment was stopped by a user.")


def test_a_refused_call_goes_back_and_on_the_way_back_it_ends() -> None:
    assert failed(a_deployment(phase="shift"), "ALB_ERROR", "x", NOW).phase == "back"
    assert failed(a_deployment(phase="back"), "ALB_ERROR", "x", NOW).status == "Failed"


def test_without_its_service_it_is_over() -> None:
    assert advance(a_deployment(phase="shift"), Known(service_gone=True), NOW).after.status == "Failed"


def test_what_is_over_stays_so() -> None:
    one = a_deployment(phase="over", status="Succeeded")
    assert advance(one, HERE, NOW).after is one
