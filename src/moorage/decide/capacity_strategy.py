"""Which capacity provider each task gets: base and weight (semantics ecs-tasks §13). Pure arithmetic over counts.

A strategy names what share of the tasks each provider should have. It is no order of preference: when a provider has no
room, its tasks wait or fail, they do not go to the next one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from moorage.domain.cluster import StrategyItem


def choose_provider(strategy: Sequence[StrategyItem], running: Mapping[str, int]) -> str:
    """The provider of the next task: `base` is filled first, then counts are kept proportional to the weights.

    FARGATE base 1 weight 1, FARGATE_SPOT weight 3 → FARGATE (base), SPOT, SPOT, FARGATE, SPOT, SPOT, SPOT, FARGATE …
    A provider with weight 0 gets its base and nothing more. Ties go to the item named first."""
    for item in strategy:
        if running.get(item.capacity_provider, 0) < item.base:
            return item.capacity_provider
    weighted = [item for item in strategy if item.weight > 0]
    if not weighted:
        return strategy[0].capacity_provider
    return min(
        weighted, key=lambda item: (running.get(item.capacity_provider, 0) - item.base + 1) / item.weight
    ).capacity_provider


def distribute(strategy: Sequence[StrategyItem], count: int, running: Mapping[str, int]) -> tuple[str, ...]:
    """The providers of the next `count` tasks, in order; `running`: how many tasks each has already."""
    counts = Counter(running)
    chosen = []
    for _ in range(count):
        provider = choose_provider(strategy, counts)
        counts[provider] += 1
        chosen.append(provider)
    return tuple(chosen)
