"""Starting tasks go first: what can wait (warming sandboxes, removing what stopped tasks leave) stands back meanwhile.

The engine does its work with a few locks of its own and this machine's cores: removing a sandbox beside the start of its
replacement doubles the time of both (docs/design/performance.md). Nothing waits for ever: whoever stands back says how
long at most.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class StartsFirst:
    def __init__(self) -> None:
        self._starting = 0
        self._last = float("-inf")

    def noted(self) -> None:
        """A task begins to start."""
        self._last = asyncio.get_running_loop().time()

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Around a step that brings a task up."""
        self._starting += 1
        try:
            yield
        finally:
            self._starting -= 1
            self.noted()

    async def passed(self, *, rest: float, longest: float) -> None:
        """Returns when nothing is being started and nothing was for `rest` seconds; after `longest` in any case."""
        latest = asyncio.get_running_loop().time() + longest
        while (wait := self._left(rest, latest)) > 0:  # noqa: ASYNC110 what is waited for is time
            await asyncio.sleep(wait)

    def _left(self, rest: float, latest: float) -> float:
        now = asyncio.get_running_loop().time()
        begin = now if self._starting else self._last
        return min(begin + rest, latest) - now
