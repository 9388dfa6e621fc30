"""What RegisterTaskDefinition refuses, rule by rule, in the order in which AWS reports it (ecs-task-definitions §4).

Each rule is a function from the document to a message or None; the first message wins. The document has its defaults
filled in already (`normalise.py`). Families, sizes, networks and ports are here; the rest has files of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import NoReturn

import msgspec

from moorage.decide.placement import constraints
from moorage.domain.errors import AwsError
from moorage.domain.task_definition import ContainerDefinition, Document, PortMapping
from moorage.services.ecs import normalise, validate_fargate
from moorage.services.ecs import validate_container as container
from moorage.services.ecs import validate_volumes as rest

_FAMILY = re.compile(r"[A-Za-z0-9_-]{1,255}")
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/.+|[\w+=,.@-]{1,64}")
_PORT_NAME = re.compile(r"[a-z0-9_][a-z0-9_-]{0,63}")
# MiB: Docker makes no smaller container.
LEAST_CONTAINER_MEMORY = 6
# Of a task on an instance.
LEAST_CPU, MOST_CPU, LEAST_MEMORY = 128, 196608, 4
MOST_BYTES = 65536
MOST_CONSTRAINTS = 10
MOST_RANGES = 100

Rule = Callable[[Document], str | None]


def refuse(message: str) -> NoReturn:
    raise AwsError("ClientException", message)


def validate(document: Document, account: str) -> None:
    """Raises ClientException with AWS's sentence for the first broken rule. `account`: the caller's."""
    rules: tuple[Rule, ...] = (*RULES, partial(container.foreign_parameters, account=account))
    if "FARGATE" in (document.requires_compatibilities or ()):
        rules += validate_fargate.RULES
    for rule in rules:
        message = rule(document)
        if message is not None:
            refuse(message)


# --- every launch type -----------------------------------------------------------------------------------------------
def _family(d: Document) -> str | None:
    if not d.family:
        return "Family should not be null or empty."
    return None if _FAMILY.fullmatch(d.family) else "Family contains invalid characters."


def _containers(d: Document) -> str | None:
    if not d.container_definitions:
        return "Container list cannot be empty."
    for c in d.container_definitions:
        if not c.name:
            return "Container.name should not be null or empty."
        if not _FAMILY.fullmatch(c.name):
            return f"Container name '{c.name}' contains invalid characters."
        if not c.image:
            return "Container.image should not be null or empty."
    names = [c.name for c in d.container_definitions]
    return "Container names must be unique within a task definition" if len(set(names)) < len(names) else None


def _essential(d: Document) -> str | None:
    if any(c.is_essential for c in d.container_definitions):
        return None
    return "Task definition doesn't have any essential container"


def memory(d: Document) -> str | None:
    task = int(d.memory) if d.memory else None
    for c in d.container_definitions:
        if task is None and c.memory is None and not c.memory_reservation:
            return (
                f"Invalid setting for container '{c.name}'. At least one of 'memory' or 'memoryReservation' must be "
                "specified."
            )
        if c.memory is not None and task is not None and c.memory > task:
            return f"The 'memory' setting for container '{c.name}' is greater than for the task"
        if c.memory is not None and c.memory_reservation is not None and c.memory < c.memory_reservation:
            return (
                f"Invalid setting for container '{c.name}'. 'memory' must be greater than or equal to "
                "'memoryReservation'"
            )
        if c.memory is not None and c.memory < LEAST_CONTAINER_MEMORY:
            return f"Invalid 'memory' setting for container '{c.name}'"
        if c.memory_reservation and c.memory_reservation < LEAST_CONTAINER_MEMORY:
            return f"Invalid 'memoryReservation' setting for container '{c.name}'"
    if task is not None and sum(c.memory_reservation or 0 for c in d.container_definitions) > task:
        return (
            "The sum of all container 'memoryReservation' values cannot be greater than the value of the task 'memory'."
        )
    return None


def size(d: Document) -> str | None:
    """What a task may ask of an instance; Fargate has its table."""
    if "FARGATE" in (d.requires_compatibilities or ()):
        return None
    if d.cpu and not LEAST_CPU <= int(d.cpu) <= MOST_CPU:
        return normalise.invalid_size("cpu")
    if d.memory and int(d.memory) < LEAST_MEMORY:
        return normalise.invalid_size("memory")
    return None


def cpu(d: Document) -> str | None:
    for c in d.container_definitions:
        if (c.cpu or 0) < 0:
            return f"Invalid 'cpu' setting for container '{c.name}'"
    if d.cpu and sum(c.cpu or 0 for c in d.container_definitions) > int(d.cpu):
        return "The sum of all container 'cpu' values cannot be greater than the value of the task 'cpu'."
    return None


def _length(d: Document) -> str | None:
    """The document as JSON."""
    length = len(msgspec.json.encode(d))
    if length > MOST_BYTES:
        return f"Actual length: '{length}'. Max allowed length is '{MOST_BYTES}' bytes."
    return None


def _placement(d: Document) -> str | None:
    """Constraints are read when they are registered, so that placing a task never meets one that cannot be read."""
    if "FARGATE" in (d.requires_compatibilities or ()):
        return None  # refused there as a whole
    if len(d.placement_constraints) > MOST_CONSTRAINTS:
        return f"Maximum number of constraints is {MOST_CONSTRAINTS}"
    if any(one.get("type") != "memberOf" for one in d.placement_constraints):
        return "Task definitions support only placement constraints of type memberOf."
    try:
        constraints.read(d.placement_constraints)
    except ValueError as error:
        return f"Invalid placement constraint: {error}"
    return None


def _roles(d: Document) -> str | None:
    """By ARN, or by name as the CLI's own examples have it."""
    roles = (d.task_role_arn, d.execution_role_arn)
    return "Role is not valid" if any(role and not _ROLE.fullmatch(role) for role in roles) else None


def _network(d: Document) -> str | None:
    mode = d.network_mode
    if mode == "awsvpc" and "EXTERNAL" in (d.requires_compatibilities or ()):
        return "The launch type EXTERNAL does not support networkMode=awsvpc."
    if mode not in (None, "bridge", "host", "awsvpc", "none"):
        return f"Invalid network mode '{mode}'."
    for c in d.container_definitions:
        if c.links and mode in ("awsvpc", "host", "none"):
            return f"Links are not supported when networkMode={mode}."
        if mode == "awsvpc":
            for given, message in (
                (c.hostname, "hostname is not supported on container when networkMode=awsvpc"),
                (c.extra_hosts, "Extra hosts are not supported on container when networkMode=awsvpc"),
                (c.dns_servers, "DNS servers are not supported on container when networkMode=awsvpc"),
                (c.dns_search_domains, "DNS search domains are not supported on container when networkMode=awsvpc"),
                (c.disable_networking, "Disable Networking is not supported on container when networkMode=awsvpc"),
            ):
                if given:
                    return message
        if mode == "host" and any(str(s.get("namespace")).startswith("net.") for s in c.system_controls or ()):
            return "System controls of the namespace net.* are not supported when networkMode=host."
        if mode == "none" and c.port_mappings:
            return "Port mappings are not supported when networkMode=none"
    return None


def _namespaces(d: Document) -> str | None:
    if d.pid_mode not in (None, "host", "task"):
        return f"Invalid pidMode '{d.pid_mode}'. Must be one of [host, task]"
    if d.ipc_mode not in (None, "host", "task", "none"):
        return f"Invalid ipcMode '{d.ipc_mode}'. Must be one of [host, task, none]"
    ipc = ("kernel.msg", "kernel.sem", "kernel.shm", "fs.mqueue.")
    for c in d.container_definitions:
        for control in c.system_controls or ():
            if d.ipc_mode in ("host", "task") and str(control.get("namespace")).startswith(ipc):
                return f"System controls of IPC namespaces are not supported when ipcMode={d.ipc_mode}."
    return None


def _ports(d: Document) -> str | None:
    seen: set[tuple[int, str]] = set()
    names: set[str] = set()
    for c, mapping in _mappings(d):
        port, host = mapping.container_port, mapping.host_port
        if port is None and mapping.container_port_range is None:
            return f"Invalid 'containerPort' setting for container '{c.name}'"
        if port is not None and mapping.container_port_range is not None:
            return "cannot specify both single port and port range"
        if mapping.container_port_range is not None and not _range_is_valid(mapping.container_port_range):
            return "Invalid 'containerPortRange' setting"
        if mapping.container_port_range is not None and (d.network_mode in ("host", "none") or host is not None):
            return "'containerPortRange' requires networkMode bridge or awsvpc and no 'hostPort'"
        if mapping.name is not None and not _PORT_NAME.fullmatch(mapping.name):
            return f"Invalid port mapping name '{mapping.name}'"
        for number in (port, host):
            if number is not None and not 0 <= number <= 65535:
                return f"Invalid port '{number}': it must be between 0 and 65535."
        if d.network_mode in ("awsvpc", "host") and host not in (None, port):
            return f"When networkMode={d.network_mode}, the host ports and container ports in port mappings must match."
        if d.network_mode == "awsvpc":
            protocol = mapping.protocol or "tcp"
            if port is not None and (port, protocol) in seen:
                return (
                    f"{protocol.upper()} container port '{port}' is used multiple times in task when "
                    "networkMode=awsvpc."
                )
            if port is not None:
                seen.add((port, protocol))
            if mapping.name is not None and mapping.name in names:
                return "When networkMode=awsvpc, port mapping name is already used"
            if mapping.name is not None:
                names.add(mapping.name)
    return None


def _ranges(d: Document) -> str | None:
    for c in d.container_definitions:
        found: dict[str, list[tuple[int, int]]] = {}
        for mapping in c.port_mappings or ():
            text = mapping.container_port_range or (str(mapping.container_port) if mapping.container_port else None)
            if text is not None:
                first, _, last = text.partition("-")
                found.setdefault(mapping.protocol or "tcp", []).append((int(first), int(last or first)))
        if sum(1 for m in c.port_mappings or () if m.container_port_range) > MOST_RANGES:
            return f"A container can have at most {MOST_RANGES} port ranges."
        for runs in found.values():
            for before, after in pairwise(sorted(runs)):
                # One container port may be published on two host ports; ranges may not overlap anything.
                if before[1] >= after[0] and (before[0] < before[1] or after[0] < after[1]):
                    return "Invalid 'containerPortRange' setting: port ranges of a container must not overlap"
    return None


def _mappings(d: Document) -> Iterator[tuple[ContainerDefinition, PortMapping]]:
    for c in d.container_definitions:
        for mapping in c.port_mappings or ():
            yield c, mapping


def _range_is_valid(text: str) -> bool:
    first, separator, last = text.partition("-")
    digits = re.fullmatch(r"[0-9]{1,5}-[0-9]{1,5}", text) is not None
    return digits and bool(separator) and 1 <= int(first) <= int(last) <= 65535


RULES: tuple[Rule, ...] = (
    _family,
    _containers,
    container.images,
    _essential,
    memory,
    cpu,
    size,
    validate_fargate.storage,
    _roles,
    _placement,
    _network,
    _namespaces,
    _ports,
    _ranges,
    container.references,
    container.dependencies,
    container.health_checks,
    container.restart_policies,
    container.timeouts,
    container.secrets,
    container.linux,
    rest.volumes,
    rest.logs,
    rest.unsupported,
    _length,
)
