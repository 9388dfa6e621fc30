"""ECS clusters. Source: semantics ecs-services §8, AWS ECS API reference (Cluster)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec


class StrategyItem(msgspec.Struct, frozen=True, rename="camel"):
    """One item of a capacity provider strategy (ecs-tasks §13)."""

    capacity_provider: str
    weight: int = 0
    base: int = 0


class Cluster(msgspec.Struct, frozen=True):
    arn: str
    account: str
    region: str
    name: str
    status: Literal["ACTIVE", "INACTIVE"]
    created_at: float
    settings: tuple[tuple[str, str], ...] = (("containerInsights", "disabled"),)
    configuration: dict[str, Any] | None = None
    capacity_providers: tuple[str, ...] = ()
    default_strategy: tuple[StrategyItem, ...] = ()
    service_connect_namespace: str | None = None
    tags: Mapping[str, str] = {}
