"""What the engine tells becomes what the records say; what belongs to nobody goes (beside tests/simulation/test_faults)."""

from __future__ import annotations

import pytest

from moorage.engine.driver import LABEL_CONTAINER, LABEL_TASK, EngineEvent
from moorage.engine.simulated_container import SimulatedImage

from .virtual_world import VIRTUAL, PortsWorld, a_world, quiet_log, virtual_time  # noqa: F401

pytestmark = VIRTUAL


async def observe(world: PortsWorld, kind: str, arn: str, id: str, **more: object) -> None:
    assert world.process is not None
    labels = {LABEL_TASK: arn, LABEL_CONTAINER: "app"}
    event = EngineEvent(kind, id, labels, world.clock.now(), **more)  # type: ignore[arg-type]
    await world.process.plane.adoption._observe(event)


async def running(world: PortsWorld) -> str:
    [arn] = await world.run_task()
    await world.status(arn, "RUNNING")
    return arn


@pytest.mark.parametrize("kind", ["died", "gone", "health"])
async def test_news_of_another_container_of_that_name_change_nothing(world: PortsWorld, kind: str) -> None:
    arn = await running(world)
    before = world.task(arn)
    await observe(world, kind, arn, "another", exit_code=1, health="UNHEALTHY")
    await observe(world, kind, "arn:aws:ecs:us-east-1:000000000000:task/main/none", "x")
    assert world.task(arn) == before


async def test_news_that_come_twice_count_once(world: PortsWorld) -> None:
    arn = await running(world)
    id = world.task(arn).containers[0].runtime_id or ""
    await observe(world, "died", arn, id, exit_code=3)
    first = world.task(arn)
    await observe(world, "died", arn, id, exit_code=137)
    await observe(world, "gone", arn, id)
    task = world.task(arn)
    assert task.containers[0].exit_code == 3
    assert task.containers[0].finished_at == first.containers[0].finished_at
    await world.status(arn, "STOPPED")


async def test_a_death_that_is_told_before_the_start_was_answered(world: PortsWorld) -> None:
    world.engine.images["web"] = SimulatedImage(start=2, exits_after=0, exit_code=4)
    [arn] = await world.run_task()
    await world.status(arn, "STOPPED")
    task = world.task(arn)
    assert (task.stop_code, task.containers[0].exit_code) == ("EssentialContainerExited", 4)
    await world.settled()


async def test_health_is_told(world: PortsWorld) -> None:
    await world.register("checked", health_check=True)
    [arn] = await world.run_task("checked")
    await world.until(lambda: world.task(arn).containers[0].health == "HEALTHY")
    version = world.task(arn).version
    world.container(world.task(arn)).turn("UNHEALTHY")
    await world.until(lambda: world.task(arn).containers[0].health == "UNHEALTHY")
    assert world.task(arn).version == version + 1
    await world.run_for(60)
    assert world.task(arn).last_status == "RUNNING", "a task of no service is never stopped for its health"


async def test_the_list_finds_what_events_did_not_tell(world: PortsWorld) -> None:
    one, two, three = [await running(world) for _ in range(3)]
    world.engine.deafen(3600)
    world.engine.kill(world.container(world.task(one)).id)
    world.engine.remove_by_hand(world.container(world.task(two)).id)
    world.engine.kill_sandbox(three)
    await world.run_for(1)
    assert {world.task(arn).desired_status for arn in (one, two, three)} == {"RUNNING"}
    assert world.process is not None
    await world.process.plane.adoption.resync()
    for arn in (one, two, three):
        await world.status(arn, "STOPPED")
    reasons = [world.task(arn).stopped_reason for arn in (one, two, three)]
    assert reasons[:2] == ["Essential container in task exited"] * 2
    assert "network namespace went away" in (reasons[2] or "")
    assert (world.task(two).containers[0].reason or "").startswith("ContainerVanishedError")


async def test_what_belongs_to_no_task_is_removed(world: PortsWorld) -> None:
    arn = await running(world)
    await world.kill_control_plane()
    for kind, key in [key for key in world.disk.records if key[1] == arn]:
        del world.disk.records[kind, key]
    await world.start_control_plane()
    await world.until(lambda: world.engine.of_task(arn) == [] and not world.engine.leaks([]))
