"""Ports of the API → ports of this machine, where the two must differ."""

from __future__ import annotations

import os
import socket
import sys
from ipaddress import ip_address
from pathlib import Path

FIRST_UNPRIVILEGED = 1024
HIGH = 8000
_LISTEN = "0A"


def default_port_of(port: int) -> int:
    """The port itself when this user may bind it, else 8000 more (80 → 8080, 443 → 8443)."""
    if port >= _first_unprivileged() or _may_bind_all():
        return port
    return port + HIGH


def loopback_families() -> tuple[str, ...]:
    """The address families in which this machine has a loopback address: ("v4",) or ("v4", "v6")."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return ("v4",)
    return ("v4", "v6")


def is_listening(address: str, port: int) -> bool:
    """Does anybody of this machine accept connections there? Asked of the kernel: a connection to try it out would be
    passed on to a target of a network load balancer. True where the kernel does not tell."""
    parsed = ip_address(address)
    table = Path("/proc/net/tcp6" if parsed.version == 6 else "/proc/net/tcp")
    # the kernel prints every 32 bits of an address as a number of its own
    words = (parsed.packed[at : at + 4] for at in range(0, len(parsed.packed), 4))
    wanted = "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words) + f":{port:04X}"
    try:
        rows = table.read_text().splitlines()[1:]
    except OSError:
        return True
    return any(fields[1] == wanted and fields[3] == _LISTEN for fields in (row.split() for row in rows))


def _first_unprivileged() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    except (OSError, ValueError):
        return FIRST_UNPRIVILEGED


def _may_bind_all() -> bool:
    return os.geteuid() == 0
