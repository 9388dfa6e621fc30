"""What capacity providers are doing about tasks that wait, in a few lines: what managed scaling decided last, what the
group may have, whether Fargate Spot lacks capacity. Reads records that were written when it happened; decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from moorage.control.explain_words import Explanation, ago, count, left, name_of, sections
from moorage.decide.scaling.waiting import GIVE_UP
from moorage.domain.capacity_provider import FARGATE_PROVIDERS, FARGATE_SPOT, CapacityProvider
from moorage.domain.scope import Scope
from moorage.domain.service import Service
from moorage.domain.task import Task
from moorage.store.api import View
from moorage.store.capacity_queries import provider_of, spot_shortage
from moorage.store.tables.ecs import CONTAINER_INSTANCES, HOST_GROUPS, REVISIONS, SCALING_NOTES, TASKS

MOST_LINES = 10


def of_task(view: View, task: Task, now: float) -> tuple[str, ...]:
    """Of a task that waits for an instance; nothing of any other."""
    if task.waiting is None or task.desired_status == "STOPPED":
        return ()
    scope = Scope(task.account, task.region)
    given_up = f"it is given up in {left(task.created_at + GIVE_UP - now)} when no instance takes it"
    return (*_provider(view, scope, task.capacity_provider or "", now), given_up)


def of_service(view: View, service: Service, now: float) -> tuple[str, ...]:
    """Of the providers in the strategy of its PRIMARY deployment."""
    primary = next(iter(service.deployments), None)
    revision = view.get(REVISIONS, primary.revision_arn) if primary is not None else None
    if revision is None:
        return ()
    scope = Scope(service.account, service.region)
    return tuple(_providers(view, scope, (item.capacity_provider for item in revision.strategy), now))


def _providers(view: View, scope: Scope, names: Iterable[str], now: float) -> Iterator[str]:
    for name in names:
        if name == FARGATE_SPOT and (seconds := spot_shortage(view, scope, now)) is not None:
            yield f"FARGATE_SPOT has no capacity for {left(seconds)} (moor interrupt --no-capacity 0 ends it)"
        if name not in FARGATE_PROVIDERS:
            yield from _provider(view, scope, name, now)


def _provider(view: View, scope: Scope, name: str, now: float) -> Iterator[str]:
    provider = provider_of(view, scope, name)
    if provider is None:
        yield f"the capacity provider {name} is gone: nothing brings an instance"
        return
    group, note = view.get(HOST_GROUPS, provider.group_arn), view.get(SCALING_NOTES, provider.arn)
    if group is None or group.gone:
        yield f"capacity provider {name}: its Auto Scaling group {provider.group_arn.rsplit('/', 1)[-1]} is not there"
        return
    if not provider.is_managed:
        yield f"capacity provider {name}: managed scaling is off, somebody must scale the group {group.name}"
    elif note is None:
        yield f"capacity provider {name}: managed scaling has not looked at it yet"
    else:
        yield f"capacity provider {name}: {note.said}, decided {ago(note.at, now)}"
        if note.refusal:
            yield f"  no instance takes the next task: {note.refusal}"
    there = f"{count(len(group.instances), 'instance')} there, {group.desired} desired"
    yield f"  group {group.name} ({group.instance_type or 'unknown type'}): {there}, {group.min_size} to {group.max_size}"


def explain_provider(view: View, provider: CapacityProvider, now: float) -> Explanation:
    scope, note = Scope(provider.account, provider.region), view.get(SCALING_NOTES, provider.arn)
    waiting = sorted(
        view.find(TASKS, "waiting", (scope.account, scope.region, provider.name)), key=lambda one: one.created_at
    )
    instances = sorted(
        view.find(CONTAINER_INSTANCES, "group", provider.group_arn), key=lambda one: (one.registered_at, one.arn)
    )
    clusters = ", ".join(name_of(arn) for arn in provider.clusters) or "no cluster"
    scaling = provider.managed_scaling
    switches = (
        f"managed scaling {scaling.status}: target {scaling.target_capacity} %, steps {scaling.minimum_scaling_step_size} "
        f"to {scaling.maximum_scaling_step_size}, warm-up {scaling.instance_warmup_period} s",
        f"managed draining {provider.managed_draining}, termination protection {provider.managed_termination_protection}",
    )
    return Explanation(
        kind="capacity-provider",
        arn=provider.arn,
        title=f"Capacity provider {provider.name} of {clusters}: {count(len(instances), 'instance')}, "
        f"{count(len(waiting), 'task')} waiting.",
        sections=sections(
            ("Now", _provider(view, scope, provider.name, now)),
            (
                "Tasks that wait",
                _some([f"{one.id[:8]} ({one.group}) created {ago(one.created_at, now)}" for one in waiting]),
            ),
            (
                "Instances",
                _some(
                    [
                        f"{one.ec2_instance_id} in {one.availability_zone}, {one.status}"
                        + (", leaves its group" if one.leaves_by is not None else "")
                        + f": {count(len(view.find(TASKS, 'container_instance', one.arn)), 'task')}"
                        for one in instances
                    ]
                ),
            ),
            ("It is", switches),
        ),
        facts={
            "needed": note.needed if note is not None else None,
            "running": note.running if note is not None else None,
            "reservation": note.reservation if note is not None else None,
            "waiting": len(waiting),
        },
        next=f"moor explain task {waiting[0].id[:8]}" if waiting else "moor tasks",
    )


def _some(lines: list[str]) -> list[str]:
    more = len(lines) - MOST_LINES
    return lines if more <= 0 else [*lines[:MOST_LINES], f"and {more} more"]
