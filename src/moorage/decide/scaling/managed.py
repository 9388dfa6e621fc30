"""Managed scaling: how many instances the Auto Scaling group of a capacity provider should have (semantics
ecs-services §8). Pure: counts in, a desired capacity and the instances that may go out.

    N            instances that the group has, those that are just coming included
    M            instances that are needed: those with tasks, and those that waiting tasks need beyond them
    reservation  M / N × 100;   N = 0: 100 when M = 0, else 200
    wanted       ⌈M × 100 / target⌉, the N at which the reservation is the target

| M | N | target | steps    | reservation | then                                              |
|---|---|--------|----------|-------------|---------------------------------------------------|
| 0 | 0 | 100    | 1–10000  | 100         | nothing                                           |
| 2 | 0 | 100    | 1–10000  | 200         | out to 2                                          |
| 5 | 2 | 100    | 1–2      | 250         | out to 4, and to 5 in the next pass               |
| 3 | 2 | 100    | 3–10000  | 150         | out to 5: a step is at least 3                    |
| 2 | 2 | 50     | 1–10000  | 100         | out to 4: two are spare                           |
| 9 | 9 | 90     | 1–10000  | 100         | out to 10                                         |
| 1 | 3 | 100    | any      | 33          | in to 1, after it was so for the warm-up          |
| 0 | 3 | 100    | any      | 0           | in to minSize                                     |

Scale-in takes empty instances only, and none while an instance warms up or a task waits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from moorage.domain.capacity_provider import ManagedScaling


class ScaledInstance(msgspec.Struct, frozen=True):
    """An instance of the group that stays. `tasks`: those that are no daemons (0 or not is what counts). `draining`: it
    takes no more of them."""

    ec2_instance_id: str
    zone: str
    registered_at: float
    tasks: int = 0
    draining: bool = False


class Fleet(msgspec.Struct, frozen=True):
    """`desired`, `minimum`, `maximum`: of the group. `instances`: registered ones; when they are fewer than `desired`,
    the others are coming. `opened`: instances that waiting tasks need beyond `instances`. `apart`: instances that the
    group still counts although they are on their way out. `below_since`: since when the reservation has been below the
    target."""

    desired: int
    minimum: int
    maximum: int
    instances: tuple[ScaledInstance, ...] = ()
    apart: int = 0
    waiting: int = 0
    opened: int = 0
    below_since: float | None = None


class ScalingPlan(msgspec.Struct, frozen=True):
    """`desired`: what to ask the group for (None: leave it). `terminate`: EC2 instance ids to end, one fewer desired for
    each. `needed` and `running` are M and N."""

    needed: int
    running: int
    reservation: float
    said: str
    desired: int | None = None
    terminate: tuple[str, ...] = ()
    below_since: float | None = None
    again_after: float | None = None


def reservation(needed: int, running: int) -> float:
    """CapacityProviderReservation, in percent."""
    if running == 0:
        return 100.0 if needed == 0 else 200.0
    return needed / running * 100


def decide_scaling(scaling: ManagedScaling, fleet: Fleet, now: float) -> ScalingPlan:
    """The next move of one group, by the table above. Out at once; in only after `instanceWarmupPeriod` in which it was
    too large all the time and no instance joined."""
    busy = sum(1 for one in fleet.instances if one.tasks)
    needed, running = busy + fleet.opened, max(fleet.desired - fleet.apart, len(fleet.instances))
    percent = reservation(needed, running)
    # An empty instance that drains is there, but of no use to a task that waits.
    useless = sum(1 for one in fleet.instances if one.draining and not one.tasks) if fleet.opened else 0
    wanted = -(-(needed + useless) * 100 // scaling.target_capacity)
    numbers = f"M {needed} needed / N {running} running = {percent:.0f} %, target {scaling.target_capacity} %"

    def plan(said: str, **more: object) -> ScalingPlan:
        return ScalingPlan(needed, running, percent, f"{said} ({numbers})", **more)  # type: ignore[arg-type]

    if wanted > running:
        step = min(max(wanted - running, scaling.minimum_scaling_step_size), scaling.maximum_scaling_step_size)
        to = min(running + step, fleet.maximum - fleet.apart)
        if to <= running:
            most = f"the maxSize of the group is {fleet.maximum}"
            return plan(f"no action: {_tasks(fleet.waiting)}, {_instances(wanted)} wanted, but {most}")
        return plan(f"scales out from {running} to {_instances(to)}: {_tasks(fleet.waiting)}", desired=to + fleet.apart)
    coming = running - len(fleet.instances)
    if coming > 0:
        return plan(f"waits for {_instances(coming)} to join: {_tasks(fleet.waiting)}")
    spare = running - max(wanted, fleet.minimum)
    empty = [one for one in fleet.instances if not one.tasks]
    if spare <= 0 or not empty:
        return plan("no action: the capacity fits")
    if fleet.waiting:
        return plan(f"no action: {_tasks(fleet.waiting)} that no instance takes")
    warm_at = max(one.registered_at for one in fleet.instances) + scaling.instance_warmup_period
    below_since = now if fleet.below_since is None else fleet.below_since
    due = max(warm_at, below_since + scaling.instance_warmup_period)
    chosen = _leave(empty, fleet.instances, min(spare, len(empty)))
    if now < due:
        said = f"will scale in from {running} to {_instances(running - len(chosen))} unless they are used"
        return plan(said, below_since=below_since, again_after=due - now)
    said = f"scales in from {running} to {_instances(running - len(chosen))}: nothing runs on {', '.join(chosen)}"
    return plan(said, terminate=chosen, below_since=below_since)


def _leave(empty: Sequence[ScaledInstance], all: Sequence[ScaledInstance], count: int) -> tuple[str, ...]:
    """Of the empty ones: each time one of the zone with the most instances, the oldest there."""
    zones = Counter(one.zone for one in all)
    left, chosen = list(empty), []
    for _ in range(count):
        goes = min(left, key=lambda one: (-zones[one.zone], one.registered_at, one.ec2_instance_id))
        left.remove(goes)
        zones[goes.zone] -= 1
        chosen.append(goes.ec2_instance_id)
    return tuple(chosen)


def _tasks(waiting: int) -> str:
    return {0: "no task waits", 1: "1 task waits"}.get(waiting, f"{waiting} tasks wait")


def _instances(count: int) -> str:
    return "1 instance" if count == 1 else f"{count} instances"
