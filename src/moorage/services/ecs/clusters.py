"""Cluster operations (semantics ecs-services §2.4, §8)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from moorage.domain.clock import Clock, Ids
from moorage.domain.cluster import Cluster
from moorage.domain.errors import AwsError
from moorage.services.base import Provider, RequestContext, operation
from moorage.services.ecs import present_cluster, resolve
from moorage.services.ecs.account_settings import effective
from moorage.services.ecs.capacity_providers import associate, names_of
from moorage.services.ecs.paging import page
from moorage.services.ecs.strategy import strategy_items
from moorage.services.ecs.tags import to_mapping
from moorage.store.api import StoreApi, Transaction
from moorage.store.tables.ecs import CLUSTERS, CONTAINER_INSTANCES, SERVICES, TASKS

_NAME = re.compile(r"[a-zA-Z0-9\-_]{1,255}")
MOST_DESCRIBED = 100
_CHANGED = ("CONFIGURATIONS", "SETTINGS", "TAGS")
"""What the answers of CreateCluster and UpdateCluster include."""
_SETTING_VALUES = ("enabled", "disabled", "enhanced")


class ClusterOperations(Provider):
    _store: StoreApi
    _clock: Clock
    _ids: Ids

    @operation("CreateCluster")
    async def create_cluster(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        name = request.get("clusterName") or resolve.DEFAULT_CLUSTER
        if not _NAME.fullmatch(name):
            raise AwsError(
                "InvalidParameterException", rf"ClusterName must match ^[a-zA-Z0-9\-_]{{1,255}}$, but was {name}"
            )
        providers = names_of(request.get("capacityProviders"))
        _check_configuration(request.get("configuration"))
        insights = effective(self._store, ctx.account, ctx.region, ctx.principal_arn)["containerInsights"]
        cluster = Cluster(
            arn=resolve.cluster_arn(ctx.scope, name),
            account=ctx.account,
            region=ctx.region,
            name=name,
            status="ACTIVE",
            created_at=self._clock.now(),
            settings=_settings((("containerInsights", insights),), request.get("settings")),
            configuration=request.get("configuration"),
            capacity_providers=providers,
            default_strategy=strategy_items(request.get("defaultCapacityProviderStrategy"), providers),
            service_connect_namespace=(request.get("serviceConnectDefaults") or {}).get("namespace"),
            tags=to_mapping(request.get("tags")),
        )

        def write(tx: Transaction) -> Cluster:
            existing = tx.get(CLUSTERS, cluster.arn)
            # Creating a cluster that exists answers with it, whatever else was asked for.
            if existing is not None and existing.status == "ACTIVE":
                return existing
            associate(tx, ctx.scope, replace(cluster, capacity_providers=()), providers)
            return tx.put(CLUSTERS, cluster)

        created = await self._store.update(write)
        return {"cluster": present_cluster.cluster(self._store, created, _CHANGED)}

    @operation("DescribeClusters")
    async def describe_clusters(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        include = request.get("include") or ()
        found, failures = [], []
        if len(request.get("clusters") or ()) > MOST_DESCRIBED:
            raise AwsError("InvalidParameterException", f"Clusters can have at most {MOST_DESCRIBED} items.")
        for identifier in request.get("clusters") or [resolve.DEFAULT_CLUSTER]:
            arn = resolve.cluster_arn(ctx.scope, identifier)
            cluster = self._store.get(CLUSTERS, arn)
            if cluster is None or (cluster.account, cluster.region) != (ctx.account, ctx.region):
                failures.append({"arn": arn, "reason": "MISSING"})
            else:
                found.append(present_cluster.cluster(self._store, cluster, include))
        return {"clusters": found, "failures": failures}

    @operation("ListClusters")
    async def list_clusters(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        arns = sorted(
            c.arn for c in self._store.find(CLUSTERS, "scope", (ctx.account, ctx.region)) if c.status == "ACTIVE"
        )
        chosen, token = page(arns, request)
        return {"clusterArns": chosen, "nextToken": token}

    @operation("UpdateCluster")
    async def update_cluster(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        _check_configuration(request.get("configuration"))

        def change(cluster: Cluster) -> Cluster:
            changed = replace(cluster, settings=_settings(cluster.settings, request.get("settings")))
            if request.get("configuration") is not None:
                changed = replace(changed, configuration=request["configuration"])
            if request.get("serviceConnectDefaults") is not None:
                changed = replace(
                    changed, service_connect_namespace=request["serviceConnectDefaults"].get("namespace") or None
                )
            return changed

        return await self._change(ctx, request["cluster"], change)

    @operation("UpdateClusterSettings")
    async def update_cluster_settings(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        return await self._change(
            ctx, request["cluster"], lambda c: replace(c, settings=_settings(c.settings, request["settings"]))
        )

    @operation("DeleteCluster")
    async def delete_cluster(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        def write(tx: Transaction) -> Cluster:
            arn = resolve.cluster_arn(ctx.scope, request["cluster"])
            cluster = tx.get(CLUSTERS, arn)
            if cluster is None or (cluster.account, cluster.region) != (ctx.account, ctx.region):
                raise AwsError("ClusterNotFoundException", "Cluster not found.")
            if any(tx.find(SERVICES, "cluster", (arn, status)) for status in ("ACTIVE", "DRAINING")):
                raise AwsError(
                    "ClusterContainsServicesException", "The Cluster cannot be deleted while Services are active."
                )
            if tx.find(TASKS, "cluster", (arn, "RUNNING")):
                raise AwsError("ClusterContainsTasksException", "The Cluster cannot be deleted while Tasks are active.")
            if any(tx.find(CONTAINER_INSTANCES, "cluster", (arn, status)) for status in ("ACTIVE", "DRAINING")):
                raise AwsError(
                    "ClusterContainsContainerInstancesException",
                    "The Cluster cannot be deleted while Container Instances are active or draining.",
                )
            associate(tx, ctx.scope, cluster, ())
            return tx.put(CLUSTERS, replace(cluster, status="INACTIVE"))

        cluster = await self._store.update(write)
        return {"cluster": present_cluster.cluster(self._store, cluster)}

    async def _change(
        self, ctx: RequestContext, identifier: str, change: Callable[[Cluster], Cluster]
    ) -> dict[str, Any]:
        def write(tx: Transaction) -> Cluster:
            return tx.put(CLUSTERS, change(resolve.cluster(tx, ctx.scope, identifier)))

        cluster = await self._store.update(write)
        return {"cluster": present_cluster.cluster(self._store, cluster, _CHANGED)}


def _check_configuration(configuration: dict[str, Any] | None) -> None:
    execute = (configuration or {}).get("executeCommandConfiguration") or {}
    log = execute.get("logConfiguration") or {}
    if execute.get("logging") == "OVERRIDE" and not (log.get("cloudWatchLogGroupName") or log.get("s3BucketName")):
        raise AwsError(
            "InvalidParameterException",
            "A CloudWatch log group name or S3 bucket name must be specified when overriding the default log "
            "configuration.",
        )


def _settings(current: tuple[tuple[str, str], ...], changes: Any) -> tuple[tuple[str, str], ...]:
    settings = dict(current)
    for change in changes or ():
        name, value = change.get("name"), change.get("value")
        if name != "containerInsights":
            raise AwsError("InvalidParameterException", f"Cluster setting name '{name}' is invalid.")
        if value not in _SETTING_VALUES:
            raise AwsError("InvalidParameterException", f"Cluster setting value '{value}' is invalid.")
        settings[name] = value
    return tuple(settings.items())
