"""An ECS service behind a network load balancer: bytes over TCP and UDP reach its tasks, and a task that goes is drained
and then cut off."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from .server import Server
from .stack import PORT, Stack
from .waiting import until

pytestmark = pytest.mark.docker

ECHO = """
import socket, threading
def over_udp():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        door.bind(("", 9000))
        while True:
            data, client = door.recvfrom(9000)
            door.sendto(socket.gethostname().encode() + b":" + data, client)
def talk(line):
    while data := line.recv(9000):
        line.sendall(socket.gethostname().encode() + b":" + data)
threading.Thread(target=over_udp, daemon=True).start()
with socket.create_server(("", 9000)) as door:
    while True:
        threading.Thread(target=talk, args=(door.accept()[0],), daemon=True).start()
"""


class Echo:
    """The service `echo` with two tasks behind a network load balancer; `door` is where it answers."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.name = f"{stack.name}-net"
        self.door = ("127.0.0.1", PORT + 600)
        elb = stack.elbv2
        made = elb.create_load_balancer(Name=self.name, Type="network", Subnets=stack.subnets, Scheme="internal")
        self.balancer = made["LoadBalancers"][0]["LoadBalancerArn"]
        self.group = elb.create_target_group(
            Name=self.name, Protocol="TCP_UDP", Port=9000, VpcId=stack.vpc, TargetType="ip",
            HealthCheckIntervalSeconds=5, HealthCheckTimeoutSeconds=2,
        )["TargetGroups"][0]["TargetGroupArn"]  # fmt: skip
        elb.modify_target_group_attributes(
            TargetGroupArn=self.group, Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "4"}]
        )
        elb.create_listener(
            LoadBalancerArn=self.balancer, Protocol="TCP_UDP", Port=self.door[1],
            DefaultActions=[{"Type": "forward", "TargetGroupArn": self.group}],
        )  # fmt: skip
        container = stack.container(
            command=["python3", "-c", ECHO],
            portMappings=[{"containerPort": 9000}, {"containerPort": 9000, "protocol": "udp"}],
        )
        stack.create_service(
            stack.register(container),
            loadBalancers=[{"targetGroupArn": self.group, "containerName": "app", "containerPort": 9000}],
        )
        stack.wait_stable()
        until(lambda: list(self.health().values()) == ["healthy"] * 2, "both tasks are healthy", 60)

    def health(self) -> dict[str, str]:
        found = self.stack.elbv2.describe_target_health(TargetGroupArn=self.group)["TargetHealthDescriptions"]
        return {entry["Target"]["Id"]: entry["TargetHealth"]["State"] for entry in found}

    def connect(self) -> socket.socket:
        line = socket.create_connection(self.door, timeout=20)
        line.sendall(b"hello")
        assert line.recv(100).endswith(b":hello")
        return line

    def over_udp(self) -> bytes:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(1)
            for _ in range(10):
                client.sendto(b"hello", self.door)
                try:
                    return client.recv(100)
                except TimeoutError:
                    continue
        raise AssertionError("no answer over UDP")


@pytest.fixture
def echo(stack: Stack) -> Iterator[Echo]:
    made = Echo(stack)
    yield made
    stack.elbv2.delete_load_balancer(LoadBalancerArn=made.balancer)


def name_of(line: socket.socket) -> bytes:
    line.sendall(b"who")
    return line.recv(100).partition(b":")[0]


def test_a_service_behind_a_network_load_balancer(server: Server, echo: Echo):
    lines = [echo.connect() for _ in range(4)]
    names = {name_of(line) for line in lines}
    assert len(names) == 2
    assert echo.over_udp().partition(b":")[0] in names

    said = server.moor("explain", "target-group", echo.name)
    assert f"from load balancer {echo.name}" in said, said
    assert "2 healthy" in said, said
    server.moor("aws", "elbv2", "wait", "load-balancer-available", "--load-balancer-arns", echo.balancer)
    server.moor("aws", "elbv2", "wait", "target-in-service", "--target-group-arn", echo.group)
    said = server.moor("explain", "load-balancer", echo.name)
    assert f"tcp_udp://{echo.name}-" in said, said
    assert f"{echo.name}-" in server.moor("status")

    echo.stack.update(desiredCount=1)
    until(lambda: "draining" in echo.health().values(), "a target drains", 30)
    assert {name_of(line) for line in lines} == names  # open connections live on
    until(lambda: list(echo.health().values()) == ["healthy"], "one target is left", 30)
    (left,) = {name for line in lines if (name := name_of_open(line))}
    assert left in names
    assert echo.over_udp().partition(b":")[0] == left
    for line in lines:
        line.close()


def name_of_open(line: socket.socket) -> bytes:
    """Empty when the connection was cut."""
    try:
        return name_of(line)
    except OSError:
        return b""
