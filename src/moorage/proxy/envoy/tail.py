"""Follows a log file that Envoy appends to, over rotations. Reads at its own pace: what cannot be read in time is
skipped and counted, so that neither memory nor the time of a pass grows with the traffic."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path

MOST_AT_ONCE = 4 * 1024 * 1024
LOOK_BACK = 1024 * 1024


Mark = tuple[int, int]
"""(inode, bytes): how far somebody has read."""


class Tail:
    """Starts `LOOK_BACK` bytes before the end of what is there: what happened while nobody read is not lost. `mark`: how
    far an earlier reader came."""

    def __init__(self, path: Path, mark: Mark | None = None) -> None:
        self.path = path
        self.known = 0
        """How many of the lines of the last read, the first ones, the earlier reader had already."""
        self._mark = mark
        self.skipped = 0
        """Bytes that were not read because there were too many."""
        self._file: io.FileIO | None = None
        self._inode = 0
        self._rest = b""
        self._first = True

    def read(self) -> list[bytes]:
        """The complete lines that came since the last call."""
        lines: list[bytes] = []
        self.known = 0
        if self._file is None and not self._open():
            return lines
        lines += self._new_lines()
        if self._moved():
            # Envoy has opened the new file, so nothing comes to the old one any more
            lines += self._new_lines()
            self.close()
            if self._open():
                lines += self._new_lines()
        return lines

    def mark(self) -> Mark:
        """How far it has been read."""
        return (self._inode, self._file.tell() - len(self._rest)) if self._file is not None else (0, 0)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file, self._rest = None, b""

    def _open(self) -> bool:
        try:
            self._file = io.FileIO(self.path)
        except OSError:
            return False
        status = os.fstat(self._file.fileno())
        self._inode = status.st_ino
        if self._first and status.st_size > LOOK_BACK:
            self._jump(status.st_size - LOOK_BACK)
        self._first = False
        return True

    def _moved(self) -> bool:
        with contextlib.suppress(OSError):
            return self.path.stat().st_ino != self._inode
        return False

    def _jump(self, position: int) -> None:
        """To the first whole line after `position`."""
        assert self._file is not None
        self._file.seek(position)
        self._rest = b""
        chunk = self._file.read(65536) or b""
        self._file.seek(position + chunk.find(b"\n") + 1)

    def _new_lines(self) -> list[bytes]:
        assert self._file is not None
        behind = os.fstat(self._file.fileno()).st_size - self._file.tell()
        if behind > MOST_AT_ONCE:
            self.skipped += behind - LOOK_BACK
            self._jump(self._file.tell() + behind - LOOK_BACK)
        at = self._file.tell() - len(self._rest)
        data = self._rest + (self._file.read(MOST_AT_ONCE) or b"")
        *lines, self._rest = data.split(b"\n")
        if self._mark is not None:
            self._count_known(lines, at, *self._mark)
        return lines

    def _count_known(self, lines: list[bytes], at: int, inode: int, position: int) -> None:
        """`at`: where the first of them begins."""
        for line in lines if inode == self._inode else ():
            at += len(line) + 1
            if at > position:
                break
            self.known += 1
        if inode != self._inode or at >= position:
            self._mark = None
