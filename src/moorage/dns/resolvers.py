"""The resolvers that this machine uses itself, as far as containers can reach them."""

from __future__ import annotations

import ipaddress
from pathlib import Path

# With systemd-resolved, the first file names its local stub and the second the real ones.
FILES = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))


def host_resolvers(files: tuple[Path, ...] = FILES) -> tuple[str, ...]:
    """IPv4 addresses, the loopback ones left out; of the first file that has any."""
    for file in files:
        try:
            found = nameservers(file.read_text())
        except OSError:
            continue
        if found:
            return found
    return ()


def nameservers(resolv_conf: str) -> tuple[str, ...]:
    """The reachable IPv4 name servers in the text of a resolv.conf, at most three."""
    found: list[str] = []
    for line in resolv_conf.splitlines():
        words = line.split()
        if len(words) < 2 or words[0] != "nameserver":
            continue
        try:
            address = ipaddress.ip_address(words[1])
        except ValueError:
            continue
        if address.version == 4 and not address.is_loopback:
            found.append(str(address))
    return tuple(found[:3])
