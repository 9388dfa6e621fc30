"""Decides which loopback address of this machine a load balancer gets."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address

FIRST = IPv4Address("127.0.10.1")
LAST = IPv4Address("127.0.255.254")


def lowest_free_loopback(is_taken: Callable[[str], bool]) -> str | None:
    """127.0.10.1 upwards, skipping .0 and .255 of every /24 (some tools refuse them); None when all are taken.

    The lowest free one, so that a load balancer that is made again after a clean-up answers where it did before."""
    number = int(FIRST)
    while number <= int(LAST):
        if number & 0xFF not in (0, 255) and not is_taken(candidate := str(IPv4Address(number))):
            return candidate
        number += 1
    return None
