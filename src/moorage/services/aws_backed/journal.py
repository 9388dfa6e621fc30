"""The durable memory of the worker: every acknowledged change as the request that made it.

File: an eight-byte magic, then records of `length, crc32, msgpack`. The first record is the `Head`, all others are
`Entry`s. A record that was cut off by a crash ends the journal; it was never acknowledged. The file is locked as long
as it is open, so that two workers never write to one data directory.
"""

from __future__ import annotations

import fcntl
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from moorage.services.aws_backed.frames import Call

MAGIC = b"MOORJ\x00\x00\x01"
_RECORD = struct.Struct(">II")


class Head(msgspec.Struct, frozen=True, tag="head", array_like=True):
    """`epoch` and `seed`: time and seed of everything that exists before the first request (default VPCs …)."""

    epoch: float
    seed: str
    moto: str


class Entry(msgspec.Struct, frozen=True, tag="entry", array_like=True):
    """`made`: the private keys that were generated while the call ran (they cannot be derived from a seed)."""

    call: Call
    made: list[bytes]
    status: int


class JournalError(Exception):
    """The file is not a journal of ours, or of a newer version."""


# macOS has no fdatasync.
_sync = getattr(os, "fdatasync", os.fsync)
_encode = msgspec.msgpack.Encoder().encode
_decoder: msgspec.msgpack.Decoder[Head | Entry] = msgspec.msgpack.Decoder(Head | Entry)


class Journal:
    """`append` buffers, `sync` makes durable. `head` is `None` until `begin` has been called on an empty journal."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._pending: list[bytes] = []
        self.size = 0

    def read(self) -> Iterator[Head | Entry]:
        """All records in order; afterwards the file is cut behind the last whole one and ready for `append`."""
        good = 0
        with os.fdopen(os.dup(self._file), "rb") as file:
            file.seek(0)
            magic = file.read(len(MAGIC))
            if len(magic) == len(MAGIC) and magic != MAGIC:
                raise JournalError(f"{self._path} is not a journal that this version of Moorage can read")
            if magic == MAGIC:
                good = len(MAGIC)
                while len(prefix := file.read(_RECORD.size)) == _RECORD.size:
                    length, crc = _RECORD.unpack(prefix)
                    body = file.read(length)
                    if len(body) < length or zlib.crc32(body) != crc:
                        break
                    good += _RECORD.size + length
                    yield _decoder.decode(body)
        if good < os.fstat(self._file).st_size:
            os.ftruncate(self._file, good)
        self.size = good
        os.lseek(self._file, good, os.SEEK_SET)

    def begin(self, head: Head) -> None:
        """Empties the journal and starts it anew."""
        os.ftruncate(self._file, 0)
        os.lseek(self._file, 0, os.SEEK_SET)
        self._pending = [MAGIC]
        self.size = 0
        self.append(head)
        self.sync()

    def append(self, record: Head | Entry) -> None:
        body = _encode(record)
        self._pending.append(_RECORD.pack(len(body), zlib.crc32(body)) + body)

    @property
    def dirty(self) -> bool:
        return bool(self._pending)

    def sync(self) -> None:
        """Everything appended is on disk. On `OSError` the file is back at its last durable record."""
        data = b"".join(self._pending)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._file, view) :]
            _sync(self._file)
        except OSError:
            os.ftruncate(self._file, self.size)
            os.lseek(self._file, self.size, os.SEEK_SET)
            raise
        finally:
            self._pending = []
        self.size += len(data)

    def close(self) -> None:
        os.close(self._file)
