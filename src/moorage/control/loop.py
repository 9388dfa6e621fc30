"""The one control loop that every controller runs in: level-triggered, keyed, with back-off.

A controller is a function `reconcile(key) -> Pass`. It reads the store, decides, commits, acts, and says in one sentence
what it did and why. The loop makes sure that a key is never reconciled twice at the same time, that a wake-up during a
pass causes another pass, that failures are retried with growing delay, and that the last sentence of every key is kept
for whoever asks ("why is it waiting?").
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import msgspec

from moorage.domain.errors import Retryable

log = logging.getLogger("moorage.control")

FIRST_RETRY = 0.2
LONGEST_RETRY = 30.0


class Pass(msgspec.Struct, frozen=True):
    """What one pass did. `again_after`: seconds until the key must be looked at again even if nothing happens."""

    said: str
    again_after: float | None = None


Reconcile = Callable[[str], Awaitable[Pass]]


class Loop:
    """`workers` bounds how many keys are reconciled at once."""

    def __init__(self, name: str, reconcile: Reconcile, *, workers: int = 16) -> None:
        self.name = name
        self._reconcile = reconcile
        self._limit = asyncio.Semaphore(workers)
        self._running: set[str] = set()
        self._dirty: set[str] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._failures: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._said: dict[str, str] = {}
        self._closed = False
        self._quiet = asyncio.Event()
        self._quiet.set()

    def wake(self, key: str) -> None:
        """The key may have changed. Cheap; call it as often as you like."""
        if self._closed:
            return
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        if key in self._running:
            self._dirty.add(key)
            return
        self._running.add(key)
        self._quiet.clear()
        task = asyncio.get_running_loop().create_task(self._run(key), name=f"{self.name}:{key}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def wake_after(self, key: str, seconds: float) -> None:
        """Looks at the key in `seconds`, or earlier when something else wakes it or an earlier timer is set."""
        if self._closed:
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + max(0.0, seconds)
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= due:
                return
            timer.cancel()
        self._timers[key] = loop.call_at(due, self._fire, key)

    def said(self, key: str) -> str | None:
        """The sentence of the last pass of this key."""
        return self._said.get(key)

    def forget(self, key: str) -> None:
        """The key is gone for good: drop what is remembered about it."""
        self._said.pop(key, None)
        self._failures.pop(key, None)
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()

    async def quiet(self) -> None:
        """Returns when no pass is running (timers may be pending)."""
        await self._quiet.wait()

    async def close(self) -> None:
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _fire(self, key: str) -> None:
        self._timers.pop(key, None)
        self.wake(key)

    async def _run(self, key: str) -> None:
        try:
            async with self._limit:
                while True:
                    self._dirty.discard(key)
                    await self._once(key)
                    if key not in self._dirty:
                        return
        finally:
            self._running.discard(key)
            if not self._running:
                self._quiet.set()

    async def _once(self, key: str) -> None:
        try:
            outcome = await self._reconcile(key)
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
            if outcome.again_after is not None:
                self.wake_after(key, outcome.again_after)

    def _retry(self, key: str, why: str, delay: float | None) -> None:
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        wait = delay if delay is not None else min(LONGEST_RETRY, FIRST_RETRY * 2**failures)
        self._said[key] = f"{why} (attempt {failures + 1}, next in {wait:.1f} s)"
        log.warning("%s: %s: %s", self.name, key, self._said[key])
        self.wake_after(key, wait)
