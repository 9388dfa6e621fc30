"""What outlives the control plane, as one life of the control plane reaches it: not at all any more once it was killed.

The coroutines of a killed process are cancelled one after another, and each runs its `finally` then; a process that was
really killed does nothing of that.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any, TypeVar, cast

from moorage.engine.driver import EngineUnavailable

T = TypeVar("T")


class Life:
    """One life of a process."""

    def __init__(self) -> None:
        self.is_over = False


def reached_by(life: Life, outside: T) -> T:
    """`outside`, whose calls take no effect from the end of that life on."""
    return cast("T", _Reached(life, outside))


class _Reached:
    def __init__(self, life: Life, outside: object) -> None:
        self._life = life
        self._outside = outside

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._outside, name)
        if not inspect.iscoroutinefunction(found):
            return found

        @functools.wraps(found)
        async def call(*arguments: Any, **settings: Any) -> Any:
            if self._life.is_over:
                raise EngineUnavailable("The process was killed", "It is dead", "Start another")
            return await found(*arguments, **settings)

        self.__dict__[name] = call
        return call
