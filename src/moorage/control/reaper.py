"""What leaves memory: stopped tasks an hour after they stopped (kept in history on disk), deleted services, used-up
client tokens, deregistered container instances, deleted task definitions that nothing needs any more, service deployments
after 90 days (semantics ecs-tasks §2, ecs-task-definitions §1, ecs-services §5.6)."""

from __future__ import annotations

import asyncio
import logging

from moorage.domain.clock import Clock
from moorage.domain.container_instance import ContainerInstance
from moorage.domain.errors import MoorageError
from moorage.domain.service import ENDED, Service
from moorage.store.memory import Store, StoreTransaction
from moorage.store.tables.ecs import (
    CLIENT_TOKENS,
    CONTAINER_INSTANCES,
    HOST_GROUPS,
    REVISIONS,
    SERVICE_DEPLOYMENTS,
    SERVICE_EVENTS,
    SERVICES,
    TASK_DEFINITIONS,
    TASKS,
)

log = logging.getLogger("moorage.reaper")

EVERY = 60.0
TASK_KEPT = 3600.0
SERVICE_KEPT = 3600.0
INSTANCE_KEPT = 3600.0
TOKEN_KEPT = 24 * 3600.0
DEPLOYMENT_KEPT = 90 * 24 * 3600.0
DEPLOYMENTS_EVERY = 3600.0


class Reaper:
    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._job: asyncio.Task[None] | None = None
        self._deployments_at = clock.now()

    def start(self) -> None:
        self._job = asyncio.get_running_loop().create_task(self._run(), name="reaper")

    async def close(self) -> None:
        if self._job is not None:
            self._job.cancel()
            await asyncio.gather(self._job, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(EVERY)
            try:
                await self.sweep()
            except MoorageError as error:
                log.warning("nothing could be moved to history: %s", error)

    async def sweep(self) -> int:
        """One sweep; returns how many records left memory."""
        now = self._clock.now()

        def write(tx: StoreTransaction) -> int:
            gone = 0
            for task in tx.find(TASKS, "stopped", True):
                if now - (task.stopped_at or now) >= TASK_KEPT and (task.accounted or task.service_arn is None):
                    tx.archive(TASKS, task.arn)
                    gone += 1
            for service in tx.find(SERVICES, "deleted", True):
                if now - (service.deleted_at or now) >= SERVICE_KEPT:
                    gone += _delete_service(tx, service.arn)
            for definition in tx.find(TASK_DEFINITIONS, "deleting", True):
                if not _is_needed(tx, definition.arn):
                    tx.delete(TASK_DEFINITIONS, definition.arn)
                    gone += 1
            for instance in tx.find(CONTAINER_INSTANCES, "inactive", True):
                since = instance.inactive_at if instance.inactive_at is not None else instance.registered_at
                if now - since >= INSTANCE_KEPT and not _still_a_machine(tx, instance):
                    tx.delete(CONTAINER_INSTANCES, instance.arn)
                    gone += 1
            if now - self._deployments_at >= DEPLOYMENTS_EVERY:
                self._deployments_at = now
                gone += sum(_forget_deployments(tx, service, now) for service in tx.all(SERVICES))
            for token in tx.all(CLIENT_TOKENS):
                if now - token.created_at >= TOKEN_KEPT:
                    tx.delete(CLIENT_TOKENS, token.key)
                    gone += 1
            return gone

        return await self._store.update(write)


def _delete_service(tx: StoreTransaction, arn: str) -> int:
    for event in tx.find(SERVICE_EVENTS, "service", arn):
        tx.archive(SERVICE_EVENTS, event.id)
    for record in tx.find(SERVICE_DEPLOYMENTS, "service", arn):
        tx.archive(SERVICE_DEPLOYMENTS, record.arn)
    for revision in tx.find(REVISIONS, "service", arn):
        tx.archive(REVISIONS, revision.arn)
    tx.archive(SERVICES, arn)
    return 1


def _forget_deployments(tx: StoreTransaction, service: Service, now: float) -> int:
    """Service deployments that ended long ago, and the revisions that only they named. What the service runs, what it
    would roll back to and the launch type that it would fall back to stay."""
    running = {one.service_deployment_arn for one in service.deployments}
    needed = {service.revision_arn, service.last_good_revision, *(one.revision_arn for one in service.deployments)}
    gone = 0
    for record in tuple(tx.find(SERVICE_DEPLOYMENTS, "service", service.arn)):
        ended = record.finished_at if record.status in ENDED else None
        if record.arn not in running and ended is not None and now - ended >= DEPLOYMENT_KEPT:
            tx.archive(SERVICE_DEPLOYMENTS, record.arn)
            gone += 1
        else:
            needed |= {record.target_revision, record.rollback_revision, *record.source_revisions}
    if not gone:
        return 0
    revisions = tuple(tx.find(REVISIONS, "service", service.arn))
    launched = [one for one in revisions if one.launch_type]
    needed |= {one.arn for one in sorted(launched, key=lambda one: one.created_at)[-1:]}
    for revision in revisions:
        if revision.arn not in needed and now - revision.created_at >= DEPLOYMENT_KEPT:
            tx.archive(REVISIONS, revision.arn)
            gone += 1
    return gone


def _still_a_machine(tx: StoreTransaction, instance: ContainerInstance) -> bool:
    """Tasks end on it, or its group still has it: forgotten, a machine that was deregistered by hand would join again."""
    if tx.find(TASKS, "container_instance", instance.arn):
        return True
    group = tx.get(HOST_GROUPS, instance.group_arn) if instance.group_arn is not None else None
    return group is not None and any(machine.id == instance.ec2_instance_id for machine in group.instances)


def _is_needed(tx: StoreTransaction, definition_arn: str) -> bool:
    """By a task (a stopped one is still shown with its definition) or by the revision of a service that lives."""
    if tx.find(TASKS, "definition", definition_arn):
        return True
    return any(
        (service := tx.get(SERVICES, revision.service_arn)) is not None and service.status != "INACTIVE"
        for revision in tx.find(REVISIONS, "task_definition", definition_arn)
    )
