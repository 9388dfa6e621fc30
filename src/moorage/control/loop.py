"""The one control loop that every controller runs in: level-triggered, keyed, with back-off.

Keys that wait are entries of a dictionary; only those that are being reconciled have a coroutine. A hundred thousand keys
that wake at once cost a hundred thousand dictionary entries.

A controller is a function `reconcile(key) -> Pass`. It reads the store, decides, commits, acts, and says in one sentence
what it did and why. The loop makes sure that a key is never reconciled twice at the same time, that a wake-up during a
pass causes another pass, that failures are retried with growing delay, and that the last sentence of every key is kept
for whoever asks ("why is it waiting?").
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable

import msgspec

from moorage.domain.errors import Retryable

log = logging.getLogger("moorage.control")

FIRST_RETRY = 0.2
LONGEST_RETRY = 30.0
# A worker lets others have the event loop after so many passes, should none of them have waited for anything.
IN_A_ROW = 32


class Pass(msgspec.Struct, frozen=True):
    """What one pass did. `again_after`: seconds until the key must be looked at again even if nothing happens. `rest`:
    seconds for which the key is left alone, whatever happens: what happens meanwhile is seen in one pass."""

    said: str
    again_after: float | None = None
    rest: float = 0.0


Reconcile = Callable[[str], Awaitable[Pass]]


class Loop:
    """`workers` bounds how many keys are reconciled at once."""

    def __init__(self, name: str, reconcile: Reconcile, *, workers: int = 16) -> None:
        self.name = name
        self.reconcile = reconcile
        self._limit = workers
        self._waiting: OrderedDict[str, None] = OrderedDict()
        self._running: set[str] = set()
        self._dirty: set[str] = set()
        self._resting: dict[str, asyncio.Handle] = {}
        # When each is due is kept beside it: uvloop's handle of a timer that is due at once cannot say it.
        self._timers: dict[str, asyncio.Handle] = {}
        self._due: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._workers: set[asyncio.Task[None]] = set()
        self._said: dict[str, str] = {}
        self._closed = False
        self._quiet = asyncio.Event()
        self._quiet.set()

    def wake(self, key: str) -> None:
        """The key may have changed. Cheap; call it as often as you like."""
        if self._closed:
            return
        self._unset(key)
        if key in self._running or key in self._resting:
            self._dirty.add(key)
            return
        self._waiting[key] = None
        self._quiet.clear()
        self._hire()

    def wake_after(self, key: str, seconds: float) -> None:
        """Looks at the key in `seconds`, or earlier when something else wakes it or an earlier timer is set."""
        if self._closed:
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + max(0.0, seconds)
        if key in self._timers and self._due[key] <= due:
            return
        self._unset(key)
        self._timers[key] = loop.call_at(due, self._fire, key)
        self._due[key] = due

    def said(self, key: str) -> str | None:
        """The sentence of the last pass of this key."""
        return self._said.get(key)

    def forget(self, key: str) -> None:
        """The key is gone for good: drop what is remembered about it."""
        self._said.pop(key, None)
        self._failures.pop(key, None)
        self._unset(key)
        resting = self._resting.pop(key, None)
        if resting is not None:
            resting.cancel()
        if key not in self._running:
            self._dirty.discard(key)

    async def quiet(self) -> None:
        """Returns when no pass is running or waits to run (timers may be pending)."""
        await self._quiet.wait()

    async def close(self) -> None:
        self._closed = True
        for timer in (*self._timers.values(), *self._resting.values()):
            timer.cancel()
        self._timers.clear()
        self._due.clear()
        self._resting.clear()
        self._waiting.clear()
        for task in list(self._workers):
            task.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    def _fire(self, key: str) -> None:
        self.wake(key)

    def _unset(self, key: str) -> None:
        timer = self._timers.pop(key, None)
        self._due.pop(key, None)
        if timer is not None:
            timer.cancel()

    def _rested(self, key: str) -> None:
        self._resting.pop(key, None)
        if key in self._dirty:
            self._dirty.discard(key)
            self.wake(key)

    def _hire(self) -> None:
        """One more worker, if there is work for it."""
        if len(self._workers) < min(self._limit, len(self._waiting) + len(self._running)):
            worker = asyncio.get_running_loop().create_task(self._work(), name=self.name)
            self._workers.add(worker)
            worker.add_done_callback(self._left)

    def _left(self, worker: asyncio.Task[None]) -> None:
        """Also when something that a pass waited for was cancelled, and the worker with it: others go on."""
        self._workers.discard(worker)
        if not self._closed:
            self._hire()

    async def _work(self) -> None:
        """Takes keys in the order in which they woke until none waits."""
        me = asyncio.current_task()
        assert me is not None
        passes = 0
        while self._waiting:
            key, _ = self._waiting.popitem(last=False)
            self._running.add(key)
            self._dirty.discard(key)
            me.set_name(f"{self.name}:{key}")
            try:
                await self._once(key)
            finally:
                self._running.discard(key)
            if key in self._dirty and key not in self._resting:
                self._dirty.discard(key)
                self._waiting[key] = None
            passes += 1
            if passes % IN_A_ROW == 0:
                await asyncio.sleep(0)
        self._workers.discard(me)
        if not self._running and not self._waiting:
            self._quiet.set()

    async def _once(self, key: str) -> None:
        try:
            outcome = await self.reconcile(key)
        except asyncio.CancelledError:
            raise
        except Retryable as error:
            self._retry(key, str(error), error.delay)
        except Exception as error:
            log.exception("%s: pass over %s failed; it will be tried again", self.name, key)
            self._retry(key, f"internal error: {error!r}", None)
        else:
            self._failures.pop(key, None)
            self._said[key] = outcome.said
            if outcome.rest > 0:
                self._resting[key] = asyncio.get_running_loop().call_later(outcome.rest, self._rested, key)
            if outcome.again_after is not None:
                self.wake_after(key, outcome.again_after)

    def _retry(self, key: str, why: str, delay: float | None) -> None:
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        wait = delay if delay is not None else min(LONGEST_RETRY, FIRST_RETRY * 2**failures)
        self._said[key] = f"{why} (attempt {failures + 1}, next in {wait:.1f} s)"
        log.warning("%s: %s: %s", self.name, key, self._said[key])
        self.wake_after(key, wait)
