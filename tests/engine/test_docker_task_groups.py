"""One limit for all containers of a task, on a real engine."""

from __future__ import annotations

import asyncio

import pytest

from moorage.engine.docker import DockerEngine
from moorage.engine.driver import TaskLimits

from .conftest import make, no_network, output, run, seen, task_arn

pytestmark = pytest.mark.docker


async def test_the_containers_of_a_task_share_its_memory(engine: DockerEngine, busybox: str):
    limits = TaskLimits(memory=48, cpus=0.5)
    events = engine.events()
    await seen(events, "resync")
    sandbox = await engine.start_sandbox(no_network())
    quiet = await run(engine, busybox, "sleep 1000", sandbox, task_limits=limits)
    hungry = await run(engine, busybox, "exec tail /dev/zero", sandbox, task_limits=limits)
    died = await seen(events, "died", hungry)
    assert (died.exit_code, died.oom_killed) == (137, True)
    await events.aclose()
    assert {one.id: one.state for one in await engine.list() if not one.sandbox} == {
        quiet: "running",
        hungry: "stopped",
    }
    assert [one.id for one in await engine.stats([quiet])] == [quiet]
    if engine._stats._groups is not None:
        assert engine._stats._groups.read(quiet) is not None
    for container in (quiet, hungry):
        await engine.remove(container)
    await engine.remove_sandbox(sandbox.id)
    left = [path for path in engine._groups._controllers() if (path / engine._groups._name / task_arn()[-32:]).exists()]
    assert left == []


async def test_where_there_can_be_no_group_each_container_has_the_limits_of_its_task(
    engine: DockerEngine, busybox: str
):
    engine._groups._usable = False
    sandbox = await engine.start_sandbox(no_network())
    limits = TaskLimits(memory=48, cpus=0.5)
    container = await make(engine, busybox, "true", sandbox, task_limits=limits)
    found = await engine._client.call("GET", f"/containers/{container}/json")
    assert found["HostConfig"]["Memory"] == 48 << 20
    assert found["HostConfig"]["NanoCpus"] == 500_000_000
    await asyncio.sleep(0)
    await engine.start(container)
    assert await output(engine, container) == []
