"""The task controller: brings every task to where it should be, by asking `decide/task_lifecycle` and doing what it says.

A pass writes the transitions that are due and makes sure that the steps named by the decision are under way in the
background (`task_steps.py`); whatever a step finds out is written to the store, which wakes the task again. It never
chooses anything itself. What the engine reports comes in through `adoption.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from moorage.control.addresses import Addresses
from moorage.control.loop import Loop, Pass
from moorage.control.ports import ContainerLogs, ImageSource, TaskSources
from moorage.control.starts_first import StartsFirst
from moorage.control.task_resources import StepFailed
from moorage.control.task_steps import TaskSteps
from moorage.control.task_writes import enter, fail, update_task
from moorage.control.warm_pool import OWNER, WarmPool
from moorage.decide.task_lifecycle import Step, TaskPlan, decide_task, is_settled
from moorage.domain.clock import Clock, Ids
from moorage.domain.errors import Retryable
from moorage.domain.network import NetworkInterface, Subnet
from moorage.domain.target_group import Target, target_key
from moorage.domain.task import Task
from moorage.engine.driver import Engine
from moorage.store.api import Change, StoreApi
from moorage.store.tables.ecs import TASK_DEFINITIONS, TASKS
from moorage.store.tables.elbv2 import TARGETS
from moorage.store.tables.network import NETWORK_INTERFACES, SUBNETS

# Steps that bring a task up; they are called off when it should stop.
_UPWARD = ("allocate", "sandbox", "pull", "launch")
_RETRY_FIRST, _RETRY_LONGEST = 0.5, 15.0


class TaskController:
    """`start()` looks once at every living task that has not settled; `close()` leaves containers as they are."""

    def __init__(
        self,
        store: StoreApi,
        clock: Clock,
        ids: Ids,
        engine: Engine,
        images: ImageSource,
        logs: ContainerLogs | None = None,
        sources: TaskSources = TaskSources(),  # noqa: B008 immutable
    ) -> None:
        self._store = store
        self._clock = clock
        self.addresses = Addresses(store, ids)
        starts = StartsFirst()
        self._pool = WarmPool(engine, self.addresses, starts)
        self.steps = TaskSteps(store, clock, ids, engine, images, self.addresses, self._pool, starts, logs, sources)
        self.loop = Loop("task", self._reconcile, workers=64)
        self._under_way: dict[str, dict[Step, asyncio.Task[None]]] = {}
        self._failures: dict[tuple[str, Step], int] = {}
        self._trouble: dict[str, str] = {}
        self._task_by_target: dict[str, str] = {}
        self._end_watch: Callable[[], None] = lambda: None

    def start(self) -> None:
        self._end_watch = self._store.watch(self._changed)
        leftover = [i for i in self._store.all(NETWORK_INTERFACES) if i.owner_arn == OWNER]
        living = self._store.find(TASKS, "live", True)
        unclaimed = [t.interface.ipv4 for t in living if t.interface and t.interface.ipv4 and t.sandbox_id is None]
        self._pool.clear(leftover, unclaimed)
        # In order, not as a set: the same records must make the same world.
        subnets: dict[str, None] = {}
        for task in living:
            self._remember_targets(task)
            if task.interface is not None:
                subnets[f"{task.account}/{task.region}/{task.interface.subnet_id}"] = None
            if not is_settled(task):
                self.loop.wake(task.arn)
        for key in subnets:
            subnet = self._store.get(SUBNETS, key)
            if subnet is not None:
                self._pool.used(subnet)
        for subnet in self._store.all(SUBNETS):
            if f"{subnet.account}/{subnet.region}/{subnet.subnet_id}" not in subnets:
                self._pool.abandoned(subnet)

    async def close(self) -> None:
        self._end_watch()
        await self.loop.close()
        await self._pool.close()
        running = [job for jobs in self._under_way.values() for job in jobs.values()]
        for job in running:
            job.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def explain(self, task_arn: str) -> str | None:
        """What the last pass over the task said, and what its steps are having trouble with."""
        parts = [part for part in (self.loop.said(task_arn), self._trouble.get(task_arn)) if part]
        if not parts and (task := self._store.get(TASKS, task_arn)) is not None and is_settled(task):
            return "no action: runs as it should"  # nobody had to look at it since the start
        return "; ".join(parts) or None

    # --- being woken -------------------------------------------------------------------------------------------------
    def _changed(self, changes: Sequence[Change[Any]]) -> None:
        for change in changes:
            if change.table is TASKS:
                self._task_changed(change)
            elif change.after is not None:
                continue
            elif isinstance(change.before, Target):
                owner = self._task_by_target.get(change.key)
                if owner is not None:
                    self.loop.wake(owner)
            elif isinstance(change.before, NetworkInterface):
                self.addresses.forget(change.before)
                self._pool.forget(change.before)
                place = f"{change.before.account}/{change.before.region}/{change.before.subnet_id}"
                subnet = self._store.get(SUBNETS, place)
                if subnet is not None and ":loadbalancer/" in change.before.owner_arn:
                    self._pool.left(subnet)
            elif isinstance(change.before, Subnet):
                self._pool.deleted(change.before)

    def _task_changed(self, change: Change[Task]) -> None:
        task = change.after
        if task is None or task.last_status == "STOPPED":
            self._forget(change.key)
            for place in change.before.target_places if change.before is not None else ():
                self._task_by_target.pop(target_key(place.target_group_arn, place.id, place.port), None)
            return
        self._remember_targets(task)
        self.loop.wake(task.arn)

    def _remember_targets(self, task: Task) -> None:
        for place in task.target_places:
            self._task_by_target[target_key(place.target_group_arn, place.id, place.port)] = task.arn

    def _forget(self, arn: str) -> None:
        self.loop.forget(arn)
        self.steps.forget(arn)
        self._trouble.pop(arn, None)
        for job in self._under_way.pop(arn, {}).values():
            job.cancel()
        for key in [key for key in self._failures if key[0] == arn]:
            del self._failures[key]

    # --- a pass ------------------------------------------------------------------------------------------------------
    async def _reconcile(self, arn: str) -> Pass:
        while True:
            task = self._store.get(TASKS, arn)
            if task is None or task.last_status == "STOPPED":
                return Pass("no action: the task has stopped")
            definition = self._store.get(TASK_DEFINITIONS, task.task_definition_arn)
            assert definition is not None, "a task definition outlives its tasks"
            if task.desired_status == "STOPPED" and self._call_off(arn) and not task.targets_registered:
                # (A task that is registered leaves its target groups first: a container of it is being started again.)
                return Pass("should stop: waits for what is being started to become stoppable")
            now = self._clock.now()
            plan = decide_task(task, definition.document, self._draining(task), now)
            if not await self._write(arn, plan, now):
                self._start(task, plan.steps)
                return Pass(plan.said, plan.again_after)

    async def _write(self, arn: str, plan: TaskPlan, now: float) -> bool:
        """Writes the failure or the transition of the plan; False when there is neither."""
        failure, status = plan.failure, plan.enter
        if failure is not None:
            await update_task(self._store, arn, lambda tx, task: fail(task, failure.stop_code, failure.reason, now))
            return True
        if status is not None:
            await update_task(self._store, arn, lambda tx, task: enter(tx, task, status, now))
            return True
        return False

    def _draining(self, task: Task) -> int:
        return sum(
            1
            for place in task.target_places
            if self._store.get(TARGETS, target_key(place.target_group_arn, place.id, place.port)) is not None
        )

    # --- steps under way ---------------------------------------------------------------------------------------------
    def _call_off(self, arn: str) -> bool:
        """Cancels pulls; True while a step upwards is still running (its result must be known before stopping)."""
        busy = False
        for step, job in self._under_way.get(arn, {}).items():
            if step.verb == "pull":
                job.cancel()
            elif step.verb in _UPWARD:
                busy = True
        return busy

    def _start(self, task: Task, steps: Sequence[Step]) -> None:
        jobs = self._under_way.setdefault(task.arn, {})
        for step in steps:
            if step not in jobs:
                jobs[step] = asyncio.get_running_loop().create_task(
                    self._run(task.arn, step), name=f"{step.verb}:{step.container or ''}:{task.id}"
                )
        if not jobs:
            self._under_way.pop(task.arn, None)

    async def _run(self, arn: str, step: Step) -> None:
        delay: float | None = None
        try:
            await self.steps.run(arn, step)
            self._failures.pop((arn, step), None)
            self._trouble.pop(arn, None)
        except asyncio.CancelledError:
            raise
        except StepFailed as failed:
            failure = failed
            await update_task(
                self._store, arn, lambda tx, task: fail(task, failure.stop_code, failure.reason, self._clock.now())
            )
        except Retryable as error:
            delay = self._back_off(arn, step, error)
        except Exception as error:
            self.steps.log.exception("task %s: %s failed; it will be tried again", arn, step.verb)
            delay = self._back_off(arn, step, error)
        finally:
            jobs = self._under_way.get(arn)
            if jobs is not None:
                jobs.pop(step, None)
                if not jobs:
                    self._under_way.pop(arn, None)
            if delay is None:
                self.loop.wake(arn)
            else:
                self.loop.wake_after(arn, delay)

    def _back_off(self, arn: str, step: Step, error: Exception) -> float:
        count = self._failures.get((arn, step), 0)
        self._failures[(arn, step)] = count + 1
        delay: float = min(_RETRY_LONGEST, _RETRY_FIRST * 2.0 ** min(count, 10))
        self._trouble[arn] = (
            f"{step.verb} {step.container or ''}: {error} (tried {count + 1} times, next in {delay:.1f} s)"
        )
        return delay
