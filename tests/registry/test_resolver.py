"""Names of images in task definitions: which are ours, and what an engine is told to pull."""

from __future__ import annotations

import pytest

from moorage.domain.scope import Scope
from moorage.engine.driver import CannotPullContainerError
from moorage.registry.resolver import ImageResolver

from .conftest import SCOPE, Served
from .test_http import push_image

FOREIGN = [
    "nginx",
    "docker.io/library/nginx",
    "localhost:5000/web",
    "ghcr.io/a/web:v1",
    "999.dkr.ecr.eu.amazonaws.com/web",
]


@pytest.mark.parametrize("image", FOREIGN)
async def test_foreign_images_are_left_alone(served: Served, image: str) -> None:
    resolver = ImageResolver(served.registry, served.store)
    assert resolver.pull_reference(SCOPE, image) is None
    assert resolver.digest(SCOPE, image) is None


@pytest.mark.parametrize(
    "host", ["localhost:{port}", "127.0.0.1:{port}", "{ecr}.amazonaws.com", "{ecr}.localhost:{port}"]
)
@pytest.mark.parametrize("reference", ["", ":latest", "@{digest}", ":latest@{digest}"])
async def test_all_names_of_an_image_lead_to_its_digest(served: Served, host: str, reference: str) -> None:
    await served.create("team/web")
    digest = await push_image(served, "team/web", "latest")
    image = f"{host}/team/web{reference}".format(
        port=served.registry.port, digest=digest, ecr=f"{SCOPE.account}.dkr.ecr.{SCOPE.region}"
    )
    resolver = ImageResolver(served.registry, served.store)
    assert resolver.digest(SCOPE, image) == digest
    pull = resolver.pull_reference(SCOPE, image)
    assert pull is not None
    assert pull.image == f"127.0.0.1:{served.registry.port}/team/web@{digest}"
    assert (pull.digest, pull.username) == (digest, "AWS")


async def test_a_missing_image_is_refused_in_the_words_of_ecs(served: Served) -> None:
    await served.create("web")
    image = f"{served.registry.host}/web:v9"
    with pytest.raises(CannotPullContainerError) as refusal:
        ImageResolver(served.registry, served.store).pull_reference(SCOPE, image)
    assert refusal.value.reason() == (
        "CannotPullContainerError: pull image manifest has been retried 1 time(s): "
        f"failed to resolve ref {image}: {image}: not found"
    )


async def test_an_image_of_another_account_needs_its_policy(served: Served) -> None:
    await served.create("web")
    await push_image(served, "web", "v1")
    stranger = Scope("999999999999", "eu-west-1")
    image = f"{SCOPE.account}.dkr.ecr.{SCOPE.region}.amazonaws.com/web:v1"
    with pytest.raises(CannotPullContainerError, match="403 Forbidden"):
        ImageResolver(served.registry, served.store).pull_reference(stranger, image)
