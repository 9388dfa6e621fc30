"""Log events on disk: order, pages, statistics, clean-up, restart, refusal. Both variants pass the same tests."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from moorage.domain.errors import MoorageError
from moorage.store.api import StoreUnavailable
from moorage.store.log_events import LogEvents, MemoryLogEvents, SqliteLogEvents
from moorage.store.log_events_sql import OVERHEAD, EventDatabase, EventQuery, StreamStats

NOW = 1_700_000_000_000


@pytest_asyncio.fixture(params=["sqlite", "memory"])
async def events(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[LogEvents]:
    it: LogEvents = (
        await SqliteLogEvents.open(tmp_path / "logs.sqlite") if request.param == "sqlite" else MemoryLogEvents()
    )
    yield it
    await it.close()


async def messages(events: LogEvents, **query: object) -> list[str]:
    page = await events.read(EventQuery(group_id="g", **query))  # type: ignore[arg-type]
    return [event.message for event in page.events]


async def test_events_come_in_the_order_of_time_then_arrival(events: LogEvents) -> None:
    await events.append("g", "a", [(3, "late"), (1, "early"), (2, "first of two"), (2, "second of two")], NOW)
    await events.append("g", "b", [(2, "other stream")], NOW)
    assert await messages(events, stream_id="a") == ["early", "first of two", "second of two", "late"]
    assert await messages(events) == ["early", "first of two", "second of two", "other stream", "late"]
    assert await messages(events, forward=False, limit=2) == ["late", "other stream"]
    assert await messages(events, stream_ids=frozenset({"b"})) == ["other stream"]
    assert await messages(events, start=2, end=3, stream_id="a") == ["first of two", "second of two"]
    page = await events.read(EventQuery(group_id="other group"))
    assert (page.events, page.position, page.exhausted) == ((), None, True)


async def test_pages_follow_on_each_other(events: LogEvents) -> None:
    await events.append("g", "a", [(n // 3, str(n)) for n in range(100)], NOW)
    for forward in (True, False):
        seen: list[str] = []
        query = EventQuery(group_id="g", limit=7, forward=forward)
        while True:
            page = await events.read(query)
            seen += [event.message for event in page.events]
            if page.exhausted:
                break
            query = EventQuery(group_id="g", limit=7, forward=forward, after=page.position)
        assert seen == [str(n) for n in (range(100) if forward else reversed(range(100)))]


async def test_a_page_ends_at_its_bytes_and_at_what_it_may_look_at(events: LogEvents) -> None:
    await events.append("g", "a", [(n, "x" * 74) for n in range(10)], NOW)
    page = await events.read(EventQuery(group_id="g", max_bytes=250))
    assert (len(page.events), page.exhausted, page.position) == (2, False, (1, 2))
    page = await events.read(EventQuery(group_id="g", matches=lambda message: False, scan_limit=4))
    assert (page.events, page.exhausted, page.position) == ((), False, (3, 4))
    oversized = await events.read(EventQuery(group_id="g", max_bytes=1))
    assert len(oversized.events) == 1  # never an empty page for size


async def test_statistics_follow_the_events(events: LogEvents) -> None:
    assert events.stats("a") == StreamStats("a")
    await events.append("g", "a", [(5, "ü"), (9, "y")], NOW)
    await events.append("g", "a", [(7, "z")], NOW + 1)
    assert events.stats("a") == StreamStats("a", 5, 9, NOW + 1, 4 + 3 * OVERHEAD)


async def test_expired_events_go_and_the_rest_stays(events: LogEvents, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moorage.store.log_events.DELETE_AT_ONCE", 4)
    await events.append("g", "a", [(n, str(n)) for n in range(10)], NOW)
    await events.append("other", "b", [(0, "not touched")], NOW)
    await events.expire("g", 7)
    assert await messages(events) == ["7", "8", "9"]
    assert events.stats("a") == StreamStats("a", 7, 9, NOW, 3 * (1 + OVERHEAD))
    assert events.stats("b").bytes == len("not touched") + OVERHEAD
    await events.expire("g", 100)
    assert events.stats("a") == StreamStats("a", 7, 9, NOW, 0)
    await events.append("g", "a", [(50, "again")], NOW)
    assert events.stats("a") == StreamStats("a", 50, 50, NOW, 5 + OVERHEAD)


async def test_deleted_streams_and_orphans(events: LogEvents, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moorage.store.log_events.DELETE_AT_ONCE", 4)
    for stream in ("a", "b", "c"):
        await events.append("g", stream, [(n, stream) for n in range(10)], NOW)
    await events.delete_stream("a")
    await events.keep_only({"c", "unknown"})
    assert set(await messages(events)) == {"c"}
    assert events.stats("a") == StreamStats("a")


async def test_clear_leaves_nothing(events: LogEvents) -> None:
    await events.append("g", "a", [(1, "x")], NOW)
    await events.clear()
    assert await messages(events) == []
    assert events.stats("a") == StreamStats("a")


async def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "logs.sqlite"
    first = await SqliteLogEvents.open(path)
    await first.append("g", "a", [(1, "one"), (1, "two")], NOW)
    await first.close()
    second = await SqliteLogEvents.open(path)
    await second.append("g", "a", [(1, "three")], NOW + 5)
    assert await messages(second) == ["one", "two", "three"]
    assert second.stats("a").ingested_at == NOW + 5
    await second.close()


async def test_what_was_acknowledged_survives_without_a_close(tmp_path: Path) -> None:
    path = tmp_path / "logs.sqlite"
    abandoned = await SqliteLogEvents.open(path)
    await abandoned.append("g", "a", [(1, "one")], NOW)
    other = EventDatabase(sqlite3.connect(path, isolation_level=None))
    assert [event.message for event in other.select(EventQuery(group_id="g")).events] == ["one"]
    other.close()
    await abandoned.close()


async def test_many_writers_at_once(tmp_path: Path) -> None:
    events = await SqliteLogEvents.open(tmp_path / "logs.sqlite")
    await asyncio.gather(*(events.append("g", f"s{n % 5}", [(n, str(n))], NOW) for n in range(500)))
    assert await messages(events) == [str(n) for n in range(500)]
    await events.close()


async def test_a_refusing_disk_is_said_and_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = await SqliteLogEvents.open(tmp_path / "logs.sqlite")
    insert = EventDatabase.insert

    def full(self: EventDatabase, rows: object) -> list[StreamStats]:
        insert(self, rows)  # type: ignore[arg-type]
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(EventDatabase, "insert", full)
        with pytest.raises(StoreUnavailable, match="database or disk is full"):
            await events.append("g", "a", [(1, "lost")], NOW)
    await events.append("g", "a", [(2, "kept")], NOW)
    assert await messages(events) == ["kept"]
    await events.close()
    with pytest.raises(StoreUnavailable):
        await events.append("g", "a", [(3, "too late")], NOW)


async def test_a_file_that_is_none_is_said_clearly(tmp_path: Path) -> None:
    (tmp_path / "logs.sqlite").write_text("this is not a database, it is a text of some length" * 100)
    with pytest.raises(MoorageError, match="cannot be read"):
        await SqliteLogEvents.open(tmp_path / "logs.sqlite")


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5)), max_size=8), max_size=6),
    st.integers(0, 5),
    st.integers(0, 6),
    st.integers(1, 4),
    st.booleans(),
)
def test_reading_agrees_with_sorting(
    batches: list[list[tuple[str, int]]], start: int, end: int, limit: int, forward: bool
) -> None:
    async def check() -> None:
        events = MemoryLogEvents()
        expected: list[tuple[int, int, str]] = []
        for batch in batches:
            for stream, timestamp in batch:
                await events.append("g", stream, [(timestamp, f"m{len(expected)}")], NOW)
                expected.append((timestamp, len(expected), stream))
        wanted = [f"m{n}" for timestamp, n, stream in sorted(expected) if start <= timestamp < end and stream != "c"]
        seen: list[str] = []
        after = None
        while True:
            page = await events.read(EventQuery("g", None, frozenset("ab"), start, end, after, forward, limit))
            seen += [event.message for event in page.events]
            if page.exhausted:
                break
            after = page.position
        assert seen == (wanted if forward else wanted[::-1])
        await events.close()

    asyncio.run(check())


async def test_many_events_stay_readable_in_pages(tmp_path: Path) -> None:
    """Size, not speed: 60,000 events of 20 streams, read back whole through pages of 1 MiB."""
    events = await SqliteLogEvents.open(tmp_path / "logs.sqlite")
    chooser = random.Random(1)
    for number in range(60):
        batch = [(NOW + chooser.randrange(10**6), f"event {number}/{n} " + "x" * 40) for n in range(1000)]
        await events.append("g", f"s{number % 20}", batch, NOW)
    count, after, last = 0, None, 0
    while True:
        page = await events.read(EventQuery(group_id="g", after=after))
        assert all(a.timestamp <= b.timestamp for a, b in zip(page.events, page.events[1:], strict=False))
        assert not page.events or page.events[0].timestamp >= last
        count += len(page.events)
        last = page.events[-1].timestamp if page.events else last
        if page.exhausted:
            break
        after = page.position
    assert count == 60_000
    await events.close()
