"""A task dies with a request in its hands: the 502 is explained afterwards. And Envoy is restarted by `moor` under load."""

from __future__ import annotations

import json
import os
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from .server import docker
from .stack import Stack
from .test_inside_the_vpc import ASK, nodes
from .waiting import until

pytestmark = pytest.mark.docker


def test_a_502_is_explained_by_the_task_that_died(stack: Stack):
    stack.create_service(stack.register(), desired=1)
    stack.wait_stable()
    (task,) = stack.tasks()
    stack.control(task["taskArn"], "freeze")
    with ThreadPoolExecutor(1) as pool:
        # a method that is not repeated elsewhere once it was sent
        asked = pool.submit(stack.get, "/query/user", method="POST", body=b"{}", timeout=30)
        until(lambda: stack.get(timeout=0.5).status == 0, "requests hang at the target")
        docker("kill", stack.docker_id(task["taskArn"]))
        assert asked.result().status == 502
    stack.wait_stopped(task["taskArn"])
    told = " ".join(stack.server.moor("explain", "502", stack.name).split())
    assert told.startswith(f"502 was answered 1 time by load balancer {stack.name}")
    assert "the target closed the connection before it answered" in told
    assert f"it is task {task['taskArn'].rsplit('/', 1)[-1][:8]} of service app, deployment ecs-svc/" in told
    assert "Essential container in task exited" in told
    assert "container app: exit code 137" in told


AT_THE_TASK = {
    "TargetConnectionRefused", "TargetConnectionTimeout", "TargetConnectionFailed", "TargetReset", "TargetResponseCut",
}  # fmt: skip


def address(task: dict[str, Any]) -> str:
    details = task["attachments"][0]["details"]
    return next(one["value"] for one in details if one["name"] == "privateIPv4Address")


def test_every_failure_has_a_cause_while_the_only_task_of_a_service_is_replaced(stack: Stack):
    stack.create_service(stack.register(), desired=1)
    stack.wait_stable()
    (task,) = stack.tasks()
    with stack.load(100) as load:
        docker("kill", stack.docker_id(task["taskArn"]))
        until(load.failures, "requests fail")
        stack.wait_stable()
    name = f"{stack.name}&failed=true&last=1000"
    with urllib.request.urlopen(f"{stack.server.endpoint}/_moorage/requests?load_balancer={name}") as answer:
        failed = json.load(answer)["requests"]
    assert failed
    causes = {one["cause"] for one in failed}
    assert causes <= {*AT_THE_TASK, "NoRegisteredTargets", "DeregistrationDelayOver"}
    # the new task gets requests before it is healthy, because there is nobody else
    owners = {address(one): one["taskArn"] for one in (*stack.tasks(), task)}
    for one in failed:
        target = one["record"]["target"] if one["cause"] in AT_THE_TASK else one.get("last_target", "")
        if target:
            assert one["task_arn"] == owners[target.rpartition(":")[0]]
            assert one["deployment_id"].startswith("ecs-svc/")
    assert task["taskArn"] in {one.get("task_arn") for one in failed}
    told = {
        status: " ".join(stack.server.moor("explain", str(status), stack.name).split())
        for status in {one["record"]["status"] for one in failed}
    }
    assert all(f"by load balancer {stack.name}" in words for words in told.values())
    died = f"it is task {task['taskArn'].rsplit('/', 1)[-1][:8]} of service app"
    assert any(died in words and "Essential container in task exited" in words for words in told.values())


def test_envoy_is_restarted_by_moor_without_a_failed_request(stack: Stack):
    stack.create_service(stack.register(), desired=1)
    stack.wait_stable()
    container = stack.docker_id(stack.tasks()[0]["taskArn"])
    inside = os.geteuid() == 0  # else load balancers do not stand in their subnets
    if inside:
        until(lambda: len(nodes(stack)) == len(stack.subnets), "a node in every subnet")
    with stack.load(50) as load:
        for _ in range(2):
            seen = load.count()
            assert "no connection was refused" in stack.server.moor("proxy", "restart")
            until(lambda seen=seen: load.count() > seen + 50, "the load flows on")
            for address in nodes(stack).values() if inside else ():
                said = docker("exec", container, "python3", "-c", ASK, address, str(stack.port))
                assert said == "HTTP/1.1 200 OK"
    assert load.failures() == []
