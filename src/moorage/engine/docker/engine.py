"""`DockerEngine`: the `Engine` contract over one Docker host. Only puts the parts together; each part has its file."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from moorage.domain.clock import Clock, SystemClock
from moorage.engine.docker import logs
from moorage.engine.docker.client import Client
from moorage.engine.docker.containers import Containers
from moorage.engine.docker.events import Events
from moorage.engine.docker.hosts import DockerHost, current_host
from moorage.engine.docker.images import Images
from moorage.engine.docker.limits import Limits
from moorage.engine.docker.names import bridge_name
from moorage.engine.docker.networks import Networks
from moorage.engine.docker.observe import inspect, list_ids, list_observed
from moorage.engine.docker.sandbox import Sandboxes, remove_container
from moorage.engine.docker.stats import Stats
from moorage.engine.docker.task_groups import TaskGroups
from moorage.engine.docker.volumes import Volumes
from moorage.engine.driver import (
    ContainerSpec,
    ContainerStats,
    Created,
    EngineEvent,
    LogLine,
    ObservedContainer,
    PulledImage,
    RegistryAuth,
    Sandbox,
    SandboxSpec,
    SubnetNetwork,
    VolumeSpec,
)
from moorage.settings import Settings

_REMOVING_AT_ONCE = 8


class HostFacts(msgspec.Struct, frozen=True):
    """What a container instance registers with. `memory_mib` is the host's whole memory. `limits`: sentences about what
    does not work with this engine, to be shown at start-up."""

    name: str
    cpus: int
    memory_mib: int
    architecture: str
    operating_system: str
    engine: str
    engine_version: str
    limits: tuple[str, ...] = ()


def host_limits(info: Mapping[str, Any], local: bool) -> tuple[str, ...]:
    """From GET /info. First what keeps traffic away, then what is merely not enforced."""
    found = []
    system = str(info.get("OperatingSystem", ""))
    if "Docker Desktop" in system or (local and sys.platform == "darwin"):
        found.append(
            "This engine runs in a virtual machine: task addresses (awsvpc) cannot be reached from here, so load"
            " balancers reach no targets; published ports (bridge) work. Use a Linux host for the whole."
        )
    elif not local:
        found.append(
            "This engine is on another host: load balancers reach its tasks only if this machine has a route to their"
            " subnets; statistics are asked for one by one."
        )
    if info.get("MemoryLimit") is False:
        found.append("This engine cannot limit memory (no memory cgroup): containers are not killed over their limit.")
    if info.get("CpuCfsQuota") is False:
        found.append("This engine cannot limit processor time (no CFS quota): cpu is shared by weight only.")
    return tuple(found)


class DockerEngine:
    """One per host. `host` overrides what settings and environment say; nothing is connected before the first call."""

    """`resolvers`: what tasks ask for names when nobody answers at their subnet's gateway; None: tasks resolve names as
    any container of this engine does."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock | None = None,
        host: DockerHost | None = None,
        resolvers: Sequence[str] | None = None,
    ) -> None:
        self.installation = settings.installation
        self._client = Client(host or current_host(settings.docker_host))
        self._networks = Networks(self._client, self.installation)
        self._images = Images(self._client)
        asks = resolvers if self.enters_networks else None
        self._sandboxes = Sandboxes(self._client, self.installation, self._networks, self._images, asks)
        self._containers = Containers(self._client, self.installation)
        self._groups = TaskGroups(self.installation, local=self._client.host.local)
        self._limits = Limits(self._client, self.installation, self._images)
        self._volumes = Volumes(self._client, self.installation)
        self._events = Events(self._client, self.installation, clock or SystemClock())
        self._stats = Stats(self._client)

    @property
    def host(self) -> DockerHost:
        return self._client.host

    async def check(self) -> HostFacts:
        """For start-up: EngineUnavailable with one sentence and the next command, or what the host is."""
        version = await self._client.version()
        info = await self._client.call("GET", "/info")
        return HostFacts(
            name=str(info.get("Name", "")),
            cpus=int(info.get("NCPU") or 1),
            memory_mib=int(info.get("MemTotal") or 0) // 2**20,
            architecture=str(info.get("Architecture") or version.architecture),
            operating_system=str(info.get("OperatingSystem", "")),
            engine=version.name,
            engine_version=version.version,
            limits=host_limits(info, self._client.host.local),
        )

    async def prepare_network(self, network: SubnetNetwork) -> str:
        return await self._networks.prepare(network)

    @property
    def enters_networks(self) -> bool:
        return self._client.host.local and os.geteuid() == 0

    async def namespace_of(self, sandbox_id: str) -> str | None:
        return await self._sandboxes.namespace(sandbox_id) if self.enters_networks else None

    def bridge_of(self, network: SubnetNetwork) -> str | None:
        return bridge_name(self.installation, network.name) if self.enters_networks else None

    async def start_sandbox(self, spec: SandboxSpec) -> Sandbox:
        return await self._sandboxes.start(spec)

    async def warm(self, network: SubnetNetwork, ipv4: str, mac: str, hostname: str | None = None) -> None:
        await self._sandboxes.warm(network, ipv4, mac, hostname)

    async def pull(
        self, image: str, auth: RegistryAuth | None = None, *, always: bool = True, architecture: str | None = None
    ) -> PulledImage:
        return await self._images.pull(image, auth, always, architecture)

    async def ensure_volume(self, spec: VolumeSpec) -> str:
        return await self._volumes.ensure(spec)

    async def create(self, spec: ContainerSpec, sandbox: Sandbox) -> Created:
        if spec.default_ulimits and await self._limits.allowed(spec.default_ulimits):
            spec = replace(spec, ulimits=spec.ulimits + spec.default_ulimits)
        parent = None
        if spec.task_limits is not None:
            if not self._groups.settled:
                self._groups.settle(await self._client.call("GET", "/info"))
            parent = self._groups.make(sandbox.id, spec.task_arn, spec.task_limits)
        if parent is None:
            return await self._containers.create(spec.alone(), sandbox.id)
        created = await self._containers.create(spec, sandbox.id, parent)
        self._stats.made_in(created.id, parent)
        return created

    async def inspect(self, container_id: str) -> ObservedContainer | None:
        return await inspect(self._client, container_id)

    async def start(self, container_id: str) -> None:
        await self._containers.start(container_id)

    async def stop(self, container_id: str, timeout: float) -> None:
        await self._containers.stop(container_id, timeout)

    async def remove(self, container_id: str) -> None:
        await self._containers.remove(container_id)
        self._stats.removed(container_id)

    async def remove_volumes(self, names: Sequence[str]) -> None:
        for name in names:
            await self._volumes.remove(name)

    async def remove_sandbox(self, sandbox_id: str) -> None:
        await self._sandboxes.remove(sandbox_id)
        self._groups.remove(sandbox_id)

    async def remove_networks(self, keep: Sequence[str] = (), *, only: Sequence[str] | None = None) -> list[str]:
        return await self._networks.remove(keep, only)

    async def list(self) -> list[ObservedContainer]:
        return await list_observed(self._client, self.installation)

    def events(self) -> AsyncIterator[EngineEvent]:
        return self._events.follow()

    def logs(self, container_id: str, since: float = 0) -> AsyncIterator[LogLine]:
        return logs.follow(self._client, container_id, since)

    async def stats(self, container_ids: Sequence[str]) -> Sequence[ContainerStats]:
        return await self._stats.read(container_ids)

    async def cleanup(self) -> None:
        """Removes everything of this installation: containers with their volumes, networks, and the pause image
        unless another installation uses it. Images that were pulled stay, and so do shared volumes and file systems."""
        gate = asyncio.Semaphore(_REMOVING_AT_ONCE)

        async def remove(container_id: str) -> None:
            async with gate:
                await remove_container(self._client, container_id)

        while ids := await list_ids(self._client, self.installation):
            await asyncio.gather(*(remove(container_id) for container_id in ids))
        self._groups.sweep()
        await self._volumes.remove_all()
        await self._networks.remove()
        await self._images.remove_pause()

    async def close(self) -> None:
        await self._client.close()
