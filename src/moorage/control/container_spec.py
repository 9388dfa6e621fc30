"""From a task and its definition to what the engine is asked for: pure translation, no decisions about when.

Networks, volumes and output have their own modules (`container_network`, `container_volumes`, `container_output`); this
one puts the container together. Source: semantics ecs-tasks §10 (overrides), §15 (limits), §17 (environment), §21.
"""

from __future__ import annotations

from typing import Any, Literal, cast

from moorage.control.container_network import own_network, system_controls
from moorage.control.container_output import log_driver
from moorage.control.container_volumes import mounts, socket_volume
from moorage.control.task_resources import NOTHING, Resources
from moorage.decide import firelens
from moorage.decide.new_task import override_of
from moorage.domain.task import Task
from moorage.domain.task_definition import ContainerDefinition, Document
from moorage.engine.driver import (
    LABEL_CLUSTER,
    LABEL_CONTAINER,
    LABEL_FAMILY,
    LABEL_REVISION,
    LABEL_TASK,
    ContainerSpec,
    HealthCheckSpec,
    Mount,
    TaskLimits,
    Tmpfs,
    Ulimit,
)

FARGATE_LIMITS = (Ulimit("nofile", 65535, 65535),)
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


def docker_name(task: Task, name: str) -> str:
    family, revision = family_and_revision(task.task_definition_arn)
    return f"ecs-{family}-{revision}-{name}-{task.id}"


def architecture(document: Document) -> str | None:
    """What images must be made for ("amd64", "arm64"); None when the task definition does not say."""
    asked = (document.runtime_platform or {}).get("cpuArchitecture")
    return {"X86_64": "amd64", "ARM64": "arm64"}.get(str(asked))


def container_spec(
    task: Task,
    document: Document,
    definition: ContainerDefinition,
    image: str,
    resources: Resources = NOTHING,
    router_address: str | None = None,
) -> ContainerSpec:
    """`router_address`: of the task's log router, for a container that does not share its network."""
    name = definition.name or ""
    override = override_of(task, name)
    is_router = definition.firelens_configuration is not None
    controls = system_controls(definition)
    parameters = definition.linux_parameters or {}
    capabilities = parameters.get("capabilities") or {}
    memory = override.get("memory", definition.memory)
    reservation = override.get("memoryReservation", definition.memory_reservation)
    # With several containers, the limits of the task are those of all of them together.
    together = len(task.containers) > 1 and bool(task.memory or task.cpu)
    task_memory = int(task.memory) if task.memory else None
    task_cpus = int(task.cpu) / 1024 if task.cpu else None
    cpu = override.get("cpu", definition.cpu) or 0
    max_swap = parameters.get("maxSwap")
    hard_memory = memory if memory is not None or together else task_memory
    return ContainerSpec(
        name=name,
        docker_name=docker_name(task, name),
        task_arn=task.arn,
        image=image,
        labels=dict(definition.docker_labels or {}) | labels(task, name),
        command=_words(override.get("command", definition.command)),
        entry_point=_words(definition.entry_point),
        environment=_environment(task, definition, resources, router_address),
        user=definition.user,
        working_directory=definition.working_directory,
        # Docker's smallest share; AWS turns 0 and 1 into it as well (ecs-tasks §15).
        cpu_shares=max(2, int(cpu)),
        cpus=None if together else task_cpus,
        task_limits=TaskLimits(task_memory, task_cpus) if together else None,
        memory=hard_memory,
        memory_reservation=reservation if reservation != hard_memory else None,
        memory_swap=hard_memory + max_swap if max_swap is not None and hard_memory is not None else hard_memory,
        swappiness=parameters.get("swappiness") if max_swap is not None else None,
        health_check=_health_check(definition),
        mounts=mounts(document, definition, task, resources.sources)
        + ((Mount(firelens.SOCKET_FOLDER, socket_volume(task).name),) if is_router else ()),
        volumes_from=tuple(
            docker_name(task, v.source_container or "") + (":ro" if v.read_only else "")
            for v in definition.volumes_from or ()
        ),
        tmpfs=tuple(
            Tmpfs(t["containerPath"], int(t["size"]), tuple(t.get("mountOptions") or ()))
            for t in parameters.get("tmpfs") or ()
        ),
        ulimits=tuple(Ulimit(u.name, u.soft_limit, u.hard_limit) for u in definition.ulimits or ()),
        default_ulimits=_default_limits(task, definition),
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
        # net.* belongs to the network: of the task in awsvpc (then the sandbox has them), else of the container.
        system_controls=controls
        if document.network_mode != "awsvpc"
        else {n: v for n, v in controls.items() if not n.startswith("net.")},
        pid_mode=cast("Literal['host', 'sandbox'] | None", _SHARED.get(document.pid_mode or "")),
        ipc_mode=cast("Literal['host', 'sandbox', 'none'] | None", _SHARED.get(document.ipc_mode or "")),
        security_options=tuple(definition.docker_security_options or ()),
        log_driver=log_driver(task, definition, resources.log_secrets.get(name, {}), resources.socket_folder),
        files=resources.router_files if is_router else {},
        **own_network(task, document, definition, {c.name: docker_name(task, c.name) for c in task.containers}),
    )


# What a task definition says of namespaces, in the engine's words: those of the task are its sandbox's.
_SHARED = {"host": "host", "task": "sandbox", "none": "none"}


def _default_limits(task: Task, definition: ContainerDefinition) -> tuple[Ulimit, ...]:
    """Fargate's own (ecs-tasks §14); on EC2 the engine's count."""
    given = {limit.name for limit in definition.ulimits or ()}
    return FARGATE_LIMITS if task.launch_type == "FARGATE" and "nofile" not in given else ()


def _words(words: Any) -> tuple[str, ...] | None:
    """An empty list means the same as none: the image decides."""
    return tuple(words) if words else None


def _environment(
    task: Task, definition: ContainerDefinition, resources: Resources, router_address: str | None
) -> dict[str, str]:
    """Low to high: what the platform sets, environment files, the definition, the override; secrets share no name with
    the definition's (ecs-tasks §10)."""
    name = definition.name or ""
    found = {
        "AWS_EXECUTION_ENV": "AWS_ECS_FARGATE" if task.launch_type == "FARGATE" else "AWS_ECS_EC2",
        "AWS_REGION": task.region,
        "AWS_DEFAULT_REGION": task.region,
    }
    if firelens.uses_firelens(definition):
        found |= {"FLUENT_HOST": router_address or "127.0.0.1", "FLUENT_PORT": str(firelens.PORT)}
    found |= resources.files.get(name, {})
    found |= {pair.name: pair.value or "" for pair in definition.environment or () if pair.name}
    given = override_of(task, name).get("environment") or ()
    found |= {pair["name"]: pair.get("value") or "" for pair in given if pair.get("name")}
    return found | dict(resources.secrets.get(name, {}))


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
