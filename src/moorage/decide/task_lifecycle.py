"""What a task does next: the life cycle of an ECS task as a pure function (semantics ecs-tasks §2–§5).

`decide_task(task, document, targets, now)` answers with the next status, if one is due, and with the steps that should
be under way. It is asked again after every observation, so it never needs to remember what it said: a step that is
already under way is simply named again. It starts nothing and reads no clock.

    PROVISIONING ─ address ─► PENDING ─ sandbox, images ─► ACTIVATING ─ containers ─► RUNNING
         └──────────────────────── failure or stop, at any point ───────────────────────┐
    STOPPED ◄─ sandbox gone ─ DEPROVISIONING ◄─ all stopped ─ STOPPING ◄─ drained ─ DEACTIVATING
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from moorage.decide.firelens import router_of, uses_firelens
from moorage.domain import sentences
from moorage.domain.task import Container, LastStatus, StopCode, Task
from moorage.domain.task_definition import ContainerDefinition, Dependency, Document

# Seconds between the stop signal and SIGKILL when the definition does not say (ecs-tasks §5).
STOP_TIMEOUT = 30.0
# Seconds between the warning of Fargate Spot and the end of the task.
SPOT_WARNING = 120.0
# Seconds that a container must have run before its restart policy applies, when the policy does not say (ecs-tasks §6).
RESTART_ATTEMPT_PERIOD = 300.0


class Step(msgspec.Struct, frozen=True):
    """Something that should be under way. `container` is a name, for the verbs that concern one container.

    allocate: give the task its address · sandbox: start the shared namespace · pull / launch (create and start) / stop:
    one container · deregister: take the task out of its target groups (the transition to RUNNING put it there) · release:
    remove containers, sandbox and address."""

    verb: Literal["allocate", "sandbox", "pull", "launch", "stop", "deregister", "release"]
    container: str | None = None


class Failure(msgspec.Struct, frozen=True):
    """The task cannot go on: its desired status becomes STOPPED with this code and reason."""

    stop_code: StopCode
    reason: str


class TaskPlan(msgspec.Struct, frozen=True):
    """`enter`: the status to write now (the steps belong to the status after that). `said`: why, in one sentence.
    `again_after`: seconds until time alone may change the answer."""

    said: str
    enter: LastStatus | None = None
    failure: Failure | None = None
    steps: tuple[Step, ...] = ()
    again_after: float | None = None


def decide_task(task: Task, document: Document, draining: int, now: float) -> TaskPlan:
    """`draining`: how many of the task's targets are still registered or draining in their target groups."""
    if task.last_status == "STOPPED":
        return TaskPlan("no action: the task has stopped")
    if task.desired_status == "STOPPED":
        return _wind_down(task, document, draining)
    failure = _failure(task, document, now)
    if failure is not None:
        return TaskPlan(f"stops: {failure.reason}", failure=failure)
    return _start_up(task, document, now)


def is_settled(task: Task) -> bool:
    """Runs as it should, whatever the time: `decide_task` has nothing to do until the record changes."""
    return (
        task.last_status == "RUNNING"
        and task.desired_status == "RUNNING"
        and all(container.known == "RUNNING" for container in task.containers)
    )


# --- up --------------------------------------------------------------------------------------------------------------
def _start_up(task: Task, document: Document, now: float) -> TaskPlan:
    if task.last_status == "PROVISIONING":
        if task.waiting is not None:
            return TaskPlan(f"waits for an instance of the capacity provider {task.capacity_provider}")
        if task.interface is not None and task.interface.ipv4 is None:
            return TaskPlan("waits for an address in its subnet", steps=(Step("allocate"),))
        return TaskPlan("has its network", enter="PENDING")
    if task.last_status == "RUNNING":
        starts = _launchable(task, document)[0]
        doing = f"starts {_containers(starts)} again" if starts else "no action: runs as it should"
        return TaskPlan(doing, steps=starts)

    steps = [] if task.sandbox_id else [Step("sandbox")]
    steps += [Step("pull", c.name) for c in task.containers if c.known == "NONE"]
    if task.last_status == "PENDING":
        if steps:
            return TaskPlan(f"waits for {_names(steps)}", steps=tuple(steps))
        return TaskPlan("has its images and its namespace", enter="ACTIVATING")

    # RUNNING, or already stopped again: that only matters when it is essential (ecs-tasks §2).
    if all(c.known in ("RUNNING", "STOPPED") for c in task.containers):
        return TaskPlan("all containers have started", enter="RUNNING")
    launches, waits, again = _launchable(task, document, now)
    if launches:
        return TaskPlan(f"starts {_containers(launches)}", steps=launches, again_after=again)
    return TaskPlan(waits or "waits for its containers", again_after=again)


def _launchable(
    task: Task, document: Document, now: float | None = None
) -> tuple[tuple[Step, ...], str | None, float | None]:
    """The containers whose images are there and whose dependencies are met, why the first other one waits, and when
    a start timeout may end that."""
    launches: list[Step] = []
    waits: str | None = None
    again: float | None = None
    for container in task.containers:
        if container.known not in ("PULLED", "CREATED"):
            continue
        unmet = next((d for d in _dependencies(document, container.name) if not _met(task, d)), None)
        # Dependencies order the start of the task; a container that is started again does not wait for them.
        if unmet is None or container.restarts:
            launches.append(Step("launch", container.name))
            continue
        waits = waits or f"container {container.name} waits for {unmet.container_name} to be {unmet.condition}"
        deadline = _deadline(task, document, unmet)
        if deadline is not None and now is not None:
            again = min(deadline - now, again if again is not None else deadline - now)
    return tuple(launches), waits, again


def _dependencies(document: Document, name: str) -> tuple[Dependency, ...]:
    """dependsOn, plus the implicit START dependencies of links and volumesFrom, and of whoever writes to the task's log
    router, which therefore starts first and stops last (ecs-task-definitions §5, ecs-tasks §20)."""
    definition = document.container(name)
    if definition is None:
        return ()
    named = tuple(link.split(":")[0] for link in definition.links or ())
    sources = tuple(v.source_container for v in definition.volumes_from or () if v.source_container)
    router = router_of(document) if uses_firelens(definition) else None
    routers = (router.name or "",) if router is not None and router.name != name else ()
    implied = tuple(Dependency(container_name=name, condition="START") for name in named + sources + routers)
    return (definition.depends_on or ()) + implied


def _met(task: Task, dependency: Dependency) -> bool:
    """The condition table of ecs-tasks §4."""
    container = task.container(dependency.container_name)
    if container is None:
        return False
    match dependency.condition:
        case "START":
            return container.known in ("RUNNING", "STOPPED")
        case "COMPLETE":
            return container.known == "STOPPED" and container.exit_code is not None
        case "SUCCESS":
            return container.known == "STOPPED" and container.exit_code == 0
        case "HEALTHY":
            return container.known == "RUNNING" and container.health == "HEALTHY"


def _deadline(task: Task, document: Document, dependency: Dependency) -> float | None:
    """When the dependency's startTimeout elapses; START has none (ecs-tasks §4)."""
    definition = document.container(dependency.container_name)
    container = task.container(dependency.container_name)
    if dependency.condition == "START" or definition is None or container is None:
        return None
    if definition.start_timeout is None or container.started_at is None:
        return None
    return container.started_at + definition.start_timeout


def _failure(task: Task, document: Document, now: float) -> Failure | None:
    """Why the task cannot go on, first match wins."""
    started = task.last_status in ("RUNNING", "DEACTIVATING")
    for container in task.containers:
        definition = document.container(container.name)
        if definition is None or container.known != "STOPPED" or not definition.is_essential:
            continue
        if container.exit_code is None and container.pulled is None and not started:
            # Its image could not be pulled: the only failure whose reason is the task's too (ecs-tasks §3).
            return Failure("TaskFailedToStart", sentences.clipped(container.reason or sentences.FAILED_TO_START))
        if container.exit_code is None and not started:
            return Failure("TaskFailedToStart", sentences.FAILED_TO_START)
        return Failure("EssentialContainerExited", sentences.ESSENTIAL_EXITED)
    for container in task.containers:
        # A non-essential container that never started fails the task too: it could not leave PENDING (ecs-tasks §2).
        if container.known == "STOPPED" and container.exit_code is None and not started and container.reason:
            reason = container.reason if container.pulled is None else sentences.FAILED_TO_START
            return Failure("TaskFailedToStart", sentences.clipped(reason))
    for container in task.containers:
        if container.known not in ("NONE", "PULLED", "CREATED") or container.restarts:
            continue
        for dependency in _dependencies(document, container.name):
            why = _never(task, document, dependency, now)
            if why is not None:
                text = sentences.dependency_failed(container.name, dependency.container_name, dependency.condition, why)
                return Failure("TaskFailedToStart", text)
    return None


def _never(task: Task, document: Document, dependency: Dependency, now: float) -> str | None:
    """Why a dependency will never be met, or None while it still may be."""
    container = task.container(dependency.container_name)
    if container is None:
        return "there is no such container"
    if container.known == "STOPPED" and not _met(task, dependency):
        return f"it exited with {container.exit_code}"
    deadline = _deadline(task, document, dependency)
    if deadline is not None and now >= deadline and not _met(task, dependency):
        return "its startTimeout elapsed"
    return None


# --- again -----------------------------------------------------------------------------------------------------------
def is_restarted(
    task: Task, definition: ContainerDefinition | None, container: Container, exit_code: int | None, now: float
) -> bool:
    """Does the container's restart policy start it again after this exit? (ecs-tasks §6; essential or not)

    Never when the task should stop, when nobody knows how it ended, when the exit code is to be ignored, or when it ran
    (since its start or its last restart) for less than restartAttemptPeriod."""
    policy = (definition.restart_policy if definition is not None else None) or {}
    if not policy.get("enabled") or task.desired_status == "STOPPED" or exit_code is None:
        return False
    if exit_code in (policy.get("ignoredExitCodes") or ()) or container.started_at is None:
        return False
    period = policy.get("restartAttemptPeriod")
    return now - container.started_at >= (RESTART_ATTEMPT_PERIOD if period is None else period)


# --- down ------------------------------------------------------------------------------------------------------------
def _wind_down(task: Task, document: Document, draining: int) -> TaskPlan:
    """Deregister and drain, stop containers in reverse dependency order, release (ecs-tasks §5)."""
    alive = [c for c in task.containers if c.known == "RUNNING"]
    if task.last_status in ("PROVISIONING", "PENDING", "ACTIVATING") and not alive:
        return TaskPlan("never ran: releases what it holds", enter="DEPROVISIONING")
    if task.last_status in ("ACTIVATING", "RUNNING", "PENDING", "PROVISIONING"):
        return TaskPlan("leaves its target groups", enter="DEACTIVATING")
    if task.last_status == "DEACTIVATING":
        if task.targets_registered:
            return TaskPlan("leaves its target groups", steps=(Step("deregister"),))
        # Nobody is served by a task whose essential container is gone: there is nothing to drain. Fargate Spot does not
        # wait either: the stop signal comes with the warning.
        if draining and _serves(task, document) and task.stop_code != "SpotInterruption":
            return TaskPlan(f"drains: {draining} targets are still deregistering")
        return TaskPlan("is drained", enter="STOPPING")
    if task.last_status == "STOPPING":
        if not alive:
            return TaskPlan("all containers have stopped", enter="DEPROVISIONING")
        steps = tuple(Step("stop", name) for name in _stoppable(task, document))
        return TaskPlan(f"stops {_containers(steps)}", steps=steps)
    return TaskPlan("releases what it holds", steps=(Step("release"),))


def _serves(task: Task, document: Document) -> bool:
    return all(
        c.known == "RUNNING"
        for c in task.containers
        if (definition := document.container(c.name)) is not None and definition.is_essential
    )


def _stoppable(task: Task, document: Document) -> list[str]:
    """Running containers on which no running container depends; everything when a cycle would block that."""
    alive = [c.name for c in task.containers if c.known == "RUNNING"]
    needed = {dependency.container_name for name in alive for dependency in _dependencies(document, name)}
    return [name for name in alive if name not in needed] or alive


def stop_grace(task: Task, definition: ContainerDefinition | None, now: float) -> float:
    """Seconds that a container has between the stop signal and SIGKILL. An interrupted Spot task has two minutes for all
    its containers, however they depend on each other (ecs-tasks §3)."""
    grace = stop_timeout(definition)
    if task.stop_code != "SpotInterruption" or task.stopping_at is None:
        return grace
    return max(1.0, min(grace, task.stopping_at + SPOT_WARNING - now))


def stop_timeout(definition: ContainerDefinition | None) -> float:
    if definition is None or definition.stop_timeout is None:
        return STOP_TIMEOUT
    return float(max(1, definition.stop_timeout))


def _containers(steps: Sequence[Step]) -> str:
    return ", ".join(s.container for s in steps if s.container)


def _names(steps: Sequence[Step]) -> str:
    return ", ".join(f"{s.verb} {s.container}" if s.container else s.verb for s in steps)
