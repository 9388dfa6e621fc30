"""Capacity provider strategies as the API has them: read, checked against the cluster (semantics ecs-services §2.2,
ecs-tasks §13)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from moorage.domain.capacity_provider import FARGATE_PROVIDERS
from moorage.domain.cluster import StrategyItem
from moorage.domain.errors import AwsError
from moorage.services.ecs.shapes import convert

MOST_ITEMS, MOST_WEIGHT, MOST_BASE = 20, 1000, 100_000


def _refuse(message: str) -> AwsError:
    return AwsError("InvalidParameterException", message)


def provider_name(identifier: str) -> str:
    """From a short name or an ARN."""
    return identifier.rsplit("/", 1)[-1] if identifier.startswith("arn:") else identifier


def is_fargate(identifier: str) -> bool:
    return provider_name(identifier) in FARGATE_PROVIDERS


def launches_on(strategy: Sequence[StrategyItem]) -> str:
    """The launch type that tasks of this strategy show: FARGATE or EC2."""
    return "FARGATE" if any(item.capacity_provider in FARGATE_PROVIDERS for item in strategy) else "EC2"


def strategy_items(items: Any, providers: tuple[str, ...]) -> tuple[StrategyItem, ...]:
    """A capacity provider strategy, checked against the providers of the cluster. Raises InvalidParameterException."""
    given = convert(items or [], tuple[StrategyItem, ...])
    strategy = tuple(replace(item, capacity_provider=provider_name(item.capacity_provider)) for item in given)
    if len(strategy) > MOST_ITEMS:
        raise _refuse(f"The capacity provider strategy can contain a maximum of {MOST_ITEMS} capacity providers.")
    names = [item.capacity_provider for item in strategy]
    if len(set(names)) < len(names):
        raise _refuse("The specified capacity provider strategy cannot contain a capacity provider more than once.")
    for item in strategy:
        if not 0 <= item.weight <= MOST_WEIGHT:
            raise _refuse(f"The weight of a capacity provider must be between 0 and {MOST_WEIGHT}.")
        if not 0 <= item.base <= MOST_BASE:
            raise _refuse(f"The base of a capacity provider must be between 0 and {MOST_BASE}.")
    if any(name not in providers for name in names):
        raise _refuse(
            "The specified capacity provider strategy cannot contain a capacity provider that is not associated with "
            "the cluster. Associate the capacity provider with the cluster or specify a valid capacity provider and "
            "try again."
        )
    if len({name in FARGATE_PROVIDERS for name in names}) > 1:
        raise _refuse(
            "A capacity provider strategy cannot contain a mix of capacity providers using Auto Scaling groups and "
            "Fargate providers. Specify one or the other and try again."
        )
    if sum(1 for item in strategy if item.base > 0) > 1:
        raise _refuse(
            "There are multiple capacity providers in the specified capacity provider strategy with a base value "
            "defined. Specify a base value for only one capacity provider and try again."
        )
    if strategy and not any(item.weight > 0 for item in strategy):
        if len(strategy) == 1:
            return tuple(replace(item, weight=1) for item in strategy)
        raise _refuse(
            "There are no capacity providers in the capacity provider strategy with a weight value greater than zero. "
            "Specify a weight value greater than zero for at least one capacity provider and try again."
        )
    return strategy
