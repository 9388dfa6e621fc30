import pytest

from .rig import Rig


@pytest.fixture
async def elb() -> Rig:
    return await Rig.make()
