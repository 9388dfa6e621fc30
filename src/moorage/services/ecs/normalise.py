"""The defaults that AWS writes back into a registered task definition, and what it computes about it
(semantics ecs-task-definitions §3)."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec.structs import replace

from moorage.domain.errors import AwsError
from moorage.domain.task_definition import ContainerDefinition, Document, PortMapping
from moorage.services.ecs.validate_task_definition import fargate_refuses

_MEMBERS = {field.encode_name for field in msgspec.structs.fields(Document)}
_CPU = re.compile(r"(\d*\.?\d+)\s*vcpus?", re.IGNORECASE)
_MEMORY = re.compile(r"(\d*\.?\d+)\s*gb", re.IGNORECASE)
_CAPABILITY = "com.amazonaws.ecs.capability."
_ECR = re.compile(r"\d{12}\.dkr\.ecr\.|(localhost|127\.0\.0\.1):\d+/")


def document_of(request: dict[str, Any]) -> Document:
    """The request as a document with defaults filled in. Raises ClientException for a cpu or memory that is no number
    and InvalidParameterException for members of a wrong shape."""
    wanted = {name: value for name, value in request.items() if name in _MEMBERS}
    wanted.setdefault("containerDefinitions", [])
    wanted.setdefault("family", "")
    try:
        document = msgspec.convert(wanted, Document)
    except msgspec.ValidationError as error:
        raise AwsError("InvalidParameterException", f"Invalid task definition: {error}") from error
    return replace(
        document,
        cpu=_plain(document.cpu, _CPU, 1024, "cpu"),
        memory=_plain(document.memory, _MEMORY, 1024, "memory"),
        container_definitions=tuple(_container(c, document.network_mode) for c in document.container_definitions),
    )


def _plain(text: str | None, unit: re.Pattern[str], factor: int, name: str) -> str | None:
    """ "1 vCPU" → "1024", "2GB" → "2048", "256" → "256"."""
    if text is None or re.fullmatch(r"[0-9]{1,9}", text):
        return text
    match = unit.fullmatch(text.strip())
    if match is None:
        raise AwsError("ClientException", f"Invalid '{name}' setting for task.")
    return str(int(float(match.group(1)) * factor))


def _container(c: ContainerDefinition, network_mode: str | None) -> ContainerDefinition:
    check = c.health_check
    if check is not None:
        check = replace(
            check,
            interval=30 if check.interval is None else check.interval,
            timeout=5 if check.timeout is None else check.timeout,
            retries=3 if check.retries is None else check.retries,
        )
    return replace(
        c,
        cpu=c.cpu or 0,
        essential=c.essential is not False,
        environment=c.environment or (),
        mount_points=c.mount_points or (),
        volumes_from=c.volumes_from or (),
        system_controls=c.system_controls or (),
        port_mappings=tuple(_port(m, network_mode) for m in c.port_mappings or ()),
        health_check=check,
    )


def _port(mapping: PortMapping, network_mode: str | None) -> PortMapping:
    """hostPort is written back: the container port for awsvpc and host, 0 for bridge; unknown protocols are tcp."""
    protocol = mapping.protocol if mapping.protocol in ("tcp", "udp") else "tcp"
    if mapping.container_port is None or mapping.host_port is not None:
        return replace(mapping, protocol=protocol)
    host_port = mapping.container_port if network_mode in ("awsvpc", "host") else 0
    return replace(mapping, protocol=protocol, host_port=host_port)


def compatibilities(d: Document) -> tuple[str, ...]:
    if d.network_mode != "awsvpc":
        found = ["EXTERNAL", "EC2"]
    elif fargate_refuses(d) is None:
        found = ["EC2", "FARGATE"]
    else:
        found = ["EC2"]
    if "MANAGED_INSTANCES" in (d.requires_compatibilities or ()):
        found.append("MANAGED_INSTANCES")
    return tuple(found)


def requires_attributes(d: Document) -> tuple[str, ...]:
    """Names only, sorted: what a container instance must offer to run this (§3, second table)."""
    found: set[str] = set()
    if d.network_mode == "awsvpc":
        found |= {"ecs.capability.task-eni", _CAPABILITY + "docker-remote-api.1.18"}
    elif d.cpu or d.memory:
        found.add("ecs.capability.task-cpu-mem-limit")
    if d.task_role_arn:
        found.add(_CAPABILITY + "task-iam-role")
        if d.network_mode == "host":
            found.add(_CAPABILITY + "task-iam-role-network-host")
    if d.pid_mode or d.ipc_mode:
        found.add("ecs.capability.pid-ipc-namespace-sharing")
    for c in d.container_definitions:
        found |= _container_attributes(d, c)
    for v in d.volumes:
        if v.efs_volume_configuration is not None:
            found.add("ecs.capability.efs")
    return tuple(sorted(found))


def _container_attributes(d: Document, c: ContainerDefinition) -> set[str]:
    found: set[str] = set()
    if _ECR.match(c.image or ""):
        found.add(_CAPABILITY + "ecr-auth")
        if d.execution_role_arn:
            found.add("ecs.capability.execution-role-ecr-pull")
    if c.log_configuration is not None:
        found |= {
            _CAPABILITY + "logging-driver." + c.log_configuration.log_driver,
            _CAPABILITY + "docker-remote-api.1.18",
        }
        if c.log_configuration.log_driver == "awslogs":
            found.add(_CAPABILITY + "docker-remote-api.1.19")
            if d.execution_role_arn:
                found.add("ecs.capability.execution-role-awslogs")
    if c.ulimits or c.docker_labels:
        found.add(_CAPABILITY + "docker-remote-api.1.18")
    if c.memory_reservation is not None:
        found.add(_CAPABILITY + "docker-remote-api.1.21")
    if c.health_check is not None:
        found |= {"ecs.capability.container-health-check", _CAPABILITY + "docker-remote-api.1.24"}
    if c.depends_on or c.start_timeout is not None or c.stop_timeout is not None:
        found.add("ecs.capability.container-ordering")
    if c.privileged:
        found.add(_CAPABILITY + "privileged-container")
    for secret in c.secrets or ():
        kind = "asm" if ":secretsmanager:" in secret.value_from else "ssm"
        found.add(f"ecs.capability.secrets.{kind}.environment-variables")
    if c.environment_files:
        found.add("ecs.capability.env-files.s3")
    if c.restart_policy is not None:
        found.add("ecs.capability.container-restart-policy")
    return found
