"""Which subnet a task with an interface of its own gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def choose_subnet(subnets: Sequence[tuple[str, str]], by_zone: Mapping[str, int], by_subnet: Mapping[str, int]) -> str:
    """The subnet of the next task: the zone with the fewest tasks of the group, then the subnet with the fewest, then
    the order in which the caller named them. `subnets` are (subnet id, availability zone)."""
    return min(subnets, key=lambda s: (by_zone.get(s[1], 0), by_subnet.get(s[0], 0)))[0]
