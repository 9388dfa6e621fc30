"""Docker stopped, frozen or started again in the middle: seen through a socket that the test can cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from moorage.engine.docker import DockerEngine
from moorage.engine.docker.client import Client
from moorage.engine.docker.hosts import DockerHost
from moorage.engine.driver import EngineUnavailable, Sandbox, SubnetNetwork
from moorage.settings import Settings
from support.docker_proxy import DockerProxy

from .conftest import a_sandbox, make, no_network, run, seen

pytestmark = pytest.mark.docker


@pytest.fixture
async def proxy(tmp_path: Path, engine: DockerEngine) -> AsyncIterator[DockerProxy]:
    proxy = DockerProxy(tmp_path / "docker.sock", engine.host.socket or "/var/run/docker.sock")
    await proxy.open()
    yield proxy
    await proxy.cut()


@pytest.fixture
async def proxied(proxy: DockerProxy, tmp_path: Path) -> AsyncIterator[DockerEngine]:
    """The same installation as `engine`, which cleans up, but through the socket that can be cut."""
    engine = DockerEngine(Settings(data_dir=tmp_path), host=DockerHost(socket=str(proxy.path)))
    yield engine
    await engine.close()


async def test_every_verb_says_so_when_docker_is_away(
    proxied: DockerEngine, proxy: DockerProxy, subnet: SubnetNetwork, busybox: str
):
    container = await run(proxied, busybox, "sleep 1000")
    await proxy.cut()

    async def read_logs() -> None:
        async for _ in proxied.logs(container):
            pass

    for verb in (
        proxied.start_sandbox(a_sandbox(subnet)),
        proxied.warm(subnet, subnet.cidr.replace("0/24", "9"), "02:42:0a:00:00:09"),
        proxied.pull("moorage-test/absent:1"),
        make(proxied, busybox, "true", Sandbox("0" * 64)),
        proxied.start(container),
        proxied.stop(container, 30),
        proxied.remove(container),
        proxied.remove_sandbox(container),
        proxied.remove_networks(),
        proxied.list(),
        read_logs(),
        proxied.check(),
        proxied.cleanup(),
    ):
        with pytest.raises(EngineUnavailable, match=r"Docker does not answer at unix://.*there is no socket.*start it"):
            await verb
    await proxy.open()
    assert container in [found.id for found in await proxied.list()]


async def test_events_come_back_with_a_resync_and_miss_nothing(
    engine: DockerEngine, proxied: DockerEngine, proxy: DockerProxy, busybox: str
):
    events = proxied.events()
    assert (await seen(events, "resync")).id == ""
    first = await run(engine, busybox, "exit 1")
    assert (await seen(events, "died", first)).exit_code == 1
    waiting = asyncio.create_task(anext(events))
    await proxy.cut()
    missed = await run(engine, busybox, "exit 2")
    await proxy.open()
    assert (await waiting).kind == "resync"
    assert (await seen(events, "died", missed)).exit_code == 2
    later = await run(engine, busybox, "exit 3")
    assert (await seen(events, "died", later)).exit_code == 3
    await events.aclose()


async def test_a_stream_that_breaks_says_so_and_logs_can_be_resumed(
    engine: DockerEngine, proxied: DockerEngine, proxy: DockerProxy, busybox: str
):
    container = await run(engine, busybox, "echo 1; until test -e /tmp/go; do usleep 20000; done; echo 2")
    logs = proxied.logs(container)
    first = await anext(logs)
    await proxy.cut()
    with pytest.raises(EngineUnavailable):
        await anext(logs)
    await proxy.open()
    resumed = proxied.logs(container, since=first.at)
    waiting = asyncio.create_task(anext(resumed))
    other = await run(engine, busybox, "true", docker_name=f"moorage-test-{engine.installation}-other")
    await engine.remove(other)
    await engine.stop(container, 0)
    with pytest.raises(StopAsyncIteration):
        await waiting


async def test_a_frozen_engine_is_noticed_in_the_middle_of_a_call(
    proxy: DockerProxy, engine: DockerEngine, busybox: str
):
    client = Client(DockerHost(socket=str(proxy.path)), probe=0.2)
    container = await run(engine, busybox, "trap '' TERM; while true; do usleep 20000; done")
    stopping = asyncio.create_task(client.call("POST", f"/containers/{container}/stop", query={"t": "600"}))
    while (await client.version()) is None:
        pass
    proxy.freeze()
    with pytest.raises(EngineUnavailable, match="got no answer and neither did a ping"):
        await stopping
    proxy.thaw()
    await client.close()
    await engine.remove(container)


async def test_a_long_call_at_an_engine_that_lives_is_waited_for(engine: DockerEngine, busybox: str):
    client = Client(engine.host, probe=0.05)
    container = await run(engine, busybox, "trap '' TERM; while true; do usleep 20000; done")
    await client.call("POST", f"/containers/{container}/stop", query={"t": "1"})
    sandbox = await engine.start_sandbox(no_network(2))
    with pytest.raises(EngineUnavailable, match="was not done after 0 s"):
        await client.call("POST", f"/containers/{sandbox.id}/wait", patience=0.1)
    await client.close()
