"""Pulling on a real engine, from a registry that counts; and what is said when it cannot be done."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from moorage.engine.docker import DockerEngine
from moorage.engine.driver import CannotPullContainerError, RegistryAuth
from support.fake_registry import FakeRegistry
from support.images import busybox_image, busybox_tar, remove_images

from .conftest import output, run

pytestmark = pytest.mark.docker


@pytest.fixture
async def registry() -> AsyncIterator[FakeRegistry]:
    registry = FakeRegistry()
    await registry.start()
    yield registry
    await registry.stop()


async def test_what_is_pulled_is_pinned_by_its_digest_and_runs(engine: DockerEngine, registry: FakeRegistry):
    image = f"127.0.0.1:{registry.port}/team/app:v1"
    digest = registry.add("team/app", "v1", busybox_tar(), ["echo", "pulled"])
    try:
        found = await engine.pull(image)
        assert found.digest == digest
        assert found.reference == f"127.0.0.1:{registry.port}/team/app@{digest}"
        assert await output(engine, await run(engine, found.reference, None)) == ["pulled"]
    finally:
        await remove_images(image)


async def test_a_moved_tag_is_pulled_again_only_with_always(engine: DockerEngine, registry: FakeRegistry):
    image = f"127.0.0.1:{registry.port}/app:latest"
    first = registry.add("app", "latest", busybox_tar({"etc/v": "1"}), ["cat", "/etc/v"])
    assert (await engine.pull(image)).digest == first
    second = registry.add("app", "latest", busybox_tar({"etc/v": "2"}), ["cat", "/etc/v"])
    try:
        assert (await engine.pull(image, always=False)).digest == first
        moved = await engine.pull(image)
        assert moved.digest == second
        assert await output(engine, await run(engine, moved.reference, None)) == ["2"]
        asked = registry.asked.total()
        assert (await engine.pull(moved.reference)).digest == second
        assert registry.asked.total() == asked
    finally:
        await remove_images(image, f"127.0.0.1:{registry.port}/app@{first}")


async def test_pulls_of_the_same_image_at_the_same_time_are_one(engine: DockerEngine, registry: FakeRegistry):
    image = f"127.0.0.1:{registry.port}/app:v1"
    registry.add("app", "v1", busybox_tar({"etc/unique": image}), ["true"])
    try:
        found = await asyncio.gather(*(engine.pull(image) for _ in range(5)))
        assert len(set(found)) == 1
        assert registry.asked["blob"] == 2
        assert sum(count for asked, count in registry.asked.items() if asked.endswith(":v1")) <= 2
    finally:
        await remove_images(image)


async def test_a_tag_that_the_registry_does_not_know(engine: DockerEngine, registry: FakeRegistry):
    image = f"127.0.0.1:{registry.port}/app:absent"
    with pytest.raises(CannotPullContainerError) as refused:
        await engine.pull(image, RegistryAuth("AWS", "secret"))
    assert refused.value.reason() == (
        "CannotPullContainerError: pull image manifest has been retried 1 time(s): "
        f"failed to resolve ref {image}: {image}: not found"
    )


async def test_a_registry_that_is_not_there(engine: DockerEngine):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        image = f"127.0.0.1:{port}/app:v1"
        with pytest.raises(CannotPullContainerError, match=rf"failed to resolve ref {image}: .*connection refused"):
            await engine.pull(image)
        with pytest.raises(CannotPullContainerError):
            await engine.pull(image, always=False)


async def test_a_local_image_stands_in_for_a_registry_that_does_not_have_it(
    engine: DockerEngine, registry: FakeRegistry
):
    image = await busybox_image(f"127.0.0.1:{registry.port}/local:v1")
    try:
        found = await engine.pull(image)
        assert (found.reference, found.digest) == (image, None)
        await registry.stop()
        assert (await engine.pull(image)).reference == image
        assert (await engine.pull(image)).reference == image
    finally:
        await remove_images(image)


async def test_a_name_that_cannot_be_one_is_refused(engine: DockerEngine):
    with pytest.raises(CannotPullContainerError, match="invalid reference format"):
        await engine.pull("Not A Name")
