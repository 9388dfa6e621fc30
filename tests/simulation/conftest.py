import logging

import pytest

from moorage.engine.simulated_container import SimulatedImage
from moorage.simulation.loop import VirtualTimePolicy
from moorage.simulation.world import World


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """The worlds listen to the log themselves; a failing story says what is needed."""
    monkeypatch.setattr(logging.getLogger("moorage"), "propagate", False)


@pytest.fixture
def event_loop_policy():
    """Every test here lives in virtual time."""
    return VirtualTimePolicy()


def pytest_itemcollected(item):
    # The hook that pytest-asyncio offers instead would reach beyond this directory.
    item.add_marker(pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy. fixture"))


@pytest.fixture
async def world():
    """A cluster, and the task definition web:1 of the image "web", which listens at once and never ends."""
    async with World(seed=1, images={"web": SimulatedImage()}) as world:
        await world.create_cluster()
        await world.register("web")
        yield world
