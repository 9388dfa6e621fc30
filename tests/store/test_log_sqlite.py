import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
import pytest

from moorage.domain.errors import MoorageError
from moorage.store.api import StoreUnavailable
from moorage.store.log import Commit, Write
from moorage.store.log_sqlite import CHUNK, HISTORY_SLACK, SqliteLog
from moorage.store.memory import Store
from moorage.store.migrations import MIGRATIONS, Migration, rewrite

from .things import OTHERS, TABLES, THINGS, Thing


@contextlib.asynccontextmanager
async def opened(path: Path, **options):
    store = await Store.open(SqliteLog(path, **options), TABLES, verify=True)
    try:
        yield store
    finally:
        await store.close()


def names(records) -> list[str]:
    return [record.name for record in records]


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "data" / "state.db"


async def test_everything_is_there_again_after_reopening(path):
    async with opened(path) as store:
        await store.update(lambda tx: [tx.put(THINGS, Thing(name, "red")) for name in "cab"])
        await store.update(lambda tx: tx.put(OTHERS, Thing("a", "blue", 7, {"k": "v"})))
        await store.update(lambda tx: (tx.archive(THINGS, "a"), tx.put(THINGS, Thing("c", "blue"))))
    async with opened(path) as store:
        assert store.all(THINGS) == (Thing("c", "blue"), Thing("b", "red"))
        assert store.get(OTHERS, "a") == Thing("a", "blue", 7, {"k": "v"})
        assert await store.history(THINGS, "color", "red") == [Thing("a", "red")]
        await store.update(lambda tx: tx.archive(THINGS, "b"))
        assert names(await store.history(THINGS, "color", "red")) == ["b", "a"]
        assert names(await store.history(THINGS, "color", "red", limit=1)) == ["b"]


async def test_a_large_transaction_is_written_whole(path):
    many = [Thing(f"t{number:04}", "red", number) for number in range(3 * CHUNK + 5)]
    async with opened(path) as store:
        await store.update(lambda tx: [tx.put(THINGS, thing) for thing in many])
        await store.update(lambda tx: [tx.delete(THINGS, thing.name) for thing in many[10:]])
    async with opened(path) as store:
        assert list(store.all(THINGS)) == many[:10]


async def test_waiting_transactions_share_one_fsync(path):
    async with opened(path) as store:
        log = store._log
        before = log.groups
        await asyncio.gather(
            *(store.update(lambda tx, n=n: tx.put(THINGS, Thing(f"t{n}", "red", n))) for n in range(200))
        )
        assert log.groups - before < 20
    async with opened(path) as store:
        assert len(store.all(THINGS)) == 200


async def test_within_a_group_the_last_write_of_a_record_counts(path):
    async with opened(path) as store:
        await asyncio.gather(
            store.update(lambda tx: tx.put(THINGS, Thing("a", "red"))),
            store.update(lambda tx: tx.put(THINGS, Thing("b", "red"))),
            store.update(lambda tx: tx.put(THINGS, Thing("a", "blue"))),
            store.update(lambda tx: tx.delete(THINGS, "b")),
            store.reset(),
            store.update(lambda tx: tx.put(THINGS, Thing("c"))),
        )
    async with opened(path) as store:
        assert names(store.all(THINGS)) == ["c"]


async def test_reset_empties_the_file_with_its_history(path):
    async with opened(path) as store:
        await store.update(lambda tx: [tx.put(THINGS, Thing(name, "red")) for name in "ab"])
        await store.update(lambda tx: tx.archive(THINGS, "a"))
        await store.reset()
        await store.update(lambda tx: tx.put(THINGS, Thing("after")))
    async with opened(path) as store:
        assert names(store.all(THINGS)) == ["after"]
        assert await store.history(THINGS, "key", "a") == []


async def test_the_oldest_history_beyond_a_limit_is_forgotten(path):
    many = [Thing(f"t{number:05}", "red", number) for number in range(HISTORY_SLACK + 200)]
    async with opened(path, history_limit=100) as store:
        await store.update(lambda tx: [tx.keep(THINGS, thing) for thing in many[:1050]])
        assert len(await store.history(THINGS, "color", "red", limit=10_000)) == 1050, "a little more may gather"
        await store.update(lambda tx: [tx.keep(THINGS, thing) for thing in many[1050:]])
        kept = await store.history(THINGS, "color", "red", limit=10_000)
        assert kept == many[:-101:-1]
        assert await store.history(THINGS, "key", "t00000") == []
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM history_entries WHERE name = 'key'").fetchone() == (100,)


async def test_history_of_the_first_version_of_the_file_is_still_read(path):
    async with opened(path, migrations=MIGRATIONS[:1]):
        pass
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("INSERT INTO history VALUES (1, 'things', 'a', ?)", (msgspec.msgpack.encode(Thing("a")),))
        connection.execute("INSERT INTO history_entries VALUES ('things', 'key', ?, 1)", (msgspec.msgpack.encode("a"),))
    async with opened(path) as store:
        await store.update(lambda tx: tx.keep(THINGS, Thing("a", "red")))
        assert await store.history(THINGS, "key", "a") == [Thing("a", "red"), Thing("a")]


WRITER = """
import asyncio, sys
from pathlib import Path
import msgspec
from moorage.store.api import Table
from moorage.store.log_sqlite import SqliteLog
from moorage.store.memory import Store

class Thing(msgspec.Struct, frozen=True):
    name: str
    size: int

THINGS = Table("things", Thing, key=lambda r: r.name)

async def main():
    store = await Store.open(SqliteLog(Path(sys.argv[1])), [THINGS])
    async def client(number):
        size = 0
        while True:
            size += 1
            def change(tx):
                for half in "ab":
                    tx.put(THINGS, Thing(f"{number}{half}", size))
            await store.update(change)
            print(number, size, flush=True)
    await asyncio.gather(*(client(number) for number in range(8)))

asyncio.run(main())
"""


@pytest.mark.parametrize("lines", [1, 100, 1000])
async def test_every_acknowledged_write_is_there_after_kill_9(path, lines):
    child = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    output = [child.stdout.readline() for _ in range(lines)]
    os.kill(child.pid, signal.SIGKILL)
    output += child.stdout.readlines()
    child.wait()
    acknowledged: dict[str, int] = {}
    for line in output:
        with contextlib.suppress(ValueError):  # the last line may be cut off
            client, size = line.split()
            acknowledged[client] = int(size)
    assert acknowledged
    async with opened(path) as store:
        found = {thing.name: thing.size for thing in store.all(THINGS)}
    for client, size in acknowledged.items():
        assert found[f"{client}a"] >= size
        assert found[f"{client}a"] == found[f"{client}b"], "half a transaction"


@pytest.fixture
def small_disk():
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    with tempfile.TemporaryDirectory() as directory:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", directory], capture_output=True)
        if mounted.returncode != 0:
            pytest.skip("mounting is not allowed here")
        try:
            yield Path(directory)
        finally:
            subprocess.run(["umount", directory], check=True)


async def test_a_full_disk_refuses_and_recovers_and_loses_nothing(small_disk):
    path = small_disk / "state.db"
    async with opened(path) as store:
        ballast = small_disk / "ballast"
        ballast.write_bytes(b"x" * 128 * 1024)
        accepted: list[str] = []

        async def fill() -> None:
            for number in range(1000):
                name = f"t{number}"
                await store.update(lambda tx, name=name: tx.put(THINGS, Thing(name, "x" * 4096)))
                accepted.append(name)

        with pytest.raises(StoreUnavailable, match="full"):
            await fill()
        assert accepted
        assert names(store.all(THINGS)) == accepted
        both = await asyncio.gather(
            *(store.update(lambda tx, n=n: tx.put(THINGS, Thing(n, "y" * 200_000))) for n in ("big", "bigger")),
            return_exceptions=True,
        )
        assert [type(answer) for answer in both] == [StoreUnavailable] * 2
        assert names(store.all(THINGS)) == accepted
        ballast.unlink()
        await store.update(lambda tx: tx.put(THINGS, Thing("after")))
    async with opened(path) as store:
        assert names(store.all(THINGS)) == [*accepted, "after"]


async def test_what_was_queued_behind_a_refused_group_is_refused_too(path, monkeypatch):
    async with opened(path) as store:
        await store.update(lambda tx: tx.put(THINGS, Thing("a")))
        from moorage.store import log_sqlite

        real, left = log_sqlite.write_commits, [1]

        def full_once(*arguments):
            if left:
                left.pop()
                raise sqlite3.OperationalError("database or disk is full")
            real(*arguments)

        monkeypatch.setattr(log_sqlite, "write_commits", full_once)
        answers = await asyncio.gather(
            *(store.update(lambda tx, n=n: tx.put(THINGS, Thing("a", str(n)))) for n in range(50)),
            return_exceptions=True,
        )
        assert {type(answer) for answer in answers} == {StoreUnavailable}
        assert store.get(THINGS, "a") == Thing("a")
        await store.update(lambda tx: tx.put(THINGS, Thing("b")))
    async with opened(path) as store:
        assert store.all(THINGS) == (Thing("a"), Thing("b"))


async def test_two_control_planes_never_share_a_data_directory(path):
    async with opened(path) as store:
        with pytest.raises(MoorageError, match=r"in use.*moor down"):
            await Store.open(SqliteLog(path), TABLES)
        code = (
            "import asyncio,sys; from pathlib import Path; from moorage.store.memory import Store;"
            "from moorage.store.log_sqlite import SqliteLog;"
            "asyncio.run(Store.open(SqliteLog(Path(sys.argv[1])), []))"
        )
        other = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
        assert "in use" in other.stderr
        await store.update(lambda tx: tx.put(THINGS, Thing("a")))
    async with opened(path) as store:
        assert names(store.all(THINGS)) == ["a"]


async def test_a_newer_version_migrates_an_older_file_and_an_older_one_refuses_a_newer(path):
    def no_reds(connection):
        rewrite(connection, "things", lambda r: None if r["color"] == "red" else {**r, "size": r["size"] + 1})

    newer = (*MIGRATIONS, Migration("no reds", no_reds))
    async with opened(path) as store:
        await store.update(lambda tx: (tx.put(THINGS, Thing("a", "red")), tx.put(THINGS, Thing("b", "blue", 1))))
    async with opened(path, migrations=newer) as store:
        assert store.all(THINGS) == (Thing("b", "blue", 2),)
    async with opened(path, migrations=newer) as store:
        assert store.all(THINGS) == (Thing("b", "blue", 2),), "a migration runs once"
    with pytest.raises(MoorageError, match=rf"newer Moorage.*version {len(newer)}.*up to {len(MIGRATIONS)}"):
        await Store.open(SqliteLog(path), TABLES)


async def test_a_migration_that_fails_leaves_the_file_as_it_was(path):
    def fails(connection):
        connection.execute("DELETE FROM records")
        raise ValueError("broken step")

    async with opened(path) as store:
        await store.update(lambda tx: tx.put(THINGS, Thing("a")))
    with pytest.raises(ValueError, match="broken step"):
        await Store.open(SqliteLog(path, migrations=(*MIGRATIONS, Migration("broken", fails))), TABLES)
    async with opened(path) as store:
        assert names(store.all(THINGS)) == ["a"]


async def test_files_that_are_not_ours_are_left_alone(path):
    path.parent.mkdir()
    path.write_bytes(b"something else entirely, and long enough to be read as a header" * 20)
    with pytest.raises(MoorageError, match="not a Moorage data file"):
        await Store.open(SqliteLog(path), TABLES)
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as stranger:
        stranger.execute("CREATE TABLE theirs (x)")
    with pytest.raises(MoorageError, match="is not a Moorage data file"):
        await Store.open(SqliteLog(path), TABLES)


async def test_a_directory_that_cannot_be_made_is_said_in_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MoorageError, match=r"cannot be opened.*--data-dir"):
        await Store.open(SqliteLog(tmp_path / "file" / "state.db"), TABLES)


async def test_a_clear_in_the_middle_of_a_group_forgets_what_came_before(path):
    from moorage.store.log_sqlite import write_commits

    async with opened(path):
        pass
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        puts = [Commit((Write("things", name, 1, b"x"),)) for name in "ab"]
        write_commits(connection, [puts[0], Commit(clear=True), puts[1]])
        assert connection.execute("SELECT key FROM records").fetchall() == [("b",)]
