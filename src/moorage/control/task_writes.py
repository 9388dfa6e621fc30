"""The writes of the observed side of a task: every change of a task record by the control plane goes through here.

`last_status` never moves back, and `version` grows with every change that the API shows (ecs-tasks §2).
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from moorage.control.container_network import with_bindings
from moorage.control.service_events import add_event
from moorage.control.task_sets import name_in_events
from moorage.domain import sentences
from moorage.domain.target_group import Target, target_key
from moorage.domain.task import ORDER, Container, LastStatus, NetworkBinding, StopCode, Task
from moorage.store.api import StoreApi, Transaction
from moorage.store.tables.ecs import SERVICES, TASKS
from moorage.store.tables.elbv2 import TARGET_GROUPS, TARGETS

TaskChange = Callable[[Transaction, Task], Task]


async def update_task(store: StoreApi, arn: str, change: TaskChange) -> Task | None:
    """Applies `change` to the newest record in one transaction; None when the task is gone. STOPPED is final."""

    def write(tx: Transaction) -> Task | None:
        task = tx.get(TASKS, arn)
        if task is None or task.last_status == "STOPPED":
            return None
        changed = change(tx, task)
        if changed == task:
            return task
        assert changed.rank >= task.rank, f"{task.last_status} never goes back to {changed.last_status}"
        return tx.put(TASKS, replace(changed, version=task.version + 1) if is_news(task, changed) else changed)

    return await store.update(write)


def is_news(before: Task, after: Task) -> bool:
    """Does the change make a new version, as AWS counts them (ecs-tasks §2, §2.2)?

    PROVISIONING 1 · PENDING 2 · RUNNING 3 · DEPROVISIONING 4 · STOPPED 5 for a task that runs to its end, one less for
    one whose image cannot be pulled. What comes between is told with the next of these: an essential container's exit
    with DEPROVISIONING. ACTIVATING and DEACTIVATING are told of tasks in target groups; containers that change while
    the task runs, each time."""
    if _told(before) != _told(after):
        return True
    if after.last_status != "RUNNING" or after.execution_stopped_at is not None or after.desired_status == "STOPPED":
        return False
    return _containers(before) != _containers(after)


def _told(task: Task) -> LastStatus:
    match task.last_status:
        case "ACTIVATING" if not task.load_balancers:
            return "PENDING"
        case "STOPPING":
            return "DEACTIVATING" if task.load_balancers else "RUNNING"
        case "DEACTIVATING" if not task.load_balancers:
            return "RUNNING"
        case status:
            return status


def _containers(task: Task) -> tuple[tuple[str, str], ...]:
    return tuple((c.last_status, c.health) for c in task.containers)


def with_container(task: Task, container: Container) -> Task:
    return replace(task, containers=tuple(container if c.name == container.name else c for c in task.containers))


def fail(task: Task, stop_code: StopCode, reason: str, now: float) -> Task:
    """The task should stop; a reason that was given earlier stays."""
    if task.desired_status == "STOPPED":
        return task
    return replace(
        task, desired_status="STOPPED", stop_code=stop_code, stopped_reason=sentences.clipped(reason), stopping_at=now
    )


def enter(tx: Transaction, task: Task, status: LastStatus, now: float) -> Task:
    if ORDER[status] <= task.rank:
        return task
    changed = replace(task, last_status=status)
    if status in ("PENDING", "ACTIVATING") and task.connectivity_at is None:
        changed = replace(changed, connectivity_at=now)
    match status:
        case "RUNNING":
            return register_targets(tx, replace(changed, started_at=now), now)
        case "STOPPING" | "DEACTIVATING":
            return replace(changed, stopping_at=task.stopping_at or now)
        case "DEPROVISIONING":
            return deregister_targets(tx, changed, now)
        case _:
            return changed


def register_targets(tx: Transaction, task: Task, now: float) -> Task:
    """Puts the task into its service's target groups; a group that is gone is skipped, and the service says so."""
    if task.desired_status == "STOPPED" or task.targets_registered:
        return task
    service = tx.get(SERVICES, task.service_arn) if task.service_arn else None
    registered = False
    for place in task.target_places:
        arn = place.target_group_arn
        if tx.get(TARGET_GROUPS, arn) is None:
            if service is not None:
                name = name_in_events(service, task.deployment_id)
                add_event(tx, service.arn, sentences.not_registered(name, arn, sentences.NO_TARGET_GROUP), now)
            continue
        tx.put(TARGETS, Target(arn, place.id, place.port, task.availability_zone, now, reaches=place.reaches))
        registered = True
        if service is not None:
            name = name_in_events(service, task.deployment_id)
            add_event(tx, service.arn, sentences.registered(name, 1, arn), now)
    return replace(task, targets_registered=registered)


def deregister_targets(tx: Transaction, task: Task, now: float) -> Task:
    """Starts the deregistration of all targets of the task."""
    if not task.targets_registered:
        return task
    service = tx.get(SERVICES, task.service_arn) if task.service_arn else None
    for place in task.target_places:
        arn = place.target_group_arn
        target = tx.get(TARGETS, target_key(arn, place.id, place.port))
        if target is None or target.deregistered_at is not None:
            continue
        tx.put(TARGETS, replace(target, deregistered_at=now))
        if service is not None:
            name = name_in_events(service, task.deployment_id)
            add_event(tx, service.arn, sentences.deregistered(name, 1, arn), now)
    return replace(task, targets_registered=False)


def container_started(
    tx: Transaction,
    task: Task,
    name: str,
    runtime_id: str,
    now: float,
    bindings: tuple[NetworkBinding, ...] = (),
) -> Task:
    """A container that is started again may have got other host ports: its targets move with it."""
    container = task.container(name)
    if container is None or container.known == "STOPPED":
        return task
    running = replace(container, known="RUNNING", runtime_id=runtime_id, started_at=container.started_at or now)
    changed = with_bindings(with_container(task, running), name, bindings)
    if not task.targets_registered or changed.target_places == task.target_places:
        return changed
    deregister_targets(tx, task, now)
    return register_targets(tx, replace(changed, targets_registered=False), now)


def container_stopped(
    task: Task, name: str, *, exit_code: int | None, reason: str | None, now: float, essential: bool
) -> Task:
    container = task.container(name)
    if container is None or container.known == "STOPPED":
        return task
    stopped = replace(
        container,
        known="STOPPED",
        exit_code=exit_code,
        reason=sentences.clipped(reason) if reason else container.reason,
        finished_at=now,
    )
    changed = with_container(task, stopped)
    if essential and changed.execution_stopped_at is None:
        changed = replace(changed, execution_stopped_at=now)
    return changed
