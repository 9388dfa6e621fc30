"""What services, deployments, task sets and revisions show alike of what they are made of (semantics ecs-services §1)."""

from __future__ import annotations

from typing import Any

from moorage.decide.new_task import PLATFORM_VERSION
from moorage.domain.cluster import StrategyItem
from moorage.domain.service import Revision

Shape = dict[str, Any]
PENDING = ("PROVISIONING", "PENDING", "ACTIVATING")
"""The states of tasks that pendingCount counts."""


def strategy(items: tuple[StrategyItem, ...]) -> list[Shape]:
    return [{"capacityProvider": i.capacity_provider, "weight": i.weight, "base": i.base} for i in items]


def awsvpc(revision: Revision) -> Shape:
    assert revision.network is not None
    return {
        "subnets": list(revision.network.subnets),
        "securityGroups": list(revision.network.security_groups or ()),
        "assignPublicIp": revision.network.assign_public_ip or "DISABLED",
    }


def launched_on(revision: Revision, *, resolved: bool = False) -> Shape:
    """Launch type or capacity provider strategy, platform version: as it was asked for, or `resolved` (LATEST is 1.4.0)
    as deployments and service revisions show it."""
    shape: Shape = {}
    if revision.strategy:
        shape["capacityProviderStrategy"] = strategy(revision.strategy)
    elif revision.launch_type is not None:
        shape["launchType"] = revision.launch_type
    version = revision.platform_version
    if version is not None:
        shape["platformVersion"] = PLATFORM_VERSION if resolved and version == "LATEST" else version
        shape["platformFamily"] = "Linux"
    return shape
