"""Network load balancers inside their VPC: tasks reach them at their addresses in the subnets, by the name that works on
this machine too, security groups are enforced, and targets see the addresses of the clients. Needs root on this machine."""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import os
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from moorage.engine.docker.names import bridge_prefix
from moorage.network.linux_return_paths import LinuxReturnPaths, feet_prefix

from .server import Server, docker
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
        self.groups = [self.group(kind, self.port + number) for number, kind in enumerate(("TCP_UDP", "TCP"))]
        self.preserve("true")
        ports = [{"containerPort": 9000}, {"containerPort": 9000, "protocol": "udp"}]
        revision = stack.register(stack.container(command=["python3", "-c", WHO], portMappings=ports), family="who")
        stack.create_service(
            revision,
            name="who",
            loadBalancers=[
                {"targetGroupArn": one, "containerName": "app", "containerPort": 9000} for one in self.groups
            ],
        )
        self.client = stack.run_task(stack.register(VERSION="client"))
        client = stack.wait_status(self.client, "RUNNING")
        self.client_address = address_of(client)
        until(lambda: all(self.health(one) == ["healthy"] * 2 for one in self.groups), "both tasks are healthy", 60)

    def group(self, protocol: str, port: int) -> str:
        """A target group with a listener that forwards to it."""
        elb = self.stack.elbv2
        made: str = elb.create_target_group(
            Name=f"{self.stack.name}-{port}", Protocol=protocol, Port=9000, VpcId=self.stack.vpc, TargetType="ip",
            HealthCheckIntervalSeconds=5, HealthCheckTimeoutSeconds=2,
        )["TargetGroups"][0]["TargetGroupArn"]  # fmt: skip
        elb.modify_target_group_attributes(
            TargetGroupArn=made, Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "0"}]
        )
        elb.create_listener(
            LoadBalancerArn=self.arn, Protocol=protocol, Port=port,
            DefaultActions=[{"Type": "forward", "TargetGroupArn": made}],
        )  # fmt: skip
        return made

    def security_group(self, name: str, permissions: list[dict[str, Any]]) -> str:
        ec2 = self.stack.server.client("ec2")
        made: str = ec2.create_security_group(
            GroupName=f"{self.stack.name}-{name}", Description="x", VpcId=self.stack.vpc
        )["GroupId"]
        if permissions:
            ec2.authorize_security_group_ingress(GroupId=made, IpPermissions=permissions)
        return made

    def health(self, group: str) -> list[str]:
        found = self.stack.elbv2.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
        return [entry["TargetHealth"]["State"] for entry in found]

    def ask(self, kind: str = "tcp", size: int = 2, port: int = 0, name: str = "") -> list[list[str]]:
        said = docker(
            "exec", self.stack.docker_id(self.client), "python3", "-c", ASK, name or self.name,
            str(port or self.port),
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
        """Of the TCP group: with datagrams they always are."""
        self.stack.elbv2.modify_target_group_attributes(
            TargetGroupArn=self.groups[1], Attributes=[{"Key": "preserve_client_ip.enabled", "Value": wanted}]
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

    all_kinds = (("tcp", 0), ("udp", 0), ("tcp", 1))
    for kind, number in all_kinds:
        for size in (2, 5000):
            found = until(lambda args=(kind, size, number): tried(balanced, *args), f"{kind} {size} {number}")
            assert {seen for _, seen, _, _ in found} == {balanced.client_address}
            assert sorted({asked for _, _, asked, _ in found}) == balanced.addresses
            assert len({target for target, _, _, _ in found}) == 2
    with socket.create_connection(("127.0.0.1", balanced.port), timeout=5) as line:
        line.sendall(b"hello")
        assert line.recv(100).endswith(b" hello")
    until(lambda: over_udp("127.0.0.1", balanced.port), "datagrams from this machine")
    balanced.preserve("false")
    until(lambda: seen_by(balanced) == {balanced.addresses[0]}, "the load balancer's own address")
    balanced.preserve("true")
    until(lambda: seen_by(balanced) == {balanced.client_address}, "the client's address")

    none = balanced.security_group("none", [])
    stack.elbv2.set_security_groups(LoadBalancerArn=balanced.arn, SecurityGroups=[none])
    until(lambda: tried(balanced, "tcp", 2) is None, "nobody let in")
    stack.elbv2.set_security_groups(LoadBalancerArn=balanced.arn, SecurityGroups=[balanced.group_id])
    until(lambda: tried(balanced, "tcp", 2), "everybody let in")

    killed, address = min(balanced.nodes().items(), key=lambda pair: balanced.addresses.index(pair[1]))
    docker("kill", killed)
    until(lambda: killed not in balanced.nodes() and address in balanced.nodes().values(), "the node again")
    for kind, number in all_kinds:
        found = until(lambda args=(kind, 2, number): tried(balanced, *args), "answers through the new node")
        assert {seen for _, seen, _, _ in found} == {balanced.client_address}

    stack.elbv2.set_subnets(LoadBalancerArn=balanced.arn, SubnetMappings=balanced.mappings[1:])
    until(lambda: sorted(balanced.nodes().values()) == balanced.addresses[1:], "one node")
    found = until(lambda: tried(balanced, "tcp", 2, 1), "answers in one zone")
    assert {(seen, asked) for _, seen, asked, _ in found} == {(balanced.client_address, balanced.addresses[1])}

    stack.ecs.update_service(cluster=stack.name, service="who", desiredCount=0)
    until(lambda: "ConnectionRefusedError" in refusal(balanced), "connections that lead nowhere are reset", 30)


def test_it_outlives_the_control_plane_and_leaves_nothing(own_server: Server, image: str) -> None:
    balanced = Balanced(Stack(own_server, image))
    label = "io.moorage.installation"
    some = next(iter(balanced.nodes()))
    installation = docker("inspect", "--format", f'{{{{index .Config.Labels "{label}"}}}}', some)
    bridges = bridge_prefix(installation)
    before = balanced.nodes()
    own_server.kill()
    for number, address in itertools.product((0, 1), balanced.addresses):
        found = balanced.ask("tcp", 2, balanced.port + number, address)
        assert {seen for _, seen, _, _ in found} == {balanced.client_address}
    found = until(lambda: tried(balanced, "tcp", 2, 0), "the name, told by who stands in")
    assert sorted({asked for _, _, asked, _ in found}) == balanced.addresses
    own_server.up()
    until(lambda: all(balanced.health(one) == ["healthy"] * 2 for one in balanced.groups), "both tasks are healthy")
    assert balanced.nodes() == before
    for number in (0, 1):
        found = until(lambda number=number: tried(balanced, "tcp", 2, number), "answers after the restart")
        assert {seen for _, seen, _, _ in found} == {balanced.client_address}
    assert feet(bridges)
    balanced.stack.elbv2.delete_load_balancer(LoadBalancerArn=balanced.arn)
    until(lambda: not balanced.nodes() and not feet(bridges), "no node left, nor a foot of one")
    assert f"moorage_{bridges}" in output("nft", "list", "tables"), "for the next one"
    own_server.down()
    assert docker("ps", "--all", "--quiet", "--filter", f"label={label}={installation}") == ""
    assert docker("network", "ls", "--quiet", "--filter", f"label={label}={installation}") == ""
    mark = LinuxReturnPaths(bridges).mark
    assert bridges not in output("nft", "list", "tables") + output("iptables-save") + output("ip", "-brief", "link")
    assert f"lookup {mark}" not in output("ip", "rule")
    assert output("ip", "route", "show", "table", str(mark)) == ""


def feet(bridges: str) -> list[str]:
    return [name for _, name in socket.if_nameindex() if name.startswith(feet_prefix(bridges))]


def output(*command: str) -> str:
    """Empty for a routing table that there is not."""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def refusal(balanced: Balanced) -> str:
    try:
        return str(balanced.ask())
    except AssertionError as error:
        return str(error)


def tried(balanced: Balanced, kind: str, size: int, number: int = 0) -> list[list[str]] | None:
    """None while not everything is answered. `number`: which listener."""
    try:
        found = balanced.ask(kind, size, balanced.port + number)
    except AssertionError:
        return None
    return found if found and all(int(back) > 0 for _, _, _, back in found) else None


def seen_by(balanced: Balanced) -> set[str]:
    """Whom the targets of the TCP group take for the client."""
    return {seen for _, seen, _, _ in tried(balanced, "tcp", 2, 1) or ()}


def over_udp(host: str, port: int) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(1)
        client.sendto(b"hello", (host, port))
        try:
            return client.recv(100)
        except TimeoutError:
            return b""
