"""Starting the tasks of a service that has a capacity provider strategy: what `decide/capacity_placement` looks at, and
which services to look at again when Fargate Spot has capacity."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from moorage.control.instance_placement import document_of, zones_of
from moorage.decide.capacity_placement import MOST_WAITING, Starts, starts_of
from moorage.decide.placement import constraints, strategies
from moorage.decide.placement.filters import closest
from moorage.decide.placement.hosts import Host, hosts_of
from moorage.decide.placement.place import wish_of
from moorage.decide.placement.strategies import SPREAD_ZONES
from moorage.domain import sentences
from moorage.domain.capacity_provider import SpotShortage
from moorage.domain.scope import Scope
from moorage.domain.service import Revision, Service
from moorage.domain.task_definition import TaskDefinition
from moorage.store import capacity_queries as capacity
from moorage.store.api import View
from moorage.store.tables.ecs import CLUSTERS, TASKS


def provider_starts(
    view: View,
    service: Service,
    revision: Revision,
    definition: TaskDefinition,
    count: int,
    running: Mapping[str, int],
    now: float,
    *,
    seed: str,
    zone: str | None = None,
) -> Starts:
    """`running`: how many living tasks each provider has. `zone`: only there, and nothing waits for it."""
    scope = Scope(service.account, service.region)
    names = [item.capacity_provider for item in revision.strategy]
    cluster = view.get(CLUSTERS, service.cluster_arn)
    rivals = cluster.capacity_providers if cluster is not None else tuple(names)

    def hosts(name: str) -> tuple[Host, ...]:
        mine = capacity.provider_instances(view, service.cluster_arn, name)
        return hosts_of(
            (one for one in mine if zone in (None, one.availability_zone)),
            lambda arn: view.find(TASKS, "container_instance", arn),
            lambda task: document_of(view, task),
        )

    return starts_of(
        revision.strategy,
        count,
        running,
        lacking=capacity.lacking(view, scope, now),
        managed=capacity.managed(view, scope, names) if zone is None else frozenset(),
        hosts=hosts,
        wish=wish_of(
            definition,
            f"service:{service.name}",
            constraints.read(service.placement_constraints),
            zones=zones_of(view, service, revision),
        ),
        how=strategies.read(service.placement_strategy) or SPREAD_ZONES,
        seed=seed,
        may_wait=max(0, MOST_WAITING - capacity.waiting_in(view, service.cluster_arn, rivals)),
    )


def event_of_starts(service: Service, found: Starts) -> str | None:
    """The service event about the tasks that are not started; None when all are."""
    if found.lacking:
        return sentences.not_placed(service.name, sentences.CAPACITY_UNAVAILABLE)
    if found.too_many:
        return sentences.not_placed(service.name, sentences.TOO_MANY_WAITING)
    if not found.refused_providers:
        return None
    nearest = closest(found.refused)
    if nearest is None:
        return sentences.no_instances(service.name, "capacity provider")
    return sentences.closest_matching(service.name, nearest.host.instance.id, nearest.reason)


class Lacking:
    """The services that wait for Fargate Spot capacity, by account and region. Lost with the process: every service is
    looked at when it starts."""

    def __init__(self) -> None:
        self._by_scope: dict[Scope, dict[str, None]] = {}

    def note(self, service: Service, *, lacks: bool) -> None:
        waiting = self._by_scope.setdefault(Scope(service.account, service.region), {})
        if lacks:
            waiting[service.arn] = None
        else:
            waiting.pop(service.arn, None)

    def concerned(self, record: SpotShortage) -> Collection[str]:
        return tuple(self._by_scope.get(Scope(record.account, record.region), {}))
