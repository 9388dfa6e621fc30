"""Sandboxes made ahead (docs/design/engine.md): taken, put back, given up; beside tests/simulation/test_found."""

from __future__ import annotations

import pytest

from moorage.control.warm_pool import IDLE, OWNER, SIZE
from moorage.store.tables.network import NETWORK_INTERFACES

from .virtual_world import VIRTUAL, PortsWorld, a_world, quiet_log, virtual_time  # noqa: F401

pytestmark = VIRTUAL


def held(world: PortsWorld) -> set[str]:
    return {i.ipv4 for i in world.store.all(NETWORK_INTERFACES) if i.owner_arn == OWNER}


async def filled(world: PortsWorld) -> None:
    await world.until(lambda: len(world.engine.pool()) == SIZE, within=60, what="a full pool")
    assert held(world) == set(world.engine.pool())


async def test_a_task_takes_a_warm_sandbox_and_the_pool_fills_again(world: PortsWorld) -> None:
    await world.run_task(count=2)
    await filled(world)
    before = set(world.engine.pool())
    [arn] = await world.run_task()
    await world.status(arn, "RUNNING")
    interface = world.task(arn).interface
    assert interface is not None
    assert interface.ipv4 in before
    owner = next(i for i in world.store.all(NETWORK_INTERFACES) if i.ipv4 == interface.ipv4)
    assert (owner.owner_arn, owner.security_groups) == (arn, ("sg-1",))
    await filled(world)


async def test_subnets_in_which_nothing_starts_any_more_give_their_pool_back(world: PortsWorld) -> None:
    [arn] = await world.run_task()
    await world.until(lambda: len(world.engine.pool()) > 0)
    await world.stop_task(arn)
    await world.run_for(IDLE + 60)
    assert world.engine.pool() == []
    assert held(world) == set()
    assert world.engine.sandbox_count() == 0


async def test_a_reset_empties_the_pool(world: PortsWorld) -> None:
    await world.run_task(count=2)
    await filled(world)
    await world.store.reset()
    await world.until(lambda: world.engine.sandbox_count() == 0)
    await world.until(lambda: not world.engine.networks, what="no network")


@pytest.mark.parametrize("later", [0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6])
async def test_a_reset_while_a_task_is_being_started_leaves_nothing(world: PortsWorld, later: float) -> None:
    await world.run_task(count=2)
    await world.run_for(later)
    await world.store.reset()
    await world.run_for(60)
    assert (world.engine.sandbox_count(), world.engine.networks) == (0, set())


@pytest.mark.parametrize("later", [0.0, 0.3, 0.6, 0.9, 1.2, 1.5])
async def test_a_reset_while_the_pool_is_filled_leaves_nothing(world: PortsWorld, later: float) -> None:
    for arn in await world.run_task(count=2):
        await world.status(arn, "RUNNING")
    await world.run_for(later)
    await world.store.reset()
    await world.run_for(60)
    assert (world.engine.pool(), held(world)) == ([], set())
    await world.until(lambda: world.engine.sandbox_count() == 0, what="no sandbox")
    await world.until(lambda: not world.engine.networks, what="no network")


async def test_without_a_pool_tasks_start_all_the_same(world: PortsWorld) -> None:
    arns = await world.run_task(count=10)
    for arn in arns:
        await world.status(arn, "RUNNING")
    assert len({world.task(arn).interface.ipv4 for arn in arns}) == 10  # type: ignore[union-attr]


async def test_the_network_of_a_subnet_goes_with_its_last_address_and_comes_back(world: PortsWorld) -> None:
    [arn] = await world.run_task()
    await world.until(lambda: len(world.engine.pool()) > 0)
    await world.run_for(IDLE + 60)
    assert len(world.engine.networks) == 1, "a task still runs there"
    await world.stop_task(arn)
    await world.until(lambda: not world.engine.networks, within=60, what="no network")
    [again] = await world.run_task()
    await world.status(again, "RUNNING")
    assert len(world.engine.networks) == 1
    await world.stop_task(again)
    await world.run_for(60)
    await world.restart_control_plane()
    await world.until(lambda: not world.engine.networks, within=60, what="no network after a restart")
