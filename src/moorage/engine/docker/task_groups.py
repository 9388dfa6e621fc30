"""A control group per task, so that its containers share one limit of memory and CPU as under the ECS agent.

Only where this process may write the host's control groups and Docker takes a parent by path (a local engine with the
cgroupfs driver, as root); elsewhere `make` answers None and every container gets the task's limits for itself.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from moorage.engine.driver import TaskLimits

ROOT = Path("/sys/fs/cgroup")
_MIB = 1024 * 1024
# Microseconds: the agent's period for CPU quotas.
_PERIOD = 100_000


class TaskGroups:
    """`info`: GET /info. Groups are folders `moorage-<installation>/<task id>` below every controller."""

    def __init__(self, installation: str, *, local: bool, root: Path = ROOT) -> None:
        self._name = f"moorage-{installation}"
        self._root = root
        self._local = local
        self._version2 = (root / "cgroup.controllers").exists()
        self._usable: bool | None = None
        self._of_sandbox: dict[str, str] = {}

    def settle(self, info: Mapping[str, Any]) -> None:
        """Once, with what Docker says of itself; groups that a killed process left empty go."""
        first = self._root if self._version2 else self._root / "memory"
        self._usable = self._local and info.get("CgroupDriver") == "cgroupfs" and os.access(first, os.W_OK)
        if self._usable:
            self.sweep()

    @property
    def settled(self) -> bool:
        return self._usable is not None

    def make(self, sandbox_id: str, task_arn: str, limits: TaskLimits) -> str | None:
        """The path to give Docker as a container's parent; None where there can be no group."""
        if not self._usable:
            return None
        task_id = task_arn.rsplit("/", 1)[-1]
        try:
            if self._version2:
                self._limit_v2(task_id, limits)
            else:
                self._limit_v1(task_id, limits)
        except OSError:
            self._remove(task_id)
            return None
        self._of_sandbox[sandbox_id] = task_id
        return f"/{self._name}/{task_id}"

    def remove(self, sandbox_id: str) -> None:
        """After the task's containers are gone."""
        task_id = self._of_sandbox.pop(sandbox_id, None)
        if task_id is not None:
            self._remove(task_id)

    def sweep(self) -> None:
        """Removes every empty group of this installation."""
        for controller in self._controllers():
            mine = controller / self._name
            for folder in [*mine.glob("*/"), mine]:
                with contextlib.suppress(OSError):
                    folder.rmdir()

    def _controllers(self) -> Iterator[Path]:
        if not (self._local and self._root.is_dir()):
            return
        if self._version2:
            yield self._root
            return
        yield from (path for path in self._root.iterdir() if path.is_dir() and not path.is_symlink())

    def _remove(self, task_id: str) -> None:
        for controller in self._controllers():
            with contextlib.suppress(OSError):
                (controller / self._name / task_id).rmdir()

    def _limit_v1(self, task_id: str, limits: TaskLimits) -> None:
        if limits.memory is not None:
            folder = self._folder("memory", task_id)
            (folder / "memory.limit_in_bytes").write_text(str(limits.memory * _MIB))
            # Memory and swap together: no swap, as for containers. Kernels without swap accounting lack the file.
            with contextlib.suppress(OSError):
                (folder / "memory.memsw.limit_in_bytes").write_text(str(limits.memory * _MIB))
        if limits.cpus is not None:
            folder = self._folder("cpu", task_id)
            (folder / "cpu.cfs_period_us").write_text(str(_PERIOD))
            (folder / "cpu.cfs_quota_us").write_text(str(round(limits.cpus * _PERIOD)))

    def _limit_v2(self, task_id: str, limits: TaskLimits) -> None:
        folder = self._folder("", task_id)
        for parent in (self._root, self._root / self._name):
            (parent / "cgroup.subtree_control").write_text("+cpu +memory")
        if limits.memory is not None:
            (folder / "memory.max").write_text(str(limits.memory * _MIB))
            with contextlib.suppress(OSError):
                (folder / "memory.swap.max").write_text("0")
        if limits.cpus is not None:
            (folder / "cpu.max").write_text(f"{round(limits.cpus * _PERIOD)} {_PERIOD}")

    def _folder(self, controller: str, task_id: str) -> Path:
        folder = self._root / controller / self._name / task_id
        folder.mkdir(parents=True, exist_ok=True)
        return folder
