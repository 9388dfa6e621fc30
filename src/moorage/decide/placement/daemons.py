"""Which container instances a DAEMON service belongs on, and why it has no task on the others (semantics ecs-services §6).

An instance belongs to the service when it is ACTIVE, meets every placement constraint and, for a task with a network of
its own, is in a zone of its subnets: those are counted as desired. Whether there is room for the task is another question:
an instance that is full is still desired, and the service says what is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from moorage.decide.placement.filters import Problem, Refusal, Wish, outside, refusal
from moorage.decide.placement.hosts import Host
from moorage.domain.task import Task


class DaemonFacts(msgspec.Struct, frozen=True):
    """`hosts`: the cluster's ACTIVE and DRAINING instances, each without what this service has on it. `wish`: what a task
    of the PRIMARY deployment wants. `occupied`: DRAINING instances on which tasks of replica services still run: the daemon
    leaves last. `volatile`: a constraint looks at other tasks, so the answer may change without any instance changing."""

    hosts: tuple[Host, ...]
    wish: Wish
    occupied: frozenset[str] = frozenset()
    volatile: bool = False

    def members(self) -> Mapping[str, Host]:
        """The instances that should have a task, by ARN."""
        return {host.instance.arn: host for host in self.hosts if outside(host, self.wish) is None}


class Standing(msgspec.Struct, frozen=True):
    """How the service stands with one instance. `desired`: it should have a task there. `task`: the one that is there.
    `problem`: (reason, detail) why there is none, or should be none."""

    host: Host
    desired: bool
    task: Task | None = None
    problem: Problem = None


def standings(facts: DaemonFacts, tasks: Iterable[Task]) -> Iterator[Standing]:
    """One for each instance of the cluster. `tasks`: those of the service that are not STOPPED."""
    there = {task.instance.arn: task for task in tasks if task.instance is not None}
    for host in facts.hosts:
        task = there.get(host.instance.arn)
        problem = outside(host, facts.wish)
        if problem is not None and host.instance.arn in facts.occupied and task is not None:
            problem = (problem[0], f"{problem[1]}; the daemon leaves after the tasks of replica services")
        if problem is None and task is None:
            refused = refusal(host, facts.wish)
            problem = (refused.reason, refused.detail) if refused is not None else None
            yield Standing(host, desired=True, problem=problem)
        else:
            yield Standing(host, desired=problem is None, task=task, problem=problem)


def vacant(members: Mapping[str, Host], tasks: Iterable[Task], wish: Wish) -> tuple[list[Host], list[Refusal]]:
    """The member instances without a task, as those that can take one and those that refuse it. A task that is stopping
    still holds its place: stop before start."""
    taken = {task.instance.arn for task in tasks if task.instance is not None}
    free: list[Host] = []
    refused: list[Refusal] = []
    for arn, host in members.items():
        if arn in taken:
            continue
        problem = refusal(host, wish)
        if problem is None:
            free.append(host)
        else:
            refused.append(problem)
    return free, refused
