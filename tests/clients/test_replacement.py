"""A service keeps its tasks: what dies, freezes or fails its health page is replaced, and the others serve."""

from __future__ import annotations

import pytest

from .server import docker
from .stack import Stack
from .waiting import until

pytestmark = pytest.mark.docker


def two_tasks(stack: Stack) -> list[str]:
    stack.create_service(stack.register())
    stack.wait_stable()
    return [task["taskArn"] for task in stack.tasks()]


def address_of(stack: Stack, task: str) -> str:
    details = stack.task(task)["attachments"][0]["details"]
    return next(detail["value"] for detail in details if detail["name"] == "privateIPv4Address")


def replaced(stack: Stack, victim: str) -> bool:
    running = {task["taskArn"] for task in stack.tasks() if task["lastStatus"] == "RUNNING"}
    return victim not in running and len(running) == 2


def test_a_killed_task_is_replaced_without_a_failed_request(stack: Stack):
    victim, other = two_tasks(stack)
    with stack.load(50) as load:
        until(lambda: load.count() > 20, "the load flows")
        docker("kill", stack.docker_id(victim))
        until(lambda: replaced(stack, victim), "the task is replaced")
        stack.wait_healthy(2)
        seen = load.count()
        until(lambda: load.count() > seen + 50, "the load flows on")
    assert load.failures() == []
    dead = stack.wait_stopped(victim)
    assert (dead["stopCode"], dead["stoppedReason"]) == (
        "EssentialContainerExited",
        "Essential container in task exited",
    )
    assert dead["containers"][0]["exitCode"] == 137
    assert other in {task["taskArn"] for task in stack.tasks()}
    assert stack.wait_stopped(victim)["desiredStatus"] == "STOPPED"


def test_a_failing_health_page_is_taken_out_of_rotation_and_replaced(stack: Stack):
    victim, _ = two_tasks(stack)
    address = address_of(stack, victim)
    with stack.load(30) as load:
        stack.control(victim, "fail")
        until(lambda: stack.health().get(address) != "healthy", "the target is unhealthy")
        begin = load.count()
        until(lambda: load.count() > begin + 30, "the load flows on")
        after = [answer.json()["address"] for answer in load.answers[begin + 8 :] if answer.status == 200]
        until(lambda: replaced(stack, victim), "the task is replaced")
        stack.wait_healthy(2)
    assert address not in after
    assert load.failures() == []
    dead = stack.wait_stopped(victim)
    assert dead["stopCode"] == "ServiceSchedulerInitiated"
    assert dead["stoppedReason"] == f"Task failed ELB health checks in (target-group {stack.target_group})"
    reason = "due to (reason Health checks failed with these codes: [500])."
    assert any(reason in event for event in stack.events()), stack.events()


def test_one_frozen_task_of_two_is_replaced(stack: Stack):
    victim, _ = two_tasks(stack)
    address = address_of(stack, victim)
    stack.control(victim, "freeze")
    until(lambda: stack.health().get(address) != "healthy", "the target is unhealthy")
    answers = [stack.get() for _ in range(20)]
    assert [answer.status for answer in answers] == [200] * 20
    assert address not in {answer.json()["address"] for answer in answers}
    until(lambda: replaced(stack, victim), "the task is replaced")
    stack.wait_healthy(2)


def test_stopping_a_services_task_brings_a_new_one(stack: Stack):
    victim, _ = two_tasks(stack)
    stack.ecs.stop_task(cluster=stack.name, task=victim, reason="trying it out")
    until(lambda: replaced(stack, victim), "the task is replaced")
    dead = stack.wait_stopped(victim)
    assert (dead["stopCode"], dead["stoppedReason"]) == ("UserInitiated", "trying it out")
