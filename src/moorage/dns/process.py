"""The process that answers names: found, started detached, told of changes, ended.

Like the proxy it outlives the control plane, so tasks find load balancers while there is none, and nothing is lost in
between. The control plane writes a file (`table.Table`) and sends SIGHUP; the process (`serve`) holds a lock while it
lives. The lock is a POSIX one: it goes with its process however that ends, children do not inherit it, and the kernel
tells who has it, so that nobody else is ever sent a signal. Linux only, like entering the networks of tasks.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import logging
import os
import signal
import struct
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from moorage.dns.server import PORT
from moorage.dns.table import Table

log = logging.getLogger("moorage.dns")

TABLE, LOCK, VERSION, LOG = "names.json", "names.lock", "names.version", "names.log"
PATIENCE = 5.0
"""Seconds that a process may take to come or to go."""
PAUSE = 0.1
"""Seconds before one that ended by itself is started again: it may be its lot to end."""
_FLOCK = "hhqqi4x"
"""struct flock of a 64-bit Linux."""


class NamesProcess:
    """The control plane's side. `port`: of the doors, another one for tests."""

    def __init__(self, directory: Path, resolvers: Sequence[str], *, port: int = PORT) -> None:
        self._directory = directory
        self._resolvers = tuple(resolvers)
        self._port = port
        self._watched: int | None = None
        self._starting: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Adopts the running process of this directory, or starts one (in the place of one of another version); nobody has
        to wait for that."""
        self._starting = asyncio.get_running_loop().create_task(self._start(), name="names process")

    async def _start(self, *, after: float = 0) -> None:
        await asyncio.sleep(after)
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            if holder(self._directory) is not None and self._written_version() != version():
                await _end(self._directory)
            if holder(self._directory) is None:
                await self._launch()
        except OSError as error:
            log.warning("tasks cannot resolve the names of load balancers: %s", error)
        self._watch()

    def keep(self, doors: Sequence[str], names: Mapping[str, Sequence[str]]) -> None:
        """What shall be answered from now on. Raises OSError."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial = self._directory / f"{TABLE}.part"
        partial.write_bytes(msgspec.json.encode(Table(doors, names, self._resolvers)))
        partial.replace(self._directory / TABLE)
        _send(self._directory, signal.SIGHUP)

    async def leave(self, *, purge: bool) -> None:
        """The control plane goes. `purge`: the process too."""
        self._unwatch()
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
        if purge:
            await end(self._directory)

    async def _launch(self) -> None:
        # nobody's child, so that nobody has to wait for its end
        command = ["/bin/sh", "-c", 'exec "$@" &', "sh", sys.executable, "-m", "moorage.dns.serve"]
        nothing = asyncio.subprocess.DEVNULL
        with (self._directory / LOG).open("wb") as said:
            shell = await asyncio.create_subprocess_exec(
                *(*command, str(self._directory), str(self._port)),
                stdin=nothing,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
            await shell.wait()
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while holder(self._directory) is None:
            if asyncio.get_running_loop().time() > deadline:
                log.warning("tasks cannot resolve the names of load balancers: look at %s", self._directory / LOG)
                return
            await asyncio.sleep(0.01)

    def _written_version(self) -> str:
        try:
            return (self._directory / VERSION).read_text()
        except OSError:
            return ""

    def _watch(self) -> None:
        self._unwatch()
        pid = holder(self._directory)
        if pid is None:
            return
        try:
            self._watched = os.pidfd_open(pid)
        except OSError:
            return
        asyncio.get_running_loop().add_reader(self._watched, self._ended)

    def _unwatch(self) -> None:
        if self._watched is not None:
            asyncio.get_running_loop().remove_reader(self._watched)
            os.close(self._watched)
            self._watched = None

    def _ended(self) -> None:
        """Nobody asked it to."""
        self._unwatch()
        log.warning("the process that answers names has ended; it is started again")
        self._starting = asyncio.get_running_loop().create_task(self._start(after=PAUSE), name="names process")


def holder(directory: Path) -> int | None:
    """The pid of the process that answers for this directory."""
    try:
        with (directory / LOCK).open("r+b") as lock:
            asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(lock.fileno(), fcntl.F_GETLK, asked))
    except OSError:
        return None
    return int(pid) if kind != fcntl.F_UNLCK and pid > 0 else None


async def end(directory: Path) -> None:
    """Ends the process of this directory if there is one, also when no control plane runs, and forgets what it answered."""
    (directory / TABLE).unlink(missing_ok=True)
    await _end(directory)


async def _end(directory: Path) -> None:
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while holder(directory) is not None and asyncio.get_running_loop().time() < deadline:
        _send(directory, signal.SIGTERM)
        await asyncio.sleep(0.01)
    _send(directory, signal.SIGKILL)


def version() -> str:
    """Changes with the code that the process runs."""
    here = Path(__file__).parent
    return hashlib.sha256(b"".join(file.read_bytes() for file in sorted(here.glob("*.py")))).hexdigest()[:16]


def _send(directory: Path, number: signal.Signals) -> None:
    pid = holder(directory)
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
