"""A log without a disk, for tests and the simulated world: durability is a dictionary that outlives its store.

`MemoryDisk` is what survives a crash; `MemoryLog` is one process's way to it. Time is the event loop's, so that virtual
time works. A log can refuse (a full disk) and crash (what is not yet durable is lost, nobody is answered).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar

from moorage.store.log import Commit, Durable, Kept, Refused, Write

_APPENDED: ContextVar[tuple[MemoryLog, int] | None] = ContextVar("the last commit of this asyncio task", default=None)


class MemoryDisk:
    """What is durable: live records by (kind, key), and history, oldest first."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, str], Write] = {}
        self.kept: list[Kept] = []
        self.commits = 0

    def write(self, commit: Commit) -> None:
        self.commits += 1
        if commit.clear:
            self.records.clear()
            self.kept.clear()
        for write in commit.writes:
            if write.data is None:
                self.records.pop((write.kind, write.key), None)
            else:
                self.records[write.kind, write.key] = write
        self.kept.extend(commit.kept)


class MemoryLog:
    """`latency`: seconds between a commit and its durability (0: the next turn of the event loop). All commits that
    wait at that moment become durable together."""

    def __init__(self, disk: MemoryDisk | None = None, *, latency: float = 0.0) -> None:
        self.disk = disk if disk is not None else MemoryDisk()
        self.latency = latency
        self.refused_at = float("-inf")
        """The event loop's time of the last refusal."""
        self._appended = 0
        self._settled = 0
        """How many commits have become durable or were refused."""
        self._refusal: Exception | None = None
        self._waiting: list[Commit] = []
        self._flush: asyncio.Handle | None = None
        self._durable: Durable | None = None
        self._refused: Refused | None = None

    async def open(self, durable: Durable, refused: Refused) -> Sequence[Write]:
        self._durable, self._refused = durable, refused
        return sorted(self.disk.records.values(), key=lambda write: write.order)

    def append(self, commit: Commit) -> None:
        assert self._durable is not None, "the log is not open"
        self._waiting.append(commit)
        self._appended += 1
        _APPENDED.set((self, self._appended))
        if self._flush is None:
            loop = asyncio.get_running_loop()
            self._flush = loop.call_later(self.latency, self._write) if self.latency else loop.call_soon(self._write)

    async def history(self, kind: str, index: str, value: bytes, limit: int) -> list[bytes]:
        found = [kept.data for kept in reversed(self.disk.kept) if kept.kind == kind and (index, value) in kept.entries]
        return found[:limit]

    async def close(self) -> None:
        self.crash()

    def is_settled(self) -> bool:
        """Nothing that the running asyncio task has committed is still on its way to the disk."""
        last = _APPENDED.get()
        return last is None or last[0] is not self or last[1] <= self._settled

    def refuse(self, error: Exception | None) -> None:
        """From now on every commit is refused with `error` (None: accepted again)."""
        self._refusal = error

    def crash(self) -> None:
        """The process is gone: what is not durable is lost, and nobody hears of it."""
        if self._flush is not None:
            self._flush.cancel()
        self._flush = None
        self._waiting.clear()
        self._durable = None

    def _write(self) -> None:
        assert self._durable is not None
        assert self._refused is not None
        waiting, self._waiting, self._flush = self._waiting, [], None
        self._settled += len(waiting)
        if self._refusal is not None:
            self.refused_at = asyncio.get_running_loop().time()
            self._refused(self._refusal)
            return
        for commit in waiting:
            self.disk.write(commit)
        self._durable(len(waiting))
