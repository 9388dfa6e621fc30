"""A task dies with a request in its hands: the 502 is explained afterwards. And Envoy is restarted by `moor` under load."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

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
