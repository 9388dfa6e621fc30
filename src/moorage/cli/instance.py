"""Which server belongs to a data directory, and whether it lives. One server per data directory.

The server holds an exclusive lock on `moorage.pid` for as long as it lives, and the file says who it is. The lock is
the identity: a process id that was given to somebody else, or a file left behind by `kill -9`, is never taken for a
running server.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from moorage.domain.errors import Permanent
from moorage.settings import Settings

PID_FILE = "moorage.pid"
LOG_FILE = "moorage.log"


class Instance(msgspec.Struct, frozen=True):
    """A server as it described itself when it started. `started_at`: epoch seconds."""

    pid: int
    host: str
    port: int
    account: str
    region: str
    started_at: float = 0.0

    @property
    def address(self) -> str:
        """Where a client on this machine reaches it."""
        return "127.0.0.1" if self.host in {"", "0.0.0.0", "::", "localhost"} else self.host  # noqa: S104

    @property
    def endpoint(self) -> str:
        return f"http://{'localhost' if self.address == '127.0.0.1' else self.address}:{self.port}"


def add_data_dir(parser: argparse.ArgumentParser) -> None:
    """The option that says which server is meant."""
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=Settings().data_dir,
        metavar="DIR",
        help="where state, pid file and log live (default: %(default)s; environment MOORAGE_DATA_DIR)",
    )


def running(data_dir: Path) -> Instance | None:
    """The live server of this data directory, if there is one."""
    try:
        with (data_dir / PID_FILE).open("rb") as file:
            if _lock(file.fileno()):
                return None
            return msgspec.json.decode(file.read(), type=Instance)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    except msgspec.DecodeError:
        return None  # it is just starting: the lock is taken before the file is written


def remembered(data_dir: Path) -> Instance | None:
    """The server that lives or lived last, from its file."""
    try:
        return msgspec.json.decode((data_dir / PID_FILE).read_bytes(), type=Instance)
    except (OSError, msgspec.DecodeError):
        return None


def need_running(data_dir: Path) -> Instance:
    instance = running(data_dir)
    if instance is None:
        raise Permanent(f"Moorage does not run with the data directory {data_dir}", next="Start it: moor up --detach")
    return instance


@contextlib.contextmanager
def hold(data_dir: Path, instance: Instance) -> Iterator[None]:
    """Marks the calling process as the server of the data directory until the block ends."""
    file = os.open(data_dir / PID_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not _lock_soon(file):
            other = remembered(data_dir)
            raise Permanent(f"Another Moorage uses {data_dir}", f"its pid is {other.pid}" if other else "")
        os.ftruncate(file, 0)
        os.pwrite(file, json.dumps(msgspec.to_builtins(instance)).encode() + b"\n", 0)
        yield
    finally:
        os.close(file)


def _lock_soon(file: int) -> bool:
    """Like `_lock`, but outlasts a `running` that is just looking."""
    for _ in range(20):
        if _lock(file):
            return True
        time.sleep(0.02)
    return False


def _lock(file: int) -> bool:
    """Whether the exclusive lock could be had (it is given back when the file is closed)."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
