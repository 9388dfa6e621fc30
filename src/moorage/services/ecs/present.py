"""Records → API shapes: task definitions, services and what they deploy. Absent stays absent; lists that AWS always sends
are always there. Tasks, clusters, instances and task sets have modules of their own (`present_…`).

Source: semantics ecs-task-definitions §3; ecs-services §1, §3.3.
"""

from __future__ import annotations

from typing import Any

import msgspec

from moorage.decide.rollout.circuit_breaker import threshold
from moorage.decide.rollout.hooks import timeout_action
from moorage.domain.service import ENDED, Deployment, HookRun, Revision, Service, ServiceDeployment, ServiceEvent
from moorage.domain.task_definition import TaskDefinition
from moorage.services.ecs.express_present import managed_by, managed_resources
from moorage.services.ecs.present_revision import PENDING, awsvpc, launched_on
from moorage.services.ecs.present_task_sets import task_sets
from moorage.services.ecs.tags import to_list
from moorage.store.api import View
from moorage.store.tables.ecs import (
    REVISIONS,
    SERVICE_EVENTS,
    SERVICES,
    TASK_DEFINITIONS,
    TASKS,
)

Shape = dict[str, Any]


def task_definition(record: TaskDefinition) -> Shape:
    shape: Shape = {"taskDefinitionArn": record.arn}
    shape |= msgspec.to_builtins(record.document)
    shape |= {
        "revision": record.revision,
        "volumes": shape.get("volumes", []),
        "status": record.status,
        "requiresAttributes": [{"name": name} for name in record.requires_attributes],
        "placementConstraints": shape.get("placementConstraints", []),
        "compatibilities": list(record.compatibilities),
        "registeredAt": record.registered_at,
        "registeredBy": record.registered_by,
    }
    if record.deregistered_at is not None:
        shape["deregisteredAt"] = record.deregistered_at
    if record.delete_requested_at is not None:
        shape["deleteRequestedAt"] = record.delete_requested_at
    return shape


# --- services --------------------------------------------------------------------------------------------------------
def service(view: View, record: Service, *, tags: bool = False, events: bool = True) -> Shape:
    revision = view.get(REVISIONS, record.revision_arn) or _without_task_sets(record)
    living = view.find(TASKS, "service", record.arn)
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
        "deploymentConfiguration": _deployment_configuration(record),
        "deployments": [_deployment(view, record, d, living) for d in record.deployments],
        "events": [],
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
    if events:
        newest = sorted(view.find(SERVICE_EVENTS, "service", record.arn), key=lambda e: -e.sequence)[:100]
        shape["events"] = [event(e) for e in newest]
    if record.role_arn is not None:
        shape["roleArn"] = record.role_arn
    if record.health_check_grace_period is not None:
        shape["healthCheckGracePeriodSeconds"] = record.health_check_grace_period
    elif revision.load_balancers:
        shape["healthCheckGracePeriodSeconds"] = 0
    if record.deployments:
        shape["currentServiceDeployment"] = record.deployments[0].service_deployment_arn
        shape["currentServiceRevisions"] = [
            {
                "arn": d.revision_arn,
                "requestedTaskCount": _requested(record, d),
                "runningTaskCount": sum(1 for t in living if t.deployment_id == d.id and t.last_status == "RUNNING"),
                "pendingTaskCount": sum(1 for t in living if t.deployment_id == d.id and t.last_status in PENDING),
            }
            for d in record.deployments
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


def _deployment_configuration(record: Service) -> Shape:
    configuration = record.deployment_configuration
    breaker: Shape = {
        "enable": configuration.circuit_breaker.enable,
        "rollback": configuration.circuit_breaker.rollback,
    }
    if configuration.circuit_breaker.threshold_configuration is not None:
        breaker["thresholdConfiguration"] = configuration.circuit_breaker.threshold_configuration
    if configuration.circuit_breaker.reset_on_healthy_task is not None:
        breaker["resetOnHealthyTask"] = configuration.circuit_breaker.reset_on_healthy_task
    shape: Shape = {
        "deploymentCircuitBreaker": breaker,
        "maximumPercent": configuration.maximum_percent,
        "minimumHealthyPercent": configuration.minimum_healthy_percent,
        "strategy": configuration.strategy,
        "bakeTimeInMinutes": configuration.bake_time_minutes or 0,
    }
    if configuration.linear is not None:
        shape["linearConfiguration"] = msgspec.to_builtins(configuration.linear)
    if configuration.canary is not None:
        shape["canaryConfiguration"] = msgspec.to_builtins(configuration.canary)
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


def _requested(record: Service, deployment: Deployment) -> int:
    """Tasks that a deployment should have: while traffic shifts, blue keeps all of its own (ecs-services §5.2)."""
    shift = record.shift
    if shift is None or shift.stage == "CLEAN_UP":
        return record.desired_count if deployment.status == "PRIMARY" else 0
    if deployment.id == shift.blue:
        return record.desired_count
    scaled = shift.stage not in ("RECONCILE_SERVICE", "PRE_SCALE_UP")
    return record.desired_count if deployment.id == shift.green and scaled else 0


def _deployment(view: View, record: Service, deployment: Deployment, living: Any) -> Shape:
    revision = view.get(REVISIONS, deployment.revision_arn)
    assert revision is not None
    mine = [t for t in living if t.deployment_id == deployment.id]
    shape: Shape = {
        "id": deployment.id,
        "status": deployment.status,
        "taskDefinition": revision.task_definition_arn,
        "desiredCount": _requested(record, deployment),
        "pendingCount": sum(1 for t in mine if t.last_status in PENDING),
        "runningCount": sum(1 for t in mine if t.last_status == "RUNNING"),
        "failedTasks": deployment.failed_tasks,
        "createdAt": deployment.created_at,
        "updatedAt": deployment.updated_at,
        "rolloutState": deployment.rollout_state,
        "rolloutStateReason": deployment.rollout_reason,
    }
    shape |= launched_on(revision)
    if revision.platform_version is not None:
        shape["platformVersion"] = "1.4.0" if revision.platform_version == "LATEST" else revision.platform_version
    if revision.network is not None:
        shape["networkConfiguration"] = {"awsvpcConfiguration": awsvpc(revision)}
    if revision.volume_configurations:
        shape["volumeConfigurations"] = list(revision.volume_configurations)
    return shape


# --- service deployments and revisions -------------------------------------------------------------------------------
def service_deployment(view: View, record: ServiceDeployment, *, brief: bool = False) -> Shape:
    optional = {
        "startedAt": record.started_at,
        "finishedAt": record.finished_at,
        "stoppedAt": record.stopped_at,
        "statusReason": record.status_reason,
    }
    shape: Shape = {
        "serviceDeploymentArn": record.arn,
        "serviceArn": record.service_arn,
        "clusterArn": record.cluster_arn,
        "createdAt": record.created_at,
        "status": record.status,
    } | {name: value for name, value in optional.items() if value is not None}
    if brief:
        shape.pop("stoppedAt", None)
        return shape | {"targetServiceRevisionArn": record.target_revision}
    shape["updatedAt"] = record.updated_at or record.created_at
    shape["sourceServiceRevisions"] = [_revision_summary(view, record, arn) for arn in record.source_revisions]
    shape["targetServiceRevision"] = _revision_summary(view, record, record.target_revision)
    service = view.get(SERVICES, record.service_arn)
    if service is not None:
        shape["deploymentConfiguration"] = _deployment_configuration(service)
    if record.lifecycle_stage is not None:
        shape["lifecycleStage"] = record.lifecycle_stage
    if record.hooks:
        shape["lifecycleHookDetails"] = [_hook_detail(run) for run in record.hooks]
    shape["deploymentCircuitBreaker"] = _breaker(record, service)
    if record.alarm_names:
        shape["alarms"] = {
            "status": record.alarms_status,
            "alarmNames": list(record.alarm_names),
            "triggeredAlarmNames": list(record.triggered_alarms),
        }
    if record.rollback_reason is not None:
        shape["rollback"] = {
            "reason": record.rollback_reason,
            "startedAt": record.rollback_started_at,
            "serviceRevisionArn": record.rollback_revision,
        }
    return shape


def _breaker(record: ServiceDeployment, service: Service | None) -> Shape:
    """While it runs, what its deployment has counted and the threshold of the latest desired count (ecs-services §3.6)."""
    failures, limit = record.failure_count, record.threshold
    if service is not None and service.deployments and record.status not in ENDED:
        primary = service.deployments[0]
        if primary.service_deployment_arn == record.arn and primary.rollback_of is None:
            failures = primary.failures
            limit = threshold(service.deployment_configuration.circuit_breaker, service.desired_count)
    return {"status": record.breaker_status, "failureCount": failures, "threshold": limit}


def _hook_detail(run: HookRun) -> Shape:
    shape: Shape = {"hookId": run.hook_id, "targetType": run.hook.target_type, "status": run.status}
    if run.hook.hook_target_arn is not None:
        shape["targetArn"] = run.hook.hook_target_arn
    if run.expires_at is not None:
        shape |= {"expiresAt": run.expires_at, "timeoutAction": timeout_action(run)}
    return shape


def _revision_summary(view: View, record: ServiceDeployment, arn: str) -> Shape:
    service = view.get(SERVICES, record.service_arn)
    deployments = [d for d in service.deployments if d.revision_arn == arn] if service is not None else []
    ids = {d.id for d in deployments}
    mine = [t for t in view.find(TASKS, "service", record.service_arn) if t.deployment_id in ids]
    shape: Shape = {
        "arn": arn,
        "requestedTaskCount": max((_requested(service, d) for d in deployments), default=0) if service else 0,
        "runningTaskCount": sum(1 for t in mine if t.last_status == "RUNNING"),
        "pendingTaskCount": sum(1 for t in mine if t.last_status in PENDING),
    }
    green = arn == record.target_revision
    for name, percent in (
        ("requestedTestTrafficWeight", record.test_percent),
        ("requestedProductionTrafficWeight", record.production_percent),
    ):
        if percent is not None:
            shape[name] = percent if green else 100.0 - percent
    return shape


def service_revision(view: View, record: Revision) -> Shape:
    definition = view.get(TASK_DEFINITIONS, record.task_definition_arn)
    images = []
    for c in definition.document.container_definitions if definition is not None else ():
        image: Shape = {"containerName": c.name, "image": c.image}
        if (c.name or "") in record.images:
            image["imageDigest"] = record.images[c.name or ""]
        images.append(image)
    shape: Shape = {
        "serviceRevisionArn": record.arn,
        "serviceArn": record.service_arn,
        "clusterArn": record.cluster_arn,
        "taskDefinition": record.task_definition_arn,
        "loadBalancers": msgspec.to_builtins(record.load_balancers),
        "serviceRegistries": list(record.service_registries),
        "containerImages": images,
        "guardDutyEnabled": False,
        "serviceConnectConfiguration": {"enabled": False},
        "createdAt": record.created_at,
    }
    if record.resolved:
        shape["resolvedConfiguration"] = {
            "loadBalancers": [
                {
                    "targetGroupArn": arn,
                    "productionListenerRule": (ref.advanced_configuration or {}).get("productionListenerRule", ""),
                }
                for ref, arn in zip(record.load_balancers, record.resolved, strict=True)
            ]
        }
    if record.network is not None:
        shape["networkConfiguration"] = {"awsvpcConfiguration": awsvpc(record)}
    if record.volume_configurations:
        shape["volumeConfigurations"] = list(record.volume_configurations)
    managed = managed_resources(view, record.service_arn, record.arn)
    if managed is not None:
        shape["ecsManagedResources"] = managed
    return shape | launched_on(record)
