"""Where a Fargate task goes: which capacity provider, which subnet. No hosts to choose among (semantics ecs-tasks §13)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from moorage.domain.cluster import StrategyItem


def choose_provider(strategy: Sequence[StrategyItem], running: Mapping[str, int]) -> str:
    """The provider of the next task: `base` is filled first, then counts are kept proportional to the weights.

    FARGATE base 1 weight 1, FARGATE_SPOT weight 3 → FARGATE (base), SPOT, SPOT, FARGATE, SPOT, SPOT, SPOT, FARGATE …
    Ties go to the item named first."""
    for item in strategy:
        if running.get(item.capacity_provider, 0) < item.base:
            return item.capacity_provider
    weighted = [item for item in strategy if item.weight > 0]
    if not weighted:
        return strategy[0].capacity_provider
    return min(
        weighted, key=lambda item: (running.get(item.capacity_provider, 0) - item.base + 1) / item.weight
    ).capacity_provider


def choose_subnet(subnets: Sequence[tuple[str, str]], by_zone: Mapping[str, int], by_subnet: Mapping[str, int]) -> str:
    """The subnet of the next task: the zone with the fewest tasks of the group, then the subnet with the fewest, then
    the order in which the caller named them. `subnets` are (subnet id, availability zone)."""
    return min(subnets, key=lambda s: (by_zone.get(s[1], 0), by_subnet.get(s[0], 0)))[0]
