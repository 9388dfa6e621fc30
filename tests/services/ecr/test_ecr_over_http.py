"""ECR and its registry on the one port: what a deployment guide does, with boto3 and the docker CLI."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import boto3
import pytest
import pytest_asyncio
from botocore.config import Config

from moorage.domain.clock import Ids, SystemClock
from moorage.gateway.server import Gateway
from moorage.registry.registry import Registry
from moorage.services.ecr.provider import EcrProvider
from moorage.settings import Settings
from moorage.store.log_memory import MemoryLog
from moorage.store.memory import Store
from moorage.store.tables.ecr import TABLES
from support.images import busybox_image


@pytest_asyncio.fixture
async def port(tmp_path: Path) -> AsyncIterator[int]:
    clock, ids = SystemClock(), Ids(1)
    store = await Store.open(MemoryLog(), TABLES)
    gateway = Gateway(Settings(port=0, data_dir=tmp_path), clock, ids)
    port = await gateway.start()
    registry = Registry(tmp_path, store, clock, ids, port=port)
    gateway.add_provider(EcrProvider(store, clock, ids, registry))
    gateway.add_route("/v2/", registry.handle)
    yield port
    await gateway.close(grace=1.0)
    await registry.close()
    await store.close()


def client(port: int) -> Any:
    return boto3.client(
        "ecr",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="eu-west-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"max_attempts": 0}),
    )


async def docker(config: Path, *arguments: str, stdin: bytes = b"") -> str:
    process = await asyncio.create_subprocess_exec(
        "docker",
        *arguments,
        env={**os.environ, "DOCKER_CONFIG": str(config)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate(stdin)
    assert process.returncode == 0, output.decode()
    return output.decode()


async def test_a_layer_by_the_api_and_its_download_address(port: int) -> None:
    data = os.urandom(3_000_000)
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"

    def person() -> str:
        ecr = client(port)
        ecr.create_repository(repositoryName="web")
        upload = ecr.initiate_layer_upload(repositoryName="web")["uploadId"]
        for first in range(0, len(data), 1_000_000):
            part = data[first : first + 1_000_000]
            ecr.upload_layer_part(
                repositoryName="web",
                uploadId=upload,
                partFirstByte=first,
                partLastByte=first + len(part) - 1,
                layerPartBlob=part,
            )
        ecr.complete_layer_upload(repositoryName="web", uploadId=upload, layerDigests=[digest])
        return str(ecr.get_download_url_for_layer(repositoryName="web", layerDigest=digest)["downloadUrl"])

    url = await asyncio.to_thread(person)
    async with aiohttp.ClientSession() as anonymous:
        async with anonymous.get(url) as answer:
            assert await answer.read() == data
        async with anonymous.get(url.replace("Signature=", "Signature=0")) as answer:
            assert answer.status == 403
        async with anonymous.get(url.replace("/blobs/", "/manifests/")) as answer:
            assert answer.status == 403


async def test_refusals_reach_boto3_as_its_exceptions(port: int) -> None:
    def person() -> None:
        ecr = client(port)
        with pytest.raises(ecr.exceptions.RepositoryNotFoundException, match="does not exist in the registry with id"):
            ecr.describe_repositories(repositoryNames=["nowhere"])
        ecr.create_repository(repositoryName="web", imageScanningConfiguration={"scanOnPush": True})
        with pytest.raises(ecr.exceptions.RepositoryAlreadyExistsException):
            ecr.create_repository(repositoryName="web")
        with pytest.raises(ecr.exceptions.LifecyclePolicyNotFoundException):
            ecr.get_lifecycle_policy(repositoryName="web")

    await asyncio.to_thread(person)


@pytest.mark.docker
async def test_create_login_build_push_describe_pull_delete(port: int, tmp_path: Path) -> None:
    config = tmp_path / "docker"
    ecr = client(port)
    repository = (await asyncio.to_thread(lambda: ecr.create_repository(repositoryName="team/web")))["repository"]
    (data,) = (await asyncio.to_thread(ecr.get_authorization_token))["authorizationData"]
    user, _, password = base64.b64decode(data["authorizationToken"]).decode().partition(":")
    await docker(
        config, "login", "--username", user, "--password-stdin", data["proxyEndpoint"], stdin=password.encode()
    )
    image = f"{repository['repositoryUri']}:v1"
    await docker(config, "tag", await busybox_image(), image)
    try:
        pushed = await docker(config, "push", image)
        found = await asyncio.to_thread(
            lambda: ecr.describe_images(repositoryName="team/web", imageIds=[{"imageTag": "v1"}])
        )
        (detail,) = found["imageDetails"]
        assert detail["imageDigest"] in pushed
        assert detail["imageSizeInBytes"] > 500_000
        await docker(config, "rmi", image)
        by_digest = f"127.0.0.1:{port}/team/web@{detail['imageDigest']}"
        # The engine's side pulls by digest from the loopback address; docker keeps credentials by host name.
        await docker(
            config, "login", "--username", user, "--password-stdin", f"127.0.0.1:{port}", stdin=password.encode()
        )
        assert detail["imageDigest"] in await docker(config, "pull", by_digest)
        await docker(config, "rmi", by_digest)
    finally:
        await asyncio.to_thread(lambda: ecr.delete_repository(repositoryName="team/web", force=True))
