"""A call in JSON and a call in query form, from boto3 to a provider and back."""

from __future__ import annotations

import asyncio

import pytest
from botocore.exceptions import ClientError

from .toys import ToyEcs, ToyElb, client, running


async def test_an_ecs_call_is_answered() -> None:
    async with running(ToyEcs()) as gateway:
        ecs = client("ecs", gateway)
        answer = await asyncio.to_thread(ecs.list_clusters)
        assert answer["clusterArns"] == ["arn:aws:ecs:eu-west-1:000000000000:cluster/a"]
        assert "unknown" not in answer
        assert answer["ResponseMetadata"]["RequestId"]


async def test_an_elbv2_call_is_answered() -> None:
    async with running(ToyElb()) as gateway:
        elb = client("elbv2", gateway)
        answer = await asyncio.to_thread(elb.describe_load_balancers, Names=["a", "b"])
        assert [lb["LoadBalancerName"] for lb in answer["LoadBalancers"]] == ["a", "b"]
        assert answer["LoadBalancers"][0]["AvailabilityZones"][0]["SubnetId"] == "subnet-<1>&"
        assert answer["LoadBalancers"][0]["CreatedTime"].timestamp() == 1_700_000_000.0
        with pytest.raises(ClientError) as refused:
            await asyncio.to_thread(elb.describe_load_balancers, Names=["missing"])
        assert refused.value.response["Error"]["Code"] == "LoadBalancerNotFound"
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
