"""What was pushed runs, under either name; what a container says can be followed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest

from .server import MOOR, REGION, Server, docker
from .stack import Stack
from .waiting import until

pytestmark = pytest.mark.docker
ACCOUNT = "000000000000"
FOLLOW_SECONDS = 60


@pytest.fixture(scope="module")
def pushed(server: Server, image: str) -> Iterator[str]:
    """A repository that holds the image under the tag 1, pushed by the docker CLI: its URI. The engine's own copies
    are gone afterwards, so that whoever runs the image has to pull it."""
    ecr = server.client("ecr")
    uri: str = ecr.create_repository(repositoryName="pushed")["repository"]["repositoryUri"]
    host = uri.partition("/")[0]
    subprocess.run(
        ["docker", "login", "--username", "AWS", "--password-stdin", host],
        input=server.moor("aws", "ecr", "get-login-password"), text=True, check=True, capture_output=True,
    )  # fmt: skip
    docker("tag", image, f"{uri}:1")
    docker("push", "--quiet", f"{uri}:1")
    docker("rmi", f"{uri}:1")
    yield uri
    docker("logout", host)


def execution_role(stack: Stack) -> str:
    trust = {"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    created = stack.server.client("iam").create_role(RoleName=f"{stack.name}-exec", AssumeRolePolicyDocument=document)
    arn: str = created["Role"]["Arn"]
    return arn


@pytest.mark.parametrize("form", ["ours", "amazon's", "digest"])
def test_a_task_runs_what_was_pushed(stack: Stack, pushed: str, form: str):
    digest = stack.server.client("ecr").describe_images(repositoryName="pushed")["imageDetails"][0]["imageDigest"]
    name = {
        "ours": f"{pushed}:1",
        "amazon's": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/pushed:1",
        "digest": f"{pushed}@{digest}",
    }[form]
    definition = {**stack.container(stopTimeout=2), "image": name}
    task = stack.run_task(stack.register(definition, role=execution_role(stack)))
    waiter = stack.ecs.get_waiter("tasks_running")
    waiter.wait(cluster=stack.name, tasks=[task], WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    container = stack.task(task)["containers"][0]
    assert container["image"] == name
    assert container["imageDigest"] == digest
    stack.ecs.stop_task(cluster=stack.name, task=task)
    waiter = stack.ecs.get_waiter("tasks_stopped")
    waiter.wait(cluster=stack.name, tasks=[task], WaiterConfig={"Delay": 1, "MaxAttempts": 60})


def test_docker_pulls_what_was_pushed(pushed: str):
    docker("pull", "--quiet", f"{pushed}:1")
    assert docker("inspect", "--format", "{{index .Config.Cmd 0}}", f"{pushed}:1") == "/usr/bin/python3"
    docker("rmi", f"{pushed}:1")


def test_logs_tail_follow_shows_lines_as_they_come(stack: Stack):
    group = f"/follow/{stack.name}"
    options = {"awslogs-group": group, "awslogs-region": REGION, "awslogs-stream-prefix": "x"}
    stack.server.client("logs").create_log_group(logGroupName=group)
    definition = stack.container(logConfiguration={"logDriver": "awslogs", "options": options})
    task = stack.run_task(stack.register(definition, role=execution_role(stack)))
    stack.wait_status(task, "RUNNING")
    with subprocess.Popen(
        [MOOR, "aws", "logs", "tail", group, "--follow", "--since", "5m"],
        env={**stack.server.environment, "PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, text=True,
    ) as tail:  # fmt: skip
        assert tail.stdout is not None
        try:
            assert '"event": "starting"' in tail.stdout.readline()
            stack.control(task, "recover")
            seen = until(lambda: "/control/recover" in tail.stdout.readline(), "the new line", FOLLOW_SECONDS)  # type: ignore[union-attr]
        finally:
            tail.terminate()
    assert seen


def test_a_container_waits_for_the_success_of_another(stack: Stack):
    first = stack.container("first", essential=False, portMappings=[], environment={"EXIT_AFTER": 1, "EXIT_CODE": 0,
                            "PORT": 8001})  # fmt: skip
    second = stack.container(dependsOn=[{"containerName": "first", "condition": "SUCCESS"}])
    task = stack.run_task(stack.register(first, second))
    running = stack.wait_status(task, "RUNNING", 60)
    states = {container["name"]: container["lastStatus"] for container in running["containers"]}
    assert states == {"first": "STOPPED", "app": "RUNNING"}
