"""launchType xor capacityProviderStrategy, resolved against the cluster (semantics ecs-tasks §9, ecs-services §1, §2.2)."""

from __future__ import annotations

from typing import Any

import msgspec

from moorage.domain.cluster import Cluster, StrategyItem
from moorage.domain.errors import AwsError
from moorage.domain.task_definition import Document, TaskDefinition
from moorage.services.ecs import strategy as strategies

_PLATFORMS = ("LATEST", "1.4.0", "1.3.0")


class Compute(msgspec.Struct, frozen=True):
    """Either a strategy or a launch type. `launches_on` is what it comes down to: FARGATE, EC2 or EXTERNAL."""

    launch_type: str | None
    strategy: tuple[StrategyItem, ...]
    platform_version: str | None
    launches_on: str


def _refuse(message: str) -> AwsError:
    return AwsError("InvalidParameterException", message)


def check_placement(request: dict[str, Any]) -> None:
    """For what runs on Fargate. Raises InvalidParameterException."""
    for name, noun in (("placementConstraints", "constraints"), ("placementStrategy", "strategies")):
        if request.get(name):
            raise _refuse(f"Placement {noun} are not supported with FARGATE launch type.")


def _newer_than_1_3(document: Document, overrides: dict[str, Any]) -> bool:
    """Does the task want what Fargate has since its platform version 1.4.0 (ecs-tasks §14)?"""
    changed = overrides.get("containerOverrides") or ()
    return (
        any(volume.efs_volume_configuration is not None for volume in document.volumes)
        or any(container.environment_files for container in document.container_definitions)
        or any(override.get("environmentFiles") for override in changed)
        or (overrides.get("ephemeralStorage") or document.ephemeral_storage) is not None
    )


def resolve(cluster: Cluster, definition: TaskDefinition, request: dict[str, Any]) -> Compute:
    """Raises InvalidParameterException, PlatformUnknownException, PlatformTaskDefinitionIncompatibilityException."""
    launch_type, given = request.get("launchType"), request.get("capacityProviderStrategy")
    if launch_type and given:
        raise _refuse(
            "Specifying both a launch type and capacity provider strategy is not supported. Remove one and try again."
        )
    strategy: tuple[StrategyItem, ...] = ()
    if given:
        strategy = strategies.strategy_items(given, cluster.capacity_providers)
    elif not launch_type:
        strategy = cluster.default_strategy
    launches_on = strategies.launches_on(strategy) if strategy else launch_type or "EC2"
    if launches_on not in ("FARGATE", "EC2"):
        raise _refuse(f"Moorage does not run the launch type {launches_on} yet. Use FARGATE or EC2.")
    version = request.get("platformVersion")
    if launches_on == "EC2":
        if version:
            raise _refuse("The platform version must be null when specifying an EC2 launch type.")
    else:
        if version and version not in _PLATFORMS:
            raise AwsError("PlatformUnknownException", "The specified platform does not exist.")
        version = version or "LATEST"
        check_placement(request)
    if launches_on not in definition.compatibilities:
        raise _refuse(f"Task definition does not support launch_type {launches_on}.")
    if version == "1.3.0" and _newer_than_1_3(definition.document, request.get("overrides") or {}):
        raise AwsError(
            "PlatformTaskDefinitionIncompatibilityException",
            "One or more of the requested capabilities are not supported.",
        )
    return Compute(None if strategy else launch_type or "EC2", strategy, version or None, launches_on)
