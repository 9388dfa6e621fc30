"""The seam between the store and what makes it durable: an ordered log of commits.

The store decides what a commit is and undoes what was refused; a log only makes commits durable, in order, and says so.
A log must not know tables, records or indexes: it sees names, keys and bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol


class Write(NamedTuple):
    """One record. `order`: its place among all records (rising, kept when it is replaced), so that records come back
    in order of insertion. `data`: msgpack of the record, None when it is deleted."""

    kind: str
    key: str
    order: int
    data: bytes | None


class Kept(NamedTuple):
    """One record that goes to history. `entries`: (index name, msgpack of the value) under which it is found."""

    kind: str
    key: str
    data: bytes
    entries: tuple[tuple[str, bytes], ...]


class Commit(NamedTuple):
    """All or nothing. `clear`: first forget every record and all history, whatever their table."""

    writes: tuple[Write, ...] = ()
    kept: tuple[Kept, ...] = ()
    clear: bool = False


Durable = Callable[[int], None]
Refused = Callable[[Exception], None]


class Log(Protocol):
    async def open(self, durable: Durable, refused: Refused) -> Sequence[Write]:
        """Returns every live record, in order. From then on the log calls, on the event loop and never from inside
        `append`: `durable(n)`: the oldest `n` commits not yet answered are on disk; `refused(error)`: none of the
        commits not yet answered is or will be on disk. Raises MoorageError when the log cannot be used at all."""
        ...

    def append(self, commit: Commit) -> None:
        """Queues a commit; never blocks."""
        ...

    async def history(self, kind: str, index: str, value: bytes, limit: int) -> list[bytes]:
        """The newest `limit` records of history found under `value`, newest first."""
        ...

    async def close(self) -> None:
        """Ends the log. The store calls it after the last answer."""
        ...
