"""The networks of a task and of its containers, as the engine is asked for them: pure translation (ecs-tasks §16).

awsvpc: the sandbox owns the task's interface and every container joins it. bridge, host and none: every container has a
network of its own, with its own ports, links, host name and DNS; the sandbox has none.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from moorage.decide.ipam import private_dns_name
from moorage.domain.network import Subnet
from moorage.domain.task import NetworkBinding, Task
from moorage.domain.task_definition import ContainerDefinition, Document, PortMapping
from moorage.engine.driver import EVERYWHERE, OwnNetwork, PortBinding, SandboxSpec, SubnetNetwork


def network_of(subnet: Subnet) -> SubnetNetwork:
    return SubnetNetwork(
        name=f"{subnet.account}-{subnet.region}-{subnet.subnet_id}", cidr=subnet.range, subnet_id=subnet.subnet_id
    )


def sandbox_spec(task: Task, document: Document, subnet: Subnet | None, labels: dict[str, str]) -> SandboxSpec:
    shares_ipc = document.ipc_mode == "task"
    if document.network_mode != "awsvpc":
        return SandboxSpec(task_arn=task.arn, mode="none", labels=labels, shares_ipc=shares_ipc)
    assert task.interface is not None
    assert task.interface.ipv4 is not None
    assert subnet is not None
    return SandboxSpec(
        task_arn=task.arn,
        mode="awsvpc",
        labels=labels,
        network=network_of(subnet),
        ipv4=task.interface.ipv4,
        mac=task.interface.mac,
        hostname=private_dns_name(task.interface.ipv4, task.region),
        shares_ipc=shares_ipc,
        sysctls=_shared_controls(document),
    )


def _shared_controls(document: Document) -> dict[str, str]:
    """net.* settings belong to the namespace that all containers share: the last container to name one wins."""
    return {
        name: value
        for container in document.container_definitions
        for name, value in system_controls(container).items()
        if name.startswith("net.")
    }


def system_controls(definition: ContainerDefinition) -> dict[str, str]:
    return {
        str(control["namespace"]): str(control["value"])
        for control in definition.system_controls or ()
        if control.get("namespace") and control.get("value") is not None
    }


def own_network(
    task: Task, document: Document, definition: ContainerDefinition, docker_names: dict[str, str]
) -> dict[str, Any]:
    """Members of `ContainerSpec`; empty for a container that joins its task's network. `docker_names`: what the engine
    calls the containers of the task."""
    if document.network_mode == "awsvpc":
        return {}
    mode = "none" if definition.disable_networking else _MODES.get(document.network_mode or "bridge", "bridge")
    found: dict[str, Any] = {
        "network": mode,
        "hostname": definition.hostname,
        "dns_servers": tuple(definition.dns_servers or ()),
        "dns_search": tuple(definition.dns_search_domains or ()),
        "extra_hosts": tuple((str(h["hostname"]), str(h["ipAddress"])) for h in definition.extra_hosts or ()),
    }
    if mode == "bridge":
        published_on = task.instance.address if task.instance is not None else EVERYWHERE
        found["ports"] = tuple(_published(mapping, published_on) for mapping in definition.port_mappings or ())
        links = (link.partition(":") for link in definition.links or ())
        found["links"] = tuple((docker_names.get(name, name), alias or name) for name, _, alias in links)
    return found


_MODES: dict[str, OwnNetwork] = {"bridge": "bridge", "host": "host", "none": "none"}


def _published(mapping: PortMapping, published_on: str) -> PortBinding:
    protocol = mapping.protocol or "tcp"
    if mapping.container_port_range is not None:
        first, last = port_range(mapping.container_port_range)
        return PortBinding(first, 0, protocol, published_on, last - first + 1)
    return PortBinding(mapping.container_port or 0, mapping.host_port or 0, protocol, published_on)


def port_range(text: str) -> tuple[int, int]:
    """ "8000-8010" → (8000, 8010); validated when it was registered."""
    first, _, last = text.partition("-")
    return int(first), int(last)


def bindings_of(
    document: Document, definition: ContainerDefinition, published: tuple[PortBinding, ...]
) -> tuple[NetworkBinding, ...]:
    """The network bindings of a container that runs: what it publishes in bridge mode (one a port, as the engine tells
    them); the container ports themselves in host mode, where processes listen on every address of the machine."""
    if document.network_mode == "awsvpc":
        return ()
    free = list(published)
    found = []
    for mapping in definition.port_mappings or ():
        protocol = mapping.protocol or "tcp"
        if mapping.container_port_range is not None:
            first, last = port_range(mapping.container_port_range)
            mine = sorted(
                (p for p in free if first <= p.container_port <= last and p.protocol == protocol),
                key=lambda p: p.container_port,
            )
            if mine:
                ports = f"{mine[0].host_port}-{mine[-1].host_port}"
                found.append(
                    NetworkBinding(mine[0].host_ip, first, mine[0].host_port, protocol, f"{first}-{last}", ports)
                )
            continue
        port = mapping.container_port
        if port is None:
            continue
        if document.network_mode == "host":
            found.append(NetworkBinding(EVERYWHERE, port, port, protocol))
            continue
        candidates = [p for p in free if (p.container_port, p.protocol) == (port, protocol)]
        chosen = next((p for p in candidates if p.host_port == mapping.host_port), next(iter(candidates), None))
        if chosen is not None:
            free.remove(chosen)
            found.append(NetworkBinding(chosen.host_ip, port, chosen.host_port, protocol))
    return tuple(found)


def with_bindings(task: Task, name: str, bindings: tuple[NetworkBinding, ...]) -> Task:
    """An engine that tells of no ports (the container stopped meanwhile) takes none away."""
    if not bindings:
        return task
    return replace(
        task, containers=tuple(replace(c, bindings=bindings) if c.name == name else c for c in task.containers)
    )
