"""Services on container instances, in the simulated world: placed, explained, moved, balanced."""

from __future__ import annotations

from typing import Any

import msgspec

from moorage.engine.simulated_container import SimulatedImage
from moorage.simulation.calls import CLUSTER, Front
from moorage.simulation.network import VPC
from moorage.simulation.world import World
from moorage.store.tables.ecs import TASKS


async def register(world: World, cpu: int = 1024, memory: int = 1024, **params: Any) -> str:
    answer = await world.ecs(
        "RegisterContainerInstance",
        cluster=CLUSTER,
        totalResources=[
            {"name": "CPU", "type": "INTEGER", "integerValue": cpu},
            {"name": "MEMORY", "type": "INTEGER", "integerValue": memory},
        ],
        **params,
    )
    return str(answer["containerInstance"]["containerInstanceArn"])


async def a_bridge_service(
    world: World, *, desired: int = 2, host_port: int = 0, front: Front | None = None, **params: Any
) -> None:
    one = {
        "name": "app",
        "image": "web",
        "cpu": 256,
        "memory": 256,
        "essential": True,
        "portMappings": [{"containerPort": 80, "hostPort": host_port}],
    }
    await world.ecs("RegisterTaskDefinition", family="bridge", containerDefinitions=[one])
    balancers = [{"targetGroupArn": front.target_group, "containerName": "app", "containerPort": 80}] if front else None
    await world.ecs(
        "CreateService",
        cluster=CLUSTER,
        serviceName="web",
        taskDefinition="bridge",
        desiredCount=desired,
        launchType="EC2",
        loadBalancers=balancers,
        **params,
    )


def living(world: World) -> list[Any]:
    assert world.process is not None
    return [t for t in world.process.store.all(TASKS) if t.desired_status == "RUNNING"]


def where(world: World) -> list[str]:
    return sorted(t.instance.arn for t in living(world))


async def test_a_service_waits_for_an_instance_and_says_so(world):
    await a_bridge_service(world)
    await world.until(lambda: bool(world.events()))
    assert world.events()[0] == (
        "(service web) was unable to place a task because no container instance met all of its requirements. "
        "Reason: No Container Instances were found in your cluster. For more information, see the Troubleshooting "
        "section of the Amazon ECS Developer Guide."
    )
    small = await register(world, cpu=300)
    await world.until(lambda: any("closest matching" in event for event in world.events()))
    told = next(event for event in world.events() if "closest matching" in event)
    assert f"The closest matching (container-instance {small[-32:]}) has insufficient CPU units available." in told

    def explained() -> bool:
        said = world.process.plane.services.explain(world.service().arn) or ""
        return "Not placed: of 1 instances 1 RESOURCE:CPU" in said and "wants 256 CPU units, 44 are free" in said

    await world.until(explained)
    large = await register(world)
    await world.stable()
    assert where(world) == sorted([small, large])


async def test_fixed_ports_spread_over_instances_and_a_third_task_waits_until_one_stops(world):
    first, second = await register(world), await register(world)
    await a_bridge_service(world, desired=3, host_port=8080)
    await world.until(lambda: len(world.running()) == 2)
    assert where(world) == sorted([first, second])
    assert any("is already using a port required by your task" in event for event in world.events())
    third = await register(world)
    await world.stable()
    assert where(world) == sorted([first, second, third])
    bindings = [c.bindings[0] for t in living(world) for c in t.containers]
    assert {b.host_port for b in bindings} == {8080}
    assert len({b.bind_ip for b in bindings}) == 3


async def test_draining_moves_the_tasks_of_services_and_leaves_none_unserved(world):
    front = await a_front(world)
    first, second = await register(world), await register(world)
    await a_bridge_service(world, desired=2, front=front)
    await world.stable()
    users = world.users.traffic(front.load_balancer, rate=20)
    await world.ecs("UpdateContainerInstancesState", cluster=CLUSTER, containerInstances=[first], status="DRAINING")
    await world.until(lambda: where(world) == [second, second] and len(world.running()) == 2, within=300)
    await world.stable()
    assert await users.stop() == []
    await world.settled()


async def test_targets_are_instances_with_the_host_port(world):
    front = await a_front(world)
    await register(world)
    await a_bridge_service(world, desired=2, front=front)
    await world.stable()
    answer = await world.elbv2("DescribeTargetHealth", TargetGroupArn=front.target_group)
    shown = [(d["Target"]["Id"], d["TargetHealth"]["State"]) for d in answer["TargetHealthDescriptions"]]
    ids = {t.instance.ec2_instance_id for t in living(world)}
    assert shown == [(next(iter(ids)), "healthy")] * 2
    assert await world.users.get(front.load_balancer) == 200


async def test_host_mode_shows_the_container_ports_as_bindings(world):
    await register(world)
    one = {"name": "app", "image": "web", "memory": 100, "essential": True, "portMappings": [{"containerPort": 80}]}
    await world.ecs("RegisterTaskDefinition", family="host", networkMode="host", containerDefinitions=[one])
    answer = await world.ecs("RunTask", cluster=CLUSTER, taskDefinition="host", launchType="EC2")
    await world.until(lambda: [t.last_status for t in living(world)] == ["RUNNING"])
    shown = await world.ecs("DescribeTasks", cluster=CLUSTER, tasks=[answer["tasks"][0]["taskArn"]])
    (binding,) = msgspec.json.decode(msgspec.json.encode(shown))["tasks"][0]["containers"][0]["networkBindings"]
    assert binding == {"bindIP": "0.0.0.0", "containerPort": 80, "hostPort": 80, "protocol": "tcp"}


async def test_deregistering_by_force_gives_the_service_new_tasks_elsewhere(world):
    first = await register(world)
    await a_bridge_service(world, desired=1)
    await world.stable()
    second = await register(world)
    await world.ecs("DeregisterContainerInstance", cluster=CLUSTER, containerInstance=first, force=True)
    await world.until(lambda: where(world) == [second])
    await world.stable()


async def test_what_is_placed_survives_a_restart(world):
    first, second = await register(world), await register(world)
    await a_bridge_service(world, desired=2)
    await world.stable()
    before = {t.arn for t in living(world)}
    await world.kill_control_plane()
    await world.start_control_plane()
    await world.stable()
    assert {t.arn for t in living(world)} == before
    assert where(world) == sorted([first, second])


async def a_front(world: World) -> Front:
    """A load balancer with a target group of instances."""
    balancer = await world.elbv2("CreateLoadBalancer", Name="web", Subnets=list(world.networks.by_id))
    arn = balancer["LoadBalancers"][0]["LoadBalancerArn"]
    made = await world.elbv2(
        "CreateTargetGroup",
        Name="web",
        Protocol="HTTP",
        Port=80,
        VpcId=VPC,
        TargetType="instance",
        HealthCheckPath="/health",
        HealthCheckIntervalSeconds=5,
        HealthCheckTimeoutSeconds=2,
        HealthyThresholdCount=2,
    )
    group = made["TargetGroups"][0]["TargetGroupArn"]
    await world.elbv2(
        "ModifyTargetGroupAttributes",
        TargetGroupArn=group,
        Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "10"}],
    )
    return Front(arn, await world.create_listener(arn, group), group)


async def test_a_target_moves_with_its_container_when_that_gets_another_port(world):
    world.engine.images["mortal"] = SimulatedImage(exits_after=100, exit_code=1)
    await register(world)
    front = await a_front(world)
    one = {
        "name": "app",
        "image": "mortal",
        "memory": 256,
        "essential": True,
        "portMappings": [{"containerPort": 80, "hostPort": 0}],
        "restartPolicy": {"enabled": True, "restartAttemptPeriod": 60},
    }
    await world.ecs("RegisterTaskDefinition", family="bridge", containerDefinitions=[one])
    balancers = [{"targetGroupArn": front.target_group, "containerName": "app", "containerPort": 80}]
    await world.ecs(
        "CreateService",
        cluster=CLUSTER,
        serviceName="web",
        taskDefinition="bridge",
        desiredCount=1,
        launchType="EC2",
        loadBalancers=balancers,
        healthCheckGracePeriodSeconds=600,
    )
    await world.stable()
    [task] = living(world)
    [before] = task.containers[0].bindings
    await world.until(lambda: living(world)[0].containers[0].restarts == 1, within=120)
    await world.until(lambda: living(world)[0].containers[0].bindings[0] != before)
    assert living(world)[0].arn == task.arn
    await world.run_for(30)
    assert await world.users.get(front.load_balancer) == 200
