"""Which container instances can take a task, and of each of the others the first reason why not.

The filters are one ordered table: what the instance is doing, what it has left, what it is, what the caller wants. The
first that refuses names the reason; how many a host passed before tells how close it came (semantics ecs-tasks §9.2,
ecs-services §4, §7).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import msgspec

from moorage.decide.placement.constraints import Constraint, unmet
from moorage.decide.placement.hosts import Host
from moorage.decide.placement.resources import Demand


class Wish(msgspec.Struct, frozen=True):
    """What a task wants of its host. `attributes`: requiresAttributes of its task definition. `zones`: where its subnets
    are; None for a task without a network of its own."""

    group: str
    demand: Demand = Demand()
    attributes: tuple[str, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    zones: frozenset[str] | None = None


class Refusal(msgspec.Struct, frozen=True):
    """Why one host does not take the task. `reason`: AWS's word for it. `detail`: the numbers behind it, for people.
    `passed`: how many filters it passed before."""

    host: Host
    reason: str
    detail: str
    passed: int = 0

    @property
    def shown(self) -> bool:
        """Hosts that take no tasks at all are not considered: the API does not list them among its failures."""
        return self.reason != NOT_ACTIVE


# A filter answers what is wrong, as (reason, detail), or None.
Problem = tuple[str, str] | None
Filter = Callable[[Host, Wish], Problem]

NOT_ACTIVE = "INACTIVE"
AGENT = "AGENT"
CPU, MEMORY, PORTS, GPU = "RESOURCE:CPU", "RESOURCE:MEMORY", "RESOURCE:PORTS", "RESOURCE:GPU"
ATTRIBUTE, LOCATION = "ATTRIBUTE", "LOCATION"


def _takes_tasks(host: Host, wish: Wish) -> Problem:
    status = host.instance.status
    return None if status == "ACTIVE" else (NOT_ACTIVE, f"is {status}")


def _agent_answers(host: Host, wish: Wish) -> Problem:
    return None if host.instance.agent_connected else (AGENT, "its agent is disconnected")


def _has_cpu(host: Host, wish: Wish) -> Problem:
    want, free = wish.demand.cpu, host.free.cpu
    return (CPU, f"wants {want} CPU units, {free} are free") if want > free else None


def _has_memory(host: Host, wish: Wish) -> Problem:
    want, free = wish.demand.memory, host.free.memory
    return (MEMORY, f"wants {want} MiB, {free} are free") if want > free else None


def _has_gpus(host: Host, wish: Wish) -> Problem:
    """No container instance of ours has any: the engine is not told of graphics cards."""
    return (GPU, f"wants {wish.demand.gpus} GPUs, it has none") if wish.demand.gpus else None


def _has_ports(host: Host, wish: Wish) -> Problem:
    taken = [f"{port}/tcp" for port in sorted(wish.demand.ports & host.free.ports)]
    taken += [f"{port}/udp" for port in sorted(wish.demand.ports_udp & host.free.ports_udp)]
    return (PORTS, f"the host port {', '.join(taken)} is taken") if taken else None


def _has_attributes(host: Host, wish: Wish) -> Problem:
    missing = [name for name in wish.attributes if name not in host.instance.attributes]
    return (ATTRIBUTE, f"has no {', '.join(missing)}") if missing else None


def _is_near(host: Host, wish: Wish) -> Problem:
    zone = host.instance.availability_zone
    if wish.zones is None or zone in wish.zones:
        return None
    return LOCATION, f"is in {zone}, the subnets are in {', '.join(sorted(wish.zones))}"


def _meets_constraints(host: Host, wish: Wish) -> Problem:
    for constraint in wish.constraints:
        why = unmet(constraint, host, wish.group)
        if why is not None:
            return why
    return None


FILTERS: tuple[Filter, ...] = (
    _takes_tasks,
    _agent_answers,
    _has_cpu,
    _has_memory,
    _has_ports,
    _has_gpus,
    _has_attributes,
    _is_near,
    _meets_constraints,
)


def refusal(host: Host, wish: Wish) -> Refusal | None:
    """The first filter that the host does not pass; None when it can take the task."""
    for passed, filter in enumerate(FILTERS):
        problem = filter(host, wish)
        if problem is not None:
            return Refusal(host, *problem, passed=passed)
    return None


def outside(host: Host, wish: Wish) -> Problem:
    """Why the host is none that tasks of this wish belong on, however much room it has; None when it is one."""
    for filter in (_takes_tasks, _is_near, _meets_constraints):
        problem = filter(host, wish)
        if problem is not None:
            return problem
    return None


def closest(refusals: Sequence[Refusal]) -> Refusal | None:
    """The host that came nearest to taking the task: most filters passed, then the most of the scarce thing left."""
    return max(
        (r for r in refusals if r.shown),
        key=lambda r: (r.passed, r.host.free.cpu, r.host.free.memory, r.host.instance.arn),
        default=None,
    )


def explain(refusals: Iterable[Refusal]) -> str:
    """All refusals in one sentence, most frequent first:
    "2 of 3 instances RESOURCE:CPU (i-1 wants 512 CPU units, 256 are free), 1 ATTRIBUTE (i-3 has no gpu)"."""
    found = list(refusals)
    if not found:
        return "the cluster has no container instances"
    examples = {r.reason: r for r in reversed(found)}
    counted = Counter(r.reason for r in found).most_common()
    parts = [
        f"{count} {reason} ({examples[reason].host.instance.ec2_instance_id} {examples[reason].detail})"
        for reason, count in counted
    ]
    return f"of {len(found)} instances " + ", ".join(parts)
