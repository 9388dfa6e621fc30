"""Time and identifiers as things that are handed in, so that the simulated world can hand in its own."""

from __future__ import annotations

import random
import time
import uuid
from typing import Protocol


class Clock(Protocol):
    def now(self) -> float:
        """Seconds since the epoch. Waiting is `asyncio.sleep`: the simulated world swaps the event loop."""
        ...


class SystemClock:
    def now(self) -> float:
        return time.time()


class Ids:
    """Random identifiers in AWS's shapes. A seed makes them repeatable."""

    _URL_SAFE = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"

    def __init__(self, seed: int | None = None) -> None:
        self._random: random.Random = random.SystemRandom() if seed is None else random.Random(seed)

    def hex(self, length: int) -> str:
        return f"{self._random.getrandbits(4 * length):0{length}x}"

    def digits(self, length: int) -> str:
        """Decimal digits, never starting with 0."""
        return str(self._random.randrange(10 ** (length - 1), 10**length))

    def url_safe(self, length: int) -> str:
        return "".join(self._random.choices(self._URL_SAFE, k=length))

    def uuid(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))
