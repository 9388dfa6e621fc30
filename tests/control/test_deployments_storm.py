"""Updates in the middle of updates, stops, scaling and a control plane that dies anywhere, while users watch: whatever
happens to a blue/green, linear or canary deployment, no request fails and the service comes to rest."""

from __future__ import annotations

import contextlib
import logging
import random

import pytest

from control.deployments_world import Street
from moorage.domain.errors import AwsError
from moorage.engine.simulated_container import SimulatedImage
from moorage.simulation.loop import VirtualTimePolicy
from moorage.simulation.world import World

pytestmark = pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy. fixture")
IMAGES = (SimulatedImage(), SimulatedImage(), SimulatedImage(listens_after=4), SimulatedImage(status=500))


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("moorage"), "propagate", False)


@pytest.fixture
def event_loop_policy() -> VirtualTimePolicy:
    return VirtualTimePolicy()


async def something_happens(street: Street, dice: random.Random, name: str) -> None:
    """A deployment, and soon after it a crash, perhaps a stop, perhaps another size."""
    world = street.world
    with contextlib.suppress(ConnectionError):
        await street.deploy(dice.choice(IMAGES), name=name)
    await world.run_for(dice.choice((0.01, 3, 20, 25, 60, 400)))
    world.crash_after(int(10 ** dice.uniform(0, 3)), away=dice.choice((0.0, 0.5, 10.0)))
    if dice.random() < 0.3:
        await world.recovered()
        with contextlib.suppress(AwsError):
            arn = world.service().deployments[0].service_deployment_arn
            await world.ecs("StopServiceDeployment", serviceDeploymentArn=arn)
    if dice.random() < 0.3:
        with contextlib.suppress(ConnectionError):
            await world.update_service(desiredCount=dice.choice((1, 2, 3)))
    await world.recovered()


@pytest.mark.parametrize("seed", [1, 7, 9, 11, 14, 43])
async def test_whatever_happens_users_do_not_notice(seed: int) -> None:
    dice = random.Random(seed)
    async with World(seed=seed, images={"web": SimulatedImage()}) as world:
        street = await Street.make(world)
        await street.create(
            dice.choice(("BLUE_GREEN", "LINEAR", "CANARY")),
            bakeTimeInMinutes=dice.choice((0, 1)),
            deploymentCircuitBreaker={"enable": True, "rollback": True},
        )
        users = world.users.traffic(street.front.load_balancer, rate=5)
        for number in range(4):
            await something_happens(street, dice, f"image-{number}")
        await street.deploy(name="last")
        await world.until(lambda: world.is_stable() and world.service().shift is None, within=8000)
        assert await users.stop() == []
        await world.settled()
