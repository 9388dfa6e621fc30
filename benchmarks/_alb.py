"""What the load balancer benchmarks share: records, a fast backend, load (wrk when installed), CPU of a process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import socket
import statistics
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from moorage.domain.load_balancer import Condition, FixedResponse, Forward, Listener, LoadBalancer, Rule
from moorage.domain.load_balancer import WeightedTargetGroup as Weighted
from moorage.domain.target_group import HealthCheck, TargetGroup
from moorage.proxy.driver import Endpoint, LoadBalancerConfig, TargetGroupConfig

ARN = "arn:aws:elasticloadbalancing:us-east-1:000000000000:"
BODY = b"x" * 200
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Ports:
    """Port of the API → a free port of this machine."""

    def __init__(self) -> None:
        self.known: dict[int, int] = {}

    def __call__(self, port: int) -> int:
        return self.known.setdefault(port, free_port())


def target_group(name: str, *endpoints: tuple[str, int]) -> TargetGroupConfig:
    group = TargetGroup(
        arn=f"{ARN}targetgroup/{name}/73e2d6bc24d8a067",
        account="000000000000",
        region="us-east-1",
        name=name,
        full_name=f"targetgroup/{name}/73e2d6bc24d8a067",
        target_type="ip",
        protocol="HTTP",
        protocol_version="HTTP1",
        port=80,
        vpc_id="vpc-1",
        ip_address_type="ipv4",
        health_check=HealthCheck(),
        created_at=0.0,
    )
    return TargetGroupConfig(group, tuple(Endpoint(*e) for e in endpoints))


def load_balancer(number: int, group_arns: list[str], *, rules: int, marker: str = "") -> LoadBalancerConfig:
    """A listener on port 80 with `rules` path rules over the groups; `marker` is what the rule for /marker answers."""
    name = f"bench-{number}"
    balancer = LoadBalancer(
        arn=f"{ARN}loadbalancer/app/{name}/50dc6c495c0c9188",
        account="000000000000",
        region="us-east-1",
        name=name,
        type="application",
        scheme="internet-facing",
        dns_name=f"{name}-1234567890.us-east-1.elb.localhost",
        full_name=f"app/{name}/50dc6c495c0c9188",
        vpc_id="vpc-1",
        subnets=(),
        security_groups=(),
        ip_address_type="ipv4",
        canonical_hosted_zone_id="Z35SXDOTRQ7X7K",
        loopback=f"127.84.{number // 250}.{number % 250 + 1}",
        created_at=0.0,
        state="active",
    )
    arn = f"{ARN}listener/{balancer.full_name}/1"
    listener = Listener(arn, balancer.arn, 80, "HTTP", (Forward((Weighted(group_arns[0]),)),), f"{arn}/default")
    made = [
        Rule(
            arn=f"{arn}/{i}",
            listener_arn=arn,
            priority=i + 10,
            conditions=(Condition("path-pattern", (f"/service-{i}/*",)),),
            actions=(Forward((Weighted(group_arns[i % len(group_arns)]),)),),
        )
        for i in range(rules)
    ]
    if marker:
        answer = (FixedResponse("200", None, marker),)
        made.append(Rule(f"{arn}/m", arn, 1, (Condition("path-pattern", ("/marker",)),), answer))
    return LoadBalancerConfig(balancer, (listener,), {arn: tuple(made)})


class _Fast(asyncio.Protocol):
    """Answers every request head with the same 200 bytes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(ANSWER * data.count(b"\r\n\r\n"))  # type: ignore[attr-defined]


@contextlib.asynccontextmanager
async def backend(work: Path) -> AsyncIterator[int]:
    """The port of a fast backend: nginx when installed, else a few lines of asyncio."""
    nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if nginx is None:
        server = await asyncio.get_running_loop().create_server(_Fast, "127.0.0.1", 0)
        yield server.sockets[0].getsockname()[1]
        server.close()
        return
    port = free_port()
    location = f'location / {{ default_type text/plain; return 200 "{BODY.decode()}"; }}'
    async with run_nginx(nginx, work / "backend.conf", f"server {{ listen 127.0.0.1:{port}; {location} }}"):
        yield port


@contextlib.asynccontextmanager
async def run_nginx(nginx: str, config: Path, servers: str, workers: int = 1) -> AsyncIterator[int]:
    """Runs nginx with these server blocks; yields its pid."""
    config.write_text(
        f"daemon off; worker_processes {workers}; pid {config}.pid; error_log {config}.log;\n"
        "events { worker_connections 1024; }\n"
        f"http {{ access_log off; keepalive_requests 1000000000; {servers} }}\n"
    )
    process = await asyncio.create_subprocess_exec(nginx, "-c", str(config))
    try:
        await asyncio.sleep(0.5)
        yield process.pid
    finally:
        process.terminate()
        await process.wait()


class Measured(msgspec.Struct, frozen=True):
    per_second: float
    p99_ms: float
    requests: int


async def load(
    port: int, host: str, *, seconds: float, connections: int, path: str = "/", address: str = "127.0.0.1"
) -> Measured:
    """Keep-alive GETs from `connections` connections; wrk when installed, else asyncio in this process."""
    wrk = shutil.which("wrk")
    if wrk is None:
        return await _own_load(address, port, host, seconds=seconds, connections=connections, path=path)
    process = await asyncio.create_subprocess_exec(
        *(wrk, "-t1", f"-c{connections}", f"-d{seconds:.0f}s", "--latency", "-H", f"Host: {host}"),
        f"http://{address}:{port}{path}",
        stdout=asyncio.subprocess.PIPE,
    )
    text = (await process.communicate())[0].decode()
    if "Non-2xx" in text or "Socket errors" in text:
        raise SystemExit(f"the load had errors:\n{text}")
    number = r"([\d.]+)"
    amount, unit = re.search(rf"99%\s+{number}(\w+)", text).groups()  # type: ignore[union-attr]
    milliseconds = float(amount) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[unit]
    total = int(re.search(r"(\d+) requests in", text).group(1))  # type: ignore[union-attr]
    return Measured(float(re.search(rf"Requests/sec:\s+{number}", text).group(1)), milliseconds, total)  # type: ignore[union-attr]


async def _own_load(address: str, port: int, host: str, *, seconds: float, connections: int, path: str) -> Measured:
    request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    times: list[float] = []
    end = time.perf_counter() + seconds

    async def client() -> None:
        reader, writer = await asyncio.open_connection(address, port)
        while (start := time.perf_counter()) < end:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise SystemExit(f"the load had an error: {head!r}")
            length = re.search(rb"(?i)content-length: (\d+)", head)
            await reader.readexactly(int(length.group(1)) if length else 0)
            times.append(time.perf_counter() - start)
        writer.close()

    await asyncio.gather(*(client() for _ in range(connections)))
    p99 = statistics.quantiles(times, n=100)[98] * 1000
    return Measured(len(times) / seconds, p99, len(times))


def cpu_seconds(pid: int) -> float:
    """Processor time of a process: its living threads to the nanosecond where the kernel tells, else by its ticks."""
    try:
        threads = [file.read_text() for file in Path(f"/proc/{pid}/task").glob("*/schedstat")]
        if threads:
            return sum(int(one.split()[0]) for one in threads) / 1e9
    except OSError:
        pass
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
