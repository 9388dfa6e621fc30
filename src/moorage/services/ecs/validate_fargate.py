"""What RegisterTaskDefinition refuses on Fargate (ecs-task-definitions §4.4). Rules as in `validate_task_definition`."""

from __future__ import annotations

import re

from moorage.domain.task_definition import Document
from moorage.services.ecs import fargate

_ECR = re.compile(r"\d{12}\.dkr\.ecr\.")
_DRIVERS_ON_FARGATE = ("awslogs", "splunk", "awsfirelens")


def size(d: Document) -> str | None:
    if not d.cpu:
        return "Fargate requires that 'cpu' be defined at the task level."
    if not d.memory:
        return "Fargate requires that 'memory' be defined at the task level."
    windows = str((d.runtime_platform or {}).get("operatingSystemFamily", "")).startswith("WINDOWS")
    if not fargate.is_offered(int(d.cpu), int(d.memory)) or (windows and int(d.cpu) < 1024):
        return (
            f"No Fargate configuration exists for given values: {d.cpu} CPU, {d.memory} memory. See the Amazon ECS "
            "documentation for the valid values."
        )
    return None


def _fargate_network(d: Document) -> str | None:
    return None if d.network_mode == "awsvpc" else "Fargate only supports network mode ‘awsvpc’."


def _fargate_forbidden(d: Document) -> str | None:
    sentence = "Fargate compatible task definitions do not support "
    for v in d.volumes:
        if v.docker_volume_configuration is not None:
            return sentence + "dockerVolumeConfiguration"
        if (v.host or {}).get("sourcePath"):
            return sentence + "sourcePath"
    if d.ipc_mode is not None:
        return sentence + "ipcMode"
    if d.placement_constraints:
        return sentence + "constraints"
    if d.pid_mode == "host":
        return (
            "Tasks using the Fargate launch type do not support pidMode 'host'. The supported value for pidMode is "
            "'task'."
        )
    for c in d.container_definitions:
        if c.privileged:
            return "Fargate requires that the 'privileged' setting be 'false'"
        if c.docker_security_options:
            return sentence + "dockerSecurityOptions"
        for name in ("sharedMemorySize", "devices", "maxSwap", "swappiness"):
            if (c.linux_parameters or {}).get(name) not in (None, []):
                return sentence + name
        for capability in ((c.linux_parameters or {}).get("capabilities") or {}).get("add") or ():
            if capability != "SYS_PTRACE":
                return f"{capability} is not allowed on Fargate."
        if any(r.get("type") == "GPU" for r in c.resource_requirements or ()):
            return "Tasks using the Fargate launch type do not support GPU resource requirements."
    return None


def _fargate_logs(d: Document) -> str | None:
    for c in d.container_definitions:
        log = c.log_configuration
        if log is not None and log.log_driver not in _DRIVERS_ON_FARGATE:
            return f"{log.log_driver} is not a valid log driver. Must be one of [awslogs, splunk, awsfirelens]"
        if log is not None and log.log_driver == "awslogs":
            if not d.execution_role_arn:
                return "Fargate requires task definition to have execution role ARN to support log driver awslogs."
            if not (log.options or {}).get("awslogs-stream-prefix"):
                return (
                    "Fargate requires log configuration options to include awslogs-stream-prefix to support log "
                    "driver awslogs."
                )
        if _ECR.match(c.image or "") and not d.execution_role_arn:
            return "Fargate requires task definition to have execution role ARN to support ECR images."
    return None


def storage(d: Document) -> str | None:
    """Asked of every task definition: nothing but Fargate has a use for the member."""
    gib = (d.ephemeral_storage or {}).get("sizeInGiB")
    if gib is not None and gib < 21:
        return "EphemeralStorage size should be at least 21"
    if gib is not None and gib > 200:
        return "EphemeralStorage size should be at most 200"
    return None


RULES = (
    size,
    _fargate_network,
    _fargate_forbidden,
    _fargate_logs,
)


def refused(document: Document) -> str | None:
    """Why the document could not run on Fargate, or None: it then counts as compatible without being asked for."""
    return next((message for rule in RULES if (message := rule(document)) is not None), None)
