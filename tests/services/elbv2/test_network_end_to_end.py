"""Network load balancers as a user has them: boto3 and its waiters, real health checks, real Envoy, real bytes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxy.flows import UdpClient, echo, say, udp_echo

from .test_end_to_end import House, house, serving  # noqa: F401


async def _network(house: House, name: str = "net") -> dict[str, Any]:  # noqa: F811
    made = await house.call("create_load_balancer", Name=name, Type="network", Subnets=["subnet-a"])
    return dict(made["LoadBalancers"][0])


async def _group(house: House, name: str, **params: Any) -> str:  # noqa: F811
    base = {"Protocol": "TCP", "Port": 5432, "VpcId": "vpc-1", "TargetType": "ip"}
    check = {"HealthCheckIntervalSeconds": 5, "HealthCheckTimeoutSeconds": 2}
    made = await house.call("create_target_group", Name=name, **{**base, **check, **params})
    return str(made["TargetGroups"][0]["TargetGroupArn"])


async def _listen(house: House, owner: str, group: str, port: int, protocol: str = "TCP") -> None:  # noqa: F811
    await house.call(
        "create_listener",
        LoadBalancerArn=owner,
        Protocol=protocol,
        Port=port,
        DefaultActions=[{"Type": "forward", "TargetGroupArn": group}],
    )


async def _answer(house: House, port: int) -> bytes:  # noqa: F811
    """At the shared address, once the listener is open."""
    for _ in range(400):
        if port in house.ports:
            try:
                if answer := await say(("127.0.0.1", house.ports[port])):
                    return answer
            except OSError:
                pass
        await asyncio.sleep(0.02)
    raise AssertionError("never open")


async def test_bytes_reach_healthy_targets_and_a_drained_one_is_cut_off(house: House) -> None:  # noqa: F811
    async with echo("one") as one:
        owner = await _network(house)
        group = await _group(house, "db")
        changed = {
            "deregistration_delay.timeout_seconds": "1",
            "deregistration_delay.connection_termination.enabled": "true",
        }
        await house.call(
            "modify_target_group_attributes",
            TargetGroupArn=group,
            Attributes=[{"Key": key, "Value": value} for key, value in changed.items()],
        )
        await _listen(house, owner["LoadBalancerArn"], group, 5432)
        target = [{"Id": one.address, "Port": one.port}]
        await house.call("register_targets", TargetGroupArn=group, Targets=target)
        await house.wait("load_balancer_available", LoadBalancerArns=[owner["LoadBalancerArn"]])
        await house.wait("target_in_service", TargetGroupArn=group)
        assert await _answer(house, 5432) == b"one:hello"

        reader, writer = await asyncio.open_connection("127.0.0.1", house.ports[5432])
        writer.write(b"x")
        assert await reader.read(100) == b"one:x"
        await house.call("deregister_targets", TargetGroupArn=group, Targets=target)
        writer.write(b"y")
        assert await reader.read(100) == b"one:y"
        await house.wait("target_deregistered", TargetGroupArn=group, Targets=target)
        assert await reader.read(100) == b""
        assert await say(("127.0.0.1", house.ports[5432])) == b""


async def test_datagrams(house: House) -> None:  # noqa: F811
    async with echo("tcp") as health, udp_echo("udp", health.port):
        owner = await _network(house)
        group = await _group(house, "dns", Protocol="UDP", Port=53)
        await _listen(house, owner["LoadBalancerArn"], group, 53, "UDP")
        await house.call("register_targets", TargetGroupArn=group, Targets=[{"Id": "127.0.0.1", "Port": health.port}])
        await house.wait("target_in_service", TargetGroupArn=group)
        while 53 not in house.ports:
            await asyncio.sleep(0.02)
        async with UdpClient(("127.0.0.1", house.ports[53])) as client:
            assert await client.say(b"hello") == b"udp:hello"


async def test_an_application_load_balancer_behind_a_network_one(house: House) -> None:  # noqa: F811
    async with serving("one") as one:
        app = await house.call("create_load_balancer", Name="app", Subnets=["subnet-a", "subnet-b"])
        app_arn = app["LoadBalancers"][0]["LoadBalancerArn"]
        web = await _group(house, "web", Protocol="HTTP", Port=80)
        await _listen(house, app_arn, web, 80, "HTTP")
        await house.call("register_targets", TargetGroupArn=web, Targets=[{"Id": "127.0.0.1", "Port": one.port}])
        await house.wait("target_in_service", TargetGroupArn=web)

        net = await _network(house)
        front = await _group(house, "front", TargetType="alb", Port=80)
        await _listen(house, net["LoadBalancerArn"], front, 8080)
        await house.call("register_targets", TargetGroupArn=front, Targets=[{"Id": app_arn}])
        await house.wait("target_in_service", TargetGroupArn=front)
        assert await house.ask("whatever.example.com", port=8080) == (200, "one")
        health = await house.call("describe_target_health", TargetGroupArn=front)
        assert health["TargetHealthDescriptions"][0]["Target"] == {"Id": app_arn, "Port": 80}


@pytest.mark.parametrize("protocol", ["TCP", "HTTP"])
async def test_reasons(house: House, protocol: str) -> None:  # noqa: F811
    async with serving("one") as one:
        one.status = 500
        owner = await _network(house)
        path = {"HealthCheckPath": "/health"} if protocol == "HTTP" else {}
        group = await _group(house, "db", HealthCheckProtocol=protocol, **path)
        target = [{"Id": "127.0.0.1", "Port": one.port}]
        await house.call("register_targets", TargetGroupArn=group, Targets=target)
        states = (await house.call("describe_target_health", TargetGroupArn=group))["TargetHealthDescriptions"]
        assert states[0]["TargetHealth"]["Reason"] == "Target.NotInUse"
        await _listen(house, owner["LoadBalancerArn"], group, 5432)
        wanted = "healthy" if protocol == "TCP" else "unhealthy"
        for _ in range(600):
            states = (await house.call("describe_target_health", TargetGroupArn=group))["TargetHealthDescriptions"]
            if states[0]["TargetHealth"]["State"] == wanted:
                break
            await asyncio.sleep(0.05)
        assert states[0]["TargetHealth"]["State"] == wanted
