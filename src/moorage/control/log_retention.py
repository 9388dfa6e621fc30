"""Deletes log events that have outlived their group's retention, and what no stream owns any more.

Readers never see expired events (the API leaves them out by itself); this only gives the disk back. Source: semantics
around §4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from moorage.control.loop import Loop, Pass
from moorage.domain.clock import Clock
from moorage.store.api import Change, StoreApi
from moorage.store.log_events import LogEvents
from moorage.store.tables.logs import LOG_GROUPS, LOG_STREAMS

EVERY = 3600.0
DAY_MS = 86_400_000
ORPHANS = "orphans"


class LogRetention:
    """`start()` looks at every group once, then hourly and whenever a retention changes. Keys are group ARNs."""

    def __init__(self, store: StoreApi, clock: Clock, events: LogEvents) -> None:
        self._store = store
        self._clock = clock
        self._events = events
        self.loop = Loop("log retention", self.reconcile, workers=1)
        self._unwatch: Callable[[], None] | None = None

    async def start(self) -> None:
        self._unwatch = self._store.watch(self._changed)
        self.loop.wake(ORPHANS)
        for group in self._store.all(LOG_GROUPS):
            if group.retention_days is not None:
                self.loop.wake(group.arn)

    async def close(self) -> None:
        if self._unwatch is not None:
            self._unwatch()
        await self.loop.close()

    async def reconcile(self, key: str) -> Pass:
        if key == ORPHANS:
            await self._events.keep_only({stream.id for stream in self._store.all(LOG_STREAMS)})
            return Pass("only events of existing streams are kept", again_after=EVERY)
        group = self._store.get(LOG_GROUPS, key)
        if group is None:
            self.loop.forget(key)
            return Pass("the log group is gone")
        if group.retention_days is None:
            return Pass("events never expire")
        await self._events.expire(group.id, int(self._clock.now() * 1000) - group.retention_days * DAY_MS)
        return Pass(f"events older than {group.retention_days} days are deleted", again_after=EVERY)

    def _changed(self, changes: Sequence[Change[Any]]) -> None:
        for change in changes:
            if change.table is LOG_GROUPS and change.after is not None and change.after.retention_days is not None:
                self.loop.wake(change.key)
