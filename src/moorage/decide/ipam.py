"""Addresses of a subnet: which ones may be given out, and which one is next (semantics around §3)."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

# AWS reserves the first four addresses (network, router, DNS, future use) and the last one (broadcast).
FIRST = 4


def next_address(cidr: str, taken: Collection[str], after: str | None = None) -> str | None:
    """The next free address of `cidr` behind `after` (wrapping round), or None when the subnet is full.

    Walking on instead of taking the lowest keeps an address unused for as long as possible after its release, so that
    neighbours' caches and clients' connections never meet a stranger under a familiar address.
    10.0.1.0/24 → 10.0.1.4, 10.0.1.5 … 10.0.1.254."""
    base, count = int(ipaddress.IPv4Network(cidr).network_address), usable(cidr)
    if len(taken) >= count:
        return None
    start = 0
    if after is not None:
        start = (int(ipaddress.IPv4Address(after)) - base - FIRST + 1) % count
    for step in range(count):
        candidate = str(ipaddress.IPv4Address(base + FIRST + (start + step) % count))
        if candidate not in taken:
            return candidate
    return None


def usable(cidr: str) -> int:
    """How many addresses of `cidr` can be given out: a /24 has 251."""
    return max(0, ipaddress.IPv4Network(cidr).num_addresses - FIRST - 1)


def mac_of(ipv4: str) -> str:
    """02:42:<address bytes>: an address that comes back brings its MAC along, so that no ARP entry is ever stale."""
    return "02:42:" + ":".join(f"{int(part):02x}" for part in ipv4.split("."))


def private_dns_name(ipv4: str, region: str) -> str:
    return f"ip-{ipv4.replace('.', '-')}.{region}.compute.internal"
