"""Services that spread over availability zones again when they can, in the simulated world."""

from __future__ import annotations

from collections import Counter
from typing import Any

from control.virtual_world import *  # noqa: F403
from control.virtual_world import VIRTUAL, PortsWorld
from moorage.simulation.calls import CLUSTER

pytestmark = VIRTUAL


async def an_instance(world: PortsWorld, zone: str, cpu: int = 2048) -> str:
    answer = await world.ecs(
        "RegisterContainerInstance",
        cluster=CLUSTER,
        totalResources=[
            {"name": "CPU", "type": "INTEGER", "integerValue": cpu},
            {"name": "MEMORY", "type": "INTEGER", "integerValue": 4096},
        ],
        attributes=[{"name": "ecs.availability-zone", "value": zone}],
    )
    return str(answer["containerInstance"]["containerInstanceArn"])


async def a_service(world: PortsWorld, *, desired: int = 4, **params: Any) -> None:
    app = {"name": "app", "image": "web", "cpu": 256, "memory": 256, "portMappings": [{"containerPort": 80}]}
    await world.ecs("RegisterTaskDefinition", family="bridge", containerDefinitions=[app])
    await world.ecs(
        "CreateService",
        cluster=CLUSTER,
        serviceName="web",
        taskDefinition="bridge",
        desiredCount=desired,
        launchType="EC2",
        **params,
    )


def zones(world: PortsWorld) -> dict[str, int]:
    return dict(Counter(task.availability_zone[-1] for task in world.tasks()))


def told(world: PortsWorld, words: str) -> list[str]:
    return [event for event in world.events() if words in event]


async def test_a_zone_that_comes_back_gets_its_share(world: PortsWorld) -> None:
    await an_instance(world, "us-east-1a")
    await a_service(world)
    await world.stable()
    assert zones(world) == {"a": 4}
    await an_instance(world, "us-east-1b")
    await world.until(lambda: zones(world).get("b", 0) > 0, what="the first task in b")
    assert zones(world) == {"a": 4, "b": 2}, "started first, stopped later"
    await world.until(lambda: zones(world) == {"a": 2, "b": 2}, what="balance")
    await world.stable()
    assert told(world, "AZ") == [
        "service (web) is not AZ balanced with 4 tasks in us-east-1a and 0 in us-east-1b. AZ Rebalancing in progress.",
        *told(world, "to AZ Rebalance"),
        *told(world, "due to AZ rebalancing"),
        "service (web) is AZ balanced with 2 tasks in us-east-1a and 2 in us-east-1b.",
    ]
    assert told(world, "to AZ Rebalance")[0].startswith("web has started 1 tasks in us-east-1b to AZ Rebalance: ")
    await world.settled()


async def test_a_zone_without_room_is_told_and_left_alone(world: PortsWorld) -> None:
    await an_instance(world, "us-east-1a")
    await a_service(world)
    await world.stable()
    await an_instance(world, "us-east-1b", cpu=100)
    await world.until(lambda: bool(told(world, "is unable to place a task in us-east-1b")), what="the event")
    await world.run_for(30)
    assert zones(world) == {"a": 4}
    assert len(told(world, "AZ Rebalancing in progress")) == 1
    assert world.is_stable()


async def test_a_service_that_does_not_want_it_stays(world: PortsWorld) -> None:
    await an_instance(world, "us-east-1a")
    await a_service(world, availabilityZoneRebalancing="DISABLED")
    await world.stable()
    await an_instance(world, "us-east-1b")
    await world.run_for(200)
    assert zones(world) == {"a": 4}


async def test_a_deployment_in_the_middle_takes_over(world: PortsWorld) -> None:
    await an_instance(world, "us-east-1a")
    await a_service(world)
    await world.stable()
    await an_instance(world, "us-east-1b")
    await world.until(lambda: zones(world).get("b", 0) > 0, what="the first task in b")
    await world.update_service(forceNewDeployment=True)
    assert world.service().rebalance is None
    await world.stable()
    assert not told(world, "due to AZ rebalancing")
    # New tasks went where the service had the fewest: now that the old ones are gone, that has to be mended.
    await world.until(lambda: zones(world) == {"a": 2, "b": 2}, what="balance")
    await world.settled()


async def test_a_crash_in_the_middle_changes_nothing(world: PortsWorld) -> None:
    await an_instance(world, "us-east-1a")
    await a_service(world)
    await world.stable()
    await an_instance(world, "us-east-1b")
    await world.until(lambda: zones(world).get("b", 0) > 0, what="the first task in b")
    await world.restart_control_plane(1.0)
    await world.until(lambda: zones(world) == {"a": 2, "b": 2}, what="balance")
    await world.stable()
    await world.settled()
