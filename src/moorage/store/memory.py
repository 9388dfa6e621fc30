"""The store: tables of frozen records in memory, every transaction durable in a log before it is acknowledged.

What it decides: what a transaction is, what changed by it, in which order changes are seen, and what is undone when the
log refuses. It must not know SQL, files or threads (that is the log) nor what a record means (that is its table).

* Reads see the newest state in memory, which may be some milliseconds ahead of the disk. Writers are answered only when
  their change is on disk, and so are writers that changed nothing because they saw a change that is still on its way.
* `find` and `all` return tuples: snapshots that stay as they are.
* Watchers hear of durable changes only, in the order of the commits, before the writers are answered.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

import msgspec

from moorage.domain.errors import MoorageError
from moorage.store.api import Change, StoreUnavailable, Table, Watcher
from moorage.store.log import Commit, Kept, Log, Write
from moorage.store.rows import Rows
from moorage.store.sharing import Sharing

R = TypeVar("R")
T = TypeVar("T")

log = logging.getLogger("moorage.store")

_encode = msgspec.msgpack.Encoder().encode


class _Undo(msgspec.Struct, frozen=True):
    """How one record was before its transaction (`record` None: absent)."""

    rows: Rows[Any]
    key: str
    record: Any
    order: int


class _Pending(msgspec.Struct, frozen=True):
    """A commit that the log has not answered yet."""

    undo: tuple[_Undo, ...]
    changes: tuple[Change[Any], ...]
    answer: asyncio.Future[None]


class StoreTransaction:
    """Writes go straight into the tables (nobody else runs meanwhile); `_touched` remembers how it was."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._touched: dict[tuple[str, str], _Undo] = {}
        self._kept: list[Kept] = []
        self._open = True

    def get(self, table: Table[R], key: str) -> R | None:
        return self._store.get(table, key)

    def find(self, table: Table[R], index: str, value: Hashable) -> tuple[R, ...]:
        return self._store.find(table, index, value)

    def all(self, table: Table[R]) -> tuple[R, ...]:
        return self._store.all(table)

    def put(self, table: Table[R], record: R) -> R:
        """Inserts or replaces; returns the record. A record equal to the present one changes nothing."""
        rows = self._writable(table)
        if not isinstance(record, table.record):
            raise TypeError(f"table {table.name} holds {table.record.__name__}, not {type(record).__name__}")
        key = table.key(record)
        before = rows.get(key)
        if before is not None and before == record:
            return before
        undo = self._touch(rows, key, before)
        # A record that a transaction deletes and puts again keeps its place.
        order = undo.order if undo.order >= 0 else rows.order(key)
        rows.put(key, record, self._store._next_order() if order is None else order)
        return record

    def delete(self, table: Table[R], key: str) -> None:
        """Removes; absent keys are fine."""
        rows = self._writable(table)
        before = rows.get(key)
        if before is not None:
            self._touch(rows, key, before)
            rows.remove(key)

    def keep(self, table: Table[R], record: R) -> None:
        """Writes a record to the history on disk, without holding it in memory."""
        self._writable(table)
        key = table.key(record)
        entries = [(name, value) for name, f in table.indexes.items() if (value := f(record)) is not None]
        kept = (("key", _encode(key)), *((name, _encode(value)) for name, value in entries))
        self._kept.append(Kept(table.name, key, _encode(record), kept))

    def archive(self, table: Table[R], key: str) -> R | None:
        """Moves a record from memory to history; returns it (None: there was none)."""
        record = self.get(table, key)
        if record is not None:
            self.keep(table, record)
            self.delete(table, key)
        return record

    def _writable(self, table: Table[R]) -> Rows[R]:
        if not self._open:
            raise RuntimeError("this transaction has ended; write inside the function given to update()")
        return self._store._rows_of(table)

    def _touch(self, rows: Rows[Any], key: str, before: Any) -> _Undo:
        name = (rows.table.name, key)
        undo = self._touched.get(name)
        if undo is None:
            order = rows.order(key)
            undo = self._touched[name] = _Undo(rows, key, before, -1 if order is None else order)
        return undo

    def _finish(self) -> tuple[tuple[_Undo, ...], tuple[Change[Any], ...], Commit]:
        """What changed in the end, in the order in which it was first touched."""
        self._open = False
        undo: list[_Undo] = []
        changes: list[Change[Any]] = []
        writes: list[Write] = []
        for was in self._touched.values():
            after = was.rows.get(was.key)
            if after == was.record:
                continue
            undo.append(was)
            changes.append(Change(was.rows.table, was.key, was.record, after))
            data = None if after is None else self._store._bytes(was.rows.table, after)
            writes.append(Write(was.rows.table.name, was.key, was.rows.order(was.key) or 0, data))
        return tuple(undo), tuple(changes), Commit(tuple(writes), tuple(self._kept))

    def _undo(self) -> None:
        self._open = False
        _restore(tuple(self._touched.values()))


class Store:
    """Made by `await Store.open(log, tables)`. `verify` reads every record back from its bytes before it is written and
    refuses one that would come back different after a restart (for tests and the simulated world)."""

    def __init__(self, durable_log: Log, tables: Sequence[Table[Any]], *, verify: bool = False) -> None:
        names = [table.name for table in tables]
        if len(set(names)) != len(names):
            raise ValueError(f"two tables have one name: {sorted(n for n in names if names.count(n) > 1)}")
        self._log = durable_log
        self._verify = verify
        self._rows: dict[Table[Any], Rows[Any]] = {table: Rows(table) for table in tables}
        self._decoders: dict[Table[Any], msgspec.msgpack.Decoder[Any]] = {
            table: msgspec.msgpack.Decoder(table.record) for table in tables
        }
        self._order = 0
        self._pending: deque[_Pending] = deque()
        self._watchers: list[Watcher] = []
        self._closed = False
        self._refusing = False

    @classmethod
    async def open(cls, durable_log: Log, tables: Sequence[Table[Any]], *, verify: bool = False) -> Store:
        """Reads everything that the log holds. Records of tables that are not named stay in the log, untouched."""
        store = cls(durable_log, tables, verify=verify)
        written = await durable_log.open(store._durable, store._refused)
        by_name = {table.name: table for table in tables}
        sharing = Sharing()
        for write in written:
            store._order = max(store._order, write.order)
            table = by_name.get(write.kind)
            if table is not None and write.data is not None:
                record = sharing.record(store._read(table, write.key, write.data))
                store._rows[table].load(sharing.text(write.key), record, write.order)
        return store

    # -- reading ------------------------------------------------------------------------------------------------------

    def get(self, table: Table[R], key: str) -> R | None:
        return self._rows_of(table).get(key)

    def find(self, table: Table[R], index: str, value: Hashable) -> tuple[R, ...]:
        """The records whose `index` equals `value`, in order of their first insertion."""
        return self._rows_of(table).find(index, value)

    def all(self, table: Table[R]) -> tuple[R, ...]:
        """Every record, in order of first insertion."""
        return self._rows_of(table).all()

    async def history(self, table: Table[R], index: str, value: Hashable, limit: int = 100) -> list[R]:
        """Records that `archive` and `keep` wrote, newest first: those whose `index` had `value` (index "key": the
        primary key). Reads the disk; everything that was acknowledged is seen."""
        self._rows_of(table)
        if index != "key" and index not in table.indexes:
            raise KeyError(f"table {table.name} has no index {index}")
        found = await self._log.history(table.name, index, _encode(value), limit)
        return [self._read(table, str(value), data) for data in found]

    # -- writing ------------------------------------------------------------------------------------------------------

    async def update(self, fn: Callable[[StoreTransaction], T]) -> T:
        """Runs `fn` at once; returns its value when its changes are on disk. What `fn` raises undoes its changes."""
        if self._closed:
            raise StoreUnavailable("The store is closed", "Moorage is ending", "Try again when it runs again")
        transaction = StoreTransaction(self)
        try:
            value = fn(transaction)
            if inspect.isawaitable(value):
                if inspect.iscoroutine(value):
                    value.close()
                raise TypeError("the function given to update() must not be async: a transaction cannot wait")
            undo, changes, commit = transaction._finish()
        except BaseException:
            transaction._undo()
            raise
        await self._commit(undo, changes, commit)
        return value

    async def reset(self) -> None:
        """Deletes every record and all history in one transaction; watchers see the deletions."""
        transaction = StoreTransaction(self)
        for table, rows in self._rows.items():
            for key in rows.primary_keys():
                transaction.delete(table, key)
        undo, changes, _ = transaction._finish()
        await self._commit(undo, changes, Commit(clear=True))

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        self._watchers.append(watcher)

        def end() -> None:
            if watcher in self._watchers:
                self._watchers.remove(watcher)

        return end

    async def close(self) -> None:
        """Waits for what is on its way to the disk, then lets the log go. Later updates are refused."""
        self._closed = True
        await asyncio.gather(*(pending.answer for pending in self._pending), return_exceptions=True)
        await self._log.close()

    def kill(self) -> None:
        """For the simulated world: the process is gone. Updates are refused from now on and nobody is told anything."""
        self._closed = True
        self._watchers.clear()

    # -- inside -------------------------------------------------------------------------------------------------------

    async def _commit(self, undo: tuple[_Undo, ...], changes: tuple[Change[Any], ...], commit: Commit) -> None:
        loop = asyncio.get_running_loop()
        if commit.writes or commit.kept or commit.clear:
            answer: asyncio.Future[None] = loop.create_future()
            self._pending.append(_Pending(undo, changes, answer))
            self._log.append(commit)
        elif self._pending:
            # What this caller saw may still be on its way to the disk: it must not be acknowledged before it is there.
            answer = self._pending[-1].answer
        else:
            return
        # Shielded: a caller that is cancelled does not take the answer away from the others.
        await asyncio.shield(answer)

    def _durable(self, count: int) -> None:
        if self._refusing:
            log.warning("the store can write again")
            self._refusing = False
        done = [self._pending.popleft() for _ in range(count)]
        changes = [change for pending in done for change in pending.changes]
        if changes:
            for watcher in tuple(self._watchers):
                try:
                    watcher(changes)
                except Exception:
                    log.exception("a watcher of the store failed; the change itself is durable")
        for pending in done:
            if not pending.answer.done():
                pending.answer.set_result(None)

    def _refused(self, error: Exception) -> None:
        if not self._refusing:  # said once: whoever cannot write tries again and again
            log.error("the store cannot write, changes are refused until it can: %s", error)
            self._refusing = True
        refused = list(self._pending)
        self._pending.clear()
        for pending in reversed(refused):
            _restore(pending.undo)
        for pending in refused:
            if not pending.answer.done():
                unavailable = StoreUnavailable(
                    "The change was not made", f"The data directory cannot be written: {error}", "Free some space"
                )
                pending.answer.set_exception(unavailable)
                pending.answer.exception()  # whoever was cancelled meanwhile does not ask for it

    def _next_order(self) -> int:
        self._order += 1
        return self._order

    def _rows_of(self, table: Table[R]) -> Rows[R]:
        rows = self._rows.get(table)
        if rows is None:
            raise KeyError(f"table {table.name} was not given to Store.open()")
        return rows

    def _bytes(self, table: Table[Any], record: Any) -> bytes:
        data = _encode(record)
        if self._verify:
            problem = f"{table.name} {table.key(record)} would not survive a restart unchanged: {record!r}"
            try:
                again = self._decoders[table].decode(data)
            except msgspec.DecodeError as error:
                raise TypeError(f"{problem}: {error}") from error
            if again != record:
                raise TypeError(problem)
        return data

    def _read(self, table: Table[R], key: str, data: bytes) -> R:
        try:
            record: R = self._decoders[table].decode(data)
        except msgspec.DecodeError as error:
            raise MoorageError(
                f"The stored {table.name} record {key} cannot be read",
                str(error),
                "This version of Moorage does not fit the data directory: use the version that wrote it",
            ) from error
        return record


def _restore(undo: Sequence[_Undo]) -> None:
    for was in reversed(undo):
        if was.record is None:
            was.rows.remove(was.key)
        else:
            was.rows.put(was.key, was.record, was.order)
