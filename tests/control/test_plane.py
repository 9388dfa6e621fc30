"""The control plane as one thing: it starts, explains, and closes without touching what runs."""

from __future__ import annotations

from moorage.engine.simulated_container import SimulatedImage

from .virtual_world import VIRTUAL, PortsWorld, a_world, quiet_log, virtual_time  # noqa: F401

pytestmark = VIRTUAL


async def test_closing_leaves_containers_alone(world: PortsWorld) -> None:
    await world.create_service(desired=2)
    await world.stable()
    assert world.process is not None
    await world.process.plane.close()
    await world.run_for(600)
    assert len(world.engine.containers(running=True)) == 2


async def test_it_explains_what_waits_and_why(world: PortsWorld) -> None:
    assert world.process is not None
    plane = world.process.plane
    world.engine.images["web"] = SimulatedImage(pull=30)
    await world.create_service(desired=1)
    await world.run_for(5)
    [task] = world.tasks()
    assert plane.tasks.explain(task.arn) == "waits for pull app"
    assert "waits: a task is PENDING" in (plane.services.explain(world.service().arn) or "")
    assert [verdict.state for verdict in plane.services.verdicts(world.service().arn).values()] == ["waiting"]
    await world.engine.outage(20)
    assert "The container engine does not answer" in (plane.tasks.explain(task.arn) or "")
    await world.stable()
    assert plane.tasks.explain(task.arn) == "no action: runs as it should"
    assert "1 desired, 1 healthy" in (plane.services.explain(world.service().arn) or "")
    await world.delete_service()
    await world.until(lambda: world.service().status == "INACTIVE")
    assert plane.services.verdicts(world.service().arn) == {}
