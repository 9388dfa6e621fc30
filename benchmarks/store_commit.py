"""Durable commits per second with eight concurrent writers: the store against plain SQLite, one commit per write.

Both do the same in the same run on the same disk: a record of about 2 kB, on disk before the writer goes on. The
baseline is what a straightforward program does: eight threads, one connection, a lock, one commit each.

    python benchmarks/store_commit.py [seconds]
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import tempfile
import threading
import time
from pathlib import Path

import msgspec

from moorage.store.api import Table
from moorage.store.log_sqlite import SqliteLog
from moorage.store.memory import Store

WRITERS = 8
TEXT = "x" * 2000


class Item(msgspec.Struct, frozen=True):
    name: str
    family: str
    text: str


ITEMS: Table[Item] = Table("items", Item, key=lambda r: r.name, indexes={"family": lambda r: r.family})


def item(writer: int, number: int) -> Item:
    return Item(f"arn:aws:ecs:us-east-1:000000000000:task-definition/f{writer}:{number}", f"f{writer}", TEXT)


async def store_rate(path: Path, seconds: float) -> tuple[float, float]:
    """(commits/s, commits per fsync)"""
    log = SqliteLog(path)
    store = await Store.open(log, [ITEMS])
    counts = [0] * WRITERS
    end = time.perf_counter() + seconds

    async def write(writer: int) -> None:
        while time.perf_counter() < end:
            counts[writer] += 1
            record = item(writer, counts[writer])
            await store.update(lambda tx, record=record: tx.put(ITEMS, record))

    groups = log.groups
    started = time.perf_counter()
    await asyncio.gather(*(write(number) for number in range(WRITERS)))
    took = time.perf_counter() - started
    groups = log.groups - groups
    await store.close()
    return sum(counts) / took, sum(counts) / groups


def plain_rate(path: Path, seconds: float) -> float:
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE records (kind TEXT, key TEXT, data BLOB, PRIMARY KEY (kind, key)) WITHOUT ROWID")
    lock = threading.Lock()
    counts = [0] * WRITERS
    end = time.perf_counter() + seconds

    def write(writer: int) -> None:
        while time.perf_counter() < end:
            counts[writer] += 1
            record = item(writer, counts[writer])
            with lock:
                row = (ITEMS.name, record.name, msgspec.msgpack.encode(record))
                connection.execute("INSERT OR REPLACE INTO records VALUES (?, ?, ?)", row)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(WRITERS)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - started
    connection.close()
    return sum(counts) / took


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 3.0
    with tempfile.TemporaryDirectory(prefix="moorage-bench-") as directory:
        plain = plain_rate(Path(directory) / "plain.db", seconds)
        rate, shared = asyncio.run(store_rate(Path(directory) / "state.db", seconds))
    print(f"store, {WRITERS} writers:        {rate:8.0f} durable commits/s ({shared:.1f} per fsync)")
    print(f"plain SQLite, {WRITERS} writers: {plain:8.0f} durable commits/s")
    print(f"ratio store / plain:     {rate / plain:8.2f}")
    met = "met" if rate >= plain else "not met"
    print(f"RESULT | durable commits, {WRITERS} writers: store / plain SQLite | {rate / plain:.2f} | >= 1 | {met}")


if __name__ == "__main__":
    main()
