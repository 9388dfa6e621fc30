"""From what a caller wrote (a short name, an ARN, nothing) to the record that is meant (semantics ecs-tasks §1)."""

from __future__ import annotations

from moorage.domain.cluster import Cluster
from moorage.domain.errors import AwsError
from moorage.domain.scope import Scope
from moorage.domain.service import Service
from moorage.domain.task import Task
from moorage.domain.task_definition import TaskDefinition
from moorage.store.api import View
from moorage.store.tables.ecs import CLUSTERS, SERVICES, TASK_DEFINITIONS, TASKS

DEFAULT_CLUSTER = "default"


def cluster_arn(scope: Scope, identifier: str | None) -> str:
    name = identifier or DEFAULT_CLUSTER
    return name if name.startswith("arn:") else scope.arn("ecs", f"cluster/{name}")


def cluster(view: View, scope: Scope, identifier: str | None) -> Cluster:
    """The ACTIVE cluster. Raises ClusterNotFoundException."""
    found = view.get(CLUSTERS, cluster_arn(scope, identifier))
    if found is None or (found.account, found.region) != (scope.account, scope.region):
        raise AwsError("ClusterNotFoundException", "Cluster not found.")
    if found.status != "ACTIVE":
        raise AwsError("ClusterNotFoundException", "The referenced cluster was inactive.")
    return found


def cluster_name(arn: str) -> str:
    return arn.rsplit("/", 1)[-1]


def task_arn(scope: Scope, cluster: Cluster, identifier: str) -> str:
    """The ARN of a task of this cluster; the task may not exist."""
    if not identifier.startswith("arn:"):
        if len(identifier) not in (32, 36):
            raise AwsError("InvalidParameterException", "taskId length should be one of [32,36]")
        return scope.arn("ecs", f"task/{cluster.name}/{identifier}")
    parts = identifier.split("/")
    if len(parts) == 3 and parts[1] != cluster.name:
        raise AwsError("InvalidParameterException", f"Identifier is for {parts[1]}. Your cluster is {cluster.name}")
    if len(parts) == 2:
        return scope.arn("ecs", f"task/{cluster.name}/{parts[1]}")
    return identifier


def task(view: View, scope: Scope, cluster: Cluster, identifier: str) -> Task | None:
    found = view.get(TASKS, task_arn(scope, cluster, identifier))
    return found if found is not None and found.cluster_arn == cluster.arn else None


def service_arn(scope: Scope, cluster: Cluster, identifier: str) -> str:
    if not identifier.startswith("arn:"):
        return scope.arn("ecs", f"service/{cluster.name}/{identifier}")
    parts = identifier.split("/")
    if len(parts) == 2:
        return scope.arn("ecs", f"service/{cluster.name}/{parts[1]}")
    return identifier


def service(view: View, scope: Scope, cluster: Cluster, identifier: str) -> Service | None:
    found = view.get(SERVICES, service_arn(scope, cluster, identifier))
    return found if found is not None and found.cluster_arn == cluster.arn else None


def task_definition(view: View, scope: Scope, identifier: str) -> TaskDefinition | None:
    """By ARN, by family:revision, or the highest ACTIVE revision of a family (ecs-task-definitions §1)."""
    name = identifier
    if identifier.startswith("arn:"):
        ours = scope.arn("ecs", "task-definition/")
        if not identifier.startswith(ours):
            return None
        name = identifier.removeprefix(ours)
    family, separator, revision = name.rpartition(":")
    if separator:
        return view.get(TASK_DEFINITIONS, scope.arn("ecs", f"task-definition/{family}:{revision}"))
    active = [
        d for d in view.find(TASK_DEFINITIONS, "family", (scope.account, scope.region, name)) if d.status == "ACTIVE"
    ]
    return max(active, key=lambda d: d.revision, default=None)
