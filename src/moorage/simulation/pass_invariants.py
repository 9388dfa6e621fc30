"""How often the control plane looks at a service until a deployment has ended: a number that what happened accounts for.

A loop that wakes itself would get there in the end and look right from outside; here it is counted. Told of every pass by
the service loop, and of every change as `invariants.py` is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from moorage.control.loop import Loop, Pass
from moorage.domain.service import Service
from moorage.store.api import Change, StoreApi
from moorage.store.tables.ecs import SERVICES, TASKS
from moorage.store.tables.elbv2 import TARGET_HEALTH, TARGETS

# Passes over one deployment: some for its own stages and waits, and so many for every change of a task or target.
STAGES, PER_CHANGE = 80, 1
# Passes from the moment that nothing is wrong any more until the service is at rest: some, and so many for every task
# that it has then, should have, or starts (those of a revision that never worked are replaced until it has gone).
AT_MOST, PER_TASK = 80, 25


class PassInvariants:
    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._passes: Counter[str] = Counter()
        """By deployment, while it is IN_PROGRESS."""
        self._changes: Counter[str] = Counter()
        """By deployment: changes of the tasks of its service, and of targets, meanwhile."""
        self._current: dict[str, str] = {}
        """By service: its deployment that is IN_PROGRESS."""
        self._since_mended: Counter[str] = Counter()
        self._allowed: dict[str, int] = {}

    def watch(self, store: StoreApi, loop: Loop) -> None:
        """`loop`: that of the service controller."""
        inner = loop.reconcile

        async def observed(key: str) -> Pass:
            self._passed(store.get(SERVICES, key))
            return await inner(key)

        loop.reconcile = observed

    def changed(self, change: Change[Any]) -> None:
        record: Any = change.after if change.after is not None else change.before
        if change.table is TASKS:
            if change.before is None and record.service_arn in self._allowed:
                self._allowed[record.service_arn] += PER_TASK
            current = self._current.get(record.service_arn or "")
            if current is not None:
                self._changes[current] += 1
        elif change.table is TARGETS or change.table is TARGET_HEALTH:
            for current in self._current.values():
                self._changes[current] += 1

    def mended(self, store: StoreApi) -> None:
        """From here on nothing is wrong with the world: every deployment ends after a bounded number of passes."""
        self._since_mended.clear()
        for service in store.all(SERVICES):
            tasks = len(store.find(TASKS, "service", service.arn)) + service.desired_count
            self._allowed[service.arn] = AT_MOST + PER_TASK * tasks

    def _passed(self, service: Service | None) -> None:
        if service is None or not service.deployments:
            return
        self._since_mended[service.arn] += 1
        if self._since_mended[service.arn] == self._allowed.get(service.arn, -1) + 1:
            self._note(f"{service.name} is not at rest after {self._allowed[service.arn]} passes in a mended world")
        primary = service.deployments[0]
        if primary.rollout_state != "IN_PROGRESS":
            self._current.pop(service.arn, None)
            return
        self._current[service.arn] = primary.id
        self._passes[primary.id] += 1
        most = STAGES + PER_CHANGE * self._changes[primary.id]
        if self._passes[primary.id] == most + 1:
            self._note(f"{service.name} was looked at {most} times, and {primary.id} is still IN_PROGRESS")
