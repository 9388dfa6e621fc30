"""How long a change takes until requests see it, with one load balancer and with 50 × 500 target groups; memory and idle
CPU of Envoy at that size.

`python benchmarks/alb_changes.py [load balancers] [target groups]`. Goals at 50 × 500: a target change in 20 ms, a rule
change in 50 ms. `returned` is when the call came back, `live` when a new request saw it (looking begins with the call).
"""

from __future__ import annotations

import asyncio
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from _alb import Ports, cpu_seconds, load_balancer, memory_mb, target_group

from moorage.proxy.envoy.proxy import EnvoyProxy
from moorage.settings import Settings

CHANGES = 20
RULES = 10


class Named(asyncio.Protocol):
    """A backend that answers with its name."""

    def __init__(self, name: str) -> None:
        self.name = name.encode()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(self.name), self.name))  # type: ignore[attr-defined]


class Door:
    """One kept connection to the load balancer under test."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
        self.reader, self.writer, self.host = reader, writer, host

    async def get(self, path: str) -> str:
        self.writer.write(f"GET {path} HTTP/1.1\r\nHost: {self.host}\r\n\r\n".encode())
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        return (await self.reader.readexactly(length)).decode()


async def until(door: Door, path: str, expected: str) -> float:
    while await door.get(path) != expected:
        await asyncio.sleep(0)
    return time.perf_counter()


async def timed(change: Callable[[int], Awaitable[None]], door: Door, path: str, expect: Callable[[int], str]) -> str:
    returned, live = [], []
    for i in range(CHANGES):
        start = time.perf_counter()
        looking = asyncio.create_task(until(door, path, expect(i)))
        await change(i)
        returned.append((time.perf_counter() - start) * 1000)
        live.append((await looking - start) * 1000)
    return (
        f"returned {statistics.median(returned):6.1f} ms, live {statistics.median(live):6.1f} (worst {max(live):.1f})"
    )


async def measure(balancers: int, groups: int) -> None:
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(lambda n=n: Named(n), "127.0.0.1", 0) for n in ("even", "odd")]
    targets = [s.sockets[0].getsockname() for s in servers]
    with tempfile.TemporaryDirectory() as directory:
        ports = Ports()
        proxy = EnvoyProxy(Settings(data_dir=Path(directory)), port_of=ports, workers=2)
        await proxy.start()
        try:
            start = time.perf_counter()
            configs = [target_group(f"g{i}", targets[0]) for i in range(groups)]
            for config in configs:
                await proxy.put_target_group(config)
            arns = [config.target_group.arn for config in configs]
            share = max(1, groups // balancers)
            of = [arns[n * share : (n + 1) * share] or arns[:1] for n in range(balancers)]
            for n in range(balancers):
                await proxy.put_load_balancer(load_balancer(n, of[n], rules=RULES))
            built = time.perf_counter() - start
            print(f"{balancers} load balancers × {RULES} rules, {groups} target groups (built in {built:.1f} s)")

            name = load_balancer(0, of[0], rules=0).load_balancer.dns_name
            door = Door(*await asyncio.open_connection("127.0.0.1", ports(80)), name)

            async def retarget(i: int) -> None:
                await proxy.put_target_group(target_group("g0", targets[(i + 1) % 2]))

            async def rule(i: int) -> None:
                await proxy.put_load_balancer(load_balancer(0, of[0], rules=RULES, marker=f"m{i}"))

            async def new_group(i: int) -> None:
                await proxy.put_target_group(target_group(f"new-{i}", targets[0]))

            print("  target change   ", await timed(retarget, door, "/", lambda i: ("odd", "even")[i % 2]))
            print("  rule change     ", await timed(rule, door, "/marker", lambda i: f"m{i}"))
            print("  new target group", await timed(new_group, door, "/", lambda _: "even"))
            pid = proxy.status()["pid"]
            before, own = cpu_seconds(pid), resource.getrusage(resource.RUSAGE_SELF)
            await asyncio.sleep(5)
            after = resource.getrusage(resource.RUSAGE_SELF)
            ours = (after.ru_utime + after.ru_stime - own.ru_utime - own.ru_stime) / 5
            idle = (cpu_seconds(pid) - before) / 5
            print(f"  Envoy: {memory_mb(pid):.0f} MB, {idle:.1%} of a core at rest (control plane {ours:.1%})")
        finally:
            await proxy.stop()
            for server in servers:
                server.close()


async def main() -> None:
    balancers = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    groups = int(sys.argv[2]) if len(sys.argv) > 2 else 500
    await measure(1, 1)
    await measure(balancers, groups)


if __name__ == "__main__":
    asyncio.run(main())
