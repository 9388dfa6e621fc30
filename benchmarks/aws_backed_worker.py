"""The embedded AWS in its child process: start, memory, calls, durability, replay.

`python benchmarks/aws_backed_worker.py`.
Everything is measured in one run; `moto_server` (the same moto behind its own web server) is the yardstick for calls.
"""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp

from moorage.domain.clock import SystemClock
from moorage.domain.scope import Scope
from moorage.services.aws_backed import client
from moorage.services.aws_backed.forward import AwsBacked
from moorage.settings import Settings

SCOPE = Scope("000000000000", "us-east-1")
TABLE = {
    "TableName": "t",
    "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
    "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
    "BillingMode": "PAY_PER_REQUEST",
}
CALLS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "STS GetCallerIdentity": ("sts", "GetCallerIdentity", {}),
    "DynamoDB GetItem": ("dynamodb", "GetItem", {"TableName": "t", "Key": {"id": {"S": "1"}}}),
    "DynamoDB PutItem (durable)": ("dynamodb", "PutItem", {"TableName": "t", "Item": {"id": {"S": "1"}}}),
    "IAM GetRole": ("iam", "GetRole", {"RoleName": "r"}),
    "EC2 DescribeSubnets": ("ec2", "DescribeSubnets", {}),
}
COUNT = 100
ROUNDS = 5
CONNECTIONS = 8


async def seconds(call: Callable[[], Awaitable[Any]]) -> float:
    """What `COUNT` calls take, `CONNECTIONS` at once."""
    left = COUNT

    async def one() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await call()

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(CONNECTIONS)))
    return time.perf_counter() - began


async def rates(*calls: Callable[[], Awaitable[Any]]) -> list[float]:
    """Calls per second, in alternating rounds, so that whatever else the machine does hits all of them."""
    spent = [0.0] * len(calls)
    for _ in range(ROUNDS):
        for index, call in enumerate(calls):
            spent[index] += await seconds(call)
    return [COUNT * ROUNDS / each for each in spent]


def resident(pid: int | None) -> float:
    """Megabytes."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


async def start_and_memory(folder: Path) -> None:
    print("first call of each service in a new worker     seconds   worker MB after it")
    backed = AwsBacked(Settings(data_dir=folder), SystemClock())
    firsts = [
        ("sts", "GetCallerIdentity"),
        ("iam", "ListRoles"),
        ("ec2", "DescribeVpcs"),
        ("s3", "ListBuckets"),
        ("sqs", "ListQueues"),
        ("sns", "ListTopics"),
        ("dynamodb", "ListTables"),
        ("secretsmanager", "ListSecrets"),
        ("ssm", "DescribeParameters"),
        ("kms", "ListKeys"),
        ("cloudwatch", "DescribeAlarms"),
        ("apigateway", "GetRestApis"),
        ("route53", "ListHostedZones"),
        ("cloudformation", "ListStacks"),
    ]
    for service, operation in firsts:
        began = time.perf_counter()
        await backed.call(SCOPE, service, operation, {})
        took = time.perf_counter() - began
        print(f"  {service + ' ' + operation:40} {took:12.2f} {resident(backed.worker.pid):12.0f}")
    await backed.close()


async def calls(folder: Path) -> None:
    backed = AwsBacked(Settings(data_dir=folder), SystemClock())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        async with aiohttp.ClientSession() as session:

            async def moto(service: str, operation: str, params: dict[str, Any]) -> None:
                made = client.serialize(service, operation, params, SCOPE.region)
                headers = dict(made.headers)
                headers.pop("Host")
                scope = f"Credential=test/20260101/us-east-1/{service}/aws4_request"
                headers["Authorization"] = f"AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0"
                url = f"http://127.0.0.1:{port}{made.path}"
                async with session.request(made.method, url, headers=headers, data=made.body) as response:
                    await response.read()

            for _ in range(100):
                try:
                    await moto("sts", "GetCallerIdentity", {})
                    break
                except aiohttp.ClientError:
                    await asyncio.sleep(0.1)
            trust = '{"Version":"2012-10-17","Statement":[]}'
            for service, operation, params in (
                ("dynamodb", "CreateTable", TABLE),
                ("iam", "CreateRole", {"RoleName": "r", "AssumeRolePolicyDocument": trust}),
                ("ec2", "DescribeVpcs", {}),
            ):
                await moto(service, operation, params)
                await backed.call(SCOPE, service, operation, params)
            print(f"\ncalls per second, {CONNECTIONS} at once{'':14} moorage   moto_server     ratio")
            for name, (service, operation, params) in CALLS.items():
                ours, theirs = await rates(
                    lambda s=service, o=operation, p=params: backed.call(SCOPE, s, o, p),
                    lambda s=service, o=operation, p=params: moto(s, o, p),
                )
                print(f"  {name:40} {ours:10.0f} {theirs:13.0f} {ours / theirs:9.1f}")
    finally:
        server.terminate()
        server.wait()
    await backed.close()


async def replay(folder: Path) -> None:
    backed = AwsBacked(Settings(data_dir=folder), SystemClock())
    await backed.call(SCOPE, "dynamodb", "CreateTable", TABLE)
    for index in range(500):
        await backed.call(SCOPE, "dynamodb", "PutItem", {"TableName": "t", "Item": {"id": {"S": str(index)}}})
    vpc = (await backed.call(SCOPE, "ec2", "CreateVpc", {"CidrBlock": "10.0.0.0/16"}))["Vpc"]["VpcId"]
    for index in range(100):
        await backed.call(SCOPE, "ec2", "CreateSubnet", {"VpcId": vpc, "CidrBlock": f"10.0.{index}.0/24"})
        role = {"RoleName": f"r{index}", "AssumeRolePolicyDocument": '{"Version":"2012-10-17","Statement":[]}'}
        await backed.call(SCOPE, "iam", "CreateRole", role)
    await backed.close()
    again = AwsBacked(Settings(data_dir=folder), SystemClock())
    began = time.perf_counter()
    await again.call(SCOPE, "sts", "GetCallerIdentity", {})
    took = time.perf_counter() - began
    ready = again.worker.ready
    assert ready is not None
    size = (folder / "aws-backed.journal").stat().st_size
    print(f"\nstart with a journal of {ready.replayed} requests ({size // 1024} kB): {took:.2f} s to the first answer,")
    print(f"  of which replay {ready.seconds:.2f} s ({ready.replayed / ready.seconds:.0f} requests per second)")
    began = time.perf_counter()
    await again.reset()
    print(f"reset of all that: {(time.perf_counter() - began) * 1000:.1f} ms")
    await again.close()


async def main() -> None:
    for part in (start_and_memory, calls, replay):
        with tempfile.TemporaryDirectory() as folder:
            await part(Path(folder))


if __name__ == "__main__":
    asyncio.run(main())
