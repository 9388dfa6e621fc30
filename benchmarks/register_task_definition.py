"""Durable RegisterTaskDefinition per second, 8 clients over HTTP against a real server. Goal: ≥ 500/s.

    .venv/bin/python benchmarks/register_task_definition.py [--seconds 5] [--connections 8]

Each client registers a family of its own on a kept-alive connection with a raw client; every answer means that the
revision is on disk. Beside it, in turns: what the disk gives, that is appends of 4 kB by one writer, each with fsync.
The client shares the machine's cores with the server.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import time
from pathlib import Path

import uvloop
from _moor import Moor, cpu_seconds, request_bytes, server, task_definition, told

GOAL = 500


async def client(port: int, request: bytes, until: float, latencies: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    while (begin := time.perf_counter()) < until:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        lowered = head.lower()
        start = lowered.index(b"content-length:") + 15
        body = await reader.readexactly(int(lowered[start : lowered.index(b"\r\n", start)]))
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"refused: {body!r}")
        latencies.append(time.perf_counter() - begin)
    writer.close()


async def load(port: int, connections: int, seconds: float) -> list[float]:
    latencies: list[float] = []
    requests = [request_bytes("RegisterTaskDefinition", definition(f"family-{n}")) for n in range(connections)]
    until = time.perf_counter() + seconds
    await asyncio.gather(*(client(port, request, until, latencies) for request in requests))
    return sorted(latencies)


def definition(family: str) -> dict[str, object]:
    """Two containers with what a definition of every day has."""
    made = task_definition(family, "public.ecr.aws/nginx/nginx:latest")
    made["executionRoleArn"] = "arn:aws:iam::000000000000:role/execution"
    container = made["containerDefinitions"][0]
    container["environment"] = [{"name": f"NAME_{n}", "value": f"value {n}"} for n in range(6)]
    container["logConfiguration"] = {
        "logDriver": "awslogs",
        "options": {"awslogs-group": "/bench", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "web"},
    }
    container["healthCheck"] = {"command": ["CMD-SHELL", "curl -f http://localhost:8080/health || exit 1"]}
    made["containerDefinitions"].append({"name": "sidecar", "image": "envoy:latest", "essential": False, "cpu": 64})
    return made


def syncs_per_second(folder: Path, seconds: float = 1.0) -> float:
    """Appends of 4 kB, each followed by fsync: the ceiling without group commit."""
    path, count = folder / "syncs", 0
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        os.write(file, b"x" * 4096)
        os.fsync(file)
        count += 1
    os.close(file)
    path.unlink()
    return count / seconds


def measure(moor: Moor, connections: int, seconds: float) -> tuple[float, list[float], float]:
    before = cpu_seconds(moor.pid)
    latencies = uvloop.run(load(moor.port, connections, seconds))
    busy = (cpu_seconds(moor.pid) - before) / seconds
    return len(latencies) / seconds, latencies, busy


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=4.0, help="length of one round")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with server() as moor:
        measure(moor, options.connections, 0.5)
        rounds, syncs = [], []
        for _ in range(options.rounds):
            syncs.append(syncs_per_second(moor.folder))
            rounds.append(measure(moor, options.connections, options.seconds))
    rate, latencies, busy = sorted(rounds, key=lambda entry: entry[0])[len(rounds) // 2]
    p50, p99 = (1000 * latencies[int(len(latencies) * part)] for part in (0.5, 0.99))
    print(f"{rate:.0f}/s, p50 {p50:.1f} ms, p99 {p99:.1f} ms, the server used {100 * busy:.0f} % of a core")
    rates = [entry[0] for entry in rounds]
    told(
        f"RegisterTaskDefinition, durable, {options.connections} clients",
        f"{rate:.0f}/s ({min(rates):.0f}..{max(rates):.0f}), with a disk of {statistics.median(syncs):.0f} fsyncs/s",
        f"≥ {GOAL}/s",
        rate >= GOAL,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
