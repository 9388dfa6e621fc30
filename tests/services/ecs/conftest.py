import pytest

from .rig import Rig


@pytest.fixture
async def ecs() -> Rig:
    """An empty account."""
    return await Rig.make()


@pytest.fixture
async def main(ecs: Rig) -> Rig:
    """The cluster "main" and the Fargate task definition web:1."""
    await ecs.cluster("main")
    await ecs.definition("web")
    return ecs
