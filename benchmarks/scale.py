"""How the control plane does with large fleets, in the simulated world: 10,000 and 100,000 tasks.

    .venv/bin/python benchmarks/scale.py [--part events|recovery|deployment ...]

* events: processor time of "a task died → its replacement is written", in both fleets. Goal: ratio ≤ 1.5.
* recovery: a store of 100,000 tasks in SQLite is opened, everything is looked at, nothing is restarted. Goal: ≤ 10 s,
  and ≤ 4 KB of memory per task.
* deployment: processor time that a service of 500 tasks needs to decide its rolling update. Goal: ≤ 1 s.

Every part runs in a process of its own. What the simulated engine costs is in the figures where it cannot be told apart
(the list of 200,000 containers at the start), and printed beside them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import gc
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from _fleet import IMAGES, Fleet, fleet, networks

from moorage.control.adoption import Adoption
from moorage.control.container_network import sandbox_spec
from moorage.control.container_spec import container_spec, labels
from moorage.domain.clock import Ids, SystemClock
from moorage.engine.simulated import SimulatedEngine
from moorage.proxy.simulated import SimulatedProxy
from moorage.simulation import loop
from moorage.simulation.network import Networks, SimulatedProber
from moorage.simulation.process import TABLES, Process
from moorage.simulation.world import World
from moorage.store.log import Commit
from moorage.store.log_memory import MemoryDisk, MemoryLog
from moorage.store.log_sqlite import SqliteLog
from moorage.store.memory import Store
from moorage.store.tables.ecs import TASKS

SMALL, LARGE = (1_000, 10_000), (5_000, 100_000)
EVENTS = 200
SETTLED = 7200.0
"""Seconds: the template was started at the epoch of simulated time and ran for an hour."""


def told(what: str, figure: str, goal: str, met: bool) -> None:
    print(f"RESULT | {what} | {figure} | {goal} | {'met' if met else 'not met'}", flush=True)


def stand(engine: SimulatedEngine, made: Fleet) -> None:
    """The fleet's containers run on the simulated host."""
    subnets = networks()
    [document] = [record.document for table, record in made.records if table.name == "task_definitions"]
    for task in made.tasks:
        assert task.interface is not None
        spec = container_spec(task, document, document.container_definitions[0], "web")
        runtime_id = task.containers[0].runtime_id or ""
        engine.stand(
            task.sandbox_id or "",
            sandbox_spec(task, document, subnets[task.interface.subnet_id], labels(task)),
            {runtime_id: spec},
        )


@contextlib.contextmanager
def frozen() -> Iterator[None]:
    """What was made so far is not looked at by the collector: the server does the same after its start."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


# === events ==========================================================================================================
async def _events(services: int, tasks: int) -> list[float]:
    made = fleet_in_thread(services, tasks)
    clock = loop.VirtualClock(asyncio.get_running_loop(), epoch=loop.EPOCH + SETTLED)
    engine = SimulatedEngine(clock, images=IMAGES)
    stand(engine, made)
    disk = MemoryDisk()
    disk.write(Commit(tuple(made.writes())))
    process = await Process.start(
        MemoryLog(disk, latency=0.002),
        clock,
        Ids(1),
        engine,
        SimulatedProxy(clock),
        SimulatedProber(engine),
        Networks(),
        verify=False,
    )
    await asyncio.sleep(30)
    took = []
    with frozen():
        for number in range(EVENTS + 20):
            victim = made.tasks[(number * 7919) % len(made.tasks)]
            before = process.store.find(TASKS, "service_all", victim.service_arn)
            started = time.process_time()
            engine.kill(victim.containers[0].runtime_id or "")
            while len(process.store.find(TASKS, "service_all", victim.service_arn)) == len(before):
                await asyncio.sleep(0.001)
            took.append(time.process_time() - started)
            await asyncio.sleep(20)
    await process.kill()
    return took[20:]


def fleet_in_thread(services: int, tasks: int) -> Fleet:
    """A fleet is made in an event loop of its own."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(fleet, services, tasks).result()


def events(size: tuple[int, int]) -> list[float]:
    return loop.run(_events(*size))


# === recovery ========================================================================================================
async def _fill(path: Path, made: Fleet) -> None:
    store = await Store.open(SqliteLog(path), TABLES)
    for start in range(0, len(made.records), 5000):
        chunk = made.records[start : start + 5000]
        await store.update(lambda tx, chunk=chunk: [tx.put(table, record) for table, record in chunk])
    await store.close()


class _Heap(ctypes.Structure):
    """glibc's `struct mallinfo2`."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    )  # fmt: skip


def memory() -> int:
    """Bytes that this process has in use. By the allocator's own count where Python leaves everything to it
    (PYTHONMALLOC=malloc) and it is glibc's: pages would also count the holes that the making of the fleet leaves."""
    count = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if os.environ.get("PYTHONMALLOC") == "malloc" and count is not None:
        count.restype = _Heap
        heap = count()
        return int(heap.uordblks + heap.hblkhd)
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no Pss")


def _compared() -> asyncio.Event:
    """Set when everything that the engine knows was compared with the records once."""
    done, resync = asyncio.Event(), Adoption.resync

    async def told_of(self: Adoption) -> None:
        await resync(self)
        done.set()

    Adoption.resync = told_of  # type: ignore[method-assign]
    return done


async def _recover(path: Path, size: tuple[int, int]) -> dict[str, float]:
    made = fleet_in_thread(*size)
    clock = SystemClock()
    engine = SimulatedEngine(clock, images=IMAGES)
    stand(engine, made)
    del made
    gc.collect()
    gc.freeze()
    gc.disable()  # as the server does until it has started
    compared = _compared()
    before = memory()
    started, cpu = time.perf_counter(), time.process_time()
    log: Any = SqliteLog(path)
    process = await Process.start(
        log, clock, Ids(1), engine, SimulatedProxy(clock), SimulatedProber(engine), Networks(), verify=False
    )
    up = time.perf_counter() - started
    gc.freeze()
    gc.enable()
    plane = process.plane
    await compared.wait()
    for work in (plane.services.loop, plane.tasks.loop, plane.targets.groups, plane.targets.checks):
        await work.quiet()
    settled, used = time.perf_counter() - started, time.process_time() - cpu
    gc.unfreeze()
    gc.collect()
    after = memory()
    harm = sum(engine.counts[verb] for verb in ("create", "start", "stop", "remove", "remove_sandbox", "start_sandbox"))
    living = len(process.store.find(TASKS, "live", True))
    await plane.close()
    await process.store.close()
    return {"up": up, "settled": settled, "cpu": used, "bytes": after - before, "harm": harm, "living": living}


def recovery(size: tuple[int, int]) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="moorage-bench-") as directory:
        path = Path(directory) / "state.db"
        asyncio.run(_fill(path, fleet(*size)))
        return asyncio.run(_recover(path, size))


# === deployment ======================================================================================================
async def _deployment(tasks: int) -> dict[str, float]:
    async with World(images=IMAGES) as world:
        world.networks.by_id = networks()
        await world.create_cluster()
        await world.register("web")
        await world.create_service(desired=tasks, maximum=110)
        await world.stable(within=3600)
        controller = world.process.plane.services
        spent, passes = 0.0, 0
        write = controller._write

        def timed(*arguments: Any) -> Any:
            nonlocal spent, passes
            started = time.process_time()
            answer = write(*arguments)
            spent += time.process_time() - started
            passes += 1
            return answer

        controller._write = timed
        await world.update_service(forceNewDeployment=True)
        started = time.process_time()
        took = await world.stable(within=7200)
        return {"decides": spent, "passes": passes, "cpu": time.process_time() - started, "took": took}


def deployment(tasks: int) -> dict[str, float]:
    return loop.run(_deployment(tasks))


# === all of it =======================================================================================================
def apart(function: Callable[[Any], Any], argument: Any) -> Any:
    """In a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, (argument,))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--part", nargs="+", choices=("events", "recovery", "deployment"))
    parser.add_argument("--small", action="store_true", help="a tenth of everything, to see that it runs")
    given = parser.parse_args()
    parts = given.part or ("events", "recovery", "deployment")
    small, large = ((100, 1_000), (500, 10_000)) if given.small else (SMALL, LARGE)
    if "events" in parts:
        medians = {}
        for size in (small, large):
            took = apart(events, size)
            medians[size] = statistics.median(took)
            print(
                f"{size[1]} tasks of {size[0]} services: task died -> replacement written: "
                f"{medians[size] * 1e3:.2f} ms of processor (fastest {min(took) * 1e3:.2f}, slowest {max(took) * 1e3:.2f})"
            )
        ratio = medians[large] / medians[small]
        told(f"cost of one event, {large[1]} tasks / {small[1]} tasks", f"{ratio:.2f} x", "<= 1.5 x", ratio <= 1.5)
    if "recovery" in parts:
        found = apart(recovery, large)
        print(
            f"{large[1]} tasks: the store is open and everything wakes after {found['up']:.2f} s, settled after "
            f"{found['settled']:.2f} s ({found['cpu']:.2f} s of processor); {found['living']} tasks live, "
            f"{found['harm']} calls that change a container"
        )
        told(f"recovery of {large[1]} tasks", f"{found['settled']:.1f} s", "<= 10 s", found["settled"] <= 10)
        os.environ["PYTHONMALLOC"] = "malloc"
        each = apart(recovery, large)["bytes"] / large[1]
        del os.environ["PYTHONMALLOC"]
        told(f"memory of {large[1]} tasks, each", f"{each / 1024:.2f} KB", "<= 4 KB", each <= 4096)
    if "deployment" in parts:
        tasks = 50 if given.small else 500
        found = apart(deployment, tasks)
        print(
            f"rolling update of {tasks} tasks: {found['passes']} passes in {found['took']:.0f} s of simulated time; all of "
            f"the simulated world needed {found['cpu']:.1f} s of processor for it"
        )
        told(
            f"a rolling update of {tasks} tasks decides in",
            f"{found['decides']:.2f} s",
            "<= 1 s",
            found["decides"] <= 1,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
