"""Fargate Spot is taken away, in the simulated world: warning, stop signal, replacement, and no capacity for a while."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Any

import pytest

from moorage.domain.errors import AwsError
from moorage.domain.task import Task
from moorage.engine.simulated_container import SimulatedImage
from moorage.interrupt_door import InterruptDoor, Refused
from moorage.simulation.calls import CLUSTER, Front
from moorage.simulation.network import SCOPE
from moorage.simulation.world import World
from moorage.store.api import StoreUnavailable
from moorage.store.tables.ecs import TASKS

NO_CAPACITY = (
    "(service web) was unable to place a task. Reason: Capacity is unavailable at this time. Please try again later or in "
    "a different availability zone."
)


async def serve(world: World, desired: int, *, front: Front | None = None, fargate: int = 0, **definition: Any) -> None:
    """On FARGATE_SPOT, `fargate` of the tasks on FARGATE."""
    await world.ecs(
        "PutClusterCapacityProviders",
        cluster=CLUSTER,
        capacityProviders=["FARGATE", "FARGATE_SPOT"],
        defaultCapacityProviderStrategy=[
            {"capacityProvider": "FARGATE", "base": fargate},
            {"capacityProvider": "FARGATE_SPOT", "weight": 1},
        ],
    )
    revision = await world.register("web", **definition)
    balancers = [{"targetGroupArn": front.target_group, "containerName": "app", "containerPort": 80}] if front else None
    await world.ecs(
        "CreateService",
        cluster=CLUSTER,
        serviceName="web",
        taskDefinition=revision,
        desiredCount=desired,
        networkConfiguration=world.network_configuration(),
        loadBalancers=balancers,
    )
    await world.stable("web")


async def interrupt(world: World, **asked: str | list[str]) -> dict[str, Any]:
    """Raises TimeoutError when the control plane went away before it answered."""
    door = InterruptDoor(world.store, world.clock, SCOPE)
    async with asyncio.timeout(10):
        return await door.interrupt({name: [one] if isinstance(one, str) else one for name, one in asked.items()})


def on(world: World, provider: str) -> list[Task]:
    return [task for task in world.tasks("web") if task.capacity_provider == provider]


def interrupted(world: World) -> list[Task]:
    return [task for task in world.store.all(TASKS) if task.stop_code == "SpotInterruption"]


async def test_an_interrupted_task_is_replaced(world: World) -> None:
    await serve(world, 3, fargate=1)
    (kept,) = on(world, "FARGATE")
    answer = await interrupt(world, service="web")
    assert len(answer["interrupted"]) == 2
    assert {t.stopped_reason for t in interrupted(world)} == {"Your Spot Task was interrupted."}
    await world.stable("web")
    assert on(world, "FARGATE") == [kept]
    assert len(on(world, "FARGATE_SPOT")) == 2
    assert {t.last_status for t in interrupted(world)} == {"STOPPED"}
    assert world.service("web").deployments[0].failed_tasks == 0


async def test_it_leaves_its_target_group_and_is_told_at_once(world: World) -> None:
    front = await world.create_load_balancer("web", deregistration_delay=300)
    await serve(world, 1, front=front)
    (task,) = world.tasks("web")
    await interrupt(world, task=task.id[:8])
    # The target drains for five minutes; the task has ended long before.
    took = await world.until(lambda: world.task(task.arn).last_status == "STOPPED", within=120)
    assert took < 40
    assert task.interface is not None
    assert (await world.target_health(front)).get(task.interface.ipv4 or "") in (None, "draining")
    await world.stable("web")


async def test_a_task_that_will_not_end_has_two_minutes_at_most(world: World) -> None:
    world.engine.images["deaf"] = SimulatedImage(ignores_sigterm=True)
    containers = [
        {"name": "first", "image": "deaf", "essential": True, "stopTimeout": 90},
        {
            "name": "then",
            "image": "deaf",
            "essential": True,
            "stopTimeout": 90,
            "dependsOn": [{"containerName": "first", "condition": "START"}],
        },
    ]
    await serve(world, 1, containers=containers)
    (task,) = world.tasks("web")
    await interrupt(world, all_spot="1")
    took = await world.until(lambda: world.task(task.arn).last_status == "STOPPED", within=300)
    assert 119 <= took <= 125


async def test_no_capacity_for_a_while(world: World) -> None:
    await serve(world, 2, fargate=1)
    await interrupt(world, service="web", no_capacity="300")
    await world.run_for(60)
    assert (len(on(world, "FARGATE")), on(world, "FARGATE_SPOT")) == (1, [])
    assert world.events()[-1] == NO_CAPACITY
    assert world.events().count(NO_CAPACITY) == 1
    await world.run_for(200)
    assert on(world, "FARGATE_SPOT") == []
    await world.stable("web")
    assert len(on(world, "FARGATE_SPOT")) == 1


async def test_capacity_may_come_back_early_and_survives_a_crash(world: World) -> None:
    await serve(world, 1)
    await interrupt(world, all_spot="1", no_capacity="3600")
    await world.restart_control_plane()
    await world.run_for(60)
    assert on(world, "FARGATE_SPOT") == []
    await interrupt(world, no_capacity="0")
    await world.stable("web")
    assert len(on(world, "FARGATE_SPOT")) == 1


async def test_others_are_left_alone(world: World) -> None:
    await serve(world, 2, fargate=2)
    task = world.tasks("web")[0]
    answer = await interrupt(world, task=task.arn)
    assert ([one["id"] for one in answer["left"]], answer["interrupted"]) == ([task.id], [])
    assert (await interrupt(world, all_spot="1"))["interrupted"] == []
    for asked, status in [
        ({"service": "web"}, 409),
        ({"service": "none"}, 404),
        ({"task": "ffffffff"}, 404),
        ({}, 400),
        ({"no_capacity": "soon"}, 400),
        ({"no_capacity": "-1"}, 400),
        ({"no_capacity": "nan"}, 400),
    ]:
        with pytest.raises(Refused) as refused:
            await interrupt(world, **asked)
        assert refused.value.status == status
    assert len(world.tasks("web")) == 2


@pytest.mark.parametrize("seed", range(5))
async def test_whatever_happens_it_comes_to_rest(seed: int) -> None:
    """A random hour: capacity is taken away and comes back while the service is deployed, scaled and its keeper killed."""
    dice = random.Random(seed)
    async with World(seed, images={"web": SimulatedImage()}) as world:
        await world.create_cluster()
        front = await world.create_load_balancer("web", deregistration_delay=dice.choice((2, 60)))
        await serve(world, 4, front=front, fargate=dice.choice((0, 1)))
        for _ in range(40):
            with contextlib.suppress(AwsError, ConnectionError, StoreUnavailable, Refused, TimeoutError):
                match dice.randrange(7):
                    case 0:
                        await interrupt(world, all_spot="1")
                    case 1 if tasks := world.tasks("web"):
                        await interrupt(world, task=dice.choice(tasks).arn)
                    case 2:
                        await interrupt(world, no_capacity=str(dice.choice((0, 20, 200))))
                    case 3:
                        await world.update_service(forceNewDeployment=True)
                    case 4:
                        await world.update_service(desiredCount=dice.randint(0, 6))
                    case 5:
                        world.crash_after(int(10 ** dice.uniform(0, 3)), away=dice.choice((0.0, 5.0)))
                    case _:
                        await world.restart_control_plane(dice.choice((0.0, 10.0)))
            await world.run_for(dice.choice((0.1, 3, 30)))
        await world.recovered()
        await world.update_service(desiredCount=4)
        await world.settled()
        assert {t.last_status for t in interrupted(world)} <= {"STOPPED"}
