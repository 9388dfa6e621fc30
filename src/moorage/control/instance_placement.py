"""Finding container instances for the tasks of a service (EC2 launch type), and remembering who waits for one.

`decide/placement` chooses; this module reads what it needs from the store and knows which services to look at again when
a cluster has room: an instance came, changed or was set ACTIVE, or a task on one stopped.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from moorage.decide.placement import constraints, strategies
from moorage.decide.placement.filters import closest, explain
from moorage.decide.placement.hosts import hosts_of
from moorage.decide.placement.place import Placed, place, wish_of
from moorage.decide.placement.strategies import SPREAD_ZONES
from moorage.domain import sentences
from moorage.domain.container_instance import ContainerInstance
from moorage.domain.service import Revision, Service
from moorage.domain.task import Task
from moorage.domain.task_definition import Document, TaskDefinition
from moorage.store.api import View
from moorage.store.tables.ecs import CONTAINER_INSTANCES, TASK_DEFINITIONS, TASKS
from moorage.store.tables.network import SUBNETS


def is_ec2(revision: Revision) -> bool:
    """Do its tasks run on container instances?"""
    return revision.launch_type == "EC2" and not revision.strategy


def place_tasks(
    view: View,
    service: Service,
    revision: Revision,
    definition: TaskDefinition,
    count: int,
    seed: str,
    zone: str | None = None,
) -> Placed:
    """Where the next `count` tasks of the revision go (ecs-services §7). `zone`: only there."""
    states = [(service.cluster_arn, status) for status in ("ACTIVE", "DRAINING")]
    instances = [one for state in states for one in view.find(CONTAINER_INSTANCES, "cluster", state)]
    instances = [one for one in instances if zone in (None, one.availability_zone)]
    hosts = hosts_of(
        sorted(instances, key=lambda one: (one.registered_at, one.arn)),
        lambda arn: view.find(TASKS, "container_instance", arn),
        lambda task: document_of(view, task),
    )
    wish = wish_of(
        definition,
        f"service:{service.name}",
        constraints.read(service.placement_constraints),
        zones=zones_of(view, service, revision),
    )
    how = strategies.read(service.placement_strategy) or SPREAD_ZONES
    return place(hosts, wish, how, count=count, seed=seed)


def event_of(service: Service, placed: Placed) -> str:
    """The service event about the task that found no place (ecs-services §4)."""
    nearest = closest(placed.refused)
    if nearest is None:
        return sentences.no_instances(service.name)
    return sentences.closest_matching(service.name, nearest.host.instance.id, nearest.reason)


def on_leaving_instances(view: View, tasks: Iterable[Task]) -> frozenset[str]:
    """The ARNs of the tasks whose instance takes no more tasks: a service replaces them."""
    found = set()
    for task in tasks:
        instance = view.get(CONTAINER_INSTANCES, task.instance.arn) if task.instance is not None else None
        if instance is not None and instance.status != "ACTIVE":
            found.add(task.arn)
    return frozenset(found)


class Unplaced:
    """Which services have tasks without a place, in which cluster, and why. Lost with the process: every service is
    looked at when it starts."""

    def __init__(self) -> None:
        self._why: dict[str, str] = {}
        self._by_cluster: dict[str, dict[str, None]] = {}

    def note(self, service: Service, placed: Placed) -> None:
        self._why[service.arn] = explain(placed.refused)
        self._by_cluster.setdefault(service.cluster_arn, {})[service.arn] = None

    def settle(self, service_arn: str) -> None:
        if self._why.pop(service_arn, None) is None:
            return
        for cluster, waiting in list(self._by_cluster.items()):
            waiting.pop(service_arn, None)
            if not waiting:
                del self._by_cluster[cluster]

    def why(self, service_arn: str) -> str | None:
        return self._why.get(service_arn)

    def concerned(self, view: View, record: ContainerInstance | Task) -> Collection[str]:
        """The services to look at again after this change: those that wait for room in the cluster and, when an
        instance changed, those that have tasks on it."""
        found = dict(self._by_cluster.get(record.cluster_arn, {}))
        if isinstance(record, ContainerInstance):
            on_it = view.find(TASKS, "container_instance", record.arn)
            found |= dict.fromkeys(task.service_arn for task in on_it if task.service_arn is not None)
        return tuple(found)


def document_of(view: View, task: Task) -> Document:
    definition = view.get(TASK_DEFINITIONS, task.task_definition_arn)
    assert definition is not None, "a task definition outlives its tasks"
    return definition.document


def zones_of(view: View, service: Service, revision: Revision) -> frozenset[str] | None:
    """The availability zones of the service's subnets; None: any."""
    if revision.network is None:
        return None
    keys = (f"{service.account}/{service.region}/{subnet_id}" for subnet_id in revision.network.subnets)
    return frozenset(subnet.availability_zone for key in keys if (subnet := view.get(SUBNETS, key)) is not None)
