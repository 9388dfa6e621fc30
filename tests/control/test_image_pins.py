"""All tasks of a service revision run one image, whatever becomes of its tag."""

from __future__ import annotations

from typing import Any

import pytest

from control.virtual_world import *  # noqa: F403
from control.virtual_world import VIRTUAL, PortsWorld
from moorage.control.image_pins import at_digest
from moorage.engine.driver import CannotPullContainerError, PulledImage
from moorage.engine.simulated_container import SimulatedImage
from moorage.store.tables.ecs import REVISIONS

pytestmark = VIRTUAL

OTHER = SimulatedImage(start=0.2)


def digests(world: PortsWorld) -> set[str | None]:
    return {task.containers[0].image_digest for task in world.running()}


async def revision(world: PortsWorld) -> dict[str, Any]:
    answer = await world.ecs("DescribeServiceRevisions", serviceRevisionArns=[world.service().revision_arn])
    found: dict[str, Any] = answer["serviceRevisions"][0]
    return found


@pytest.mark.parametrize(
    ("image", "pinned"),
    [
        ("web", "web@D"),
        ("web:v2", "web@D"),
        ("localhost:5000/web", "localhost:5000/web@D"),
        ("localhost:5000/team/web:v2", "localhost:5000/team/web@D"),
        ("web:v2@sha256:old", "web@D"),
    ],
)
def test_an_image_at_a_digest(image: str, pinned: str) -> None:
    assert at_digest(image, "D") == pinned


async def test_a_tag_that_moves_does_not_move_the_service(world: PortsWorld) -> None:
    await world.create_service(desired=2)
    await world.stable()
    [first] = digests(world)
    assert (await revision(world))["containerImages"] == [
        {"containerName": "app", "image": "web", "imageDigest": first}
    ]
    world.engine.images["web"] = OTHER
    await world.stop_task(world.running()[0].arn)
    await world.run_for(1)
    await world.update_service(desiredCount=3)
    await world.stable()
    assert digests(world) == {first}

    await world.update_service(forceNewDeployment=True)
    await world.stable()
    assert len(digests(world)) == 1
    assert digests(world) != {first}, "a new deployment asks again what the tag means"


async def test_a_rollback_brings_back_the_old_image_under_the_same_tag(world: PortsWorld) -> None:
    await world.create_service(desired=2, breaker=True, rollback=True, minimum=0)
    await world.stable()
    [good] = digests(world)
    world.engine.images["web"] = SimulatedImage(exits_after=1, exit_code=1)
    await world.update_service(forceNewDeployment=True)
    await world.until(lambda: world.service().deployments[0].rollback_of is not None, within=600, what="the rollback")
    await world.stable()
    assert digests(world) == {good}


async def test_whoever_does_not_want_it_follows_the_tag(world: PortsWorld) -> None:
    await world.register("web", containers=[{"name": "app", "image": "web", "versionConsistency": "disabled"}])
    await world.create_service(desired=1)
    await world.stable()
    assert "imageDigest" not in (await revision(world))["containerImages"][0]
    before = digests(world)
    world.engine.images["web"] = OTHER
    await world.stop_task(world.running()[0].arn)
    await world.run_for(1)
    await world.stable()
    assert digests(world) != before


async def test_two_tasks_that_start_while_the_tag_moves_agree(world: PortsWorld) -> None:
    world.engine.images["web"] = SimulatedImage(pull=2.0)
    await world.create_service(desired=8)
    await world.run_for(1.6)
    world.engine.images["web"] = SimulatedImage(pull=2.1)
    await world.stable()
    assert len(digests(world)) == 1


async def test_the_pin_survives_the_control_plane(world: PortsWorld) -> None:
    await world.create_service(desired=1)
    await world.stable()
    before = digests(world)
    world.engine.images["web"] = OTHER
    await world.restart_control_plane()
    await world.update_service(desiredCount=2)
    await world.stable()
    assert digests(world) == before


class LocalEngine:
    """Images of no registry: a name means an id, which is there as long as nobody removes it."""

    def __init__(self) -> None:
        self.names = {"web": "sha256:1"}
        self.ids = {"sha256:1", "sha256:2"}

    async def pull(self, image: str, *_: Any, **__: Any) -> PulledImage:
        id = self.names.get(image, image if image in self.ids else None)
        if id is None or id not in self.ids:
            raise CannotPullContainerError(f"No such image: {image}")
        return PulledImage(image, id=id)


async def test_local_images_are_pinned_by_the_id_of_the_engine(
    world: PortsWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = LocalEngine()
    real = world.engine.pull

    async def pull(image: str, *more: Any, **named: Any) -> PulledImage:
        found = await local.pull(image)
        made = await real("web", *more, **named)
        return PulledImage(made.reference, id=found.id)

    monkeypatch.setattr(world.engine, "pull", pull)
    await world.create_service(desired=1)
    await world.stable()
    record = world.store.get(REVISIONS, world.service().revision_arn)
    assert (dict(record.images), record.local_images) == ({"app": "sha256:1"}, ("app",))

    local.names["web"] = "sha256:2"
    await world.update_service(desiredCount=2)
    await world.stable()
    assert digests(world) == {"sha256:1"}

    local.ids.discard("sha256:1")
    await world.update_service(desiredCount=3)
    await world.stable()
    assert len(world.running()) == 3, "an image that is gone does not keep the service from starting"
