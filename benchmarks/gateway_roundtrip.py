"""ECS DescribeTasks with ten tasks over HTTP: Moorage's gateway beside moto_server, same call, same client, one run.

    python benchmarks/gateway_roundtrip.py [--seconds 3] [--connections 8] [--profile]

Prints requests per second, latency percentiles and the ratio. Goal: at least 10 x moto_server, p99 at most 10 ms.
Both servers and the client share the machine's cores; rounds alternate, the median round counts.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TARGET = "AmazonEC2ContainerServiceV20141113"
SIGNED = f"SignedHeaders=host;x-amz-date;x-amz-target, Signature={'0' * 64}"
CLUSTER = "arn:aws:ecs:us-east-1:000000000000:cluster/demo"


def task(index: int) -> dict[str, Any]:
    """A Fargate task as DescribeTasks tells it: two containers, an ENI, health, times."""
    arn = f"arn:aws:ecs:us-east-1:000000000000:task/demo/{index:032x}"
    attachment = f"{index:08x}-0000-4000-8000-000000000000"
    return {
        "attachments": [
            {
                "id": attachment,
                "type": "ElasticNetworkInterface",
                "status": "ATTACHED",
                "details": [
                    {"name": "subnetId", "value": "subnet-0123456789abcdef0"},
                    {"name": "networkInterfaceId", "value": f"eni-{index:017x}"},
                    {"name": "macAddress", "value": "02:42:0a:00:01:14"},
                    {"name": "privateDnsName", "value": f"ip-10-0-1-{index}.ec2.internal"},
                    {"name": "privateIPv4Address", "value": f"10.0.1.{index}"},
                ],
            }
        ],
        "attributes": [{"name": "ecs.cpu-architecture", "value": "x86_64"}],
        "availabilityZone": "us-east-1a",
        "clusterArn": CLUSTER,
        "connectivity": "CONNECTED",
        "connectivityAt": 1763765000.123,
        "containers": [container(arn, index, name) for name in ("app", "sidecar")],
        "cpu": "256",
        "createdAt": 1763764998.5,
        "desiredStatus": "RUNNING",
        "enableExecuteCommand": False,
        "group": "service:query",
        "healthStatus": "HEALTHY",
        "lastStatus": "RUNNING",
        "launchType": "FARGATE",
        "memory": "512",
        "overrides": {
            "containerOverrides": [{"name": "app"}, {"name": "sidecar"}],
            "inferenceAcceleratorOverrides": [],
        },
        "platformFamily": "Linux",
        "platformVersion": "1.4.0",
        "pullStartedAt": 1763764999.1,
        "pullStoppedAt": 1763765000.2,
        "startedAt": 1763765001.75,
        "startedBy": "ecs-svc/1234567890123456789",
        "stoppedAt": None,
        "stoppedReason": None,
        "tags": [],
        "taskArn": arn,
        "taskDefinitionArn": "arn:aws:ecs:us-east-1:000000000000:task-definition/query:7",
        "version": 5,
        "ephemeralStorage": {"sizeInGiB": 20},
    }


def container(task_arn: str, index: int, name: str) -> dict[str, Any]:
    return {
        "containerArn": f"arn:aws:ecs:us-east-1:000000000000:container/demo/{index:032x}/{name}",
        "taskArn": task_arn,
        "name": name,
        "image": f"000000000000.dkr.ecr.us-east-1.localhost:4566/query/{name}:latest",
        "imageDigest": "sha256:" + "ab" * 32,
        "runtimeId": f"{index:032x}-0000000000",
        "lastStatus": "RUNNING",
        "exitCode": None,
        "networkBindings": [],
        "networkInterfaces": [{"attachmentId": f"{index:08x}-a", "privateIpv4Address": f"10.0.1.{index}"}],
        "healthStatus": "HEALTHY",
        "cpu": "0",
    }


# ── servers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def serve(port: int) -> None:
    from moorage.domain.clock import Ids, SystemClock
    from moorage.gateway.server import Gateway
    from moorage.services.base import Provider, RequestContext, operation
    from moorage.settings import Settings

    tasks = {described["taskArn"]: described for described in (task(index) for index in range(1, 11))}

    class Tasks(Provider):
        service = "ecs"

        @operation("DescribeTasks")
        async def describe_tasks(self, _context: RequestContext, params: dict[str, Any]) -> dict[str, Any]:
            return {"tasks": [tasks[arn] for arn in params["tasks"]], "failures": []}

    gateway = Gateway(Settings(port=port, data_dir=Path("/nonexistent")), SystemClock(), Ids())
    gateway.add_provider(Tasks())
    await gateway.start()
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()
    await gateway.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def started(command: list[str], port: int) -> Iterator[int]:
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 30
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                if time.monotonic() > deadline or process.poll() is not None:
                    log.seek(0)
                    raise SystemExit(f"{command[0]} did not start:\n{log.read().decode()[-2000:]}")
                time.sleep(0.05)
            yield port
        finally:
            process.terminate()
            process.wait(10)


def ten_tasks_in_moto(port: int) -> list[str]:
    import boto3

    def client(name: str) -> Any:
        url = f"http://127.0.0.1:{port}"
        return boto3.client(
            name, endpoint_url=url, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
        )

    subnet = client("ec2").describe_subnets()["Subnets"][0]["SubnetId"]
    group = client("ec2").describe_security_groups()["SecurityGroups"][0]["GroupId"]
    ecs = client("ecs")
    ecs.create_cluster(clusterName="demo")
    ecs.register_task_definition(
        family="query",
        networkMode="awsvpc",
        requiresCompatibilities=["FARGATE"],
        cpu="256",
        memory="512",
        containerDefinitions=[{"name": name, "image": "a", "memory": 128} for name in ("app", "sidecar")],
    )
    arns: list[str] = []
    while len(arns) < 10:
        answer = ecs.run_task(
            cluster="demo",
            taskDefinition="query",
            launchType="FARGATE",
            networkConfiguration={"awsvpcConfiguration": {"subnets": [subnet], "securityGroups": [group]}},
        )
        arns += [started["taskArn"] for started in answer["tasks"]]
    return arns


# ── client ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def request_bytes(arns: list[str]) -> bytes:
    body = json.dumps({"cluster": "demo", "tasks": arns}).encode()
    scope = "test/20260101/us-east-1/ecs/aws4_request"
    headers = {
        "Host": "127.0.0.1",
        "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, {SIGNED}",
        "X-Amz-Date": "20260101T000000Z",
        "X-Amz-Target": f"{TARGET}.DescribeTasks",
        "Content-Type": "application/x-amz-json-1.1",
        "User-Agent": "Boto3/1.43.0 md/Botocore#1.43.0 ua/2.1 os/linux lang/python#3.11",
        "amz-sdk-invocation-id": "00000000-0000-4000-8000-000000000000",
        "amz-sdk-request": "attempt=1",
        "Content-Length": str(len(body)),
    }
    head = "POST / HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return head.encode() + b"\r\n" + body


async def connection(port: int, request: bytes, until: float, latencies: list[float]) -> None:
    """Sends the request again and again on one kept-alive connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    clock = time.perf_counter
    while (begin := clock()) < until:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        lowered = head.lower()
        start = lowered.index(b"content-length:") + 15
        length = int(lowered[start : lowered.index(b"\r\n", start)])
        body = await reader.readexactly(length)
        latencies.append(clock() - begin)
        if b"connection: close" in lowered:
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    assert body.count(b"taskDefinitionArn") == 10, body[:500]
    writer.close()


def measure(port: int, request: bytes, connections: int, seconds: float) -> tuple[float, list[float]]:
    """Requests per second and all latencies (s)."""
    import uvloop

    async def run() -> tuple[float, list[float]]:
        latencies: list[float] = []
        begin = time.perf_counter()
        await asyncio.gather(*(connection(port, request, begin + seconds, latencies) for _ in range(connections)))
        return len(latencies) / (time.perf_counter() - begin), sorted(latencies)

    return uvloop.run(run())


def report(name: str, rounds: list[tuple[float, list[float]]]) -> float:
    rate, latencies = sorted(rounds, key=lambda entry: entry[0])[len(rounds) // 2]
    p50, p99 = (1000 * latencies[int(len(latencies) * part)] for part in (0.5, 0.99))
    spread = f"{min(entry[0] for entry in rounds):.0f}..{max(entry[0] for entry in rounds):.0f}"
    print(f"{name:<14}{rate:>9.0f} req/s   p50 {p50:6.2f} ms   p99 {p99:6.2f} ms   (rounds {spread})")
    return rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument(
        "--serve", type=int, metavar="PORT", help="only serve Moorage's gateway (used by the benchmark itself)"
    )
    options = parser.parse_args()
    if options.serve:
        import uvloop

        uvloop.run(serve(options.serve))
        return
    moto_server = str(Path(sys.executable).parent / "moto_server")
    ours, theirs = free_port(), free_port()
    with (
        started([sys.executable, __file__, "--serve", str(ours)], ours),
        started([moto_server, "-H", "127.0.0.1", "-p", str(theirs)], theirs),
    ):
        our_request = request_bytes([task(index)["taskArn"] for index in range(1, 11)])
        their_request = request_bytes(ten_tasks_in_moto(theirs))
        for port, request in ((ours, our_request), (theirs, their_request)):
            measure(port, request, options.connections, 0.5)
        our_rounds, their_rounds = [], []
        for _ in range(options.rounds):
            our_rounds.append(measure(ours, our_request, options.connections, options.seconds))
            their_rounds.append(measure(theirs, their_request, options.connections, options.seconds))
    print(f"ECS DescribeTasks, 10 tasks, {options.connections} connections")
    rate = report("Moorage", our_rounds)
    reference = report("moto_server", their_rounds)
    print(f"ratio {rate / reference:.1f} x (goal 10), medians of {options.rounds} rounds")


if __name__ == "__main__":
    main()
