"""The way back as text, and with real network namespaces: a node speaks to targets in two subnets in the name of a client,
and hears their answers."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from moorage.network.linux_return_paths import (
    LinuxReturnPaths,
    feet_prefix,
    foot_name,
    machine_marks,
    node_feet,
    node_routes,
    target_marks,
    target_routes,
)
from moorage.network.return_paths import ReturnPathsUnavailable, Way, foot_mac

NEAR = Way("02:42:0a:00:01:09", "tcp", "10.0.1.9")
FAR = Way(foot_mac("10.0.1.9"), "tcp", "10.0.1.9", known=False)
FROM_MACHINE = Way("02:42:11:22:33:44", "udp", "10.0.1.1")


def test_the_mark_is_the_address() -> None:
    assert NEAR.mark == FAR.mark == 0x0A000109


def test_what_a_target_is_told() -> None:
    told = target_marks([FROM_MACHINE, NEAR])
    assert "02:42:0a:00:01:09 . tcp : 0x0a000109, 02:42:11:22:33:44 . udp : 0x0a000101" in told
    assert "marks { 0x0a000101, 0x0a000109 }" in told
    assert target_routes([NEAR]) == [
        "rule add pref 70 fwmark 0xa000109 lookup 167772425",
        "route replace default via 10.0.1.9 dev eth0 onlink table 167772425",
    ]
    assert target_routes([FAR])[-1] == "neigh replace 10.0.1.9 lladdr 02:43:0a:00:01:09 dev eth0 nud permanent"


def test_what_a_node_is_told() -> None:
    assert len(foot_name("mrg0123456789ab")) <= 15
    assert node_routes("10.0.1.9", {})[-1] == "route replace local default dev lo table 73"
    told = node_routes("10.0.1.9", {"bridge": "10.0.2.0/24"})
    assert f"route replace 10.0.2.0/24 dev {foot_name('bridge')} scope link table 71" in told
    prefix = feet_prefix("mrgabc", "/netns/x")
    assert prefix.startswith(feet_prefix("mrgabc"))
    (added, joined) = node_feet(prefix, "/netns/x", "10.0.1.9", ["bridge"])
    assert len(added.split()[2]) == 15
    assert added.endswith(f"peer name {foot_name('bridge')} address 02:43:0a:00:01:09 netns /netns/x")
    assert joined.endswith("master bridge up")


def test_what_the_machine_is_told() -> None:
    assert 'iifname "mrgabc*" meta l4proto udp socket transparent 1 meta mark set 0x4d000001' in machine_marks(
        "moorage_mrgabc", "mrgabc", 0x4D000001
    )


ECHO = """
import socket, threading
def over_udp():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        door.bind(("", 9000))
        while True:
            data, client = door.recvfrom(9000)
            door.sendto(client[0].encode(), client)
threading.Thread(target=over_udp, daemon=True).start()
with socket.create_server(("", 9000)) as door:
    print("ready", flush=True)
    while True:
        line, client = door.accept()
        line.sendall(client[0].encode())
        line.close()
"""
IN_NAME_OF = """
import socket, sys
kind = socket.SOCK_STREAM if sys.argv[3] == "tcp" else socket.SOCK_DGRAM
with socket.socket(socket.AF_INET, kind) as line:
    line.setsockopt(socket.IPPROTO_IP, 19, 1)  # IP_TRANSPARENT
    line.settimeout(3)
    line.bind((sys.argv[1], 0))
    line.connect((sys.argv[2], 9000))
    line.send(b"x")
    print(line.recv(100).decode())
"""


class Vpc:
    """Two subnets on this machine: a client and a node in the first, a target in each."""

    def __init__(self) -> None:
        number = os.getpid() % 250
        self.prefix = f"mrt{number}"
        self.subnets = [f"10.{number}.{third}" for third in (251, 252)]
        self.bridges = [f"{self.prefix}{letter}" for letter in "ab"]
        self.client, self.node, self.near, self.far = (
            f"{self.subnets[0]}.20", f"{self.subnets[0]}.30", f"{self.subnets[0]}.40", f"{self.subnets[1]}.40",
        )  # fmt: skip
        self.echoes: list[subprocess.Popen[str]] = []

    def let_through(self, action: str) -> None:
        """Docker's firewall looks at bridged frames too, where the kernel lets it."""
        bridges = f"{self.prefix}+"
        rule = ("-i", bridges, "-o", bridges, "-j", "ACCEPT")
        subprocess.run(["iptables", "-w", action, "FORWARD", *rule], capture_output=True, check=False)

    def make(self) -> None:
        self.let_through("-I")
        for bridge, subnet in zip(self.bridges, self.subnets, strict=True):
            run("ip", "link", "add", bridge, "type", "bridge")
            run("ip", "link", "set", bridge, "up")
            run("ip", "address", "add", f"{subnet}.1/24", "dev", bridge)
        for address in (self.client, self.node, self.near, self.far):
            name, bridge = self.name(address), self.bridges[not address.startswith(f"{self.subnets[0]}.")]
            mac = "02:42:" + ":".join(f"{int(part):02x}" for part in address.split("."))
            run("ip", "netns", "add", name)
            run(
                "ip",
                "link",
                "add",
                f"v{name[-12:]}",
                "type",
                "veth",
                "peer",
                "name",
                "eth0",
                "address",
                mac,
                "netns",
                name,
            )
            run("ip", "link", "set", f"v{name[-12:]}", "master", bridge, "up")
            run("ip", "-n", name, "address", "add", f"{address}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                run("ip", "-n", name, "link", "set", device, "up")
            run("ip", "-n", name, "route", "add", "default", "via", f"{address.rpartition('.')[0]}.1")
        for target in (self.near, self.far):
            command = ["ip", "netns", "exec", self.name(target), sys.executable, "-c", ECHO]
            echo = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            self.echoes.append(echo)
            assert echo.stdout is not None
            assert echo.stdout.readline() == "ready\n"

    def name(self, address: str) -> str:
        return f"{self.prefix}-{address.replace('.', '')}"

    def path(self, address: str) -> str:
        return f"/run/netns/{self.name(address)}"

    def mac_of_machine(self, bridge: str) -> str:
        return LinuxReturnPaths(self.prefix).mac_of(bridge) or ""

    def seen(self, target: str, kind: str, *, within: str | None) -> str:
        """What a target answers to who speaks in the client's name, in the namespace of `within` or of this machine."""
        enter = ["ip", "netns", "exec", self.name(within)] if within is not None else []
        done = subprocess.run(
            [*enter, sys.executable, "-c", IN_NAME_OF, self.client, target, kind],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout.strip() or done.stderr.strip().rpartition("\n")[2]

    def remove(self) -> None:
        self.let_through("-D")
        for echo in self.echoes:
            echo.kill()
            echo.wait()
        for address in (self.client, self.node, self.near, self.far):
            subprocess.run(["ip", "netns", "delete", self.name(address)], capture_output=True, check=False)
        for bridge in self.bridges:
            subprocess.run(["ip", "link", "delete", bridge], capture_output=True, check=False)


def run(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def vpc() -> Iterator[Vpc]:
    if os.geteuid() != 0 or not all(shutil.which(one) for one in ("ip", "iptables", "nft", "nsenter")):
        pytest.skip("needs root, iproute2, iptables, nftables and util-linux")
    made = Vpc()
    try:
        try:
            made.make()
        except subprocess.CalledProcessError as error:
            pytest.skip(f"networks cannot be made here: {error.stderr}")
        yield made
    finally:
        made.remove()


@pytest.mark.docker
async def test_answers_come_back_to_who_spoke_in_the_clients_name(vpc: Vpc) -> None:
    paths = LinuxReturnPaths(vpc.prefix)
    await paths.probe()
    assert paths.streams
    assert paths.datagrams
    assert vpc.seen(vpc.near, "tcp", within=vpc.node) != vpc.client, "the target answers the client"
    try:
        for _ in range(2):  # all of it may be done again
            await paths.open_node(vpc.path(vpc.node), vpc.node, {vpc.bridges[1]: f"{vpc.subnets[1]}.0/24"})
            await paths.open_machine()
            for target, bridge in zip((vpc.near, vpc.far), vpc.bridges, strict=True):
                near = target == vpc.near
                mac = run("ip", "netns", "exec", vpc.name(vpc.node), "cat", "/sys/class/net/eth0/address").strip()
                stream = Way(mac if near else foot_mac(vpc.node), "tcp", vpc.node, known=near)
                datagram = Way(vpc.mac_of_machine(bridge), "udp", f"{target.rpartition('.')[0]}.1")
                await paths.open_target(vpc.path(target), [stream])
                await paths.open_target(vpc.path(target), [datagram])
        for target in (vpc.near, vpc.far):
            assert vpc.seen(target, "tcp", within=vpc.node) == vpc.client
            assert vpc.seen(target, "udp", within=None) == vpc.client
            assert vpc.seen(target, "tcp", within=vpc.client) == vpc.client, "the client itself is answered as ever"
            assert vpc.seen(target, "udp", within=vpc.client) == vpc.client
        outsides = [name for _, name in socket.if_nameindex() if name.startswith(feet_prefix(vpc.prefix))]
        assert len(outsides) == 1
        await paths.keep_nodes([vpc.path(vpc.node)])
        assert vpc.seen(vpc.far, "tcp", within=vpc.node) == vpc.client
    finally:
        await paths.close()
    assert not [name for _, name in socket.if_nameindex() if name.startswith(feet_prefix(vpc.prefix))]
    assert f"moorage_{vpc.prefix}" not in run("nft", "list", "tables")
    assert not [
        line for line in run("ip", "rule").splitlines() if line.startswith("70:") and f"0x{paths.mark:x}" in line
    ]
    await paths.close()


@pytest.mark.docker
async def test_a_namespace_that_is_gone(vpc: Vpc) -> None:
    paths = LinuxReturnPaths(vpc.prefix)
    with pytest.raises(ReturnPathsUnavailable):
        await paths.open_target("/run/netns/mrtnone", [NEAR])
    with pytest.raises(ReturnPathsUnavailable):
        await paths.open_node("/run/netns/mrtnone", vpc.node, {})
