"""Service events as a stream that can be followed: what happened last, and what happened after a cursor.

Costs as much as its answer: new events are noted as they become durable, the newest of all services are found through
what each service remembers of its last event.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import msgspec

from moorage.domain.clock import Clock
from moorage.domain.service import Service, ServiceEvent
from moorage.store.api import Change, StoreApi
from moorage.store.tables.ecs import SERVICE_EVENTS, SERVICES

KEPT = 5000
"""Events that are remembered in order; a reader who is further behind is served from the records by time."""


class Reading(msgspec.Struct, frozen=True):
    """`events` oldest first. `cursor`: give it back to read on."""

    events: tuple[ServiceEvent, ...]
    cursor: str


class EventFeed:
    """Follows the store until `close`, which also sends away whoever waits."""

    def __init__(self, store: StoreApi, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._run = f"{clock.now():.3f}"
        self._number = 0
        self._ring: deque[tuple[int, ServiceEvent]] = deque(maxlen=KEPT)
        self._news = asyncio.Event()
        self._closed = False
        self._unwatch: Callable[[], None] = store.watch(self._changed)

    def close(self) -> None:
        self._closed = True
        self._unwatch()
        self._news.set()

    def latest(self, services: Collection[Service] | None, limit: int) -> Reading:
        """The newest `limit` events of these services (None: of all)."""
        if services is None:
            services = heapq.nlargest(limit, self._store.all(SERVICES), key=lambda one: one.last_event_at or 0.0)
        newest = heapq.nlargest(limit, self._of(services), key=_order)
        return Reading(tuple(reversed(newest)), self._cursor())

    async def after(self, cursor: str, services: Collection[str] | None, wait: float) -> Reading:
        """What came after the cursor; when there is nothing, waits for it up to `wait` seconds. `services`: ARNs. Raises
        ValueError for what is not a cursor."""
        end = asyncio.get_running_loop().time() + wait
        while True:
            news = self._news
            found = self._since(cursor, services)
            rest = end - asyncio.get_running_loop().time()
            if found or rest <= 0 or self._closed:
                return Reading(tuple(found), self._cursor())
            try:
                await asyncio.wait_for(news.wait(), rest)
            except TimeoutError:
                continue

    def _since(self, cursor: str, services: Collection[str] | None) -> list[ServiceEvent]:
        run, number, at = cursor.split("_")
        seen, then = int(number), float(at)
        events: Iterable[ServiceEvent]
        if run == self._run and self._number - seen <= len(self._ring):
            events = (event for place, event in self._ring if place > seen)
        else:
            # Another run of the server gave this cursor, or it is too old: by time, which may tell one twice.
            fresh = [one for one in self._store.all(SERVICES) if (one.last_event_at or 0.0) > then]
            events = sorted((event for event in self._of(fresh) if event.created_at > then), key=_order)
        return [event for event in events if services is None or event.service_arn in services]

    def _of(self, services: Iterable[Service]) -> Iterable[ServiceEvent]:
        return (event for one in services for event in self._store.find(SERVICE_EVENTS, "service", one.arn))

    def _cursor(self) -> str:
        return f"{self._run}_{self._number}_{self._clock.now():.3f}"

    def _changed(self, changes: Sequence[Change[Any]]) -> None:
        before = self._number
        for change in changes:
            if change.table is SERVICE_EVENTS and change.before is None and change.after is not None:
                self._number += 1
                self._ring.append((self._number, change.after))
        if self._number != before:
            self._news.set()
            self._news = asyncio.Event()


def _order(event: ServiceEvent) -> tuple[float, str, int]:
    return event.created_at, event.service_arn, event.sequence
