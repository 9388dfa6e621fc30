"""Hosts and wishes for placement: a test shows only what matters to it."""

from __future__ import annotations

from typing import Any

from moorage.decide.placement import constraints
from moorage.decide.placement.filters import Wish
from moorage.decide.placement.hosts import Host
from moorage.decide.placement.resources import Demand
from moorage.domain.container_instance import ContainerInstance, Resources

BASE = "arn:aws:ecs:us-east-1:111111111111:"
NOW = 1_700_000_000.0


def a_host(
    name: str = "i1",
    *,
    cpu: int = 1024,
    memory: int = 1024,
    zone: str = "a",
    ports: frozenset[int] = frozenset(),
    udp: frozenset[int] = frozenset(),
    groups: dict[str, int] | None = None,
    attributes: dict[str, str | None] | None = None,
    **more: Any,
) -> Host:
    """ACTIVE, connected, empty, in zone us-east-1a. `cpu`, `memory`: free."""
    fields: dict[str, Any] = {
        "arn": f"{BASE}container-instance/main/{name}",
        "account": "111111111111",
        "region": "us-east-1",
        "cluster_arn": f"{BASE}cluster/main",
        "ec2_instance_id": f"i-{name}",
        "address": "127.0.64.1",
        "registered": Resources(cpu, memory),
        "attributes": {"ecs.availability-zone": f"us-east-1{zone}", **(attributes or {})},
        "registered_at": NOW,
    }
    return Host(ContainerInstance(**(fields | more)), Resources(cpu, memory, ports, udp), groups or {})


def a_wish(group: str = "service:web", *, memory: int = 100, cpu: int = 100, **more: Any) -> Wish:
    ports, udp = more.pop("ports", frozenset()), more.pop("udp", frozenset())
    read = constraints.read(more.pop("constraints", ()))
    return Wish(group, Demand(cpu, memory, frozenset(ports), frozenset(udp)), constraints=read, **more)


def member_of(expression: str) -> list[dict[str, str]]:
    return [{"type": "memberOf", "expression": expression}]


DISTINCT = [{"type": "distinctInstance"}]
