"""Capacity providers: create, update, delete, describe, and put them on a cluster (semantics ecs-services §8).

A provider names an Auto Scaling group; what its instances do is the business of `control/capacity.py`.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec.structs import replace

from moorage.domain.capacity_provider import FARGATE_PROVIDERS, CapacityProvider, HostGroup, ManagedScaling
from moorage.domain.clock import Clock, Ids
from moorage.domain.cluster import Cluster
from moorage.domain.errors import AwsError
from moorage.domain.scope import Scope
from moorage.services.base import Provider, RequestContext, operation
from moorage.services.ecs import present_cluster, resolve
from moorage.services.ecs.paging import page
from moorage.services.ecs.strategy import provider_name, strategy_items
from moorage.services.ecs.tags import to_list, to_mapping
from moorage.services.lookups import HostGroupLookup
from moorage.store.api import StoreApi, Transaction, View
from moorage.store.tables.ecs import CAPACITY_PROVIDERS, CLUSTERS, REVISIONS, SCALING_NOTES, SERVICES, TASKS

MOST_ON_CLUSTER, MOST_DESCRIBED, MOST_STEP, MOST_WARMUP = 20, 100, 10_000, 10_000
_NAME = re.compile(r"(?!aws|ecs|fargate)[a-zA-Z0-9_-]{1,255}", re.IGNORECASE)


def _refuse(message: str) -> AwsError:
    return AwsError("ClientException", message)


UNKNOWN = "The specified capacity provider does not exist. Specify a valid name or ARN and try again."
NEEDS_PROTECTION = (
    "The managed termination protection setting for the capacity provider is invalid. To enable managed termination "
    "protection for a capacity provider, the Auto Scaling group must have instance protection from scale in enabled."
)
NEEDS_SCALING = (
    "The managed termination protection setting for the capacity provider is invalid. To enable managed termination "
    "protection for a capacity provider, managed scaling must be enabled."
)


class CapacityProviderOperations(Provider):
    _store: StoreApi
    _clock: Clock
    _ids: Ids
    _groups: HostGroupLookup

    @operation("CreateCapacityProvider")
    async def create_capacity_provider(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        name, asked = request["name"], request.get("autoScalingGroupProvider")
        if request.get("managedInstancesProvider"):
            raise AwsError("UnsupportedFeatureException", "Moorage does not run Amazon ECS Managed Instances.")
        if not _NAME.fullmatch(name):
            raise _refuse(
                "The specified capacity provider name is invalid. Up to 255 characters are allowed, including letters "
                "(upper and lowercase), numbers, underscores, and hyphens. The name cannot be prefixed with "
                '"aws", "ecs", or "fargate". Specify a valid name and try again.'
            )
        if not asked:
            raise _refuse("The capacity provider must have an Auto Scaling group. Specify one and try again.")
        if request.get("cluster"):
            raise _refuse("A cluster can only be specified for a capacity provider of Amazon ECS Managed Instances.")
        group = await self._groups.group(ctx.scope, asked["autoScalingGroupArn"])
        if group is None:
            raise _refuse(
                "The specified Auto Scaling group ARN is invalid. Specify a valid Auto Scaling group ARN and try again."
            )
        record = CapacityProvider(
            arn=ctx.scope.arn("ecs", f"capacity-provider/{name}"),
            account=ctx.account,
            region=ctx.region,
            name=name,
            group_arn=group.arn,
            created_at=self._clock.now(),
            managed_scaling=managed_scaling(ManagedScaling(), asked.get("managedScaling")),
            managed_termination_protection=asked.get("managedTerminationProtection") or "DISABLED",
            managed_draining=asked.get("managedDraining") or "ENABLED",
            policy=f"ECSManagedAutoScalingPolicy-{self._ids.uuid()}",
            tags=to_mapping(request.get("tags")),
        )
        check_protection(record, group)

        def write(tx: Transaction) -> CapacityProvider:
            if tx.get(CAPACITY_PROVIDERS, record.arn) is not None:
                raise _refuse(
                    "The specified capacity provider already exists. To change the configuration of an existing "
                    "capacity provider, update the capacity provider."
                )
            if tx.find(CAPACITY_PROVIDERS, "group", group.arn):
                raise _refuse(
                    "The specified Auto Scaling group ARN is already being used by another capacity provider. Specify "
                    "a unique Auto Scaling group ARN and try again."
                )
            return tx.put(CAPACITY_PROVIDERS, record)

        return {"capacityProvider": shape_of(await self._store.update(write), tags=True)}

    @operation("UpdateCapacityProvider")
    async def update_capacity_provider(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        if request.get("managedInstancesProvider"):
            raise AwsError("UnsupportedFeatureException", "Moorage does not run Amazon ECS Managed Instances.")
        asked = request.get("autoScalingGroupProvider") or {}
        before = _find(self._store, ctx.scope, request["name"])
        group = await self._groups.group(ctx.scope, before.group_arn)

        def write(tx: Transaction) -> CapacityProvider:
            current = _find(tx, ctx.scope, request["name"])
            changed = replace(
                current,
                managed_scaling=managed_scaling(current.managed_scaling, asked.get("managedScaling")),
                managed_termination_protection=asked.get("managedTerminationProtection")
                or current.managed_termination_protection,
                managed_draining=asked.get("managedDraining") or current.managed_draining,
                update_status="UPDATE_COMPLETE",
            )
            check_protection(changed, group)
            return tx.put(CAPACITY_PROVIDERS, changed)

        return {"capacityProvider": shape_of(await self._store.update(write), tags=True)}

    @operation("DeleteCapacityProvider")
    async def delete_capacity_provider(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        def write(tx: Transaction) -> CapacityProvider:
            record = _find(tx, ctx.scope, request["capacityProvider"])
            if record.clusters:
                names = ", ".join(resolve.cluster_name(arn) for arn in record.clusters)
                raise _refuse(
                    f"The capacity provider cannot be deleted because it is associated with cluster: {names}. Remove "
                    "the capacity provider from the cluster and try again."
                )
            tx.delete(CAPACITY_PROVIDERS, record.arn)
            tx.delete(SCALING_NOTES, record.arn)
            return record

        deleted = await self._store.update(write)
        return {"capacityProvider": shape_of(replace(deleted, update_status="DELETE_IN_PROGRESS"))}

    @operation("DescribeCapacityProviders")
    async def describe_capacity_providers(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        tags = "TAGS" in (request.get("include") or ())
        wanted, of_cluster = request.get("capacityProviders"), request.get("cluster")
        if wanted and len(wanted) > MOST_DESCRIBED:
            raise AwsError(
                "InvalidParameterException", f"Up to {MOST_DESCRIBED} capacity providers can be described at once."
            )
        ours = self._store.find(CAPACITY_PROVIDERS, "scope", (ctx.account, ctx.region))
        names = [provider_name(one) for one in wanted or (*FARGATE_PROVIDERS, *sorted(one.name for one in ours))]
        if of_cluster:
            cluster = resolve.cluster(self._store, ctx.scope, of_cluster)
            names = [name for name in names if name in cluster.capacity_providers]
        found, failures = [], []
        chosen, token = page(names, request, default=MOST_DESCRIBED if wanted else 10)
        for name in chosen:
            arn = ctx.scope.arn("ecs", f"capacity-provider/{name}")
            record = self._store.get(CAPACITY_PROVIDERS, arn)
            if name in FARGATE_PROVIDERS:
                shown = {"capacityProviderArn": arn, "name": name, "status": "ACTIVE", "type": name, "tags": []}
                found.append(shown)
            elif record is not None:
                found.append(shape_of(record, tags=tags))
            else:
                failures.append({"arn": arn, "reason": "MISSING"})
        return {"capacityProviders": found, "failures": failures, "nextToken": token}

    @operation("PutClusterCapacityProviders")
    async def put_cluster_capacity_providers(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        providers = names_of(request["capacityProviders"])
        strategy = strategy_items(request["defaultCapacityProviderStrategy"], providers)

        def write(tx: Transaction) -> tuple[Cluster, bool]:
            cluster = resolve.cluster(tx, ctx.scope, request["cluster"])
            for name in cluster.capacity_providers:
                if name not in providers and _in_use(tx, cluster, name):
                    raise AwsError(
                        "ResourceInUseException", "The specified capacity provider is in use and cannot be removed."
                    )
            changed = associate(tx, ctx.scope, cluster, providers)
            return tx.put(CLUSTERS, replace(cluster, capacity_providers=providers, default_strategy=strategy)), changed

        cluster, changed = await self._store.update(write)
        shape = present_cluster.cluster(self._store, cluster, ("SETTINGS", "ATTACHMENTS"))
        if changed and shape.get("attachmentsStatus"):
            # Done already; AWS says so in the answer to the next DescribeClusters.
            shape["attachmentsStatus"] = "UPDATE_IN_PROGRESS"
        return {"cluster": shape}


def names_of(identifiers: list[str] | None) -> tuple[str, ...]:
    """The providers of a cluster by name, each once. Raises InvalidParameterException when there are too many."""
    names = tuple(dict.fromkeys(provider_name(one) for one in identifiers or ()))
    if len(names) > MOST_ON_CLUSTER:
        raise AwsError(
            "InvalidParameterException", f"A cluster can have a maximum of {MOST_ON_CLUSTER} capacity providers."
        )
    return names


def associate(tx: Transaction, scope: Scope, cluster: Cluster, providers: tuple[str, ...]) -> bool:
    """Makes `providers` those of the cluster; did any of an Auto Scaling group come or go? Raises
    InvalidParameterException for one that does not exist."""
    changed = False
    for name in dict.fromkeys((*cluster.capacity_providers, *providers)):
        if name in FARGATE_PROVIDERS:
            continue
        record = tx.get(CAPACITY_PROVIDERS, scope.arn("ecs", f"capacity-provider/{name}"))
        if record is None:
            raise AwsError("InvalidParameterException", UNKNOWN)
        others = tuple(arn for arn in record.clusters if arn != cluster.arn)
        if name in providers and cluster.arn not in record.clusters:
            tx.put(CAPACITY_PROVIDERS, replace(record, clusters=(*record.clusters, cluster.arn)))
            changed = True
        elif name not in providers:
            tx.put(CAPACITY_PROVIDERS, replace(record, clusters=others))
            changed = True
    return changed


def managed_scaling(current: ManagedScaling, asked: dict[str, Any] | None) -> ManagedScaling:
    """`current` with what was asked for. Raises ClientException."""
    if asked is None:
        return current
    given = {name: value for name, value in asked.items() if value is not None}
    if "status" not in given and current == ManagedScaling():
        given["status"] = "ENABLED"
    changed = msgspec.convert({**msgspec.to_builtins(current), **given}, ManagedScaling)
    if not 1 <= changed.target_capacity <= 100:
        raise _refuse("The target capacity value is invalid. Specify a value from 1 to 100 and try again.")
    least, most = changed.minimum_scaling_step_size, changed.maximum_scaling_step_size
    if not 1 <= least <= most <= MOST_STEP:
        raise _refuse(
            "The minimum or maximum scaling step size value is invalid. Specify values from 1 to 10000, the minimum "
            "not greater than the maximum, and try again."
        )
    if not 0 <= changed.instance_warmup_period <= MOST_WARMUP:
        raise _refuse("The instance warmup period value is invalid. Specify a value from 0 to 10000 and try again.")
    return changed


def check_protection(record: CapacityProvider, group: HostGroup | None) -> None:
    if record.managed_termination_protection != "ENABLED":
        return
    if not record.is_managed:
        raise _refuse(NEEDS_SCALING)
    if group is None or not group.protects_new or not all(one.protected for one in group.instances):
        raise _refuse(NEEDS_PROTECTION)


def _find(view: View, scope: Scope, identifier: str) -> CapacityProvider:
    name = provider_name(identifier)
    if name in FARGATE_PROVIDERS:
        raise _refuse(f"The capacity provider {name} is reserved. It cannot be updated or deleted.")
    record = view.get(CAPACITY_PROVIDERS, scope.arn("ecs", f"capacity-provider/{name}"))
    if record is None:
        raise _refuse(UNKNOWN)
    return record


def _in_use(tx: Transaction, cluster: Cluster, provider: str) -> bool:
    """By a task that should run, or by a deployment of a service."""
    if any(task.capacity_provider == provider for task in tx.find(TASKS, "cluster", (cluster.arn, "RUNNING"))):
        return True
    services = [s for status in ("ACTIVE", "DRAINING") for s in tx.find(SERVICES, "cluster", (cluster.arn, status))]
    revisions = (tx.get(REVISIONS, d.revision_arn) for service in services for d in service.deployments)
    return any(item.capacity_provider == provider for r in revisions if r is not None for item in r.strategy)


def shape_of(record: CapacityProvider, *, tags: bool = False) -> dict[str, Any]:
    return {
        "capacityProviderArn": record.arn,
        "name": record.name,
        "status": "ACTIVE",
        "type": "EC2_AUTOSCALING",
        "autoScalingGroupProvider": {
            "autoScalingGroupArn": record.group_arn,
            "managedScaling": msgspec.to_builtins(record.managed_scaling),
            "managedTerminationProtection": record.managed_termination_protection,
            "managedDraining": record.managed_draining,
        },
        "updateStatus": record.update_status,
        "tags": to_list(record.tags) if tags else [],
    }
