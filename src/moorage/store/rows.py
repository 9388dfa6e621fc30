"""The records of one table in memory, with their indexes.

Every change costs O(number of indexes), whatever the size of the table; `find` costs O(matches). Records are found in
order of their first insertion, whatever happened to them since: each has an `order` number that survives replacement,
undo and restarts. What is handed out are tuples: a snapshot that never changes under whoever iterates it, kept until
the next change so that repeated reads cost nothing; the same tuple means that nothing has changed.

An index value that one record alone has (its owner, its address) is not worth a bucket: the key stands for it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from moorage.store.api import Table

R = TypeVar("R")


class _Bucket(Generic[R]):
    """Records in order. `sorted` is lost when one comes in whose order is not the highest, and mended on reading."""

    __slots__ = ("highest", "records", "snapshot", "sorted")

    def __init__(self) -> None:
        self.records: dict[str, R] = {}
        self.snapshot: tuple[R, ...] | None = None
        self.sorted = True
        self.highest = -1

    def put(self, key: str, record: R, order: int) -> None:
        if key not in self.records:
            if order < self.highest:
                self.sorted = False
            else:
                self.highest = order
        self.records[key] = record
        self.snapshot = None

    def drop(self, key: str) -> None:
        del self.records[key]
        self.snapshot = None

    def read(self, orders: dict[str, int]) -> tuple[R, ...]:
        if self.snapshot is None:
            if not self.sorted:
                self.records = dict(sorted(self.records.items(), key=lambda item: orders[item[0]]))
                self.sorted = True
            self.snapshot = tuple(self.records.values())
        return self.snapshot


# By index value: the key of the only record that has it, or all that have it.
_Index = dict[Hashable, "str | _Bucket[R]"]


class Rows(Generic[R]):
    """`put` and `remove` are the only ways in; both either succeed or change nothing."""

    def __init__(self, table: Table[R]) -> None:
        self.table = table
        self._all: _Bucket[R] = _Bucket()
        self._orders: dict[str, int] = {}
        self._indexes: list[tuple[Callable[[R], Hashable | None], _Index[R]]] = []
        self._by_name: dict[str, _Index[R]] = {}
        for name, function in table.indexes.items():
            buckets: _Index[R] = {}
            self._indexes.append((function, buckets))
            self._by_name[name] = buckets

    def __len__(self) -> int:
        return len(self._all.records)

    def get(self, key: str) -> R | None:
        return self._all.records.get(key)

    def order(self, key: str) -> int | None:
        return self._orders.get(key)

    def all(self) -> tuple[R, ...]:
        return self._all.read(self._orders)

    def primary_keys(self) -> list[str]:
        return list(self._all.records)

    def find(self, index: str, value: Hashable) -> tuple[R, ...]:
        buckets = self._by_name.get(index)
        if buckets is None:
            raise KeyError(f"table {self.table.name} has no index {index}; it has {', '.join(self._by_name) or 'none'}")
        bucket = buckets.get(value)
        if bucket is None:
            return ()
        return (self._all.records[bucket],) if isinstance(bucket, str) else bucket.read(self._orders)

    def load(self, key: str, record: R, order: int) -> None:
        """`put` of a record that is not there yet, in rising order, before anybody has read anything."""
        self._orders[key] = order
        self._all.records[key] = record
        self._all.highest = order
        for function, buckets in self._indexes:
            value = function(record)
            if value is None:
                continue
            bucket = buckets.get(value)
            if bucket is None:
                buckets[value] = key
            elif isinstance(bucket, str):
                self._enter(buckets, value, key, record, order)
            else:
                bucket.records[key] = record
                bucket.highest = order

    def put(self, key: str, record: R, order: int) -> None:
        before = self._all.records.get(key)
        # Everything that can raise comes first: index functions and hashing.
        new = [function(record) for function, _ in self._indexes]
        hash(tuple(new))
        if before is None:
            old: list[Hashable | None] = [None] * len(new)
        else:
            old = [function(before) for function, _ in self._indexes]
        self._orders[key] = order
        self._all.put(key, record, order)
        for (_, buckets), was, becomes in zip(self._indexes, old, new, strict=True):
            if was is not None and was != becomes:
                _drop(buckets, was, key)
            if becomes is not None:
                self._enter(buckets, becomes, key, record, order)

    def _enter(self, buckets: _Index[R], value: Hashable, key: str, record: R, order: int) -> None:
        bucket = buckets.get(value)
        if bucket is None or bucket == key:
            buckets[value] = key
            return
        if isinstance(bucket, str):
            alone, bucket = bucket, _Bucket()
            bucket.put(alone, self._all.records[alone], self._orders[alone])
            buckets[value] = bucket
        bucket.put(key, record, order)

    def remove(self, key: str) -> None:
        before = self._all.records.get(key)
        if before is None:
            return
        old = [function(before) for function, _ in self._indexes]
        self._all.drop(key)
        del self._orders[key]
        for (_, buckets), was in zip(self._indexes, old, strict=True):
            if was is not None:
                _drop(buckets, was, key)


def _drop(buckets: _Index[R], value: Hashable, key: str) -> None:
    """An index value that nobody has any more costs no memory."""
    bucket = buckets[value]
    if not isinstance(bucket, str):
        bucket.drop(key)
        if bucket.records:
            return
    del buckets[value]
