"""Deployments of AWS CodeDeploy for ECS services of the controller CODE_DEPLOY: a replacement task set beside the original
one, traffic moved between their target groups, the original ended. Source: the CodeDeploy service model and user guide.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Json = dict[str, Any]
Phase = Literal["install", "settle", "test", "ready", "shift", "promote", "terminate", "clean", "back", "over"]
ENDED = ("Succeeded", "Failed", "Stopped")


class TrafficStep(msgspec.Struct, frozen=True):
    """`percent` of the production traffic goes to the replacement; then `wait` seconds pass."""

    percent: float
    wait: float


class LifecycleEvent(msgspec.Struct, frozen=True):
    name: str
    started_at: float
    ended_at: float | None = None
    status: Literal["InProgress", "Succeeded", "Failed", "Skipped"] = "InProgress"


class CodeDeployment(msgspec.Struct, frozen=True):
    """`task_set`: the CreateTaskSet parameters that the AppSpec asks for. `blue`, `green`: ids of the original and of the
    replacement task set; `blue_group`, `green_group`: ARNs of their target groups. `steps`: how production traffic moves.
    `ready_wait`: seconds to wait for ContinueDeployment before it moves (None: at once). `termination_wait`: seconds until
    the original ends (None: it is kept). `continued`: what ContinueDeployment has ended (READY_WAIT, TERMINATION_WAIT).
    `stop`: what StopDeployment asked for. `shown`: what the API repeats of the deployment group."""

    id: str
    account: str
    region: str
    application: str
    group: str
    config: str
    revision: Json
    cluster_arn: str
    service_arn: str
    task_set: Json
    blue: str
    blue_group: str
    green_group: str
    listeners: tuple[str, ...]
    test_listeners: tuple[str, ...]
    steps: tuple[TrafficStep, ...]
    created_at: float
    since: float
    ready_wait: float | None = None
    termination_wait: float | None = 0.0
    roll_back: bool = True
    description: str = ""
    status: Literal["Created", "InProgress", "Ready", "Succeeded", "Failed", "Stopped"] = "Created"
    phase: Phase = "install"
    step: int = 0
    percent: float = 0.0
    green: str | None = None
    continued: tuple[str, ...] = ()
    stop: Literal["STOP", "ROLLBACK"] | None = None
    error: tuple[str, str] | None = None
    events: tuple[LifecycleEvent, ...] = ()
    started_at: float | None = None
    ended_at: float | None = None
    shown: Json = {}
