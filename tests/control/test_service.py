"""The service scheduler at work: events in AWS's words, updates over updates, throttling, protection, the circuit
breaker. What is not told by `tests/simulation` (semantics ecs-services §3, §4)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any

import jmespath
import msgspec
import pytest
from botocore.session import get_session

from moorage.engine.simulated_container import SimulatedImage
from moorage.simulation.calls import CLUSTER
from moorage.store.api import Change
from moorage.store.tables.ecs import SERVICE_DEPLOYMENTS, SERVICES

from .virtual_world import VIRTUAL, PortsWorld, a_world, quiet_log, virtual_time  # noqa: F401

pytestmark = VIRTUAL


def told(world: PortsWorld, name: str = "web") -> list[str]:
    """The service's events with ids made short: task names as they came, deployments numbered."""
    names: dict[str, str] = {}

    def short(match: re.Match[str]) -> str:
        kind = "deployment" if match.group().startswith("ecs-svc") else "task"
        count = sum(1 for other in names.values() if other.startswith(kind))
        return names.setdefault(match.group(), f"{kind}-{count + 1}")

    events = []
    for message in world.events(name):
        text = re.sub(r"ecs-svc/[0-9]{19}|[0-9a-f]{32}", short, message)
        events.append(re.sub(r"arn:aws:elasticloadbalancing\S*?/([^/]+)/[0-9a-f]+\)", r"\1)", text))
    return events


async def describe(world: PortsWorld) -> dict[str, Any]:
    answer = await world.ecs("DescribeServices", cluster="main", services=["web"])
    return dict(msgspec.json.decode(msgspec.json.encode(answer)))


async def waited(world: PortsWorld, waiter: str) -> str:
    """What botocore's waiter would make of the answer now: success, failure or retry."""
    answer = await describe(world)
    for acceptor in get_session().get_waiter_model("ecs").get_waiter(waiter).acceptors:
        value = jmespath.search(acceptor.argument, answer)
        expected = acceptor.expected
        matched = value == expected if acceptor.matcher == "path" else expected in (value or [])
        if matched:
            return str(acceptor.state)
    return "retry"


async def test_the_story_of_a_service_as_its_events_tell_it(world: PortsWorld) -> None:
    front = await world.create_load_balancer()
    await world.create_service(desired=1, front=front)
    assert await waited(world, "ServicesStable") == "retry"
    await world.stable()
    assert await waited(world, "ServicesStable") == "success"
    await world.update_service(forceNewDeployment=True)
    assert await waited(world, "ServicesStable") == "retry"
    await world.stable()
    await world.update_service(desiredCount=0)
    await world.until(lambda: world.tasks(all=True) and all(t.last_status == "STOPPED" for t in world.tasks(all=True)))
    await world.run_for(1)
    assert told(world) == [
        "(service web) has started 1 tasks: (task task-1).",
        "(service web) registered 1 targets in (target-group web)",
        "(service web) (deployment deployment-1) deployment completed.",
        "(service web) has reached a steady state.",
        "(service web) has started 1 tasks: (task task-2).",
        "(service web) registered 1 targets in (target-group web)",
        "(service web) has stopped 1 running tasks: (task task-1).",
        "(service web, taskSet deployment-1) has begun draining connections on 1 tasks.",
        "(service web) deregistered 1 targets in (target-group web)",
        "(service web) (deployment deployment-2) deployment completed.",
        "(service web) has reached a steady state.",
        "(service web) has stopped 1 running tasks: (task task-2).",
        "(service web, taskSet deployment-2) has begun draining connections on 1 tasks.",
        "(service web) deregistered 1 targets in (target-group web)",
        "(service web) has reached a steady state.",
    ]
    newest = (await describe(world))["services"][0]["events"]
    assert newest[0]["message"] == "(service web) has reached a steady state.", "newest first"
    await world.ecs("DeleteService", cluster="main", service="web")
    await world.until(lambda: world.service().status == "INACTIVE")
    assert await waited(world, "ServicesInactive") == "success"


async def test_the_steady_state_is_told_again_after_six_hours(world: PortsWorld) -> None:
    await world.create_service(desired=1)
    await world.stable()
    await world.run_for(13 * 3600)
    assert told(world).count("(service web) has reached a steady state.") == 3


async def test_a_task_is_drained_before_it_is_told_to_end(world: PortsWorld) -> None:
    front = await world.create_load_balancer(deregistration_delay=20)
    await world.create_service(desired=1, front=front)
    await world.stable()
    [task] = world.running()
    told_at: list[float] = []
    world.engine.on_sigterm.append(lambda container: told_at.append(world.clock.now()))
    asked = world.clock.now()
    await world.update_service(desiredCount=0)
    await world.until(lambda: world.task(task.arn).last_status == "DEACTIVATING")
    await world.until(lambda: world.task(task.arn).last_status == "STOPPED")
    assert 20 <= told_at[0] - asked < 25
    stopped = world.task(task.arn)
    assert stopped.stop_code == "ServiceSchedulerInitiated"
    assert stopped.stopped_reason == f"Scaling activity initiated by (deployment {task.deployment_id})"


async def test_tasks_carry_their_deployment(world: PortsWorld) -> None:
    await world.create_service(desired=1)
    await world.stable()
    [task] = world.running()
    [deployment] = world.service().deployments
    assert (task.started_by, task.group, task.deployment_id) == (deployment.id, "service:web", deployment.id)
    [arn] = (await world.ecs("ListTasks", cluster="main", serviceName="web"))["taskArns"]
    assert arn == task.arn


@pytest.mark.parametrize(
    ("propagate", "expected"), [("SERVICE", {"a": "service"}), ("TASK_DEFINITION", {"b": "definition"}), (None, {})]
)
async def test_tags_are_propagated(world: PortsWorld, propagate: str | None, expected: dict[str, str]) -> None:
    definition = await world.register("tagged")
    await world.ecs("TagResource", resourceArn=definition, tags=[{"key": "b", "value": "definition"}])
    await world.ecs(
        "CreateService",
        cluster="main",
        serviceName="web",
        taskDefinition="tagged",
        desiredCount=1,
        launchType="FARGATE",
        networkConfiguration=world.network_configuration(),
        propagateTags=propagate,
        enableECSManagedTags=True,
        tags=[{"key": "a", "value": "service"}],
    )
    await world.until(lambda: len(world.tasks()) == 1)
    managed = {"aws:ecs:clusterName": "main", "aws:ecs:serviceName": "web"}
    assert dict(world.tasks()[0].tags) == managed | expected


async def test_an_update_during_an_update(world: PortsWorld) -> None:
    front = await world.create_load_balancer()
    await world.create_service(desired=2, front=front)
    await world.stable()
    users = world.users.traffic(front.load_balancer)
    world.engine.images["next"] = SimulatedImage(listens_after=5)
    second = await world.register("web", image="next")
    await world.update_service(taskDefinition=second)
    await world.run_for(3)
    third = await world.register("web")
    await world.update_service(taskDefinition=third)
    assert [d.status for d in world.service().deployments] == ["PRIMARY", "ACTIVE", "ACTIVE"]
    await world.stable()
    assert len(world.running(revision=3)) == 2
    assert await users.stop() == []
    statuses = [d.status for d in world.store.find(SERVICE_DEPLOYMENTS, "service", world.service().arn)]
    assert statuses == ["SUCCESSFUL", "STOPPED", "SUCCESSFUL"]
    await world.settled()


@pytest.mark.parametrize("desired", [0, 1, 4])
async def test_scaling_during_an_update(world: PortsWorld, desired: int) -> None:
    front = await world.create_load_balancer()
    await world.create_service(desired=2, front=front)
    await world.stable()
    revision = await world.register("web")
    await world.update_service(taskDefinition=revision)
    await world.run_for(1)
    await world.update_service(desiredCount=desired)
    await world.stable()
    assert len(world.running(revision=2)) == desired == len(world.tasks())
    await world.settled()


async def test_percentages_that_allow_nothing_are_told_of(world: PortsWorld) -> None:
    front = await world.create_load_balancer()
    await world.create_service(desired=1, front=front, minimum=50, maximum=100)
    await world.stable()
    await world.update_service(forceNewDeployment=True)
    await world.run_for(120)
    blocked = [event for event in told(world) if "unable to stop or start tasks during a deployment" in event]
    assert len(blocked) == 1, "said once"
    await world.update_service(deploymentConfiguration={"minimumHealthyPercent": 0})
    await world.stable()
    await world.settled()


async def test_a_deleted_service_ends_in_the_middle_of_a_deployment(world: PortsWorld) -> None:
    front = await world.create_load_balancer()
    await world.create_service(desired=2, front=front)
    await world.stable()
    world.engine.images["next"] = SimulatedImage(pull=30)
    revision = await world.register("web", image="next")
    await world.update_service(taskDefinition=revision)
    await world.run_for(2)
    await world.delete_service()
    assert await waited(world, "ServicesStable") == "failure"
    await world.until(lambda: world.service().status == "INACTIVE")
    assert await waited(world, "ServicesInactive") == "success"
    shown = (await describe(world))["services"][0]
    assert (shown["deployments"], shown["runningCount"], shown["pendingCount"], shown["desiredCount"]) == ([], 0, 0, 0)
    await world.settled()
    await world.create_service(desired=1)
    await world.stable()
    assert told(world)[0] == "(service web) has started 1 tasks: (task task-1)."


async def test_a_rollback_as_the_api_tells_it(world: PortsWorld) -> None:
    front = await world.create_load_balancer()
    await world.create_service(desired=1, front=front, breaker=True, rollback=True)
    await world.stable()
    good = world.service().deployments[0].id
    serving = [task.arn for task in world.running()]
    world.engine.images["bad"] = SimulatedImage(pull_failure="no such image")
    revision = await world.register("web", image="bad")
    written = {}  # the last of each deployment: without tasks the failed one is gone a moment later

    def note(changes: Sequence[Change[Any]]) -> None:
        for change in changes:
            if change.table is SERVICES and change.after is not None:
                written.update({deployment.id: deployment for deployment in change.after.deployments})

    world.store.watch(note)
    await world.update_service(taskDefinition=revision)
    bad = world.service().deployments[0].id
    await world.until(lambda: world.service().deployments[0].rollback_of == bad, within=600)
    back, failed = world.service().deployments[0], written[bad]
    assert failed.rollout_state == "FAILED"
    assert failed.rollout_reason == (f"ECS deployment circuit breaker: rolling back to deploymentId {back.id}.")
    await world.stable()
    assert back.id not in (good, bad), "a rollback has an entry of its own"
    assert [task.arn for task in world.running()] == serving, "the tasks of the last good deployment serve on"
    assert world.running()[0].deployment_id == back.id
    assert world.running()[0].started_by == good
    assert (await describe(world))["services"][0]["taskDefinition"].endswith(":1")
    tail = told(world)
    start = next(n for n, event in enumerate(tail) if "deployment failed" in event)
    assert tail[start].endswith("deployment failed: tasks failed to start.")
    assert tail[start + 1] == "(service web) rolling back to deployment deployment-3."
    places = [event for event in tail if "unable to place a task" in event]
    assert places[0] == "(service web) was unable to place a task. Reason: CannotPullContainerError: no such image."
    records = world.store.find(SERVICE_DEPLOYMENTS, "service", world.service().arn)
    assert [r.status for r in records] == ["SUCCESSFUL", "ROLLBACK_SUCCESSFUL"]
    described = await world.ecs("DescribeServiceDeployments", serviceDeploymentArns=[list(records)[1].arn])
    [shown] = described["serviceDeployments"]
    assert shown["deploymentCircuitBreaker"] == {"status": "TRIGGERED", "failureCount": 3, "threshold": 3}
    assert shown["rollback"]["reason"] == (
        "Service deployment rolled back because the circuit breaker threshold was exceeded."
    )
    await world.settled()


async def test_a_breaker_without_rollback_stops_launching(world: PortsWorld) -> None:
    front = await world.create_load_balancer()
    await world.create_service(desired=2, front=front, breaker=True)
    await world.stable()
    old = {task.arn for task in world.running()}
    world.engine.images["bad"] = SimulatedImage(exits_after=1, exit_code=1)
    revision = await world.register("web", image="bad")
    await world.update_service(taskDefinition=revision)
    await world.until(lambda: world.service().deployments[0].rollout_state == "FAILED", within=600)
    assert world.service().deployments[0].rollout_reason == "ECS deployment circuit breaker: tasks failed to start."
    arn = world.service().deployments[0].service_deployment_arn
    [shown] = (await world.ecs("DescribeServiceDeployments", serviceDeploymentArns=[arn]))["serviceDeployments"]
    assert shown["status"] == "STOPPED"
    assert shown["stoppedAt"] == shown["finishedAt"], "it failed, and nothing is rolled back"
    started = len(world.tasks(all=True))
    await world.run_for(1800)
    assert len(world.tasks(all=True)) == started, "nothing is launched any more"
    assert old <= {task.arn for task in world.running()}, "the old tasks are left as they are"
    fixed = await world.register("web")
    await world.update_service(taskDefinition=fixed)
    await world.stable()
    await world.settled()


async def test_a_first_deployment_has_nothing_to_roll_back_to(world: PortsWorld) -> None:
    world.engine.images["web"] = SimulatedImage(pull_failure="no such image")
    await world.create_service(desired=1, breaker=True, rollback=True)
    await world.until(lambda: world.service().deployments[0].rollout_state == "FAILED", within=600)
    assert any("no rollback candidate was found" in event for event in told(world))


async def test_launches_that_fail_are_throttled_and_told_of(world: PortsWorld) -> None:
    world.engine.images["web"] = SimulatedImage(pull_failure="no such image")
    await world.create_service(desired=1)
    await world.run_for(3600)
    count = len(world.tasks(all=True))
    assert count < 20, "delays grow"
    unable = [event for event in told(world) if "is unable to consistently start tasks successfully." in event]
    assert len(unable) == 1
    world.engine.images["web"] = SimulatedImage()
    await world.update_service(forceNewDeployment=True)
    assert await world.stable() < 120, "a new deployment is not throttled for the old one's failures"
    await world.settled()


async def test_protected_tasks_stay(world: PortsWorld) -> None:
    await world.create_service(desired=3)
    await world.stable()
    protected = [task.arn for task in world.running()[:2]]
    await world.ecs(
        "UpdateTaskProtection", cluster="main", tasks=protected, protectionEnabled=True, expiresInMinutes=10
    )
    await world.update_service(desiredCount=1)
    await world.run_for(60)
    assert {task.arn for task in world.tasks()} == set(protected)
    assert any("The number of protected tasks are more than the desired count" in event for event in told(world))
    await world.run_for(600)
    await world.stable()
    assert len(world.tasks()) == 1
    await world.ecs("UpdateTaskProtection", cluster="main", tasks=[world.tasks()[0].arn], protectionEnabled=True)
    victim = world.tasks()[0]
    await world.stop_task(victim.arn)
    await world.until(lambda: victim.arn not in [t.arn for t in world.tasks()])
    await world.settled()


async def test_tasks_are_spread_over_the_zones(world: PortsWorld) -> None:
    await world.create_service(desired=4)
    await world.stable()
    zones = [task.availability_zone for task in world.running()]
    assert sorted(zones) == ["us-east-1a"] * 2 + ["us-east-1b"] * 2
    await world.update_service(desiredCount=2)
    await world.stable()
    assert {task.availability_zone for task in world.running()} == {"us-east-1a", "us-east-1b"}


async def test_an_ec2_service_without_instances_says_so_once(world: PortsWorld) -> None:
    await world.ecs(
        "RegisterTaskDefinition", family="bridge", containerDefinitions=[{"name": "app", "image": "web", "memory": 64}]
    )
    await world.ecs("CreateService", cluster="main", serviceName="web", taskDefinition="bridge", desiredCount=1)
    await world.run_for(600)
    assert [e for e in told(world) if "No Container Instances were found in your cluster." in e] == told(world)
    assert len(told(world)) == 1


@pytest.mark.parametrize("moment", [0.003, 0.05, 0.6, 3.0, 11.0, 14.0])
async def test_a_rollback_survives_a_kill_at_any_moment(world: PortsWorld, moment: float) -> None:
    front = await world.create_load_balancer()
    await world.create_service(desired=2, front=front, breaker=True, rollback=True)
    await world.stable()
    users = world.users.traffic(front.load_balancer)
    world.engine.images["bad"] = SimulatedImage(exits_after=0.5, exit_code=1)
    revision = await world.register("web", image="bad")
    await world.update_service(taskDefinition=revision)
    await asyncio.sleep(moment)
    await world.restart_control_plane(after=1)
    await world.until(lambda: world.service().last_good_revision == world.service().revision_arn, within=900)
    await world.stable(within=600)
    assert len(world.running(revision=1)) == 2
    assert await users.stop() == []
    await world.settled()


async def test_a_service_of_nothing_is_steady_at_once(world: PortsWorld) -> None:
    await world.create_service(desired=0)
    assert await world.stable() < 5
    assert told(world) == [
        "(service web) (deployment deployment-1) deployment completed.",
        "(service web) has reached a steady state.",
    ]
    assert await waited(world, "ServicesStable") == "success"


async def test_a_service_leaves_code_deploy_with_its_tasks(world: PortsWorld) -> None:
    front = await world.create_load_balancer()
    await world.ecs(
        "CreateService",
        cluster=CLUSTER,
        serviceName="web",
        taskDefinition="web",
        desiredCount=2,
        launchType="FARGATE",
        networkConfiguration=world.network_configuration(),
        loadBalancers=[{"targetGroupArn": front.target_group, "containerName": "app", "containerPort": 80}],
        deploymentController={"type": "CODE_DEPLOY"},
    )
    await world.until(lambda: len(world.running()) == 2, what="two tasks")
    await world.run_for(20)
    users = world.users.traffic(front.load_balancer, rate=20)
    serving = {task.arn for task in world.running()}
    await world.update_service(deploymentController={"type": "ECS"})
    await world.run_for(60)
    assert {task.arn for task in world.running()} == serving, "nothing was touched"
    assert world.is_stable()
    world.engine.images["bad"] = SimulatedImage(exits_after=1, exit_code=1)
    breaker = {"deploymentCircuitBreaker": {"enable": True, "rollback": True}}
    await world.update_service(taskDefinition=await world.register("web", image="bad"), deploymentConfiguration=breaker)
    await world.until(lambda: world.service().deployments[0].rollback_of is not None, within=600, what="the rollback")
    await world.stable()
    assert {task.arn for task in world.running()} == serving, "it goes back to what CodeDeploy deployed"
    assert await users.stop() == []
    await world.settled()
