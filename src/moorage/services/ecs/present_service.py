"""Services → API shapes (semantics ecs-services §1, §3.3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from moorage.domain.service import (
    Canary,
    CircuitBreaker,
    Deployment,
    DeploymentConfiguration,
    Linear,
    Revision,
    Service,
    ServiceEvent,
)
from moorage.domain.task import Task
from moorage.services.ecs.express_present import managed_by
from moorage.services.ecs.present_revision import PENDING, awsvpc, launched_on
from moorage.services.ecs.present_task_sets import task_sets
from moorage.services.ecs.tags import to_list
from moorage.store.api import View
from moorage.store.tables.ecs import REVISIONS, SERVICE_EVENTS, TASKS

Shape = dict[str, Any]
MOST_EVENTS = 100


def service(view: View, record: Service, *, tags: bool = False) -> Shape:
    revision = view.get(REVISIONS, record.revision_arn) or _without_task_sets(record)
    living = view.find(TASKS, "service", record.arn)
    newest = sorted(view.find(SERVICE_EVENTS, "service", record.arn), key=lambda e: -e.sequence)[:MOST_EVENTS]
    shape: Shape = {
        "serviceArn": record.arn,
        "serviceName": record.name,
        "clusterArn": record.cluster_arn,
        "loadBalancers": msgspec.to_builtins(revision.load_balancers),
        "serviceRegistries": list(revision.service_registries),
        "status": record.status,
        "desiredCount": record.desired_count,
        "runningCount": sum(1 for t in living if t.last_status == "RUNNING"),
        "pendingCount": sum(1 for t in living if t.last_status in PENDING),
        "deploymentConfiguration": deployment_configuration(record.deployment_configuration),
        "deployments": [_deployment(view, record, d, living) for d in record.deployments],
        "events": [event(e) for e in newest],
        "createdAt": record.created_at,
        "createdBy": record.created_by,
        "placementConstraints": list(record.placement_constraints),
        "placementStrategy": list(record.placement_strategy),
        "schedulingStrategy": record.scheduling_strategy,
        "deploymentController": {"type": record.controller},
        "enableECSManagedTags": record.managed_tags,
        "propagateTags": record.propagate_tags,
        "enableExecuteCommand": record.enable_execute_command,
        "availabilityZoneRebalancing": record.az_rebalancing,
        "resourceManagementType": managed_by(view, record.arn),
    }
    shape |= launched_on(revision)
    if revision.task_definition_arn:
        shape["taskDefinition"] = revision.task_definition_arn
    if record.controller != "ECS":
        shape["taskSets"] = task_sets(view, record, tags=tags)
    if revision.network is not None:
        shape["networkConfiguration"] = {"awsvpcConfiguration": awsvpc(revision)}
    if record.role_arn is not None:
        shape["roleArn"] = record.role_arn
    if record.health_check_grace_period is not None:
        shape["healthCheckGracePeriodSeconds"] = record.health_check_grace_period
    elif revision.load_balancers:
        shape["healthCheckGracePeriodSeconds"] = 0
    if record.deployments:
        shape["currentServiceDeployment"] = record.deployments[0].service_deployment_arn
        shape["currentServiceRevisions"] = [
            {"arn": d.revision_arn} | revision_counts(record, (d,), living) for d in record.deployments
        ]
    if tags:
        shape["tags"] = to_list(record.tags)
    return shape


def _without_task_sets(record: Service) -> Revision:
    """What a service shows of the controller EXTERNAL that has no PRIMARY task set (yet)."""
    assert record.controller != "ECS", "a service keeps the revision it was made of"
    return Revision("", record.arn, record.cluster_arn, "", record.created_at, "", launch_type="EC2")


def event(record: ServiceEvent) -> Shape:
    return {"id": record.uuid, "createdAt": record.created_at, "message": record.message}


def deployment_configuration(configuration: DeploymentConfiguration) -> Shape:
    shape: Shape = {
        "deploymentCircuitBreaker": _circuit_breaker(configuration.circuit_breaker),
        "maximumPercent": configuration.maximum_percent,
        "minimumHealthyPercent": configuration.minimum_healthy_percent,
        "strategy": configuration.strategy,
        "bakeTimeInMinutes": configuration.bake_time_minutes or 0,
    }
    # Without a configuration of its own, a strategy shows the one that it works with.
    linear = configuration.linear or (Linear() if configuration.strategy == "LINEAR" else None)
    canary = configuration.canary or (Canary() if configuration.strategy == "CANARY" else None)
    if linear is not None:
        shape["linearConfiguration"] = msgspec.to_builtins(linear)
    if canary is not None:
        shape["canaryConfiguration"] = msgspec.to_builtins(canary)
    if configuration.hooks:
        shape["lifecycleHooks"] = [
            {"targetType": hook.target_type} | msgspec.to_builtins(hook) for hook in configuration.hooks
        ]
    if configuration.alarms is not None:
        shape["alarms"] = configuration.alarms
    if configuration.early_success is not None:
        criteria = msgspec.to_builtins(configuration.early_success)
        shape["earlySuccessCriteria"] = {name: value for name, value in criteria.items() if value is not None}
    return shape


def _circuit_breaker(breaker: CircuitBreaker) -> Shape:
    optional = {
        "thresholdConfiguration": breaker.threshold_configuration,
        "resetOnHealthyTask": breaker.reset_on_healthy_task,
    }
    return {"enable": breaker.enable, "rollback": breaker.rollback} | {
        name: value for name, value in optional.items() if value is not None
    }


def requested(record: Service, deployment: Deployment, staying: int) -> int:
    """Tasks that a deployment should have (§3.3, §5.2). PRIMARY: as many as are desired. An older one: those of its tasks
    that nobody has stopped yet (`staying`). While traffic shifts, blue keeps all of its own, and green has none before
    SCALE_UP."""
    shift = record.shift
    if shift is None or shift.stage == "CLEAN_UP":
        return record.desired_count if deployment.status == "PRIMARY" else staying
    if deployment.id == shift.blue:
        return record.desired_count
    if deployment.id == shift.green:
        return record.desired_count if shift.stage not in ("RECONCILE_SERVICE", "PRE_SCALE_UP") else 0
    return staying


def revision_counts(record: Service, deployments: Sequence[Deployment], living: Iterable[Task]) -> Shape:
    """What a summary of a service revision counts: the tasks of these deployments, all of the same revision. `living`:
    the service's tasks that are not STOPPED."""
    ids = {d.id for d in deployments}
    mine = [task for task in living if task.deployment_id in ids]
    staying = Counter(task.deployment_id for task in mine if task.desired_status == "RUNNING")
    return {
        "requestedTaskCount": max((requested(record, d, staying[d.id]) for d in deployments), default=0),
        "runningTaskCount": sum(1 for task in mine if task.last_status == "RUNNING"),
        "pendingTaskCount": sum(1 for task in mine if task.last_status in PENDING),
    }


def _deployment(view: View, record: Service, deployment: Deployment, living: Iterable[Task]) -> Shape:
    revision = view.get(REVISIONS, deployment.revision_arn)
    assert revision is not None
    counts = revision_counts(record, (deployment,), living)
    shape: Shape = {
        "id": deployment.id,
        "status": deployment.status,
        "taskDefinition": revision.task_definition_arn,
        "desiredCount": counts["requestedTaskCount"],
        "pendingCount": counts["pendingTaskCount"],
        "runningCount": counts["runningTaskCount"],
        "failedTasks": deployment.failed_tasks,
        "createdAt": deployment.created_at,
        "updatedAt": deployment.updated_at,
        "rolloutState": deployment.rollout_state,
        "rolloutStateReason": deployment.rollout_reason,
    }
    shape |= launched_on(revision, resolved=True)
    if revision.network is not None:
        shape["networkConfiguration"] = {"awsvpcConfiguration": awsvpc(revision)}
    if revision.volume_configurations:
        shape["volumeConfigurations"] = list(revision.volume_configurations)
    return shape
