"""CPU and memory of containers: from the cgroup files where they can be read (a local engine), else asked one by one.

Reading files costs tens of microseconds a container, the API several milliseconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from moorage.engine.docker.client import ApiError, Client
from moorage.engine.driver import ContainerStats

CGROUP_ROOT = Path("/sys/fs/cgroup")
_ASKED_AT_ONCE = 8
# Where engines put a container's group, below the root (v2) or below a controller (v1): cgroupfs, systemd, Podman.
_PARENTS = (
    "docker/{id}",
    "system.slice/docker-{id}.scope",
    "machine.slice/libpod-{id}.scope",
    "libpod_parent/libpod-{id}",
)
_V1_CPU = ("cpuacct", "cpu,cpuacct")


class Groups:
    """The cgroup files of containers of this host; `read` gives None where there are none."""

    def __init__(self, root: Path = CGROUP_ROOT) -> None:
        self._root = root
        self._version2 = (root / "cgroup.controllers").exists()
        self._folders: dict[str, tuple[Path, Path]] = {}
        self.told: dict[str, str] = {}
        """Where containers are that were made in a group of their task; others are where engines put them."""

    def read(self, container_id: str) -> ContainerStats | None:
        folders = self._folders.get(container_id) or self._find(container_id)
        if folders is None:
            return None
        try:
            seconds, memory = self._read_v2(folders[0]) if self._version2 else self._read_v1(*folders)
        except (OSError, ValueError, KeyError):
            self._folders.pop(container_id, None)
            return None
        self._folders[container_id] = folders
        return ContainerStats(container_id, seconds, memory)

    def keep(self, container_ids: Sequence[str]) -> None:
        """Forgets all others."""
        wanted = set(container_ids)
        for container_id in [known for known in self._folders if known not in wanted]:
            del self._folders[container_id]

    def _find(self, container_id: str) -> tuple[Path, Path] | None:
        told = self.told.get(container_id)
        for parent in (*(() if told is None else (told,)), *_PARENTS):
            relative = parent.format(id=container_id)
            if self._version2:
                if (self._root / relative).is_dir():
                    return self._root / relative, self._root / relative
                continue
            memory = self._root / "memory" / relative
            for controller in _V1_CPU:
                cpu = self._root / controller / relative
                if cpu.is_dir() and memory.is_dir():
                    return cpu, memory
        return None

    @staticmethod
    def _read_v1(cpu: Path, memory: Path) -> tuple[float, int]:
        nanoseconds = int((cpu / "cpuacct.usage").read_text())
        used = int((memory / "memory.usage_in_bytes").read_text())
        return nanoseconds / 1e9, max(0, used - _fields(memory / "memory.stat")["total_inactive_file"])

    @staticmethod
    def _read_v2(folder: Path) -> tuple[float, int]:
        microseconds = _fields(folder / "cpu.stat")["usage_usec"]
        used = int((folder / "memory.current").read_text())
        return microseconds / 1e6, max(0, used - _fields(folder / "memory.stat")["inactive_file"])


def _fields(path: Path) -> dict[str, int]:
    return {name: int(value) for name, _, value in (line.partition(" ") for line in path.read_text().splitlines())}


def from_api(container_id: str, answer: Mapping[str, Any]) -> ContainerStats | None:
    """From GET /containers/{id}/stats. None for a container that does not run."""
    cpu = (answer.get("cpu_stats") or {}).get("cpu_usage") or {}
    memory = answer.get("memory_stats") or {}
    if "usage" not in memory:
        return None
    detail = memory.get("stats") or {}
    cache = detail.get("total_inactive_file", detail.get("inactive_file", 0))
    return ContainerStats(container_id, cpu.get("total_usage", 0) / 1e9, max(0, memory["usage"] - cache))


class Stats:
    def __init__(self, client: Client) -> None:
        self._client = client
        self._groups = Groups() if client.host.local else None

    def made_in(self, container_id: str, parent: str) -> None:
        """The container's own group is a folder of this one."""
        if self._groups is not None:
            self._groups.told[container_id] = f"{parent.strip('/')}/{{id}}"

    def removed(self, container_id: str) -> None:
        if self._groups is not None:
            self._groups.told.pop(container_id, None)

    async def read(self, container_ids: Sequence[str]) -> list[ContainerStats]:
        """Those that run, in the order asked for."""
        found: dict[str, ContainerStats] = {}
        if self._groups is not None:
            self._groups.keep(container_ids)
            for container_id in container_ids:
                entry = self._groups.read(container_id)
                if entry is not None:
                    found[container_id] = entry
        missing = [container_id for container_id in container_ids if container_id not in found]
        gate = asyncio.Semaphore(_ASKED_AT_ONCE)

        async def ask(container_id: str) -> None:
            async with gate:
                query = {"stream": "false", "one-shot": "true"}
                try:
                    answer = await self._client.call("GET", f"/containers/{container_id}/stats", query=query)
                except ApiError as error:
                    if error.status in (404, 409):
                        return
                    raise
                entry = from_api(container_id, answer)
                if entry is not None:
                    found[container_id] = entry

        await asyncio.gather(*(ask(container_id) for container_id in missing))
        return [found[container_id] for container_id in container_ids if container_id in found]
