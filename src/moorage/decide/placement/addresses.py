"""Which loopback address of this machine a container instance gets: its port space (semantics ecs-tasks §16)."""

from __future__ import annotations

from collections.abc import Callable

NETS = range(64, 96)


def lowest_free_address(is_taken: Callable[[str], bool]) -> str | None:
    """127.0.64.1 upwards; None when all 8,128 are taken. The lowest free one, so that an instance that is registered
    again after a clean-up publishes its ports where it did before."""
    for net in NETS:
        for number in range(1, 255):
            address = f"127.0.{net}.{number}"
            if not is_taken(address):
                return address
    return None
