"""A container instance as placement sees it: what is left of it, what it is, and which groups run on it.

Pure values; whoever reads the store makes them (`hosts_of`) and hands them to `place.py`. A host is made anew only when
its instance or its tasks have changed: placing one task on a cluster costs a look at each instance, not at each task.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

import msgspec
from msgspec.structs import replace

from moorage.decide.placement.resources import Demand, demand_of, remaining, take
from moorage.domain.container_instance import ContainerInstance, Resources
from moorage.domain.task import Task
from moorage.domain.task_definition import Document


class Host(msgspec.Struct, frozen=True):
    """`free`: remaining resources (`ports` are those taken). `groups`: how many tasks of each task group it has."""

    instance: ContainerInstance
    free: Resources
    groups: Mapping[str, int] = {}

    @property
    def tasks(self) -> int:
        return sum(self.groups.values())

    def attribute(self, name: str) -> str | None:
        return self.instance.attributes.get(name)

    def with_task(self, group: str, demand: Demand) -> Host:
        """The same host after one more task of `group` was placed on it."""
        groups = dict(self.groups)
        groups[group] = groups.get(group, 0) + 1
        return replace(self, free=take(self.free, demand), groups=groups)


MOST_MADE = 20_000
_made: dict[str, tuple[ContainerInstance, tuple[Task, ...], Host]] = {}
"""The last host of each instance and what it was made of; a memory of a pure function, which nobody can tell."""


def hosts_of(
    instances: Iterable[ContainerInstance],
    tasks_on: Callable[[str], Iterable[Task]],
    document_of: Callable[[Task], Document],
) -> tuple[Host, ...]:
    """`tasks_on`: by container instance ARN, its tasks that have not stopped yet. They hold what they reserved until
    they are STOPPED; a task that is being stopped already counts no more as a member of its group."""
    hosts = []
    for instance in instances:
        found = tasks_on(instance.arn)
        known = _made.get(instance.arn)
        # Records and tuples of them never change: the same ones make the same host.
        if known is not None and known[0] is instance and known[1] is found:
            hosts.append(known[2])
            continue
        tasks = tuple(found)
        free = remaining(instance.registered, (demand_of(document_of(t), t.overrides) for t in tasks))
        groups = Counter(t.group for t in tasks if t.desired_status == "RUNNING")
        host = Host(instance, free, dict(groups))
        hosts.append(host)
        if isinstance(found, tuple):
            if len(_made) >= MOST_MADE:
                _made.clear()
            _made[instance.arn] = (instance, found, host)
    return tuple(hosts)
