"""Load balancers stand in their subnets: tasks reach them by the same name as this machine does, targets see requests come
from there, and a node that is killed is made again. Needs root on this machine, as the product does for it."""

from __future__ import annotations

import os

import pytest

from .server import docker
from .stack import Stack
from .waiting import until

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(os.geteuid() != 0, reason="entering the networks of containers takes root"),
]

# the image's Python has little more than sockets
ASK = """
import socket, sys
host, port = sys.argv[1], int(sys.argv[2])
with socket.create_connection((host, port), timeout=2) as line:
    line.sendall(f"GET /whoami HTTP/1.1\\r\\nHost: {host}\\r\\nConnection: close\\r\\n\\r\\n".encode())
    print(line.recv(9000).decode().partition("\\r\\n")[0])
"""
RESOLVE = "import sys, socket; print(*sorted({a[4][0] for a in socket.getaddrinfo(sys.argv[1], 80, socket.AF_INET)}))"


def nodes(stack: Stack) -> dict[str, str]:
    """Sandbox → address, of the stack's load balancer."""
    form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    return {one: docker("inspect", "--format", form, one) for one in sandboxes(stack)}


def sandboxes(stack: Stack) -> list[str]:
    return docker("ps", "--quiet", "--filter", f"label=io.moorage.load-balancer={stack.balancer}").split()


def test_the_same_name_works_inside_and_outside(stack: Stack) -> None:
    stack.create_service(stack.register(VERSION="1"), 1)
    until(lambda: list(stack.health().values()) == ["healthy"], "a healthy target")
    until(lambda: len(nodes(stack)) == len(stack.subnets), "a node in every subnet")
    container = stack.docker_id(stack.tasks()[0]["taskArn"])
    assert stack.get().status == 200

    inside = docker("exec", container, "python3", "-c", RESOLVE, stack.host).split()
    assert inside == sorted(nodes(stack).values())
    ask = ("exec", container, "python3", "-c", ASK)
    assert docker(*ask, stack.host, str(stack.port)) == "HTTP/1.1 200 OK"

    group = stack.server.client("ec2").create_security_group(GroupName=stack.name, Description="x", VpcId=stack.vpc)
    stack.elbv2.set_security_groups(LoadBalancerArn=stack.balancer, SecurityGroups=[group["GroupId"]])
    until(lambda: not _answers(*ask, stack.host, str(stack.port)), "nobody let in")
    assert stack.get().status == 200, "this machine's own door is its operator's"
    mine = stack.elbv2.describe_load_balancers(LoadBalancerArns=[stack.balancer])["LoadBalancers"][0]["VpcId"]
    default = stack.server.client("ec2").describe_security_groups(
        Filters=[{"Name": "vpc-id", "Values": [mine]}, {"Name": "group-name", "Values": ["default"]}]
    )["SecurityGroups"][0]["GroupId"]
    stack.server.client("ec2").authorize_security_group_ingress(
        GroupId=group["GroupId"],
        IpPermissions=[
            {
                "IpProtocol": "tcp", "FromPort": stack.port, "ToPort": stack.port,
                "UserIdGroupPairs": [{"GroupId": default}],
            }
        ],
    )  # fmt: skip
    until(lambda: _answers(*ask, stack.host, str(stack.port)), "the members of the default group let in")

    killed, address = next(iter(nodes(stack).items()))
    docker("kill", killed)
    until(lambda: killed not in sandboxes(stack) and address in nodes(stack).values(), "the node again, at its address")
    until(lambda: _answers(*ask, address, str(stack.port)), "an answer at the new node")
    stack.elbv2.delete_load_balancer(LoadBalancerArn=stack.balancer)
    until(lambda: not sandboxes(stack), "no node left")


def _answers(*words: str) -> bool:
    try:
        return docker(*words) == "HTTP/1.1 200 OK"
    except AssertionError:
        return False  # nobody listens yet
