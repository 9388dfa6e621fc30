"""A container's output as lines, followed: frames and timestamps of Docker's log stream taken apart.

Docker cuts long lines into pieces of 16 KiB, each with its own timestamp; they are put together again here. The parser
is a plain state machine over bytes, so that any cut of the stream gives the same lines.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from typing import Literal

from moorage.engine.docker.client import ApiError, Client
from moorage.engine.docker.observe import epoch_nanoseconds
from moorage.engine.driver import EngineUnavailable, LogLine

Stream = Literal["stdout", "stderr"]
# Docker's copier hands on at most this many bytes of a line at once.
_PIECE = 16 * 1024
# A line without end is cut here: four times what CloudWatch Logs takes as one event (256 KiB).
LONGEST_LINE = 1024 * 1024
_STREAMS: dict[int, Stream] = {0: "stdout", 1: "stdout", 2: "stderr"}
_STAMP = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d) ")
_LONGEST_STAMP = 36
_RETRY_SECONDS = 0.2
# How far apart the clocks of the two streams' lines may be read again.
_OVERLAP_NS = 5_000_000_000


class _Line:
    """The pieces of a line that has not ended."""

    __slots__ = ("at", "pieces", "size")

    def __init__(self) -> None:
        self.at = 0
        self.pieces: list[bytes] = []
        self.size = 0

    def add(self, at: int, piece: bytes) -> None:
        # The last piece's time: whoever resumes after a line must not see its tail again.
        self.at = at
        self.pieces.append(piece)
        self.size += len(piece)

    def take(self, stream: Stream) -> tuple[int, LogLine]:
        text = b"".join(self.pieces)
        if text.endswith(b"\n"):
            text = text[:-1]
        if text.endswith(b"\r"):
            text = text[:-1]
        line = LogLine(at=self.at / 1e9, message=text.decode(errors="replace"), stream=stream)
        self.pieces, self.size = [], 0
        return self.at, line


class FrameParser:
    """Containers without a terminal: frames of an 8-byte header (stream, length) and one log message each."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._lines: dict[Stream, _Line] = {"stdout": _Line(), "stderr": _Line()}

    def feed(self, chunk: bytes) -> Iterator[tuple[int, LogLine]]:
        self._buffer += chunk
        offset = 0
        while len(self._buffer) - offset >= 8:
            size = int.from_bytes(self._buffer[offset + 4 : offset + 8], "big")
            end = offset + 8 + size
            if len(self._buffer) < end:
                break
            stream = _STREAMS.get(self._buffer[offset], "stdout")
            frame = bytes(self._buffer[offset + 8 : end])
            offset = end
            line = self._lines[stream]
            at, message = _split_stamp(frame)
            line.add(at if at is not None else line.at, message)
            if message.endswith(b"\n") or line.size >= LONGEST_LINE:
                yield line.take(stream)
        if offset:
            del self._buffer[:offset]

    def end(self) -> Iterator[tuple[int, LogLine]]:
        """What the container wrote last, without a line end."""
        for stream, line in self._lines.items():
            if line.pieces:
                yield line.take(stream)


class TerminalParser:
    """Containers with a terminal: no frames; a timestamp, then a line or a piece of exactly 16 KiB."""

    def __init__(self) -> None:
        self._buffer = b""
        self._line = _Line()

    def feed(self, chunk: bytes) -> Iterator[tuple[int, LogLine]]:
        self._buffer += chunk
        while True:
            at, rest = _split_stamp(self._buffer)
            if at is None and len(self._buffer) < _LONGEST_STAMP and b"\n" not in self._buffer:
                return
            newline = rest.find(b"\n", 0, _PIECE)
            if newline < 0 and len(rest) < _PIECE + _LONGEST_STAMP:
                return
            cut = newline + 1 if newline >= 0 else _PIECE
            self._line.add(at if at is not None else self._line.at, rest[:cut])
            self._buffer = rest[cut:]
            if newline >= 0 or self._line.size >= LONGEST_LINE:
                yield self._line.take("stdout")

    def end(self) -> Iterator[tuple[int, LogLine]]:
        while self._buffer:
            at, rest = _split_stamp(self._buffer)
            piece, self._buffer = rest[:_PIECE], rest[_PIECE:]
            self._line.add(at if at is not None else self._line.at, piece)
        if self._line.pieces:
            yield self._line.take("stdout")


def _split_stamp(message: bytes) -> tuple[int | None, bytes]:
    match = _STAMP.match(message, 0, _LONGEST_STAMP)
    if match is None:
        return None, message
    return epoch_nanoseconds(match.group().decode()), message[match.end() :]


def log_query(since_ns: int, following: bool) -> dict[str, str]:
    query = {"follow": "1" if following else "0", "stdout": "1", "stderr": "1", "timestamps": "1"}
    if since_ns > 0:
        query["since"] = f"{since_ns // 10**9}.{since_ns % 10**9:09d}"
    return query


async def follow(client: Client, container_id: str, since: float) -> AsyncIterator[LogLine]:
    """Lines written after `since` (epoch seconds, as `LogLine.at` gave it). Ends when the container has stopped and
    all was read, or when it is gone. An engine that goes away meanwhile is EngineUnavailable: resume with the last
    line's time.

    Docker closes a followed stream before a dying container's last words are in it (its last line without an end comes
    some 30 ms later), so a stopped container is read once more, without following."""
    # A float holds a time to about 240 ns: ask from a little earlier, and drop what is not newer by the same float.
    start = max(0, int(since * 1e9) - 1000)
    read = _Read()
    terminal, following = await _state(client, container_id)
    while terminal is not None:
        parser: FrameParser | TerminalParser = TerminalParser() if terminal else FrameParser()
        again = read.again()
        try:
            query = log_query(max(start, read.newest - _OVERLAP_NS), following)
            async with client.stream("GET", f"/containers/{container_id}/logs", query=query) as chunks:
                async for chunk in chunks:
                    for at, line in parser.feed(chunk):
                        if line.at > since and again.is_new(at, line):
                            yield line
        except ApiError as error:
            if error.status in (404, 409):
                return
            raise EngineUnavailable(f"Docker does not give the output of {container_id[:12]}", error.text) from error
        if not following:
            for at, line in parser.end():
                if line.at > since and again.is_new(at, line):
                    yield line
            return
        # The container stopped (read what is left), or Docker closed the stream of one that runs (go on after the
        # last line). What was read of an unfinished line is read again.
        terminal, following = await _state(client, container_id)
        if following:
            await asyncio.sleep(_RETRY_SECONDS)


class _Read:
    """Which lines were handed out. The two streams are stamped apart, so times are in order only within each; several
    lines may bear the same time."""

    def __init__(self) -> None:
        self.last: dict[Stream, tuple[int, int]] = {}
        """stream → (time of its newest line, how many lines of that time)"""

    @property
    def newest(self) -> int:
        return max((at for at, _ in self.last.values()), default=0)

    def again(self) -> _Again:
        return _Again(self, dict(self.last))


class _Again:
    """One reading of the log: knows what earlier readings handed out already."""

    def __init__(self, read: _Read, before: dict[Stream, tuple[int, int]]) -> None:
        self._read = read
        self._before = before
        self._met: dict[Stream, int] = {}

    def is_new(self, at: int, line: LogLine) -> bool:
        stream = line.stream
        newest, count = self._before.get(stream, (-1, 0))
        if at < newest:
            return False
        if at == newest:
            self._met[stream] = met = self._met.get(stream, 0) + 1
            if met <= count:
                return False
        last, same = self._read.last.get(stream, (-1, 0))
        self._read.last[stream] = (at, same + 1 if at == last else 1)
        return True


async def _state(client: Client, container_id: str) -> tuple[bool | None, bool]:
    """(has a terminal, runs or will run); (None, False) when it is gone."""
    try:
        found = await client.call("GET", f"/containers/{container_id}/json")
    except ApiError as error:
        if error.status == 404:
            return None, False
        raise EngineUnavailable(f"Docker does not show {container_id[:12]}", error.text) from error
    return bool(found["Config"].get("Tty")), found["State"].get("Status") in (
        "running",
        "created",
        "paused",
        "restarting",
    )
