"""An asyncio event loop whose time is a number: nobody waits, the clock jumps to the next timer when nothing is ready.

Everything that waits through asyncio works unchanged (sleep, timeout, wait_for, locks, queues, call_later). What would
wait for the outside world (sockets, threads, subprocesses) has no place here. Two mistakes that hang a real program are
errors that name the culprits: a deadlock (nothing is ready and no timer is set) and a livelock (turn after turn
without time going on).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

# Turns of the event loop at one and the same moment that count as going round in circles.
LIVELOCK = 100_000
# 2023-11-14T22:13:20Z: a round epoch number for the beginning of simulated time.
EPOCH = 1_700_000_000.0


class Deadlock(RuntimeError):
    """Nothing is ready to run and no timer is set: everybody waits for everybody."""


class Livelock(RuntimeError):
    """The event loop turns and turns, but time does not go on."""


class _Jump:
    """Stands where asyncio has its selector: instead of waiting it moves the clock."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        self._loop.advance(timeout)
        return []

    def close(self) -> None:
        """Nothing to close; asyncio's own clean-up calls this."""


class _Steps(deque[asyncio.Handle]):
    """Stands where asyncio keeps what is ready. Each handle that is taken runs something from one `await` to the next;
    before it does, a hook may have its moment."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def popleft(self) -> asyncio.Handle:
        self._loop.count_step()
        return super().popleft()


class VirtualTimeLoop(asyncio.BaseEventLoop):
    """`time()` begins at 0 and is in seconds."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._turns = 0
        self._hooks: list[tuple[int, Callable[[], object]]] = []
        self.steps = 0
        """How often something ran from one `await` to the next."""
        self._selector = _Jump(self)
        self._ready = _Steps(self)

    def time(self) -> float:
        return self._now

    def after_steps(self, steps: int, callback: Callable[[], object]) -> None:
        """Calls `callback` when so many more steps were made, before the next: between any two of them, whosever they are,
        so that there is no `await` at which it cannot be called."""
        self._hooks.append((self.steps + steps, callback))

    def count_step(self) -> None:
        due = [hook for hook in self._hooks if hook[0] <= self.steps] if self._hooks else ()
        for hook in due:
            self._hooks.remove(hook)
            hook[1]()
        self.steps += 1

    def forget_hooks(self) -> None:
        """Takes back what `after_steps` was told."""
        self._hooks.clear()

    def advance(self, timeout: float | None) -> None:
        """Called once per turn, when everything that was ready has run."""
        if timeout == 0:
            self._turns += 1
            if self._turns > LIVELOCK:
                raise Livelock(f"{LIVELOCK} turns at t={self._now:.3f}: {_who(self)}")
            return
        if timeout is None:
            raise Deadlock(f"at t={self._now:.3f} nothing is ready and no timer is set: {_who(self)}")
        # The exact time of the next timer, not now + timeout: sums of floats would come out a little early.
        timers: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]
        self._now = max(self._now, timers[0].when()) if timers else self._now + timeout
        self._turns = 0

    def _process_events(self, event_list: list[Any]) -> None:
        """There is no outside world whose events could come in."""

    def _write_to_self(self) -> None:
        """Nobody sleeps here who would have to be woken from another thread."""


class VirtualClock:
    """The `Clock` of a virtual time loop: `epoch` is what it says at the loop's time 0."""

    def __init__(self, loop: asyncio.AbstractEventLoop, epoch: float = EPOCH) -> None:
        self._loop = loop
        self._epoch = epoch

    def now(self) -> float:
        return self._epoch + self._loop.time()


class VirtualTimePolicy(asyncio.DefaultEventLoopPolicy):
    """For test runners: every new event loop has virtual time."""

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        return VirtualTimeLoop()


def run(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` in virtual time."""
    loop = VirtualTimeLoop()
    try:
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(main)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        asyncio.set_event_loop(None)
        loop.close()


def _who(loop: asyncio.AbstractEventLoop) -> str:
    tasks = sorted(task.get_name() for task in asyncio.all_tasks(loop))
    shown = ", ".join(tasks[:20])
    return f"{len(tasks)} tasks: {shown}{' …' if len(tasks) > 20 else ''}"
