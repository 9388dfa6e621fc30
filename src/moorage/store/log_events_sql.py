"""The SQL behind `log_events`: tables, inserts, ordered reads. Plain and synchronous; no threads, no asyncio.

events   (group_id, ts, seq) → stream_id, ingested, message     every event once, in the order of its group
streams  stream_id → group_id, first, last, ingested, bytes     what DescribeLogStreams shows, kept as events come
meta     'sequence' → the last sequence number given out
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence

import msgspec

from moorage.domain.logs import LogEvent

# AWS bills and limits an event as its UTF-8 bytes plus 26.
OVERHEAD = 26
MAX_PAGE_BYTES = 1 << 20

Row = tuple[str, int, int, str, int, str]
Position = tuple[int, int]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    group_id TEXT NOT NULL, ts INTEGER NOT NULL, seq INTEGER NOT NULL, stream_id TEXT NOT NULL,
    ingested INTEGER NOT NULL, message TEXT NOT NULL, PRIMARY KEY (group_id, ts, seq)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS events_of_stream ON events (stream_id, ts, seq);
CREATE TABLE IF NOT EXISTS streams (
    stream_id TEXT PRIMARY KEY, group_id TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
    ingested INTEGER NOT NULL, bytes INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS streams_of_group ON streams (group_id);
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""
_UPSERT_STATS = """
INSERT INTO streams (stream_id, group_id, first, last, ingested, bytes) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (stream_id) DO UPDATE SET
    first = CASE WHEN bytes = 0 THEN excluded.first ELSE min(first, excluded.first) END,
    last = CASE WHEN bytes = 0 THEN excluded.last ELSE max(last, excluded.last) END,
    ingested = max(ingested, excluded.ingested), bytes = bytes + excluded.bytes
RETURNING stream_id, first, last, ingested, bytes
"""


class StreamStats(msgspec.Struct, frozen=True):
    """Epoch milliseconds; `bytes` 0: no events."""

    stream_id: str
    first: int = 0
    last: int = 0
    ingested_at: int = 0
    bytes: int = 0


class EventQuery(msgspec.Struct, frozen=True):
    """Events with `start <= timestamp < end`, of one stream (`stream_id`) or of a group (`stream_ids` None: of all its
    streams). `after`: only events beyond this position in the direction of reading. `matches` is asked in a thread.
    A page ends at `limit` events, `max_bytes`, or after looking at `scan_limit` events."""

    group_id: str
    stream_id: str | None = None
    stream_ids: frozenset[str] | None = None
    start: int = 0
    end: int = 1 << 62
    after: Position | None = None
    forward: bool = True
    limit: int = 10_000
    max_bytes: int = MAX_PAGE_BYTES
    scan_limit: int = 100_000
    matches: Callable[[str], bool] | None = None


class EventPage(msgspec.Struct, frozen=True):
    """`events` in the direction of reading. `position`: the last event looked at (None: none was). `exhausted`: there
    was nothing beyond it."""

    events: tuple[LogEvent, ...]
    position: Position | None
    exhausted: bool


class EventDatabase:
    """One connection in autocommit mode."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def create(self) -> None:
        self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        self._connection.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def last_sequence(self) -> int:
        row = self._connection.execute("SELECT value FROM meta WHERE name = 'sequence'").fetchone()
        return int(row[0]) if row else 0

    def all_stats(self) -> list[StreamStats]:
        rows = self._connection.execute("SELECT stream_id, first, last, ingested, bytes FROM streams")
        return [StreamStats(*row) for row in rows]

    # -- writing -----------------------------------------------------------------------------------------------------

    def insert(self, rows: Sequence[Row]) -> list[StreamStats]:
        """Events of one stream, sequence numbers ascending; returns the stream's new statistics."""
        self._connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", rows)
        group_id, _, sequence, stream_id, ingested, _ = rows[-1]
        self._connection.execute(
            "INSERT INTO meta VALUES ('sequence', ?) ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)",
            (sequence,),
        )
        timestamps = [row[1] for row in rows]
        size = sum(len(row[5].encode()) + OVERHEAD for row in rows)
        changed = self._connection.execute(
            _UPSERT_STATS, (stream_id, group_id, min(timestamps), max(timestamps), ingested, size)
        ).fetchall()
        return [StreamStats(*row) for row in changed]

    def delete_stream(self, stream_id: str, limit: int) -> bool:
        """Deletes up to `limit` events of a stream; True when none are left and the stream is forgotten."""
        deleted = self._connection.execute(
            "DELETE FROM events WHERE (group_id, ts, seq) IN "
            "(SELECT group_id, ts, seq FROM events INDEXED BY events_of_stream WHERE stream_id = ? LIMIT ?)",
            (stream_id, limit),
        ).rowcount
        if deleted >= limit:
            return False
        self._connection.execute("DELETE FROM streams WHERE stream_id = ?", (stream_id,))
        return True

    def clear(self) -> None:
        """All events and statistics; sequence numbers go on."""
        self._connection.execute("DELETE FROM events")
        self._connection.execute("DELETE FROM streams")

    def delete_before(self, group_id: str, before: int, limit: int) -> list[StreamStats]:
        """Deletes up to `limit` of a group's oldest events older than `before`; returns the statistics of the streams
        that lost some (empty: nothing was left to delete). Timestamps of a stream that lost all its events stay: they
        say when it was last written to."""
        lost: dict[str, int] = {}
        doomed = self._connection.execute(
            "SELECT ts, seq, stream_id, message FROM events WHERE group_id = ? AND ts < ? ORDER BY ts, seq LIMIT ?",
            (group_id, before, limit),
        ).fetchall()
        for _, _, stream_id, message in doomed:
            lost[stream_id] = lost.get(stream_id, 0) + len(message.encode()) + OVERHEAD
        if not doomed:
            return []
        self._connection.execute(
            "DELETE FROM events WHERE group_id = ? AND (ts, seq) <= (?, ?)", (group_id, doomed[-1][0], doomed[-1][1])
        )
        changed: list[StreamStats] = []
        for stream_id, size in lost.items():
            oldest = self._connection.execute(
                "SELECT min(ts) FROM events INDEXED BY events_of_stream WHERE stream_id = ?", (stream_id,)
            ).fetchone()[0]
            row = self._connection.execute(
                "UPDATE streams SET first = coalesce(?, first), bytes = max(0, bytes - ?) WHERE stream_id = ? "
                "RETURNING stream_id, first, last, ingested, bytes",
                (oldest, size, stream_id),
            ).fetchall()
            changed += [StreamStats(*values) for values in row]
        return changed

    # -- reading -----------------------------------------------------------------------------------------------------

    def select(self, query: EventQuery) -> EventPage:
        events: list[LogEvent] = []
        position: Position | None = None
        size = 0
        cursor = self._connection.execute(*_statement(query))
        try:
            for looked_at, row in enumerate(cursor):
                if len(events) >= query.limit or looked_at >= query.scan_limit:
                    return EventPage(tuple(events), position, exhausted=False)
                event = LogEvent(*row)
                wanted = query.stream_ids is None or event.stream_id in query.stream_ids
                if wanted and (query.matches is None or query.matches(event.message)):
                    size += len(event.message.encode()) + OVERHEAD
                    if events and size > query.max_bytes:
                        return EventPage(tuple(events), position, exhausted=False)
                    events.append(event)
                position = (event.timestamp, event.sequence)
            return EventPage(tuple(events), position, exhausted=True)
        finally:
            cursor.close()


def _statement(query: EventQuery) -> tuple[str, list[str | int]]:
    source = "events" if query.stream_id is None else "events INDEXED BY events_of_stream"
    column = "group_id" if query.stream_id is None else "stream_id"
    owner = query.group_id if query.stream_id is None else query.stream_id
    direction, beyond = ("ASC", ">") if query.forward else ("DESC", "<")
    condition = f"{column} = ? AND ts >= ? AND ts < ?"
    values: list[str | int] = [owner, query.start, query.end]
    if query.after is not None:
        condition += f" AND (ts, seq) {beyond} (?, ?)"
        values += query.after
    # Only names chosen above are put into the text; every value is a parameter.
    return (
        f"SELECT ts, seq, stream_id, ingested, message FROM {source} WHERE {condition} "  # noqa: S608
        f"ORDER BY ts {direction}, seq {direction}",
        values,
    )
