"""The world around the control plane fails; the control plane itself is killed. Nothing acknowledged is lost, nothing
leaks, and users notice as little as possible. The invariants are checked all the while."""

import asyncio

import pytest

from moorage.engine.simulated_container import SimulatedImage
from moorage.simulation.world import World
from moorage.store.api import StoreUnavailable
from moorage.store.tables.ecs import TASKS


async def a_stable_service(world: World, desired: int = 2, **options):
    front = await world.create_load_balancer()
    await world.create_service(desired=desired, front=front, **options)
    await world.stable()
    return front


async def test_a_killed_control_plane_adopts_what_runs_and_restarts_nothing(world):
    front = await a_stable_service(world)
    before = {task.arn for task in world.running()}
    started = world.engine.counts["start"]
    users = world.users.traffic(front.load_balancer)
    await world.restart_control_plane(after=30)
    await world.run_for(60)
    assert {task.arn for task in world.running()} == before
    assert world.engine.counts["start"] == started
    assert await users.stop() == []
    assert world.is_stable()
    await world.settled()


async def test_what_died_while_the_control_plane_was_away_is_noticed(world):
    await a_stable_service(world)
    victim = world.running()[0]
    await world.kill_control_plane()
    world.engine.kill(world.engine.of_task(victim.arn)[0].id)
    await asyncio.sleep(10)
    await world.start_control_plane()
    await world.until(lambda: victim.arn not in [task.arn for task in world.tasks()] and world.is_stable())
    assert world.task(victim.arn).containers[0].exit_code == 137
    await world.settled()


@pytest.mark.parametrize("moment", [0.001 * 1.7**step for step in range(18)])
async def test_the_control_plane_is_killed_at_any_moment_of_a_rolling_update(world, moment):
    front = await a_stable_service(world)
    users = world.users.traffic(front.load_balancer)
    world.engine.images["next"] = SimulatedImage(listens_after=1)
    revision = await world.register("web", image="next")
    await world.update_service("web", taskDefinition=revision)
    await asyncio.sleep(moment)
    await world.restart_control_plane(after=1)
    await world.stable()
    assert len(world.running(revision=2)) == 2
    assert await users.stop() == []
    await world.settled()


@pytest.mark.parametrize("moment", [0.0005, 0.0015, 0.003, 0.01, 0.3, 0.5, 0.9, 1.5])
async def test_an_acknowledged_run_task_survives_a_kill(world, moment):
    [arn] = await world.run_task()
    await asyncio.sleep(moment)
    await world.restart_control_plane()
    await world.until(lambda: world.task(arn).last_status == "RUNNING")
    assert len(world.engine.of_task(arn)) == 1
    await world.stop_task(arn)
    await world.settled()


async def test_a_call_under_way_when_the_control_plane_dies_is_a_broken_connection(world):
    call = asyncio.ensure_future(world.run_task())
    await asyncio.sleep(0.001)
    await world.restart_control_plane()
    with pytest.raises(ConnectionError):
        await call
    assert world.store.all(TASKS) == ()
    await world.settled()


async def test_the_engine_is_away_for_a_while(world):
    front = await a_stable_service(world)
    users = world.users.traffic(front.load_balancer)
    before = {task.arn for task in world.running()}
    away = asyncio.ensure_future(world.engine.outage(60))
    await world.run_for(5)
    await world.update_service(desiredCount=3)
    await away
    await world.stable(within=60)
    assert before < {task.arn for task in world.running()}
    assert await users.stop() == []
    await world.settled()


async def test_the_engine_restarts_and_takes_its_containers_with_it(world):
    await a_stable_service(world)
    before = {task.arn for task in world.running()}
    await world.engine.outage(20, containers_die=True)
    await world.until(lambda: world.is_stable() and not before & {task.arn for task in world.running()})
    await world.settled()


async def test_a_lost_host_is_noticed_and_everything_is_started_again(world):
    await a_stable_service(world)
    before = {task.arn for task in world.running()}
    world.engine.lose_host()
    await world.until(lambda: world.is_stable() and not before & {task.arn for task in world.running()})
    await world.settled()


async def test_events_that_were_lost_are_made_up_for(world):
    await a_stable_service(world)
    victim = world.running()[0]
    world.engine.deafen(15)
    world.engine.kill(world.container(victim).id)
    await world.run_for(5)
    assert victim.arn in [task.arn for task in world.tasks()], "nobody told"
    await world.until(lambda: victim.arn not in [task.arn for task in world.tasks()] and world.is_stable())
    await world.settled()


async def test_a_container_removed_by_hand_is_replaced(world):
    await a_stable_service(world)
    victim = world.running()[0]
    world.engine.remove_by_hand(world.container(victim).id)
    await world.until(lambda: victim.arn not in [task.arn for task in world.tasks()] and world.is_stable())
    await world.settled()


async def test_the_death_of_the_pause_container_is_the_death_of_the_task(world):
    await a_stable_service(world)
    victim = world.running()[0]
    world.engine.kill_sandbox(victim.arn)
    await world.until(lambda: victim.arn not in [task.arn for task in world.tasks()] and world.is_stable())
    await world.settled()


async def test_a_proxy_that_is_away_gets_everything_when_it_is_back(world):
    front = await a_stable_service(world)
    away = asyncio.ensure_future(world.proxy.outage(40))
    await world.update_service(desiredCount=4)
    await away
    await world.stable()
    await world.until(lambda: len([e for e in world.proxy.endpoints(front.target_group) if e.healthy]) == 4)
    await world.settled()


async def test_a_full_disk_refuses_calls_and_everything_goes_on_when_there_is_space(world):
    front = await a_stable_service(world)
    users = world.users.traffic(front.load_balancer)
    world.log.refuse(OSError("No space left on device"))
    with pytest.raises(StoreUnavailable):
        await world.update_service(desiredCount=5)
    victim = world.running()[0]
    world.engine.kill(world.container(victim).id)
    await world.run_for(60)
    assert world.service().desired_count == 2
    world.log.refuse(None)
    await world.until(lambda: victim.arn not in [task.arn for task in world.tasks()] and world.is_stable())
    assert await users.stop() == []
    await world.settled()


async def test_a_reset_leaves_nothing_behind(world):
    await a_stable_service(world, desired=3)
    await world.store.reset()
    await world.until(lambda: world.engine.containers() == [] and world.engine.sandbox_count() == 0)
    await world.until(lambda: world.proxy.target_groups == {} and world.proxy.load_balancers == {})
    await world.create_cluster()
    await world.register("web")
    await world.create_service(desired=1)
    await world.stable()
    await world.settled()
