"""Among the hosts that can take a task, the one that gets it: spread, binpack, random (semantics ecs-services §7).

Every strategy keeps the hosts that are best by its measure and hands the rest of the choice to the next one. What is
still equal at the end goes to the host with the fewest tasks of the group (the service), then to the one with the fewest
tasks, then to the one registered first: the same cluster always gives the same answer. Chance is a seed that is handed
in.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from moorage.decide.placement.hosts import Host

ZONE = "attribute:ecs.availability-zone"


class Strategy(msgspec.Struct, frozen=True):
    """`field` of spread: "instanceId" or "attribute:<name>"; of binpack: "cpu" or "memory"; of random: ""."""

    type: Literal["random", "spread", "binpack"]
    field: str = ""


SPREAD_ZONES = (Strategy("spread", ZONE),)
"""What a service gets that names no strategy."""
RANDOM = (Strategy("random"),)
"""What RunTask gets that names no strategy."""


def read(shapes: Iterable[Mapping[str, Any]]) -> tuple[Strategy, ...]:
    """`placementStrategy` as the API has it. Raises `ValueError` with AWS's sentence."""
    found = []
    for shape in shapes:
        kind, field = shape.get("type") or "random", shape.get("field") or ""
        match kind:
            case "binpack":
                if field.lower() not in ("cpu", "memory"):
                    raise ValueError(f"binpack field '{field}' is invalid")
                found.append(Strategy("binpack", field.lower()))
            case "spread":
                if field in ("host", "instanceId"):
                    field = "instanceId"
                elif not field.startswith("attribute:") or len(field) == len("attribute:"):
                    raise ValueError(f"spread field '{field}' is invalid")
                found.append(Strategy("spread", field))
            case "random":
                if field:
                    raise ValueError("random field should not be specified.")
                found.append(Strategy("random"))
            case _:
                raise ValueError(f"Invalid placement strategy type '{kind}'.")
    return tuple(found)


def choose(
    able: Sequence[Host], strategies: Sequence[Strategy], group: str, everywhere: Sequence[Host], seed: str
) -> Host:
    """`able`: at least one host. `everywhere`: all hosts of the cluster; spreading counts the tasks of the group on the
    full and the refusing ones as well.

    spread by zone; zone a has 2 tasks of the group on two hosts, zone b 1 on one → a host of zone b.
    binpack cpu; 128, 512 and 256 units left → the host with 128.
    spread by zone, then binpack memory → in the emptiest zone, the fullest host that still has room.
    spread by zone; of two hosts in one zone, the first has a task of the group, the second three others → the second."""
    best = list(able)
    for strategy in strategies:
        cost = _cost(strategy, group, everywhere, seed)
        lowest = min(cost(host) for host in best)
        best = [host for host in best if cost(host) == lowest]
    return min(
        best, key=lambda host: (host.groups.get(group, 0), host.tasks, host.instance.registered_at, host.instance.arn)
    )


def _cost(strategy: Strategy, group: str, everywhere: Sequence[Host], seed: str) -> Any:
    """The measure by which less is better."""
    match strategy.type:
        case "random":
            return lambda host: hashlib.sha256(f"{seed}/{host.instance.arn}".encode()).digest()
        case "binpack":
            return lambda host: getattr(host.free, strategy.field)
        case "spread":
            counts: Counter[str | None] = Counter()
            for host in everywhere:
                counts[_value(host, strategy.field)] += host.groups.get(group, 0)
            return lambda host: counts[_value(host, strategy.field)]


def _value(host: Host, field: str) -> str | None:
    """Hosts without the attribute are one more value among the others."""
    if field == "instanceId":
        return host.instance.arn
    if field == ZONE:
        return host.instance.availability_zone
    return host.attribute(field.removeprefix("attribute:"))
