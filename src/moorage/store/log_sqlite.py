"""The durable log of one control plane: a SQLite file in WAL mode, fsync before every answer, one writer thread.

Group commit: while one group is being written, later commits wait in a queue and become the next group with one fsync
for all. The event loop never waits for the disk. Every statement of a group handles all its rows at once: each return
from SQLite must win the interpreter lock from a busy event loop, so a group costs few statements, not few rows.

The file is held under SQLite's exclusive lock from opening to closing (it vanishes with the process, `kill -9`
included), so two control planes can never share a data directory.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from moorage.domain.errors import MoorageError, Permanent
from moorage.store.log import Commit, Durable, Kept, Refused, Write
from moorage.store.migrations import MIGRATIONS, Migration, migrate

# Rows per statement; four variables each stay below SQLite's limit of variables, and the SQL stays in the cache.
CHUNK = 64
# How many records of history are kept, and how many more may gather before the oldest are forgotten in one go.
HISTORY_LIMIT, HISTORY_SLACK = 200_000, 1_000
UPSERT = "INSERT OR REPLACE INTO records (kind, key, place, data) VALUES "
DELETE = "DELETE FROM records WHERE (kind, key) IN (VALUES "


class _Read:
    def __init__(self, run: Callable[[sqlite3.Connection], Any], answer: asyncio.Future[Any]) -> None:
        self.run = run
        self.answer = answer


class SqliteLog:
    """`path`: the file, made when it is absent (its directory too). `history_limit`: the oldest records of history
    beyond so many are forgotten."""

    def __init__(
        self, path: Path, *, migrations: Sequence[Migration] = MIGRATIONS, history_limit: int = HISTORY_LIMIT
    ) -> None:
        self.path = path
        self.history_limit = history_limit
        self.groups = 0
        """How many groups were written (each cost one fsync)."""
        self._migrations = migrations
        self._queue: queue.SimpleQueue[tuple[int, Commit] | _Read | None] = queue.SimpleQueue()
        # After a refusal everything queued before the event loop knew of it is refused too: commits carry the
        # generation in which they were appended, and the writer drops those of a refused one.
        self._generation = 0
        self._refused_generation = -1
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opened: asyncio.Future[list[Write]] | None = None
        self._durable: Durable | None = None
        self._refuse: Refused | None = None

    # -- on the event loop --------------------------------------------------------------------------------------------

    async def open(self, durable: Durable, refused: Refused) -> Sequence[Write]:
        self._loop = asyncio.get_running_loop()
        self._durable, self._refuse = durable, refused
        # Nobody may hold this future afterwards: it holds every record that there is, as bytes.
        self._opened = self._loop.create_future()
        self._thread = threading.Thread(target=self._main, name="moorage-store", daemon=True)
        self._thread.start()
        try:
            return await self._opened
        finally:
            self._opened = None

    def append(self, commit: Commit) -> None:
        self._queue.put((self._generation, commit))

    async def history(self, kind: str, index: str, value: bytes, limit: int) -> list[bytes]:
        def read(connection: sqlite3.Connection) -> list[bytes]:
            found = connection.execute(
                "SELECT history.data FROM history_entries JOIN history USING (id) WHERE history_entries.kind = ?"
                " AND name = ? AND value = ? ORDER BY history_entries.id DESC LIMIT ?",
                (kind, index, value, limit),
            )
            return [data for (data,) in found]

        assert self._loop is not None, "the log is not open"
        answer: asyncio.Future[list[bytes]] = self._loop.create_future()
        self._queue.put(_Read(read, answer))
        return await answer

    async def close(self) -> None:
        if self._thread is not None and self._thread.is_alive():
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join)

    def _on_refused(self, error: Exception) -> None:
        self._generation += 1
        assert self._refuse is not None
        self._refuse(error)

    # -- on the writer thread -----------------------------------------------------------------------------------------

    def _main(self) -> None:
        try:
            connection = self._connect()
        except BaseException as error:
            self._tell(_fail, self._opened, error)
            return
        try:
            self._tell(_answer, self._opened, _records(connection))
            self._serve(connection)
        finally:
            connection.close()

    def _connect(self) -> sqlite3.Connection:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise _cannot_open(self.path, error) from error
        try:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA fullfsync = ON")
            migrate(connection, self._migrations, self.path)
        except BaseException as error:
            connection.close()
            if isinstance(error, MoorageError) or not isinstance(error, sqlite3.Error):
                raise
            raise _cannot_open(self.path, error) from error
        return connection

    def _serve(self, connection: sqlite3.Connection) -> None:
        ending = False
        while not ending:
            commits: list[Commit] = []
            reads: list[_Read] = []
            generation = self._refused_generation
            for job in self._jobs():
                if job is None:
                    ending = True
                elif isinstance(job, _Read):
                    reads.append(job)
                elif job[0] > self._refused_generation:
                    generation = job[0]
                    commits.append(job[1])
            if commits:
                self._write_group(connection, commits, generation)
            for read in reads:
                try:
                    self._tell(_answer, read.answer, read.run(connection))
                except sqlite3.Error as error:
                    self._tell(_fail, read.answer, error)

    def _jobs(self) -> Iterable[tuple[int, Commit] | _Read | None]:
        """Waits for one job and takes all that are there."""
        yield self._queue.get()
        with contextlib.suppress(queue.Empty):
            while True:
                yield self._queue.get_nowait()

    def _write_group(self, connection: sqlite3.Connection, commits: Sequence[Commit], generation: int) -> None:
        try:
            write_commits(connection, commits, self.history_limit)
        except Exception as error:
            self._refused_generation = generation
            self._tell(self._on_refused, error)
        else:
            self.groups += 1
            assert self._durable is not None
            self._tell(self._durable, len(commits))

    def _tell(self, function: Callable[..., None], *arguments: Any) -> None:
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the event loop has ended: nobody is left to be told
            self._loop.call_soon_threadsafe(function, *arguments)


def _records(connection: sqlite3.Connection) -> list[Write]:
    rows = connection.execute("SELECT kind, key, place, data FROM records").fetchall()
    return sorted(map(Write._make, rows), key=lambda write: write.order)


def write_commits(
    connection: sqlite3.Connection, commits: Sequence[Commit], history_limit: int = HISTORY_LIMIT
) -> None:
    """All commits in one transaction, on disk when this returns; nothing of them when it raises."""
    last_clear = max((number for number, commit in enumerate(commits) if commit.clear), default=-1)
    commits = commits[max(last_clear, 0) :]
    # Only the last write of a key counts: a group is one transaction.
    writes = {(write.kind, write.key): write for commit in commits for write in commit.writes}
    puts = [write for write in writes.values() if write.data is not None]
    deletes = [name for name, write in writes.items() if write.data is None]
    kept = [kept for commit in commits for kept in commit.kept]
    if last_clear < 0 and not deletes and not kept and len(puts) <= CHUNK:
        _upsert(connection, puts)  # the usual group: one statement, which is its own transaction
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        if last_clear >= 0:
            for table in ("records", "history", "history_entries"):
                connection.execute(f"DELETE FROM {table}")  # noqa: S608 the names are the three above
        for start in range(0, len(puts), CHUNK):
            _upsert(connection, puts[start : start + CHUNK])
        for start in range(0, len(deletes), CHUNK):
            chunk = deletes[start : start + CHUNK]
            connection.execute(DELETE + ", ".join(["(?, ?)"] * len(chunk)) + ")", [v for name in chunk for v in name])
        _keep(connection, kept, history_limit)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        raise


def _upsert(connection: sqlite3.Connection, puts: Sequence[Write]) -> None:
    if puts:
        values = [value for put in puts for value in put]
        connection.execute(UPSERT + ", ".join(["(?, ?, ?, ?)"] * len(puts)), values)


def _keep(connection: sqlite3.Connection, kept: Sequence[Kept], limit: int) -> None:
    if not kept:
        return
    oldest, newest = connection.execute("SELECT coalesce(min(id), 1), coalesce(max(id), 0) FROM history").fetchone()
    numbered = list(enumerate(kept, start=newest + 1))
    connection.executemany(
        "INSERT INTO history (id, kind, key, data, entries) VALUES (?, ?, ?, ?, ?)",
        [(number, one.kind, one.key, one.data, msgspec.msgpack.encode(one.entries)) for number, one in numbered],
    )
    connection.executemany(
        "INSERT INTO history_entries (kind, name, value, id) VALUES (?, ?, ?, ?)",
        [(one.kind, name, value, number) for number, one in numbered for name, value in one.entries],
    )
    last = newest + len(kept) - limit
    if last - oldest >= HISTORY_SLACK:
        _forget(connection, last)


def _forget(connection: sqlite3.Connection, last: int) -> None:
    """History up to the record numbered `last`, with the entries under which it was found."""
    gone = connection.execute("SELECT id, kind, entries FROM history WHERE id <= ?", (last,)).fetchall()
    connection.executemany(
        "DELETE FROM history_entries WHERE kind = ? AND name = ? AND value = ? AND id = ?",
        [(kind, name, value, id) for id, kind, entries in gone for name, value in msgspec.msgpack.decode(entries)],
    )
    connection.execute("DELETE FROM history WHERE id <= ?", (last,))


def _answer(future: asyncio.Future[Any], value: Any) -> None:
    if not future.done():
        future.set_result(value)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


def _cannot_open(path: Path, error: Exception) -> MoorageError:
    text = str(error)
    if "locked" in text:
        return Permanent(
            f"The data directory {path.parent} is in use",
            "Another Moorage is running on it",
            "See it with `moor status`, end it with `moor down`, or choose another directory with --data-dir",
        )
    if "not a database" in text or "malformed" in text:
        return Permanent(
            f"{path} is damaged or not a Moorage data file",
            text,
            "Restore it from a copy, or choose another directory with --data-dir",
        )
    return Permanent(
        f"The data file {path} cannot be opened", text, "Choose a directory you may write to with --data-dir"
    )
