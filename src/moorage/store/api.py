"""The store as its users see it: typed tables of frozen records, one transaction per change, a change feed.

* Reads are dictionary look-ups in memory, never SQL, and cost O(matches).
* `update(fn)` runs `fn(transaction)` at once (it must not await) and returns its value when the change is on disk.
  Whatever `fn` raises undoes the transaction and is raised to the caller.
* Watchers are called after the change is durable, on the event loop, with all changes of one or more commits in order.
* When the disk refuses (full, gone), the change is undone in memory and `StoreUnavailable` (Retryable) is raised:
  nothing is acknowledged that is not on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from moorage.domain.errors import Retryable

R = TypeVar("R")
T = TypeVar("T")


class StoreUnavailable(Retryable):
    """The durable log refused the change; nothing was changed."""


@dataclass(frozen=True, eq=False)
class Table(Generic[R]):
    """`name` is the durable name (never rename it without a migration); `record` a frozen msgspec.Struct; `key` the
    primary key of a record (an ARN wherever there is one: ARNs carry account and region); `indexes` named functions
    from a record to a value (None: not in this index) for `find`."""

    name: str
    record: type[R]
    key: Callable[[R], str]
    indexes: Mapping[str, Callable[[R], Hashable | None]] = field(default_factory=dict)


@dataclass(frozen=True)
class Change(Generic[R]):
    """One record before and after (None: absent)."""

    table: Table[R]
    key: str
    before: R | None
    after: R | None


class View(Protocol):
    def get(self, table: Table[R], key: str) -> R | None: ...

    def find(self, table: Table[R], index: str, value: Hashable) -> Collection[R]:
        """The records whose `index` equals `value`, in key order of insertion."""
        ...

    def all(self, table: Table[R]) -> Collection[R]: ...


class Transaction(View, Protocol):
    """Reads see the transaction's own writes."""

    def put(self, table: Table[R], record: R) -> R:
        """Inserts or replaces; returns the record."""
        ...

    def delete(self, table: Table[R], key: str) -> None:
        """Removes; absent keys are fine."""
        ...


Watcher = Callable[[Sequence[Change[Any]]], None]


class StoreApi(View, Protocol):
    async def update(self, fn: Callable[[Transaction], T]) -> T: ...

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        """Calls `watcher` with every durable change from now on; the answer ends the subscription."""
        ...
