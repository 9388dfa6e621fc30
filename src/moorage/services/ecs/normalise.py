"""The defaults that AWS writes back into a registered task definition, and what it computes about it
(semantics ecs-task-definitions §3)."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec.structs import replace

from moorage.domain import sentences
from moorage.domain.errors import AwsError
from moorage.domain.task_definition import ContainerDefinition, Document, PortMapping, Volume
from moorage.services.ecs.validate_fargate import refused

_MEMBERS = {field.encode_name for field in msgspec.structs.fields(Document)}
_CPU = re.compile(r"(\d*\.?\d+)\s*vcpus?", re.IGNORECASE)
_MEMORY = re.compile(r"(\d*\.?\d+)\s*gb", re.IGNORECASE)


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
        cpu=cpu(document.cpu),
        memory=memory(document.memory),
        volumes=tuple(_volume(volume) for volume in document.volumes),
        container_definitions=tuple(_container(c, document.network_mode) for c in document.container_definitions),
    )


def _volume(volume: Volume) -> Volume:
    """A file system is mounted from its root, a Docker volume belongs to the task, unless the caller says otherwise."""
    if volume.efs_volume_configuration is not None:
        efs = {"rootDirectory": "/"} | volume.efs_volume_configuration
        return replace(volume, efs_volume_configuration=efs)
    if volume.docker_volume_configuration is not None:
        docker = {"scope": "task"} | volume.docker_volume_configuration
        return replace(volume, docker_volume_configuration=docker)
    return volume


def invalid_size(name: str) -> str:
    """AWS's sentence for a task's cpu or memory that is no number, or not one of those that are allowed (Troubleshooting
    section of the developer guide)."""
    return f"Invalid '{name}' setting for task. {sentences.MORE}"


def cpu(text: str | None) -> str | None:
    """CPU units: "1 vCPU" → "1024", "256" → "256". Raises ClientException for what is no number."""
    return _plain(text, _CPU, 1024, "cpu")


def memory(text: str | None) -> str | None:
    """MiB: "2GB" → "2048", "512" → "512". Raises ClientException for what is no number."""
    return _plain(text, _MEMORY, 1024, "memory")


def _plain(text: str | None, unit: re.Pattern[str], factor: int, name: str) -> str | None:
    if text is None or re.fullmatch(r"[0-9]{1,9}", text):
        return text
    match = unit.fullmatch(text.strip())
    if match is None:
        raise AwsError("ClientException", invalid_size(name))
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
    elif refused(d) is None:
        found = ["EC2", "FARGATE"]
    else:
        found = ["EC2"]
    if "MANAGED_INSTANCES" in (d.requires_compatibilities or ()):
        found.append("MANAGED_INSTANCES")
    return tuple(found)
