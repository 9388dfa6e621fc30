"""Where the next tasks of a capacity provider strategy go: a provider each, and on host groups an instance, or a place in
the queue of those that wait for one (semantics ecs-tasks §13, ecs-services §8).

A provider without room is not replaced by another: its tasks wait (managed scaling brings an instance), or are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet

import msgspec

from moorage.decide.capacity_strategy import distribute
from moorage.decide.placement.filters import Refusal, Wish
from moorage.decide.placement.hosts import Host
from moorage.decide.placement.place import place
from moorage.decide.placement.strategies import Strategy
from moorage.domain.capacity_provider import FARGATE_PROVIDERS
from moorage.domain.cluster import StrategyItem

# Tasks of a cluster that may wait for managed scaling at a time (an AWS quota).
MOST_WAITING = 500


class Start(msgspec.Struct, frozen=True):
    """A task to start. `host`: None on Fargate, and while it `waits` for an instance."""

    provider: str | None
    host: Host | None = None
    waits: bool = False


class Starts(msgspec.Struct, frozen=True):
    """`starts` in order; every other task is counted once: `lacking` Fargate Spot capacity, `refused_providers` (with
    the `refused` of the first), or `too_many` that wait already."""

    starts: tuple[Start, ...] = ()
    lacking: int = 0
    refused: tuple[Refusal, ...] = ()
    refused_providers: tuple[str, ...] = ()
    too_many: int = 0


def starts_of(
    strategy: Sequence[StrategyItem],
    count: int,
    running: Mapping[str, int],
    *,
    lacking: AbstractSet[str] = frozenset(),
    managed: AbstractSet[str] = frozenset(),
    hosts: Callable[[str], Sequence[Host]] | None = None,
    wish: Wish | None = None,
    how: Sequence[Strategy] = (),
    seed: str = "",
    may_wait: int = MOST_WAITING,
) -> Starts:
    """`running`: how many tasks each provider has. `lacking`: providers that have no capacity now. `managed`: those with
    managed scaling. `hosts`: the instances of a provider, needed like `wish` and `how` for host groups only."""
    starts: list[Start] = []
    refused: tuple[Refusal, ...] = ()
    refused_providers: list[str] = []
    short = too_many = waiting = 0
    known: dict[str, Sequence[Host]] = {}
    for number, provider in enumerate(distribute(strategy, count, running)):
        if provider in lacking:
            short += 1
        elif provider in FARGATE_PROVIDERS or hosts is None or wish is None:
            starts.append(Start(provider))
        else:
            if provider not in known:
                known[provider] = hosts(provider)
            placed = place(known[provider], wish, how, seed=f"{seed}/{number}")
            if placed.hosts:
                known[provider] = placed.left
                starts.append(Start(provider, placed.hosts[0]))
            elif provider not in managed:
                refused = refused if refused_providers else placed.refused
                refused_providers.append(provider)
            elif waiting >= may_wait:
                too_many += 1
            else:
                waiting += 1
                starts.append(Start(provider, waits=True))
    return Starts(tuple(starts), short, refused, tuple(refused_providers), too_many)
