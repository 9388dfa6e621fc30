"""Containers with a network of their own (bridge, host, none) on a real engine: ports, links, names, ranges; volumes."""

from __future__ import annotations

import asyncio
import socket
import subprocess

import aiohttp
import pytest

from moorage.engine.docker import DockerEngine
from moorage.engine.driver import (
    CannotCreateVolumeError,
    CannotPullContainerError,
    CannotStartContainerError,
    Mount,
    PortBinding,
    Ulimit,
    VolumeSpec,
)
from support.images import web_image

from .conftest import make, no_network, output, run

pytestmark = pytest.mark.docker


async def get(url: str) -> str:
    async with aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(url) as answer:
                    return await answer.text()
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.02)


async def test_bridge_mode_publishes_fixed_ports_free_ports_and_ranges(engine: DockerEngine):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    ports = (PortBinding(8080, free), PortBinding(8080), PortBinding(9000, 0, "udp"), PortBinding(7000, size=3))
    web = await web_image(port=8080, body="bridge\n")
    container = await run(engine, web, None, network="bridge", ports=ports)
    found = await engine.inspect(container)
    assert found is not None
    assert found.ipv4 is not None
    by_port: dict[int, list[int]] = {}
    for binding in found.ports:
        by_port.setdefault(binding.container_port, []).append(binding.host_port)
    assert free in by_port[8080]
    assert len(by_port[8080]) == 2
    for port in by_port[8080]:
        assert await get(f"http://127.0.0.1:{port}/") == "bridge\n"
    [first] = by_port[7000]
    assert (by_port[7001], by_port[7002]) == ([first + 1], [first + 2])
    taken = await make(engine, web, None, network="bridge", ports=(PortBinding(80, free),))
    with pytest.raises(CannotStartContainerError, match=f"{free} failed: port is already allocated"):
        await engine.start(taken)


async def test_links_host_names_dns_and_settings_are_the_containers_own(engine: DockerEngine, busybox: str):
    sandbox = await engine.start_sandbox(no_network())
    await run(
        engine,
        await web_image(port=80, body="linked\n"),
        None,
        sandbox,
        network="bridge",
        docker_name="moorage-test-db",
    )
    look = "hostname; cat /proc/sys/net/core/somaxconn /etc/resolv.conf /etc/hosts; wget -qO- http://db/"
    container = await run(
        engine,
        busybox,
        look,
        sandbox,
        network="bridge",
        hostname="front",
        links=(("moorage-test-db", "db"),),
        dns_servers=("192.0.2.53",),
        dns_search=("corp.example",),
        extra_hosts=(("old", "192.0.2.1"),),
        system_controls={"net.core.somaxconn": "77"},
    )
    lines = await output(engine, container)
    assert lines[:2] == ["front", "77"]
    assert lines[-1] == "linked"
    text = "\n".join(lines)
    assert "nameserver 192.0.2.53" in text
    assert "search corp.example" in text
    assert "192.0.2.1\told" in text


async def test_host_mode_shares_the_hosts_network_and_none_has_only_loopback(engine: DockerEngine, busybox: str):
    on_host = await run(engine, busybox, "grep -c docker0 /proc/net/dev", network="host")
    alone = await run(engine, busybox, "tail -n +3 /proc/net/dev | wc -l", network="none")
    assert await output(engine, on_host) == ["1"]
    # Kernels may put tunnel devices beside; none of them leads anywhere.
    assert int((await output(engine, alone))[0]) >= 1


async def test_process_ids_and_ipc_of_a_task(engine: DockerEngine, busybox: str):
    sandbox = await engine.start_sandbox(
        type(no_network())(task_arn=no_network(7).task_arn, mode="none", labels={}, shares_ipc=True)
    )
    shared = {"pid_mode": "sandbox", "ipc_mode": "sandbox"}
    first = await run(engine, busybox, "touch /dev/shm/seen; sleep 1000", sandbox, **shared)
    assert first
    script = "until test -e /dev/shm/seen; do usleep 10000; done; ps | grep -c '[s]leep 1000'; cat /proc/1/comm"
    assert (await output(engine, await run(engine, busybox, script, sandbox, **shared)))[-1] == "pause"


async def test_files_are_there_when_it_starts(engine: DockerEngine, busybox: str):
    container = await run(engine, busybox, "cat /made/up/path.conf", files={"/made/up/path.conf": b"given\n"})
    assert await output(engine, container) == ["given"]


async def test_volumes_are_made_found_and_missed(engine: DockerEngine, busybox: str):
    name = f"moorage-test-{engine.installation}"
    path = await engine.ensure_volume(VolumeSpec(name, labels={"of": "me"}))
    assert await engine.ensure_volume(VolumeSpec(name, create=False)) == path
    await output(engine, await run(engine, busybox, "echo kept > /v/x", mounts=(Mount("/v", name),)))
    assert await output(engine, await run(engine, busybox, "cat /v/x", mounts=(Mount("/v", path),))) == ["kept"]
    with pytest.raises(CannotCreateVolumeError, match="does not exist and autoprovision is set to false"):
        await engine.ensure_volume(VolumeSpec(f"{name}-absent", create=False))
    outliving = f"{name}-shared"
    await engine.ensure_volume(VolumeSpec(outliving, outlives=True))
    try:
        await engine.cleanup()
        left = subprocess.run(
            ["docker", "volume", "ls", "-q"], capture_output=True, text=True, check=True
        ).stdout.split()
        assert outliving in left
        assert name not in left
    finally:
        subprocess.run(["docker", "volume", "rm", outliving], check=True, capture_output=True)


async def test_an_image_for_another_processor_is_refused(engine: DockerEngine, busybox: str):
    machine = (await engine.check()).architecture
    native, other = ("arm64", "amd64") if "aarch64" in machine or "arm64" in machine else ("amd64", "arm64")
    assert (await engine.pull(busybox, architecture=native)).reference
    with pytest.raises(CannotPullContainerError, match=f"descriptor matching platform 'linux/{other}'"):
        await engine.pull(busybox, architecture=other)


async def test_limits_that_nobody_asked_for_are_left_out_where_the_engine_may_not_set_them(
    engine: DockerEngine, busybox: str
):
    modest = await run(engine, busybox, "ulimit -n", default_ulimits=(Ulimit("nofile", 321, 321),))
    assert await output(engine, modest) == ["321"]
    beyond = (Ulimit("nofile", 2**30, 2**30),)
    impossible = await run(engine, busybox, "ulimit -n", default_ulimits=beyond)
    allowed = await engine._limits.allowed(beyond)
    assert (await output(engine, impossible) == [str(2**30)]) is allowed
    assert len(await engine.list()) == 3
