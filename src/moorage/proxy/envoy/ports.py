"""Ports of the API → ports of this machine, where the two must differ."""

from __future__ import annotations

import os
import socket
from pathlib import Path

FIRST_UNPRIVILEGED = 1024
HIGH = 8000


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


def _first_unprivileged() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    except (OSError, ValueError):
        return FIRST_UNPRIVILEGED


def _may_bind_all() -> bool:
    return os.geteuid() == 0
