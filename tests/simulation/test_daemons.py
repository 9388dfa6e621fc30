"""DAEMON services in the simulated world: one task on every instance they belong on, whatever happens to the instances."""

from __future__ import annotations

from collections import Counter
from typing import Any

from moorage.simulation.calls import CLUSTER, Front
from moorage.simulation.world import World
from moorage.store.tables.ecs import SERVICES, TASKS

from .test_container_instances import a_bridge_service, a_front, living, register


async def a_daemon(world: World, *, image: str = "web", front: Front | None = None, **params: Any) -> None:
    await define(world, image=image)
    balancers = [{"targetGroupArn": front.target_group, "containerName": "app", "containerPort": 80}] if front else None
    await world.ecs(
        "CreateService",
        cluster=CLUSTER,
        serviceName="agent",
        taskDefinition="agent",
        schedulingStrategy="DAEMON",
        loadBalancers=balancers,
        **params,
    )


async def define(world: World, *, image: str = "web", memory: int = 128) -> None:
    one = {
        "name": "app",
        "image": image,
        "cpu": 64,
        "memory": memory,
        "essential": True,
        "portMappings": [{"containerPort": 80, "hostPort": 9100}],
    }
    await world.ecs("RegisterTaskDefinition", family="agent", containerDefinitions=[one])


def events(world: World) -> list[str]:
    return world.events("agent")


async def settled(world: World) -> None:
    await world.until(lambda: steady(world), within=600)


def steady(world: World) -> bool:
    service = next(s for s in world.process.store.all(SERVICES) if s.name == "agent")
    return service.steady_since is not None


def all_of(world: World) -> list[Any]:
    return [t for t in world.process.store.all(TASKS) if t.group == "service:agent"]


def mine(world: World) -> list[str]:
    return sorted(t.instance.arn for t in living(world) if t.group == "service:agent")


def never_two(world: World) -> None:
    alive = Counter(t.instance.arn for t in all_of(world) if t.last_status != "STOPPED")
    assert not [arn for arn, count in alive.items() if count > 1]


async def test_one_task_per_instance_and_one_more_with_every_instance_that_comes(world):
    first, second = await register(world), await register(world)
    await a_daemon(world)
    shown = await world.describe_service("agent")
    assert (shown["desiredCount"], shown["schedulingStrategy"]) == (2, "DAEMON")
    assert shown["deploymentConfiguration"]["minimumHealthyPercent"] == 0
    assert shown["deploymentConfiguration"]["maximumPercent"] == 100
    await settled(world)
    assert mine(world) == sorted([first, second])
    third = await register(world)
    await world.until(lambda: mine(world) == sorted([first, second, third]))
    await settled(world)
    assert (await world.describe_service("agent"))["desiredCount"] == 3


async def test_without_instances_it_is_at_rest_with_nothing(world):
    await a_daemon(world)
    await settled(world)
    assert (await world.describe_service("agent"))["desiredCount"] == 0


async def test_a_dead_task_is_replaced_on_its_own_instance(world):
    first, second = await register(world), await register(world)
    await a_daemon(world)
    await settled(world)
    victim = next(t for t in living(world) if t.instance.arn == first)
    await world.ecs("StopTask", cluster=CLUSTER, task=victim.arn)
    await world.until(lambda: mine(world) == sorted([first, second]))
    assert victim.arn not in {t.arn for t in living(world)}
    never_two(world)


async def test_a_draining_instance_loses_its_daemon_after_the_replicas(world):
    first, second = await register(world), await register(world)
    await a_daemon(world)
    await a_bridge_service(world, desired=2)
    await world.stable()
    await settled(world)
    await world.ecs("UpdateContainerInstancesState", cluster=CLUSTER, containerInstances=[first], status="DRAINING")
    agent = next(t for t in living(world) if t.group == "service:agent" and t.instance.arn == first)

    def left() -> bool:
        replicas = [t for t in world.process.store.all(TASKS) if t.group == "service:web" and t.instance.arn == first]
        if world.process.store.get(TASKS, agent.arn).desired_status == "RUNNING":
            return False
        assert all(t.last_status == "STOPPED" for t in replicas), "the daemon is the last to leave"
        return True

    await world.until(left, within=300)
    await settled(world)
    assert mine(world) == [second]
    assert (await world.describe_service("agent"))["desiredCount"] == 1
    await world.ecs("UpdateContainerInstancesState", cluster=CLUSTER, containerInstances=[first], status="ACTIVE")
    await world.until(lambda: mine(world) == sorted([first, second]))


async def test_an_attribute_decides_where_it_runs_also_later(world):
    first, second = await register(world), await register(world)
    attribute = {"name": "stack", "value": "blue", "targetType": "container-instance", "targetId": first}
    await world.ecs("PutAttributes", cluster=CLUSTER, attributes=[attribute])
    await a_daemon(world, placementConstraints=[{"type": "memberOf", "expression": "attribute:stack == blue"}])
    await settled(world)
    assert mine(world) == [first]
    await world.ecs("DeleteAttributes", cluster=CLUSTER, attributes=[attribute])
    await world.ecs("PutAttributes", cluster=CLUSTER, attributes=[attribute | {"targetId": second}])
    await world.until(lambda: mine(world) == [second])
    assert any("stops tasks that no longer meet its placement constraints" in event for event in events(world))
    await settled(world)


async def test_a_full_instance_is_desired_and_the_service_says_what_is_missing(world):
    await register(world)
    small = await register(world, memory=64)
    await a_daemon(world)
    await world.until(lambda: any("closest matching" in event for event in events(world)))
    assert f"(container-instance {small[-32:]}) has insufficient memory available" in "".join(events(world))
    assert (await world.describe_service("agent"))["desiredCount"] == 2
    arn = world.service("agent").arn
    told = "Not placed: of 1 instances 1 RESOURCE:MEMORY"
    await world.until(lambda: told in (world.process.plane.services.explain(arn) or ""))


async def test_room_that_becomes_free_goes_to_the_daemon(world):
    first = await register(world, memory=256)
    await a_bridge_service(world, desired=1)
    await world.until(lambda: len(world.running()) == 1)
    await a_daemon(world)
    await world.until(lambda: any("closest matching" in event for event in events(world)))
    await world.ecs("UpdateService", cluster=CLUSTER, service="web", desiredCount=0)
    await world.until(lambda: mine(world) == [first])


async def test_an_update_stops_before_it_starts_and_never_has_two_on_one_instance(world):
    instances = [await register(world) for _ in range(3)]
    await a_daemon(world)
    await settled(world)
    await define(world, memory=100)
    await world.ecs("UpdateService", cluster=CLUSTER, service="agent", taskDefinition="agent")

    def replaced() -> bool:
        never_two(world)
        return len(mine(world)) == 3 and {t.task_definition_arn[-2:] for t in living(world)} == {":2"}

    await world.until(replaced, within=300)
    await settled(world)
    assert mine(world) == sorted(instances)
    assert [d["rolloutState"] for d in (await world.describe_service("agent"))["deployments"]] == ["COMPLETED"]


async def test_minimum_healthy_percent_keeps_some_while_others_are_replaced(world):
    for _ in range(4):
        await register(world)
    await a_daemon(world, deploymentConfiguration={"minimumHealthyPercent": 50})
    await settled(world)
    await world.ecs("UpdateService", cluster=CLUSTER, service="agent", forceNewDeployment=True)
    least = []

    def done() -> bool:
        running = sum(1 for t in living(world) if t.last_status == "RUNNING")
        least.append(running)
        service = next(s for s in world.process.store.all(SERVICES) if s.name == "agent")
        return len(service.deployments) == 1 and service.deployments[0].rollout_state == "COMPLETED"

    await world.until(done, within=600)
    assert min(least) >= 2


async def test_a_bad_image_trips_the_breaker_and_the_old_one_returns_everywhere(world):
    instances = [await register(world) for _ in range(2)]
    breaker = {"deploymentCircuitBreaker": {"enable": True, "rollback": True}, "minimumHealthyPercent": 50}
    await a_daemon(world, deploymentConfiguration=breaker)
    await settled(world)
    await define(world, image="nowhere to be found")
    await world.ecs("UpdateService", cluster=CLUSTER, service="agent", taskDefinition="agent")
    await world.until(lambda: any("rolling back" in event for event in events(world)), within=900)
    await settled(world)
    assert mine(world) == sorted(instances)
    assert {t.task_definition_arn[-2:] for t in living(world)} == {":1"}


async def test_behind_a_load_balancer_and_deleted_without_force(world):
    front = await a_front(world)
    await register(world)
    await register(world)
    await a_daemon(world, front=front)
    await settled(world)
    assert await world.users.get(front.load_balancer) == 200
    await world.ecs("DeleteService", cluster=CLUSTER, service="agent")
    await world.until(lambda: not living(world))
    await world.settled()


async def test_a_restart_of_the_control_plane_changes_nothing(world):
    for _ in range(2):
        await register(world)
    await a_daemon(world)
    await settled(world)
    before = {t.arn for t in living(world)}
    await world.kill_control_plane()
    await world.start_control_plane()
    late = await register(world)
    await world.until(lambda: late in mine(world))
    assert before < {t.arn for t in living(world)}
