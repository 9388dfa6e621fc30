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


class WorkerFailed(Retryable):
    """The worker cannot be started or died with the call."""


class _Waiting(msgspec.Struct):
    request: Request
    future: asyncio.Future[Answer]
    deaths: int = 0


class WorkerProcess:
    """`journal` and `log_file` are made when the worker first starts. Use on one event loop only."""

    def __init__(self, journal: Path, log_file: Path, account: str, clock: Clock, ids: Ids) -> None:
        self._journal = journal
        self._log_file = log_file
        self._account = account
        self._clock = clock
        self._ids = ids
        self._process: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reader: asyncio.Task[None] | None = None
        self._starting: asyncio.Lock = asyncio.Lock()
        self._waiting: dict[str, _Waiting] = {}
        self._closed = False
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
            self._send(request)
            return await waiting.future
        finally:
            self._waiting.pop(request.id, None)

    def _send(self, request: Request) -> None:
        # When the worker has just died, `_revive` sends everything that still waits.
        if self._writer is not None:
            self._writer.write(frame(request))

    async def start(self) -> None:
        """Returns when the worker takes calls."""
        if self._writer is not None:
            return
        async with self._starting:
            if self._writer is None:
                if self._closed:
                    raise WorkerFailed("The embedded AWS services are shut down")
                await self._spawn()

    async def _spawn(self) -> None:
        self._journal.parent.mkdir(parents=True, exist_ok=True)
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs, self._log_file.open("ab") as log_file:
            self._process = await asyncio.create_subprocess_exec(
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
        reader, writer = await asyncio.open_connection(sock=ours)
        frames = Frames()
        ready: Ready | None = None
        while ready is None:
            data = await reader.read(1 << 16)
            if not data:
                writer.close()
                code = await self._process.wait()
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
        self._reader = asyncio.get_running_loop().create_task(self._read(reader, frames), name="aws_backed")

    async def _read(self, reader: asyncio.StreamReader, frames: Frames) -> None:
        while data := await self._some(reader):
            for body in frames.feed(data):
                reply = decode_reply(body)
                if isinstance(reply, Answer):
                    waiting = self._waiting.get(reply.id)
                    if waiting is not None and not waiting.future.done():
                        waiting.future.set_result(reply)
        if self._writer is not None:
            self._writer.close()
        self._writer = None
        if self._process is not None:
            await self._process.wait()
        if not self._closed and self._waiting:
            await self._revive()

    @staticmethod
    async def _some(reader: asyncio.StreamReader) -> bytes:
        try:
            return await reader.read(1 << 20)
        except ConnectionError:
            return b""

    async def _revive(self) -> None:
        """A new worker for the calls that the old one took with it."""
        log.warning("the embedded AWS services died with %d calls under way: starting them again", len(self._waiting))
        for waiting in list(self._waiting.values()):
            waiting.deaths += 1
            if waiting.deaths > 1 and not waiting.future.done():
                waiting.future.set_exception(WorkerFailed("The embedded AWS services died twice on this request"))
        again = [waiting.request for waiting in self._waiting.values() if not waiting.future.done()]
        if not again:
            return
        try:
            await self.start()
        except Exception as error:
            for waiting in list(self._waiting.values()):
                if not waiting.future.done():
                    waiting.future.set_exception(error)
            return
        for request in again:
            self._send(request)

    async def close(self) -> None:
        """Ends the worker. Everything answered stays in the journal."""
        self._closed = True
        async with self._starting:
            if self._writer is not None:
                self._writer.close()
            if self._reader is not None:
                await self._reader
            if self._process is not None:
                await self._process.wait()
        for waiting in list(self._waiting.values()):
            if not waiting.future.done():
                waiting.future.set_exception(WorkerFailed("The embedded AWS services are shut down"))


def _environment() -> dict[str, str]:
    """Without the user's AWS and moto settings, which moto and boto3 would obey. The order in which sets are iterated
    must not differ between a run and its replay."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MOTO_", "BOTO_"))}
    return {**kept, "PYTHONHASHSEED": "0", "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.devnull}
