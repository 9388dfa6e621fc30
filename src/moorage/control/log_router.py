"""Carries what containers write into CloudWatch Logs: one follower per container, batched, resumable.

The task controller says which container goes where (`follow`), asks beforehand whether it can (`validate`), and waits
before it removes a stopped container (`drain`). Nothing here knows tasks. Source: semantics around §4, ecs-tasks §3.

Neither loss nor duplicates over a restart of the control plane: the engine keeps the output until the container is
removed, and what is stored is the record of how far we came. A follower begins a little before the last stored event and
leaves out, line for line, what is stored already. (The overlap is there because the engine stamps stdout and stderr
separately: a line may appear after one with a later time.)
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

from moorage.control.log_lines import joined
from moorage.control.ports import ContainerLog
from moorage.decide.awslogs import event_start
from moorage.domain.clock import Clock, Ids
from moorage.domain.errors import Retryable
from moorage.domain.logs import NO_GROUP, LogGroup, LogStream, group_arn, stream_arn
from moorage.domain.scope import Scope
from moorage.engine.driver import Engine, EngineError, LogLine
from moorage.store.api import StoreApi, Transaction
from moorage.store.log_events import LogEvents
from moorage.store.log_events_sql import EventQuery
from moorage.store.tables.logs import LOG_GROUPS, LOG_STREAMS, create_group, create_stream

logger = logging.getLogger("moorage.control.logs")

# Lines gather this long before they are stored (seconds), or until so many wait; a container that writes faster than
# the disk takes it is read no further than the second number.
GATHER = 0.1
MOST_WAITING = 10_000
# How far before the last stored event a follower begins (seconds).
OVERLAP = 1.0
RETRY_FIRST, RETRY_LONGEST = 0.2, 15.0
# A stopped container is removed after this long even when its output cannot be stored (seconds).
DRAIN_AT_MOST = 10.0
# How many events one transaction brings at most.
LARGEST_BATCH = 2000
# AWS takes no larger event (bytes); longer lines are cut into several.
LARGEST_EVENT = 256 * 1024 - 26

MISSING_GROUP = (
    "ResourceInitializationError: failed to validate logger args: create stream has been retried 1 times: failed to "
    f"create Cloudwatch log stream: ResourceNotFoundException: {NO_GROUP} : exit status 1"
)


def stream_name(target: ContainerLog) -> str:
    """`<prefix>/<container name>/<task id>`, or the engine's container id when no prefix was given."""
    if target.prefix is None:
        return target.container_id
    return f"{target.prefix}/{target.container_name}/{target.task_id}"


class LogRouter:
    """Implements `control.ports.ContainerLogs`. `close()` stores what has been read and stops following; containers
    go on writing, and `follow` after a restart goes on where this one stopped."""

    def __init__(self, store: StoreApi, clock: Clock, ids: Ids, events: LogEvents, engine: Engine) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._events = events
        self._engine = engine
        self._followers: dict[str, asyncio.Task[None]] = {}

    async def validate(self, log: ContainerLog) -> str | None:
        """None, or the stoppedReason of a task whose log group is missing or whose pattern cannot be read."""
        try:
            event_start(log.options)
        except ValueError as error:
            return f"ResourceInitializationError: failed to validate logger args: {error} : exit status 1"
        exists = self._store.get(LOG_GROUPS, group_arn(_home(log), log.group)) is not None
        return None if exists or log.create_group else MISSING_GROUP

    async def follow(self, log: ContainerLog) -> None:
        """Idempotent: a container that is followed already, is followed once. The stream exists when this returns."""
        running = self._followers.get(log.container_id)
        if running is not None and not running.done():
            return
        await self._open(log)
        follower = asyncio.create_task(self._follow(log), name=f"logs of {log.container_id[:12]}")
        self._followers[log.container_id] = follower
        follower.add_done_callback(lambda task: self._ended(log.container_id, task))

    async def drain(self, container_id: str) -> None:
        follower = self._followers.get(container_id)
        if follower is None:
            return
        _, pending = await asyncio.wait([follower], timeout=DRAIN_AT_MOST)
        if pending:
            logger.warning("gave up storing the last output of container %s after %.0f s", container_id, DRAIN_AT_MOST)
            follower.cancel()

    async def close(self) -> None:
        followers = list(self._followers.values())
        for follower in followers:
            follower.cancel()
        await asyncio.gather(*followers, return_exceptions=True)

    def _ended(self, container_id: str, task: asyncio.Task[None]) -> None:
        if self._followers.get(container_id) is task:
            del self._followers[container_id]
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("following container %s ended: %r", container_id, error)

    # -- one container -----------------------------------------------------------------------------------------------

    async def _follow(self, target: ContainerLog) -> None:
        """Until the container has stopped and everything is stored; what may mend itself is tried again."""
        wait = RETRY_FIRST
        while True:
            try:
                opened = await self._open(target)
                if opened is None:
                    logger.warning("the output of container %s is lost: %s", target.container_id, NO_GROUP)
                    return
                await self._copy(target, *opened)
                return
            except EngineError as error:
                logger.warning("the output of container %s cannot be read: %s", target.container_id, error)
                return
            except Retryable as error:
                logger.warning("following container %s is interrupted: %s", target.container_id, error)
                await asyncio.sleep(wait if error.delay is None else error.delay)
                wait = min(RETRY_LONGEST, wait * 2)

    async def _copy(self, target: ContainerLog, group: LogGroup, stream: LogStream) -> None:
        last = self._events.stats(stream.id).last / 1000
        begin = max(0.0, last - OVERLAP)
        stored = await self._stored_since(group, stream, int(begin * 1000)) if last else Counter()
        batch = _Batch(self._events, self._clock, group, stream)
        lines = self._engine.logs(target.container_id, begin)
        pattern = event_start(target.options)
        if pattern is not None:
            lines = joined(lines, pattern, largest=LARGEST_EVENT, resumed=bool(last))
        try:
            async for line in lines:
                for event in _events_of(line):
                    if stored[event] > 0:
                        stored[event] -= 1
                        continue
                    await batch.add(event)
            await batch.flush()
        finally:
            await batch.close()

    async def _stored_since(self, group: LogGroup, stream: LogStream, start: int) -> Counter[tuple[int, str]]:
        """How often each (timestamp, message) from `start` on is stored."""
        found: Counter[tuple[int, str]] = Counter()
        query = EventQuery(group_id=group.id, stream_id=stream.id, start=start)
        while True:
            page = await self._events.read(query)
            found.update((event.timestamp, event.message) for event in page.events)
            if page.exhausted:
                return found
            query = EventQuery(group_id=group.id, stream_id=stream.id, start=start, after=page.position)

    async def _open(self, target: ContainerLog) -> tuple[LogGroup, LogStream] | None:
        """The group and stream, made when they are not there; None when the group was deleted and is not ours to
        make again (awslogs drops the lines then)."""
        home, name = _home(target), stream_name(target)
        arn = group_arn(home, target.group)
        group, stream = self._store.get(LOG_GROUPS, arn), self._store.get(LOG_STREAMS, stream_arn(arn, name))
        if group is not None and stream is not None:
            return group, stream
        if group is None and not target.create_group:
            return None
        group_id, stream_id, now = self._ids.hex(32), self._ids.hex(32), int(self._clock.now() * 1000)

        def make(tx: Transaction) -> tuple[LogGroup, LogStream]:
            group = tx.get(LOG_GROUPS, arn) or create_group(tx, home, target.group, group_id, now)
            return group, tx.get(LOG_STREAMS, stream_arn(arn, name)) or create_stream(tx, group, name, stream_id, now)

        return await self._store.update(make)


class _Batch:
    """Events on their way to the disk, strictly in order: what could not be written stays in front of what follows, so
    that the last stored event always says how far we came. A write is never given up half-way: it may have happened."""

    def __init__(self, events: LogEvents, clock: Clock, group: LogGroup, stream: LogStream) -> None:
        self._events = events
        self._clock = clock
        self._group = group
        self._stream = stream
        self._waiting: list[tuple[int, str]] = []
        self._writer: asyncio.Task[None] | None = None

    async def add(self, event: tuple[int, str]) -> None:
        """Raises what an earlier write met."""
        self._waiting.append(event)
        if self._writer is None:
            self._writer = asyncio.create_task(self._write(GATHER))
        elif self._writer.done() or len(self._waiting) >= MOST_WAITING:
            await self.flush()

    async def flush(self) -> None:
        """Returns when everything added so far is stored."""
        while self._writer is not None or self._waiting:
            if self._writer is None:
                self._writer = asyncio.create_task(self._write(0))
            writer = self._writer
            await asyncio.wait([writer])
            self._writer = None
            writer.result()

    async def close(self) -> None:
        """Stores what has been read, as far as it goes."""
        try:
            await self.flush()
        except Retryable as error:
            logger.warning("the last lines of stream %s are not stored yet: %s", self._stream.name, error)

    async def _write(self, delay: float) -> None:
        await asyncio.sleep(delay)
        while self._waiting:
            batch = self._waiting[:LARGEST_BATCH]
            await self._events.append(self._group.id, self._stream.id, batch, int(self._clock.now() * 1000))
            del self._waiting[: len(batch)]


def _home(target: ContainerLog) -> Scope:
    """The group's account is the task's, its region the `awslogs-region` option's."""
    return Scope(target.scope.account, target.region)


def _events_of(line: LogLine) -> list[tuple[int, str]]:
    """Empty lines are no events; a line longer than an event is several."""
    at = int(line.at * 1000)
    message = line.message
    if len(message) * 4 <= LARGEST_EVENT or len(data := message.encode()) <= LARGEST_EVENT:
        return [(at, message)] if message else []
    pieces = (data[start : start + LARGEST_EVENT] for start in range(0, len(data), LARGEST_EVENT))
    return [(at, piece.decode(errors="ignore")) for piece in pieces]
