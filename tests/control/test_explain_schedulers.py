"""Why an instance has no daemon, and what a task set waits for: told of a living control plane."""

from __future__ import annotations

import logging

import pytest

from moorage.control.explainer import Explainer
from moorage.engine.simulated_container import SimulatedImage
from moorage.simulation.loop import VirtualTimePolicy
from moorage.simulation.world import SCOPE, World

pytestmark = pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy. fixture")
AGENT = {"name": "app", "image": "web", "memory": 128, "essential": True, "portMappings": [{"containerPort": 80}]}


@pytest.fixture
def event_loop_policy():
    return VirtualTimePolicy()


@pytest.fixture
async def world(monkeypatch):
    monkeypatch.setattr(logging.getLogger("moorage"), "propagate", False)
    async with World(seed=1, images={"web": SimulatedImage()}) as world:
        await world.create_cluster()
        yield world


def explainer(world: World) -> Explainer:
    assert world.process is not None
    return Explainer(world.store, world.clock, world.process.plane)


async def register(world: World, memory: int = 512, **attributes: str) -> str:
    answer = await world.ecs(
        "RegisterContainerInstance",
        cluster="main",
        totalResources=[
            {"name": "CPU", "type": "INTEGER", "integerValue": 512},
            {"name": "MEMORY", "type": "INTEGER", "integerValue": memory},
        ],
        attributes=[{"name": name, "value": value} for name, value in attributes.items()],
    )
    return str(answer["containerInstance"]["ec2InstanceId"])


async def test_every_instance_without_a_daemon_says_why(world):
    await register(world, stack="blue")
    small, other = await register(world, memory=64, stack="blue"), await register(world, stack="green")
    await world.ecs("RegisterTaskDefinition", family="agent", containerDefinitions=[AGENT])
    rule = [{"type": "memberOf", "expression": "attribute:stack == blue"}]
    await world.ecs(
        "CreateService",
        cluster="main",
        serviceName="agent",
        taskDefinition="agent",
        schedulingStrategy="DAEMON",
        placementConstraints=rule,
    )
    await world.until(lambda: len(world.running("agent")) == 1)
    told = await explainer(world).explain("agent", None, SCOPE)
    lacking, outside, served = told.section("Instances")
    assert lacking.startswith(f"{small} in us-east-1")
    assert lacking.endswith("no task: RESOURCE:MEMORY, wants 128 MiB, 64 are free")
    assert outside.startswith(f"{other} in us-east-1")
    assert "not one of its instances: MemberOf placement constraint unsatisfied" in outside
    assert served == "1 instance with its task"


async def test_a_task_set_says_what_it_waits_for(world):
    await world.register("web")
    await world.ecs(
        "CreateService",
        cluster="main",
        serviceName="web",
        desiredCount=2,
        deploymentController={"type": "EXTERNAL"},
    )
    answer = await world.ecs(
        "CreateTaskSet",
        cluster="main",
        service="web",
        taskDefinition="web",
        launchType="FARGATE",
        networkConfiguration=world.network_configuration(),
        scale={"value": 50.0, "unit": "PERCENT"},
    )
    id = answer["taskSet"]["id"]
    await world.until(lambda: len(world.tasks("web")) == 1)
    told = await explainer(world).explain("web", None, SCOPE)
    line, waiting = told.section("Task sets")
    assert line == f"{id} ACTIVE STABILIZING (web:1, 50 % of 2 = 1): 0 running"
    assert f"waits for {world.tasks('web')[0].id[:8]}, which is " in waiting
    await world.until(lambda: len(world.running("web")) == 1)
    await world.run_for(1)
    one = await explainer(world).explain(id, None, SCOPE)
    assert one.kind == "task set"
    assert one.title.startswith(f"Task set {id} of service web is ACTIVE, STEADY_STATE since ")
    assert one.section("Now") == (f"{id} ACTIVE STEADY_STATE (web:1, 50 % of 2 = 1): 1 running",)
    assert one.facts["running"] == 1
