"""What capacity providers have, read from the store: for RunTask and for the service scheduler alike."""

from __future__ import annotations

from collections.abc import Iterable

from moorage.domain.capacity_provider import FARGATE_SPOT, CapacityProvider
from moorage.domain.container_instance import ContainerInstance
from moorage.domain.scope import Scope, scope_of
from moorage.store.api import View
from moorage.store.tables.ecs import CAPACITY_PROVIDERS, CONTAINER_INSTANCES, SPOT_SHORTAGES, TASKS


def provider_of(view: View, scope: Scope, name: str) -> CapacityProvider | None:
    return view.get(CAPACITY_PROVIDERS, scope.arn("ecs", f"capacity-provider/{name}"))


def spot_shortage(view: View, scope: Scope, now: float) -> float | None:
    """Seconds for which there is no Fargate Spot capacity; None when there is."""
    record = view.get(SPOT_SHORTAGES, f"{scope.account}/{scope.region}")
    return record.until - now if record is not None and record.until > now else None


def lacking(view: View, scope: Scope, now: float) -> frozenset[str]:
    """The capacity providers that cannot start anything now."""
    return frozenset({FARGATE_SPOT}) if spot_shortage(view, scope, now) is not None else frozenset()


def managed(view: View, scope: Scope, names: Iterable[str]) -> frozenset[str]:
    """Those of the providers whose tasks may wait for an instance."""
    found = ((name, provider_of(view, scope, name)) for name in names)
    return frozenset(name for name, record in found if record is not None and record.is_managed)


def provider_instances(view: View, cluster_arn: str, name: str) -> tuple[ContainerInstance, ...]:
    """The registered instances of a provider in a cluster, in the order of their registration."""
    states = [(cluster_arn, status) for status in ("ACTIVE", "DRAINING")]
    found = [one for state in states for one in view.find(CONTAINER_INSTANCES, "cluster", state)]
    mine = (one for one in found if one.capacity_provider == name)
    return tuple(sorted(mine, key=lambda one: (one.registered_at, one.arn)))


def waiting_in(view: View, cluster_arn: str, names: Iterable[str]) -> int:
    """How many tasks of the cluster wait for an instance of one of these providers."""
    scope = scope_of(cluster_arn)
    waiting = (task for name in names for task in view.find(TASKS, "waiting", (scope.account, scope.region, name)))
    return sum(1 for task in waiting if task.cluster_arn == cluster_arn)


def address_in_use(view: View, address: str) -> bool:
    """Is a loopback address that of a container instance? Also of a deregistered one whose last tasks still stop."""
    return any(
        i.status != "INACTIVE" or view.find(TASKS, "container_instance", i.arn)
        for i in view.find(CONTAINER_INSTANCES, "address", address)
    )
