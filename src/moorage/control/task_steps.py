"""The steps of a task, done: each verb of `decide/task_lifecycle.Step` as a coroutine over the engine and the store.

A step is idempotent: after a crash it is simply run again. What it finds out is written before it returns. It raises
`StepFailed` when the task cannot go on and `Retryable` when the world is not ready yet.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from functools import partial

import msgspec
from msgspec.structs import replace

from moorage.control.addresses import Addresses
from moorage.control.container_network import bindings_of, sandbox_spec
from moorage.control.container_output import container_log
from moorage.control.container_spec import architecture, container_spec, labels
from moorage.control.container_volumes import task_volumes
from moorage.control.host_ranges import on_this_host
from moorage.control.image_pins import ImagePins
from moorage.control.ports import ContainerLogs, ImageSource, TaskSources
from moorage.control.starts_first import StartsFirst
from moorage.control.task_resources import StepFailed, TaskResources
from moorage.control.task_writes import (
    container_started,
    container_stopped,
    deregister_targets,
    enter,
    update_task,
    with_container,
)
from moorage.control.warm_pool import WarmPool
from moorage.decide import firelens
from moorage.decide.task_lifecycle import Step, stop_grace
from moorage.domain import sentences
from moorage.domain.clock import Clock, Ids
from moorage.domain.errors import Retryable
from moorage.domain.network import NetworkInterface, Subnet
from moorage.domain.scope import Scope
from moorage.domain.task import Container, Interface, Task
from moorage.domain.task_definition import ContainerDefinition, Document
from moorage.engine.driver import (
    LABEL_TASK,
    Created,
    Engine,
    EngineError,
    ObservedContainer,
    PortBinding,
    RegistryAuth,
    Sandbox,
)
from moorage.store.api import StoreApi, Transaction
from moorage.store.tables.ecs import TASK_DEFINITIONS, TASKS
from moorage.store.tables.network import NETWORK_INTERFACES, SUBNETS

# How long an exit may go unreported after `stop` returned: 40 × 50 ms.
EVENT_PATIENCE, EVENT_INTERVAL = 40, 0.05
# Seconds for which the remains of a task stand back behind tasks that start; the first bridges the gap between two steps.
RELEASE_REST, RELEASE_LONGEST_REST = 0.1, 3.0


class TaskSteps:
    log = logging.getLogger("moorage.task")

    def __init__(
        self,
        store: StoreApi,
        clock: Clock,
        ids: Ids,
        engine: Engine,
        images: ImageSource,
        addresses: Addresses,
        pool: WarmPool,
        starts: StartsFirst,
        logs: ContainerLogs | None,
        sources: TaskSources,
    ) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._engine = engine
        self._pins = ImagePins(store, engine, images)
        self._addresses = addresses
        self.pool = pool
        self._starts = starts
        self._logs = logs
        self._resources = TaskResources(engine, sources)
        self.resync: Callable[[], Awaitable[None]] = _nothing
        self.ended: Callable[[Task, Container, ObservedContainer], Awaitable[None]] = _nobody
        """Takes in that a container has ended."""

    async def run(self, arn: str, step: Step) -> None:
        task = self._store.get(TASKS, arn)
        if task is None:
            return
        definition = self._store.get(TASK_DEFINITIONS, task.task_definition_arn)
        assert definition is not None
        document = definition.document
        match step.verb:
            case "allocate":
                await self._allocate(task)
            case "sandbox":
                with self._starts.starting():
                    await self._sandbox(task, document)
            case "pull":
                await self._pull(task, document, step.container or "")
            case "launch":
                with self._starts.starting():
                    await self._launch(task, document, step.container or "")
            case "deregister":
                await update_task(self._store, arn, lambda tx, t: deregister_targets(tx, t, self._clock.now()))
            case "stop":
                await self._stop(task, document, step.container or "")
            case "release":
                await self._release(task)

    # --- network -----------------------------------------------------------------------------------------------------
    def _subnet(self, task: Task) -> Subnet | None:
        if task.interface is None:
            return None
        return self._store.get(SUBNETS, f"{task.account}/{task.region}/{task.interface.subnet_id}")

    async def _on_this_host(self, subnet: Subnet) -> Subnet:
        try:
            return await on_this_host(self._store, self._engine, subnet)
        except EngineError as error:
            raise StepFailed("TaskFailedToStart", error.reason()) from error

    async def _allocate(self, task: Task) -> None:
        assert task.interface is not None
        wanted = task.interface
        subnet = self._subnet(task)
        if subnet is None:
            raise _no_interface(wanted, "InvalidSubnetID.NotFound")
        subnet = await self._on_this_host(subnet)
        given: list[NetworkInterface] = []
        warm = self.pool.take(subnet)

        def write(tx: Transaction, current: Task) -> Task:
            if current.interface is None or current.interface.ipv4 is not None:
                return current
            description = Scope(current.account, current.region).arn("ecs", f"attachment/{wanted.attachment_id}")
            groups = wanted.security_groups
            interface: NetworkInterface | None
            if warm is not None:
                interface = replace(warm, owner_arn=current.arn, security_groups=groups, description=description)
                tx.put(NETWORK_INTERFACES, interface)
            else:
                interface = self._addresses.allocate(
                    tx, subnet, owner_arn=current.arn, security_groups=groups, description=description
                )
            if interface is None:
                raise _no_interface(wanted, "InsufficientFreeAddressesInSubnet")
            given.append(interface)
            attached = replace(wanted, interface_id=interface.interface_id, ipv4=interface.ipv4, mac=interface.mac)
            return enter(tx, replace(current, interface=attached), "PENDING", self._clock.now())

        try:
            await update_task(self._store, task.arn, write)
        except BaseException:
            if warm is not None:
                self.pool.put_back(subnet, warm)
            else:
                for interface in given:
                    self._addresses.forget(interface)
            raise
        if warm is not None and not given:
            self.pool.put_back(subnet, warm)
        self.pool.used(subnet)

    async def _sandbox(self, task: Task, document: Document) -> None:
        await self._resources.of(task, document)
        try:
            spec = sandbox_spec(task, document, self._subnet(task), labels(task))
            sandbox = await self._engine.start_sandbox(spec)
        except EngineError as error:
            raise StepFailed("TaskFailedToStart", error.reason()) from error
        if task.interface is not None and task.interface.ipv4 is not None:
            self.pool.claimed(task.interface.ipv4)

        await update_task(self._store, task.arn, lambda tx, current: replace(current, sandbox_id=sandbox.id))

    # --- containers --------------------------------------------------------------------------------------------------
    async def _pull(self, task: Task, document: Document, name: str) -> None:
        definition = _definition(document, name)
        container = task.container(name)
        assert container is not None
        # As on AWS: nothing is pulled for a task that lacks a secret, a file or a volume.
        await self._resources.of(task, document)
        now = self._clock.now()
        if task.pull_started_at is None:
            await update_task(self._store, task.arn, lambda tx, t: replace(t, pull_started_at=t.pull_started_at or now))
        try:
            pulled = await self._pins.pull(
                task, definition, container.image, partial(self._credentials, task, definition), architecture(document)
            )
        except EngineError as error:
            await self._never_started(task, definition, error.reason())
            return

        def write(tx: Transaction, current: Task) -> Task:
            mine = current.container(name)
            if mine is None or mine.known != "NONE":
                return current
            changed = with_container(
                current,
                replace(mine, known="PULLED", pulled=pulled.reference, image_digest=pulled.digest),
            )
            if all(c.known != "NONE" for c in changed.containers):
                changed = replace(changed, pull_stopped_at=self._clock.now())
            return changed

        await update_task(self._store, task.arn, write)

    async def _launch(self, task: Task, document: Document, name: str) -> None:
        definition = _definition(document, name)
        container = task.container(name)
        assert container is not None
        # What is started again is there already, with everything that it was made with.
        again = Created(container.runtime_id or "") if container.restarts else None
        created = again or await self._created(task, document, definition)
        if created is None or (not created.new and await self._has_ended(task, container, created.id)):
            return
        runtime_id = created.id
        try:
            await self._engine.start(runtime_id)
        except EngineError as error:
            await self._never_started(task, definition, error.reason(), runtime_id)
            return
        bindings = bindings_of(document, definition, await self._published(document, definition, runtime_id))
        started = await update_task(
            self._store,
            task.arn,
            lambda tx, t: container_started(tx, t, name, runtime_id, self._clock.now(), bindings),
        )
        if started is not None and all(c.known in ("RUNNING", "STOPPED") for c in started.containers):
            self._resources.forget(task.arn)
        log = container_log(task, definition, runtime_id)
        if log is not None and self._logs is not None:
            await self._logs.follow(log)

    async def _has_ended(self, task: Task, container: Container, runtime_id: str) -> bool:
        """It was started by a process that died before it could write so, or whose order was not answered, and has ended
        since: it must not run twice."""
        found = await self._engine.inspect(runtime_id)
        if found is None or found.state != "stopped":
            return False
        await self.ended(task, container, found)
        return True

    async def _created(self, task: Task, document: Document, definition: ContainerDefinition) -> Created | None:
        """The container in the engine; None when it could not be made, which is written then."""
        container = task.container(definition.name or "")
        assert container is not None
        assert container.pulled is not None
        resources = await self._resources.of(task, document)
        router = await self._router_address(task, document, definition)
        try:
            spec = container_spec(task, document, definition, container.pulled, resources, router)
            created = await self._engine.create(spec, Sandbox(task.sandbox_id or ""))
        except EngineError as error:
            await self._never_started(task, definition, error.reason())
            return None
        log = container_log(task, definition, created.id)
        problem = await self._logs.validate(log) if log is not None and self._logs is not None else None
        if problem is not None:
            await self._engine.remove(created.id)
            raise StepFailed("TaskFailedToStart", problem)
        return created

    def forget(self, arn: str) -> None:
        """The task is over, or its record is gone."""
        self._resources.forget(arn)

    async def _published(
        self, document: Document, definition: ContainerDefinition, runtime_id: str
    ) -> tuple[PortBinding, ...]:
        """The ports that the container publishes itself (bridge mode); asked of the engine, which chose them."""
        if document.network_mode not in (None, "bridge") or not definition.port_mappings:
            return ()
        found = await self._engine.inspect(runtime_id)
        return found.ports if found is not None else ()

    async def _router_address(self, task: Task, document: Document, definition: ContainerDefinition) -> str | None:
        """Where a container finds the log router of its task; None when they share a network or there is none."""
        router = firelens.router_of(document)
        if router is None or document.network_mode not in (None, "bridge") or not firelens.uses_firelens(definition):
            return None
        current = self._store.get(TASKS, task.arn) or task
        container = current.container(router.name or "")
        if container is None or container.runtime_id is None:
            return None
        found = await self._engine.inspect(container.runtime_id)
        return found.ipv4 if found is not None else None

    async def observed(self, task: Task) -> dict[str, ObservedContainer]:
        """By name, what the engine knows at this moment of the running containers; nothing when it does not answer."""
        found: dict[str, ObservedContainer] = {}
        for container in task.containers:
            if container.known != "RUNNING" or container.runtime_id is None:
                continue
            with contextlib.suppress(Retryable, EngineError):
                one = await self._engine.inspect(container.runtime_id)
                if one is not None:
                    found[container.name] = one
        return found

    async def follow_logs(self, task: Task, name: str, runtime_id: str) -> None:
        """Takes up following again after a restart of the control plane."""
        definition = self._store.get(TASK_DEFINITIONS, task.task_definition_arn)
        container = definition.document.container(name) if definition is not None else None
        log = container_log(task, container, runtime_id) if container is not None else None
        if log is not None and self._logs is not None:
            await self._logs.follow(log)

    async def _credentials(self, task: Task, definition: ContainerDefinition) -> RegistryAuth | None:
        """repositoryCredentials: a secret {"username", "password"} (ecs-tasks §18)."""
        source = (definition.repository_credentials or {}).get("credentialsParameter")
        if not source:
            return None
        secret = await self._resources.secret(Scope(task.account, task.region), str(source))
        try:
            return msgspec.json.decode(secret, type=RegistryAuth)
        except msgspec.DecodeError as error:
            text = sentences.secret_failed(str(source), f"it does not hold a username and a password: {error}")
            raise StepFailed("TaskFailedToStart", text) from error

    async def _never_started(
        self, task: Task, definition: ContainerDefinition, reason: str, runtime_id: str | None = None
    ) -> None:
        """The container goes to STOPPED without an exit code; the decision makes the task fail of it."""

        def write(tx: Transaction, current: Task) -> Task:
            container = current.container(definition.name or "")
            if container is not None and runtime_id is not None:
                current = with_container(current, replace(container, runtime_id=runtime_id))
            return container_stopped(
                current,
                definition.name or "",
                exit_code=None,
                reason=reason,
                now=self._clock.now(),
                essential=definition.is_essential,
            )

        await update_task(self._store, task.arn, write)

    async def _stop(self, task: Task, document: Document, name: str) -> None:
        container = task.container(name)
        if container is None or container.runtime_id is None:
            return
        now = self._clock.now()

        def told(tx: Transaction, current: Task) -> Task:
            mine = current.container(name)
            if mine is None or mine.stop_sent_at is not None or mine.known == "STOPPED":
                return current
            return with_container(current, replace(mine, stop_sent_at=now))

        await update_task(self._store, task.arn, told)
        # After a restart of the control plane the container has only what is left of its time.
        since = now if container.stop_sent_at is None else container.stop_sent_at
        grace = stop_grace(task, document.container(name), since)
        await self._engine.stop(container.runtime_id, max(0.0, since + grace - now))
        # The engine's event says how it ended; should the event be lost, the engine is asked.
        for _ in range(EVENT_PATIENCE):
            current = self._store.get(TASKS, task.arn)
            seen = current.container(name) if current is not None else None
            if seen is None or seen.known == "STOPPED":
                return
            await asyncio.sleep(EVENT_INTERVAL)
        await self.resync()

    async def _remove_unheard_of(self, task: Task) -> None:
        """What the engine may have made for the task without our hearing of it (its answer was lost): containers
        before the sandbox that they stand in."""
        mine = [one for one in await self._engine.list() if one.labels.get(LABEL_TASK) == task.arn]
        for one in sorted(mine, key=lambda one: one.sandbox):
            if one.sandbox:
                await self._engine.remove_sandbox(one.id)
            else:
                await self._engine.remove(one.id)

    async def _release(self, task: Task) -> None:
        """Removes what the task held on the host, then its address, and the task is STOPPED. Its replacement, which is
        being started at this moment, goes first."""
        self._resources.forget(task.arn)
        await self._starts.passed(rest=RELEASE_REST, longest=RELEASE_LONGEST_REST)
        for container in task.containers:
            if container.runtime_id is not None:
                if self._logs is not None and (container.started_at is not None or container.restarts):
                    await self._logs.drain(container.runtime_id)
                await self._engine.remove(container.runtime_id)
        if task.sandbox_id is None or any(c.pulled is not None and c.runtime_id is None for c in task.containers):
            await self._remove_unheard_of(task)
        definition = self._store.get(TASK_DEFINITIONS, task.task_definition_arn)
        volumes = task_volumes(task, definition.document) if definition is not None else ()
        if volumes:
            await self._engine.remove_volumes(volumes)
        if task.sandbox_id is not None:
            await self._engine.remove_sandbox(task.sandbox_id)
        if task.interface is not None and task.interface.ipv4 is not None:
            self.pool.claimed(task.interface.ipv4)
            if task.sandbox_id is None:
                self.pool.tidy()

        def write(tx: Transaction, current: Task) -> Task:
            now = self._clock.now()
            for interface in tx.find(NETWORK_INTERFACES, "owner", current.arn):
                self._addresses.release(tx, interface)
            released = replace(current.interface, released=True) if current.interface is not None else None
            containers = tuple(c if c.known == "STOPPED" else replace(c, known="STOPPED") for c in current.containers)
            return replace(
                current,
                last_status="STOPPED",
                stopped_at=now,
                interface=released,
                containers=containers,
                execution_stopped_at=current.execution_stopped_at or now,
                targets_registered=False,
            )

        await update_task(self._store, task.arn, write)


def _no_interface(wanted: Interface, error: str) -> StepFailed:
    reason = sentences.no_interface(wanted.subnet_id, error, public=wanted.assign_public_ip)
    return StepFailed("TaskFailedToStart", reason)


async def _nothing() -> None:
    return


async def _nobody(task: Task, container: Container, one: ObservedContainer) -> None:
    return


def _definition(document: Document, name: str) -> ContainerDefinition:
    definition = document.container(name)
    assert definition is not None, "a task has the containers of its definition"
    return definition
