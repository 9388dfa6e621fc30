"""Network load balancers inside their VPC: tasks reach them at their addresses in the subnets, by the name that works on
this machine too, security groups are enforced, and targets see the addresses of the clients. Needs root on this machine."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from .server import docker
from .stack import PORT, Stack
from .waiting import until

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(os.geteuid() != 0, reason="entering the networks of containers takes root"),
]

WHO = """
import socket, threading
def over_udp():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        door.bind(("", 9000))
        while True:
            data, client = door.recvfrom(65535)
            door.sendto(f"{socket.gethostname()} {client[0]} ".encode() + data, client)
def talk(line, client):
    while data := line.recv(9000):
        line.sendall(f"{socket.gethostname()} {client[0]} ".encode() + data)
threading.Thread(target=over_udp, daemon=True).start()
with socket.create_server(("", 9000)) as door:
    while True:
        threading.Thread(target=talk, args=door.accept(), daemon=True).start()
"""
# words: name, port, tcp or udp, bytes to send; says "<target> <client that it saw> <address asked> <bytes back>" per try
ASK = """
import socket, sys
name, port, kind, size = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
for address in sorted({found[4][0] for found in socket.getaddrinfo(name, port, socket.AF_INET)}):
    for _ in range(4):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as line:
            line.settimeout(3)
            line.connect((address, port))
            for _ in range(5):
                line.send(b"x" * size)
                try:
                    answer = line.recv(65535)
                    break
                except TimeoutError:
                    if kind == "tcp":
                        raise
            else:
                raise TimeoutError("no datagram came back")
            target, seen, rest = answer.split(b" ", 2)
            print(target.decode(), seen.decode(), address, len(rest))
"""


class Balanced:
    """The service `who` with a task in each of two zones behind a network load balancer, and a client task."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.port = PORT + 700
        elb = stack.elbv2
        ranges = stack.server.client("ec2").describe_subnets(SubnetIds=stack.subnets)["Subnets"]
        self.mappings = [
            {"SubnetId": one["SubnetId"], "PrivateIPv4Address": str(ipaddress.ip_network(one["CidrBlock"])[77])}
            for one in sorted(ranges, key=lambda one: one["AvailabilityZone"])
        ]
        self.addresses = [one["PrivateIPv4Address"] for one in self.mappings]
        self.group_id = self.security_group("open", [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}])
        made = elb.create_load_balancer(
            Name=f"{stack.name}-net", Type="network", SubnetMappings=self.mappings, Scheme="internal",
            SecurityGroups=[self.group_id],
        )["LoadBalancers"][0]  # fmt: skip
        self.arn, self.name = made["LoadBalancerArn"], made["DNSName"]
        self.shown = made["AvailabilityZones"]
        self.target_group = elb.create_target_group(
            Name=f"{stack.name}-net", Protocol="TCP_UDP", Port=9000, VpcId=stack.vpc, TargetType="ip",
            HealthCheckIntervalSeconds=5, HealthCheckTimeoutSeconds=2,
        )["TargetGroups"][0]["TargetGroupArn"]  # fmt: skip
        elb.modify_target_group_attributes(
            TargetGroupArn=self.target_group, Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "0"}]
        )
        elb.create_listener(
            LoadBalancerArn=self.arn, Protocol="TCP_UDP", Port=self.port,
            DefaultActions=[{"Type": "forward", "TargetGroupArn": self.target_group}],
        )  # fmt: skip
        ports = [{"containerPort": 9000}, {"containerPort": 9000, "protocol": "udp"}]
        revision = stack.register(stack.container(command=["python3", "-c", WHO], portMappings=ports), family="who")
        stack.create_service(
            revision,
            name="who",
            loadBalancers=[{"targetGroupArn": self.target_group, "containerName": "app", "containerPort": 9000}],
        )
        self.client = stack.run_task(stack.register(VERSION="client"))
        client = stack.wait_status(self.client, "RUNNING")
        self.client_address = address_of(client)
        until(lambda: list(self.health().values()) == ["healthy"] * 2, "both tasks are healthy", 60)

    def security_group(self, name: str, permissions: list[dict[str, Any]]) -> str:
        ec2 = self.stack.server.client("ec2")
        made: str = ec2.create_security_group(
            GroupName=f"{self.stack.name}-{name}", Description="x", VpcId=self.stack.vpc
        )["GroupId"]
        if permissions:
            ec2.authorize_security_group_ingress(GroupId=made, IpPermissions=permissions)
        return made

    def health(self) -> dict[str, str]:
        found = self.stack.elbv2.describe_target_health(TargetGroupArn=self.target_group)["TargetHealthDescriptions"]
        return {entry["Target"]["Id"]: entry["TargetHealth"]["State"] for entry in found}

    def ask(self, kind: str = "tcp", size: int = 2, name: str = "") -> list[list[str]]:
        said = docker(
            "exec", self.stack.docker_id(self.client), "python3", "-c", ASK, name or self.name, str(self.port),
            kind, str(size),
        )  # fmt: skip
        return [line.split() for line in said.splitlines()]

    def nodes(self) -> dict[str, str]:
        """Sandbox → address."""
        form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        found = docker("ps", "--quiet", "--filter", f"label=io.moorage.load-balancer={self.arn}").split()
        nodes = {}
        for one in found:
            with contextlib.suppress(AssertionError):  # gone meanwhile
                nodes[one] = docker("inspect", "--format", form, one)
        return nodes

    def preserve(self, wanted: str) -> None:
        """Of TCP alone: datagrams always are."""
        self.stack.elbv2.modify_target_group_attributes(
            TargetGroupArn=self.target_group, Attributes=[{"Key": "preserve_client_ip.enabled", "Value": wanted}]
        )


def address_of(task: dict[str, Any]) -> str:
    details = {one["name"]: one["value"] for one in task["attachments"][0]["details"]}
    return details["privateIPv4Address"]


@pytest.fixture
def balanced(stack: Stack) -> Iterator[Balanced]:
    made = Balanced(stack)
    yield made
    stack.elbv2.delete_load_balancer(LoadBalancerArn=made.arn)
    until(lambda: not made.nodes(), "no node left")


def test_a_network_load_balancer_inside_its_vpc(balanced: Balanced) -> None:
    stack = balanced.stack
    assert [zone["LoadBalancerAddresses"] for zone in balanced.shown] == [
        [{"PrivateIPv4Address": one}] for one in balanced.addresses
    ]
    until(lambda: sorted(balanced.nodes().values()) == balanced.addresses, "nodes at the chosen addresses")

    for kind, size in (("tcp", 2), ("tcp", 5000), ("udp", 2), ("udp", 5000)):
        found = until(lambda kind=kind, size=size: tried(balanced, kind, size), f"{kind} {size}")
        assert {seen for _, seen, _, _ in found} == {balanced.client_address}, kind
        assert sorted({asked for _, _, asked, _ in found}) == balanced.addresses
        assert len({target for target, _, _, _ in found}) == 2
    with socket.create_connection(("127.0.0.1", balanced.port), timeout=5) as line:
        line.sendall(b"hello")
        assert line.recv(100).endswith(b" hello")

    none = balanced.security_group("none", [])
    stack.elbv2.set_security_groups(LoadBalancerArn=balanced.arn, SecurityGroups=[none])
    until(lambda: tried(balanced, "tcp", 2) is None, "nobody let in")
    stack.elbv2.set_security_groups(LoadBalancerArn=balanced.arn, SecurityGroups=[balanced.group_id])
    until(lambda: tried(balanced, "tcp", 2), "everybody let in")

    killed, address = min(balanced.nodes().items(), key=lambda pair: balanced.addresses.index(pair[1]))
    docker("kill", killed)
    until(lambda: killed not in balanced.nodes() and address in balanced.nodes().values(), "the node again")
    for kind in ("tcp", "udp"):
        found = until(lambda kind=kind: tried(balanced, kind, 2), "answers through the new node")
        assert {seen for _, seen, _, _ in found} == {balanced.client_address}

    stack.elbv2.set_subnets(LoadBalancerArn=balanced.arn, SubnetMappings=balanced.mappings[1:])
    until(lambda: sorted(balanced.nodes().values()) == balanced.addresses[1:], "one node")
    found = until(lambda: tried(balanced, "tcp", 2), "answers in one zone")
    assert {(seen, asked) for _, seen, asked, _ in found} == {(balanced.client_address, balanced.addresses[1])}

    stack.ecs.update_service(cluster=stack.name, service="who", desiredCount=0)
    until(lambda: "ConnectionRefusedError" in refusal(balanced), "connections that lead nowhere are reset", 30)


def refusal(balanced: Balanced) -> str:
    try:
        return str(balanced.ask())
    except AssertionError as error:
        return str(error)


def tried(balanced: Balanced, kind: str, size: int) -> list[list[str]] | None:
    try:
        found = balanced.ask(kind, size)
    except AssertionError:
        return None
    return found if found and all(int(back) > 0 for _, _, _, back in found) else None
