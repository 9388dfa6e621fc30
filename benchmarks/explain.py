"""What `moor explain <service>` costs in fleets of 1,000 and of 20,000 tasks, ten of them in every service.

    .venv/bin/python benchmarks/explain.py

Processor time of one explanation, median of 200 services. Goal: the larger fleet costs at most 1.5 times the smaller one.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time

from _fleet import Fleet, fleet

from moorage.control.explainer import Explainer
from moorage.control.plane import ControlPlane
from moorage.control.ports import PassThroughImages
from moorage.domain.clock import Ids, SystemClock
from moorage.engine.simulated import SimulatedEngine
from moorage.proxy.simulated import SimulatedProxy
from moorage.simulation.network import SCOPE, SimulatedProber
from moorage.simulation.process import TABLES
from moorage.store.log import Commit
from moorage.store.log_memory import MemoryDisk, MemoryLog
from moorage.store.memory import Store

SMALL, LARGE = (100, 1_000), (2_000, 20_000)
LOOKS = 200
GOAL = 1.5


async def cost(made: Fleet) -> float:
    """Seconds of one explanation."""
    disk = MemoryDisk()
    disk.write(Commit(tuple(made.writes())))
    store = await Store.open(MemoryLog(disk), TABLES)
    clock = SystemClock()
    engine = SimulatedEngine(clock, seed=1, images={})
    plane = ControlPlane(
        store,
        clock,
        Ids(1),
        engine=engine,
        proxy=SimulatedProxy(clock, seed=1),
        prober=SimulatedProber(engine),
        images=PassThroughImages(),
    )
    explainer = Explainer(store, clock, plane)
    gc.collect()
    gc.freeze()  # as the server does after its start
    taken = []
    for number in range(LOOKS):
        name = made.services[number * len(made.services) // LOOKS].name
        began = time.process_time()
        await explainer.explain(name, None, SCOPE)
        taken.append(time.process_time() - began)
    return statistics.median(taken)


def main() -> None:
    found = []
    for services, tasks in (SMALL, LARGE):
        found.append(asyncio.run(cost(fleet(services, tasks))))
        print(f"{tasks} tasks in {services} services: {found[-1] * 1e3:.2f} ms", flush=True)
    ratio = found[1] / found[0]
    print(f"RESULT | explain a service | ratio {ratio:.2f} | ≤ {GOAL} | {'met' if ratio <= GOAL else 'not met'}")


if __name__ == "__main__":
    main()
