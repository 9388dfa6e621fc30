"""From a task and its definition to what the engine is asked for: pure translation, no decisions about when.

Source: semantics ecs-tasks §10 (overrides), §15 (limits), §16 (network modes), §17 (environment), §21.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from moorage.control.ports import ContainerLog
from moorage.decide.ipam import private_dns_name
from moorage.domain.network import Subnet
from moorage.domain.scope import Scope
from moorage.domain.task import NetworkBinding, Task
from moorage.domain.task_definition import ContainerDefinition, Document, Volume
from moorage.engine.driver import (
    EVERYWHERE,
    LABEL_CLUSTER,
    LABEL_CONTAINER,
    LABEL_FAMILY,
    LABEL_REVISION,
    LABEL_TASK,
    ContainerSpec,
    HealthCheckSpec,
    Mount,
    PortBinding,
    Sandbox,
    SandboxSpec,
    SubnetNetwork,
    Tmpfs,
    Ulimit,
)

# AWS's defaults for a health check that names only its command (ecs-tasks §7).
CHECK_INTERVAL, CHECK_TIMEOUT, CHECK_RETRIES = 30, 5, 3


def family_and_revision(task_definition_arn: str) -> tuple[str, str]:
    family, _, revision = task_definition_arn.rsplit("/", 1)[-1].rpartition(":")
    return family, revision


def labels(task: Task, container: str | None = None) -> dict[str, str]:
    """The labels that the ECS agent puts on containers; the control plane finds its own by them after a restart."""
    family, revision = family_and_revision(task.task_definition_arn)
    found = {
        LABEL_TASK: task.arn,
        LABEL_FAMILY: family,
        LABEL_REVISION: revision,
        LABEL_CLUSTER: task.cluster_arn.rsplit("/", 1)[-1],
    }
    return found if container is None else found | {LABEL_CONTAINER: container}


def network_of(subnet: Subnet) -> SubnetNetwork:
    return SubnetNetwork(
        name=f"{subnet.account}-{subnet.region}-{subnet.subnet_id}", cidr=subnet.range, subnet_id=subnet.subnet_id
    )


def sandbox_spec(task: Task, document: Document, subnet: Subnet | None) -> SandboxSpec:
    mode = document.network_mode or "bridge"
    if mode == "awsvpc":
        assert task.interface is not None
        assert task.interface.ipv4 is not None
        assert subnet is not None
        return SandboxSpec(
            task_arn=task.arn,
            mode="awsvpc",
            labels=labels(task),
            network=network_of(subnet),
            ipv4=task.interface.ipv4,
            mac=task.interface.mac,
            hostname=private_dns_name(task.interface.ipv4, task.region),
            sysctls=_network_controls(document),
        )
    published_on = task.instance.address if task.instance is not None else EVERYWHERE
    ports = tuple(
        PortBinding(mapping.container_port, mapping.host_port or 0, mapping.protocol or "tcp", published_on)
        for definition in document.container_definitions
        for mapping in definition.port_mappings or ()
        if mapping.container_port is not None
    )
    return SandboxSpec(
        task_arn=task.arn,
        mode="host" if mode == "host" else "none" if mode == "none" else "bridge",
        labels=labels(task),
        ports=ports if mode == "bridge" else (),
        sysctls=_network_controls(document) if mode == "bridge" else {},
    )


def with_bindings(task: Task, document: Document, sandbox: Sandbox) -> Task:
    """The task with the network bindings of its containers (ecs-tasks §16): what the sandbox got in bridge mode; the
    container ports themselves in host mode, where processes listen on every address of the machine."""
    published = {
        (p.container_port, p.protocol): NetworkBinding(p.host_ip, *_ports(p), p.protocol) for p in sandbox.ports
    }

    def bindings(name: str) -> tuple[NetworkBinding, ...]:
        definition = document.container(name)
        found = []
        for mapping in (definition.port_mappings or ()) if definition is not None else ():
            port, protocol = mapping.container_port, mapping.protocol or "tcp"
            if port is None:
                continue
            if document.network_mode == "host":
                found.append(NetworkBinding(EVERYWHERE, port, port, protocol))
            elif (port, protocol) in published:
                found.append(published[(port, protocol)])
        return tuple(found)

    return replace(task, containers=tuple(replace(c, bindings=bindings(c.name)) for c in task.containers))


def _ports(binding: PortBinding) -> tuple[int, int]:
    return binding.container_port, binding.host_port


def container_override(task: Task, name: str) -> dict[str, Any]:
    overrides = (task.overrides or {}).get("containerOverrides") or []
    return next((o for o in overrides if o.get("name") == name), {})


def container_spec(
    task: Task, document: Document, definition: ContainerDefinition, image: str, secrets: dict[str, str]
) -> ContainerSpec:
    name = definition.name or ""
    override = container_override(task, name)
    family, revision = family_and_revision(task.task_definition_arn)
    parameters = definition.linux_parameters or {}
    capabilities = parameters.get("capabilities") or {}
    memory = override.get("memory", definition.memory)
    reservation = override.get("memoryReservation", definition.memory_reservation)
    task_memory = int(task.memory) if task.memory else None
    cpu = override.get("cpu", definition.cpu) or 0
    max_swap = parameters.get("maxSwap")
    hard_memory = memory if memory is not None else task_memory
    return ContainerSpec(
        name=name,
        docker_name=f"ecs-{family}-{revision}-{name}-{task.id}",
        task_arn=task.arn,
        image=image,
        labels=dict(definition.docker_labels or {}) | labels(task, name),
        command=_words(override.get("command", definition.command)),
        entry_point=_words(definition.entry_point),
        environment=_environment(task, definition, override) | secrets,
        user=definition.user,
        working_directory=definition.working_directory,
        # Docker's smallest share; AWS turns 0 and 1 into it as well (ecs-tasks §15).
        cpu_shares=max(2, int(cpu)),
        cpus=int(task.cpu) / 1024 if task.cpu else None,
        memory=hard_memory,
        memory_reservation=reservation if reservation != hard_memory else None,
        memory_swap=hard_memory + max_swap if max_swap is not None and hard_memory is not None else hard_memory,
        swappiness=parameters.get("swappiness") if max_swap is not None else None,
        health_check=_health_check(definition),
        mounts=_mounts(document, definition, task),
        volumes_from=tuple(
            f"ecs-{family}-{revision}-{v.source_container}-{task.id}" + (":ro" if v.read_only else "")
            for v in definition.volumes_from or ()
        ),
        tmpfs=tuple(
            Tmpfs(t["containerPath"], int(t["size"]), tuple(t.get("mountOptions") or ()))
            for t in parameters.get("tmpfs") or ()
        ),
        # Fargate's default of 65,535 open files is not asked for: engines without CAP_SYS_RESOURCE refuse to start with it.
        ulimits=tuple(Ulimit(u.name, u.soft_limit, u.hard_limit) for u in definition.ulimits or ()),
        capabilities_add=tuple(capabilities.get("add") or ()),
        capabilities_drop=tuple(capabilities.get("drop") or ()),
        devices=tuple(
            (
                d["hostPath"],
                d.get("containerPath") or d["hostPath"],
                "".join(p[0] for p in d.get("permissions") or ("read", "write", "mknod")),
            )
            for d in parameters.get("devices") or ()
        ),
        privileged=bool(definition.privileged),
        readonly_root_filesystem=bool(definition.readonly_root_filesystem),
        init=bool(parameters.get("initProcessEnabled")),
        shared_memory_mib=parameters.get("sharedMemorySize"),
        interactive=bool(definition.interactive),
        pseudo_terminal=bool(definition.pseudo_terminal),
        system_controls={
            c["namespace"]: c["value"]
            for c in definition.system_controls or ()
            # Network controls belong to the namespace that all containers share; Docker refuses them here.
            if c.get("namespace") and c.get("value") is not None and not c["namespace"].startswith("net.")
        },
    )


def container_log(task: Task, definition: ContainerDefinition, container_id: str) -> ContainerLog | None:
    """None when the container's output does not go to CloudWatch Logs."""
    configuration = definition.log_configuration
    if configuration is None or configuration.log_driver != "awslogs":
        return None
    options = configuration.options or {}
    region = options.get("awslogs-region") or task.region
    return ContainerLog(
        scope=Scope(task.account, region),
        container_id=container_id,
        container_name=definition.name or "",
        task_id=task.id,
        group=options.get("awslogs-group", ""),
        region=region,
        prefix=options.get("awslogs-stream-prefix"),
        create_group=options.get("awslogs-create-group", "").lower() == "true",
    )


def _words(words: Any) -> tuple[str, ...] | None:
    """An empty list means the same as none: the image decides."""
    return tuple(words) if words else None


def _environment(task: Task, definition: ContainerDefinition, override: dict[str, Any]) -> dict[str, str]:
    """Low to high: what the platform sets, the definition, the override (ecs-tasks §10)."""
    found = {
        "AWS_EXECUTION_ENV": "AWS_ECS_FARGATE" if task.launch_type == "FARGATE" else "AWS_ECS_EC2",
        "AWS_REGION": task.region,
        "AWS_DEFAULT_REGION": task.region,
    }
    found |= {pair.name: pair.value or "" for pair in definition.environment or () if pair.name}
    found |= {pair["name"]: pair.get("value") or "" for pair in override.get("environment") or () if pair.get("name")}
    return found


def _health_check(definition: ContainerDefinition) -> HealthCheckSpec | None:
    check = definition.health_check
    if check is None or check.command[:1] == ("NONE",):
        return None
    return HealthCheckSpec(
        command=check.command,
        interval=check.interval or CHECK_INTERVAL,
        timeout=check.timeout or CHECK_TIMEOUT,
        retries=check.retries or CHECK_RETRIES,
        start_period=check.start_period or 0,
    )


def _volume_name(task: Task, volume: Volume) -> str:
    """A volume without a path on the host is shared by the containers of one task and lives as long as it."""
    return f"moorage-{task.id}-{volume.name}"


def task_volumes(task: Task, document: Document) -> tuple[str, ...]:
    """The engine's names of the volumes that end with the task."""
    mounted = {point.source_volume for c in document.container_definitions for point in c.mount_points or ()}
    return tuple(
        _volume_name(task, volume)
        for volume in document.volumes
        if volume.name in mounted and not (volume.host or {}).get("sourcePath")
    )


def _network_controls(document: Document) -> dict[str, str]:
    """net.* settings belong to the namespace that all containers share: the last container to name one wins."""
    return {
        str(control["namespace"]): str(control["value"])
        for container in document.container_definitions
        for control in container.system_controls or ()
        if str(control.get("namespace") or "").startswith("net.") and control.get("value") is not None
    }


def _mounts(document: Document, definition: ContainerDefinition, task: Task) -> tuple[Mount, ...]:
    volumes = {v.name: v for v in document.volumes}
    mounts = []
    for point in definition.mount_points or ():
        volume = volumes.get(point.source_volume)
        if volume is None or not point.container_path:
            continue
        source = (volume.host or {}).get("sourcePath") or _volume_name(task, volume)
        mounts.append(Mount(point.container_path, source, bool(point.read_only)))
    return tuple(mounts)
