"""What an Express service is made of, as the requests that make it (semantics ecs-services §14). Pure.

Every name follows from the record, so that a control plane which was killed between making a thing and writing down that
it exists finds it again instead of making a second one.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from moorage.domain.express import CONTAINER, ExpressService

Request = dict[str, Any]
MANAGED = ("AmazonECSManaged", "true")
"""The tag on everything that ECS made by itself."""
OWNER = "AmazonECSExpressService"
"""The tag by which the task definitions of a service are found again; its value is the service's ARN."""
SERVICES_PER_BALANCER = 25
PORT_NAME = "main"
CANARY = {"canaryPercent": 5.0, "canaryBakeTimeInMinutes": 3}
BAKE_MINUTES = 3
DEREGISTRATION_DELAY = "30"
HTTPS_PORT, HTTP_PORT = 443, 80
_METRICS = {
    "AVERAGE_CPU": "ECSServiceAverageCPUUtilization",
    "AVERAGE_MEMORY": "ECSServiceAverageMemoryUtilization",
    "REQUEST_COUNT_PER_TARGET": "ALBRequestCountPerTarget",
}


def balancer_name(account: str, region: str, vpc_id: str, access_type: str, number: int) -> str:
    """The load balancer that the Express services of one VPC and scheme share, 25 of them; `number` counts those."""
    seed = f"{account}/{region}/{vpc_id}/{access_type}/{number}"
    return f"ecs-express-gateway-alb-{hashlib.sha256(seed.encode()).hexdigest()[:8]}"


def host_name(token: str, region: str) -> str:
    """`<2 characters>-<32 hex>.ecs.<region>.localhost`: AWS's shape, under a name that leads to this machine."""
    digits = hashlib.sha256(token.encode()).digest()
    prefix = "".join("abcdefghijklmnopqrstuvwxyz"[digit % 26] for digit in digits[:2])
    return f"{prefix}-{token}.ecs.{region}.localhost"


def cluster_name(record: ExpressService) -> str:
    return record.cluster_arn.rsplit("/", 1)[-1]


def group_names(record: ExpressService) -> tuple[str, str]:
    return f"ecs-gateway-tg-{record.short}-1", f"ecs-gateway-tg-{record.short}-2"


def balancer_group_name(record: ExpressService) -> str:
    """The security group of the shared load balancer."""
    return f"{record.balancer_name}-sg"


def service_group_name(record: ExpressService) -> str:
    return f"ecs-express-gateway-{record.short}-sg"


def family(record: ExpressService) -> str:
    return f"{cluster_name(record)}-{record.name}"[:255]


def security_group(name: str, record: ExpressService, what: str) -> Request:
    """CreateSecurityGroup."""
    tags = [{"Key": MANAGED[0], "Value": MANAGED[1]}, {"Key": "Name", "Value": name}]
    return {
        "GroupName": name,
        "Description": f"Made by Amazon ECS Express Mode for {what}",
        "VpcId": record.vpc_id,
        "TagSpecifications": [{"ResourceType": "security-group", "Tags": tags}],
    }


def open_to_the_world(group: str) -> Request:
    """AuthorizeSecurityGroupIngress of the load balancer's group."""
    everyone = [{"CidrIp": "0.0.0.0/0"}]
    return {
        "GroupId": group,
        "IpPermissions": [
            {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": everyone}
            for port in (HTTPS_PORT, HTTP_PORT)
        ],
    }


def open_to_the_balancer(group: str, balancer_group: str) -> Request:
    """AuthorizeSecurityGroupIngress of the service's group: every port, since the container's may change."""
    pair = {"GroupId": balancer_group}
    return {
        "GroupId": group,
        "IpPermissions": [{"IpProtocol": "tcp", "FromPort": 0, "ToPort": 65535, "UserIdGroupPairs": [pair]}],
    }


def load_balancer(record: ExpressService, subnets: tuple[str, ...], group: str) -> Request:
    return {
        "Name": record.balancer_name,
        "Subnets": list(subnets),
        "SecurityGroups": [group],
        "Scheme": "internet-facing" if record.access_type == "PUBLIC" else "internal",
        "Type": "application",
        "Tags": _tags(),
    }


def https_listener(balancer: str, certificate: str) -> Request:
    nobody = {"ContentType": "text/plain", "StatusCode": "404", "MessageBody": "No Express service has this name."}
    return {
        "LoadBalancerArn": balancer,
        "Protocol": "HTTPS",
        "Port": HTTPS_PORT,
        "Certificates": [{"CertificateArn": certificate}],
        "DefaultActions": [{"Type": "fixed-response", "FixedResponseConfig": nobody}],
        "Tags": _tags(),
    }


def http_listener(balancer: str) -> Request:
    """Leads to HTTPS."""
    target = {"Protocol": "HTTPS", "Port": str(HTTPS_PORT), "StatusCode": "HTTP_301"}
    return {
        "LoadBalancerArn": balancer,
        "Protocol": "HTTP",
        "Port": HTTP_PORT,
        "DefaultActions": [{"Type": "redirect", "RedirectConfig": target}],
        "Tags": _tags(),
    }


def target_group(record: ExpressService, name: str) -> Request:
    return {
        "Name": name,
        "Protocol": "HTTP",
        "Port": record.wanted.container_port,
        "VpcId": record.vpc_id,
        "TargetType": "ip",
        "HealthCheckPath": record.wanted.health_check_path,
        "Tags": _tags(),
    }


def listener_rule(record: ExpressService, listener: str, priority: int) -> Request:
    """Everything for the service's name goes to the first of its two target groups; deployments shift from there."""
    first, second = record.made.target_groups
    groups = [{"TargetGroupArn": first, "Weight": 100}, {"TargetGroupArn": second, "Weight": 0}]
    return {
        "ListenerArn": listener,
        "Priority": priority,
        "Conditions": [{"Field": "host-header", "HostHeaderConfig": {"Values": [record.host]}}],
        "Actions": [{"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}],
        "Tags": _tags(),
    }


def free_priority(taken: set[int]) -> int:
    """The lowest rule priority that no rule has."""
    return next(priority for priority in range(1, len(taken) + 2) if priority not in taken)


def task_definition(record: ExpressService) -> Request:
    """RegisterTaskDefinition of what is wanted (the caller did not bring one)."""
    wanted = record.wanted
    container = wanted.container
    assert container is not None, "a service without a task definition of its own has a container"
    logs = container.aws_logs_configuration or {}
    definition: Request = {
        "name": CONTAINER,
        "image": container.image,
        "essential": True,
        "portMappings": [{"containerPort": wanted.container_port, "protocol": "tcp", "name": PORT_NAME}],
        "logConfiguration": {
            "logDriver": "awslogs",
            "options": {
                "awslogs-group": logs.get("logGroup") or record.log_group,
                "awslogs-region": record.region,
                "awslogs-stream-prefix": logs.get("logStreamPrefix") or "ecs",
            },
        },
    }
    for member, value in (
        ("command", container.command),
        ("environment", container.environment),
        ("secrets", container.secrets),
        ("repositoryCredentials", container.repository_credentials),
    ):
        if value:
            definition[member] = msgspec.to_builtins(value)
    return {
        "family": family(record),
        "networkMode": "awsvpc",
        "requiresCompatibilities": ["FARGATE"],
        "cpu": wanted.cpu,
        "memory": wanted.memory,
        "executionRoleArn": wanted.execution_role_arn,
        "runtimePlatform": {"operatingSystemFamily": "LINUX", "cpuArchitecture": wanted.cpu_architecture},
        "containerDefinitions": [definition],
        "tags": [{"key": MANAGED[0], "value": MANAGED[1]}, {"key": OWNER, "value": record.arn}],
    } | ({"taskRoleArn": wanted.task_role_arn} if wanted.task_role_arn else {})


def new_service(record: ExpressService) -> Request:
    """CreateService."""
    return _revision(record) | {
        "serviceName": record.name,
        "launchType": "FARGATE",
        "desiredCount": record.wanted.scaling.min_task_count,
        "deploymentConfiguration": {
            "strategy": "CANARY",
            "canaryConfiguration": CANARY,
            "bakeTimeInMinutes": BAKE_MINUTES,
            "maximumPercent": 200,
            "minimumHealthyPercent": 100,
            "deploymentCircuitBreaker": {"enable": True, "rollback": True},
        },
        "tags": [{"key": key, "value": value} for key, value in {**record.tags, MANAGED[0]: MANAGED[1]}.items()],
        "propagateTags": "SERVICE",
    }


def changed_service(record: ExpressService, desired: int) -> Request:
    """UpdateService. `desired`: tasks now; it is moved inside the new limits, as a scaling target does (§9)."""
    scaling = record.wanted.scaling
    inside = min(max(desired, scaling.min_task_count), scaling.max_task_count)
    return _revision(record) | {"service": record.name} | ({"desiredCount": inside} if inside != desired else {})


def _revision(record: ExpressService) -> Request:
    wanted, made = record.wanted, record.made
    first, second = made.target_groups
    groups = list(wanted.security_groups) or [made.service_security_group or ""]
    return {
        "cluster": record.cluster_arn,
        "taskDefinition": made.task_definition,
        "networkConfiguration": {
            "awsvpcConfiguration": {
                "subnets": list(wanted.subnets),
                "securityGroups": groups,
                "assignPublicIp": "ENABLED" if record.access_type == "PUBLIC" else "DISABLED",
            }
        },
        "loadBalancers": [
            {
                "targetGroupArn": first,
                "containerName": CONTAINER,
                "containerPort": wanted.container_port,
                "advancedConfiguration": {
                    "alternateTargetGroupArn": second,
                    "productionListenerRule": made.rule,
                    "roleArn": record.infrastructure_role_arn,
                },
            }
        ],
    }


def scalable(record: ExpressService) -> Request:
    """What names the scaling target in every request of Application Auto Scaling."""
    return {
        "ServiceNamespace": "ecs",
        "ResourceId": f"service/{cluster_name(record)}/{record.name}",
        "ScalableDimension": "ecs:service:DesiredCount",
    }


def scaling_policy(record: ExpressService) -> Request:
    """PutScalingPolicy."""
    scaling = record.wanted.scaling
    metric: Request = {"PredefinedMetricType": _METRICS[scaling.auto_scaling_metric]}
    if scaling.auto_scaling_metric == "REQUEST_COUNT_PER_TARGET":
        balancer = str(record.made.load_balancer).rpartition(":loadbalancer/")[2]
        metric["ResourceLabel"] = f"{balancer}/{record.made.target_groups[0].rpartition(':')[2]}"
    return scalable(record) | {
        "PolicyName": f"{record.name}-{record.short}",
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": {
            "TargetValue": float(scaling.auto_scaling_target_value),
            "PredefinedMetricSpecification": metric,
        },
    }


def certificate(record: ExpressService) -> Request:
    """RequestCertificate of ACM."""
    return {
        "DomainName": record.host,
        "ValidationMethod": "DNS",
        "IdempotencyToken": record.token[:32],
        "Tags": _tags(),
    }


def _tags() -> list[dict[str, str]]:
    return [{"Key": MANAGED[0], "Value": MANAGED[1]}]
