"""Log events on disk: one SQLite file of their own, so that chatty containers never stand in the way of the store.

It decides how events are kept, ordered (timestamp, then arrival) and found; it knows neither names nor retention rules
nor filter patterns: callers hand in ids, moments and predicates. One thread writes, many waiting writers share one
transaction; other threads read. The event loop never waits for the disk. What was acknowledged survives the end of the
process; after a power failure the last moments may be missing (WAL, synchronous=NORMAL), as with any log shipper.

`MemoryLogEvents` is the same without file and threads, for the simulated world.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

from moorage.domain.errors import MoorageError
from moorage.domain.logs import LogEvent
from moorage.store.api import StoreUnavailable
from moorage.store.log_events_sql import EventDatabase, EventPage, EventQuery, StreamStats

T = TypeVar("T")
Watcher = Callable[[str, Sequence[LogEvent]], None]

# How many waiting jobs share one transaction at most, and how many rows one clean-up job deletes.
GROUP = 512
DELETE_AT_ONCE = 5000


class LogEvents(Protocol):
    """What services and the log router use."""

    async def append(self, group_id: str, stream_id: str, events: Sequence[tuple[int, str]], ingested_at: int) -> None:
        """Stores (timestamp, message) pairs; returns when they are on disk. All or nothing."""
        ...

    async def read(self, query: EventQuery) -> EventPage: ...

    def stats(self, stream_id: str) -> StreamStats:
        """First and last timestamp, last ingestion, bytes; all zero for a stream without events."""
        ...

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        """Calls `watcher(group_id, events)` with everything stored from now on; the answer ends it."""
        ...

    async def delete_stream(self, stream_id: str) -> None: ...

    async def expire(self, group_id: str, before: int) -> None:
        """Deletes the group's events older than `before` (epoch milliseconds)."""
        ...

    async def keep_only(self, stream_ids: Collection[str]) -> None:
        """Deletes the events of all other streams (what a crash between two stores may have left behind)."""
        ...

    async def clear(self) -> None:
        """Deletes everything."""
        ...

    async def close(self) -> None: ...


class _Events:
    """What both variants share: numbering, statistics, and the order of the steps."""

    def __init__(self) -> None:
        self._stats: dict[str, StreamStats] = {}
        self._sequence = 0
        self._watchers: list[Watcher] = []

    async def append(self, group_id: str, stream_id: str, events: Sequence[tuple[int, str]], ingested_at: int) -> None:
        if not events:
            return
        first = self._sequence + 1
        self._sequence += len(events)
        rows = [
            (group_id, timestamp, first + offset, stream_id, ingested_at, message)
            for offset, (timestamp, message) in enumerate(events)
        ]
        await self._write(lambda database: database.insert(rows), self._learn)
        if self._watchers:
            stored = [LogEvent(row[1], row[2], stream_id, ingested_at, row[5]) for row in rows]
            for watcher in tuple(self._watchers):
                watcher(group_id, stored)

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)

    async def read(self, query: EventQuery) -> EventPage:
        return await self._read(lambda database: database.select(query))

    def stats(self, stream_id: str) -> StreamStats:
        return self._stats.get(stream_id) or StreamStats(stream_id)

    async def delete_stream(self, stream_id: str) -> None:
        while not await self._write(lambda d: d.delete_stream(stream_id, DELETE_AT_ONCE), _ignore):
            pass
        self._stats.pop(stream_id, None)

    async def expire(self, group_id: str, before: int) -> None:
        while True:
            changed = await self._write(lambda d: d.delete_before(group_id, before, DELETE_AT_ONCE), self._learn)
            if not changed:
                return

    async def keep_only(self, stream_ids: Collection[str]) -> None:
        for stream_id in set(self._stats) - set(stream_ids):
            await self.delete_stream(stream_id)

    async def clear(self) -> None:
        await self._write(lambda database: database.clear(), _ignore)
        self._stats.clear()

    def _learn(self, changed: Sequence[StreamStats]) -> None:
        for stats in changed:
            self._stats[stats.stream_id] = stats

    async def _write(self, job: Callable[[EventDatabase], T], then: Callable[[T], None]) -> T:
        raise NotImplementedError

    async def _read(self, job: Callable[[EventDatabase], T]) -> T:
        raise NotImplementedError


class MemoryLogEvents(_Events):
    """`MemoryLogEvents()`: everything at once and in memory; never gives way to another task."""

    def __init__(self) -> None:
        super().__init__()
        self._database = EventDatabase(sqlite3.connect(":memory:", isolation_level=None))
        self._database.create()

    async def _write(self, job: Callable[[EventDatabase], T], then: Callable[[T], None]) -> T:
        result = job(self._database)
        then(result)
        return result

    async def _read(self, job: Callable[[EventDatabase], T]) -> T:
        return job(self._database)

    async def close(self) -> None:
        self._database.close()


class _Job(msgspec.Struct):
    run: Callable[[EventDatabase], Any]
    then: Callable[[Any], None]
    answer: asyncio.Future[Any]


class SqliteLogEvents(_Events):
    """`await SqliteLogEvents.open(path)`; `close()` writes what is waiting."""

    def __init__(self, path: Path, writer: EventDatabase) -> None:
        super().__init__()
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="log-events-read")
        self._local = threading.local()
        self._connections: list[EventDatabase] = []
        self._closed = False
        self._thread = threading.Thread(target=self._main, args=(writer,), name="log-events-write", daemon=True)

    @classmethod
    async def open(cls, path: Path) -> SqliteLogEvents:
        def connect() -> tuple[EventDatabase, int, list[StreamStats]]:
            path.parent.mkdir(parents=True, exist_ok=True)
            database = _connect(path)
            database.create()
            return database, database.last_sequence(), database.all_stats()

        try:
            writer, sequence, stats = await asyncio.to_thread(connect)
        except sqlite3.Error as error:
            raise MoorageError(
                f"the log events in {path} cannot be read",
                str(error),
                "move the file away to start without old log events",
            ) from error
        events = cls(path, writer)
        events._sequence = sequence
        events._learn(stats)
        events._thread.start()
        return events

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)
        await asyncio.to_thread(self._readers.shutdown)
        for database in self._connections:
            database.close()

    async def _write(self, job: Callable[[EventDatabase], T], then: Callable[[T], None]) -> T:
        if self._closed:
            raise StoreUnavailable("the log events are closed")
        answer: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put(_Job(job, then, answer))
        return await answer

    async def _read(self, job: Callable[[EventDatabase], T]) -> T:
        def run() -> T:
            database: EventDatabase | None = getattr(self._local, "database", None)
            if database is None:
                database = self._local.database = _connect(self._path)
                self._connections.append(database)
            return job(database)

        try:
            return await self._loop.run_in_executor(self._readers, run)
        except sqlite3.Error as error:
            raise StoreUnavailable("log events cannot be read", str(error)) from error

    # -- the writing thread ------------------------------------------------------------------------------------------

    def _main(self, database: EventDatabase) -> None:
        running = True
        while running:
            jobs: list[_Job] = []
            job = self._jobs.get()
            while job is not None:
                jobs.append(job)
                if len(jobs) >= GROUP or self._jobs.empty():
                    break
                job = self._jobs.get()
            running = job is not None
            if jobs:
                self._run_together(database, jobs)
        database.close()

    def _run_together(self, database: EventDatabase, jobs: list[_Job]) -> None:
        try:
            with database.transaction():
                results = [job.run(database) for job in jobs]
        except Exception as error:
            refusal = StoreUnavailable("log events cannot be written", str(error))
            self._tell(_fail_all, jobs, refusal)
        else:
            self._tell(_succeed_all, jobs, results)

    def _tell(self, callback: Callable[..., None], *arguments: Any) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(callback, *arguments)


def _connect(path: Path) -> EventDatabase:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    return EventDatabase(connection)


def _succeed_all(jobs: Sequence[_Job], results: Sequence[Any]) -> None:
    for job, result in zip(jobs, results, strict=True):
        job.then(result)
        if not job.answer.done():
            job.answer.set_result(result)


def _fail_all(jobs: Sequence[_Job], error: Exception) -> None:
    for job in jobs:
        if not job.answer.done():
            job.answer.set_exception(error)


def _ignore(_: Any) -> None:
    """Nothing to learn from this job."""
