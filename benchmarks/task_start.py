"""How long a task takes to its first HTTP 200, against `docker run` of the same image: ratios, measured in one run.

    .venv/bin/python benchmarks/task_start.py [--rounds 7] [--at-once 10]

Moorage: a sandbox of the warm pool is claimed, the container is created in it and started, and asked until it answers.
`docker run -d` on a bridge network of its own with a given address, asked until it answers. Both take turns, so that
both see the same neighbours. Goal: ≤ 0.7, one at a time and ten at once. Filling the pool happens before the clock
starts; what it costs is printed too, and a start without the pool beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from moorage.domain.errors import MoorageError
from moorage.engine.docker import DockerEngine
from moorage.engine.docker.names import mac_address
from moorage.engine.driver import ContainerSpec, SandboxSpec, SubnetNetwork
from moorage.settings import Settings
from support.images import web_image

GOAL = 0.7
PORT = 8080


class Bench:
    """Two networks side by side: ours and one for `docker run`; addresses .20 and up in both."""

    def __init__(self, engine: DockerEngine, image: str) -> None:
        self.engine = engine
        self.image = image
        self.subnet = SubnetNetwork(f"moorage-bench-{engine.installation}", "10.199.1.0/24", "subnet-bench")
        self.plain = f"moorage-bench-plain-{engine.installation}"

    async def setup(self) -> None:
        await docker("network", "create", "--subnet", "10.199.2.0/24", self.plain)
        await self.engine.warm(self.subnet, "10.199.1.10", mac_address("10.199.1.10"))

    async def teardown(self) -> None:
        await self.engine.cleanup()
        await docker("network", "rm", self.plain)

    async def warm(self, count: int) -> None:
        addresses = [f"10.199.1.{20 + number}" for number in range(count)]
        await asyncio.gather(*(self.engine.warm(self.subnet, each, mac_address(each)) for each in addresses))

    async def task(self, number: int) -> None:
        address = f"10.199.1.{20 + number}"
        arn = f"arn:aws:ecs:us-east-1:000000000000:task/bench/{number:032x}"
        sandbox = await self.engine.start_sandbox(SandboxSpec(arn, "awsvpc", {}, self.subnet, address))
        name = f"moorage-bench-{self.engine.installation}-{number}"
        await self.engine.start(await self.engine.create(ContainerSpec("web", name, arn, self.image, {}), sandbox))
        await answers(address)

    async def remove_tasks(self) -> None:
        for found in sorted(await self.engine.list(), key=lambda found: found.sandbox):
            await (self.engine.remove_sandbox if found.sandbox else self.engine.remove)(found.id)

    async def docker_run(self, number: int) -> None:
        address = f"10.199.2.{20 + number}"
        name = f"{self.plain}-{number}"
        await docker("run", "-d", "--name", name, "--network", self.plain, "--ip", address, self.image)
        await answers(address)

    async def remove_runs(self, count: int) -> None:
        await docker("rm", "-f", *(f"{self.plain}-{number}" for number in range(count)))


async def docker(*arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(
        "docker", *arguments, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    _, told = await process.communicate()
    if process.returncode:
        raise SystemExit(f"docker {' '.join(arguments)}: {told.decode().strip()}")


async def answers(address: str) -> None:
    """Asks every millisecond until it answers 200."""
    while True:
        try:
            reader, writer = await asyncio.open_connection(address, PORT)
            writer.write(b"GET /health HTTP/1.0\r\n\r\n")
            line = await reader.readline()
            writer.close()
            if b" 200 " in line:
                return
        except OSError:
            pass
        await asyncio.sleep(0.001)


async def timed(work: Callable[[int], Awaitable[None]], count: int) -> float:
    started = time.perf_counter()
    await asyncio.gather(*(work(number) for number in range(count)))
    return time.perf_counter() - started


async def compare(bench: Bench, rounds: int, count: int) -> None:
    ours, theirs, cold, filling = [], [], [], []
    for _ in range(rounds):
        filling.append(await timed(lambda _: bench.warm(count), 1))
        ours.append(await timed(bench.task, count))
        await bench.remove_tasks()
        theirs.append(await timed(bench.docker_run, count))
        await bench.remove_runs(count)
        cold.append(await timed(bench.task, count))
        await bench.remove_tasks()
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    ratio = statistics.median(ratios)
    what = "1 task" if count == 1 else f"{count} tasks at once"
    print(
        f"{what}: {ratio:.2f} × docker run (goal ≤ {GOAL}; {min(ratios):.2f} to {max(ratios):.2f} in {rounds} rounds) — "
        f"{1000 * statistics.median(ours):.0f} ms against {1000 * statistics.median(theirs):.0f} ms; "
        f"without the pool {statistics.median(cold) / statistics.median(theirs):.2f} ×; "
        f"filling the pool took {1000 * statistics.median(filling) / count:.0f} ms each",
        flush=True,
    )


async def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--at-once", type=int, default=10)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        engine = DockerEngine(Settings(data_dir=Path(folder)))
        try:
            await engine.check()
            bench = Bench(engine, await web_image(port=PORT))
            try:
                await bench.setup()
                await compare(bench, arguments.rounds, 1)
                await compare(bench, max(3, arguments.rounds // 2), arguments.at_once)
            finally:
                await bench.teardown()
        except MoorageError as error:
            print(error, file=sys.stderr)
            return 1
        finally:
            await engine.close()
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
