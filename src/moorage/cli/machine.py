"""What this machine allows: is a port free and who holds it, may we listen below 1024. Linux tells more (from /proc)
than other systems; what cannot be found out is left out of the sentence."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from pathlib import Path

from moorage.domain.errors import Permanent

_LISTEN = "0A"


def need_port(host: str, port: int) -> int:
    """The port to listen on: `port` itself when it is free, a free one for 0."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen()
        except OSError as error:
            raise _refusal(host, port, error) from error
        found: int = probe.getsockname()[1]
        return found


def _refusal(host: str, port: int, error: OSError) -> Permanent:
    if error.errno == errno.EADDRINUSE:
        holder = holder_of(port) or "another program"
        return Permanent(f"Port {port} is held by {holder}", next=f"Stop it, or: moor up --port {port + 1}")

    if error.errno in {errno.EACCES, errno.EPERM}:
        return Permanent(f"Port {port} needs root", "ports below 1024 do", "Take a high one: moor up --port 4566")
    return Permanent(f"Moorage cannot listen on {host} port {port}", error.strerror or str(error))


def holder_of(port: int) -> str | None:
    """ "name (pid 123)" of the process that listens on a TCP port; None when it cannot be found out."""
    inodes = {
        fields[9]
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for fields in _rows(Path(table))
        if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port
    }
    wanted = {f"socket:[{inode}]" for inode in inodes}
    if not wanted:
        return None
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(file.readlink()) in wanted for file in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
        except OSError:
            continue
    return None


def _rows(table: Path) -> list[list[str]]:
    try:
        return [line.split() for line in table.read_text().splitlines()[1:]]
    except OSError:
        return []


def missing_rights() -> str | None:
    """One sentence about what does not work without root, None when nothing is missing."""
    if os.geteuid() == 0:
        return None
    first = 1024
    with contextlib.suppress(OSError, ValueError):
        first = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if first <= 80:
        return None
    return (
        f"Without root, ports below {first} are out of reach: load balancers answer on high ports "
        "(moor status shows them). For port 80: sudo sysctl net.ipv4.ip_unprivileged_port_start=80, or sudo moor up."
    )
