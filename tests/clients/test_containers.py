"""Life and death of single tasks, with RunTask."""

from __future__ import annotations

import json
import socket

import pytest

from .server import docker
from .stack import Stack
from .waiting import until

pytestmark = pytest.mark.docker


def test_a_container_over_its_memory_limit_is_killed_with_ecss_reason(stack: Stack):
    task = stack.run_task(stack.register(stack.container(memory=96)))
    stack.wait_status(task, "RUNNING")
    until(lambda: listening(stack, task), "it listens")
    stack.control(task, "oom")
    container = stack.wait_stopped(task)["containers"][0]
    assert container["exitCode"] == 137
    assert container["reason"] == "OutOfMemoryError: Container killed due to memory usage"


def listening(stack: Stack, task: str, container: str = "app") -> bool:
    return '"event": "listening"' in docker("logs", stack.docker_id(task, container))


def test_the_sibling_of_an_exited_essential_container_is_stopped(stack: Stack):
    helper = stack.container("helper", environment={"PORT": 8001, "EXIT_AFTER": 1, "EXIT_CODE": 3}, portMappings=[])
    task = stack.run_task(stack.register(stack.container(), helper))
    stopped = stack.wait_stopped(task)
    codes = {container["name"]: container["exitCode"] for container in stopped["containers"]}
    assert codes == {"app": 0, "helper": 3}
    assert stopped["stopCode"] == "EssentialContainerExited"
    assert stopped["stoppedReason"] == "Essential container in task exited"


def test_two_containers_of_a_task_talk_over_localhost(stack: Stack):
    helper = stack.container("helper", environment={"PORT": 8001}, portMappings=[])
    task = stack.run_task(stack.register(stack.container(), helper))
    stack.wait_status(task, "RUNNING")
    until(lambda: listening(stack, task) and listening(stack, task, "helper"), "both listen")
    said = docker("exec", stack.docker_id(task), "wget", "-q", "-O", "-", "http://localhost:8000/peer?port=8001")
    assert '"peer": {"address"' in said


def test_stop_timeout_is_honoured(stack: Stack):
    """The application ignores SIGTERM; after stopTimeout it gets SIGKILL."""
    task = stack.run_task(stack.register(stack.container(environment={"IGNORE_TERM": 1}, stopTimeout=3)))
    stack.wait_status(task, "RUNNING")
    until(lambda: listening(stack, task), "it listens")
    answer = stack.ecs.stop_task(cluster=stack.name, task=task)["task"]
    assert (answer["desiredStatus"], answer["stopCode"]) == ("STOPPED", "UserInitiated")
    stopped = stack.wait_stopped(task)
    assert stopped["containers"][0]["exitCode"] == 137
    assert 2.9 <= (stopped["executionStoppedAt"] - stopped["stoppingAt"]).total_seconds() < 20


def test_sigterm_ends_a_task_in_an_orderly_way(stack: Stack):
    task = stack.run_task(stack.register())
    stack.wait_status(task, "RUNNING")
    until(lambda: listening(stack, task), "it listens")
    stack.ecs.stop_task(cluster=stack.name, task=task)
    stopped = stack.wait_stopped(task)
    assert stopped["containers"][0]["exitCode"] == 0
    assert stopped["stoppedReason"] == "Task stopped by user"


def test_run_task_answers_while_the_image_is_still_being_pulled(stack: Stack):
    """The registry is a socket that accepts and says nothing until it is closed."""
    with socket.create_server(("127.0.0.1", 0)) as registry:
        image = f"127.0.0.1:{registry.getsockname()[1]}/slow:1"
        task = stack.run_task(stack.register({**stack.container(), "image": image}))
        until(lambda: registry.accept()[0], "the engine asks the registry")
        assert stack.task(task)["lastStatus"] in {"PROVISIONING", "PENDING", "ACTIVATING"}
        stack.ecs.stop_task(cluster=stack.name, task=task, reason="enough")
        assert stack.task(task)["desiredStatus"] == "STOPPED"
    assert stack.wait_stopped(task)["stopCode"] == "UserInitiated"


def test_a_container_health_check_turns_healthy(stack: Stack):
    check = ["CMD-SHELL", "wget -q -O /dev/null http://localhost:8000/health || exit 1"]
    definition = stack.container(healthCheck={"command": check, "interval": 5, "timeout": 2, "retries": 2})
    task = stack.run_task(stack.register(definition))
    assert until(lambda: stack.task(task).get("healthStatus", "UNKNOWN") != "UNKNOWN", "a verdict")
    assert stack.task(task)["healthStatus"] == "HEALTHY"


def test_the_logs_of_a_task_are_in_its_stream(stack: Stack):
    group = f"/ecs/{stack.name}"
    options = {
        "awslogs-group": group, "awslogs-region": "eu-west-1", "awslogs-stream-prefix": "run",
        "awslogs-create-group": "true",
    }  # fmt: skip
    trust = {"Statement": [{"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "*"}]}
    role = stack.server.client("iam").create_role(
        RoleName=f"{stack.name}-execution", AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", **trust})
    )["Role"]["Arn"]
    logging = {"logDriver": "awslogs", "options": options}
    task = stack.run_task(stack.register(stack.container(logConfiguration=logging), role=role))
    stream = f"run/app/{task.rsplit('/', 1)[-1]}"
    logs = stack.server.client("logs")

    def messages() -> list[str]:
        if not logs.describe_log_streams(logGroupName=group)["logStreams"]:
            return []
        return [event["message"] for event in logs.get_log_events(logGroupName=group, logStreamName=stream)["events"]]

    stack.wait_status(task, "RUNNING")
    found = until(lambda: [line for line in messages() if "listening" in line], "the log line")
    assert '"event": "listening"' in found[0]
