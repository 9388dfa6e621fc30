"""Capacity providers on host groups, in the simulated world: out from nothing, in again, and whatever happens meanwhile."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import pytest

from moorage.control.explainer import Explainer
from moorage.domain.capacity_provider import ScalingNote
from moorage.domain.container_instance import ContainerInstance
from moorage.domain.errors import AwsError
from moorage.domain.task import Task
from moorage.engine.simulated_container import SimulatedImage
from moorage.simulation.calls import CLUSTER
from moorage.simulation.host_groups import LAUNCH
from moorage.simulation.network import SCOPE
from moorage.simulation.world import World
from moorage.store.api import StoreUnavailable
from moorage.store.tables.ecs import CONTAINER_INSTANCES, HOST_GROUPS, SCALING_NOTES, TASKS

WARMUP = 60
PROVIDER = SCOPE.arn("ecs", "capacity-provider/hosts")


async def a_provider(
    world: World,
    *,
    desired: int = 0,
    maximum: int = 10,
    target: int = 100,
    status: str = "ENABLED",
    draining: str = "ENABLED",
) -> None:
    group = world.groups.create(SCOPE, desired=desired, maximum=maximum)
    await world.ecs(
        "CreateCapacityProvider",
        name="hosts",
        autoScalingGroupProvider={
            "autoScalingGroupArn": group,
            "managedScaling": {"status": status, "targetCapacity": target, "instanceWarmupPeriod": WARMUP},
            "managedDraining": draining,
        },
    )
    await world.ecs(
        "PutClusterCapacityProviders",
        cluster=CLUSTER,
        capacityProviders=["hosts"],
        defaultCapacityProviderStrategy=[{"capacityProvider": "hosts", "weight": 1}],
    )


async def define(
    world: World, *, cpu: int = 1024, awsvpc: bool = False, host_port: int = 0, image: str = "web"
) -> None:
    """The family "job": two fit on an instance, unless told otherwise."""
    container: dict[str, Any] = {"name": "app", "image": image, "cpu": cpu, "memory": 256, "essential": True}
    ports: dict[str, Any] = {"containerPort": 80} | ({} if awsvpc else {"hostPort": host_port})
    await world.ecs(
        "RegisterTaskDefinition",
        family="job",
        networkMode="awsvpc" if awsvpc else "bridge",
        containerDefinitions=[{**container, "portMappings": [ports]}],
    )


async def run(world: World, count: int = 1, **params: Any) -> list[str]:
    answer = await world.ecs("RunTask", cluster=CLUSTER, taskDefinition="job", count=count, **params)
    assert answer["failures"] == []
    return [task["taskArn"] for task in answer["tasks"]]


async def serve(world: World, desired: int, **params: Any) -> None:
    await world.ecs(
        "CreateService", cluster=CLUSTER, serviceName="web", taskDefinition="job", desiredCount=desired, **params
    )


def instances(world: World) -> list[ContainerInstance]:
    return [one for one in world.store.all(CONTAINER_INSTANCES) if one.status != "INACTIVE"]


def states(world: World, arns: list[str]) -> set[str]:
    return {world.task(arn).last_status for arn in arns}


def note(world: World) -> ScalingNote:
    found: ScalingNote | None = world.store.get(SCALING_NOTES, PROVIDER)
    assert found is not None
    return found


def living(world: World) -> list[Task]:
    return [task for task in world.store.all(TASKS) if task.desired_status == "RUNNING"]


async def test_out_from_nothing_and_in_again(world: World) -> None:
    await a_provider(world)
    await define(world)
    tasks = await run(world, 3)
    assert states(world, tasks) == {"PROVISIONING"}
    await world.until(lambda: states(world, tasks) == {"RUNNING"})
    # Asked for once, and for what is needed: two instances for three tasks of half an instance.
    assert world.groups.asked == [2]
    assert [one.capacity_provider for one in instances(world)] == ["hosts", "hosts"]
    assert {one.availability_zone for one in instances(world)} == {"us-east-1a", "us-east-1b"}
    assert {world.task(arn).capacity_provider for arn in tasks} == {"hosts"}
    assert note(world).reservation == 100.0
    for arn in tasks:
        await world.stop_task(arn)
    await world.until(lambda: not instances(world), within=WARMUP * 3)
    assert world.groups.get().desired == 0
    assert note(world).said.startswith("no action: the capacity fits")


async def test_only_empty_instances_leave(world: World) -> None:
    await a_provider(world)
    await define(world, cpu=2048)
    tasks = await run(world, 3)
    await world.until(lambda: states(world, tasks) == {"RUNNING"})
    stays = {world.task(tasks[0]).instance, world.task(tasks[2]).instance}
    await world.stop_task(tasks[1])
    await world.until(lambda: len(instances(world)) == 2, within=WARMUP * 3)
    assert {one.arn for one in instances(world)} == {one.arn for one in stays if one is not None}
    assert states(world, [tasks[0], tasks[2]]) == {"RUNNING"}


async def test_an_instance_that_is_used_again_in_time_stays(world: World) -> None:
    await a_provider(world)
    await define(world)
    first = await run(world)
    await world.until(lambda: states(world, first) == {"RUNNING"})
    await world.run_for(WARMUP)
    await world.stop_task(first[0])
    await world.until(lambda: note(world).below_since is not None)
    await world.run_for(WARMUP / 2)
    again = await run(world)
    await world.until(lambda: states(world, again) == {"RUNNING"}, within=5)
    await world.run_for(WARMUP * 3)
    assert world.groups.asked == [1]


async def test_awsvpc_tasks_get_their_interface_where_their_instance_is(world: World) -> None:
    await a_provider(world)
    await define(world, awsvpc=True, cpu=2048)
    tasks = await run(world, 2, networkConfiguration=world.network_configuration())
    assert [world.task(arn).interface for arn in tasks] == [None, None]
    await world.until(lambda: states(world, tasks) == {"RUNNING"})
    for arn in tasks:
        task = world.task(arn)
        assert task.interface is not None
        assert task.instance is not None
        subnet = world.networks.by_id[task.interface.subnet_id]
        assert subnet.availability_zone == task.availability_zone
        assert world.store.get(CONTAINER_INSTANCES, task.instance.arn).availability_zone == task.availability_zone


async def test_the_maximum_of_the_group_is_kept_and_the_rest_is_given_up(world: World) -> None:
    await a_provider(world, maximum=1)
    await define(world, cpu=2048)
    tasks = await run(world, 2)
    await world.until(lambda: "RUNNING" in states(world, tasks))
    assert "the maxSize of the group is 1" in note(world).said
    assert "RESOURCE:CPU" in note(world).refusal
    (waits,) = [arn for arn in tasks if world.task(arn).last_status == "PROVISIONING"]
    await world.until(lambda: world.task(waits).last_status == "STOPPED", within=1000)
    assert (world.task(waits).stop_code, world.task(waits).stopped_reason) == ("TaskFailedToStart", "RESOURCE:CPU")
    assert len(instances(world)) == 1


async def test_a_task_that_no_instance_could_take_is_given_up_at_once(world: World) -> None:
    await a_provider(world)
    await define(world, cpu=4096)
    (task,) = await run(world)
    await world.until(lambda: world.task(task).last_status == "STOPPED", within=5)
    assert world.task(task).stopped_reason == "RESOURCE:CPU"
    assert world.groups.asked == []


async def test_a_waiting_task_that_is_stopped_needs_no_instance(world: World) -> None:
    await a_provider(world)
    await define(world)
    (task,) = await run(world)
    await world.until(lambda: world.groups.asked == [1])
    await world.stop_task(task)
    await world.until(lambda: world.task(task).last_status == "STOPPED", within=5)
    await world.until(lambda: world.groups.get().desired == 0 and not instances(world), within=WARMUP * 4)


async def test_spare_instances_for_a_target_below_a_hundred(world: World) -> None:
    await a_provider(world, target=50)
    await define(world, cpu=2048)
    tasks = await run(world, 2)
    await world.until(lambda: states(world, tasks) == {"RUNNING"})
    await world.until(lambda: len(instances(world)) == 4)
    await world.run_for(WARMUP * 3)
    assert len(instances(world)) == 4


async def test_a_service_scales_out_deploys_and_scales_in(world: World) -> None:
    await a_provider(world)
    await define(world)
    await serve(world, 4)
    await world.stable("web")
    assert len(instances(world)) == 2
    assert "capacityProviderStrategy" in await world.describe_service()
    await world.update_service(forceNewDeployment=True)
    # The new tasks start beside the old ones: two more instances for a while.
    await world.until(lambda: len(instances(world)) == 4)
    await world.stable("web")
    await world.until(lambda: len(instances(world)) == 2, within=WARMUP * 6)
    await world.stable("web")


async def test_what_a_user_scales_in_drains_first(world: World) -> None:
    await a_provider(world)
    await define(world, cpu=2048)
    await serve(world, 2)
    await world.stable("web")
    gone = world.groups.get().instances[0].id
    world.groups.scale("hosts", 1)
    await world.until(lambda: any(one.status == "DRAINING" for one in instances(world)))
    # Nobody misses a task: the new instance comes, then the old one goes.
    await world.until(lambda: gone not in {one.ec2_instance_id for one in instances(world)}, within=300)
    await world.stable("web")
    assert len(instances(world)) == 2
    assert not [t for t in world.store.all(TASKS) if t.stop_code == "TerminationNotice"]


@pytest.mark.parametrize("draining", ["ENABLED", "DISABLED"])
async def test_a_machine_that_vanishes_takes_its_tasks(world: World, draining: str) -> None:
    await a_provider(world, draining=draining)
    await define(world, cpu=2048)
    await serve(world, 2)
    await world.stable("web")
    gone = world.groups.get().instances[0].id
    world.groups.vanish(gone)
    await world.until(lambda: any(t.stop_code == "TerminationNotice" for t in world.store.all(TASKS)), within=5)
    (lost,) = [t for t in world.store.all(TASKS) if t.stop_code == "TerminationNotice"]
    assert lost.stopped_reason == f"Host EC2 (instance {gone}) terminated."
    await world.stable("web")
    assert len(instances(world)) == 2


async def test_without_managed_draining_what_leaves_is_gone(world: World) -> None:
    await a_provider(world, draining="DISABLED")
    await define(world, cpu=2048)
    await serve(world, 2)
    await world.stable("web")
    world.groups.scale("hosts", 1)
    await world.until(lambda: any(t.stop_code == "TerminationNotice" for t in world.store.all(TASKS)), within=5)
    await world.stable("web")


async def test_without_managed_scaling_the_user_scales(world: World) -> None:
    await a_provider(world, status="DISABLED")
    await define(world)
    await serve(world, 2)
    await world.run_for(30)
    assert living(world) == []
    assert world.events()[-1].endswith(
        "Reason: No Container Instances were found in your capacity provider. For more information, see the "
        "Troubleshooting section of the Amazon ECS Developer Guide."
    )
    world.groups.scale("hosts", 1)
    await world.stable("web")
    await world.run_for(WARMUP * 5)
    assert (len(instances(world)), world.groups.asked) == (1, [])


async def test_a_group_whose_user_data_names_a_cluster_joins_it(world: World) -> None:
    world.groups.create(SCOPE, "plain", desired=2, cluster=CLUSTER)
    await world.until(lambda: len(instances(world)) == 2, within=LAUNCH + 5)
    assert {one.capacity_provider for one in instances(world)} == {None}
    world.groups.delete("plain")
    await world.until(lambda: not instances(world) and not world.store.all(HOST_GROUPS), within=5)


async def test_an_instance_that_was_deregistered_by_hand_stays_away(world: World) -> None:
    world.groups.create(SCOPE, "plain", desired=1, cluster=CLUSTER)
    await world.until(lambda: len(instances(world)) == 1, within=LAUNCH + 5)
    await world.ecs("DeregisterContainerInstance", cluster=CLUSTER, containerInstance=instances(world)[0].arn)
    world.groups.scale("plain", 1)
    await world.run_for(5)
    assert instances(world) == []


async def test_what_left_is_forgotten_after_an_hour_but_not_what_was_sent_away(world: World) -> None:
    world.groups.create(SCOPE, "plain", desired=2, cluster=CLUSTER)
    await world.until(lambda: len(instances(world)) == 2, within=LAUNCH + 5)
    by_hand, gone = instances(world)
    await world.ecs("DeregisterContainerInstance", cluster=CLUSTER, containerInstance=by_hand.arn)
    world.groups.vanish(gone.ec2_instance_id)
    await world.run_for(2 * 3600)
    assert world.store.get(CONTAINER_INSTANCES, gone.arn) is None
    assert world.store.get(CONTAINER_INSTANCES, by_hand.arn).status == "INACTIVE"
    assert len(instances(world)) == 1


async def test_a_new_machine_does_not_get_the_ports_of_one_whose_tasks_still_end(world: World) -> None:
    world.engine.images["deaf"] = SimulatedImage(ignores_sigterm=True)
    await a_provider(world, draining="DISABLED")
    await define(world, host_port=8080, image="deaf")
    await serve(world, 1)
    await world.stable("web")
    (gone,) = instances(world)
    world.groups.vanish(gone.ec2_instance_id)
    await world.until(lambda: gone.arn not in {one.arn for one in instances(world)}, within=5)
    await world.until(lambda: len(instances(world)) == 1, within=LAUNCH + 5)
    assert instances(world)[0].address != gone.address
    await world.stable("web")


async def test_trouble_of_auto_scaling_passes(world: World) -> None:
    await a_provider(world)
    await define(world)
    world.groups.fail = True
    tasks = await run(world)
    await world.run_for(20)
    assert world.process is not None
    assert world.process.plane.capacity is not None
    assert "could not be scaled" in (world.process.plane.capacity.explain(PROVIDER) or "")
    world.groups.fail = False
    await world.until(lambda: states(world, tasks) == {"RUNNING"})


@pytest.mark.parametrize("turns", [1, 7, 20, 45, 90, 160, 300, 600, 1000, 2500])
async def test_a_crash_at_any_moment_asks_for_nothing_twice(world: World, turns: int) -> None:
    await a_provider(world)
    await define(world)
    tasks = await run(world, 3)
    world.crash_after(turns, away=1.0)
    await world.until(lambda: states(world, tasks) == {"RUNNING"})
    await world.recovered()
    assert max(world.groups.asked) == 2
    assert len(instances(world)) == 2
    for arn in tasks:
        await world.stop_task(arn)
    await world.run_for(WARMUP / 2)
    world.crash_after(turns * 3, away=1.0)
    await world.until(lambda: world.groups.get().desired == 0 and not instances(world), within=WARMUP * 5)


async def test_a_crash_while_everything_leaves(world: World) -> None:
    await a_provider(world)
    await define(world, cpu=2048)
    await serve(world, 3)
    await world.stable("web")
    world.groups.scale("hosts", 1)
    for _ in range(4):
        await world.restart_control_plane(2.0)
        await world.run_for(3)
    await world.stable("web")
    await world.until(lambda: len(instances(world)) == 3)
    assert max(world.groups.asked) == 3


async def test_it_can_be_explained(world: World) -> None:
    async def lines(words: str, heading: str = "Capacity") -> tuple[str, ...]:
        assert world.process is not None
        explainer = Explainer(world.process.store, world.clock, world.process.plane)
        explained = await explainer.explain(words, None, SCOPE)
        return next(section.lines for section in explained.sections if section.heading == heading)

    await a_provider(world, maximum=1)
    await define(world, cpu=2048)
    await serve(world, 2)
    await world.until(lambda: len(world.running()) == 1)
    waits = next(task for task in world.tasks() if task.waiting is not None)
    said, refused, group, rest = await lines(waits.arn)
    assert "1 task waits, 2 instances wanted, but the maxSize of the group is 1" in said
    assert refused.startswith("  no instance takes the next task: of 1 instances 1 RESOURCE:CPU")
    assert group == "  group hosts (t3.medium): 1 instance there, 1 desired, 0 to 1"
    assert rest.startswith("it is given up in 14 min")
    assert (await lines("web"))[0] == said
    assert (await lines("hosts", "Now"))[0] == said
    assert (await lines("hosts", "Tasks that wait"))[0].startswith(f"{waits.id[:8]} (service:web) created ")
    (instance,) = await lines("hosts", "Instances")
    assert instance.endswith("ACTIVE: 1 task")
    now = await lines(waits.arn, "Now")
    assert "waits for an instance of the capacity provider hosts" in now[0]


async def test_machines_lost_in_the_middle_of_a_deployment(world: World) -> None:
    await a_provider(world)
    await define(world, cpu=2048)
    await serve(world, 3)
    await world.stable("web")
    await world.update_service(forceNewDeployment=True)
    await world.until(lambda: len(instances(world)) == 6)
    for machine in world.groups.get().instances[::2]:
        world.groups.vanish(machine.id)
    await world.stable("web")
    await world.until(lambda: len(instances(world)) == 3, within=WARMUP * 8)
    await world.stable("web")


async def test_a_service_moves_from_fargate_to_machines_and_back(world: World) -> None:
    await a_provider(world)
    await world.create_service(desired=2)
    await world.stable("web")
    app = {"name": "app", "image": "web", "essential": True, "portMappings": [{"containerPort": 80}]}
    await world.ecs(
        "RegisterTaskDefinition",
        family="web",
        networkMode="awsvpc",
        requiresCompatibilities=["FARGATE", "EC2"],
        cpu="1024",
        memory="2048",
        containerDefinitions=[app],
    )
    machines = [{"capacityProvider": "hosts", "weight": 1}]
    await world.update_service(taskDefinition="web", capacityProviderStrategy=machines, forceNewDeployment=True)
    await world.stable("web")
    assert {task.capacity_provider for task in world.tasks()} == {"hosts"}
    assert "platformVersion" not in await world.describe_service()
    await world.update_service(capacityProviderStrategy=[], forceNewDeployment=True)
    await world.stable("web")
    assert {(task.launch_type, task.capacity_provider) for task in world.tasks()} == {("FARGATE", None)}
    assert (await world.describe_service())["platformVersion"] == "LATEST"
    await world.until(lambda: not instances(world), within=WARMUP * 4)


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_happens_it_comes_to_rest(seed: int) -> None:
    """A random hour: users run, stop and scale, machines vanish, Auto Scaling and the control plane fail."""
    dice = random.Random(seed)
    async with World(seed, images={"web": SimulatedImage()}) as world:
        await world.create_cluster()
        target = dice.choice((100, 100, 70))
        await a_provider(world, maximum=6, target=target)
        await define(world, cpu=dice.choice((512, 1024, 2048)), awsvpc=False, host_port=dice.choice((0, 8080)))
        await serve(world, 2)
        for _ in range(40):
            with contextlib.suppress(AwsError, ConnectionError, StoreUnavailable):
                await one_thing(world, dice)
            await world.run_for(dice.choice((0.1, 3, 30)))
        world.groups.fail = False
        await world.recovered()
        for task in world.standalone():
            await world.stop_task(task.arn)
        await world.update_service(desiredCount=3)
        await world.until(lambda: world.is_stable("web"), within=2000)
        await world.run_for(WARMUP * 10)
        assert note(world).said.startswith("no action: the capacity fits")
        used = {task.instance.arn for task in living(world) if task.instance is not None}
        assert len(instances(world)) == -(-len(used) * 100 // target)
        assert {one.ec2_instance_id for one in instances(world)} == {one.id for one in world.groups.get().instances}


async def one_thing(world: World, dice: random.Random) -> None:
    machines = world.groups.get().instances
    match dice.randrange(9):
        case 0:
            await world.ecs("RunTask", cluster=CLUSTER, taskDefinition="job", count=dice.randint(1, 4))
        case 1 if tasks := world.living_tasks():
            await world.stop_task(dice.choice(tasks).arn)
        case 2:
            await world.update_service(desiredCount=dice.randint(0, 5))
        case 3:
            await world.update_service(forceNewDeployment=True)
        case 4 if machines:
            world.groups.vanish(dice.choice(machines).id)
        case 5:
            world.groups.scale("hosts", dice.randint(0, 5))
        case 6:
            world.groups.fail = not world.groups.fail
        case 7:
            world.crash_after(int(10 ** dice.uniform(0, 3)), away=dice.choice((0.0, 5.0)))
        case _:
            await world.restart_control_plane(dice.choice((0.0, 10.0)))
