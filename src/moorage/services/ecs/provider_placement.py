"""RunTask over a capacity provider strategy: what it starts, and what becomes `failures[]` (semantics ecs-tasks §9.2,
§13)."""

from __future__ import annotations

from moorage.decide.capacity_placement import MOST_WAITING, Start, Starts, starts_of
from moorage.decide.placement.filters import Wish
from moorage.decide.placement.hosts import Host
from moorage.decide.placement.strategies import RANDOM
from moorage.domain import sentences
from moorage.domain.cluster import Cluster, StrategyItem
from moorage.domain.errors import AwsError
from moorage.domain.scope import Scope
from moorage.services.ecs import placement
from moorage.store import capacity_queries as capacity
from moorage.store.api import View


def run(
    view: View,
    cluster: Cluster,
    strategy: tuple[StrategyItem, ...],
    count: int,
    wish: Wish,
    rules: placement.Rules,
    seed: str,
    now: float,
) -> tuple[tuple[Start, ...], list[dict[str, str]]]:
    """Raises InvalidParameterException when a provider without managed scaling has no instance at all."""
    scope = Scope(cluster.account, cluster.region)
    names = [item.capacity_provider for item in strategy]

    def hosts(name: str) -> tuple[Host, ...]:
        return placement.hosts(view, capacity.provider_instances(view, cluster.arn, name))

    found = starts_of(
        strategy,
        count,
        {},
        lacking=capacity.lacking(view, scope, now),
        managed=capacity.managed(view, scope, names),
        hosts=hosts,
        wish=wish,
        how=rules.strategies or RANDOM,
        seed=seed,
        may_wait=max(0, MOST_WAITING - capacity.waiting_in(view, cluster.arn, cluster.capacity_providers)),
    )
    if found.refused_providers and not found.starts and not found.refused:
        raise AwsError("InvalidParameterException", placement.NO_INSTANCES_OF_PROVIDER)
    return found.starts, _failures(found)


def _failures(found: Starts) -> list[dict[str, str]]:
    shown = [{"reason": sentences.CAPACITY_UNAVAILABLE}] * found.lacking
    shown += [{"reason": sentences.TOO_MANY_WAITING}] * found.too_many
    return shown + placement.failures(found.refused)
