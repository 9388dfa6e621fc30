"""boto3 over HTTP, real health checks, real Envoy, real backends: what a user of load balancing sees."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from moorage.control.load_balancers import LoadBalancersController
from moorage.control.prober import HttpProber
from moorage.control.targets import TargetsController
from moorage.domain.clock import Ids, SystemClock
from moorage.gateway.server import Gateway
from moorage.proxy.envoy.proxy import EnvoyProxy
from moorage.services.elbv2.provider import ElbV2Provider
from moorage.settings import Settings
from moorage.store.log_memory import MemoryLog
from moorage.store.memory import Store
from moorage.store.tables.elbv2 import TABLES

from .rig import REGION, Networks

SOON: dict[str, Any] = {"WaiterConfig": {"Delay": 0.05, "MaxAttempts": 400}}


class Backend:
    """Answers every path with its name, `/health` with `status`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.status = 200
        self.port = 0
        self.agents: set[str] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                checking = head.startswith(b"GET /health ")
                if checking:
                    self.agents |= {line for line in head.decode().split("\r\n") if line.startswith("User-Agent")}
                status = self.status if checking else 200
                body = self.name.encode()
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(name: str) -> AsyncIterator[Backend]:
    backend = Backend(name)
    server = await asyncio.start_server(backend.serve, "127.0.0.1", 0)
    backend.port = server.sockets[0].getsockname()[1]
    try:
        yield backend
    finally:
        server.close()


class House:
    """`elb` is a boto3 client; `ask` a request to the load balancer by its own address and DNS name."""

    def __init__(self, elb: Any, ports: dict[int, int]) -> None:
        self.elb = elb
        self.ports = ports

    async def call(self, operation: str, **params: Any) -> Any:
        return await asyncio.to_thread(lambda: getattr(self.elb, operation)(**params))

    async def wait(self, waiter: str, **params: Any) -> None:
        await asyncio.to_thread(lambda: self.elb.get_waiter(waiter).wait(**params, **SOON))

    async def ask(self, dns_name: str, path: str = "/", port: int = 80) -> tuple[int, str]:
        url = f"http://127.0.0.1:{self.ports[port]}{path}"
        async with aiohttp.ClientSession() as session, session.get(url, headers={"Host": dns_name}) as response:
            return response.status, await response.text()


def _free_port(known: dict[int, int], port: int) -> int:
    if port not in known:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            known[port] = probe.getsockname()[1]
    return known[port]


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    settings, clock, ids = Settings(port=0, data_dir=tmp_path), SystemClock(), Ids()
    ports: dict[int, int] = {}
    store = await Store.open(MemoryLog(), TABLES)
    proxy = EnvoyProxy(settings, port_of=lambda port: _free_port(ports, port), workers=1)
    targets = TargetsController(store, clock, HttpProber(), proxy)
    load_balancers = LoadBalancersController(store, clock, proxy, targets)
    gateway = Gateway(settings, clock, ids)
    gateway.add_provider(ElbV2Provider(store, clock, ids, Networks()))
    async with AsyncExitStack() as stack:
        await proxy.start()
        stack.push_async_callback(proxy.stop)
        await targets.start()
        stack.push_async_callback(targets.close)
        await load_balancers.start()
        stack.push_async_callback(load_balancers.close)
        port = await gateway.start()
        stack.push_async_callback(gateway.close)
        elb = boto3.client(
            "elbv2",
            endpoint_url=f"http://127.0.0.1:{port}",
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"max_attempts": 0}),
        )
        yield House(elb, ports)


async def _made(house: House, *backends: Backend) -> tuple[str, str, str, str]:
    """(DNS name, load balancer, target group, listener) with these targets registered."""
    owner = (await house.call("create_load_balancer", Name="web", Subnets=["subnet-a", "subnet-b"]))["LoadBalancers"][0]
    group = await house.call(
        "create_target_group",
        Name="web",
        Protocol="HTTP",
        Port=80,
        VpcId="vpc-1",
        TargetType="ip",
        HealthCheckPath="/health",
        HealthCheckIntervalSeconds=5,
        HealthCheckTimeoutSeconds=2,
        HealthyThresholdCount=2,
    )
    group_arn = group["TargetGroups"][0]["TargetGroupArn"]
    listener = await house.call(
        "create_listener",
        LoadBalancerArn=owner["LoadBalancerArn"],
        Protocol="HTTP",
        Port=80,
        DefaultActions=[{"Type": "forward", "TargetGroupArn": group_arn}],
    )
    targets = [{"Id": "127.0.0.1", "Port": backend.port} for backend in backends]
    await house.call("register_targets", TargetGroupArn=group_arn, Targets=targets)
    await house.wait("load_balancer_available", LoadBalancerArns=[owner["LoadBalancerArn"]])
    await house.wait("target_in_service", TargetGroupArn=group_arn)
    return owner["DNSName"], owner["LoadBalancerArn"], group_arn, listener["Listeners"][0]["ListenerArn"]


async def _until(house: House, group: str, port: int, state: str) -> dict[str, Any]:
    for _ in range(600):
        answer = await house.call(
            "describe_target_health", TargetGroupArn=group, Targets=[{"Id": "127.0.0.1", "Port": port}]
        )
        health = answer["TargetHealthDescriptions"][0]["TargetHealth"]
        if health["State"] == state:
            return dict(health)
        await asyncio.sleep(0.05)
    raise AssertionError(f"never {state}: {health}")


async def test_traffic_goes_to_healthy_targets_only(house: House) -> None:
    async with serving("one") as one, serving("two") as two:
        dns_name, owner, group, listener = await _made(house, one, two)
        assert one.agents == {"User-Agent: ELB-HealthChecker/2.0"}
        assert {await house.ask(dns_name) for _ in range(8)} == {(200, "one"), (200, "two")}

        one.status = 500
        health = await _until(house, group, one.port, "unhealthy")
        assert health["Reason"] == "Target.ResponseCodeMismatch"
        assert health["Description"] == "Health checks failed with these codes: [500]"
        assert {await house.ask(dns_name) for _ in range(8)} == {(200, "two")}

        await house.call(
            "create_rule",
            ListenerArn=listener,
            Priority=5,
            Conditions=[{"Field": "path-pattern", "Values": ["/fixed/*"]}],
            Actions=[
                {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "418", "MessageBody": "tea"}},
            ],
        )
        await house.wait("load_balancer_available", LoadBalancerArns=[owner])
        for _ in range(200):
            if (answer := await house.ask(dns_name, "/fixed/x"))[0] == 418:
                break
        assert answer == (418, "tea")

        await house.call(
            "modify_target_group_attributes",
            TargetGroupArn=group,
            Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "0"}],
        )
        both = [{"Id": "127.0.0.1", "Port": backend.port} for backend in (one, two)]
        await house.call("deregister_targets", TargetGroupArn=group, Targets=both)
        await house.wait("target_deregistered", TargetGroupArn=group, Targets=both)
        assert (await house.ask(dns_name))[0] == 503

        with pytest.raises(ClientError) as refusal:
            await house.call("delete_target_group", TargetGroupArn=group)
        assert refusal.value.response["Error"] == {
            "Type": "Sender",
            "Code": "ResourceInUse",
            "Message": f"Target group '{group}' is currently in use by a listener or a rule",
        }
        await house.call("delete_load_balancer", LoadBalancerArn=owner)
        await house.wait("load_balancers_deleted", LoadBalancerArns=[owner])
        await house.call("delete_target_group", TargetGroupArn=group)
        assert (await house.call("describe_target_groups"))["TargetGroups"] == []


async def test_paginators_and_missing_operations(house: House) -> None:
    for name in ("a", "b", "c"):
        await house.call("create_load_balancer", Name=name, Subnets=["subnet-a", "subnet-b"])
    pages = house.elb.get_paginator("describe_load_balancers").paginate(PaginationConfig={"PageSize": 2})
    sizes = await asyncio.to_thread(lambda: [len(page["LoadBalancers"]) for page in pages])
    assert sizes == [2, 1]
    with pytest.raises(ClientError, match="DescribeTrustStores"):
        await house.call("describe_trust_stores")
