"""What must never happen to services whose scheduler is not the replica one: DAEMON, and those made of task sets.

Told of every change in order, as `invariants.py` is; knows only what the changes have said so far.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from moorage.domain.service import Service
from moorage.domain.task import Task
from moorage.domain.task_set import TaskSet
from moorage.store.api import Change, StoreApi
from moorage.store.tables.ecs import CONTAINER_INSTANCES, TASK_SETS


class OtherSchedulers:
    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._statuses: dict[str, str] = {}
        self._task_sets: dict[str, TaskSet] = {}

    def watch(self, store: StoreApi) -> None:
        self._statuses = {one.arn: one.status for one in store.all(CONTAINER_INSTANCES)}
        self._task_sets = {one.id: one for one in store.all(TASK_SETS)}

    def changed(self, change: Change[Any]) -> None:
        if change.table is CONTAINER_INSTANCES and change.after is not None:
            self._statuses[change.key] = change.after.status
        elif change.table is TASK_SETS and change.after is not None:
            self._task_sets[change.after.id] = change.after

    @staticmethod
    def looks_after(service: Service) -> bool:
        return service.scheduling_strategy == "DAEMON" or service.controller != "ECS"

    def started(self, service: Service, tasks: Iterable[Task], started: Task) -> None:
        """Checked when a task starts. `tasks`: those of the service that have not stopped, it included."""
        if service.scheduling_strategy == "DAEMON":
            self._daemon_started(service, tasks, started)
            return
        one = self._task_sets.get(started.deployment_id or "")
        if one is None:
            self._note(f"{service.name}: {started.id} was started for no task set")
            return
        most = one.desired(service.desired_count) * service.deployment_configuration.maximum_percent // 100
        running = sum(1 for t in tasks if t.deployment_id == one.id and t.desired_status == "RUNNING")
        if running > most:
            self._note(f"{service.name}: {running} tasks in the task set {one.id}, at most {most}")

    def _daemon_started(self, service: Service, tasks: Iterable[Task], started: Task) -> None:
        if started.instance is None:
            self._note(f"{service.name}: the daemon task {started.id} is on no container instance")
            return
        there = Counter(task.instance.arn for task in tasks if task.instance is not None)
        if there[started.instance.arn] > 1:
            self._note(f"{service.name}: {there[started.instance.arn]} daemon tasks on {started.instance.arn}")
        if self._statuses.get(started.instance.arn) != "ACTIVE":
            self._note(f"{service.name}: a daemon task was started on {started.instance.arn}, which is not ACTIVE")

    def stopped(self, service: Service, serving: Iterable[Task], stopped: Task) -> None:
        """Checked when the scheduler stops a task that serves. `serving`: those that still do."""
        desired, left, whose = service.desired_count, list(serving), service.name
        if service.scheduling_strategy == "DAEMON" and self._may_leave(service, stopped):
            return
        if service.controller != "ECS":
            one = self._task_sets.get(stopped.deployment_id or "")
            if one is None or one.status == "DRAINING":
                return
            desired, whose = one.desired(desired), one.id
            left = [task for task in left if task.deployment_id == one.id]
        percent = service.deployment_configuration.minimum_healthy_percent
        least = -(-desired * percent // 100)
        if len(left) < least:
            self._note(f"{whose}: stopping the serving {stopped.id} leaves {len(left)}, at least {least} must stay")

    def _may_leave(self, service: Service, task: Task) -> bool:
        """A daemon leaves an instance that the service belongs on no more, however many others serve."""
        status = self._statuses.get(task.instance.arn) if task.instance is not None else None
        return status != "ACTIVE" or bool(service.placement_constraints)

    def at_rest(self, service: Service, tasks: Iterable[Task]) -> Iterable[str]:
        """What is wrong with a service of a world that nobody changes any more."""
        for task in tasks if service.scheduling_strategy == "DAEMON" and service.status == "ACTIVE" else ():
            if task.instance is not None and self._statuses.get(task.instance.arn) != "ACTIVE":
                yield f"{service.name}: {task.id} is on {task.instance.arn}, which is not ACTIVE"
