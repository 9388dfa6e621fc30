import pytest

from moorage.simulation.loop import VirtualTimePolicy


@pytest.fixture
def event_loop_policy():
    """Every test here lives in virtual time."""
    return VirtualTimePolicy()


def pytest_itemcollected(item):
    # The hook that pytest-asyncio offers instead would reach beyond this directory.
    item.add_marker(pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy. fixture"))
