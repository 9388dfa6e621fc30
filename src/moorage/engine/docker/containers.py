"""Containers: `ContainerSpec` → what Docker creates, and the verbs on what was created.

`create_body` is a pure translation and grants nothing that the spec does not name. A container that joins its sandbox has
no network settings of its own (host name, DNS, ports): Docker refuses them there.
"""

from __future__ import annotations

import io
import math
import tarfile
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from moorage.engine.docker.client import ApiError, Client
from moorage.engine.docker.limits import ulimits_body
from moorage.engine.docker.port_ranges import PortRanges
from moorage.engine.docker.sandbox import remove_container
from moorage.engine.driver import (
    LABEL_INSTALLATION,
    LABEL_TASK,
    CannotCreateContainerError,
    CannotStartContainerError,
    CannotStopContainerError,
    ContainerSpec,
    Created,
    HealthCheckSpec,
    Mount,
    PortBinding,
    Tmpfs,
)

_MIB = 1024 * 1024
_SECOND = 10**9
# Lines are shipped to CloudWatch Logs while they are written; this is what may wait on disk per container.
LOG_MAX_SIZE, LOG_MAX_FILES = "16m", "2"
# Docker's floor (HostConfig.Memory) since 20.10.
_LEAST_MEMORY = 6 * _MIB
# Seconds beyond the stop timeout in which Docker kills and tells the end of a process.
_STOP_GRACE = 60.0


def create_body(spec: ContainerSpec, sandbox_id: str, installation: str) -> dict[str, Any]:
    """The body of POST /containers/create. A member that the spec leaves out is left to the image."""
    body: dict[str, Any] = {
        "Image": spec.image,
        "Labels": {**spec.labels, LABEL_INSTALLATION: installation, LABEL_TASK: spec.task_arn},
        "Env": [f"{name}={value}" for name, value in spec.environment.items()],
        # A HEALTHCHECK of the image counts for nothing in ECS unless the task definition repeats it (ecs-tasks §7).
        "Healthcheck": _health_check(spec.health_check) if spec.health_check else {"Test": ["NONE"]},
        "Tty": spec.pseudo_terminal,
        "OpenStdin": spec.interactive,
        "HostConfig": _host_config(spec, sandbox_id, installation),
    }
    optional: dict[str, Any] = {
        "Cmd": None if spec.command is None else list(spec.command),
        "Entrypoint": None if spec.entry_point is None else list(spec.entry_point),
        "User": spec.user,
        "WorkingDir": spec.working_directory,
        "StopSignal": spec.stop_signal,
        "Hostname": spec.hostname if spec.network is not None else None,
        "ExposedPorts": {key: {} for key in _port_bindings(spec.ports)} or None,
    }
    body.update({name: value for name, value in optional.items() if value is not None})
    return body


def _host_config(spec: ContainerSpec, sandbox_id: str, installation: str) -> dict[str, Any]:
    driver = spec.log_driver
    if driver is not None:
        log = {"Type": driver.name, "Config": dict(driver.options)}
    else:
        log = {"Type": "json-file", "Config": {"max-size": LOG_MAX_SIZE, "max-file": LOG_MAX_FILES}}
    joined = f"container:{sandbox_id}"
    config: dict[str, Any] = {
        "NetworkMode": spec.network or joined,
        "RestartPolicy": {"Name": "no"},
        "LogConfig": log,
        "CpuShares": max(2, min(spec.cpu_shares, 262144)),
        "Privileged": spec.privileged,
        "ReadonlyRootfs": spec.readonly_root_filesystem,
        "Init": spec.init,
    }
    if spec.cpus is not None:
        config["NanoCpus"] = round(spec.cpus * _SECOND)
    config.update(_memory(spec))
    if spec.shared_memory_mib is not None:
        config["ShmSize"] = spec.shared_memory_mib * _MIB
    mounts, binds = _mounts(spec.mounts, installation)
    optional: dict[str, Any] = {
        "Mounts": mounts,
        "Binds": binds,
        "VolumesFrom": list(spec.volumes_from),
        "Tmpfs": {entry.target: _tmpfs_options(entry) for entry in spec.tmpfs},
        "Ulimits": ulimits_body(spec.ulimits),
        "CapAdd": list(spec.capabilities_add),
        "CapDrop": list(spec.capabilities_drop),
        "Devices": [
            {"PathOnHost": host, "PathInContainer": inside, "CgroupPermissions": permissions}
            for host, inside, permissions in spec.devices
        ],
        # net.* belongs to the namespace's owner: Docker refuses it on who joins.
        "Sysctls": {
            name: value
            for name, value in spec.system_controls.items()
            if spec.network is not None or not name.startswith("net.")
        },
        "PidMode": joined if spec.pid_mode == "sandbox" else spec.pid_mode,
        "IpcMode": joined if spec.ipc_mode == "sandbox" else spec.ipc_mode,
        "SecurityOpt": list(spec.security_options),
    }
    if spec.network is not None:
        optional |= {
            "PortBindings": _port_bindings(spec.ports),
            "Links": [f"{name}:{alias}" for name, alias in spec.links],
            "Dns": list(spec.dns_servers),
            "DnsSearch": list(spec.dns_search),
            "ExtraHosts": [f"{name}:{address}" for name, address in spec.extra_hosts],
        }
    config.update({name: value for name, value in optional.items() if value})
    return config


def _port_bindings(ports: tuple[PortBinding, ...]) -> dict[str, list[dict[str, str]]]:
    bindings: dict[str, list[dict[str, str]]] = {}
    for port in ports:
        for offset in range(port.size):
            bindings.setdefault(f"{port.container_port + offset}/{port.protocol}", []).append(
                # IPv4 only: with both families a dynamic port may differ between them.
                {"HostIp": port.host_ip, "HostPort": str(port.host_port + offset) if port.host_port else ""}
            )
    return bindings


def archive_of(files: Mapping[str, bytes]) -> bytes:
    """A tar of absolute paths, with the folders on the way."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, content in files.items():
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _memory(spec: ContainerSpec) -> dict[str, int]:
    """Without `memory_swap` a limit is a limit of memory and swap together: no swap, as on Fargate, so that a
    container over its limit is killed instead of slowing its host."""
    config: dict[str, int] = {}
    if spec.memory is not None:
        limit = max(spec.memory * _MIB, _LEAST_MEMORY)
        config["Memory"] = limit
        config["MemorySwap"] = limit
        if spec.memory_swap is not None:
            config["MemorySwap"] = spec.memory_swap if spec.memory_swap < 0 else spec.memory_swap * _MIB
    if spec.memory_reservation is not None:
        config["MemoryReservation"] = max(spec.memory_reservation * _MIB, _LEAST_MEMORY)
    if spec.swappiness is not None:
        config["MemorySwappiness"] = spec.swappiness
    return config


def _mounts(mounts: tuple[Mount, ...], installation: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Host paths become binds, which make a missing directory as ECS's agent does; the rest become mounts. A path with
    a colon cannot be written as a bind: it must exist."""
    as_mounts: list[dict[str, Any]] = []
    as_binds: list[str] = []
    for mount in mounts:
        if mount.source is not None and mount.source.startswith("/"):
            if ":" not in mount.source + mount.target:
                as_binds.append(f"{mount.source}:{mount.target}{':ro' if mount.read_only else ''}")
                continue
            entry: dict[str, Any] = {"Type": "bind", "Source": mount.source}
        else:
            entry = {"Type": "volume"}
            if mount.source:
                entry |= {"Source": mount.source, "VolumeOptions": {"Labels": {LABEL_INSTALLATION: installation}}}
        as_mounts.append({**entry, "Target": mount.target, "ReadOnly": mount.read_only})
    return as_mounts, as_binds


def _tmpfs_options(entry: Tmpfs) -> str:
    return ",".join((*entry.options, f"size={entry.size_mib}m"))


def _health_check(check: HealthCheckSpec) -> dict[str, Any]:
    return {
        "Test": list(check.command),
        "Interval": round(check.interval * _SECOND),
        "Timeout": round(check.timeout * _SECOND),
        "Retries": check.retries,
        "StartPeriod": round(check.start_period * _SECOND),
    }


class Containers:
    def __init__(self, client: Client, installation: str) -> None:
        self._client = client
        self._installation = installation
        self._ranges = PortRanges(client)

    async def create(self, spec: ContainerSpec, sandbox_id: str, parent: str | None = None) -> Created:
        """`parent`: the control group that the container's own is made in."""
        if any(port.size > 1 and not port.host_port for port in spec.ports):
            spec = replace(spec, ports=await self._ranges.chosen(spec.ports))
        created = await self._create(spec, sandbox_id, parent)
        if spec.files:
            await self._put(created.id, spec.files)
        return created

    async def _put(self, container_id: str, files: Mapping[str, bytes]) -> None:
        headers = {"Content-Type": "application/x-tar"}
        try:
            path = f"/containers/{container_id}/archive"
            await self._client.call("PUT", path, query={"path": "/"}, data=archive_of(files), headers=headers)
        except ApiError as error:
            raise CannotCreateContainerError(f"putting {', '.join(files)} into it: {error.text}") from error

    async def _create(self, spec: ContainerSpec, sandbox_id: str, parent: str | None) -> Created:
        body = create_body(spec, sandbox_id, self._installation)
        if parent is not None:
            body["HostConfig"]["CgroupParent"] = parent
        for last in (False, True):
            try:
                query = {"name": spec.docker_name}
                return Created((await self._client.call("POST", "/containers/create", query=query, body=body))["Id"])
            except ApiError as error:
                if error.status != 409 or last:
                    raise CannotCreateContainerError(error.text) from error
                found = await self._ours(spec, error)
                if found is not None:
                    return Created(found, new=False)
        raise AssertionError("unreachable")

    async def start(self, container_id: str) -> None:
        """Running already is fine."""
        try:
            await self._client.call("POST", f"/containers/{container_id}/start")
        except ApiError as error:
            if error.status != 304:
                raise CannotStartContainerError(error.text) from error

    async def stop(self, container_id: str, timeout: float) -> None:
        try:
            await self._client.call(
                "POST",
                f"/containers/{container_id}/stop",
                query={"t": str(math.ceil(timeout))},
                patience=timeout + _STOP_GRACE,
            )
        except ApiError as error:
            if error.status not in (304, 404):
                raise CannotStopContainerError(error.text) from error

    async def remove(self, container_id: str) -> None:
        await remove_container(self._client, container_id)

    async def _ours(self, spec: ContainerSpec, refusal: ApiError) -> str | None:
        """The id of the container that has the name already, if it is this one; None when it is gone meanwhile."""
        try:
            found = await self._client.call("GET", f"/containers/{spec.docker_name}/json")
        except ApiError as error:
            if error.status == 404:
                return None
            raise CannotCreateContainerError(error.text) from error
        labels = found["Config"].get("Labels") or {}
        if labels.get(LABEL_INSTALLATION) == self._installation and labels.get(LABEL_TASK) == spec.task_arn:
            return str(found["Id"])
        raise CannotCreateContainerError(refusal.text) from refusal
