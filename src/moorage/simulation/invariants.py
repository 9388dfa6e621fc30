"""What must never happen, whatever the story: checked after every durable change, at every SIGTERM, and at rest.

The rules here are written from what AWS promises and know nothing of how the control plane decides. A broken rule is
remembered with its time; `World` raises it. Source: semantics ecs-services §3.4, ecs-tasks §2, §5.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from moorage.control.loop import LONGEST_RETRY
from moorage.control.warm_pool import OWNER as POOL
from moorage.domain.clock import Clock
from moorage.domain.network import NetworkInterface
from moorage.domain.service import Service
from moorage.domain.target_group import target_key
from moorage.domain.task import TargetPlace, Task
from moorage.engine.simulated import SimulatedEngine
from moorage.simulation.alarms import SimulatedAlarms
from moorage.simulation.container_invariants import ContainerInvariants, targets_of
from moorage.simulation.deployment_invariants import DeploymentInvariants
from moorage.simulation.other_schedulers import OtherSchedulers
from moorage.simulation.pass_invariants import PassInvariants
from moorage.store.api import Change, StoreApi, Table
from moorage.store.log_memory import MemoryLog
from moorage.store.tables.ecs import CONTAINER_INSTANCES, SERVICES, TASK_DEFINITIONS, TASKS
from moorage.store.tables.elbv2 import LISTENERS, LOAD_BALANCERS, TARGET_HEALTH, TARGETS
from moorage.store.tables.network import NETWORK_INTERFACES

R = TypeVar("R")

# Seconds that one pass of a controller may take, at most.
ONE_PASS = 2.0


class Violated(AssertionError):
    """An invariant does not hold."""


class Invariants:
    """One per world. `watch` after every start of a control plane."""

    def __init__(self, clock: Clock, engine: SimulatedEngine, alarms: SimulatedAlarms) -> None:
        self.broken: list[str] = []
        self._clock = clock
        self._engine = engine
        self._store: StoreApi | None = None
        self._log: MemoryLog | None = None
        self._services: dict[str, Service] = {}
        self._images: dict[tuple[str, str], str] = {}
        self._tasks: dict[str, dict[str, Task]] = {}
        self._addresses: Counter[tuple[str, str, str, str]] = Counter()
        self._targets: dict[tuple[str, str], Any] = {}
        self._others = OtherSchedulers(self.note)
        self._deployments = DeploymentInvariants(self.note, alarms)
        self._containers = ContainerInvariants(self.note, engine)
        self.passes = PassInvariants(self.note)

    def watch(self, store: StoreApi, log: MemoryLog) -> None:
        self._store, self._log = store, log
        self._services = {service.arn: service for service in store.all(SERVICES)}
        self._tasks = {}
        for task in store.find(TASKS, "live", True):
            self._tasks.setdefault(task.service_arn or "", {})[task.arn] = task
        self._addresses = Counter(_address(interface) for interface in store.all(NETWORK_INTERFACES))
        self._targets = {(TARGETS.name, target.key): target for target in store.all(TARGETS)}
        self._targets |= {(TARGET_HEALTH.name, health.key): health for health in store.all(TARGET_HEALTH)}
        self._others.watch(store)
        self._deployments.watch(store)
        self._containers.watch(store)
        store.watch(self._changed)

    def unwatch(self) -> None:
        """The control plane is gone: nothing is expected of it until it is back."""
        self._store = self._log = None
        self._containers.unwatch()

    def _watched(self) -> StoreApi:
        assert self._store is not None, "the control plane is down"
        return self._store

    def note(self, what: str) -> None:
        self.broken.append(f"t={self._clock.now():.3f}: {what}")

    # --- after every change ------------------------------------------------------------------------------------------
    def _changed(self, changes: Sequence[Change[Any]]) -> None:
        """The store may be ahead of these changes, and they may be those of several commits: everything is judged one by
        one, by what the changes themselves have said so far."""
        for change in changes:
            self._others.changed(change)
            self._deployments.changed(change)
            self.passes.changed(change)
            if change.table is TASKS:
                self._task_changed(change)
            elif change.table is SERVICES and change.after is not None:
                self._services[change.key] = change.after
                self._complete_when_healthy(change.before, change.after)
            elif change.table is NETWORK_INTERFACES:
                self._interface_changed(change)
            elif change.table is TARGETS or change.table is TARGET_HEALTH:
                self._targets[change.table.name, change.key] = change.after

    def _task_changed(self, change: Change[Task]) -> None:
        before, after = change.before, change.after
        known = self._tasks.setdefault((after or before).service_arn or "", {})  # type: ignore[union-attr]
        if after is None or after.last_status == "STOPPED":
            known.pop(change.key, None)
        else:
            known[change.key] = after
        if after is None:
            return
        if before is None:
            if after.service_arn is not None:
                self._not_over_maximum(after.service_arn, after)
                self._goes_on(after.service_arn, after)
            if after.instance is not None:
                self._not_over_capacity(after.instance.arn)
            return
        if before.instance is None and after.instance is not None:
            self._not_over_capacity(after.instance.arn)
        self._one_image(after)
        if after.rank < before.rank:
            self.note(f"{after.id} went back from {before.last_status} to {after.last_status}")
        if before.desired_status == "STOPPED" and after.desired_status != "STOPPED":
            self.note(f"{after.id} should stop and then should run again")
        if before.desired_status == "STOPPED" and before.stopped_reason != after.stopped_reason is not None:
            self.note(f"{after.id} was to stop for {before.stopped_reason!r}, then for {after.stopped_reason!r}")
        if before.desired_status == "RUNNING" and after.desired_status == "STOPPED":
            asyncio.get_running_loop().call_later(ONE_PASS, self._has_left, self._watched(), after.arn)
        if (before.protected_until or 0.0) > self._clock.now() and self._is_scaled_in(before, after):
            self.note(f"{after.id} is protected and was stopped: {after.stopped_reason}")
        by_scheduler = after.stop_code == "ServiceSchedulerInitiated" and before.desired_status == "RUNNING"
        if by_scheduler and after.desired_status == "STOPPED" and after.service_arn is not None:
            self._not_under_minimum(after.service_arn, before)

    def _is_scaled_in(self, before: Task, after: Task) -> bool:
        """Stopped for fewer tasks or other ones, in a service that is not deleted."""
        service = self._services.get(after.service_arn or "")
        stops = before.desired_status == "RUNNING" and after.desired_status == "STOPPED"
        scaled = (after.stopped_reason or "").startswith("Scaling activity")
        return stops and scaled and service is not None and service.status == "ACTIVE"

    def _one_image(self, task: Task) -> None:
        """All tasks of a deployment run what its first task found behind the tag, unless they do not want that."""
        for container in task.containers if task.deployment_id is not None else ():
            if container.image_digest is None:
                continue
            known = self._images.setdefault((task.deployment_id or "", container.name), container.image_digest)
            if known != container.image_digest and self._is_pinned(task, container.name):
                self.note(f"{task.id} runs {container.image_digest}, others of {task.deployment_id} run {known}")

    def _is_pinned(self, task: Task, name: str) -> bool:
        definition = self._watched().get(TASK_DEFINITIONS, task.task_definition_arn)
        container = definition.document.container(name) if definition is not None else None
        return container is not None and container.version_consistency != "disabled"

    def _interface_changed(self, change: Change[NetworkInterface]) -> None:
        if change.before is not None:
            self._addresses[_address(change.before)] -= 1
        if change.after is not None:
            address = _address(change.after)
            self._addresses[address] += 1
            if self._addresses[address] > 1:
                self.note(f"two network interfaces have the address {change.after.ipv4}")

    def _not_over_maximum(self, arn: str, started: Task) -> None:
        """Checked when tasks start: tasks that should run, in whatever state, against maximumPercent rounded down."""
        service = self._services.get(arn)
        if service is None:
            return
        if self._others.looks_after(service):
            self._others.started(service, self._tasks.get(arn, {}).values(), started)
            return
        percent = service.deployment_configuration.maximum_percent
        most = service.desired_count * percent // 100
        running = sum(1 for task in self._tasks.get(arn, {}).values() if task.desired_status == "RUNNING")
        if running > most:
            self.note(f"{service.name}: {running} tasks, at most {most} ({percent} % of {service.desired_count})")

    def _goes_on(self, arn: str, started: Task) -> None:
        """Checked when tasks start: a deployment that has failed starts nothing more."""
        service = self._services.get(arn)
        for one in service.deployments if service is not None else ():
            if one.id == started.deployment_id and one.rollout_state == "FAILED":
                self.note(f"{started.id} is started for {one.id}, which has FAILED")

    def _not_over_capacity(self, arn: str) -> None:
        """Checked when tasks are placed: what all tasks of a container instance reserve, and their fixed host ports."""
        store = self._watched()
        instance = store.get(CONTAINER_INSTANCES, arn)
        assert instance is not None
        tasks = [t for mine in self._tasks.values() for t in mine.values() if t.instance and t.instance.arn == arn]
        documents = [d.document for t in tasks if (d := store.get(TASK_DEFINITIONS, t.task_definition_arn)) is not None]
        cpu = sum(int(d.cpu or sum(c.cpu or 0 for c in d.container_definitions)) for d in documents)
        if cpu > instance.registered.cpu:
            self.note(
                f"{len(tasks)} tasks reserve {cpu} CPU units on {instance.id}, which has {instance.registered.cpu}"
            )
        ports = Counter(
            (mapping.host_port, mapping.protocol or "tcp")
            for document in documents
            if document.network_mode in (None, "bridge", "host")
            for container in document.container_definitions
            for mapping in container.port_mappings or ()
            if mapping.host_port
        )
        for port, count in ports.items():
            if count > 1:
                self.note(f"{count} tasks have the host port {port} of {instance.id}")

    def _not_under_minimum(self, arn: str, stopped: Task) -> None:
        """Checked when the scheduler stops a task that serves: those that are left must be minimumHealthyPercent, rounded
        up, of the desired count."""
        service = self._services.get(arn)
        if service is None or service.status != "ACTIVE" or not serves(self, stopped):
            return
        if self._others.looks_after(service):
            serving = [task for task in self._tasks.get(arn, {}).values() if serves(self, task)]
            self._others.stopped(service, serving, stopped)
            return
        percent = service.deployment_configuration.minimum_healthy_percent
        least = -(-service.desired_count * percent // 100)
        left = [task for task in self._tasks.get(arn, {}).values() if serves(self, task)]
        self._deployments.stopped(service, stopped, left)
        if len(left) < least:
            self.note(
                f"{service.name}: stopping the serving {stopped.id} leaves {len(left)}, at least {least} must stay "
                f"({percent} % of {service.desired_count})"
            )

    def _complete_when_healthy(self, before: Service | None, after: Service) -> None:
        """Checked when a deployment is COMPLETED: its tasks serve, all of them or as many as its early success asks for."""
        known = {one.id: one.rollout_state for one in before.deployments} if before is not None else {}
        criteria = after.deployment_configuration.early_success
        early = criteria is not None and criteria.enable and criteria.healthy_percent
        least = -(-after.desired_count * early // 100) if early else after.desired_count
        for one in after.deployments:
            if (
                one.rollout_state != "COMPLETED"
                or known.get(one.id) != "IN_PROGRESS"
                or self._others.looks_after(after)
            ):
                continue
            mine = [t for t in self._tasks.get(after.arn, {}).values() if t.deployment_id == one.id]
            found = sum(1 for task in mine if serves(self, task, unused=True))
            if found < least:
                self.note(f"{after.name}: {one.id} is COMPLETED with {found} tasks that serve, of {least}")

    def get(self, table: Table[R], key: str) -> R | None:
        """Targets as the changes have told of them so far; what never changes, from the store."""
        if table is TARGETS or table is TARGET_HEALTH:
            return self._targets.get((table.name, key))
        return self._watched().get(table, key)

    def _has_left(self, store: StoreApi, arn: str) -> None:
        """A task that should stop is registered nowhere one pass later, unless the disk or the process was away."""
        if store is not self._store or self._log is None:
            return
        loop = asyncio.get_running_loop()
        if loop.time() - self._log.refused_at <= LONGEST_RETRY + ONE_PASS:
            loop.call_later(LONGEST_RETRY, self._has_left, store, arn)
            return
        task = store.get(TASKS, arn)
        if task is None or task.last_status == "STOPPED":
            return  # its address may belong to another task by now; `at_rest` looks at that
        for target in targets_of(store, task):
            if target.deregistered_at is None:
                self.note(f"{task.id} should stop and is still registered in {target.target_group_arn}")

    # --- at rest -----------------------------------------------------------------------------------------------------
    def ended(self, *, rest: bool = True) -> None:
        """For the end of a story in which every deployment had the time to end (`rest`), and for any moment at which what
        is written in one place must be written in the other."""
        found = self._deployments.at_rest if rest else self._deployments.records
        for problem in found(self._watched()):
            self.note(problem)

    def at_rest(self) -> list[str]:
        """What is wrong with a world that nobody changes any more."""
        store = self._watched()
        living = {task.arn: task for task in store.find(TASKS, "live", True)}
        balancers = {
            f"{record.arn}/{subnet_id}"
            for record in store.all(LOAD_BALANCERS)
            if store.find(LISTENERS, "load_balancer", record.arn)
            for subnet_id, _ in record.subnets
        }
        wrong = [f"leaked: {what}" for what in self._engine.leaks({*living, *balancers})]
        wrong += [
            f"address {interface.ipv4} is held by {interface.owner_arn}, which has stopped"
            for interface in store.all(NETWORK_INTERFACES)
            if interface.owner_arn not in living and interface.owner_arn != POOL
            if f"{interface.owner_arn}/{interface.subnet_id}" not in balancers
        ]
        pooled = {interface.ipv4 for interface in store.all(NETWORK_INTERFACES) if interface.owner_arn == POOL}
        wrong += [
            f"a warm sandbox has the address {address}, which the pool does not hold"
            for address in self._engine.pool()
            if address not in pooled
        ]
        keys = {_key(place) for task in living.values() for place in task.target_places}
        wrong += [
            f"target {target.id}:{target.port} is registered, but no living task has that address"
            for target in store.all(TARGETS)
            if target.deregistered_at is None and target.key not in keys
        ]
        for service in store.all(SERVICES):
            wrong += self._others.at_rest(service, store.find(TASKS, "service", service.arn))
        for container in self._engine.containers(running=True):
            task = living.get(container.spec.task_arn)
            mine = task.container(container.spec.name) if task is not None else None
            if mine is not None and mine.known != "RUNNING":
                wrong.append(f"{container.spec.docker_name} runs, its record says {mine.known}")
        for task in living.values():
            if task.sandbox_id is not None and task.last_status == "RUNNING" and not self._engine.has_network(task.arn):
                wrong.append(f"{task.id} is RUNNING, its sandbox is not")
            running = {c.spec.name for c in self._engine.of_task(task.arn) if c.state == "running"}
            wrong += [
                f"{task.id}/{mine.name} is RUNNING by its record, but does not run"
                for mine in task.containers
                if mine.known == "RUNNING" and mine.name not in running
            ]
        return wrong


class Readable(Protocol):
    def get(self, table: Table[R], key: str) -> R | None: ...


def serves(view: Readable, task: Task, *, unused: bool = False) -> bool:
    """Can users be served by this task, as far as anybody can know? It runs, its health checks pass, and the load
    balancers that it belongs to find it healthy. `unused`: a target that no load balancer uses will do."""
    if task.last_status != "RUNNING" or task.desired_status != "RUNNING":
        return False
    definition = view.get(TASK_DEFINITIONS, task.task_definition_arn)
    for container in task.containers:
        described = definition.document.container(container.name) if definition is not None else None
        if described is None or not described.is_essential:
            continue  # those before it and beside it may have ended
        if container.known != "RUNNING" or (described.health_check is not None and container.health != "HEALTHY"):
            return False
    for place in task.target_places:
        key = _key(place)
        health = view.get(TARGET_HEALTH, key)
        target = view.get(TARGETS, key)
        if unused and (health is None or health.state == "unused"):
            continue
        if target is None or target.deregistered_at is not None or health is None or health.state != "healthy":
            return False
    return True


def _key(place: TargetPlace) -> str:
    return target_key(place.target_group_arn, place.id, place.port)


def _address(interface: NetworkInterface) -> tuple[str, str, str, str]:
    return (interface.account, interface.region, interface.subnet_id, interface.ipv4)
