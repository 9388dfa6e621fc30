"""The simulated engine keeps the promises of the `Engine` Protocol that the control plane builds on."""

import asyncio

import pytest

from moorage.engine.driver import (
    LABEL_POOL,
    LABEL_TASK,
    CannotPullContainerError,
    CannotStartContainerError,
    ContainerSpec,
    Engine,
    EngineEvent,
    EngineUnavailable,
    HealthCheckSpec,
    NetworkError,
    PortBinding,
    SandboxSpec,
    SubnetNetwork,
)
from moorage.engine.simulated import SimulatedEngine
from moorage.engine.simulated_container import SimulatedImage
from moorage.proxy.driver import Proxy
from moorage.proxy.simulated import SimulatedProxy
from moorage.simulation.loop import VirtualClock

LISTENERS: set[asyncio.Future[None]] = set()
NETWORK = SubnetNetwork("net", "10.0.0.0/24", "subnet-1")


@pytest.fixture
async def engine() -> SimulatedEngine:
    clock = VirtualClock(asyncio.get_running_loop())
    return SimulatedEngine(clock, images={"web": SimulatedImage()})


def a_sandbox(task: str = "t1", address: str = "10.0.0.4") -> SandboxSpec:
    return SandboxSpec(task, "awsvpc", {LABEL_TASK: task}, network=NETWORK, ipv4=address)


async def a_container(engine: Engine, image: str = "web", task: str = "t1", **options) -> str:
    sandbox = await engine.start_sandbox(a_sandbox(task))
    spec = ContainerSpec("app", f"{task}-app", task, image, {LABEL_TASK: task}, **options)
    return (await engine.create(spec, sandbox)).id


def collect(engine: Engine) -> list[EngineEvent]:
    seen: list[EngineEvent] = []

    async def listen() -> None:
        async for event in engine.events():
            seen.append(event)  # noqa: PERF401 the stream has no end

    LISTENERS.add(asyncio.ensure_future(listen()))
    return seen


async def test_it_is_an_engine_and_a_proxy(engine):
    as_engine: Engine = engine
    as_proxy: Proxy = SimulatedProxy(VirtualClock(asyncio.get_running_loop()))
    assert as_engine
    assert as_proxy


async def test_making_a_sandbox_or_a_container_twice_makes_one(engine):
    one, two = await asyncio.gather(engine.start_sandbox(a_sandbox()), engine.start_sandbox(a_sandbox()))
    assert one == two
    assert await a_container(engine) == await a_container(engine)
    assert len(await engine.list()) == 2


async def test_two_tasks_cannot_have_one_address(engine):
    await engine.start_sandbox(a_sandbox("t1"))
    with pytest.raises(NetworkError, match="already in use"):
        await engine.start_sandbox(a_sandbox("t2"))
    assert engine.violations


async def test_a_warm_sandbox_is_taken_over(engine):
    await engine.warm(NETWORK, "10.0.0.4", "02:42:0a:00:00:04")
    await engine.warm(NETWORK, "10.0.0.4", "02:42:0a:00:00:04")
    [warm] = await engine.list()
    assert warm.labels[LABEL_POOL] == "10.0.0.4"
    before = asyncio.get_running_loop().time()
    sandbox = await engine.start_sandbox(a_sandbox())
    assert asyncio.get_running_loop().time() - before < 0.05
    [taken] = await engine.list()
    assert (taken.id, taken.labels[LABEL_TASK]) == (sandbox.id, "t1")


async def test_host_ports_are_found_and_refused(engine):
    sandbox = await engine.start_sandbox(SandboxSpec("t1", "none", {}))

    async def started(name: str, *ports: PortBinding) -> tuple[PortBinding, ...]:
        spec = ContainerSpec("app", name, "t1", "web", {}, network="bridge", ports=ports)
        container = (await engine.create(spec, sandbox)).id
        await engine.start(container)
        found = await engine.inspect(container)
        return found.ports

    one = await started("one", PortBinding(80), PortBinding(81, 8081))
    two = await started("two", PortBinding(80, size=2))
    assert len({binding.host_port for binding in (*one, *two)}) == 4
    with pytest.raises(CannotStartContainerError, match="8081 failed: port is already allocated"):
        await started("three", PortBinding(80, 8081))
    await asyncio.sleep(1)
    assert await engine.request("127.0.0.1", one[0].host_port) == 200
    assert await engine.request("127.0.0.1", two[0].host_port) == 200


async def test_images_that_are_not_there_or_cannot_start(engine):
    with pytest.raises(CannotPullContainerError, match="not found"):
        await engine.pull("nowhere")
    engine.images["bad"] = SimulatedImage(start_failure="no such file")
    with pytest.raises(CannotStartContainerError, match="no such file"):
        await engine.start(await a_container(engine, "bad"))


async def test_events_come_in_order_after_a_resync(engine):
    seen = collect(engine)
    engine.images["short"] = SimulatedImage(exits_after=2, exit_code=7, healthy_after=1)
    check = HealthCheckSpec(("CMD", "true"))
    container = await a_container(engine, "short", health_check=check)
    await engine.start(container)
    await asyncio.sleep(5)
    assert [event.kind for event in seen] == ["resync", "started", "started", "health", "died"], (
        "the sandbox, then the container"
    )
    assert (seen[-1].id, seen[-1].exit_code) == (container, 7)


async def test_a_request_in_flight_finishes_before_a_graceful_end(engine):
    container = await a_container(engine)
    await engine.start(container)
    await asyncio.sleep(1)
    request = asyncio.ensure_future(engine.request("10.0.0.4", 80, 12))
    await asyncio.sleep(0.1)
    await engine.stop(container, 30)
    assert await request == 200
    assert engine.containers()[0].exit_code == 143
    with pytest.raises(ConnectionRefusedError):
        await engine.request("10.0.0.4", 80)


async def test_a_request_longer_than_the_stop_timeout_is_broken(engine):
    container = await a_container(engine)
    await engine.start(container)
    await asyncio.sleep(1)
    request = asyncio.ensure_future(engine.request("10.0.0.4", 80, 60))
    await asyncio.sleep(0.1)
    await engine.stop(container, 30)
    with pytest.raises(ConnectionResetError):
        await request
    assert engine.containers()[0].exit_code == 137


async def test_an_engine_that_is_away_answers_nothing_and_resyncs_when_it_is_back(engine):
    seen = collect(engine)
    container = await a_container(engine)
    await engine.start(container)
    await asyncio.sleep(1)
    away = asyncio.ensure_future(engine.outage(10))
    await asyncio.sleep(1)
    with pytest.raises(EngineUnavailable):
        await engine.list()
    await away
    await asyncio.sleep(1)
    assert [event.kind for event in seen] == ["resync", "started", "started", "resync"]
    assert {one.state for one in await engine.list()} == {"running"}


async def test_stop_and_remove_of_what_is_gone_are_fine(engine):
    await engine.stop("nothing", 10)
    await engine.remove("nothing")
    await engine.remove_sandbox("nothing")
    assert await engine.list() == []


async def test_logs_and_statistics(engine):
    engine.images["short"] = SimulatedImage(exits_after=2, exit_code=7)
    container = await a_container(engine, "short")
    await engine.start(container)
    [stats] = await engine.stats([container, "nothing"])
    assert stats.memory_bytes > 0
    assert [line.message async for line in engine.logs(container)] == ["t1-app started", "exited with 7"]
