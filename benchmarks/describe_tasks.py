"""ECS DescribeTasks with ten running tasks: the real server beside moto_server, same call, same raw client, one run.

    .venv/bin/python benchmarks/describe_tasks.py [--seconds 3] [--connections 8]

The tasks are real containers of a real `moor`; moto_server describes ten tasks of its own. Goal: at least 10 × the
requests per second, p99 ≤ 10 ms at 8 connections. Rounds alternate; the client shares the machine's cores with both.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

from _moor import image, request_bytes, server, told
from gateway_roundtrip import free_port, measure, report, started, ten_tasks_in_moto
from gateway_roundtrip import request_bytes as moto_request

GOAL, GOAL_P99 = 10.0, 0.010


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
        for port, request in ((moor.port, our_request), (theirs, their_request)):
            measure(port, request, options.connections, 0.5)
        ours, others = [], []
        for _ in range(options.rounds):
            ours.append(measure(moor.port, our_request, options.connections, options.seconds))
            others.append(measure(theirs, their_request, options.connections, options.seconds))
    print(f"ECS DescribeTasks, 10 tasks, {options.connections} connections")
    report("moor", ours)
    report("moto_server", others)
    ratios = [mine[0] / other[0] for mine, other in zip(ours, others, strict=True)]
    ratio = statistics.median(ratios)
    p99 = statistics.median(latencies[int(len(latencies) * 0.99)] for _, latencies in ours)
    told(
        "DescribeTasks (10 tasks) per second / moto_server",
        f"{ratio:.1f} × ({min(ratios):.1f}..{max(ratios):.1f})",
        f"≥ {GOAL:.0f} ×",
        ratio >= GOAL,
    )
    told(
        f"DescribeTasks p99 at {options.connections} connections",
        f"{1000 * p99:.1f} ms",
        f"≤ {1000 * GOAL_P99:.0f} ms",
        p99 <= GOAL_P99,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
