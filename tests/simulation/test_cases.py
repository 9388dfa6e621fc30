"""Cases seen to fail in other local clouds, told in the simulated world. The invariants are checked all the while."""

import pytest

from moorage.domain.errors import AwsError
from moorage.engine.simulated_container import SimulatedImage
from moorage.simulation.calls import CLUSTER
from moorage.simulation.world import World
from moorage.store.tables.ecs import SERVICE_EVENTS

LISTENS_LATE = SimulatedImage(listens_after=3)


async def roll_out(world: World, image: SimulatedImage, name: str = "next", **definition) -> None:
    world.engine.images[name] = image
    revision = await world.register("web", image=name, **definition)
    await world.update_service("web", taskDefinition=revision)


async def test_an_app_that_needs_3_s_to_listen_is_rolled_without_one_failed_request(world):
    front = await world.create_load_balancer()
    await world.create_service(desired=2, front=front)
    await world.stable()
    users = world.users.traffic(front.load_balancer, rate=50)
    await roll_out(world, LISTENS_LATE)
    await world.stable()
    assert await users.stop() == []
    assert len(world.running(revision=2)) == 2
    await world.settled()


@pytest.mark.parametrize(
    "broken",
    [
        SimulatedImage(exits_after=4, exit_code=1),
        SimulatedImage(listens_after=None),
        SimulatedImage(pull_failure="manifest unknown"),
        SimulatedImage(start_failure='exec: "app": executable file not found in $PATH: unknown'),
        SimulatedImage(status=500),
        SimulatedImage(oom_after=1),
    ],
    ids=["exits after 4 s", "never listens", "no such image", "cannot start", "answers 500", "out of memory"],
)
async def test_a_broken_revision_is_rolled_back_and_the_old_tasks_serve_throughout(world, broken):
    front = await world.create_load_balancer()
    await world.create_service(desired=2, front=front, breaker=True, rollback=True, grace=0)
    await world.stable()
    users = world.users.traffic(front.load_balancer)
    old = {task.arn for task in world.running()}
    await roll_out(world, broken)
    await world.until(lambda: any("rolling back" in event for event in world.events()), within=900)
    await world.stable(within=600)
    assert {task.arn for task in world.running()} == old, "the old tasks were never touched"
    assert await users.stop() == []
    assert world.service().deployments[0].rollout_state == "COMPLETED"
    await world.settled()


async def test_a_first_deployment_that_crash_loops_backs_off(world):
    world.engine.images["web"] = SimulatedImage(exits_after=0.3, exit_code=1)
    await world.create_service(desired=1)
    await world.run_for(20)
    assert 2 <= len(world.tasks(all=True)) <= 8
    before = len(world.tasks(all=True))
    await world.run_for(600)
    assert len(world.tasks(all=True)) - before <= 25


@pytest.mark.parametrize("change", ["scale-in", "deployment"])
async def test_a_request_of_12_s_in_flight_finishes(world, change):
    front = await world.create_load_balancer(deregistration_delay=30)
    await world.create_service(desired=2, front=front)
    await world.stable()
    users = world.users.traffic(front.load_balancer, rate=5, seconds=12)
    await world.run_for(5)
    if change == "scale-in":
        await world.update_service(desiredCount=1)
    else:
        await world.update_service(forceNewDeployment=True)
    await world.stable()
    await world.run_for(5)
    assert await users.stop() == []
    await world.settled()


async def test_one_frozen_task_of_two_is_taken_out_and_replaced(world):
    front = await world.create_load_balancer()
    await world.create_service(desired=2, front=front)
    await world.stable()
    frozen = world.running()[0]
    world.container(frozen).freeze()
    await world.until(lambda: frozen not in world.tasks() and world.is_stable())
    stopped = world.task(frozen.arn)
    assert stopped.stopped_reason.startswith("Task failed ELB health checks in (target-group ")
    await world.settled()
    assert world.task(frozen.arn).containers[0].exit_code == 137


async def test_a_health_page_that_turns_500_takes_the_task_out_of_rotation_and_it_is_replaced(world):
    front = await world.create_load_balancer()
    await world.create_service(desired=2, front=front)
    await world.stable()
    sick = world.running()[0]
    world.container(sick).status = 500
    await world.until(lambda: len([e for e in world.proxy.endpoints(front.target_group) if e.healthy]) == 1)
    await world.until(lambda: sick.arn not in [t.arn for t in world.tasks()])
    assert any("is unhealthy in (target-group" in event for event in world.events())
    await world.stable()
    await world.until(lambda: not world.task(sick.arn).targets_registered)
    assert set((await world.target_health(front)).values()) <= {"healthy", "draining"}
    await world.settled()


async def test_a_container_over_its_memory_limit_is_killed_with_the_reason_of_ecs(world):
    world.engine.images["web"] = SimulatedImage(oom_after=3)
    [arn] = await world.run_task()
    await world.until(lambda: world.task(arn).last_status == "STOPPED")
    task = world.task(arn)
    assert task.stop_code == "EssentialContainerExited"
    assert task.containers[0].exit_code == 137
    assert task.containers[0].reason == "OutOfMemoryError: Container killed due to memory usage"


async def test_the_sibling_of_an_exited_essential_container_is_stopped(world):
    world.engine.images["short"] = SimulatedImage(exits_after=5, exit_code=3)
    await world.register(
        "pair",
        containers=[
            {"name": "app", "image": "short", "essential": True},
            {"name": "sidecar", "image": "web", "essential": True},
        ],
    )
    [arn] = await world.run_task("pair")
    await world.until(lambda: world.task(arn).last_status == "STOPPED")
    task = world.task(arn)
    assert task.stopped_reason == "Essential container in task exited"
    assert {c.name: c.exit_code for c in task.containers} == {"app": 3, "sidecar": 143}
    assert world.engine.leaks([]) == []


async def test_two_services_use_the_same_container_port(world):
    fronts = {name: await world.create_load_balancer(name) for name in ("one", "two")}
    for name, front in fronts.items():
        await world.create_service(name, desired=2, front=front)
    for name in fronts:
        await world.stable(name)
    for front in fronts.values():
        assert await world.users.get(front.load_balancer) == 200
        assert len(await world.target_health(front)) == 2
    await world.settled()


async def test_the_stop_timeout_is_honoured(world):
    world.engine.images["web"] = SimulatedImage(ignores_sigterm=True)
    await world.register("web", stop_timeout=7)
    [arn] = await world.run_task()
    await world.until(lambda: world.task(arn).last_status == "RUNNING")
    await world.stop_task(arn, reason="enough")
    await world.until(lambda: world.task(arn).last_status == "STOPPED")
    task = world.task(arn)
    assert task.containers[0].exit_code == 137
    assert 7 <= task.execution_stopped_at - task.stopping_at < 8
    assert (task.stop_code, task.stopped_reason) == ("UserInitiated", "enough")


async def test_run_task_answers_while_the_image_is_still_being_pulled(world):
    world.engine.images["web"] = SimulatedImage(pull=60)
    asked = world.clock.now()
    [arn] = await world.run_task()
    assert world.clock.now() - asked < 0.1
    await world.run_for(20)
    assert world.task(arn).last_status == "PENDING"
    await world.until(lambda: world.task(arn).last_status == "RUNNING")
    await world.stop_task(arn)
    await world.settled()


async def test_a_task_stopped_while_its_image_is_pulled_ends_at_once_and_leaves_nothing(world):
    world.engine.images["web"] = SimulatedImage(pull=600)
    [arn] = await world.run_task()
    await world.run_for(5)
    await world.stop_task(arn)
    await world.until(lambda: world.task(arn).last_status == "STOPPED", within=10)
    assert world.task(arn).containers[0].exit_code is None
    await world.settled()


async def test_an_image_that_cannot_be_pulled_says_so_on_the_task(world):
    await world.register("lost", image="nowhere/lost")
    [arn] = await world.run_task("lost")
    await world.until(lambda: world.task(arn).last_status == "STOPPED")
    task = world.task(arn)
    assert task.stop_code == "TaskFailedToStart"
    assert task.stopped_reason.startswith("CannotPullContainerError: pull image manifest has been retried 1 time(s)")


async def test_a_killed_container_is_replaced_and_back_in_rotation(world):
    front = await world.create_load_balancer()
    await world.create_service(desired=2, front=front)
    await world.stable()
    users = world.users.traffic(front.load_balancer, rate=50)
    await world.run_for(5)
    victim = world.running()[0]
    world.engine.kill(world.container(victim).id)
    await world.until(lambda: victim.arn not in [t.arn for t in world.tasks()] and world.is_stable())
    await world.until(lambda: len([e for e in world.proxy.endpoints(front.target_group) if e.healthy]) == 2)
    assert await users.stop() == []
    assert world.task(victim.arn).stopped_reason == "Essential container in task exited"
    await world.settled()


async def test_health_checks_of_the_container_decide_without_a_load_balancer(world):
    world.engine.images["web"] = SimulatedImage(healthy_after=2)
    await world.register("web", health_check=True)
    await world.create_service(desired=2)
    await world.stable()
    sick = world.running()[0]
    world.container(sick).turn("UNHEALTHY")
    await world.until(lambda: sick.arn not in [t.arn for t in world.tasks()] and world.is_stable())
    assert world.task(sick.arn).stopped_reason == "Task failed container health checks"
    await world.settled()


async def test_a_deleted_service_stops_everything_and_becomes_inactive(world):
    front = await world.create_load_balancer()
    await world.create_service(desired=3, front=front)
    await world.stable()
    await world.delete_service()
    await world.until(lambda: world.service().status == "INACTIVE")
    assert world.engine.containers() == []
    assert await world.target_health(front) == {}
    await world.settled()


@pytest.mark.parametrize(
    ("operation", "request_", "code"),
    [
        ("CreateService", {"cluster": "nowhere"}, "ClusterNotFoundException"),
        ("CreateService", {"taskDefinition": "nothing"}, None),
        ("RunTask", {"cluster": "nowhere"}, "ClusterNotFoundException"),
        ("RunTask", {"taskDefinition": "nothing"}, None),
    ],
)
async def test_what_does_not_exist_is_refused(world, operation, request_, code):
    given = {
        "cluster": "main",
        "taskDefinition": "web",
        "launchType": "FARGATE",
        "networkConfiguration": world.network_configuration(),
    }
    given |= {"serviceName": "web", "desiredCount": 1} if operation == "CreateService" else {}
    with pytest.raises(AwsError) as refusal:
        await world.ecs(operation, **given | request_)
    assert code is None or refusal.value.code == code
    await world.settled()


async def test_unknown_subnets_and_groups_and_odd_sizes_are_refused(world):
    for part in ({"subnets": ["subnet-nowhere"]}, {"securityGroups": ["sg-nowhere"]}):
        network = {"awsvpcConfiguration": world.network_configuration()["awsvpcConfiguration"] | part}
        with pytest.raises(AwsError, match="does not exist"):
            await world.ecs(
                "RunTask", cluster="main", taskDefinition="web", launchType="FARGATE", networkConfiguration=network
            )
    with pytest.raises(AwsError, match="No Fargate configuration exists"):
        await world.ecs(
            "RegisterTaskDefinition",
            family="odd",
            networkMode="awsvpc",
            requiresCompatibilities=["FARGATE"],
            cpu="300",
            memory="999",
            containerDefinitions=[{"name": "app", "image": "web"}],
        )
    front = await world.create_load_balancer()
    with pytest.raises(AwsError, match="already exists"):
        await world.elbv2(
            "CreateListener",
            LoadBalancerArn=front.load_balancer,
            Protocol="HTTP",
            Port=80,
            DefaultActions=[{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "200"}}],
        )
    with pytest.raises(AwsError, match="in use"):
        await world.elbv2("DeleteTargetGroup", TargetGroupArn=front.target_group)


async def test_many_tasks_start_side_by_side(world):
    await world.create_service(desired=100)
    await world.stable(within=120)
    addresses = {task.interface.ipv4 for task in world.running()}
    assert len(addresses) == 100
    await world.update_service(desiredCount=0)
    await world.settled()


async def test_answers_show_what_was_written_not_what_the_control_plane_made_of_it(world):
    await world.create_service(desired=2)
    await world.stable()
    where = {
        "cluster": CLUSTER,
        "taskDefinition": "web",
        "launchType": "FARGATE",
        "networkConfiguration": world.network_configuration(),
    }
    [task] = (await world.ecs("RunTask", **where))["tasks"]
    assert (task["lastStatus"], task["version"], "pullStartedAt" in task) == ("PROVISIONING", 1, False)
    [interface] = task["attachments"]
    assert (interface["status"], [one["name"] for one in interface["details"]]) == ("PRECREATED", ["subnetId"])
    created = (await world.ecs("CreateService", serviceName="other", desiredCount=2, **where))["service"]
    assert (created["events"], created["pendingCount"], created["runningCount"]) == ([], 0, 0)
    updated = (await world.ecs("UpdateService", cluster=CLUSTER, service="other", forceNewDeployment=True))["service"]
    assert updated["deployments"][0]["pendingCount"] == 0


async def test_a_target_group_that_is_gone_is_told_by_the_service(world):
    front = await world.create_load_balancer("front")
    await world.create_service(desired=1, front=front)
    await world.stable()
    await world.elbv2("DeleteListener", ListenerArn=front.listener)
    await world.elbv2("DeleteTargetGroup", TargetGroupArn=front.target_group)
    await world.update_service("web", forceNewDeployment=True)
    said = (
        f"(service web) failed to register targets in (target-group {front.target_group}) with (error One or more target "
        "groups not found)"
    )
    await world.until(lambda: any(event.message == said for event in world.store.all(SERVICE_EVENTS)))
