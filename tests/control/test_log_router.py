"""The router of container output: names, batches, and neither loss nor duplicates whatever is interrupted."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moorage.control import log_router
from moorage.control.log_router import LARGEST_EVENT, MISSING_GROUP, LogRouter
from moorage.control.ports import ContainerLog
from moorage.domain.clock import Ids
from moorage.domain.logs import group_arn, stream_arn
from moorage.domain.scope import Scope
from moorage.engine.driver import EngineUnavailable, LogLine
from moorage.store.api import StoreUnavailable
from moorage.store.log_events import MemoryLogEvents
from moorage.store.log_events_sql import EventQuery
from moorage.store.log_memory import MemoryLog
from moorage.store.memory import Store
from moorage.store.tables.logs import LOG_GROUPS, LOG_STREAMS, TABLES, create_group

SCOPE = Scope("111122223333", "eu-west-1")
START = 1_700_000_000.0


class HandClock:
    def now(self) -> float:
        return START


class Container:
    """What an engine keeps of a container's output; `logs` follows it as the engine's driver promises."""

    def __init__(self, lines: Sequence[LogLine] = (), *, stopped: bool = True, unavailable_after: int | None = None):
        self.lines = list(lines)
        self.stopped = stopped
        self.unavailable_after = unavailable_after
        self.more = asyncio.Event()
        self.followers = 0

    def write(self, at: float, message: str) -> None:
        self.lines.append(LogLine(START + at, message))
        self.more.set()

    def stop(self) -> None:
        self.stopped = True
        self.more.set()

    async def logs(self, container_id: str, since: float = 0) -> AsyncIterator[LogLine]:
        self.followers += 1
        try:
            position = 0
            while True:
                while position < len(self.lines):
                    if position == self.unavailable_after:
                        self.unavailable_after = None
                        raise EngineUnavailable("the engine does not answer", delay=0)
                    line = self.lines[position]
                    position += 1
                    if line.at > since:
                        yield line
                        await asyncio.sleep(0)
                if self.stopped:
                    return
                self.more.clear()
                await self.more.wait()
        finally:
            self.followers -= 1


class FailingEvents(MemoryLogEvents):
    """Refuses the first `failures` writes."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures = failures

    async def append(self, *arguments: Any) -> None:
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("database or disk is full", delay=0)
        await super().append(*arguments)


class World:
    """A store, events and as many routers, one after the other, as a test needs."""

    def __init__(self, store: Store, events: MemoryLogEvents, container: Container) -> None:
        self.store = store
        self.events = events
        self.container = container
        self.router = self.new_router()

    @classmethod
    async def of(cls, container: Container, events: MemoryLogEvents | None = None) -> World:
        return cls(await Store.open(MemoryLog(), TABLES, verify=True), events or MemoryLogEvents(), container)

    def new_router(self) -> LogRouter:
        self.router = LogRouter(self.store, HandClock(), Ids(1), self.events, self.container)  # type: ignore[arg-type]
        return self.router

    async def stored(self, stream: str = "ecs/web/task") -> list[str]:
        (record,) = [s for s in self.store.all(LOG_STREAMS) if s.name == stream]
        group = self.store.get(LOG_GROUPS, record.group_arn)
        assert group is not None
        page = await self.events.read(EventQuery(group_id=group.id, stream_id=record.id))
        return [event.message for event in page.events]


def a_log(prefix: str | None = "ecs", *, create_group: bool = True, region: str = "eu-west-1") -> ContainerLog:
    return ContainerLog(SCOPE, "c0ffee", "web", "task", "/ecs/web", region, prefix, create_group)


def lines(*entries: tuple[float, str]) -> list[LogLine]:
    return [LogLine(START + at, message) for at, message in entries]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_router, "GATHER", 0)
    monkeypatch.setattr(log_router, "RETRY_FIRST", 0)


async def test_output_is_in_its_stream_when_drained() -> None:
    world = await World.of(Container(lines((0, "one"), (0.0005, "two"), (0.0005, "two"), (1, ""), (2, "three"))))
    await world.router.follow(a_log())
    await world.router.drain("c0ffee")
    assert await world.stored() == ["one", "two", "two", "three"]


@pytest.mark.parametrize(("prefix", "name"), [("ecs", "ecs/web/task"), (None, "c0ffee"), ("a/b", "a/b/web/task")])
async def test_the_name_of_the_stream(prefix: str | None, name: str) -> None:
    world = await World.of(Container())
    await world.router.follow(a_log(prefix))
    await world.router.drain("c0ffee")
    assert world.store.get(LOG_STREAMS, stream_arn(group_arn(SCOPE, "/ecs/web"), name)) is not None


async def test_the_region_is_the_options() -> None:
    world = await World.of(Container())
    await world.router.follow(a_log(region="us-east-1"))
    await world.router.drain("c0ffee")
    assert world.store.get(LOG_GROUPS, group_arn(Scope(SCOPE.account, "us-east-1"), "/ecs/web")) is not None


async def test_a_missing_group_stops_the_task_unless_it_may_be_made() -> None:
    world = await World.of(Container(lines((0, "lost"))))
    assert await world.router.validate(a_log(create_group=True)) is None
    assert await world.router.validate(a_log(create_group=False)) == MISSING_GROUP
    assert MISSING_GROUP == (
        "ResourceInitializationError: failed to validate logger args: create stream has been retried 1 times: failed "
        "to create Cloudwatch log stream: ResourceNotFoundException: The specified log group does not exist. : exit "
        "status 1"
    )
    await world.router.follow(a_log(create_group=False))
    await world.router.drain("c0ffee")
    assert world.store.all(LOG_GROUPS) == ()
    await world.store.update(lambda tx: create_group(tx, SCOPE, "/ecs/web", "g", 0))
    assert await world.router.validate(a_log(create_group=False)) is None


async def test_a_container_is_followed_once() -> None:
    container = Container(lines((0, "one")), stopped=False)
    world = await World.of(container)
    await world.router.follow(a_log())
    await world.router.follow(a_log())
    await asyncio.sleep(0)
    assert container.followers == 1
    container.stop()
    await world.router.drain("c0ffee")
    assert await world.stored() == ["one"]


async def test_a_restarted_container_is_followed_again() -> None:
    container = Container(lines((0, "one")))
    world = await World.of(container)
    await world.router.follow(a_log())
    await world.router.drain("c0ffee")
    container.write(3, "two")
    await world.router.follow(a_log())
    await world.router.drain("c0ffee")
    assert await world.stored() == ["one", "two"]


async def test_draining_what_nobody_follows_returns_at_once() -> None:
    world = await World.of(Container())
    await world.router.drain("unknown")


async def test_draining_ends_even_when_the_output_never_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_router, "DRAIN_AT_MOST", 0.01)
    world = await World.of(Container(lines((0, "one")), stopped=False))
    await world.router.follow(a_log())
    await world.router.drain("c0ffee")
    await world.router.close()
    assert await world.stored() == ["one"]


async def test_an_engine_that_goes_away_and_comes_back() -> None:
    container = Container(lines((0, "a"), (0.5, "b"), (3, "c"), (3, "c"), (9, "d")), unavailable_after=3)
    world = await World.of(container)
    await world.router.follow(a_log())
    await world.router.drain("c0ffee")
    assert await world.stored() == ["a", "b", "c", "c", "d"]


async def test_a_disk_that_is_full_for_a_while() -> None:
    world = await World.of(Container(lines(*((n, str(n)) for n in range(20)))), FailingEvents(5))
    await world.router.follow(a_log())
    await world.router.drain("c0ffee")
    assert await world.stored() == [str(n) for n in range(20)]


async def test_a_line_longer_than_an_event_becomes_several() -> None:
    world = await World.of(Container(lines((0, "x" * (LARGEST_EVENT + 5)))))
    await world.router.follow(a_log())
    await world.router.drain("c0ffee")
    assert [len(message) for message in await world.stored()] == [LARGEST_EVENT, 5]


# Lines some tenths of a second apart, now and then stamped a little earlier than the line before them.
outputs = st.lists(st.tuples(st.floats(-0.3, 0.9), st.sampled_from("abc")), max_size=25)


@settings(max_examples=60, deadline=None)
@given(outputs, st.lists(st.integers(0, 40), max_size=4), st.integers(0, 3))
def test_no_line_is_lost_or_doubled_over_restarts(
    output: list[tuple[float, str]], crashes: list[int], failures: int
) -> None:
    async def check() -> None:
        at, written = 0.0, []
        for step, message in output:
            at += step
            written.append((at + 100, message))
        world = await World.of(Container(lines(*written)), FailingEvents(failures))
        for turns in crashes:
            await world.router.follow(a_log())
            for _ in range(turns):
                await asyncio.sleep(0)
            await world.router.close()
            world.new_router()
        await world.router.follow(a_log())
        await world.router.drain("c0ffee")
        assert Counter(await world.stored()) == Counter(message for _, message in output)

    asyncio.run(check())
