"""The scaling of Express services: measures each once a minute and moves its desired count (ecs-services §9, §14).

Decides nothing: `decide/scaling/target_tracking` does. What was measured is kept in memory for as long as it matters: after
a restart it takes three minutes to scale out again, and fifteen to scale in.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any, Literal

from msgspec.structs import replace

from moorage.control.loop import Loop, Pass
from moorage.control.service_events import add_event
from moorage.decide.express import scaling_policy
from moorage.decide.scaling.target_tracking import COOLDOWN, LOW_MINUTES, Limits, Move, track
from moorage.domain import sentences
from moorage.domain.clock import Clock
from moorage.domain.express import ExpressService
from moorage.domain.service import Service
from moorage.domain.task import Task
from moorage.engine.driver import Engine
from moorage.store.api import Change, StoreApi, Transaction
from moorage.store.tables.ecs import EXPRESS_SERVICES, SERVICES, TASK_DEFINITIONS, TASKS

MINUTE = 60.0
UNITS_PER_CPU = 1024
MIB = 1 << 20


class _Watched:
    """What is remembered of one service. `cpu`: seconds that each container had used at the last look."""

    def __init__(self, metric: str, now: float) -> None:
        self.metric = metric
        self.samples: deque[float] = deque(maxlen=LOW_MINUTES)
        self.cpu: dict[str, float] = {}
        self.looked_at = now
        self.requests = 0
        self.moved = {"AlarmHigh": now - COOLDOWN, "AlarmLow": now - COOLDOWN}


class ExpressScaling:
    def __init__(self, store: StoreApi, clock: Clock, engine: Engine) -> None:
        self._store = store
        self._clock = clock
        self._engine = engine
        self._watched: dict[str, _Watched] = {}
        self._requests: Counter[str] = Counter()
        self.loop = Loop("express-scaling", self._reconcile, workers=4)
        self._end_watch: Callable[[], None] = lambda: None

    def start(self) -> None:
        self._end_watch = self._store.watch(self._changed)
        for record in self._store.all(EXPRESS_SERVICES):
            self.loop.wake(record.arn)

    async def close(self) -> None:
        self._end_watch()
        await self.loop.close()

    def explain(self, arn: str) -> str | None:
        return self.loop.said(arn)

    def count_request(self, target_group_arn: str) -> None:
        """A request went to a target of this group."""
        if self._watched:
            self._requests[target_group_arn] += 1

    def _changed(self, changes: Sequence[Change[Any]]) -> None:
        for change in changes:
            if change.table is not EXPRESS_SERVICES:
                continue
            if change.after is None:
                self._watched.pop(change.key, None)
                self.loop.forget(change.key)
            elif change.before is None:
                self.loop.wake(change.key)

    # --- a pass ------------------------------------------------------------------------------------------------------
    async def _reconcile(self, arn: str) -> Pass:
        record, service = self._store.get(EXPRESS_SERVICES, arn), self._store.get(SERVICES, arn)
        if record is None or record.status != "ACTIVE":
            self._watched.pop(arn, None)
            return Pass("scaling: the service is going")
        now = self._clock.now()
        metric = record.wanted.scaling.auto_scaling_metric
        known = self._watched.get(arn)
        # what was measured of another metric says nothing
        watched = known if known is not None and known.metric == metric else _Watched(metric, now)
        first = watched is not known
        self._watched[arn] = watched
        if service is None or service.status != "ACTIVE" or not record.applied:
            return Pass("scaling: the service is being made", again_after=MINUTE)
        sample = await self._measure(record, watched, now)
        if sample is not None and not first:
            watched.samples.append(sample)
        scaling = record.wanted.scaling
        move = track(
            tuple(watched.samples),
            service.desired_count,
            Limits(scaling.min_task_count, scaling.max_task_count, float(scaling.auto_scaling_target_value)),
            since_out=now - watched.moved["AlarmHigh"],
            since_in=now - watched.moved["AlarmLow"],
            deploying=service.shift is not None or any(d.rollout_state == "IN_PROGRESS" for d in service.deployments),
        )
        if move.alarm is not None:
            await self._store.update(lambda tx: _move(tx, record, service, move, now))
            watched.moved[move.alarm] = now
        return Pass(
            f"scaling: {service.desired_count} → {move.desired} tasks, {metric} {move.said}", again_after=MINUTE
        )

    async def _measure(self, record: ExpressService, watched: _Watched, now: float) -> float | None:
        """The metric of the last minute; None: there is nothing to measure."""
        tasks = [t for t in self._store.find(TASKS, "service", record.arn) if t.last_status == "RUNNING"]
        elapsed = now - watched.looked_at
        if not tasks:
            watched.looked_at = now
            return None
        stats = {}
        if watched.metric != "REQUEST_COUNT_PER_TARGET":  # may raise: then nothing was looked at
            stats = {one.id: one for one in await self._engine.stats(_containers(tasks))}
        watched.looked_at = now
        if watched.metric == "REQUEST_COUNT_PER_TARGET":
            total = sum(self._requests[arn] for arn in record.made.target_groups)
            count, watched.requests = total - watched.requests, total
            return count / len(tasks) * MINUTE / elapsed if elapsed > 0 else None
        if watched.metric == "AVERAGE_MEMORY":
            return 100 * sum(one.memory_bytes for one in stats.values()) / (self._reserved(tasks, "memory") * MIB)
        before, watched.cpu = watched.cpu, {id: one.cpu_seconds for id, one in stats.items()}
        used = sum(max(0.0, seconds - before.get(id, seconds)) for id, seconds in watched.cpu.items())
        reserved = self._reserved(tasks, "cpu") / UNITS_PER_CPU
        return 100 * used / (elapsed * reserved) if elapsed > 0 and before else None

    def _reserved(self, tasks: Sequence[Task], what: Literal["cpu", "memory"]) -> int:
        """What their definitions reserve together: CPU units, or MiB."""
        total = 0
        for task in tasks:
            definition = self._store.get(TASK_DEFINITIONS, task.task_definition_arn)
            total += int(getattr(definition.document, what) or 0) if definition is not None else 0
        return max(1, total)


def _containers(tasks: Sequence[Task]) -> list[str]:
    return [one.runtime_id for task in tasks for one in task.containers if one.runtime_id is not None]


def _move(tx: Transaction, record: ExpressService, known: Service, move: Move, now: float) -> None:
    """Unless somebody else moved it meanwhile."""
    service = tx.get(SERVICES, record.arn)
    if service is None or service.status != "ACTIVE" or service.desired_count != known.desired_count:
        return
    tx.put(SERVICES, replace(service, desired_count=move.desired, steady_since=None))
    policy = str(scaling_policy(record)["PolicyName"])
    add_event(tx, record.arn, sentences.scaled(move.desired, f"{policy}-{move.alarm}", policy), now)
