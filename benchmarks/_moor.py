"""What the benchmarks of the whole share: a real `moor` with its own data directory and a free port, a raw client,
a network of its own, and what a process costs.

    with server() as moor:                      # `moor up --detach` … `moor down`, the directory removed
        moor.ecs("CreateCluster", {"clusterName": "bench"})
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import boto3
from _alb import cpu_seconds, free_port

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.images import web_image

MOOR = str(Path(sys.executable).parent / "moor")
TARGET = "AmazonEC2ContainerServiceV20141113"
__all__ = ["cpu_seconds", "free_port"]

SIGNED = f"SignedHeaders=host;x-amz-date;x-amz-target, Signature={'0' * 64}"
PORT = 8080
"""Where the containers of the benchmarks listen."""


def head_of(operation: str, length: int) -> str:
    """The head of a signed ECS request, as boto3 sends it."""
    headers = {
        "Host": "127.0.0.1",
        "Authorization": f"AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/ecs/aws4_request, {SIGNED}",
        "X-Amz-Date": "20260101T000000Z",
        "X-Amz-Target": f"{TARGET}.{operation}",
        "Content-Type": "application/x-amz-json-1.1",
        "User-Agent": "Boto3/1.43.0 md/Botocore#1.43.0 ua/2.1 os/linux lang/python#3.11",
        "amz-sdk-invocation-id": "00000000-0000-4000-8000-000000000000",
        "amz-sdk-request": "attempt=1",
        "Content-Length": str(length),
    }
    return "POST / HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"


def request_bytes(operation: str, parameters: dict[str, Any]) -> bytes:
    body = json.dumps(parameters).encode()
    return head_of(operation, len(body)).encode() + body


class Moor:
    """One installation. `up` may be called again after `kill` or `down`: same directory, same port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.subnet = ""
        self.vpc = ""
        self._connection: http.client.HTTPConnection | None = None

    def up(self) -> None:
        self._moor("up", "--detach", "--port", str(self.port))

    def down(self) -> None:
        self._moor("down")

    def _moor(self, *arguments: str) -> None:
        done = subprocess.run(
            [MOOR, *arguments, "--data-dir", str(self.folder)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"moor {' '.join(arguments)}: {done.stderr or done.stdout}")

    @property
    def pid(self) -> int:
        return int(json.loads((self.folder / "moorage.pid").read_text())["pid"])

    def ecs(self, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """One call on a kept-alive connection. A refusal ends the benchmark."""
        body = json.dumps(parameters)
        head = head_of(operation, len(body)).split("\r\n")[1:-2]
        headers = dict(line.split(": ", 1) for line in head)
        for last in (False, True):
            try:
                if self._connection is None:
                    self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
                self._connection.request("POST", "/", body, headers)
                answer = self._connection.getresponse()
                text = answer.read()
                break
            except (ConnectionError, http.client.HTTPException):
                self._connection = None
                if last:
                    raise
        if answer.status != 200:
            raise SystemExit(f"{operation}: {answer.status} {text.decode()}")
        found: dict[str, Any] = json.loads(text or b"{}")
        return found

    def forget_connection(self) -> None:
        """The server that it led to is gone."""
        self._connection = None

    def client(self, service: str) -> Any:
        make: Any = boto3.client
        return make(
            service,
            endpoint_url=f"http://127.0.0.1:{self.port}",
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def make_network(self, subnets: int = 1) -> list[str]:
        """A VPC at a random place: several installations of one machine must not share a CIDR in Docker."""
        ec2 = self.client("ec2")
        second = random.randint(100, 250)
        self.vpc = ec2.create_vpc(CidrBlock=f"10.{second}.0.0/16")["Vpc"]["VpcId"]
        made = [
            ec2.create_subnet(
                VpcId=self.vpc, CidrBlock=f"10.{second}.{number}.0/24", AvailabilityZone=f"us-east-1{'abc'[number]}"
            )["Subnet"]["SubnetId"]
            for number in range(subnets)
        ]
        self.subnet = made[0]
        return made

    def register(self, family: str, image: str) -> None:
        self.ecs("RegisterTaskDefinition", task_definition(family, image))

    def run_task(self, family: str, count: int = 1, cluster: str = "bench") -> list[str]:
        """ARNs of the started tasks."""
        answer = self.ecs(
            "RunTask",
            {
                "cluster": cluster,
                "taskDefinition": family,
                "count": count,
                "launchType": "FARGATE",
                "networkConfiguration": {"awsvpcConfiguration": {"subnets": [self.subnet]}},
            },
        )
        return [task["taskArn"] for task in answer["tasks"]]

    def tasks(self, arns: Sequence[str], cluster: str = "bench") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ecs("DescribeTasks", {"cluster": cluster, "tasks": list(arns)})["tasks"]
        return found

    def wait_tasks(self, arns: Sequence[str], status: str, cluster: str = "bench") -> list[dict[str, Any]]:
        while True:
            found = self.tasks(arns, cluster)
            if all(task["lastStatus"] == status for task in found):
                return found
            for task in found:
                if task["lastStatus"] == "STOPPED" != status:
                    raise SystemExit(f"a task stopped: {task.get('stoppedReason')}")
            time.sleep(0.02)

    def stop_tasks(self, arns: Sequence[str], cluster: str = "bench") -> None:
        for arn in arns:
            self.ecs("StopTask", {"cluster": cluster, "task": arn})
        self.wait_tasks(arns, "STOPPED", cluster)


def task_definition(family: str, image: str) -> dict[str, Any]:
    return {
        "family": family,
        "networkMode": "awsvpc",
        "requiresCompatibilities": ["FARGATE"],
        "cpu": "256",
        "memory": "512",
        "containerDefinitions": [
            {"name": "web", "image": image, "portMappings": [{"containerPort": PORT}], "stopTimeout": 2}
        ],
    }


def address_of(task: dict[str, Any]) -> str | None:
    """The private address, as soon as DescribeTasks tells it."""
    for attachment in task.get("attachments", ()):
        for detail in attachment["details"]:
            if detail["name"] == "privateIPv4Address":
                return str(detail["value"])
    return None


@contextlib.contextmanager
def server(*, start: bool = True) -> Iterator[Moor]:
    folder = Path(tempfile.mkdtemp(prefix="moorage-bench-"))
    moor = Moor(folder)
    try:
        if start:
            moor.up()
        yield moor
    finally:
        try:
            moor.down()
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def image() -> str:
    """A small web server, 2 MB, in the local Docker engine."""
    return asyncio.run(web_image(port=PORT))


async def docker(*arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(
        "docker", *arguments, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    _, told = await process.communicate()
    if process.returncode:
        raise SystemExit(f"docker {' '.join(arguments)}: {told.decode().strip()}")


async def answers(address: str, port: int = PORT) -> None:
    """Asks every millisecond until it answers 200."""
    while not await answers_once(address, port):
        await asyncio.sleep(0.001)


async def answers_once(address: str, port: int = PORT, host: str = "bench") -> bool:
    try:
        reader, writer = await asyncio.open_connection(address, port)
        try:
            writer.write(f"GET /health HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
            return b" 200 " in await reader.readline()
        finally:
            writer.close()
    except OSError:
        return False


async def timed(work: Callable[[], Awaitable[None]]) -> float:
    """Seconds."""
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


def memory_mb(pid: int) -> tuple[float, float]:
    """Proportional share (PSS) and resident memory (RSS) of a process, in MB of 2^20 bytes."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    pss, rss = (int(re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE)[1]) / 1024 for name in ("Pss", "Rss"))  # type: ignore[index]
    return pss, rss


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command_of(pid: int) -> str:
    """Its words, with spaces between them."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def envoy_of(moor: Moor) -> int | None:
    """Envoy is a detached child: found by its configuration file."""
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with contextlib.suppress(OSError):
                if f"--config-path {moor.folder}" in command_of(int(process.name)):
                    return int(process.name)
    return None


def told(name: str, figure: str, goal: str, met: bool | None) -> None:
    """One line of a benchmark's summary; `run.py` collects them."""
    mark = {True: "met", False: "NOT MET", None: ""}[met]
    print(f"RESULT | {name} | {figure} | {goal} | {mark}", flush=True)


def spread(values: Sequence[float], unit: float = 1000.0) -> str:
    """Median with least and most, in ms unless told otherwise."""
    return f"{statistics.median(values) * unit:.0f} ({min(values) * unit:.0f}..{max(values) * unit:.0f})"
