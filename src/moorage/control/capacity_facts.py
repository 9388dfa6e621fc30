"""What the decisions over a capacity provider look at, read from the store: who waits, what there is, who is busy."""

from __future__ import annotations

from collections.abc import Callable

from moorage.control.instance_placement import document_of
from moorage.decide.placement import constraints, strategies
from moorage.decide.placement.hosts import Host, hosts_of
from moorage.decide.placement.instances import group_instance
from moorage.decide.placement.place import wish_of
from moorage.decide.placement.strategies import RANDOM, SPREAD_ZONES
from moorage.decide.scaling.managed import Fleet, ScaledInstance
from moorage.decide.scaling.waiting import Outlook, WaitingTask
from moorage.domain.capacity_provider import CapacityProvider, HostGroup
from moorage.domain.container_instance import ContainerInstance
from moorage.domain.task import Task, Waiting
from moorage.store.api import View
from moorage.store.capacity_queries import provider_instances
from moorage.store.tables.ecs import CONTAINER_INSTANCES, SERVICES, TASK_DEFINITIONS, TASKS

Queue = tuple[tuple[WaitingTask, ...], tuple[Host, ...]]


def waiting_tasks(view: View, provider: CapacityProvider) -> dict[str, Queue]:
    """By cluster: the tasks that wait for the provider, oldest first, and its instances there."""
    by_cluster: dict[str, list[Task]] = {}
    waiting = view.find(TASKS, "waiting", (provider.account, provider.region, provider.name))
    for task in sorted(waiting, key=lambda one: (one.created_at, one.arn)):
        by_cluster.setdefault(task.cluster_arn, []).append(task)
    return {
        arn: (
            tuple(_waiting_task(view, task) for task in tasks),
            _hosts(view, provider_instances(view, arn, provider.name)),
        )
        for arn, tasks in by_cluster.items()
    }


def _waiting_task(view: View, task: Task) -> WaitingTask:
    definition = view.get(TASK_DEFINITIONS, task.task_definition_arn)
    assert definition is not None, "a task definition outlives its tasks"
    waiting = task.waiting or Waiting()
    wish = wish_of(
        definition,
        task.group,
        constraints.read(waiting.constraints),
        overrides=task.overrides,
        zones=frozenset(zone for _, _, zone in waiting.subnets) or None,
    )
    how = strategies.read(waiting.strategy) or (SPREAD_ZONES if task.service_arn else RANDOM)
    return WaitingTask(task.arn, wish, how, task.created_at)


def _hosts(view: View, instances: tuple[ContainerInstance, ...]) -> tuple[Host, ...]:
    return hosts_of(
        instances, lambda arn: view.find(TASKS, "container_instance", arn), lambda task: document_of(view, task)
    )


def imagine(group: HostGroup, cluster_arn: str, provider: str) -> Callable[[int, str], Host]:
    """An instance of the group that is not there yet, empty."""

    def make(number: int, zone: str) -> Host:
        instance = group_instance(
            group,
            arn=f"{group.arn}/{number}/{zone}",
            cluster_arn=cluster_arn,
            ec2_instance_id=f"next-{number}",
            instance_type="",
            zone=zone,
            address="",
            provider=provider,
            now=0.0,
        )
        return Host(instance, instance.registered)

    return make


def instances_of(view: View, group_arn: str) -> tuple[ContainerInstance, ...]:
    """The registered instances of a group that stay, in the order of their registration."""
    mine = (one for one in view.find(CONTAINER_INSTANCES, "group", group_arn) if one.leaves_by is None)
    return tuple(sorted(mine, key=lambda one: (one.registered_at, one.arn)))


def fleet_of(view: View, group: HostGroup, found: Outlook, below_since: float | None) -> Fleet:
    """The group as managed scaling counts it."""
    staying = instances_of(view, group.arn)
    all = view.find(CONTAINER_INSTANCES, "group", group.arn)
    there = {machine.id for machine in group.instances}
    return Fleet(
        desired=group.desired,
        minimum=group.min_size,
        maximum=group.max_size,
        instances=tuple(
            ScaledInstance(
                one.ec2_instance_id,
                one.availability_zone,
                one.registered_at,
                tasks=int(any(not _is_daemon(view, t) for t in view.find(TASKS, "container_instance", one.arn))),
                draining=one.status == "DRAINING",
            )
            for one in staying
        ),
        apart=sum(1 for one in all if one.leaves_by is not None and one.ec2_instance_id in there),
        waiting=found.waiting,
        opened=found.opened,
        below_since=below_since,
    )


def _is_daemon(view: View, task: Task) -> bool:
    service = view.get(SERVICES, task.service_arn) if task.service_arn is not None else None
    return service is not None and service.scheduling_strategy == "DAEMON"
