"""Waiting for the world: the only place of these tests where time passes by polling."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(condition: Callable[[], T], what: str, seconds: float = 60, every: float = 0.1) -> T:
    """The first truthy answer of `condition`; fails with its last answer when there was none in time."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what} (last answer: {answer!r})")
        time.sleep(every)
