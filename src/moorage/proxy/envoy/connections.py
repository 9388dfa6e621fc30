"""Ending open connections of Envoy to given addresses.

Envoy lets whatever is under way with an endpoint that went finish, and offers no way to end it; AWS cuts it at the end of
the deregistration delay. So the socket is shut down from outside: Linux lets us hold a socket of another process
(`pidfd_getfd`) when we may trace it, as root or as its own user may where the kernel is not set up to be stricter. Envoy
then sees what it would see of a target that closed: an HTTP request answers 502, a TCP client's connection is closed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

_PIDFD_GETFD = 438


def end_connections(pid: int, places: frozenset[tuple[str, int]]) -> int:
    """Shuts down the TCP connections of process `pid` to these (address, port). Answers how many; 0 where this machine
    does not allow it. Blocks for about 5 ms per thousand sockets."""
    if sys.platform != "linux" or not places:
        return 0
    ended = 0
    for held in _sockets(pid):
        with held:
            try:
                if held.type == socket.SOCK_STREAM and held.getpeername()[:2] in places:
                    held.shutdown(socket.SHUT_RDWR)
                    ended += 1
            except (OSError, TypeError):
                continue  # not connected, or not of the internet
    return ended


def _sockets(pid: int) -> Iterator[socket.socket]:
    """A second handle on every socket of the process."""
    libc = ctypes.CDLL(None, use_errno=True)
    with contextlib.suppress(OSError):
        process = os.pidfd_open(pid)
        try:
            for entry in Path(f"/proc/{pid}/fd").iterdir():
                if not _is_socket(entry):
                    continue
                number = libc.syscall(_PIDFD_GETFD, process, int(entry.name), 0)
                if number < 0:
                    continue  # closed meanwhile, or not allowed
                try:
                    yield socket.socket(fileno=number)
                except OSError:
                    os.close(number)
        finally:
            os.close(process)


def _is_socket(entry: Path) -> bool:
    try:
        return str(entry.readlink()).startswith("socket:")
    except OSError:
        return False
