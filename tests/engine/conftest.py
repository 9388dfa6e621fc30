"""Real Docker for the tests marked `docker`: an engine with an installation of its own, cleaned up afterwards."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from moorage.engine.docker import DockerEngine
from moorage.engine.driver import (
    LABEL_CONTAINER,
    ContainerSpec,
    EngineEvent,
    EngineUnavailable,
    Sandbox,
    SandboxSpec,
    SubnetNetwork,
)
from moorage.settings import Settings
from support.images import busybox_image

_numbers = itertools.count(os.getpid() * 1000 % 2**20)


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[DockerEngine]:
    engine = DockerEngine(Settings(data_dir=tmp_path))
    try:
        await engine.check()
    except EngineUnavailable as error:
        pytest.skip(str(error))
    try:
        yield engine
    finally:
        await engine.cleanup()
        await engine.close()


@pytest.fixture
async def busybox(engine: DockerEngine) -> str:
    return await busybox_image()


@pytest.fixture
def subnet(engine: DockerEngine) -> SubnetNetwork:
    """A /24 that no other test uses at this moment."""
    number = next(_numbers)
    cidr = f"10.{200 + number // 250 % 50}.{number % 250}.0/24"
    return SubnetNetwork(f"moorage-{engine.installation}-subnet-test", cidr, "subnet-0abc")


def task_arn(number: int = 1) -> str:
    return f"arn:aws:ecs:us-east-1:000000000000:task/default/{number:032x}"


def address(subnet: SubnetNetwork, last: int) -> str:
    return subnet.cidr.rsplit(".", 1)[0] + f".{last}"


def a_sandbox(subnet: SubnetNetwork, last: int = 20, **changes: object) -> SandboxSpec:
    values: dict[str, object] = {
        "task_arn": task_arn(last),
        "mode": "awsvpc",
        "labels": {},
        "network": subnet,
        "ipv4": address(subnet, last),
    }
    return SandboxSpec(**(values | changes))  # type: ignore[arg-type]


def no_network(number: int = 1) -> SandboxSpec:
    """The quickest sandbox, for tests that need no network."""
    return SandboxSpec(task_arn=task_arn(number), mode="none", labels={})


async def run(
    engine: DockerEngine, image: str, command: str | None, sandbox: Sandbox | None = None, **changes: object
) -> str:
    """Creates and starts a container that runs `command` in a shell (None: the image's own); its id."""
    container = await make(engine, image, command, sandbox, **changes)
    await engine.start(container)
    return container


async def make(
    engine: DockerEngine, image: str, command: str | None, sandbox: Sandbox | None = None, **changes: object
) -> str:
    sandbox = sandbox or await engine.start_sandbox(no_network())
    number = next(_numbers)
    values: dict[str, object] = {
        "name": "app",
        "docker_name": f"moorage-test-{engine.installation}-{number}",
        "task_arn": task_arn(),
        "image": image,
        "labels": {LABEL_CONTAINER: "app"},
        "command": None if command is None else ("sh", "-c", command),
    }
    if "argv" in changes:
        values["command"] = changes.pop("argv")
    return (await engine.create(ContainerSpec(**(values | changes)), sandbox)).id  # type: ignore[arg-type]


async def output(engine: DockerEngine, container: str) -> list[str]:
    """Everything it wrote, once it has stopped."""
    return [line.message async for line in engine.logs(container)]


async def seen(events: AsyncIterator[EngineEvent], kind: str, container: str | None = None) -> EngineEvent:
    """The next event of this kind (of this container)."""
    async for event in events:
        if event.kind == kind and container in (None, event.id):
            return event
    raise AssertionError("the stream ended")
