"""Watches the CloudWatch alarms of running deployments and writes down which of them were seen in ALARM (semantics
ecs-services §3.7). What follows from that is decided in `decide/failing.py`.

Nothing is asked while no deployment with alarms runs. While one does, alarms are read when something may have changed them
and at the latest every few seconds; an alarm that went off stays noted when it is OK again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from typing import Any

from msgspec.structs import replace

from moorage.control.ports import AlarmSource
from moorage.domain.alarm import ALARM
from moorage.domain.scope import Scope
from moorage.domain.service import Service
from moorage.store.api import Change, StoreApi, Transaction
from moorage.store.tables.ecs import SERVICES

log = logging.getLogger("moorage.alarms")

POLL = 15.0
REST = 0.25
"""Seconds between two looks: others may have much to write meanwhile."""


def watched(service: Service) -> tuple[str, ...]:
    """The alarms that would fail the deployment that this service is in the middle of; none: there is nothing to watch. A
    rollback is not watched, what has gone off already need not be."""
    if service.status != "ACTIVE" or not service.deployments:
        return ()
    primary = service.deployments[0]
    if primary.rollout_state != "IN_PROGRESS" or primary.rollback_of is not None:
        return ()
    return tuple(name for name in service.deployment_configuration.watched_alarms if name not in primary.alarms)


class AlarmWatch:
    def __init__(self, store: StoreApi, source: AlarmSource | None) -> None:
        """`source` None: nobody knows of alarms, no deployment fails of one."""
        self._store = store
        self._source = source
        self._watched: dict[str, tuple[str, ...]] = {}
        self._more = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._end_watch: Callable[[], None] = lambda: None

    def start(self) -> None:
        if self._source is None:
            return
        self._end_watch = self._store.watch(self._changed)
        self._note(self._store.all(SERVICES))

    async def close(self) -> None:
        self._end_watch()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _changed(self, changes: Sequence[Change[Any]]) -> None:
        for change in changes:
            record = change.after if change.after is not None else change.before
            if isinstance(record, Service):
                self._note((record,))

    def _note(self, services: Iterable[Service]) -> None:
        for service in services:
            names = watched(service)
            if names and set(names) - set(self._watched.get(service.arn, ())):
                self._more.set()
            if names:
                self._watched[service.arn] = names
            else:
                self._watched.pop(service.arn, None)
        if self._watched and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._run(), name="deployment alarms")

    async def _run(self) -> None:
        assert self._source is not None
        while self._watched:
            self._more.clear()
            changed = asyncio.ensure_future(self._source.changed())
            more = asyncio.ensure_future(self._more.wait())
            try:
                await self._look(self._source)
                await asyncio.sleep(REST)
                await asyncio.wait({changed, more}, timeout=POLL, return_when=asyncio.FIRST_COMPLETED)
            except Exception as error:
                log.warning("the alarms of deployments cannot be read, they are asked again: %r", error)
                await asyncio.sleep(POLL)
            finally:
                changed.cancel()
                more.cancel()

    async def _look(self, source: AlarmSource) -> None:
        by_scope: dict[Scope, dict[str, tuple[str, ...]]] = {}
        for arn, names in self._watched.items():
            _, _, _, region, account, _ = arn.split(":", 5)
            by_scope.setdefault(Scope(account, region), {})[arn] = names
        for scope, services in by_scope.items():
            names = tuple(dict.fromkeys(name for mine in services.values() for name in mine))
            found = await source.alarms(scope, names)
            ringing = {name for name, alarm in found.items() if alarm.state == ALARM}
            for arn, mine in services.items():
                if ringing & set(mine):
                    await self._store.update(partial(note_alarms, service_arn=arn, ringing=ringing))


def note_alarms(tx: Transaction, service_arn: str, ringing: Collection[str]) -> None:
    """Writes the alarms that are in ALARM into the deployment that they fail."""
    service = tx.get(SERVICES, service_arn)
    if service is None:
        return
    more = tuple(name for name in watched(service) if name in ringing)
    if more:
        primary, *older = service.deployments
        tx.put(SERVICES, replace(service, deployments=(replace(primary, alarms=(*primary.alarms, *more)), *older)))
