import asyncio

import pytest

from moorage.domain.errors import MoorageError
from moorage.store.api import Change, StoreUnavailable, Table
from moorage.store.log_memory import MemoryDisk, MemoryLog
from moorage.store.memory import Store

from .things import OTHERS, TABLES, THINGS, Thing


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
async def store(log: MemoryLog) -> Store:
    return await Store.open(log, TABLES, verify=True)


def names(records) -> list[str]:
    return [record.name for record in records]


async def put(store: Store, *things: Thing) -> None:
    await store.update(lambda tx: [tx.put(THINGS, thing) for thing in things])


async def test_a_transaction_sees_its_own_writes(store):
    def change(tx):
        tx.put(THINGS, Thing("a", "red"))
        assert names(tx.find(THINGS, "color", "red")) == ["a"]
        tx.delete(THINGS, "a")
        assert tx.get(THINGS, "a") is None
        tx.put(THINGS, Thing("a", "blue"))
        return names(tx.all(THINGS))

    assert await store.update(change) == ["a"]
    assert store.get(THINGS, "a") == Thing("a", "blue")
    assert store.find(THINGS, "color", "red") == ()


async def test_what_the_function_raises_undoes_everything(store):
    await put(store, Thing("a", "red"), Thing("b", "red"))

    def change(tx):
        tx.delete(THINGS, "a")
        tx.put(THINGS, Thing("b", "blue"))
        tx.put(OTHERS, Thing("c"))
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await store.update(change)
    assert names(store.find(THINGS, "color", "red")) == ["a", "b"]
    assert store.all(OTHERS) == ()


async def test_records_are_found_in_order_of_insertion_whatever_happens_later(store, log):
    await put(store, Thing("c", "red"), Thing("a", "blue"), Thing("b", "red"))
    await put(store, Thing("c", "blue"))
    await put(store, Thing("c", "red", 1))
    assert names(store.find(THINGS, "color", "red")) == ["c", "b"]
    reopened = await Store.open(MemoryLog(log.disk), TABLES)
    assert names(reopened.find(THINGS, "color", "red")) == ["c", "b"]
    assert names(reopened.all(THINGS)) == ["c", "a", "b"]


async def test_what_was_read_stays_as_it_is(store):
    await put(store, Thing("a", "red"))
    seen, seen_all = store.find(THINGS, "color", "red"), store.all(THINGS)
    await put(store, Thing("b", "red"))
    assert (names(seen), names(seen_all)) == (["a"], ["a"])


async def test_watchers_hear_of_durable_changes_only_in_commit_order(store):
    heard: list[Change] = []
    end = store.watch(heard.extend)
    first = asyncio.ensure_future(put(store, Thing("a")))
    second = asyncio.ensure_future(put(store, Thing("a", "red"), Thing("b")))
    await asyncio.sleep(0)
    assert names(store.all(THINGS)) == ["a", "b"], "readers see the newest state"
    assert heard == []
    await asyncio.gather(first, second)
    assert [(c.key, c.before, c.after) for c in heard] == [
        ("a", None, Thing("a")),
        ("a", Thing("a"), Thing("a", "red")),
        ("b", None, Thing("b")),
    ]
    end()
    await put(store, Thing("z"))
    assert len(heard) == 3


async def test_a_watcher_that_fails_does_not_stop_the_others(store):
    heard: list[Change] = []
    store.watch(lambda changes: 1 / 0)
    store.watch(heard.extend)
    await put(store, Thing("a"))
    assert len(heard) == 1


async def test_putting_what_is_there_already_changes_and_writes_nothing(store, log):
    await put(store, Thing("a", "red"))
    heard: list[Change] = []
    store.watch(heard.extend)
    written = log.disk.commits
    await put(store, Thing("a", "red"))
    await store.update(lambda tx: (tx.put(THINGS, Thing("a")), tx.put(THINGS, Thing("a", "red"))))
    await store.update(lambda tx: (tx.delete(THINGS, "a"), tx.put(THINGS, Thing("a", "red"))))
    assert heard == []
    assert log.disk.commits == written


async def test_a_refused_write_undoes_it_and_everything_after_it(store, log):
    await put(store, Thing("a", "red"), Thing("b", "red"))
    heard: list[Change] = []
    store.watch(heard.extend)
    log.refuse(OSError("disk full"))
    answers = await asyncio.gather(
        store.update(lambda tx: tx.delete(THINGS, "a")),
        store.update(lambda tx: tx.put(THINGS, Thing("b", "blue"))),
        store.update(lambda tx: tx.put(THINGS, Thing("a", "green"))),
        store.update(lambda tx: tx.put(THINGS, Thing("a", "green"))),  # changes nothing, but saw what was refused
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers] == [StoreUnavailable] * 4
    assert "disk full" in str(answers[0])
    assert names(store.find(THINGS, "color", "red")) == names(store.all(THINGS)) == ["a", "b"]
    assert heard == []
    log.refuse(None)
    await put(store, Thing("c", "red"))
    assert names(store.find(THINGS, "color", "red")) == ["a", "b", "c"]


async def test_a_caller_who_goes_away_does_not_take_the_change_with_him(store):
    task = asyncio.ensure_future(put(store, Thing("a")))
    other = asyncio.ensure_future(put(store, Thing("b")))
    await asyncio.sleep(0)
    task.cancel()
    await other
    assert names(store.all(THINGS)) == ["a", "b"]
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_what_is_not_durable_is_lost_in_a_crash_and_nobody_is_answered():
    disk = MemoryDisk()
    log = MemoryLog(disk, latency=1000)
    store = await Store.open(log, TABLES)
    writer = asyncio.ensure_future(put(store, Thing("a")))
    await asyncio.sleep(0)
    log.crash()
    await asyncio.sleep(0)
    assert not writer.done()
    writer.cancel()
    assert (await Store.open(MemoryLog(disk), TABLES)).all(THINGS) == ()


async def test_archived_records_leave_memory_and_are_found_in_history_newest_first(store, log):
    await put(store, *(Thing(f"t{number}", "red", number) for number in range(5)))
    assert await store.update(lambda tx: tx.archive(THINGS, "absent")) is None
    for number in range(5):
        await store.update(lambda tx, name=f"t{number}": tx.archive(THINGS, name))
    assert store.all(THINGS) == ()
    assert names(await store.history(THINGS, "color", "red", limit=2)) == ["t4", "t3"]
    assert names(await store.history(THINGS, "size", 1)) == ["t3", "t1"]
    assert names(await store.history(THINGS, "key", "t2")) == ["t2"]
    await store.update(lambda tx: tx.keep(THINGS, Thing("never in memory", "red")))
    assert names(await store.history(THINGS, "color", "red", limit=1)) == ["never in memory"]
    with pytest.raises(KeyError, match="no index shape"):
        await store.history(THINGS, "shape", "round")


async def test_an_archive_that_is_undone_leaves_no_history(store):
    await put(store, Thing("a", "red"))

    def change(tx):
        tx.archive(THINGS, "a")
        raise ValueError

    with pytest.raises(ValueError):
        await store.update(change)
    assert names(store.all(THINGS)) == ["a"]
    assert await store.history(THINGS, "key", "a") == []


async def test_reset_deletes_everything_and_watchers_see_it(store, log):
    await put(store, Thing("a"), Thing("b"))
    await store.update(lambda tx: tx.archive(THINGS, "b"))
    heard: list[Change] = []
    store.watch(heard.extend)
    await store.reset()
    assert [(change.key, change.after) for change in heard] == [("a", None)]
    assert store.all(THINGS) == ()
    assert await store.history(THINGS, "key", "b") == []
    assert log.disk.records == {}


async def test_mistakes_of_the_programmer_are_told(store):
    with pytest.raises(KeyError, match="no index shape"):
        store.find(THINGS, "shape", 1)
    with pytest.raises(KeyError, match="was not given"):
        store.all(Table("strangers", Thing, key=lambda r: r.name))
    with pytest.raises(ValueError, match="one name"):
        await Store.open(MemoryLog(), (THINGS, THINGS))

    async def waits(tx):
        tx.put(THINGS, Thing("a"))

    with pytest.raises(TypeError, match="must not be async"):
        await store.update(waits)
    with pytest.raises(TypeError, match="holds Thing"):
        await store.update(lambda tx: tx.put(THINGS, "a"))
    for broken in (Thing("a", size=True), Thing("a", color=("red",)), Thing("a", tags={"a": 1})):
        with pytest.raises(TypeError, match="survive a restart"):
            await store.update(lambda tx, broken=broken: (tx.put(THINGS, Thing("first")), tx.put(THINGS, broken)))
    leaked = await store.update(lambda tx: tx)
    with pytest.raises(RuntimeError, match="has ended"):
        leaked.put(THINGS, Thing("a"))
    assert store.all(THINGS) == ()


async def test_a_record_that_no_longer_fits_is_refused_with_a_sentence(store, log):
    await put(store, Thing("a", size=1))

    class Different(Thing, frozen=True, kw_only=True):
        weight: int

    with pytest.raises(MoorageError, match="things record a cannot be read"):
        await Store.open(MemoryLog(log.disk), [Table("things", Different, key=lambda r: r.name)])


async def test_records_of_unknown_tables_stay_where_they_are(store, log):
    await put(store, Thing("a"))
    older = await Store.open(MemoryLog(log.disk), [OTHERS])
    await older.update(lambda tx: tx.put(OTHERS, Thing("b")))
    again = await Store.open(MemoryLog(log.disk), TABLES)
    assert names(again.all(THINGS)) == ["a"]


async def test_a_closed_store_refuses_and_has_written_what_it_took(log):
    store = await Store.open(log, TABLES)
    writer = asyncio.ensure_future(put(store, Thing("a")))
    await asyncio.sleep(0)
    await store.close()
    await writer
    with pytest.raises(StoreUnavailable):
        await put(store, Thing("b"))
    assert len(log.disk.records) == 1
