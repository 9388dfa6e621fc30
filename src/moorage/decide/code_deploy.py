"""What a CodeDeploy deployment of an ECS service does next. Pure: the deployment and what is known of its task sets in, the
moved deployment and the calls that bring it there out. Source: CodeDeploy user guide, "deployments on an ECS compute
platform".

| phase     | does                                                       | goes on when                            |
|-----------|------------------------------------------------------------|-----------------------------------------|
| install   | deletes what a stopped deployment left; makes the          | it is made                              |
|           | replacement task set at 100 %                              |                                         |
| settle    |                                                            | it is STEADY_STATE (within 60 minutes)  |
| test      | test listeners → replacement                               | at once                                 |
| ready     |                                                            | it was continued, or need not wait      |
| shift     | production listeners → the step's share                    | the step's time has passed              |
| promote   | the replacement is PRIMARY                                 | at once                                 |
| terminate |                                                            | its wait is over, or was continued      |
| clean     | deletes the original task set (unless it is to be kept)    | Succeeded                               |
| back      | all traffic → original, PRIMARY again, replacement deleted | Failed or Stopped                       |
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from moorage.domain.code_deployment import ENDED, CodeDeployment, LifecycleEvent, Phase, TrafficStep

SETTLE_AT_MOST = 3600.0
TIMED_OUT = (
    "The deployment timed out while waiting for the replacement task set to become healthy. This time out period is 60 "
    "minutes."
)
READY_TIMED_OUT = (
    "The deployment timed out because ContinueDeployment was not called in time. The deployment was stopped."
)
STOPPED_BY_USER = "The deployment was stopped by a user."
_LINEAR_1, _LINEAR_3 = 60.0, 180.0

CONFIGS: dict[str, tuple[TrafficStep, ...]] = {
    "CodeDeployDefault.ECSAllAtOnce": (TrafficStep(100.0, 0.0),),
    "CodeDeployDefault.ECSLinear10PercentEvery1Minutes": tuple(
        TrafficStep(10.0 * n, _LINEAR_1 if n < 10 else 0.0) for n in range(1, 11)
    ),
    "CodeDeployDefault.ECSLinear10PercentEvery3Minutes": tuple(
        TrafficStep(10.0 * n, _LINEAR_3 if n < 10 else 0.0) for n in range(1, 11)
    ),
    "CodeDeployDefault.ECSCanary10Percent5Minutes": (TrafficStep(10.0, 300.0), TrafficStep(100.0, 0.0)),
    "CodeDeployDefault.ECSCanary10Percent15Minutes": (TrafficStep(10.0, 900.0), TrafficStep(100.0, 0.0)),
}

# The lifecycle event that a phase stands for.
_EVENTS: dict[str, str] = {
    "install": "Install",
    "settle": "Install",
    "test": "AllowTestTraffic",
    "shift": "AllowTraffic",
    "promote": "AllowTraffic",
}


class Known(msgspec.Struct, frozen=True):
    """`green_steady`: the replacement's stabilityStatus is STEADY_STATE. `green_gone`, `blue_gone`: there is no such task
    set (any more). `service_gone`: the service is deleted, or CodeDeploy's no more. `others`: task sets that are neither:
    a deployment that was stopped where it was has left them."""

    green_steady: bool = False
    green_gone: bool = False
    blue_gone: bool = False
    service_gone: bool = False
    others: tuple[str, ...] = ()


class Action(msgspec.Struct, frozen=True):
    """One call to make; each may be repeated. `verb`: create | route | promote | delete."""

    verb: str
    task_set: str | None = None
    listeners: tuple[str, ...] = ()
    percent: float = 0.0


class Turn(msgspec.Struct, frozen=True):
    """`actions` first, then `after` is true. `again_after`: seconds until time alone moves it."""

    after: CodeDeployment
    actions: tuple[Action, ...] = ()
    said: str = ""
    again_after: float | None = None


def advance(one: CodeDeployment, known: Known, now: float) -> Turn:
    """One step."""
    if one.status in ENDED:
        return Turn(one, said=f"no action: the deployment has {one.status}")
    if known.service_gone:
        return Turn(_end(replace(one, error=("ECS_UPDATE_ERROR", "The service is gone.")), "Failed", now), said="ends")
    if one.stop is not None and one.phase not in ("back", "clean"):
        return _stop(one, now)
    match one.phase:
        case "install":
            # A target group that no rule names cannot be used: the replacement's gets no request yet.
            joined = Action("route", listeners=one.listeners, percent=0.0)
            # What was left may stand in the replacement's target group, and would be served beside it.
            left = (Action("delete", id) for id in known.others)
            return Turn(_to(one, "settle", now), (joined, *left, Action("create")), "makes the replacement task set")
        case "settle":
            return _settle(one, known, now)
        case "test":
            routes = (Action("route", listeners=one.test_listeners, percent=100.0),) if one.test_listeners else ()
            return Turn(_to(one, "ready", now), routes, "moves test traffic to the replacement")
        case "ready":
            return _ready(one, now)
        case "shift":
            return _shift(one, now)
        case "promote":
            return Turn(_to(one, "terminate", now), (Action("promote", one.green),), "makes the replacement PRIMARY")
        case "terminate":
            return _terminate(one, now)
        case "clean":
            ends = () if one.termination_wait is None or known.blue_gone else (Action("delete", one.blue),)
            return Turn(_end(one, "Succeeded", now), ends, "ends the original task set")
        case "back":
            return Turn(_end(one, "Stopped" if one.stop else "Failed", now), _way_back(one, known), "goes back")
    raise AssertionError(one.phase)


def _settle(one: CodeDeployment, known: Known, now: float) -> Turn:
    if known.green_steady:
        return Turn(_to(one, "test", now), said="the replacement is steady")
    if known.green_gone and one.green is not None:
        return _fail(one, "ECS_UPDATE_ERROR", "The replacement task set was deleted.", now)
    left = one.since + SETTLE_AT_MOST - now
    if left <= 0:
        return _fail(one, "TIMEOUT", TIMED_OUT, now)
    return Turn(one, said=f"waits for the replacement {one.green} to be STEADY_STATE", again_after=left)


def _ready(one: CodeDeployment, now: float) -> Turn:
    if one.ready_wait is None or "READY_WAIT" in one.continued:
        return Turn(replace(_to(one, "shift", now), status="InProgress"), said="traffic may move")
    left = one.since + one.ready_wait - now
    if left <= 0:
        return _stop(replace(one, stop="STOP", error=("TIMEOUT", READY_TIMED_OUT)), now)
    return Turn(replace(one, status="Ready"), said="Ready: waits for ContinueDeployment", again_after=left)


def _shift(one: CodeDeployment, now: float) -> Turn:
    """Shifts done so far: `step`. A step is entered, then its time passes."""
    if one.step > 0:
        left = one.since + one.steps[one.step - 1].wait - now
        if left > 0:
            return Turn(one, said=f"{one.percent:g} % of the traffic go to the replacement", again_after=left)
        if one.step == len(one.steps):
            return Turn(_to(one, "promote", now), said="all traffic goes to the replacement")
    step = one.steps[one.step]
    moved = replace(one, step=one.step + 1, percent=step.percent, since=now)
    return Turn(
        moved, (Action("route", listeners=one.listeners, percent=step.percent),), f"moves {step.percent:g} % of traffic"
    )


def _terminate(one: CodeDeployment, now: float) -> Turn:
    left = 0.0 if one.termination_wait is None else one.since + one.termination_wait - now
    if left > 0 and "TERMINATION_WAIT" not in one.continued:
        return Turn(one, said=f"the original task set ends in {left:.0f} s", again_after=left)
    return Turn(_to(one, "clean", now), said="the original task set may end")


def _stop(one: CodeDeployment, now: float) -> Turn:
    stopped = one if one.error is not None else replace(one, error=("MANUAL_STOP", STOPPED_BY_USER))
    if stopped.stop == "ROLLBACK" or stopped.roll_back:
        return Turn(_to(stopped, "back", now), said="goes back: it was stopped")
    return Turn(_end(stopped, "Stopped", now), said="stops where it is")


def _fail(one: CodeDeployment, code: str, message: str, now: float) -> Turn:
    failed = replace(one, error=(code, message))
    if one.roll_back:
        return Turn(_to(failed, "back", now), said=f"goes back: {message}")
    return Turn(_end(failed, "Failed", now), said=f"fails: {message}")


def failed(one: CodeDeployment, code: str, message: str, now: float) -> CodeDeployment:
    """After a call was refused: on the way back, or the end when even going back is refused."""
    if one.phase in ("back", "clean"):
        return _end(replace(one, error=(code, message)), "Failed", now)
    return _fail(one, code, message, now).after


def _way_back(one: CodeDeployment, known: Known) -> tuple[Action, ...]:
    actions = [Action("route", listeners=one.listeners, percent=0.0)] if one.step > 0 else []
    if one.test_listeners and one.phase != "install":
        actions.append(Action("route", listeners=one.test_listeners, percent=0.0))
    if not known.blue_gone and one.step > 0:
        actions.append(Action("promote", one.blue))
    if one.green is not None and not known.green_gone:
        actions.append(Action("delete", one.green))
    return tuple(actions)


# --- the record ------------------------------------------------------------------------------------------------------
def _to(one: CodeDeployment, phase: Phase, now: float) -> CodeDeployment:
    status: Any = "InProgress" if one.status in ("Created", "Ready") else one.status
    moved = replace(one, phase=phase, since=now, status=status, started_at=one.started_at or now)
    return replace(
        moved, events=_told(one.events, _EVENTS.get(phase), now, "Failed" if phase == "back" else "Succeeded")
    )


def _end(one: CodeDeployment, status: Any, now: float) -> CodeDeployment:
    told = _told(one.events, None, now, "Succeeded" if status == "Succeeded" else "Failed")
    return replace(one, phase="over", status=status, ended_at=now, events=told, since=now)


def _told(events: tuple[LifecycleEvent, ...], name: str | None, now: float, outcome: Any) -> tuple[LifecycleEvent, ...]:
    """The open event ends when another begins."""
    if events and events[-1].ended_at is None and events[-1].name != name:
        events = (*events[:-1], replace(events[-1], ended_at=now, status=outcome))
    if name is not None and not any(event.name == name for event in events):
        events = (*events, LifecycleEvent(name, now))
    return events
