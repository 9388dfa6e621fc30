"""Task sets in the simulated world: made, scaled, promoted and deleted from outside, behind a load balancer."""

from __future__ import annotations

from typing import Any

from moorage.simulation.calls import CLUSTER, Front
from moorage.simulation.world import World
from moorage.store.tables.ecs import REVISIONS, TASK_SETS

from .test_container_instances import a_bridge_service, living, register

SERVICE = "outside"


async def a_service(world: World, desired: int = 2, **params: Any) -> None:
    await world.ecs(
        "CreateService",
        cluster=CLUSTER,
        serviceName=SERVICE,
        desiredCount=desired,
        deploymentController={"type": "EXTERNAL"},
        **params,
    )


async def a_task_set(world: World, *, scale: float = 100.0, front: Front | None = None, **params: Any) -> str:
    """Its id."""
    balancers = [{"targetGroupArn": front.target_group, "containerName": "app", "containerPort": 80}] if front else None
    answer = await world.ecs(
        "CreateTaskSet",
        cluster=CLUSTER,
        service=SERVICE,
        **{
            "taskDefinition": "web",
            "launchType": "FARGATE",
            "networkConfiguration": world.network_configuration(),
            "loadBalancers": balancers,
            "scale": {"value": scale, "unit": "PERCENT"},
            **params,
        },
    )
    return str(answer["taskSet"]["id"])


async def describe(world: World) -> dict[str, dict[str, Any]]:
    answer = await world.ecs("DescribeTaskSets", cluster=CLUSTER, service=SERVICE)
    return {one["id"]: one for one in answer["taskSets"]}


async def change(world: World, operation: str, id: str, **params: Any) -> None:
    await world.ecs(operation, cluster=CLUSTER, service=SERVICE, taskSet=id, **params)


def records(world: World) -> dict[str, Any]:
    return {one.id: one for one in world.process.store.all(TASK_SETS)}


async def steady(world: World, *ids: str) -> None:
    def all_steady() -> bool:
        found = records(world)
        return all(found[id].steady for id in ids)

    await world.until(all_steady, within=300)


def tasks_of(world: World, id: str) -> list[Any]:
    return [t for t in living(world) if t.deployment_id == id]


async def test_a_task_set_has_its_share_of_the_desired_count(world):
    await a_service(world, desired=3)
    first = await a_task_set(world, scale=40)
    shown = (await describe(world))[first]
    assert (shown["computedDesiredCount"], shown["stabilityStatus"], shown["status"]) == (2, "STABILIZING", "ACTIVE")
    await steady(world, first)
    shown = (await describe(world))[first]
    assert (shown["runningCount"], shown["pendingCount"], shown["stabilityStatus"]) == (2, 0, "STEADY_STATE")
    assert {t.started_by for t in tasks_of(world, first)} == {first}
    await change(world, "UpdateTaskSet", first, scale={"value": 100.0, "unit": "PERCENT"})
    await world.until(lambda: len(tasks_of(world, first)) == 3)
    await world.update_service(SERVICE, desiredCount=1)
    await world.until(lambda: len(tasks_of(world, first)) == 1)
    await steady(world, first)
    events = world.events(SERVICE)
    assert any(event.startswith(f"(service {SERVICE}, taskSet {first}) has started 2 tasks: ") for event in events)
    assert f"(service {SERVICE}, taskSet {first}) has reached a steady state." in events


async def test_the_primary_task_set_is_what_the_service_shows(world):
    await a_service(world)
    shown = await world.describe_service(SERVICE)
    assert "taskDefinition" not in shown
    assert [list(shown[name]) for name in ("deployments", "taskSets", "loadBalancers")] == [[], [], []]
    first = await a_task_set(world)
    await world.ecs("UpdateServicePrimaryTaskSet", cluster=CLUSTER, service=SERVICE, primaryTaskSet=first)
    second = await a_task_set(world, scale=50)
    await world.ecs("UpdateServicePrimaryTaskSet", cluster=CLUSTER, service=SERVICE, primaryTaskSet=second)
    found = await describe(world)
    assert {id: one["status"] for id, one in found.items()} == {first: "ACTIVE", second: "PRIMARY"}
    shown = await world.describe_service(SERVICE)
    assert shown["taskDefinition"].endswith("task-definition/web:1")
    assert [one["id"] for one in shown["taskSets"]] == [first, second]


async def test_users_notice_nothing_of_a_change_of_task_sets(world):
    """What an external controller does: a second task set behind the same target group, then the first one goes."""
    front = await world.create_load_balancer("web")
    await a_service(world)
    blue = await a_task_set(world, front=front)
    await steady(world, blue)
    users = world.users.traffic(front.load_balancer, rate=20)
    green = await a_task_set(world, front=front)
    await steady(world, green)
    await world.ecs("UpdateServicePrimaryTaskSet", cluster=CLUSTER, service=SERVICE, primaryTaskSet=green)
    await change(world, "DeleteTaskSet", blue, force=True)
    assert (await describe(world))[blue]["status"] == "DRAINING"
    await world.until(lambda: blue not in records(world), within=120)
    assert await users.stop() == []
    events = world.events(SERVICE)
    assert f"(service {SERVICE}, taskSet {blue}) has begun draining connections on 2 tasks." in events
    assert any(
        event.startswith(f"(service {SERVICE}, taskSet {green}) registered 1 targets in (target-group ")
        for event in events
    )
    assert len(tasks_of(world, green)) == 2
    await steady(world, green)
    assert not [r for r in world.process.store.all(REVISIONS) if r.arn.endswith(blue)]


async def test_a_dead_task_is_replaced_in_its_own_task_set(world):
    await a_service(world)
    first, second = await a_task_set(world), await a_task_set(world, scale=50)
    await steady(world, first, second)
    victim = tasks_of(world, second)[0]
    await world.stop_task(victim.arn)
    await world.until(lambda: [t.arn for t in tasks_of(world, second)] not in ([], [victim.arn]))
    await steady(world, first, second)
    assert [len(tasks_of(world, id)) for id in (first, second)] == [2, 1]


async def test_failing_launches_are_throttled_and_explained(world):
    await a_service(world, desired=1)
    await world.register("bad", image="nowhere to be found")
    bad = await a_task_set(world, taskDefinition="bad")
    arn = world.service(SERVICE).arn
    await world.until(lambda: records(world)[bad].failed_tasks >= 3, within=300)
    assert "launches again in" in (world.process.plane.services.explain(arn) or "")
    assert not records(world)[bad].steady
    assert f"(service {SERVICE}) is unable to consistently start tasks successfully." in "".join(world.events(SERVICE))


async def test_a_deleted_service_takes_its_task_sets_with_it(world):
    await a_service(world)
    first = await a_task_set(world)
    await steady(world, first)
    await world.delete_service(SERVICE)
    await world.until(lambda: world.service(SERVICE).status == "INACTIVE", within=120)
    assert records(world) == {}
    assert not living(world)
    await world.settled()


async def test_task_sets_survive_a_restart_in_the_middle_of_everything(world):
    await a_service(world, desired=3)
    first = await a_task_set(world)
    await world.run_for(0.3)
    await world.kill_control_plane()
    await world.start_control_plane()
    await steady(world, first)
    before = {t.arn for t in tasks_of(world, first)}
    await change(world, "DeleteTaskSet", first, force=True)
    await world.kill_control_plane()
    await world.start_control_plane()
    await world.until(lambda: first not in records(world), within=120)
    assert len(before) == 3
    assert not living(world)


async def test_a_task_set_on_container_instances_leaves_a_draining_one(world):
    first, second = await register(world), await register(world)
    await a_bridge_service(world, desired=1)
    await a_service(world)
    one = await a_task_set(world, taskDefinition="bridge", launchType="EC2", networkConfiguration=None)
    await steady(world, one)
    await world.ecs("UpdateContainerInstancesState", cluster=CLUSTER, containerInstances=[first], status="DRAINING")
    await world.until(lambda: [t.instance.arn for t in tasks_of(world, one)] == [second, second], within=300)
    await steady(world, one)


async def test_code_deploy_services_begin_with_a_primary_task_set(world):
    front = await world.create_load_balancer("web")
    await world.ecs(
        "CreateService",
        cluster=CLUSTER,
        serviceName=SERVICE,
        desiredCount=2,
        taskDefinition="web",
        launchType="FARGATE",
        networkConfiguration=world.network_configuration(),
        deploymentController={"type": "CODE_DEPLOY"},
        loadBalancers=[{"targetGroupArn": front.target_group, "containerName": "app", "containerPort": 80}],
    )
    shown = await world.describe_service(SERVICE)
    assert shown["deployments"] == []
    (only,) = shown["taskSets"]
    assert (only["status"], only["scale"]["value"], only["computedDesiredCount"]) == ("PRIMARY", 100.0, 2)
    assert shown["taskDefinition"] == only["taskDefinition"]
    await steady(world, only["id"])
    assert await world.users.get(front.load_balancer) == 200
