"""Rules as text, and in a real network namespace."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from moorage.domain.network import Ingress
from moorage.network.firewall import FirewallUnavailable
from moorage.network.nftables import NfTables, ruleset

ANY = ("0.0.0.0/0",)


@pytest.mark.parametrize(
    ("rule", "line"),
    [
        (Ingress("tcp", 80, 80, ANY), "tcp dport 80 accept"),
        (Ingress("tcp", 0, 65535, ("10.0.0.0/8",)), "ip saddr { 10.0.0.0/8 } tcp dport 0-65535 accept"),
        (Ingress("any", 0, 65535, ("10.0.0.4/32", "10.0.0.9/32")), "ip saddr { 10.0.0.4/32, 10.0.0.9/32 } accept"),
        (Ingress("icmp", 0, 65535, ANY), "meta l4proto icmp accept"),
        (Ingress("any", 0, 65535, ANY), "meta nfproto ipv4 accept"),
    ],
)
def test_lines(rule: Ingress, line: str) -> None:
    assert f"    {line}\n" in ruleset([rule])


@pytest.fixture
def namespace() -> Iterator[str]:
    if os.geteuid() != 0 or not all(shutil.which(one) for one in ("ip", "nft", "nsenter")):
        pytest.skip("needs root, iproute2, nftables and util-linux")
    name = f"mrgtest{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode != 0:
        pytest.skip("network namespaces cannot be made here")
    yield f"/run/netns/{name}"
    with contextlib.suppress(subprocess.CalledProcessError):
        subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=True)


async def test_rules_replace_each_other(namespace: str) -> None:
    firewall = NfTables()
    await firewall.apply(namespace, [Ingress("tcp", 80, 90, ("10.0.0.0/8",)), Ingress("icmp", 0, 65535, ANY)])
    await firewall.apply(namespace, [Ingress("udp", 53, 53, ANY)])
    listed = subprocess.run(
        ["nsenter", f"--net={namespace}", "nft", "list", "ruleset"], capture_output=True, text=True, check=True
    ).stdout
    assert "udp dport 53 accept" in listed
    assert "tcp dport" not in listed
    assert "policy drop" in listed


async def test_connections_that_lead_nowhere_are_reset(namespace: str) -> None:
    everybody = [Ingress("any", 0, 65535, ANY)]
    await NfTables().apply(namespace, everybody, [9000, 80])
    connect = "import socket; socket.create_connection(('127.0.0.1', 9000), timeout=2)"
    listen = (
        f"import socket, subprocess, sys; s = socket.create_server(('127.0.0.1', 9000)); {connect.partition('; ')[2]}"
    )
    inside = ["nsenter", f"--net={namespace}"]
    subprocess.run([*inside, "ip", "link", "set", "lo", "up"], check=True)
    done = subprocess.run([*inside, sys.executable, "-c", listen], capture_output=True, text=True, check=False)
    assert "ConnectionRefusedError" in done.stderr
    await NfTables().apply(namespace, everybody)
    subprocess.run([*inside, sys.executable, "-c", listen], check=True)


async def test_a_namespace_that_is_gone(namespace: str) -> None:
    with pytest.raises(FirewallUnavailable):
        await NfTables().apply(str(Path(namespace).with_name("mrgnone")), [])
