"""What capacity providers are doing about tasks that wait, in a few lines: what managed scaling decided last, what the
group may have, whether Fargate Spot lacks capacity. Reads records that were written when it happened; decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from moorage.control.explain_words import ago, left
from moorage.decide.scaling.waiting import GIVE_UP
from moorage.domain.capacity_provider import FARGATE_PROVIDERS, FARGATE_SPOT
from moorage.domain.scope import Scope
from moorage.domain.service import Service
from moorage.domain.task import Task
from moorage.store.api import View
from moorage.store.capacity_queries import provider_of, spot_shortage
from moorage.store.tables.ecs import HOST_GROUPS, REVISIONS, SCALING_NOTES


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
    there = f"{len(group.instances)} instances there, {group.desired} desired"
    yield f"  group {group.name} ({group.instance_type or 'unknown type'}): {there}, {group.min_size} to {group.max_size}"
