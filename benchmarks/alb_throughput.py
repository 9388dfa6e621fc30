"""Requests per second and p99 through a load balancer, against a hand-written minimal Envoy (and nginx, when installed)
in front of the same backend, in turns within one run.

`python benchmarks/alb_throughput.py [seconds per turn]`. Goal: at least 0.9 × the minimal Envoy. The load generator and
the backend share the machine's cores with the proxies, so look at the CPU per request as well: it is measured in the same
turns, and what else the machine does falls on it much less than on the wall clock.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec
from _alb import Measured, Ports, backend, cpu_seconds, free_port, load, load_balancer, run_nginx, target_group

from moorage.proxy.envoy.proxy import EnvoyProxy
from moorage.settings import Settings

ROUNDS = 5
"""With new processes each: where their memory happens to lie makes one Envoy up to a tenth faster than another."""
TURNS = 5
MINIMAL, OURS, BY_NAME, NGINX = "minimal Envoy", "load balancer", "by its name", "nginx"
"""A load balancer has an address of its own; its name leads to a door that it shares with others."""
CONNECTIONS = 64
WORKERS = 1
HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"


def minimal(port: int, backend_port: int) -> dict[str, Any]:
    """The Envoy configuration that a person writes by hand for one backend."""
    manager = {
        "@type": HCM,
        "stat_prefix": "ingress",
        "route_config": {
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "b"}}]}
            ]
        },
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER}}],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    target = {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": backend_port}}}}
    return {
        "static_resources": {
            "listeners": [{"name": "l", "address": address, "filter_chains": [chain]}],
            "clusters": [
                {
                    "name": "b",
                    "type": "STATIC",
                    "load_assignment": {"cluster_name": "b", "endpoints": [{"lb_endpoints": [target]}]},
                }
            ],
        }
    }


class Subject(msgspec.Struct, frozen=True):
    address: str
    port: int
    pid: int


async def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if nginx is None:
        print("nginx is not installed: no row for it")
    got: dict[str, list[Measured]] = defaultdict(list)
    cpu: dict[str, list[float]] = defaultdict(list)
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as directory:
            async with backend(Path(directory)) as backend_port:
                await one_round(Path(directory), backend_port, nginx, seconds, got, cpu)
    report(got, cpu)


async def one_round(
    work: Path,
    backend_port: int,
    nginx: str | None,
    seconds: float,
    got: dict[str, list[Measured]],
    cpu: dict[str, list[float]],
) -> None:
    ports = Ports()
    proxy = EnvoyProxy(Settings(data_dir=work), port_of=ports, workers=WORKERS)
    await proxy.start()
    group = target_group("web", ("127.0.0.1", backend_port))
    await proxy.put_target_group(group)
    config = load_balancer(1, [group.target_group.arn], rules=20)
    await proxy.put_load_balancer(config)

    by_hand = free_port()
    file = work / "minimal.json"
    file.write_text(json.dumps(minimal(by_hand, backend_port)))
    binary = proxy.process._find_binary()
    options = ("--disable-hot-restart", "--concurrency", str(WORKERS), "--log-level", "error")
    # in a session of its own like ours: the kernel shares the cores by session
    hand = await asyncio.create_subprocess_exec(str(binary), "-c", str(file), *options, start_new_session=True)
    await asyncio.sleep(1.0)
    try:
        pid, loopback, host = proxy.status()["pid"], config.load_balancer.loopback, config.load_balancer.dns_name
        subjects = {
            MINIMAL: Subject("127.0.0.1", by_hand, hand.pid),
            OURS: Subject(loopback, ports(80), pid),
            BY_NAME: Subject("127.0.0.1", ports(80), pid),
        }
        if nginx is None:
            await turns(subjects, host, seconds, got, cpu)
            return
        port = free_port()
        upstream = f"upstream b {{ server 127.0.0.1:{backend_port}; keepalive 64; }}"
        location = 'proxy_pass http://b; proxy_http_version 1.1; proxy_set_header Connection "";'
        server = f"{upstream} server {{ listen 127.0.0.1:{port}; location / {{ {location} }} }}"
        async with run_nginx(nginx, work / "proxy.conf", server) as pid:
            await turns({**subjects, NGINX: Subject("127.0.0.1", port, pid)}, host, seconds, got, cpu)
    finally:
        hand.terminate()
        await hand.wait()
        await proxy.stop()


async def turns(
    subjects: dict[str, Subject],
    host: str,
    seconds: float,
    got: dict[str, list[Measured]],
    cpu: dict[str, list[float]],
) -> None:
    for one in subjects.values():
        await load(one.port, host, seconds=1.0, connections=CONNECTIONS, address=one.address)
    for turn in range(TURNS):
        names = list(subjects) if turn % 2 else list(reversed(subjects))
        for name in names:
            one = subjects[name]
            before = cpu_seconds(one.pid)
            measured = await load(one.port, host, seconds=seconds, connections=CONNECTIONS, address=one.address)
            cpu[name].append((cpu_seconds(one.pid) - before) / measured.requests * 1e6)
            got[name].append(measured)


def report(got: dict[str, list[Measured]], cpu: dict[str, list[float]]) -> None:
    print(
        f"{'':16}{'requests/s':>12}{'× minimal':>11}{'p99 ms':>9}{'× minimal':>11}{'µs CPU/request':>16}{'× minimal':>11}"
    )
    base = got[MINIMAL]
    for name in (MINIMAL, OURS, BY_NAME, NGINX):
        if name not in got:
            continue
        rate = statistics.median(m.per_second for m in got[name])
        # turn by turn, so that what else the machine does falls on both
        ratio = statistics.median(m.per_second / b.per_second for m, b in zip(got[name], base, strict=True))
        p99 = statistics.median(m.p99_ms for m in got[name])
        slower = statistics.median(m.p99_ms for m in base) / p99
        micros = statistics.median(cpu[name])
        # nginx works in a child process, whose time is not seen here
        spent = f"{micros:16.1f}{statistics.median(cpu[MINIMAL]) / micros:11.2f}" if name != NGINX else f"{'-':>16}"
        print(f"{name:16}{rate:12.0f}{ratio:11.2f}{p99:9.2f}{slower:11.2f}{spent}")


if __name__ == "__main__":
    asyncio.run(main())
