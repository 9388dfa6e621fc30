"""The control plane dies, stops and comes back; what it started goes on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from moorage.cli.instance import running
from moorage.settings import Settings

from .server import Server, docker
from .stack import Stack
from .waiting import until

pytestmark = pytest.mark.docker


def test_killed_in_the_middle_it_loses_nothing(own_server: Server, stack_of: Callable[..., Stack]):
    stack = stack_of(own_server)
    stack.create_service(stack.register())
    stack.wait_stable()
    tasks = {task["taskArn"] for task in stack.tasks()}
    containers = {stack.docker_id(task) for task in tasks}
    with stack.load(50) as load:
        acknowledged = stack.register(VERSION="acknowledged")
        own_server.kill()
        until(lambda: running(own_server.data_dir) is None, "the server is dead")
        seen = load.count()
        until(lambda: load.count() > seen + 100, "the load flows without a control plane")
        own_server.up()
        seen = load.count()
        until(lambda: load.count() > seen + 100, "the load flows on")
    assert load.failures() == []
    assert {task["taskArn"] for task in stack.tasks()} == tasks
    assert {stack.docker_id(task) for task in tasks} == containers
    known = stack.ecs.describe_task_definition(taskDefinition=acknowledged)["taskDefinition"]
    assert known["taskDefinitionArn"] == acknowledged
    assert stack.is_stable()
    victim = tasks.pop()
    docker("kill", stack.docker_id(victim))
    until(lambda: victim not in {task["taskArn"] for task in stack.tasks()}, "it notices a death again")
    stack.wait_stable()


def test_a_task_that_dies_while_the_control_plane_is_dead_is_replaced_afterwards(
    own_server: Server, stack_of: Callable[..., Stack]
):
    stack = stack_of(own_server)
    stack.create_service(stack.register())
    stack.wait_stable()
    victim = stack.tasks()[0]["taskArn"]
    container = stack.docker_id(victim)
    own_server.kill()
    docker("kill", container)
    own_server.up()
    until(lambda: victim not in {task["taskArn"] for task in stack.tasks()}, "the death is noticed")
    stack.wait_stable()
    stack.wait_healthy(2)
    assert stack.wait_stopped(victim)["containers"][0]["exitCode"] == 137


def of_docker(server: Server) -> list[str]:
    """The containers and networks that this server made."""
    label = f"label=io.moorage.installation={Settings(data_dir=server.data_dir).installation}"
    containers = docker("ps", "--all", "--quiet", "--filter", label).split()
    return containers + docker("network", "ls", "--quiet", "--filter", label).split()


def test_down_leaves_nothing_and_up_finds_everything(own_server: Server, stack_of: Callable[..., Stack]):
    stack = stack_of(own_server)
    stack.create_service(stack.register())
    stack.wait_stable()
    assert len(of_docker(own_server)) >= 5  # two tasks with their pauses, and a network
    own_server.down()
    assert of_docker(own_server) == []
    assert stack.get().status == 0  # nobody listens
    own_server.up()
    assert stack.service()["desiredCount"] == 2
    stack.wait_stable()
    # what was healthy before is still called so for a moment
    until(lambda: stack.get().status == 200, "it serves again")


def test_reset_empties_everything(own_server: Server, image: str):
    stack = Stack(own_server, image)
    stack.run_task(stack.register())
    own_server.moor("reset")
    assert stack.ecs.list_clusters()["clusterArns"] == []
    assert stack.elbv2.describe_load_balancers()["LoadBalancers"] == []
    until(
        lambda: not [line for line in running_containers(own_server) if "app" in line], "the task's container is gone"
    )
    ours = f"label=io.moorage.installation={Settings(data_dir=own_server.data_dir).installation}"
    until(lambda: not docker("ps", "--all", "--quiet", "--filter", ours), "the load balancer's nodes are gone")
    until(lambda: not docker("network", "ls", "--quiet", "--filter", ours), "the networks of the subnets are gone")


def running_containers(server: Server) -> list[str]:
    label = f"label=io.moorage.installation={Settings(data_dir=server.data_dir).installation}"
    shown = '{{.Label "com.amazonaws.ecs.container-name"}}'
    return docker("ps", "--filter", label, "--format", shown).splitlines()
