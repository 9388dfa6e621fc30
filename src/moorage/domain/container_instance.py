"""Container instances: the machines of the EC2 launch type. Source: semantics ecs-tasks §15, ecs-services §7.

On one machine several are carved out of the one Docker host: each has its share of CPU, memory and ports on paper, and a
loopback address of its own on which the ports of its bridge tasks are published, so that port 80 of one is not port 80
of another.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

# What the ECS agent and Docker keep for themselves: ssh, Docker (plain, TLS), the agent's own doors (§15).
AGENT_PORTS = ("22", "2375", "2376", "51678", "51679", "51680")


class Resources(msgspec.Struct, frozen=True):
    """`cpu`: 1024 per vCPU. `memory`: MiB. `ports`, `ports_udp`: host ports that are taken."""

    cpu: int
    memory: int
    ports: frozenset[int] = frozenset()
    ports_udp: frozenset[int] = frozenset()


class ContainerInstance(msgspec.Struct, frozen=True):
    """`address`: where this machine reaches the ports published by its tasks. `registered`: all that there is to give,
    its `ports` being those that no task may have. `attributes`: a value may be absent. `changes`: API `version`.
    `group_arn`: the Auto Scaling group it came with; `leaves_by`: its machine is gone from the group, and what still
    runs on it must have ended by then. `inactive_at`: when it was deregistered."""

    arn: str
    account: str
    region: str
    cluster_arn: str
    ec2_instance_id: str
    address: str
    registered: Resources
    attributes: Mapping[str, str | None]
    registered_at: float
    status: Literal["ACTIVE", "DRAINING", "INACTIVE"] = "ACTIVE"
    agent_connected: bool = True
    version_info: dict[str, Any] = {}
    changes: int = 1
    tags: Mapping[str, str] = {}
    capacity_provider: str | None = None
    group_arn: str | None = None
    leaves_by: float | None = None
    inactive_at: float | None = None

    @property
    def id(self) -> str:
        return self.arn.rsplit("/", 1)[-1]

    @property
    def availability_zone(self) -> str:
        return self.attributes.get("ecs.availability-zone") or f"{self.region}a"
