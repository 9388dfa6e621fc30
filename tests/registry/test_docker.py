"""The real docker client and engine against the registry: login, push, pull, and what people see when refused."""

from __future__ import annotations

import asyncio
import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import SCOPE, Served

pytestmark = pytest.mark.docker


class Docker:
    """The docker CLI with a configuration of its own, remembering the images that it made."""

    def __init__(self, config: Path) -> None:
        self._environment = {**os.environ, "DOCKER_CONFIG": str(config), "DOCKER_BUILDKIT": "0"}
        self.images: list[str] = []

    async def __call__(self, *arguments: str, stdin: bytes | None = None) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            "docker",
            *arguments,
            env=self._environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate(stdin)
        return process.returncode or 0, output.decode()

    async def ok(self, *arguments: str, stdin: bytes | None = None) -> str:
        code, output = await self(*arguments, stdin=stdin)
        assert code == 0, output
        return output

    async def make_image(self, name: str, content: bytes = b"hello") -> None:
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.add("/bin/busybox", "bin/busybox")
            member = tarfile.TarInfo("content")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        await self.ok(
            "import", "--change", 'CMD ["/bin/busybox", "cat", "/content"]', "-", name, stdin=archive.getvalue()
        )
        self.images.append(name)


@pytest.fixture
def docker(tmp_path: Path) -> Iterator[Docker]:
    client = Docker(tmp_path / "docker-config")
    yield client
    if client.images:
        asyncio.run(client("image", "rm", "--force", *client.images))


async def login(docker: Docker, served: Served, password: str | None = None) -> tuple[int, str]:
    token = password or served.registry.token(SCOPE)
    return await docker("login", "--username", "AWS", "--password-stdin", served.registry.host, stdin=token.encode())


async def test_login_push_pull_run(docker: Docker, served: Served) -> None:
    await served.create("team/web")
    image = f"{served.registry.host}/team/web:v1"
    await docker.make_image(image, b"pushed and pulled")
    code, output = await login(docker, served)
    assert code == 0, output
    pushed = await docker.ok("push", image)
    assert "v1: digest: sha256:" in pushed
    again = await docker.ok("push", image)
    assert "Layer already exists" in again
    await docker.ok("image", "rm", image)
    await docker.ok("pull", image)
    assert await docker.ok("run", "--rm", image) == "pushed and pulled"


async def test_push_to_an_unknown_repository_names_it(docker: Docker, served: Served) -> None:
    image = f"{served.registry.host}/nowhere:v1"
    await docker.make_image(image)
    await login(docker, served)
    code, output = await docker("push", image)
    assert code != 0
    assert (
        f"name unknown: The repository with name 'nowhere' does not exist in the registry with id '{SCOPE.account}'"
        in output
    )


async def test_push_over_an_immutable_tag_is_refused(docker: Docker, served: Served) -> None:
    await served.create("web", tag_mutability="IMMUTABLE")
    image = f"{served.registry.host}/web:v1"
    await docker.make_image(image, b"first")
    await login(docker, served)
    await docker.ok("push", image)
    await docker.ok("push", image)  # the same again is no change
    await docker.make_image(image, b"second")
    code, output = await docker("push", image)
    assert code != 0
    assert (
        "tag invalid: The image tag 'v1' already exists in the 'web' repository and cannot be overwritten "
        "because the tag is immutable." in output
    )


async def test_login_with_a_wrong_or_expired_token_fails(docker: Docker, served: Served) -> None:
    code, output = await login(docker, served, "not a token")
    assert code != 0
    assert "401 Unauthorized" in output
    old = served.registry.token(SCOPE)
    served.clock.time += 12 * 3600
    code, output = await login(docker, served, old)
    assert code != 0
    assert "403 Forbidden" in output


async def test_push_with_an_expired_token_says_so(docker: Docker, served: Served) -> None:
    await served.create("web")
    image = f"{served.registry.host}/web:v1"
    await docker.make_image(image)
    await login(docker, served)
    served.clock.time += 12 * 3600
    code, output = await docker("push", image)
    assert code != 0
    assert "denied: Your authorization token has expired. Reauthenticate and try again." in output


async def test_a_second_repository_takes_the_layer_over_without_an_upload(docker: Docker, served: Served) -> None:
    await served.create("first")
    await served.create("second")
    one, two = f"{served.registry.host}/first:v1", f"{served.registry.host}/second:v1"
    await docker.make_image(one)
    await login(docker, served)
    await docker.ok("push", one)
    await docker.ok("tag", one, two)
    docker.images.append(two)
    assert "Mounted from first" in await docker.ok("push", two)


async def test_a_manifest_list_by_docker_manifest(docker: Docker, served: Served) -> None:
    await served.create("web")
    member, both = f"{served.registry.host}/web:amd64", f"{served.registry.host}/web:both"
    await docker.make_image(member, b"one of many")
    await login(docker, served)
    await docker.ok("push", member)
    await docker.ok("manifest", "create", "--insecure", both, member)
    await docker.ok("manifest", "push", "--insecure", both)
    await docker.ok("image", "rm", member)
    await docker.ok("pull", both)
    docker.images.append(both)
    assert await docker.ok("run", "--rm", both) == "one of many"
