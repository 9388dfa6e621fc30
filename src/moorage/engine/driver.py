"""The seam to a container engine: a few verbs over plain values. One driver instance serves one host.

The control plane knows nothing of Docker; a driver knows nothing of ECS beyond the labels it is told to attach. Every
container that a driver makes carries the installation's label, and a driver touches nothing without it.

Failures are raised with the names that ECS users see in `stoppedReason` (semantics: ecs-tasks §3): their `why` is the
text after the name. `EngineUnavailable` is Retryable: the engine does not answer; nothing is known about what runs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Literal, Protocol

import msgspec
from msgspec.structs import replace

from moorage.domain.errors import Permanent, Retryable


class EngineUnavailable(Retryable):
    """The engine does not answer (stopped, restarting, socket gone)."""


class EngineError(Permanent):
    """The engine answered and refused. `name` is the ECS error name; `why` the engine's text."""

    name = "EngineError"

    def __init__(self, why: str) -> None:
        super().__init__(self.name, why)

    def reason(self) -> str:
        return f"{self.name}: {self.why}"


class CannotPullContainerError(EngineError):
    name = "CannotPullContainerError"


class CannotCreateContainerError(EngineError):
    name = "CannotCreateContainerError"


class CannotStartContainerError(EngineError):
    name = "CannotStartContainerError"


class CannotStopContainerError(EngineError):
    name = "CannotStopContainerError"


class CannotCreateVolumeError(EngineError):
    name = "CannotCreateVolumeError"


class NetworkError(EngineError):
    """The task's network could not be made (overlapping subnet, address taken, host port taken)."""

    name = "ResourceInitializationError"


# A sandbox either owns the network of its task, or none: then every container has its own (`ContainerSpec.network`).
NetworkMode = Literal["awsvpc", "none"]
OwnNetwork = Literal["bridge", "host", "none"]


class SubnetNetwork(msgspec.Struct, frozen=True):
    """The network behind a subnet; made on first use, removed by `remove_networks`. `name` is unique on the host."""

    name: str
    cidr: str
    subnet_id: str


EVERYWHERE = "0.0.0.0"  # noqa: S104 as ECS publishes: on every address of the host


class PortBinding(msgspec.Struct, frozen=True):
    """bridge mode: `host_port` 0 asks for a free one. `host_ip`: the address of the host that it is published on;
    two bindings of one host port are fine on two addresses. `size`: that many ports from both on, next to each other."""

    container_port: int
    host_port: int = 0
    protocol: str = "tcp"
    host_ip: str = EVERYWHERE
    size: int = 1


class SandboxSpec(msgspec.Struct, frozen=True):
    """What a task's containers share, held by a pause container: its network namespace (awsvpc: `network`, `ipv4` and
    `mac` are given), and whatever else containers join by name: process ids, and with `shares_ipc` IPC.
    `labels` go on the pause container and are returned by `list`."""

    task_arn: str
    mode: NetworkMode
    labels: Mapping[str, str]
    network: SubnetNetwork | None = None
    ipv4: str | None = None
    mac: str | None = None
    hostname: str | None = None
    shares_ipc: bool = False
    sysctls: Mapping[str, str] = {}
    dns_servers: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    extra_hosts: tuple[tuple[str, str], ...] = ()


class Sandbox(msgspec.Struct, frozen=True):
    """`id`: the engine's id of the pause container."""

    id: str


class HealthCheckSpec(msgspec.Struct, frozen=True):
    """Seconds. `command` is ECS's: its first element is CMD or CMD-SHELL."""

    command: tuple[str, ...]
    interval: float = 30
    timeout: float = 5
    retries: int = 3
    start_period: float = 0


class Mount(msgspec.Struct, frozen=True):
    """`source`: a host path or a named volume; None: an anonymous volume that is removed with the container."""

    target: str
    source: str | None = None
    read_only: bool = False


class VolumeSpec(msgspec.Struct, frozen=True):
    """A named volume. `create`: False when it must be there already. `outlives`: it is not removed with the
    installation, because what is in it belongs to its users. `task_arn`: whose it is, None for shared ones.
    `of_installation`: another installation's of the same name is another volume (the engine's name of it is longer)."""

    name: str
    driver: str = "local"
    options: Mapping[str, str] = {}
    labels: Mapping[str, str] = {}
    create: bool = True
    outlives: bool = False
    task_arn: str | None = None
    of_installation: bool = False


class LogDriver(msgspec.Struct, frozen=True):
    """Where the engine itself sends a container's output. None of it: to its own files, from which `logs` reads."""

    name: str
    options: Mapping[str, str] = {}


class Ulimit(msgspec.Struct, frozen=True):
    name: str
    soft: int
    hard: int


class Tmpfs(msgspec.Struct, frozen=True):
    target: str
    size_mib: int
    options: tuple[str, ...] = ()


class TaskLimits(msgspec.Struct, frozen=True):
    """What all containers of a task may use together: `memory` in MiB, `cpus` in vCPU."""

    memory: int | None = None
    cpus: float | None = None


class ContainerSpec(msgspec.Struct, frozen=True):
    """One container. None means: as the image says. Memory in MiB, `cpu_shares` as Docker's, `cpus` a hard ceiling in
    vCPU. Nothing is granted that is not named here. `image` is what `pull` returned.

    `network` None: it joins its sandbox's network. Else the network is its own, and `hostname`, `ports`, `links` (name
    of a container, alias), DNS and net.* settings are too. `pid_mode`, `ipc_mode`: the host's, the sandbox's, or (None)
    its own. `files` (path → content) are put into its file system before it starts. `default_ulimits`: asked for by
    nobody, left out where the engine may not set them. `task_limits`: shared with the other containers of its sandbox;
    where an engine has no means for that, each has them for itself (`alone`)."""

    name: str
    docker_name: str
    task_arn: str
    image: str
    labels: Mapping[str, str]
    command: tuple[str, ...] | None = None
    entry_point: tuple[str, ...] | None = None
    environment: Mapping[str, str] = {}
    user: str | None = None
    working_directory: str | None = None
    cpu_shares: int = 2
    cpus: float | None = None
    memory: int | None = None
    memory_reservation: int | None = None
    memory_swap: int | None = None
    swappiness: int | None = None
    health_check: HealthCheckSpec | None = None
    mounts: tuple[Mount, ...] = ()
    volumes_from: tuple[str, ...] = ()
    tmpfs: tuple[Tmpfs, ...] = ()
    ulimits: tuple[Ulimit, ...] = ()
    default_ulimits: tuple[Ulimit, ...] = ()
    capabilities_add: tuple[str, ...] = ()
    capabilities_drop: tuple[str, ...] = ()
    devices: tuple[tuple[str, str, str], ...] = ()
    privileged: bool = False
    readonly_root_filesystem: bool = False
    init: bool = False
    shared_memory_mib: int | None = None
    interactive: bool = False
    pseudo_terminal: bool = False
    dns_servers: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    extra_hosts: tuple[tuple[str, str], ...] = ()
    system_controls: Mapping[str, str] = {}
    stop_signal: str | None = None
    network: OwnNetwork | None = None
    hostname: str | None = None
    ports: tuple[PortBinding, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    pid_mode: Literal["host", "sandbox"] | None = None
    ipc_mode: Literal["host", "sandbox", "none"] | None = None
    security_options: tuple[str, ...] = ()
    log_driver: LogDriver | None = None
    files: Mapping[str, bytes] = {}
    task_limits: TaskLimits | None = None

    def alone(self) -> ContainerSpec:
        """With the limits of the task as its own where it has none."""
        limits = self.task_limits
        if limits is None:
            return self
        memory = self.memory if self.memory is not None else limits.memory
        swap = self.memory_swap if self.memory is not None else memory
        return replace(self, memory=memory, memory_swap=swap, cpus=limits.cpus, task_limits=None)


class RegistryAuth(msgspec.Struct, frozen=True):
    username: str
    password: str


class PulledImage(msgspec.Struct, frozen=True):
    """`reference`: what to create containers from. `digest`: "sha256:…" of the manifest, None for local images. `id`: what
    the engine itself calls the image ("sha256:…"); it can be pulled by that as long as it is there."""

    reference: str
    digest: str | None = None
    id: str | None = None


class Created(msgspec.Struct, frozen=True):
    """`new`: this call made it. Else an earlier one did, whose answer nobody heard; it may have been started, and have
    ended, since."""

    id: str
    new: bool = True


class ObservedContainer(msgspec.Struct, frozen=True):
    """What the engine says of one of our containers (pause containers included: `sandbox` is True). `ports`: what it
    publishes itself, one port a binding, and `ipv4` its own address, while it runs. `failed_checks`: health checks that
    failed in a row, `check_output` what the last one said."""

    id: str
    labels: Mapping[str, str]
    state: Literal["created", "running", "stopped"]
    sandbox: bool = False
    exit_code: int | None = None
    oom_killed: bool = False
    health: Literal["HEALTHY", "UNHEALTHY", "UNKNOWN"] = "UNKNOWN"
    started_at: float | None = None
    finished_at: float | None = None
    ports: tuple[PortBinding, ...] = ()
    ipv4: str | None = None
    failed_checks: int = 0
    check_output: str = ""


class EngineEvent(msgspec.Struct, frozen=True):
    """Something happened to one of our containers. `kind`: started | died | health | gone (removed by somebody) |
    resync (the stream was interrupted: read `list` again; `id` and `labels` are empty)."""

    kind: Literal["started", "died", "health", "gone", "resync"]
    id: str
    labels: Mapping[str, str]
    at: float
    exit_code: int | None = None
    oom_killed: bool = False
    health: Literal["HEALTHY", "UNHEALTHY", "UNKNOWN"] = "UNKNOWN"


class LogLine(msgspec.Struct, frozen=True):
    """`at`: epoch seconds as the engine stamped it (nanosecond resolution is kept in the fraction)."""

    at: float
    message: str
    stream: Literal["stdout", "stderr"] = "stdout"


class ContainerStats(msgspec.Struct, frozen=True):
    """Cumulative CPU seconds and current memory bytes (without page cache)."""

    id: str
    cpu_seconds: float
    memory_bytes: int


# Labels that the control plane puts on every container, so that a restarted one can adopt what runs.
LABEL_INSTALLATION = "io.moorage.installation"
# Beside or instead of it: volumes that outlive the installation, because their content is their users'.
LABEL_KEPT = "io.moorage.kept-by"
LABEL_TASK = "com.amazonaws.ecs.task-arn"
LABEL_CONTAINER = "com.amazonaws.ecs.container-name"
LABEL_FAMILY = "com.amazonaws.ecs.task-definition-family"
LABEL_REVISION = "com.amazonaws.ecs.task-definition-version"
LABEL_CLUSTER = "com.amazonaws.ecs.cluster"
LABEL_SANDBOX = "io.moorage.sandbox"
# The sandbox that is a load balancer's node in one subnet: the load balancer's ARN.
LABEL_LOAD_BALANCER = "io.moorage.load-balancer"
# A sandbox of the warm pool that no task has claimed yet; its address is reserved by the pool.
LABEL_POOL = "io.moorage.pool"


class Engine(Protocol):
    async def prepare_network(self, network: SubnetNetwork) -> str:
        """Makes the network behind a subnet (idempotent) and returns the range that it really has: `network.cidr`, or a
        substitute of the same size when that range is taken on this host (another account's default VPC, the
        machine's own network)."""
        ...

    @property
    def enters_networks(self) -> bool:
        """Can processes of this machine work inside the networks of sandboxes? (The engine is on this machine, and we
        are root.)"""
        ...

    async def namespace_of(self, sandbox_id: str) -> str | None:
        """Path of the sandbox's network namespace on this machine; None when it does not run or cannot be entered."""
        ...

    def bridge_of(self, network: SubnetNetwork) -> str | None:
        """What this network is called among the interfaces of this machine; None when it is not on this machine."""
        ...

    async def start_sandbox(self, spec: SandboxSpec) -> Sandbox:
        """Makes (or finds, by task ARN: the call is idempotent) the sandbox and returns when it runs."""
        ...

    async def warm(self, network: SubnetNetwork, ipv4: str, mac: str, hostname: str | None = None) -> None:
        """Makes a sandbox ahead of its task, for an address that the caller has reserved; idempotent. A later
        `start_sandbox` with the same network, address and host name takes it over in milliseconds. Until then `list`
        shows it with LABEL_POOL = its address; afterwards with the task's LABEL_TASK (and none of the spec's others)."""
        ...

    async def pull(
        self, image: str, auth: RegistryAuth | None = None, *, always: bool = True, architecture: str | None = None
    ) -> PulledImage:
        """Makes the image present. With `always`, asks the registry first and falls back to a local image only when
        the registry cannot be reached or does not know the image but a local image of that name exists. With an
        `architecture` (amd64, arm64) no other will do; None: the engine's own."""
        ...

    async def ensure_volume(self, spec: VolumeSpec) -> str:
        """Makes the volume (or finds it: idempotent by name); the path on the engine's host where its files are.
        Raises CannotCreateVolumeError."""
        ...

    async def create(self, spec: ContainerSpec, sandbox: Sandbox) -> Created:
        """Idempotent by `docker_name`."""
        ...

    async def inspect(self, container_id: str) -> ObservedContainer | None:
        """One container as `list` would show it; None when it is gone."""
        ...

    async def start(self, container_id: str) -> None: ...

    async def stop(self, container_id: str, timeout: float) -> None:
        """The image's stop signal, `timeout` seconds, SIGKILL. Returns when stopped; gone or stopped is fine."""
        ...

    async def remove(self, container_id: str) -> None:
        """With its anonymous volumes; gone is fine."""
        ...

    async def remove_volumes(self, names: Sequence[str]) -> None:
        """Named volumes that containers of ours mounted; the containers are gone before. Gone is fine."""
        ...

    async def remove_sandbox(self, sandbox_id: str) -> None: ...

    async def remove_networks(self, keep: Sequence[str] = (), *, only: Sequence[str] | None = None) -> Sequence[str]:
        """Removes the networks that we made and nothing uses, except those named in `keep`; of `only`, if that is given.
        Returns the names of those that something still uses."""
        ...

    async def list(self) -> list[ObservedContainer]:
        """Every container of this installation."""
        ...

    def events(self) -> AsyncIterator[EngineEvent]:
        """Never ends by itself: reconnects with back-off and yields `resync` after each (re)connection."""
        ...

    def logs(self, container_id: str, since: float = 0) -> AsyncIterator[LogLine]:
        """Follows output written after `since`; ends when the container has stopped and all was read."""
        ...

    async def stats(self, container_ids: Sequence[str]) -> Sequence[ContainerStats]: ...

    async def close(self) -> None: ...
