"""Where tasks of the EC2 launch type go: filters, then strategies, one task after the other (semantics ecs-services §7).

`place(hosts, wish, …)` answers with a host or with every host's reason against it; nothing is started here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from moorage.decide.placement.constraints import Constraint, read
from moorage.decide.placement.filters import Refusal, Wish, refusal
from moorage.decide.placement.hosts import Host
from moorage.decide.placement.resources import demand_of
from moorage.decide.placement.strategies import Strategy, choose
from moorage.domain.task_definition import TaskDefinition


class Placed(msgspec.Struct, frozen=True):
    """`hosts`: where the tasks go, in order. `refused`: why the first task that found no place has none (empty when all
    have one; also empty when there is no host at all). `left`: the hosts afterwards."""

    hosts: tuple[Host, ...]
    refused: tuple[Refusal, ...]
    left: tuple[Host, ...]


def place(
    hosts: Sequence[Host], wish: Wish, strategies: Sequence[Strategy], *, count: int = 1, seed: str = ""
) -> Placed:
    """Places as many of `count` equal tasks as fit. All are alike: where one finds no place, no later one does."""
    now = {host.instance.arn: host for host in hosts}
    against = {arn: refusal(host, wish) for arn, host in now.items()}
    chosen: list[Host] = []
    refused: tuple[Refusal, ...] = ()
    for number in range(count):
        able = [host for arn, host in now.items() if against[arn] is None]
        if not able:
            refused = tuple(problem for problem in against.values() if problem is not None)
            break
        host = choose(able, strategies, wish.group, tuple(now.values()), f"{seed}/{number}")
        chosen.append(host)
        # A host's reasons lie in itself: only this one has others now.
        now[host.instance.arn] = fuller = host.with_task(wish.group, wish.demand)
        against[host.instance.arn] = refusal(fuller, wish)
    return Placed(tuple(chosen), refused, tuple(now.values()))


def wish_of(
    definition: TaskDefinition,
    group: str,
    own: tuple[Constraint, ...],
    *,
    overrides: dict[str, Any] | None = None,
    zones: frozenset[str] | None = None,
) -> Wish:
    """What a task of `definition` wants: the constraints of the caller or the service, and those of the definition.
    `zones` matter only to a task with a network interface of its own."""
    return Wish(
        group=group,
        demand=demand_of(definition.document, overrides),
        attributes=definition.requires_attributes,
        constraints=own + read(definition.document.placement_constraints),
        zones=zones if definition.document.network_mode == "awsvpc" else None,
    )
