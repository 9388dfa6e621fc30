"""What the decision over a DAEMON service needs of its cluster, and which daemons to look at again when the cluster
changes: all of them when an instance changed, those that wait for room when a task left its instance.

Reads by index only. The tasks of an instance are read where they matter: where this service has no task yet, or when a
constraint looks at tasks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from moorage.control.instance_placement import document_of, zones_of
from moorage.decide.placement import constraints
from moorage.decide.placement.constraints import MemberOf
from moorage.decide.placement.daemons import DaemonFacts
from moorage.decide.placement.expression import looks_at_tasks
from moorage.decide.placement.filters import Wish
from moorage.decide.placement.hosts import Host, hosts_of
from moorage.decide.placement.place import wish_of
from moorage.domain.container_instance import ContainerInstance
from moorage.domain.service import Service
from moorage.domain.task import Task
from moorage.store.api import View
from moorage.store.tables.ecs import CONTAINER_INSTANCES, REVISIONS, SERVICES, TASK_DEFINITIONS, TASKS


def daemon_facts(view: View, service: Service, tasks: Iterable[Task]) -> DaemonFacts:
    """`tasks`: those of the service that are not STOPPED."""
    wish = _wish(view, service)
    volatile = any(isinstance(c, MemberOf) and looks_at_tasks(c.expression) for c in wish.constraints)
    there = {task.instance.arn for task in tasks if task.instance is not None}
    states = [(service.cluster_arn, status) for status in ("ACTIVE", "DRAINING")]
    found = [one for state in states for one in view.find(CONTAINER_INSTANCES, "cluster", state)]
    found.sort(key=lambda one: (one.registered_at, one.arn))
    return DaemonFacts(
        hosts=tuple(
            Host(one, one.registered) if one.arn in there and not volatile else _host(view, service, one)
            for one in found
        ),
        wish=wish,
        occupied=frozenset(
            one.arn for one in found if one.status == "DRAINING" and one.arn in there and _has_replicas(view, one)
        ),
        volatile=volatile,
    )


def _wish(view: View, service: Service) -> Wish:
    revision = view.get(REVISIONS, service.revision_arn)
    definition = view.get(TASK_DEFINITIONS, revision.task_definition_arn) if revision is not None else None
    assert revision is not None, "a service keeps the revision it was made of"
    assert definition is not None, "a task definition outlives its services"
    own = constraints.read(service.placement_constraints)
    return wish_of(definition, f"service:{service.name}", own, zones=zones_of(view, service, revision))


def _host(view: View, service: Service, instance: ContainerInstance) -> Host:
    """Without the tasks of the service itself: a daemon is not in its own way."""
    (host,) = hosts_of(
        (instance,),
        lambda arn: [t for t in view.find(TASKS, "container_instance", arn) if t.service_arn != service.arn],
        lambda task: document_of(view, task),
    )
    return host


def _has_replicas(view: View, instance: ContainerInstance) -> bool:
    owners = {task.service_arn for task in view.find(TASKS, "container_instance", instance.arn)}
    services = (view.get(SERVICES, arn) for arn in owners if arn is not None)
    return any(s is not None and s.scheduling_strategy == "REPLICA" for s in services)


class WaitingDaemons:
    """The daemons that wait for room, by cluster. Lost with the process: every service is looked at when it starts."""

    def __init__(self) -> None:
        self._by_cluster: dict[str, dict[str, None]] = {}

    def note(self, service: Service, *, waits: bool) -> None:
        if waits:
            self._by_cluster.setdefault(service.cluster_arn, {})[service.arn] = None
        elif service.cluster_arn in self._by_cluster:
            self._by_cluster[service.cluster_arn].pop(service.arn, None)

    def concerned(self, view: View, record: ContainerInstance | Task) -> Collection[str]:
        """The daemons to look at again after this change."""
        if isinstance(record, ContainerInstance):
            return [service.arn for service in view.find(SERVICES, "daemons", record.cluster_arn)]
        return tuple(self._by_cluster.get(record.cluster_arn, ()))
