"""Express services → API shapes (semantics ecs-services §14)."""

from __future__ import annotations

from typing import Any

import msgspec

from moorage.decide import express as naming
from moorage.domain.express import ExpressConfiguration, ExpressService
from moorage.services.ecs.tags import to_list
from moorage.store.api import View
from moorage.store.tables.ecs import EXPRESS_SERVICES, REVISIONS, SERVICES

Shape = dict[str, Any]


def express_service(view: View, record: ExpressService, port: int, *, tags: bool = False) -> Shape:
    """`port`: the one of this machine that answers HTTPS."""
    service = view.get(SERVICES, record.arn)
    living = [d.revision_arn for d in service.deployments] if service is not None and record.applied else []
    configurations = [
        _configuration(view, record, record.revisions[arn], port, revision=arn)
        for arn in dict.fromkeys(living)
        if arn in record.revisions
    ]
    shape = _common(record) | {
        "infrastructureRoleArn": record.infrastructure_role_arn,
        "activeConfigurations": configurations or [_configuration(view, record, record.wanted, port)],
    }
    if service is not None and service.deployments and record.applied:
        shape["currentDeployment"] = service.deployments[0].service_deployment_arn
    if tags:
        held = service.tags if service is not None and record.applied else record.tags
        shape["tags"] = to_list({key: value for key, value in held.items() if key != naming.MANAGED[0]})
    return shape


def updated_service(view: View, record: ExpressService, port: int) -> Shape:
    """What UpdateExpressGatewayService answers."""
    service = view.get(SERVICES, record.arn)
    revision = service.revision_arn if service is not None and record.applied == record.generation else None
    return _common(record) | {
        "targetConfiguration": _configuration(view, record, record.wanted, port, revision=revision)
    }


def _common(record: ExpressService) -> Shape:
    status: dict[str, str] = {"statusCode": record.status}
    if record.problem is not None:
        status["statusReason"] = record.problem
    return {
        "serviceArn": record.arn,
        "serviceName": record.name,
        "cluster": naming.cluster_name(record),
        "status": status,
        "createdAt": record.created_at,
        "updatedAt": record.updated_at,
    }


def _configuration(
    view: View, record: ExpressService, wanted: ExpressConfiguration, port: int, *, revision: str | None = None
) -> Shape:
    made = view.get(REVISIONS, revision) if revision is not None else None
    groups = list(wanted.security_groups) or [record.made.service_security_group or ""]
    definition = made.task_definition_arn if made is not None else wanted.task_definition_arn
    optional = {
        "serviceRevisionArn": revision,
        "executionRoleArn": wanted.execution_role_arn,
        "taskRoleArn": wanted.task_role_arn,
        "taskDefinitionArn": definition,
        "createdAt": made.created_at if made is not None else None,
    }
    shape: Shape = {name: value for name, value in optional.items() if value is not None}
    if wanted.container is not None:
        logs = {"logGroup": record.log_group, "logStreamPrefix": "ecs"}
        container = {"containerPort": wanted.container_port, "awsLogsConfiguration": logs}
        shape |= {"primaryContainer": container | msgspec.to_builtins(wanted.container)}
    return shape | {
        "cpu": wanted.cpu,
        "memory": wanted.memory,
        "cpuArchitecture": wanted.cpu_architecture,
        "networkConfiguration": {
            "subnets": list(wanted.subnets),
            "securityGroups": [group for group in groups if group],
        },
        "healthCheckPath": wanted.health_check_path,
        "scalingTarget": msgspec.to_builtins(wanted.scaling),
        "ingressPaths": [{"accessType": record.access_type, "endpoint": endpoint(record, port)}],
    }


def managed_by(view: View, service_arn: str) -> str:
    """`resourceManagementType`: ECS for Express services, else CUSTOMER."""
    return "CUSTOMER" if view.get(EXPRESS_SERVICES, service_arn) is None else "ECS"


def endpoint(record: ExpressService, port: int) -> str:
    return f"https://{record.host}" + ("" if port == naming.HTTPS_PORT else f":{port}")


def managed_resources(view: View, service_arn: str, revision_arn: str, port: int = naming.HTTPS_PORT) -> Shape | None:
    """`ecsManagedResources` of a service revision; None when the service is not an Express service."""
    record = view.get(EXPRESS_SERVICES, service_arn)
    if record is None:
        return None
    made, wanted = record.made, record.revisions.get(revision_arn, record.wanted)
    state = {"ACTIVE": "ACTIVE", "DRAINING": "DEPROVISIONING", "INACTIVE": "DELETED"}[record.status]

    def one(arn: str | None, **members: Any) -> Shape:
        status = "PROVISIONING" if arn is None and record.status == "ACTIVE" else state
        return ({"arn": arn} if arn else {}) | {"status": status, "updatedAt": record.updated_at, **members}

    def group_arn(group: str | None) -> str | None:
        return f"arn:aws:ec2:{record.region}:{record.account}:security-group/{group}" if group else None

    own = group_arn(made.load_balancer_security_group)
    scaling = wanted.scaling
    ingress: Shape = {
        "accessType": record.access_type,
        "endpoint": endpoint(record, port),
        "loadBalancer": one(
            made.load_balancer,
            scheme="internet-facing" if record.access_type == "PUBLIC" else "internal",
            subnetIds=list(wanted.subnets),
            securityGroupIds=[made.load_balancer_security_group] if made.load_balancer_security_group else [],
        ),
        "loadBalancerSecurityGroups": [one(own)],
        "certificate": one(made.certificate, domainName=record.host),
        "listener": one(made.listener),
        "rule": one(made.rule),
        "targetGroups": [
            one(
                arn,
                healthCheckPath=wanted.health_check_path,
                healthCheckPort=wanted.container_port,
                port=wanted.container_port,
            )
            for arn in made.target_groups
        ],
    }
    group = group_arn(made.service_security_group)
    return {
        "ingressPaths": [ingress],
        "autoScaling": {
            "scalableTarget": one(
                f"service/{naming.cluster_name(record)}/{record.name}" if record.applied else None,
                minCapacity=scaling.min_task_count,
                maxCapacity=scaling.max_task_count,
            ),
            "applicationAutoScalingPolicies": [
                one(
                    None if not record.applied else f"{record.name}-{record.short}",
                    policyType="TargetTrackingScaling",
                    targetValue=float(scaling.auto_scaling_target_value),
                    metric=scaling.auto_scaling_metric,
                )
            ],
        },
        "metricAlarms": [],
        "serviceSecurityGroups": [one(group)] if not wanted.security_groups else [],
        "logGroups": [
            one(
                f"arn:aws:logs:{record.region}:{record.account}:log-group:{made.log_group}:*",
                logGroupName=made.log_group,
            )
        ]
        if made.log_group
        else [],
    }
