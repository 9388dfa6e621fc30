"""The observed side: what the engine reports becomes what the task records say.

Two sources, one meaning: the event stream for speed, and the engine's full list after every (re)connection, at the start
and whenever somebody doubts. What runs is adopted; what died meanwhile is noted; containers that belong to no living
task are removed (only ours: the installation's label tells).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from msgspec.structs import replace

from moorage.control.container_network import bindings_of, network_of
from moorage.control.load_balancer_nodes import LoadBalancerNodes
from moorage.control.task_steps import TaskSteps
from moorage.control.task_writes import container_started, container_stopped, fail, update_task, with_container
from moorage.decide.task_lifecycle import is_restarted
from moorage.domain import sentences
from moorage.domain.clock import Clock
from moorage.domain.errors import MoorageError
from moorage.domain.task import ORDER, Container, NetworkBinding, StopCode, Task
from moorage.domain.task_definition import ContainerDefinition
from moorage.engine.driver import (
    LABEL_CONTAINER,
    LABEL_LOAD_BALANCER,
    LABEL_POOL,
    LABEL_SANDBOX,
    LABEL_TASK,
    Engine,
    EngineEvent,
    ObservedContainer,
)
from moorage.store.api import Change, StoreApi, Transaction
from moorage.store.tables.ecs import TASK_DEFINITIONS, TASKS
from moorage.store.tables.network import SUBNETS

log = logging.getLogger("moorage.adoption")

KILLED = 137
# An end that is told twice (event and list) carries two times, this many seconds apart at most.
SAME_END = 0.25
_RETRY = 2.0
# Seconds after which an engine has done what it was asked to do before the caller went away.
STRAGGLERS = 5.0
# How often it is looked whether networks of nobody are free to go.
LOOKS = 12


class Adoption:
    """`nodes`: who looks after the sandboxes that are no tasks'."""

    def __init__(
        self, store: StoreApi, clock: Clock, engine: Engine, steps: TaskSteps, nodes: LoadBalancerNodes
    ) -> None:
        self.nodes = nodes
        self._store = store
        self._clock = clock
        self._engine = engine
        self._steps = steps
        self._listener: asyncio.Task[None] | None = None
        self._removals: set[asyncio.Task[None]] = set()
        self._end_watch: Callable[[], None] = lambda: None
        self._clearing = False
        steps.resync = self.resync
        steps.ended = self._ended

    def start(self) -> None:
        """Listens to the engine; its first event is a resync, so the list is read at once."""
        self._listener = asyncio.get_running_loop().create_task(self._listen(), name="engine events")
        self._end_watch = self._store.watch(self._changed)

    async def close(self) -> None:
        self._end_watch()
        jobs = [job for job in (self._listener, *self._removals) if job is not None]
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)

    def _changed(self, changes: Sequence[Change[Any]]) -> None:
        """Task records that vanish while the task lives (a state reset) leave containers behind: clear them away."""
        if self._clearing:
            return
        if any(
            c.table is TASKS and c.after is None and c.before is not None and c.before.last_status != "STOPPED"
            for c in changes
        ):
            self._clearing = True
            self._spawn(self._clear())

    async def _clear(self) -> None:
        self._clearing = False
        try:
            await self.resync()
            # What was being made at that moment may appear a little later: nobody waits for its answer any more.
            await asyncio.sleep(STRAGGLERS)
            await self.resync()
            await self._clear_networks()
        except MoorageError as error:
            log.warning("containers of deleted tasks stay until the engine answers: %s", error)

    async def _clear_networks(self) -> None:
        """Those of subnets that vanished with the records, once what stands in them is gone. Whoever was about to use one
        may have made it again."""
        for _ in range(LOOKS):
            kept = [network_of(subnet).name for subnet in self._store.all(SUBNETS)]
            if not await self._engine.remove_networks(keep=kept):
                return
            await asyncio.sleep(STRAGGLERS)

    async def _listen(self) -> None:
        while True:
            try:
                async for event in self._engine.events():
                    await self._observe(event)
            except asyncio.CancelledError:
                raise
            except MoorageError as error:
                log.warning("the engine's events are interrupted: %s", error)
            except Exception:
                log.exception("an engine event could not be taken in; the engine's list is read again")
            await asyncio.sleep(_RETRY)

    # --- events ------------------------------------------------------------------------------------------------------
    async def _observe(self, event: EngineEvent) -> None:
        if event.kind == "resync":
            await self.resync()
            return
        if LABEL_LOAD_BALANCER in event.labels:
            self.nodes.observe(event)
            return
        arn = event.labels.get(LABEL_TASK)
        if event.kind == "started":
            self._started(event)
            return
        if arn is None:
            return
        name = event.labels.get(LABEL_CONTAINER)
        if name is None or LABEL_SANDBOX in event.labels:
            if event.kind in ("died", "gone"):
                await self._sandbox_died(arn, event.id)
            return
        match event.kind:
            case "died":
                await self._container_died(arn, name, event.id, event.exit_code, event.oom_killed, event.at)
            case "gone":
                await self._container_vanished(arn, name, event.id)
            case "health":
                await self._container_health(arn, name, event.id, event.health)

    def _started(self, event: EngineEvent) -> None:
        """What was ordered by a process that is gone may come late, when its task has ended or the pool counts without it:
        nobody else would ever look at it."""
        arn = event.labels.get(LABEL_TASK)
        if arn is None:
            if LABEL_POOL in event.labels:
                self._steps.pool.seen(event.labels[LABEL_POOL])
            return
        task = self._store.get(TASKS, arn)
        if task is None or task.rank >= ORDER["DEPROVISIONING"]:
            is_sandbox = LABEL_CONTAINER not in event.labels or LABEL_SANDBOX in event.labels
            self._remove([ObservedContainer(event.id, event.labels, "running", sandbox=is_sandbox)])

    async def _container_died(
        self,
        arn: str,
        name: str,
        runtime_id: str,
        exit_code: int | None,
        oom_killed: bool,
        at: float | None,
        started: float | None = None,
    ) -> None:
        """`started`: when the life began that has ended, if that is known."""

        def write(tx: Transaction, task: Task) -> Task:
            container = task.container(name)
            if container is None or not _is_it(container, runtime_id):
                return task
            ended_at = at if at is not None else self._clock.now()
            if container.restarts and not _has_run_again(container, started, ended_at):
                return task  # told once more; it is being started again already
            if is_restarted(task, self._definition(task, name), container, exit_code, ended_at):
                return with_container(task, _restarting(container, runtime_id, exit_code, ended_at))
            task = with_container(task, replace(container, runtime_id=runtime_id))
            return container_stopped(
                task,
                name,
                exit_code=exit_code if exit_code is not None else KILLED,
                reason=sentences.OUT_OF_MEMORY if _for_memory(container, exit_code, oom_killed) else None,
                now=ended_at,
                essential=self._essential(task, name),
            )

        await update_task(self._store, arn, write)

    async def _container_vanished(self, arn: str, name: str, runtime_id: str) -> None:
        def write(tx: Transaction, task: Task) -> Task:
            container = task.container(name)
            if container is None or container.known != "RUNNING" or not _is_it(container, runtime_id):
                return task
            return container_stopped(
                task,
                name,
                exit_code=KILLED,
                reason=sentences.CONTAINER_VANISHED,
                now=self._clock.now(),
                essential=self._essential(task, name),
            )

        await update_task(self._store, arn, write)

    async def _container_health(self, arn: str, name: str, runtime_id: str, health: str) -> None:
        def write(tx: Transaction, task: Task) -> Task:
            container = task.container(name)
            if container is None or container.known == "STOPPED" or not _is_it(container, runtime_id):
                return task
            return with_container(task, replace(container, health=health))

        await update_task(self._store, arn, write)

    async def _sandbox_died(self, arn: str, sandbox_id: str) -> None:
        def write(tx: Transaction, task: Task) -> Task:
            if task.sandbox_id != sandbox_id or task.rank >= ORDER["DEPROVISIONING"]:
                return task
            code: StopCode = "EssentialContainerExited" if task.started_at is not None else "TaskFailedToStart"
            return fail(task, code, sentences.SANDBOX_DIED, self._clock.now())

        await update_task(self._store, arn, write)

    def _definition(self, task: Task, name: str) -> ContainerDefinition | None:
        definition = self._store.get(TASK_DEFINITIONS, task.task_definition_arn)
        return definition.document.container(name) if definition is not None else None

    def _essential(self, task: Task, name: str) -> bool:
        container = self._definition(task, name)
        return container is None or container.is_essential

    # --- the full list -----------------------------------------------------------------------------------------------
    async def resync(self) -> None:
        """Compares everything that the engine knows with everything that should be there."""
        before = {task.arn for task in self._store.find(TASKS, "live", True)}
        listed = await self._engine.list()
        self.nodes.compare([one for one in listed if LABEL_LOAD_BALANCER in one.labels])
        observed = [one for one in listed if LABEL_LOAD_BALANCER not in one.labels]
        by_task: dict[str, list[ObservedContainer]] = {}
        for one in observed:
            if LABEL_POOL in one.labels and LABEL_TASK not in one.labels:
                self._steps.pool.seen(one.labels[LABEL_POOL])
            else:
                by_task.setdefault(one.labels.get(LABEL_TASK, ""), []).append(one)
        for arn, mine in by_task.items():
            task = self._store.get(TASKS, arn)
            if task is None or task.last_status == "STOPPED":
                self._remove(mine)
        for arn in before:
            task = self._store.get(TASKS, arn)
            if task is not None and task.last_status != "STOPPED":
                await self._compare(task, by_task.get(arn, []))

    async def _compare(self, task: Task, observed: list[ObservedContainer]) -> None:
        sandboxes = [one for one in observed if one.sandbox]
        if task.sandbox_id is not None and not any(
            one.id == task.sandbox_id and one.state == "running" for one in sandboxes
        ):
            await self._sandbox_died(task.arn, task.sandbox_id)
        found = {one.labels.get(LABEL_CONTAINER, ""): one for one in observed if not one.sandbox}
        for container in task.containers:
            one = found.get(container.name)
            if one is None:
                if container.known == "RUNNING" and container.runtime_id is not None:
                    await self._container_vanished(task.arn, container.name, container.runtime_id)
            elif one.state == "stopped":
                await self._ended(task, container, one)
            elif one.state == "running":
                started = one.started_at or self._clock.now()
                await self._running(task, container, one, started)

    async def _ended(self, task: Task, container: Container, one: ObservedContainer) -> None:
        if container.known != "STOPPED":
            # What it wrote before it died is still to be read.
            await self._steps.follow_logs(task, container.name, one.id)
        await self._container_died(
            task.arn, container.name, one.id, one.exit_code, one.oom_killed, one.finished_at, one.started_at
        )

    async def _running(self, task: Task, container: Container, one: ObservedContainer, started: float) -> None:
        name, runtime_id, health = container.name, one.id, one.health
        if container.known in ("PULLED", "CREATED"):
            bindings = self._bindings(task, name, one)
            await update_task(
                self._store, task.arn, lambda tx, t: container_started(tx, t, name, runtime_id, started, bindings)
            )
        if container.health != health:
            await self._container_health(task.arn, name, runtime_id, health)
        await self._steps.follow_logs(task, name, runtime_id)

    def _bindings(self, task: Task, name: str, one: ObservedContainer) -> tuple[NetworkBinding, ...]:
        definition = self._store.get(TASK_DEFINITIONS, task.task_definition_arn)
        container = definition.document.container(name) if definition is not None else None
        if definition is None or container is None:
            return ()
        return bindings_of(definition.document, container, one.ports)

    def _remove(self, orphans: list[ObservedContainer]) -> None:
        """Containers first, then the sandbox that they stand in."""
        self._spawn(self._remove_now(orphans))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        job = asyncio.get_running_loop().create_task(work, name="orphans")
        self._removals.add(job)
        job.add_done_callback(self._removals.discard)

    async def _remove_now(self, orphans: list[ObservedContainer]) -> None:
        for one in sorted(orphans, key=lambda o: o.sandbox):
            try:
                if one.sandbox:
                    await self._engine.remove_sandbox(one.id)
                else:
                    await self._engine.remove(one.id)
            except MoorageError as error:
                log.warning("container %s of no living task could not be removed yet: %s", one.id, error)


def _has_run_again(container: Container, started: float | None, ended_at: float) -> bool:
    """Is this the end of another life than the one whose end is written down? By its beginning, where that is known: an end
    may follow another at once."""
    if ended_at > (container.finished_at or 0.0) + SAME_END:
        return True
    if started is not None and started > (container.finished_at or 0.0):
        return True
    return container.known == "RUNNING" and container.started_at is not None and ended_at >= container.started_at


def _for_memory(container: Container, exit_code: int | None, oom_killed: bool) -> bool:
    """Engines note that memory ran out for every container of a task; the one that was killed for it exits with 137
    without being asked to stop."""
    return oom_killed and exit_code in (None, KILLED) and container.stop_sent_at is None


def _restarting(container: Container, runtime_id: str, exit_code: int | None, now: float) -> Container:
    """Ready to be started again; the task goes on running."""
    return replace(
        container,
        known="CREATED",
        runtime_id=runtime_id,
        restarts=container.restarts + 1,
        restarted_after=exit_code,
        started_at=None,
        finished_at=now,
        health="UNKNOWN",
    )


def _is_it(container: Container, runtime_id: str) -> bool:
    """A container that is being launched does not know its id yet: the label alone tells."""
    return container.runtime_id is None or container.runtime_id == runtime_id
