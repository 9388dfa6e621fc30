"""boto3 over HTTP, real health checks, real Envoy, real backends: what a user of load balancing sees."""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
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
from moorage.services.aws_backed.acm import AcmProvider, Certificates
from moorage.services.aws_backed.forward import AwsBacked
from moorage.services.elbv2.provider import ElbV2Provider
from moorage.settings import Settings
from moorage.store.log_memory import MemoryLog
from moorage.store.memory import Store
from moorage.store.tables.elbv2 import TABLES
from proxy.certificates import Root
from proxy.servers import free_port

from .rig import REGION, Networks

KEYS: dict[str, Any] = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
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

    def __init__(self, elb: Any, acm: Any, ports: dict[int, int], certificates: Certificates) -> None:
        self.elb = elb
        self.acm = acm
        self.certificates = certificates
        self.ports = ports

    async def call(self, operation: str, **params: Any) -> Any:
        return await asyncio.to_thread(lambda: getattr(self.elb, operation)(**params))

    async def ask_acm(self, operation: str, **params: Any) -> Any:
        return await asyncio.to_thread(lambda: getattr(self.acm, operation)(**params))

    async def wait(self, waiter: str, **params: Any) -> None:
        await asyncio.to_thread(lambda: self.elb.get_waiter(waiter).wait(**params, **SOON))

    async def ask(self, dns_name: str, path: str = "/", port: int = 80) -> tuple[int, str]:
        url = f"http://127.0.0.1:{self.ports[port]}{path}"
        async with aiohttp.ClientSession() as session, session.get(url, headers={"Host": dns_name}) as response:
            return response.status, await response.text()

    async def until_open(self, dns_name: str) -> None:
        """The load balancer was active before it had a listener."""
        for _ in range(400):
            with suppress(aiohttp.ClientConnectorError):
                await self.ask(dns_name)
                return
            await asyncio.sleep(0.02)
        raise AssertionError("never open")


def _free_port(known: dict[int, int], port: int) -> int:
    if port not in known:
        known[port] = free_port()
    return known[port]


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    settings, clock, ids = Settings(port=0, data_dir=tmp_path), SystemClock(), Ids()
    ports: dict[int, int] = {}
    store = await Store.open(MemoryLog(), TABLES)
    proxy = EnvoyProxy(settings, port_of=lambda port: _free_port(ports, port), workers=1)
    targets = TargetsController(store, clock, HttpProber(), proxy)
    targets.listens_at(proxy.machine_port)
    load_balancers = LoadBalancersController(store, clock, proxy, targets.endpoints)
    gateway = Gateway(settings, clock, ids)
    backed = AwsBacked(settings, clock, ids)
    certificates = Certificates(backed, tmp_path, clock)
    certificates.on_change = load_balancers.certificate_changed
    load_balancers.certificates = certificates
    gateway.add_provider(ElbV2Provider(store, clock, ids, Networks(), certificates=certificates))
    gateway.add_provider(AcmProvider(certificates))
    gateway.add_fallback(backed.forward, services=backed.services, mixed=frozenset({"acm"}))
    async with AsyncExitStack() as stack:
        stack.push_async_callback(backed.close)
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
            **KEYS,
            config=Config(retries={"max_attempts": 0}),
        )
        acm = boto3.client("acm", endpoint_url=f"http://127.0.0.1:{port}", region_name=REGION, **KEYS)
        yield House(elb, acm, ports, certificates)


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
    await house.until_open(owner["DNSName"])
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


@asynccontextmanager
async def saying(answer: bytes | None) -> AsyncIterator[int]:
    """The port of a server that says this to everybody who asks, and ends; None: it never says anything."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            if answer is None:
                await reader.read()
            else:
                writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_the_ways_to_be_unhealthy(house: House) -> None:
    """The words of semantics elbv2 §5, each found by the checker itself."""
    mismatch, failed = "Target.ResponseCodeMismatch", ("Target.FailedHealthChecks", "Health checks failed")
    server_error, moved = b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 302 X\r\nLocation: /\r\n\r\n"
    async with (
        serving("good") as good,
        saying(server_error) as broken,
        saying(moved) as redirecting,
        saying(None) as silent,
        saying(b"hello\r\n\r\n") as foreign,
        saying(b"") as closing,
    ):
        expected = {
            broken: (mismatch, "Health checks failed with these codes: [500]"),
            redirecting: (mismatch, "Health checks failed with these codes: [302]"),
            silent: ("Target.Timeout", "Request timed out"),
            foreign: failed,
            closing: failed,
            free_port(): failed,
        }
        *_, group, listener = await _made(house, good)
        targets = [{"Id": "127.0.0.1", "Port": port} for port in expected]
        await house.call("register_targets", TargetGroupArn=group, Targets=targets)
        for port, words in expected.items():
            found = await _until(house, group, port, "unhealthy")
            assert (found["Reason"], found["Description"]) == words
        await house.call("deregister_targets", TargetGroupArn=group, Targets=targets[:1])
        assert await _until(house, group, broken, "draining") == {
            "State": "draining",
            "Reason": "Target.DeregistrationInProgress",
            "Description": "Target deregistration is in progress",
        }
        await house.call("delete_listener", ListenerArn=listener)
        assert await _until(house, group, good.port, "unused") == {
            "State": "unused",
            "Reason": "Target.NotInUse",
            "Description": "Target group is not configured to receive traffic from the load balancer",
        }


async def _https(house: House, arn: str) -> tuple[str, str]:
    """(DNS name, load balancer) with an HTTPS listener that answers 200 to everything."""
    owner = (await house.call("create_load_balancer", Name="tls", Subnets=["subnet-a", "subnet-b"]))["LoadBalancers"][0]
    await house.call(
        "create_listener",
        LoadBalancerArn=owner["LoadBalancerArn"],
        Protocol="HTTPS",
        Port=443,
        Certificates=[{"CertificateArn": arn}],
        DefaultActions=[{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "200", "MessageBody": "hi"}}],
    )
    return owner["DNSName"], owner["LoadBalancerArn"]


async def _ask_tls(house: House, name: str, context: ssl.SSLContext) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", house.ports[443], ssl=context, server_hostname=name)
    writer.write(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return answer


async def _until_verified(house: House, name: str, context: ssl.SSLContext) -> bytes:
    for _ in range(400):
        with suppress(OSError, KeyError):  # not open yet; a certificate that is not believed is an OSError too
            return await _ask_tls(house, name, context)
        await asyncio.sleep(0.02)
    raise AssertionError("never answered with a certificate that is believed")


async def test_a_requested_certificate_is_signed_by_the_local_authority(house: House) -> None:
    name = "tls.us-east-1.elb.localhost"
    wanted = await house.ask_acm(
        "request_certificate", DomainName=name, SubjectAlternativeNames=["*.us-east-1.elb.localhost"]
    )
    arn = wanted["CertificateArn"]
    assert (await house.ask_acm("describe_certificate", CertificateArn=arn))["Certificate"]["Status"] == "ISSUED"
    dns_name, _ = await _https(house, arn)
    shown = await house.ask_acm("get_certificate", CertificateArn=arn)
    context = ssl.create_default_context(cafile=str(house.certificates.authority.root_file))
    assert b"hi" in await _until_verified(house, dns_name, context)
    assert shown["CertificateChain"] == house.certificates.authority.root_file.read_text()
    directory = house.certificates.authority.directory
    for file in [*directory.iterdir(), *(directory.parent / "certificates").iterdir()]:
        assert file.stat().st_mode & 0o077 == 0


async def test_an_imported_certificate_is_swapped_in_place(house: House) -> None:
    first, second = Root(), Root()
    one = first.issue("*.us-east-1.elb.localhost")
    made = await house.ask_acm("import_certificate", Certificate=one.chain, PrivateKey=one.key)
    arn = made["CertificateArn"]
    dns_name, _ = await _https(house, arn)
    assert b"hi" in await _until_verified(house, dns_name, first.trust())
    two = second.issue("*.us-east-1.elb.localhost")
    await house.ask_acm("import_certificate", CertificateArn=arn, Certificate=two.chain, PrivateKey=two.key)
    assert b"hi" in await _until_verified(house, dns_name, second.trust())


async def test_paginators(house: House) -> None:
    for name in ("a", "b", "c"):
        await house.call("create_load_balancer", Name=name, Subnets=["subnet-a", "subnet-b"])
    pages = house.elb.get_paginator("describe_load_balancers").paginate(PaginationConfig={"PageSize": 2})
    sizes = await asyncio.to_thread(lambda: [len(page["LoadBalancers"]) for page in pages])
    assert sizes == [2, 1]


@pytest.mark.skipif(shutil.which("aws") is None, reason="needs the AWS CLI")
async def test_the_waiters_of_the_aws_cli(house: House) -> None:
    """Asked when the state is reached: the CLI looks again only after 15 seconds."""

    async def waited(what: str, *words: str) -> None:
        command = [
            "aws",
            "--endpoint-url",
            house.elb.meta.endpoint_url,
            "--region",
            REGION,
            "elbv2",
            "wait",
            what,
            *words,
        ]
        keys = {name.upper(): value for name, value in KEYS.items()}
        process = await asyncio.create_subprocess_exec(
            *command, env={**os.environ, **keys}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        out, _ = await asyncio.wait_for(process.communicate(), 30)
        assert process.returncode == 0, (what, out.decode())

    async with serving("one") as one:
        _, owner, group, _ = await _made(house, one)
        target = ("--target-group-arn", group, "--targets", f"Id=127.0.0.1,Port={one.port}")
        await asyncio.gather(
            waited("load-balancer-available", "--load-balancer-arns", owner),
            waited("load-balancer-exists", "--names", "web"),
            waited("target-in-service", *target),
        )
        delay = [{"Key": "deregistration_delay.timeout_seconds", "Value": "0"}]
        await house.call("modify_target_group_attributes", TargetGroupArn=group, Attributes=delay)
        await house.call("deregister_targets", TargetGroupArn=group, Targets=[{"Id": "127.0.0.1", "Port": one.port}])
        await _until(house, group, one.port, "unused")
        await house.call("delete_load_balancer", LoadBalancerArn=owner)
        await asyncio.gather(
            waited("target-deregistered", *target), waited("load-balancers-deleted", "--load-balancer-arns", owner)
        )
