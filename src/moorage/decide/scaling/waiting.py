"""The tasks that wait for an instance of a capacity provider: which get one now, which are given up, and how many more
instances the others need (semantics ecs-services §8, ecs-tasks §3). Pure: hosts in, assignments out.

AWS estimates the instances by packing tasks of equal needs; here every waiting task is really placed, on instances that
are thought of, by the filters that will judge it again when an instance has come. So the estimate knows ports,
constraints and zones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from moorage.decide.placement.filters import Refusal, Wish, closest, refusal
from moorage.decide.placement.hosts import Host
from moorage.decide.placement.place import place
from moorage.decide.placement.strategies import Strategy

# Seconds after which a task that no instance came for is given up. AWS names the reasons, not the time.
GIVE_UP = 15 * 60.0
EMPTY = "EMPTY CAPACITY PROVIDER"
NO_ACTIVE = "NO ACTIVE INSTANCES"


class WaitingTask(msgspec.Struct, frozen=True):
    """`since`: when it began to wait."""

    arn: str
    wish: Wish
    strategies: tuple[Strategy, ...]
    since: float


class Assigned(msgspec.Struct, frozen=True):
    task_arn: str
    host: Host


class GivenUp(msgspec.Struct, frozen=True):
    task_arn: str
    reason: str


class Outlook(msgspec.Struct, frozen=True):
    """`opened`: instances beyond those of `hosts` that the tasks left waiting need. `waiting`: how many those are.
    `refused`: why the first of them has no place now. `again_after`: seconds until one is given up."""

    assigned: tuple[Assigned, ...] = ()
    given_up: tuple[GivenUp, ...] = ()
    waiting: int = 0
    opened: int = 0
    refused: tuple[Refusal, ...] = ()
    again_after: float | None = None


def outlook(
    tasks: Sequence[WaitingTask],
    hosts: Sequence[Host],
    imagine: Callable[[int, str], Host] | None,
    zones: Sequence[str],
    now: float,
) -> Outlook:
    """`tasks` oldest first; `hosts`: the instances of the provider. `imagine(number, zone)`: an empty one in one of the
    `zones` of the group; None when nobody can say what it would be like."""
    left = {host.instance.arn: host for host in hosts}
    thought: list[Host] = []
    assigned: list[Assigned] = []
    given_up: list[GivenUp] = []
    first: tuple[Refusal, ...] | None = None
    full: set[bytes] = set()
    waiting, again = 0, None
    for task in tasks:
        # What found no place a moment ago finds none now: equal tasks are not judged again.
        kind = msgspec.msgpack.encode((task.wish.group, _needs(task.wish)))
        refused: tuple[Refusal, ...] = ()
        if kind not in full:
            placed = place(tuple(left.values()), task.wish, task.strategies, seed=task.arn)
            if placed.hosts:
                host = placed.hosts[0]
                left[host.instance.arn] = host.with_task(task.wish.group, task.wish.demand)
                assigned.append(Assigned(task.arn, host))
                continue
            full.add(kind)
            refused = placed.refused
        never = _never(task.wish, imagine, zones)
        if never is not None or now - task.since >= GIVE_UP:
            given_up.append(GivenUp(task.arn, never or _reason(refused or first or (), hosts)))
            continue
        waiting += 1
        first = refused if first is None else first
        rest = task.since + GIVE_UP - now
        again = rest if again is None else min(again, rest)
        if imagine is not None:
            _open(task.wish, thought, imagine, zones)
    return Outlook(tuple(assigned), tuple(given_up), waiting, len(thought), first or (), again)


def _needs(wish: Wish) -> tuple[object, ...]:
    demand = wish.demand
    return (
        demand.cpu,
        demand.memory,
        sorted(demand.ports),
        sorted(demand.ports_udp),
        wish.attributes,
        sorted(wish.zones) if wish.zones is not None else None,
        [repr(one) for one in wish.constraints],
    )


def _open(wish: Wish, thought: list[Host], imagine: Callable[[int, str], Host], zones: Sequence[str]) -> None:
    """Puts the task on the first thought-of instance that takes it, else on a new one."""
    for number, host in enumerate(thought):
        if refusal(host, wish) is None:
            thought[number] = host.with_task(wish.group, wish.demand)
            return
    for zone in zones:
        fresh = imagine(len(thought), zone)
        if refusal(fresh, wish) is None:
            thought.append(fresh.with_task(wish.group, wish.demand))
            return


def _never(wish: Wish, imagine: Callable[[int, str], Host] | None, zones: Sequence[str]) -> str | None:
    """The reason why even an empty instance of the group would not take it."""
    if imagine is None or not zones:
        return None
    problems = [refusal(imagine(0, zone), wish) for zone in zones]
    found = [problem for problem in problems if problem is not None]
    return found[0].reason if len(found) == len(problems) else None


def _reason(refused: Sequence[Refusal], hosts: Sequence[Host]) -> str:
    if not hosts:
        return EMPTY
    nearest = closest(refused)
    return nearest.reason if nearest is not None else NO_ACTIVE
