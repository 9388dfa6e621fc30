"""The control plane's end of the worker: starts it at the first call, starts it again when it dies.

A call that was under way when the worker died is sent once more: the new worker knows from its journal whether it had
been done, and then answers what it had answered. A call that kills two workers is refused.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from pathlib import Path

import msgspec

from moorage.domain.clock import Clock, Ids
from moorage.domain.errors import Retryable
from moorage.services.aws_backed.frames import Answer, Call, Frames, Ready, Request, Reset, decode_reply, frame

log = logging.getLogger("moorage.aws_backed")


LONGEST_REPLAY_WHEN_IDLE = 3.0


class WorkerFailed(Retryable):
    """The worker cannot be started or died with the call."""


class _Waiting(msgspec.Struct):
    """A call without an answer yet, and the connection on which it was last sent."""

    request: Request
    future: asyncio.Future[Answer]
    sent_on: asyncio.StreamWriter | None = None
    deaths: int = 0


class WorkerProcess:
    """`journal` and `log_file` are made when the worker first starts. Use on one event loop only."""

    def __init__(
        self, journal: Path, log_file: Path, account: str, clock: Clock, ids: Ids, idle_after: float | None = None
    ) -> None:
        self._journal = journal
        self._log_file = log_file
        self._account = account
        self._clock = clock
        self._ids = ids
        self._idle_after = idle_after
        self._process: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._readers: set[asyncio.Task[None]] = set()
        self._starting: asyncio.Task[None] | None = None
        self._waiting: dict[str, _Waiting] = {}
        self._closed = False
        self._idle: asyncio.TimerHandle | None = None
        self._used_at = 0.0
        self.ready: Ready | None = None

    @property
    def running(self) -> bool:
        return self._writer is not None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    async def ask(self, request: Call | Reset) -> Answer:
        """Raises `WorkerFailed` when there is no way to get an answer."""
        await self.start()
        waiting = _Waiting(request, asyncio.get_running_loop().create_future())
        self._waiting[request.id] = waiting
        try:
            self._send(waiting)
            return await waiting.future
        finally:
            self._waiting.pop(request.id, None)
            self._used_at = asyncio.get_running_loop().time()

    def _send(self, waiting: _Waiting) -> None:
        assert self._writer is not None
        waiting.sent_on = self._writer
        self._writer.write(frame(waiting.request))

    async def start(self) -> None:
        """Returns when the worker takes calls. A caller that goes away does not stop the start for the others."""
        while self._writer is None:
            if self._closed:
                raise WorkerFailed("The embedded AWS services are shut down")
            if self._starting is None:
                self._starting = asyncio.get_running_loop().create_task(self._spawn(), name="aws_backed start")
                self._starting.add_done_callback(self._started)
            await asyncio.shield(self._starting)

    def _started(self, task: asyncio.Task[None]) -> None:
        self._starting = None
        if not task.cancelled():
            task.exception()  # whoever waited has been told

    async def _spawn(self) -> None:
        try:
            await self._spawn_and_greet()
        except OSError as error:
            raise WorkerFailed(
                "The embedded AWS services do not start",
                str(error),
                f"See whether {self._journal.parent} can be written",
            ) from error

    async def _spawn_and_greet(self) -> None:
        self._journal.parent.mkdir(parents=True, exist_ok=True)
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs, self._log_file.open("ab") as log_file:
            process = self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "moorage.services.aws_backed.worker",
                *("--socket", str(theirs.fileno())),
                *("--journal", str(self._journal)),
                *("--account", self._account),
                *("--epoch", repr(self._clock.now())),
                *("--seed", self._ids.hex(32)),
                *("--parent", str(os.getpid())),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log_file,
                stderr=log_file,
                pass_fds=[theirs.fileno()],
                env=_environment(),
                # Ctrl-C is for the control plane, which then ends the worker in order.
                start_new_session=True,
            )
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        frames = Frames()
        ready: Ready | None = None
        while ready is None:
            data = await _some(reader)
            if not data:
                writer.close()
                code = await process.wait()
                raise WorkerFailed(
                    "The embedded AWS services do not start",
                    f"their process ended with code {code}",
                    f"Read {self._log_file}",
                )
            for body in frames.feed(data):
                reply = decode_reply(body)
                assert isinstance(reply, Ready)
                ready = reply
        self.ready = ready
        self._writer = writer
        self._used_at = asyncio.get_running_loop().time()
        self._watch_idleness()
        task = asyncio.get_running_loop().create_task(self._read(process, reader, writer, frames), name="aws_backed")
        self._readers.add(task)
        task.add_done_callback(self._readers.discard)

    async def _read(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        frames: Frames,
    ) -> None:
        """Hands answers out until this worker ends, then sees to the calls that it took with it."""
        while data := await _some(reader):
            for body in frames.feed(data):
                reply = decode_reply(body)
                waiting = self._waiting.get(reply.id) if isinstance(reply, Answer) else None
                if waiting is not None and not waiting.future.done() and isinstance(reply, Answer):
                    waiting.future.set_result(reply)
        writer.close()
        if self._writer is writer:
            self._writer = None
        await process.wait()
        lost = [each for each in self._waiting.values() if each.sent_on is writer and not each.future.done()]
        if lost and not self._closed:
            await self._revive(lost)

    async def _revive(self, lost: list[_Waiting]) -> None:
        """A new worker for the calls that the old one took with it."""
        log.warning("the embedded AWS services died with %d calls under way: starting them again", len(lost))
        for waiting in lost:
            waiting.deaths += 1
            if waiting.deaths > 1:
                waiting.future.set_exception(WorkerFailed("The embedded AWS services died twice on this request"))
        try:
            await self.start()
        except WorkerFailed as error:
            for waiting in lost:
                if not waiting.future.done():
                    waiting.future.set_exception(error)
            return
        for waiting in lost:
            if not waiting.future.done():
                self._send(waiting)

    def _watch_idleness(self) -> None:
        """A worker that takes long to come back stays."""
        if self._idle_after is not None and self.ready is not None and self.ready.seconds <= LONGEST_REPLAY_WHEN_IDLE:
            self._idle = asyncio.get_running_loop().call_later(self._idle_after, self._end_when_idle)

    def _end_when_idle(self) -> None:
        loop = asyncio.get_running_loop()
        if self._writer is None or self._idle_after is None:
            return
        idle = 0.0 if self._waiting else loop.time() - self._used_at
        if idle < self._idle_after:
            self._idle = loop.call_later(self._idle_after - idle, self._end_when_idle)
            return
        log.info("the embedded AWS services were not used for %d s: ending their process", idle)
        self._writer.close()
        self._writer = None

    async def close(self) -> None:
        """Ends the worker. Everything answered stays in the journal."""
        self._closed = True
        if self._idle is not None:
            self._idle.cancel()
        if self._starting is not None:
            await asyncio.wait([self._starting])
        if self._writer is not None:
            self._writer.close()
        if self._readers:
            await asyncio.wait(self._readers)
        for waiting in list(self._waiting.values()):
            if not waiting.future.done():
                waiting.future.set_exception(WorkerFailed("The embedded AWS services are shut down"))


async def _some(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(1 << 20)
    except ConnectionError:
        return b""


def _environment() -> dict[str, str]:
    """Without the user's AWS and moto settings, which moto and boto3 would obey. The order in which sets are iterated
    must not differ between a run and its replay."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MOTO_", "BOTO_"))}
    return {**kept, "PYTHONHASHSEED": "0", "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.devnull}
