"""ECS DescribeTasks with ten running tasks: the real server beside moto_server, same call, same raw client, one run.

    .venv/bin/python benchmarks/describe_tasks.py [--seconds 3] [--connections 8]

The tasks are real containers of a real `moor`; moto_server describes ten tasks of its own. Goal: at least 10 × the
requests per second, p99 ≤ 10 ms at 8 connections. Rounds alternate; the client shares the machine's cores with both. On
a machine that does other things too, p99 says mostly how long a process waits for a core: a server that only sends the
same bytes back, measured in the same rounds, is printed beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import re
import socket
import statistics
import sys
import time
from pathlib import Path
from typing import cast

import uvloop
from _moor import image, request_bytes, server, told
from gateway_roundtrip import free_port, measure, report, started, ten_tasks_in_moto
from gateway_roundtrip import request_bytes as moto_request

GOAL, GOAL_P99 = 10.0, 0.010
REST = 6.0
"""Seconds after the start of ten tasks until the warm pool is full again."""


async def echo(port: int, answer: bytes) -> None:
    """A server that sends `answer` for whatever comes: what the machine and the client cost by themselves."""

    class Same(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = cast("asyncio.Transport", transport)

        def data_received(self, _data: bytes) -> None:
            self.transport.write(answer)

    server = await asyncio.get_running_loop().create_server(Same, "127.0.0.1", port)
    await server.serve_forever()


def one_answer(port: int, request: bytes) -> bytes:
    """The whole HTTP response to one request."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(request)
        data = connection.recv(1 << 20)
        while True:
            head, separator, body = data.partition(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", head)
            if separator and length and len(body) >= int(length[1]):
                return data
            data += connection.recv(1 << 20)


def p99(rounds: list[tuple[float, list[float]]]) -> float:
    """Seconds; the median round."""
    return statistics.median(latencies[int(len(latencies) * 0.99)] for _, latencies in rounds)


def uvloop_run(port: int, answer: bytes) -> None:
    uvloop.run(echo(port, answer))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=8)
    options = parser.parse_args()
    moto_server = str(Path(sys.executable).parent / "moto_server")
    theirs = free_port()
    web = image()
    with server() as moor, started([moto_server, "-H", "127.0.0.1", "-p", str(theirs)], theirs):
        moor.make_network()
        moor.ecs("CreateCluster", {"clusterName": "bench"})
        moor.register("web", web)
        arns = moor.run_task("web", 10)
        moor.wait_tasks(arns, "RUNNING")
        our_request = request_bytes("DescribeTasks", {"cluster": "bench", "tasks": arns})
        their_request = moto_request(ten_tasks_in_moto(theirs))
        same = free_port()
        process = multiprocessing.Process(
            target=uvloop_run, args=(same, one_answer(moor.port, our_request)), daemon=True
        )
        process.start()
        time.sleep(REST)
        for port, request in ((moor.port, our_request), (theirs, their_request), (same, our_request)):
            measure(port, request, options.connections, 0.5)
        ours, others, bare = [], [], []
        for _ in range(options.rounds):
            ours.append(measure(moor.port, our_request, options.connections, options.seconds))
            others.append(measure(theirs, their_request, options.connections, options.seconds))
            bare.append(measure(same, our_request, options.connections, options.seconds))
        process.terminate()
    print(f"ECS DescribeTasks, 10 tasks, {options.connections} connections")
    report("moor", ours)
    report("moto_server", others)
    report("same bytes", bare)
    ratios = [mine[0] / other[0] for mine, other in zip(ours, others, strict=True)]
    ratio = statistics.median(ratios)
    told(
        "DescribeTasks (10 tasks) per second / moto_server",
        f"{ratio:.1f} × ({min(ratios):.1f}..{max(ratios):.1f})",
        f"≥ {GOAL:.0f} ×",
        ratio >= GOAL,
    )
    told(
        f"DescribeTasks p99 at {options.connections} connections",
        f"{1000 * p99(ours):.1f} ms (same bytes from a server that does nothing: {1000 * p99(bare):.1f} ms)",
        f"≤ {1000 * GOAL_P99:.0f} ms",
        p99(ours) <= GOAL_P99,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
