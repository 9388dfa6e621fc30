"""Clusters → API shapes (semantics ecs-services §8; AWS ECS API reference, Cluster)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Any

from moorage.domain.cluster import Cluster
from moorage.services.ecs.present_revision import PENDING, strategy
from moorage.services.ecs.tags import to_list
from moorage.store.api import View
from moorage.store.tables.ecs import CAPACITY_PROVIDERS, CONTAINER_INSTANCES, REVISIONS, SERVICES, TASKS

Shape = dict[str, Any]
_KINDS = ("EC2", "Fargate", "External")


def cluster(view: View, record: Cluster, include: Collection[str] = ()) -> Shape:
    """`include` as in DescribeClusters: ATTACHMENTS, CONFIGURATIONS, SETTINGS, STATISTICS, TAGS."""

    def tasks(status: str) -> int:
        return len(view.find(TASKS, "cluster_status", (record.arn, status)))

    shape: Shape = {
        "clusterArn": record.arn,
        "clusterName": record.name,
        "status": record.status,
        "registeredContainerInstancesCount": sum(
            len(view.find(CONTAINER_INSTANCES, "cluster", (record.arn, status))) for status in ("ACTIVE", "DRAINING")
        ),
        "runningTasksCount": tasks("RUNNING"),
        "pendingTasksCount": sum(tasks(status) for status in PENDING),
        "activeServicesCount": len(view.find(SERVICES, "cluster", (record.arn, "ACTIVE"))),
        "statistics": _statistics(view, record) if "STATISTICS" in include else [],
        "tags": to_list(record.tags) if "TAGS" in include else [],
        "settings": [{"name": name, "value": value} for name, value in record.settings]
        if "SETTINGS" in include
        else [],
        "capacityProviders": list(record.capacity_providers),
        "defaultCapacityProviderStrategy": strategy(record.default_strategy),
    }
    if "CONFIGURATIONS" in include and record.configuration is not None:
        shape["configuration"] = record.configuration
    if "ATTACHMENTS" in include and (policies := _attachments(view, record)):
        shape |= {"attachments": policies, "attachmentsStatus": "UPDATE_COMPLETE"}
    if record.service_connect_namespace is not None:
        shape["serviceConnectDefaults"] = {"namespace": record.service_connect_namespace}
    return shape


def _statistics(view: View, record: Cluster) -> list[Shape]:
    """Tasks and services by what they run on."""
    counted = {
        "running{}TasksCount": _tasks(view, record, ("RUNNING",)),
        "pending{}TasksCount": _tasks(view, record, PENDING),
        "active{}ServiceCount": _services(view, record, "ACTIVE"),
        "draining{}ServiceCount": _services(view, record, "DRAINING"),
    }
    return [
        {"name": name.format(kind), "value": str(counts[kind.upper()])}
        for name, counts in counted.items()
        for kind in _KINDS
    ]


def _tasks(view: View, record: Cluster, statuses: Collection[str]) -> Counter[str]:
    return Counter(
        task.launch_type for status in statuses for task in view.find(TASKS, "cluster_status", (record.arn, status))
    )


def _services(view: View, record: Cluster, status: str) -> Counter[str]:
    """A service over a capacity provider strategy counts where its providers are."""
    counts: Counter[str] = Counter()
    for service in view.find(SERVICES, "cluster", (record.arn, status)):
        revision = view.get(REVISIONS, service.revision_arn)
        if revision is None:
            continue
        fargate = any(item.capacity_provider.startswith("FARGATE") for item in revision.strategy)
        counts["FARGATE" if fargate else "EC2" if revision.strategy else revision.launch_type or "EC2"] += 1
    return counts


def _attachments(view: View, record: Cluster) -> list[Shape]:
    """Scaling policies and draining hooks of the capacity providers of Auto Scaling groups (ecs-services §8)."""
    found = []
    for name in record.capacity_providers:
        provider = view.get(CAPACITY_PROVIDERS, record.arn.split(":cluster/")[0] + f":capacity-provider/{name}")
        if provider is None:
            continue
        kinds = [("as_policy", "scalingPolicyName", provider.policy)] if provider.is_managed else []
        if provider.managed_draining == "ENABLED":
            kinds.append(("managed_draining", "autoScalingLifecycleHookName", "ecs-managed-draining-termination-hook"))
        for kind, detail, value in kinds:
            details = [{"name": "capacityProviderName", "value": name}, {"name": detail, "value": value}]
            found.append(
                {"id": f"{provider.policy[-36:]}-{kind}", "type": kind, "status": "CREATED", "details": details}
            )
    return found
