"""Service deployments and service revisions → API shapes (semantics ecs-services §5.6)."""

from __future__ import annotations

from typing import Any

import msgspec

from moorage.decide.rollout.circuit_breaker import threshold
from moorage.decide.rollout.hooks import timeout_action
from moorage.domain.service import ENDED, DeploymentConfiguration, HookRun, Revision, Service, ServiceDeployment
from moorage.services.ecs.express_present import managed_resources
from moorage.services.ecs.present_revision import awsvpc, launched_on
from moorage.services.ecs.present_service import deployment_configuration, revision_counts
from moorage.store.api import View
from moorage.store.tables.ecs import SERVICES, TASK_DEFINITIONS, TASKS

Shape = dict[str, Any]


def brief(record: ServiceDeployment) -> Shape:
    """One entry of ListServiceDeployments."""
    optional = {
        "startedAt": record.started_at,
        "finishedAt": record.finished_at,
        "statusReason": record.status_reason,
    }
    return {
        "serviceDeploymentArn": record.arn,
        "serviceArn": record.service_arn,
        "clusterArn": record.cluster_arn,
        "createdAt": record.created_at,
        "targetServiceRevisionArn": record.target_revision,
        "status": record.status,
    } | {name: value for name, value in optional.items() if value is not None}


def service_deployment(view: View, record: ServiceDeployment) -> Shape:
    service = view.get(SERVICES, record.service_arn)
    shape = brief(record)
    del shape["targetServiceRevisionArn"]
    shape |= {
        "updatedAt": record.updated_at or record.created_at,
        "sourceServiceRevisions": [_revision_summary(view, record, service, arn) for arn in record.source_revisions],
        "targetServiceRevision": _revision_summary(view, record, service, record.target_revision),
        "deploymentCircuitBreaker": _breaker(record, service),
        "alarms": _alarms(record),
    }
    if record.stopped_at is not None:
        shape["stoppedAt"] = record.stopped_at
    configuration = _configuration(record, service)
    if configuration is not None:
        shape["deploymentConfiguration"] = deployment_configuration(configuration)
    if record.lifecycle_stage is not None:
        shape["lifecycleStage"] = record.lifecycle_stage
    if record.hooks:
        shape["lifecycleHookDetails"] = [_hook_detail(run) for run in record.hooks]
    if record.rollback_reason is not None:
        shape["rollback"] = {
            "reason": record.rollback_reason,
            "startedAt": record.rollback_started_at,
            "serviceRevisionArn": record.rollback_revision,
        }
    return shape


def _configuration(record: ServiceDeployment, service: Service | None) -> DeploymentConfiguration | None:
    """What it was started with; a rolling deployment follows that of its service while it runs (§3.2)."""
    follows = record.strategy == "ROLLING" and record.status not in ENDED
    if service is not None and (follows or record.configuration is None):
        return service.deployment_configuration
    return record.configuration


def _alarms(record: ServiceDeployment) -> Shape:
    shape: Shape = {"status": record.alarms_status}
    if record.alarm_names:
        shape |= {"alarmNames": list(record.alarm_names), "triggeredAlarmNames": list(record.triggered_alarms)}
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


def _revision_summary(view: View, record: ServiceDeployment, service: Service | None, arn: str) -> Shape:
    shape: Shape = {"arn": arn, "requestedTaskCount": 0, "runningTaskCount": 0, "pendingTaskCount": 0}
    if service is not None:
        mine = [d for d in service.deployments if d.revision_arn == arn]
        shape |= revision_counts(service, mine, view.find(TASKS, "service", service.arn) if mine else ())
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
        "containerImages": images,
        "guardDutyEnabled": False,
        "serviceConnectConfiguration": {"enabled": False},
        "createdAt": record.created_at,
    }
    if record.load_balancers:
        shape["loadBalancers"] = msgspec.to_builtins(record.load_balancers)
    if record.service_registries:
        shape["serviceRegistries"] = list(record.service_registries)
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
    return shape | launched_on(record, resolved=True)
