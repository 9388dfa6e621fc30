"""Toy providers and a running gateway for tests: the calls a person would make, through real clients."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from moorage.domain.clock import Ids, SystemClock
from moorage.domain.errors import AwsError
from moorage.gateway.server import Gateway
from moorage.services.base import Provider, RequestContext, operation
from moorage.settings import Settings


class ToyEcs(Provider):
    service = "ecs"

    @operation("ListClusters")
    async def list_clusters(self, context: RequestContext, params: dict[str, Any]) -> dict[str, Any]:
        return {"clusterArns": [context.scope.arn("ecs", "cluster/a")], "unknown": 1, "nextToken": None}

    @operation("DescribeClusters")
    async def describe_clusters(self, _context: RequestContext, params: dict[str, Any]) -> dict[str, Any]:
        return {"clusters": [{"clusterName": name, "status": "ACTIVE"} for name in params.get("clusters", ["default"])]}

    @operation("DeleteCluster")
    async def delete_cluster(self, _context: RequestContext, params: dict[str, Any]) -> dict[str, Any]:
        raise AwsError("ClusterNotFoundException", "Cluster not found.")

    @operation("DescribeTasks")
    async def describe_tasks(self, _context: RequestContext, params: dict[str, Any]) -> dict[str, Any]:
        return {"tasks": [{"taskArn": arn, "createdAt": 1_700_000_000.25, "cpu": None} for arn in params["tasks"]]}

    @operation("ListTasks")
    async def list_tasks(self, _context: RequestContext, params: dict[str, Any]) -> dict[str, Any]:
        raise RuntimeError("a bug")


class ToyElb(Provider):
    service = "elbv2"

    @operation("DescribeLoadBalancers")
    async def describe(self, context: RequestContext, params: dict[str, Any]) -> dict[str, Any]:
        if params.get("Names") == ["missing"]:
            raise AwsError("LoadBalancerNotFound", "Load balancers '[missing]' not found")
        return {
            "LoadBalancers": [
                {
                    "LoadBalancerName": name,
                    "CreatedTime": 1_700_000_000.0,
                    "State": {"Code": "active"},
                    "AvailabilityZones": [{"ZoneName": "us-east-1a", "SubnetId": "subnet-<1>&"}],
                }
                for name in params.get("Names", [])
            ]
        }


@asynccontextmanager
async def running(*providers: Provider, **settings: Any) -> AsyncIterator[Gateway]:
    gateway = Gateway(Settings(port=0, data_dir=Path("/nonexistent"), **settings), SystemClock(), Ids(seed=1))
    for provider in providers:
        gateway.add_provider(provider)
    await gateway.start()
    try:
        yield gateway
    finally:
        await gateway.close(grace=1.0)


def client(service: str, gateway: Gateway, *, account: str = "test", region: str = "eu-west-1", **config: Any) -> Any:
    return boto3.client(
        service,
        endpoint_url=f"http://127.0.0.1:{gateway.port}",
        region_name=region,
        aws_access_key_id=account,
        aws_secret_access_key="test",
        config=Config(retries={"max_attempts": 0}, inject_host_prefix=False, **config),
    )


class Recorder(Provider):
    """Serves any operations with canned answers and remembers what it was asked."""

    def __init__(self, service: str, answers: dict[str, Any]) -> None:
        self.service = service  # type: ignore[misc]
        self.answers = answers
        self.asked: list[tuple[RequestContext, dict[str, Any]]] = []

    def handlers(self) -> dict[str, Any]:
        return {name: self._handler(name) for name in self.answers}

    def _handler(self, name: str) -> Any:
        async def answer(context: RequestContext, params: dict[str, Any]) -> Any:
            self.asked.append((context, params))
            canned = self.answers[name]
            if isinstance(canned, Exception):
                raise canned
            return canned

        return answer
