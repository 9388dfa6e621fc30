"""RunTask → HTTP 200 from the container, against `docker run` of the same image: ratios, measured in one run.

    .venv/bin/python benchmarks/run_task.py [--rounds 7] [--at-once 10] [--trace]

Moorage: the RunTask call over HTTP to a real server, its address read from DescribeTasks, the container asked until it
answers 200. `docker run -d` on a bridge network with a given address, asked the same way. Both take turns. Goal: ≤ 0.7,
one at a time and ten at once. Between rounds the tasks are stopped and the warm pool fills again (a fixed rest).
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time

from _moor import Moor, address_of, answers, docker, image, server, spread, told

GOAL = 0.7
REST = 4.0
"""Seconds for the warm pool to fill again after a burst of ten."""


async def through_ecs(moor: Moor, count: int, started: list[str]) -> None:
    arns = await asyncio.to_thread(moor.run_task, "web", count)
    started.extend(arns)
    waiting = set(arns)
    asking = []
    while waiting:
        for task in await asyncio.to_thread(moor.tasks, sorted(waiting)):
            address = address_of(task)
            if address is not None:
                waiting.discard(task["taskArn"])
                asking.append(asyncio.create_task(answers(address)))
        if waiting:
            await asyncio.sleep(0.002)
    await asyncio.gather(*asking)


async def docker_runs(network: str, subnet: str, web: str, count: int) -> None:
    async def one(number: int) -> None:
        address = f"{subnet}.{20 + number}"
        await docker("run", "-d", "--name", f"{network}-{number}", "--network", network, "--ip", address, web)
        await answers(address)

    await asyncio.gather(*(one(number) for number in range(count)))


async def compare(moor: Moor, web: str, rounds: int, count: int, rest: float) -> None:
    network = f"moorage-bench-plain-{moor.port}"
    subnet = f"10.99.{moor.port % 250}"
    await docker("network", "create", "--subnet", f"{subnet}.0/24", network)
    ours: list[float] = []
    theirs: list[float] = []
    try:
        for number in range(rounds + 1):  # the first is for warming up both
            arns: list[str] = []
            began = time.perf_counter()
            await through_ecs(moor, count, arns)
            mine = time.perf_counter() - began
            await asyncio.to_thread(moor.wait_tasks, arns, "RUNNING")
            await asyncio.to_thread(moor.stop_tasks, arns)
            await asyncio.sleep(rest)
            began = time.perf_counter()
            await docker_runs(network, subnet, web, count)
            other = time.perf_counter() - began
            await docker("rm", "-f", *(f"{network}-{index}" for index in range(count)))
            if number:
                ours.append(mine)
                theirs.append(other)
    finally:
        await docker("network", "rm", network)
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    ratio = statistics.median(ratios)
    what = "1 task" if count == 1 else f"{count} tasks at once"
    print(f"{what}: RunTask → 200 {spread(ours)} ms, docker run → 200 {spread(theirs)} ms, {rounds} rounds", flush=True)
    told(
        f"RunTask → HTTP 200 / docker run → HTTP 200, {what}",
        f"{ratio:.2f} × ({min(ratios):.2f}..{max(ratios):.2f})",
        f"≤ {GOAL} ×",
        ratio <= GOAL,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--at-once", type=int, default=10)
    options = parser.parse_args()
    web = image()
    with server() as moor:
        moor.make_network()
        moor.ecs("CreateCluster", {"clusterName": "bench"})
        moor.register("web", web)
        asyncio.run(compare(moor, web, options.rounds, 1, 1.0))
        asyncio.run(compare(moor, web, max(3, options.rounds // 2), options.at_once, REST))
    return 0


if __name__ == "__main__":
    sys.exit(main())
