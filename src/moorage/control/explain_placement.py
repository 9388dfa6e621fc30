"""Why the next task of a service has no place: every container instance with the first filter that refuses it. Asks the
same filters as the scheduler (`decide/placement`), at this moment; places nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from moorage.control.instance_placement import document_of, zones_of
from moorage.decide.placement import constraints
from moorage.decide.placement.filters import FILTERS, Refusal
from moorage.decide.placement.hosts import hosts_of
from moorage.decide.placement.place import place, wish_of
from moorage.decide.placement.strategies import SPREAD_ZONES
from moorage.domain.capacity_provider import FARGATE_PROVIDERS
from moorage.domain.service import Service
from moorage.store.api import View
from moorage.store.tables.ecs import CONTAINER_INSTANCES, REVISIONS, TASK_DEFINITIONS, TASKS

MOST_HOSTS = 10


def refusals_of(view: View, service: Service) -> tuple[Refusal, ...] | None:
    """Why no instance of its cluster can take one more task of its PRIMARY deployment. None: it needs no place (nothing
    is missing, it runs on Fargate, or there is room); empty: there is no instance at all."""
    primary = next(iter(service.deployments), None)
    revision = view.get(REVISIONS, primary.revision_arn) if primary is not None else None
    definition = view.get(TASK_DEFINITIONS, revision.task_definition_arn) if revision is not None else None
    if primary is None or revision is None or definition is None or service.status != "ACTIVE":
        return None
    there = [t for t in view.find(TASKS, "service", service.arn) if t.deployment_id == primary.id]
    wanted = service.desired_count > sum(1 for task in there if task.desired_status == "RUNNING")
    providers = {item.capacity_provider for item in revision.strategy}
    if not wanted or providers.intersection(FARGATE_PROVIDERS) or (not providers and revision.launch_type != "EC2"):
        return None
    states = [(service.cluster_arn, status) for status in ("ACTIVE", "DRAINING")]
    instances = [one for state in states for one in view.find(CONTAINER_INSTANCES, "cluster", state)]
    if providers:
        instances = [one for one in instances if one.capacity_provider in providers]
    hosts = hosts_of(
        sorted(instances, key=lambda one: (one.registered_at, one.arn)),
        lambda arn: view.find(TASKS, "container_instance", arn),
        lambda task: document_of(view, task),
    )
    own = constraints.read(service.placement_constraints)
    wish = wish_of(definition, f"service:{service.name}", own, zones=zones_of(view, service, revision))
    placed = place(hosts, wish, SPREAD_ZONES)
    return None if placed.hosts else placed.refused


def refusal_lines(refused: Sequence[Refusal] | None) -> Iterator[str]:
    """By filter, then by host."""
    if refused is None:
        return
    if not refused:
        yield "the cluster has no container instances"
        return
    by_reason = ", ".join(f"{number} {reason}" for reason, number in Counter(r.reason for r in refused).most_common())
    yield f"now: none of {len(refused)} container instances can take a task: {by_reason}"
    nearest = sorted(refused, key=lambda one: -one.passed)
    for one in nearest[:MOST_HOSTS]:
        instance = one.host.instance
        yield (
            f"  {instance.ec2_instance_id} in {instance.availability_zone}: {one.reason}, {one.detail} "
            f"(passed {one.passed} of {len(FILTERS)} filters)"
        )
    if len(nearest) > MOST_HOSTS:
        yield f"  and {len(nearest) - MOST_HOSTS} more"
