"""ContainerSpec and SandboxSpec → what Docker is asked to create. Tables; no Docker."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from moorage.engine.docker.client import ApiError
from moorage.engine.docker.containers import create_body
from moorage.engine.docker.networks import network_body, overlapping, routed_gateway
from moorage.engine.docker.observe import published
from moorage.engine.docker.port_ranges import free_run
from moorage.engine.docker.sandbox import pause_body, start_failure
from moorage.engine.driver import (
    ContainerSpec,
    HealthCheckSpec,
    LogDriver,
    Mount,
    PortBinding,
    SandboxSpec,
    SubnetNetwork,
    Tmpfs,
    Ulimit,
)

MIB = 1024 * 1024
NETWORK = SubnetNetwork("moorage-abc-subnet-1", "10.0.1.0/24", "subnet-1")


def a_container(**changes: Any) -> dict[str, Any]:
    spec = ContainerSpec("app", "ecs-app-1", "arn:task", "image:1", {"own": "label"})
    return create_body(msgspec.structs.replace(spec, **changes), "pause-id", "inst")


def test_the_least_container():
    assert a_container() == {
        "Image": "image:1",
        "Labels": {"own": "label", "io.moorage.installation": "inst", "com.amazonaws.ecs.task-arn": "arn:task"},
        "Env": [],
        "Healthcheck": {"Test": ["NONE"]},
        "Tty": False,
        "OpenStdin": False,
        "HostConfig": {
            "NetworkMode": "container:pause-id",
            "RestartPolicy": {"Name": "no"},
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "16m", "max-file": "2"}},
            "CpuShares": 2,
            "Privileged": False,
            "ReadonlyRootfs": False,
            "Init": False,
        },
    }


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("command", ("a", "b"), {"Cmd": ["a", "b"]}),
        ("command", (), {"Cmd": []}),
        ("entry_point", ("e",), {"Entrypoint": ["e"]}),
        ("environment", {"A": "1", "B": "x=y"}, {"Env": ["A=1", "B=x=y"]}),
        ("user", "1000:1000", {"User": "1000:1000"}),
        ("working_directory", "/srv", {"WorkingDir": "/srv"}),
        ("stop_signal", "SIGQUIT", {"StopSignal": "SIGQUIT"}),
        ("interactive", True, {"OpenStdin": True}),
        ("pseudo_terminal", True, {"Tty": True}),
        (
            "health_check",
            HealthCheckSpec(("CMD-SHELL", "curl -f localhost"), 10, 2.5, 4, 15),
            {
                "Healthcheck": {
                    "Test": ["CMD-SHELL", "curl -f localhost"],
                    "Interval": 10_000_000_000,
                    "Timeout": 2_500_000_000,
                    "Retries": 4,
                    "StartPeriod": 15_000_000_000,
                }
            },
        ),
    ],
)
def test_members_of_the_container(field: str, value: Any, expected: dict[str, Any]):
    assert expected.items() <= a_container(**{field: value}).items()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"cpu_shares": 0}, {"CpuShares": 2}),
        ({"cpu_shares": 10**9}, {"CpuShares": 262144}),
        ({"cpus": 0.25}, {"NanoCpus": 250_000_000}),
        ({"memory": 512}, {"Memory": 512 * MIB, "MemorySwap": 512 * MIB}),
        ({"memory": 4}, {"Memory": 6 * MIB, "MemorySwap": 6 * MIB}),
        ({"memory": 512, "memory_swap": 640}, {"Memory": 512 * MIB, "MemorySwap": 640 * MIB}),
        ({"memory": 512, "memory_swap": -1}, {"MemorySwap": -1}),
        ({"memory_reservation": 128, "swappiness": 10}, {"MemoryReservation": 128 * MIB, "MemorySwappiness": 10}),
        ({"shared_memory_mib": 64}, {"ShmSize": 64 * MIB}),
        ({"mounts": (Mount("/in", "/host"),)}, {"Binds": ["/host:/in"]}),
        ({"mounts": (Mount("/in", "/host", read_only=True),)}, {"Binds": ["/host:/in:ro"]}),
        (
            {"mounts": (Mount("/in", "/ho:st"),)},
            {"Mounts": [{"Type": "bind", "Source": "/ho:st", "Target": "/in", "ReadOnly": False}]},
        ),
        (
            {"mounts": (Mount("/in", "named", read_only=True), Mount("/own"))},
            {
                "Mounts": [
                    {
                        "Type": "volume",
                        "Source": "named",
                        "VolumeOptions": {"Labels": {"io.moorage.installation": "inst"}},
                        "Target": "/in",
                        "ReadOnly": True,
                    },
                    {"Type": "volume", "Target": "/own", "ReadOnly": False},
                ]
            },
        ),
        ({"volumes_from": ("other:ro",)}, {"VolumesFrom": ["other:ro"]}),
        ({"tmpfs": (Tmpfs("/t", 8, ("noexec",)),)}, {"Tmpfs": {"/t": "noexec,size=8m"}}),
        ({"ulimits": (Ulimit("nofile", 1, 2),)}, {"Ulimits": [{"Name": "nofile", "Soft": 1, "Hard": 2}]}),
        (
            {"capabilities_add": ("SYS_PTRACE",), "capabilities_drop": ("ALL",)},
            {"CapAdd": ["SYS_PTRACE"], "CapDrop": ["ALL"]},
        ),
        (
            {"devices": (("/dev/a", "/dev/b", "rw"),)},
            {"Devices": [{"PathOnHost": "/dev/a", "PathInContainer": "/dev/b", "CgroupPermissions": "rw"}]},
        ),
        ({"privileged": True}, {"Privileged": True}),
        (
            {"pid_mode": "sandbox", "ipc_mode": "sandbox"},
            {"PidMode": "container:pause-id", "IpcMode": "container:pause-id"},
        ),
        ({"pid_mode": "host", "ipc_mode": "none"}, {"PidMode": "host", "IpcMode": "none"}),
        ({"security_options": ("no-new-privileges",)}, {"SecurityOpt": ["no-new-privileges"]}),
        (
            {"log_driver": LogDriver("syslog", {"tag": "x"})},
            {"LogConfig": {"Type": "syslog", "Config": {"tag": "x"}}},
        ),
        ({"readonly_root_filesystem": True, "init": True}, {"ReadonlyRootfs": True, "Init": True}),
        ({"system_controls": {"kernel.msgmax": "9", "net.core.somaxconn": "1"}}, {"Sysctls": {"kernel.msgmax": "9"}}),
    ],
)
def test_members_of_the_host_configuration(changes: dict[str, Any], expected: dict[str, Any]):
    assert expected.items() <= a_container(**changes)["HostConfig"].items()


def test_network_settings_stay_with_the_sandbox():
    body = a_container(dns_servers=("10.0.0.2",), dns_search=("corp",), extra_hosts=(("db", "10.0.0.9"),))
    assert body == a_container()


def a_pause(api: tuple[int, int] = (1, 41), **changes: Any) -> dict[str, Any]:
    spec = SandboxSpec("arn:task", "awsvpc", {"own": "label"}, NETWORK, "10.0.1.20")
    return pause_body(msgspec.structs.replace(spec, **changes), "inst", api)


def test_the_pause_of_an_awsvpc_task():
    assert a_pause(hostname="ip-10-0-1-20.us-east-1.compute.internal") == {
        "Image": "moorage/pause:1",
        "Entrypoint": ["/pause"],
        "Hostname": "ip-10-0-1-20.us-east-1.compute.internal",
        "MacAddress": "02:42:0a:00:01:14",
        "Labels": {
            "own": "label",
            "io.moorage.installation": "inst",
            "io.moorage.sandbox": "true",
            "com.amazonaws.ecs.task-arn": "arn:task",
        },
        "NetworkingConfig": {"EndpointsConfig": {"moorage-abc-subnet-1": {"IPAMConfig": {"IPv4Address": "10.0.1.20"}}}},
        "HostConfig": {
            "NetworkMode": "moorage-abc-subnet-1",
            "RestartPolicy": {"Name": "no"},
            "LogConfig": {"Type": "none"},
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
        },
    }


def test_newer_engines_take_the_mac_address_at_the_endpoint():
    body = a_pause((1, 44), mac="02:00:00:00:00:01")
    assert "MacAddress" not in body
    assert body["NetworkingConfig"]["EndpointsConfig"]["moorage-abc-subnet-1"]["MacAddress"] == "02:00:00:00:00:01"


def test_the_pause_of_a_task_whose_containers_have_their_own_networks():
    body = a_pause(mode="none", network=None, ipv4=None, shares_ipc=True)
    assert body["HostConfig"]["NetworkMode"] == "none"
    assert body["HostConfig"]["IpcMode"] == "shareable"
    assert "NetworkingConfig" not in body


def test_a_container_with_a_network_of_its_own():
    body = a_container(
        network="bridge",
        hostname="front",
        ports=(PortBinding(80, 8080), PortBinding(80), PortBinding(53, 0, "udp"), PortBinding(90, 9000, size=2)),
        links=(("ecs-db-1", "db"),),
        dns_servers=("10.0.0.2",),
        dns_search=("corp",),
        extra_hosts=(("old", "10.0.0.9"),),
        system_controls={"net.core.somaxconn": "1"},
    )
    assert body["Hostname"] == "front"
    assert body["ExposedPorts"] == {"80/tcp": {}, "53/udp": {}, "90/tcp": {}, "91/tcp": {}}
    expected = {
        "NetworkMode": "bridge",
        "PortBindings": {
            "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}, {"HostIp": "0.0.0.0", "HostPort": ""}],
            "53/udp": [{"HostIp": "0.0.0.0", "HostPort": ""}],
            "90/tcp": [{"HostIp": "0.0.0.0", "HostPort": "9000"}],
            "91/tcp": [{"HostIp": "0.0.0.0", "HostPort": "9001"}],
        },
        "Links": ["ecs-db-1:db"],
        "Dns": ["10.0.0.2"],
        "DnsSearch": ["corp"],
        "ExtraHosts": ["old:10.0.0.9"],
        "Sysctls": {"net.core.somaxconn": "1"},
    }
    assert expected.items() <= body["HostConfig"].items()


def test_published_ports_are_told_one_by_one_in_ipv4():
    ports = {
        "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "32768"}, {"HostIp": "::", "HostPort": "32768"}],
        "53/udp": [{"HostIp": "127.0.0.2", "HostPort": "32769"}],
        "9/tcp": None,
    }
    assert published({"NetworkSettings": {"Ports": ports}}) == (
        PortBinding(80, 32768),
        PortBinding(53, 32769, "udp", "127.0.0.2"),
    )
    assert published({}) == ()


def test_a_run_of_free_ports():
    assert free_run(3, {32769}) == 32770
    assert free_run(2, set(), start=40000) == 40000
    assert free_run(2, set(range(40000, 61000)), start=40000) == 32768
    assert free_run(2, set(range(32768, 61000, 2))) is None


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        ("Address already in use", "the address 10.0.1.20 is already in use in subnet-1 (10.0.1.0/24)"),
        ("no space left on device", "starting the network namespace of the task: Error response from daemon: no space"),
    ],
)
def test_why_a_sandbox_did_not_start(message: str, sentence: str):
    spec = SandboxSpec("arn:task", "awsvpc", {}, NETWORK, "10.0.1.20")
    assert start_failure(spec, ApiError(500, message)).reason().startswith(f"ResourceInitializationError: {sentence}")


def test_the_network_of_a_subnet():
    body = network_body(NETWORK, "0123456789ab")
    assert body["IPAM"]["Config"] == [
        {
            "Subnet": "10.0.1.0/24",
            "Gateway": "10.0.1.1",
            "AuxiliaryAddresses": {"dns": "10.0.1.2", "reserved": "10.0.1.3"},
        }
    ]
    assert body["Labels"] == {"io.moorage.installation": "0123456789ab", "io.moorage.subnet": "subnet-1"}
    [bridge] = body["Options"].values()
    assert bridge.startswith("mrg01234")
    assert len(bridge) == 15


def test_overlapping_networks():
    networks = [
        {"Name": "none", "IPAM": {"Config": []}},
        {"Name": "host", "IPAM": {"Config": None}},
        {"Name": "six", "IPAM": {"Config": [{"Subnet": "fd00::/64"}]}},
        {"Name": "near", "IPAM": {"Config": [{"Subnet": "10.0.2.0/24"}]}},
        {"Name": "wide", "IPAM": {"Config": [{"Subnet": "10.0.0.0/16"}]}},
    ]
    assert overlapping("10.0.1.0/24", networks) == [("wide", "10.0.0.0/16")]


def test_a_range_that_holds_the_machines_own_gateway():
    table = "Iface\tDestination\tGateway\neth0\t00000000\t01001FAC\t0003\neth0\t00001FAC\t00000000\t0001\n"
    assert routed_gateway("172.31.0.0/20", table) == "172.31.0.1"
    assert routed_gateway("172.31.16.0/20", table) is None
