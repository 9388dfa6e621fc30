"""Random stories of daemons and of task sets: instances come, drain, change and go, task sets are made, scaled and deleted,
containers die, the control plane is killed anywhere. In the end everything must come to rest by itself, as it should be.

The invariants of every world are checked after every change; a seed that fails replays exactly.
"""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from typing import Any

import pytest

from moorage.domain.errors import AwsError
from moorage.simulation.calls import CLUSTER
from moorage.simulation.world import World
from moorage.store.api import StoreUnavailable
from moorage.store.tables.ecs import CONTAINER_INSTANCES, REVISIONS, SERVICES, TASK_DEFINITIONS, TASK_SETS

from .test_container_instances import living, register
from .test_daemons import a_daemon, define
from .test_task_sets import SERVICE, a_service, a_task_set, change

LENGTH = 25
BLUE = [{"type": "memberOf", "expression": "attribute:stack == blue"}]


async def trouble(world: World, dice: random.Random) -> None:
    """What nobody asked for."""
    match dice.choice(("kill", "restart", "crash", "lose_events")):
        case "kill":
            running = world.engine.containers(running=True)
            if running:
                world.engine.kill(dice.choice(running).id)
        case "restart":
            await world.restart_control_plane(dice.choice((0.0, 0.5, 10.0)))
        case "crash":
            world.crash_after(int(10 ** dice.uniform(0, 3)), away=dice.choice((0.0, 0.5)))
        case "lose_events":
            world.engine.deafen(dice.choice((0.5, 5.0)))


async def act(world: World, dice: random.Random, *verbs: Any) -> None:
    """One step, which may be refused."""
    await world.run_for(dice.choice((0.0, 0.02, dice.uniform(0, 2), dice.uniform(0, 20), 60.0)))
    # A user may be wrong, a control plane away.
    with contextlib.suppress(AwsError, ConnectionError, StoreUnavailable):
        await dice.choice(verbs)(world, dice)


# --- daemons ---------------------------------------------------------------------------------------------------------
async def _register(world: World, dice: random.Random) -> None:
    await register(world, memory=dice.choice((100, 512)))


def _instance(world: World, dice: random.Random) -> str:
    found = [one.arn for one in world.store.all(CONTAINER_INSTANCES) if one.status != "INACTIVE"]
    if not found:
        raise ConnectionError("there is none")
    return str(dice.choice(found))


async def _state(world: World, dice: random.Random) -> None:
    arn, status = _instance(world, dice), dice.choice(("ACTIVE", "DRAINING"))
    await world.ecs("UpdateContainerInstancesState", cluster=CLUSTER, containerInstances=[arn], status=status)


async def _paint(world: World, dice: random.Random) -> None:
    attribute = {"name": "stack", "value": dice.choice(("blue", "green")), "targetId": _instance(world, dice)}
    await world.ecs("PutAttributes", cluster=CLUSTER, attributes=[attribute])


async def _deregister(world: World, dice: random.Random) -> None:
    arn = _instance(world, dice)
    await world.ecs("DeregisterContainerInstance", cluster=CLUSTER, containerInstance=arn, force=True)


async def _deploy(world: World, dice: random.Random) -> None:
    await define(world, memory=dice.choice((64, 128)))
    await world.ecs("UpdateService", cluster=CLUSTER, service="agent", taskDefinition="agent")


async def _minimum(world: World, dice: random.Random) -> None:
    configuration = {"minimumHealthyPercent": dice.choice((0, 34, 50))}
    await world.ecs("UpdateService", cluster=CLUSTER, service="agent", deploymentConfiguration=configuration)


@pytest.mark.parametrize("seed", range(4))
async def test_daemons_are_where_they_belong_in_the_end(world: World, seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(3):
        await register(world)
    constraints = BLUE if seed % 2 else None
    await a_daemon(world, placementConstraints=constraints)
    verbs = (_register, _state, _state, _paint, _paint, _deregister, _deploy, _minimum, trouble, trouble)
    for _ in range(LENGTH):
        await act(world, dice, *verbs)
    await world.recovered()
    # Percentages that block are the user's own doing; a task that does not fit is waited for, not placed.
    await world.ecs(
        "UpdateService",
        cluster=CLUSTER,
        service="agent",
        deploymentConfiguration={"minimumHealthyPercent": 0},
    )

    def as_it_should_be() -> bool:
        wanted = sorted(
            one.arn
            for one in world.store.all(CONTAINER_INSTANCES)
            if one.status == "ACTIVE"
            and (not constraints or one.attributes.get("stack") == "blue")
            and one.registered.memory >= _memory(world)
        )
        mine = [t for t in living(world) if t.group == "service:agent" and t.last_status == "RUNNING"]
        newest = world.service("agent").deployments[0].id
        return sorted(t.instance.arn for t in mine) == wanted and {t.deployment_id for t in mine} <= {newest}

    await world.until(as_it_should_be, within=1800)
    twice = Counter(t.instance.arn for t in living(world))
    assert not [arn for arn, count in twice.items() if count > 1]


def _memory(world: World) -> int:
    """What a daemon task needs now."""
    revision = world.store.get(REVISIONS, world.service("agent").revision_arn)
    definition = world.store.get(TASK_DEFINITIONS, revision.task_definition_arn)
    return int(definition.document.container_definitions[0].memory)


# --- task sets -------------------------------------------------------------------------------------------------------
def _task_set(world: World, dice: random.Random) -> str:
    found = [one.id for one in world.store.all(TASK_SETS)]
    if not found:
        raise ConnectionError("there is none")
    return str(dice.choice(found))


async def _make(world: World, dice: random.Random) -> None:
    await a_task_set(world, scale=dice.choice((0.0, 30.0, 50.0, 100.0)))


async def _scale(world: World, dice: random.Random) -> None:
    scale = {"value": dice.choice((0.0, 25.0, 60.0, 100.0)), "unit": "PERCENT"}
    await change(world, "UpdateTaskSet", _task_set(world, dice), scale=scale)


async def _promote(world: World, dice: random.Random) -> None:
    id = _task_set(world, dice)
    await world.ecs("UpdateServicePrimaryTaskSet", cluster=CLUSTER, service=SERVICE, primaryTaskSet=id)


async def _delete(world: World, dice: random.Random) -> None:
    await change(world, "DeleteTaskSet", _task_set(world, dice), force=dice.random() < 0.7)


async def _desired(world: World, dice: random.Random) -> None:
    await world.update_service(SERVICE, desiredCount=dice.randint(0, 5))


@pytest.mark.parametrize("seed", range(4))
async def test_task_sets_have_what_they_should_in_the_end(world: World, seed: int) -> None:
    dice = random.Random(seed)
    await a_service(world, desired=3)
    for _ in range(LENGTH):
        await act(world, dice, _make, _make, _scale, _promote, _delete, _desired, trouble, trouble)
    await world.recovered()

    def as_it_should_be() -> bool:
        sets = world.store.all(TASK_SETS)
        desired = world.service(SERVICE).desired_count
        counts = Counter(t.deployment_id for t in living(world) if t.last_status == "RUNNING")
        wanted = {one.id: one.desired(desired) for one in sets if one.desired(desired)}
        return dict(counts) == wanted and all(one.steady for one in sets)

    await world.until(as_it_should_be, within=1800)
    await world.delete_service(SERVICE)
    await world.until(lambda: not [s for s in world.store.all(SERVICES) if s.status != "INACTIVE"], within=300)
    assert not world.store.all(TASK_SETS)
    await world.settled()
