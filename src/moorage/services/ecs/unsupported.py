"""What AWS would run and Moorage does not run yet: registered like anything else, refused by name when a task or a
service is to run it. Nothing is accepted and then ignored; what is harmless is named in docs/services/ecs.md instead."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from moorage.domain.errors import AwsError
from moorage.domain.task_definition import ContainerDefinition, Document, Volume

# What becomes of a container's output: CloudWatch Logs, or nothing but the engine's own file.
_DRIVERS = ("awslogs", "json-file")


def refuse_unsupported(document: Document, overrides: dict[str, Any] | None = None) -> None:
    """Raises InvalidParameterException naming the first thing that Moorage does not do."""
    for what in _unsupported(document, overrides or {}):
        raise AwsError("InvalidParameterException", f"Moorage does not support {what} yet.")


def _unsupported(document: Document, overrides: dict[str, Any]) -> Iterator[str]:
    family = str((document.runtime_platform or {}).get("operatingSystemFamily") or "LINUX")
    if family != "LINUX":
        yield f"the operating system family {family}"
    if document.proxy_configuration is not None:
        yield "proxy configurations (App Mesh)"
    if document.pid_mode is not None:
        yield f"pidMode '{document.pid_mode}'"
    if document.ipc_mode is not None:
        yield f"ipcMode '{document.ipc_mode}'"
    if document.enable_fault_injection:
        yield "fault injection"
    for volume in document.volumes:
        yield from _of_volume(volume)
    for container in document.container_definitions:
        yield from _of_container(container)
    if overrides.get("inferenceAcceleratorOverrides"):
        yield "inference accelerators"
    for override in overrides.get("containerOverrides") or ():
        for member, what in (
            ("environmentFiles", "environment files"),
            ("resourceRequirements", "resource requirements (GPU, inference accelerators)"),
        ):
            if override.get(member):
                yield f"{what} (override of container '{override.get('name')}')"


def _of_volume(volume: Volume) -> Iterator[str]:
    for given, what in (
        (volume.efs_volume_configuration, "EFS volumes"),
        (volume.fsx_windows_file_server_volume_configuration, "FSx volumes"),
        (volume.s3files_volume_configuration, "S3 Files volumes"),
        (volume.docker_volume_configuration, "Docker volumes"),
        (volume.configured_at_launch or None, "volumes configured at launch"),
    ):
        if given is not None:
            yield f"{what} (volume '{volume.name}')"


def _of_container(container: ContainerDefinition) -> Iterator[str]:
    driver = container.log_configuration.log_driver if container.log_configuration is not None else None
    for given, what in (
        (container.environment_files, "environment files"),
        (container.firelens_configuration, "FireLens"),
        (driver is not None and driver not in _DRIVERS, f"the log driver {driver}"),
        (container.resource_requirements, "resource requirements (GPU, inference accelerators)"),
        (container.credential_specs, "credential specs (gMSA)"),
        (container.links, "links"),
        (container.hostname, "host names of containers"),
        (container.dns_servers, "DNS servers of containers"),
        (container.dns_search_domains, "DNS search domains of containers"),
        (container.extra_hosts, "extra hosts"),
        (container.disable_networking, "disableNetworking"),
        (container.docker_security_options, "Docker security options"),
    ):
        if given:
            yield f"{what} (container '{container.name}')"
