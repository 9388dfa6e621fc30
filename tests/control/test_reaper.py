"""What leaves memory, and what must stay."""

from __future__ import annotations

import logging

import pytest

from moorage.control.reaper import Reaper
from moorage.engine.simulated_container import SimulatedImage
from moorage.simulation.calls import CLUSTER
from moorage.simulation.loop import VirtualTimePolicy
from moorage.simulation.world import World
from moorage.store.tables.ecs import REVISIONS

pytestmark = pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy. fixture")


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("moorage"), "propagate", False)


@pytest.fixture
def event_loop_policy() -> VirtualTimePolicy:
    return VirtualTimePolicy()


class Later:
    """The world's clock, some days on."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.days = 0

    def now(self) -> float:
        return self.world.clock.now() + self.days * 24 * 3600.0


async def deployments(world: World) -> list[str]:
    answer = await world.ecs("ListServiceDeployments", cluster=CLUSTER, service="web")
    return [one["serviceDeploymentArn"] for one in answer["serviceDeployments"]]


async def test_the_history_of_a_service_is_kept_for_90_days() -> None:
    async with World(seed=1, images={"web": SimulatedImage()}) as world:
        await world.create_cluster()
        await world.register("web")
        await world.create_service()
        await world.stable()
        for _ in range(2):
            await world.update_service(forceNewDeployment=True)
            await world.stable()
        newest, second, _ = await deployments(world)
        clock = Later(world)
        reaper = Reaper(world.store, clock)
        clock.days = 89
        await reaper.sweep()
        assert len(await deployments(world)) == 3
        clock.days = 91
        await reaper.sweep()
        assert await deployments(world) == [newest], "what runs is no history"
        kept = [one.arn for one in world.store.find(REVISIONS, "service", world.service().arn)]
        assert len(kept) == 2, "what it runs, and what that replaced"
        assert world.service().revision_arn in kept
        described = await world.ecs("DescribeServiceDeployments", serviceDeploymentArns=[second])
        assert described["failures"] == [{"arn": second, "reason": "MISSING"}]
        await world.update_service(forceNewDeployment=True)
        await world.stable()
        await world.settled()


async def test_what_a_deployment_that_still_runs_would_go_back_to_is_kept() -> None:
    async with World(seed=1, images={"web": SimulatedImage(), "bad": SimulatedImage(pull_failure="no")}) as world:
        await world.create_cluster()
        await world.register("web")
        await world.create_service()
        await world.stable()
        good = world.service().revision_arn
        await world.update_service(taskDefinition=await world.register("web", image="bad"))
        await world.run_for(5)
        clock = Later(world)
        reaper = Reaper(world.store, clock)
        clock.days = 91
        await reaper.sweep()
        going_on, _ = await deployments(world)
        assert world.service().deployments[0].service_deployment_arn == going_on
        await world.ecs("StopServiceDeployment", serviceDeploymentArn=going_on)
        await world.stable()
        assert world.service().revision_arn == good
