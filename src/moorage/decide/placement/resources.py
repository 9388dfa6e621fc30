"""What a task reserves on a container instance and what is left (semantics ecs-tasks §15, §16).

Reserved is what the task definition says, never what the task really uses.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from moorage.domain.container_instance import Resources
from moorage.domain.task_definition import Document


class Demand(msgspec.Struct, frozen=True):
    """`cpu`: 1024 per vCPU. `memory`: MiB. `ports`, `ports_udp`: fixed host ports (dynamic ones are not reserved).
    `gpus`: of all containers together."""

    cpu: int = 0
    memory: int = 0
    ports: frozenset[int] = frozenset()
    ports_udp: frozenset[int] = frozenset()
    gpus: int = 0


def demand_of(document: Document, overrides: dict[str, Any] | None = None) -> Demand:
    """The task's own cpu and memory when it has them, else the sum over its containers; of a container the
    memoryReservation when it has one, else its memory. Overrides go before.

    task memory 512, containers 300 + 300 → 512.   No task memory, containers {memory 300, reservation 100} + {memory
    200} → 300.   bridge, host ports 80 and 0 → port 80; the dynamic one reserves nothing."""
    given = overrides or {}
    by_name = {o.get("name"): o for o in given.get("containerOverrides") or ()}
    cpu, memory, gpus = 0, 0, 0
    for container in document.container_definitions:
        override = by_name.get(container.name, {})
        cpu += _first(override.get("cpu"), container.cpu)
        # A reservation, wherever it is given, counts before the limit.
        reservation = _first(override.get("memoryReservation"), container.memory_reservation)
        for requirement in override.get("resourceRequirements") or container.resource_requirements or ():
            gpus += int(requirement.get("value") or 0) if requirement.get("type") == "GPU" else 0
        memory += reservation or _first(override.get("memory"), container.memory)
    return Demand(
        cpu=int(given.get("cpu") or document.cpu or cpu),
        memory=int(given.get("memory") or document.memory or memory),
        ports=_host_ports(document, udp=False),
        ports_udp=_host_ports(document, udp=True),
        gpus=gpus,
    )


def remaining(registered: Resources, demands: Iterable[Demand]) -> Resources:
    """What is left; never below zero in the answer of `take`, because nothing is placed that does not fit."""
    for demand in demands:
        registered = take(registered, demand)
    return registered


def take(free: Resources, demand: Demand) -> Resources:
    return Resources(
        cpu=free.cpu - demand.cpu,
        memory=free.memory - demand.memory,
        ports=free.ports | demand.ports,
        ports_udp=free.ports_udp | demand.ports_udp,
    )


def _host_ports(document: Document, *, udp: bool) -> frozenset[int]:
    """A port of the instance is only taken in the modes bridge and host; a task with its own interface takes none."""
    mode = document.network_mode or "bridge"
    if mode not in ("bridge", "host"):
        return frozenset()
    found = set()
    for container in document.container_definitions:
        for mapping in container.port_mappings or ():
            port = mapping.host_port or (mapping.container_port if mode == "host" else None)
            if port and (mapping.protocol == "udp") is udp:
                found.add(port)
    return frozenset(found)


def _first(*values: int | None) -> int:
    return next((value for value in values if value is not None), 0)
