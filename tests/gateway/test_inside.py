"""Calls from inside reach the handlers that clients reach, checked like theirs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from moorage.domain.clock import Ids
from moorage.domain.errors import AwsError
from moorage.domain.scope import Scope
from moorage.gateway.inside import InsideCalls
from moorage.services.base import RequestContext

SCOPE = Scope("000000000000", "us-east-1")


class Neighbour:
    async def call(self, scope: Scope, service: str, operation: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"asked": f"{service}:{operation}", "in": scope.region}


async def who(ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
    return {"principal": ctx.principal_arn, "service": ctx.service, "operation": ctx.operation, **request}


@pytest.fixture
def calls() -> InsideCalls:
    made = InsideCalls(Ids(seed=1), Neighbour())
    made.handlers = {"ecs": {"DescribeServices": who}}
    return made


async def test_our_own_handlers_come_first(calls: InsideCalls) -> None:
    answer = await calls.call(SCOPE, "ecs", "DescribeServices", {"services": ["web"]}, principal="arn:me")
    assert answer == {"principal": "arn:me", "service": "ecs", "operation": "DescribeServices", "services": ["web"]}
    plain = await calls.call(SCOPE, "ecs", "DescribeServices", {"services": []})
    assert plain["principal"] == "arn:aws:iam::000000000000:root"


async def test_the_rest_is_the_neighbours(calls: InsideCalls) -> None:
    assert await calls.call(SCOPE, "ec2", "DescribeVpcs", {}) == {"asked": "ec2:DescribeVpcs", "in": "us-east-1"}


async def test_parameters_are_checked_by_the_model(calls: InsideCalls) -> None:
    with pytest.raises(AwsError, match="services"):
        await calls.call(SCOPE, "ecs", "DescribeServices", {})


async def test_nobody_is_there() -> None:
    with pytest.raises(AwsError, match="Moorage does not implement ec2:DescribeVpcs yet"):
        await InsideCalls(Ids(seed=1)).call(SCOPE, "ec2", "DescribeVpcs", {})
