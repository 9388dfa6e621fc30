"""The store against a model of plain dictionaries: random transactions, refusals, crashes and restarts."""

from __future__ import annotations

import asyncio

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from moorage.store.api import StoreUnavailable
from moorage.store.log_memory import MemoryDisk, MemoryLog
from moorage.store.memory import Store

from .things import TABLES, THINGS, Thing

NAMES = st.sampled_from("abcdef")
THING = st.builds(Thing, NAMES, st.sampled_from([None, "red", "blue"]), st.integers(0, 3))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), THING),
        st.tuples(st.just("delete"), NAMES),
        st.tuples(st.just("archive"), NAMES),
    ),
    max_size=5,
)
Model = dict[str, Thing]


class Boom(Exception):
    pass


def net(model: Model, steps) -> tuple[Model, list[Thing]]:
    """What the steps make of the model: a name that was there before and is there after keeps its place."""
    now, kept = dict(model), []
    for verb, what in steps:
        if verb == "put":
            now[what.name] = what
        else:
            gone = now.pop(what, None)
            if gone is not None and verb == "archive":
                kept.append(gone)
    stayed = {name: now[name] for name in model if name in now}
    return stayed | {name: thing for name, thing in now.items() if name not in stayed}, kept


class StoreMachine(RuleBasedStateMachine):
    """`model` is what readers see, `durable` and `history` what survives; `waiting` what is on its way."""

    @initialize()
    def open(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.disk = MemoryDisk()
        self.model: Model = {}
        self.history: list[Thing] = []
        self.heard: Model = {}
        self.waiting: list[tuple[asyncio.Task, list[Thing]]] = []
        self._start()

    def _start(self) -> None:
        self.log = MemoryLog(self.disk, latency=3600)
        self.store = self.loop.run_until_complete(Store.open(self.log, TABLES, verify=True))
        self.store.watch(self._hear)

    def _hear(self, changes) -> None:
        for change in changes:
            assert self.heard.get(change.key) == change.before
            if change.after is None:
                del self.heard[change.key]
            else:
                self.heard[change.key] = change.after

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            for task, _ in self.waiting:
                task.cancel()
            self.loop.run_until_complete(asyncio.sleep(0))
            self.loop.close()

    def _settle(self) -> list[BaseException | None]:
        tasks = [task for task, _ in self.waiting]
        answers = self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True)) if tasks else []
        if not any(isinstance(answer, BaseException) for answer in answers):
            for _, kept in self.waiting:
                self.history += kept
        self.waiting = []
        return answers

    @rule(steps=STEPS, fails=st.booleans())
    def update(self, steps, fails) -> None:
        def change(tx):
            for verb, what in steps:
                getattr(tx, verb)(THINGS, what)
            if fails:
                raise Boom

        async def run() -> None:
            await self.store.update(change)

        task = self.loop.create_task(run())
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()
        if fails:
            assert isinstance(task.exception(), Boom)
        else:
            self.model, kept = net(self.model, steps)
            self.waiting.append((task, kept))

    def _flush(self) -> None:
        if self.log._flush is not None:
            self.log._flush.cancel()
            self.loop.call_soon(self.log._write)
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()

    @rule()
    def becomes_durable(self) -> None:
        self._flush()
        assert not any(isinstance(answer, BaseException) for answer in self._settle())
        assert self.heard == self.model

    @precondition(lambda self: self.log._waiting)
    @rule()
    def is_refused(self) -> None:
        done = [task.done() for task, _ in self.waiting]
        self.log.refuse(OSError("disk full"))
        self._flush()
        self.log.refuse(None)
        answers = self._settle()
        assert all(was or isinstance(answer, StoreUnavailable) for was, answer in zip(done, answers, strict=True))
        self.model = self._on_disk()
        assert self.heard == self.model

    @rule()
    def crashes(self) -> None:
        self.log.crash()
        for task, _ in self.waiting:
            task.cancel()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.waiting = []
        self.model = self._on_disk()
        self.heard = dict(self.model)
        self._start()

    def _on_disk(self) -> Model:
        store = self.loop.run_until_complete(Store.open(MemoryLog(self.disk), TABLES))
        return {thing.name: thing for thing in store.all(THINGS)}

    @invariant()
    def readers_see_the_model(self) -> None:
        if not hasattr(self, "store"):
            return
        things = list(self.model.values())
        assert list(self.store.all(THINGS)) == things
        for color in ("red", "blue"):
            assert list(self.store.find(THINGS, "color", color)) == [t for t in things if t.color == color]
        assert self.store.find(THINGS, "color", None) == ()
        for parity in (0, 1):
            assert list(self.store.find(THINGS, "size", parity)) == [t for t in things if t.size % 2 == parity]
        rows = self.store._rows_of(THINGS)
        assert all(
            isinstance(bucket, str) or bucket.records
            for buckets in rows._by_name.values()
            for bucket in buckets.values()
        )

    @invariant()
    def history_is_kept(self) -> None:
        if hasattr(self, "store"):
            kept = self.loop.run_until_complete(self.store.history(THINGS, "color", "red"))
            assert kept == [thing for thing in reversed(self.history) if thing.color == "red"]


TestStore = StoreMachine.TestCase
TestStore.settings = settings(max_examples=120, stateful_step_count=30, deadline=None)
