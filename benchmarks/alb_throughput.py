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
from pathlib import Path
from typing import Any

from _alb import Measured, Ports, backend, cpu_seconds, free_port, load, load_balancer, run_nginx, target_group

from moorage.proxy.envoy.proxy import EnvoyProxy
from moorage.settings import Settings

TURNS = 11
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


async def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        async with backend(work) as backend_port:
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
                subjects = {
                    "minimal Envoy": (by_hand, hand.pid),
                    "load balancer": (ports(80), proxy.status()["pid"]),
                }
                if nginx is None:
                    print("nginx is not installed: no row for it")
                    await compare(subjects, config.load_balancer.dns_name, seconds)
                else:
                    port = free_port()
                    upstream = f"upstream b {{ server 127.0.0.1:{backend_port}; keepalive 64; }}"
                    location = 'proxy_pass http://b; proxy_http_version 1.1; proxy_set_header Connection "";'
                    server = f"{upstream} server {{ listen 127.0.0.1:{port}; location / {{ {location} }} }}"
                    async with run_nginx(nginx, work / "proxy.conf", server) as pid:
                        await compare({**subjects, "nginx": (port, pid)}, config.load_balancer.dns_name, seconds)
            finally:
                hand.terminate()
                await hand.wait()
                await proxy.stop()


async def compare(subjects: dict[str, tuple[int, int]], host: str, seconds: float) -> None:
    got: dict[str, list[Measured]] = {name: [] for name in subjects}
    cpu: dict[str, list[float]] = {name: [] for name in subjects}
    for port, _ in subjects.values():
        await load(port, host, seconds=1.0, connections=CONNECTIONS)
    for turn in range(TURNS):
        names = list(subjects) if turn % 2 else list(reversed(subjects))
        for name in names:
            port, pid = subjects[name]
            before = cpu_seconds(pid)
            measured = await load(port, host, seconds=seconds, connections=CONNECTIONS)
            cpu[name].append((cpu_seconds(pid) - before) / measured.requests * 1e6)
            got[name].append(measured)
    print(
        f"{'':16}{'requests/s':>12}{'× minimal':>11}{'p99 ms':>9}{'× minimal':>11}{'µs CPU/request':>16}{'× minimal':>11}"
    )
    base, base_cpu = got["minimal Envoy"], cpu["minimal Envoy"]
    for name, turns in got.items():
        rate = statistics.median(m.per_second for m in turns)
        # turn by turn, so that what else the machine does falls on both
        ratio = statistics.median(m.per_second / b.per_second for m, b in zip(turns, base, strict=True))
        p99 = statistics.median(m.p99_ms for m in turns)
        slower = statistics.median(b.p99_ms / m.p99_ms for m, b in zip(turns, base, strict=True))
        # the cheapest fifth: dearer turns had to share caches with somebody
        low = len(turns) // 5
        micros = sorted(cpu[name])[low]
        # nginx works in a child process, whose time is not seen here
        spent = f"{micros:16.1f}{sorted(base_cpu)[low] / micros:11.2f}" if name != "nginx" else f"{'-':>16}"
        print(f"{name:16}{rate:12.0f}{ratio:11.2f}{p99:9.2f}{slower:11.2f}{spent}")


if __name__ == "__main__":
    asyncio.run(main())
