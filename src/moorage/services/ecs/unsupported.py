"""What AWS would run and Moorage does not run yet: registered like anything else, refused by name when a task or a
service is to run it. Nothing is accepted and then ignored; what is harmless is named in docs/services/ecs.md instead."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from moorage.domain.errors import AwsError
from moorage.domain.task_definition import Document


def refuse_unsupported(document: Document, overrides: dict[str, Any] | None = None) -> None:
    """Raises InvalidParameterException naming the first thing that Moorage does not do."""
    for what in _unsupported(document, overrides or {}):
        raise AwsError("InvalidParameterException", f"Moorage does not support {what} yet.")


def _requirements(overrides: dict[str, Any], name: str | None) -> list[dict[str, Any]]:
    """The resource requirements that the overrides give a container."""
    found = (one for one in overrides.get("containerOverrides") or () if one.get("name") == name)
    return [requirement for one in found for requirement in one.get("resourceRequirements") or ()]


def _unsupported(document: Document, overrides: dict[str, Any]) -> Iterator[str]:
    family = str((document.runtime_platform or {}).get("operatingSystemFamily") or "LINUX")
    if family != "LINUX":
        yield f"the operating system family {family}"
    if document.proxy_configuration is not None:
        yield "proxy configurations (App Mesh)"
    for volume in document.volumes:
        for given, what in (
            (volume.fsx_windows_file_server_volume_configuration, "FSx volumes"),
            (volume.s3files_volume_configuration, "S3 Files volumes"),
        ):
            if given is not None:
                yield f"{what} (volume '{volume.name}')"
    for container in document.container_definitions:
        if container.credential_specs:
            yield f"credential specs (gMSA) (container '{container.name}')"
        wanted = [*(container.resource_requirements or ()), *_requirements(overrides, container.name)]
        if any(requirement.get("type") == "NeuronDevice" for requirement in wanted):
            yield f"Neuron devices (container '{container.name}')"
    if overrides.get("inferenceAcceleratorOverrides"):
        yield "inference accelerators"
