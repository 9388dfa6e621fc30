"""How long a store takes to open on existing state, per record, beside reading the same rows from SQLite alone.

python benchmarks/store_open.py [records]
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from moorage.store.api import Table
from moorage.store.log_sqlite import SqliteLog
from moorage.store.memory import Store


class Item(msgspec.Struct, frozen=True):
    name: str
    family: str
    status: str
    parts: tuple[str, ...]


ITEMS: Table[Item] = Table(
    "items", Item, key=lambda r: r.name, indexes={"family": lambda r: r.family, "status": lambda r: r.status}
)


async def fill(path: Path, records: int) -> None:
    store = await Store.open(SqliteLog(path), [ITEMS])
    parts = tuple(f"part {number} of a record of about two kilobytes" for number in range(40))
    items = [
        Item(f"arn:aws:ecs:us-east-1:000000000000:task/main/{n:032x}", f"f{n % 50}", "RUNNING", parts)
        for n in range(records)
    ]
    await store.update(lambda tx: [tx.put(ITEMS, item) for item in items])
    await store.close()


async def timed_open(path: Path) -> float:
    started = time.perf_counter()
    store = await Store.open(SqliteLog(path), [ITEMS])
    took = time.perf_counter() - started
    await store.close()
    return took


def timed_read(path: Path) -> float:
    started = time.perf_counter()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("SELECT kind, key, place, data FROM records").fetchall()
    return time.perf_counter() - started


def main() -> None:
    records = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    with tempfile.TemporaryDirectory(prefix="moorage-bench-") as directory:
        path = Path(directory) / "state.db"
        asyncio.run(fill(path, records))
        opened, read = asyncio.run(timed_open(path)), timed_read(path)
    print(f"open a store of {records} records of 2 kB: {opened:6.3f} s ({opened / records * 1e6:.1f} µs each)")
    print(f"read the rows alone:                    {read:6.3f} s")
    print(f"ratio open / read:                      {opened / read:6.2f}")
    met = "met" if opened <= 1.0 else "not met"
    print(f"RESULT | open a store of {records} records | {opened:.2f} s | <= 1.0 s (a whole moor up) | {met}")


if __name__ == "__main__":
    main()
