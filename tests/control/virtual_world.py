"""Fixtures for tests of the control plane in virtual time; a module that imports them lives in the simulated world."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from moorage.control.ports import ContainerLog, TaskSources
from moorage.domain.errors import AwsError
from moorage.domain.scope import Scope
from moorage.engine.simulated_container import SimulatedImage
from moorage.simulation.loop import VirtualTimePolicy
from moorage.simulation.world import World

VIRTUAL = pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy. fixture")
"""The mark of such a module."""

__all__ = ["VIRTUAL", "PortsWorld", "a_world", "quiet_log", "virtual_time"]


@pytest.fixture(name="event_loop_policy")
def virtual_time() -> VirtualTimePolicy:
    return VirtualTimePolicy()


@pytest.fixture(autouse=True, name="quiet")
def quiet_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("moorage"), "propagate", False)


class Logs:
    """CloudWatch Logs that knows the groups it was given, and what was asked of it, in order."""

    def __init__(self, groups: Sequence[str]) -> None:
        self.groups = set(groups)
        self.said: list[tuple[str, str]] = []

    async def validate(self, log: ContainerLog) -> str | None:
        if log.group in self.groups or log.create_group:
            return None
        return "ResourceInitializationError: failed to validate logger args: The specified log group does not exist."

    async def follow(self, log: ContainerLog) -> None:
        self.said.append(("follow", log.container_name))

    async def drain(self, container_id: str) -> None:
        self.said.append(("drain", container_id))


class Secrets:
    def __init__(self, values: dict[str, str]) -> None:
        self.values = values

    async def value(self, scope: Scope, value_from: str) -> str:
        if value_from not in self.values:
            raise AwsError("ParameterNotFound", f"{value_from} is unknown")
        return self.values[value_from]


class Objects:
    """S3: content by "bucket/key"."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}

    async def read(self, scope: Scope, bucket: str, key: str, version: str | None = None) -> bytes | None:
        return self.content.get(f"{bucket}/{key}")


class FileSystems:
    """EFS: the directories of access points, by file system."""

    def __init__(self) -> None:
        self.points: dict[str, dict[str, str]] = {}

    async def root(self, scope: Scope, file_system_id: str, access_point_id: str | None) -> str:
        if file_system_id not in self.points:
            raise AwsError("FileSystemNotFound", f"{file_system_id} does not exist")
        return self.points[file_system_id].get(access_point_id or "", "/")


class PortsWorld(World):
    """With logs, secrets, objects and file systems beside."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.logs = Logs(["known"])
        self.secrets = Secrets({})
        self.objects = Objects()
        self.file_systems = FileSystems()

    async def start_control_plane(self) -> None:
        await super().start_control_plane()
        assert self.process is not None
        steps = self.process.plane.tasks.steps
        steps._logs = self.logs
        steps._resources._sources = TaskSources(self.secrets, self.objects, self.file_systems)

    async def pair(self, first: dict[str, Any], *others: dict[str, Any], **document: Any) -> str:
        """Registers "pair" with these containers (names and images "app", "b", "c" …) and runs it; the task's ARN."""
        containers = [
            {"name": name, "image": "web", "essential": True, **members}
            for name, members in zip("abcdef", (first, *others), strict=False)
        ]
        await self.ecs(
            "RegisterTaskDefinition",
            family="pair",
            networkMode="awsvpc",
            requiresCompatibilities=["FARGATE"],
            cpu="256",
            memory="512",
            executionRoleArn="arn:aws:iam::000000000000:role/x",
            containerDefinitions=containers,
            **document,
        )
        [arn] = await self.run_task("pair")
        return arn

    async def status(self, arn: str, status: str, within: float = 120) -> None:
        await self.until(lambda: self.task(arn).last_status == status, within=within, what=status)

    def verbs(self, *names: str) -> list[str]:
        """The engine's calls of these names, by container."""
        return [f"{v.name} {v.subject.split('-')[3]}" for v in self.engine.history if v.name in names]


@pytest.fixture(name="world")
async def a_world() -> AsyncIterator[PortsWorld]:
    """A cluster, and web:1 of the image "web", which listens at once and never ends."""
    async with PortsWorld(seed=1, images={"web": SimulatedImage()}) as world:
        await world.create_cluster()
        await world.register("web")
        yield world
