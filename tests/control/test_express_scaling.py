"""Express services scale: out while their tasks work hard, in when they rest (semantics ecs-services §9, §14)."""

from __future__ import annotations

import asyncio

from moorage.domain.express import ExpressConfiguration, ExpressResources, ExpressScaling, ExpressService
from moorage.store.tables.ecs import EXPRESS_SERVICES, SERVICES

from .virtual_world import VIRTUAL, PortsWorld, a_world, quiet_log, virtual_time  # noqa: F401

pytestmark = VIRTUAL


async def as_express(world: PortsWorld, **scaling: object) -> str:
    """The service "web", with one task, is an Express service from now on; its ARN."""
    await world.create_service("web", desired=1)
    service = world.service("web")
    record = ExpressService(
        arn=service.arn,
        account=service.account,
        region=service.region,
        cluster_arn=service.cluster_arn,
        name="web",
        infrastructure_role_arn="arn:aws:iam::000000000000:role/x",
        host="web.localhost",
        access_type="PUBLIC",
        vpc_id="vpc-1",
        balancer_name="b",
        created_at=0.0,
        updated_at=0.0,
        wanted=ExpressConfiguration(subnets=(), scaling=ExpressScaling(1, 4, **scaling)),  # type: ignore[arg-type]
        applied=1,
        made=ExpressResources(load_balancer="x:loadbalancer/app/b/1", target_groups=("x:targetgroup/web/1",)),
    )
    await world.store.update(lambda tx: tx.put(EXPRESS_SERVICES, record))
    return service.arn


def desired(world: PortsWorld, arn: str) -> int:
    service = world.store.get(SERVICES, arn)
    assert service is not None
    return service.desired_count


async def test_out_while_tasks_work_hard_and_in_when_they_rest(world: PortsWorld) -> None:
    world.engine.cpu_used = 0.22  # 88 % of the quarter of a vCPU that every task has
    arn = await as_express(world)
    await world.until(lambda: desired(world, arn) == 2, within=400, what="two tasks")
    await world.until(lambda: desired(world, arn) == 3, within=700, what="three, after the cooldown")
    assert any("Successfully set desired count to 2." in message for message in world.events("web"))
    world.engine.cpu_used = 0.0
    await world.until(lambda: desired(world, arn) == 1, within=3600, what="one again")
    assert world.process is not None
    assert "AVERAGE_CPU" in (world.process.plane.express_scaling.explain(arn) or "")


async def test_requests_are_counted_per_target(world: PortsWorld) -> None:
    arn = await as_express(world, auto_scaling_metric="REQUEST_COUNT_PER_TARGET", auto_scaling_target_value=30)
    assert world.process is not None
    for _ in range(8):
        for _ in range(60):
            world.process.plane.express_scaling.count_request("x:targetgroup/web/1")
        await asyncio.sleep(60)
    assert desired(world, arn) > 1


async def test_a_new_control_plane_measures_anew(world: PortsWorld) -> None:
    world.engine.cpu_used = 0.22
    arn = await as_express(world)
    await world.kill_control_plane()
    await world.start_control_plane()
    await world.until(lambda: desired(world, arn) == 2, within=600, what="two tasks")
