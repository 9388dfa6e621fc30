"""ECR records: repositories, images (manifests), tags, layers. Source: semantics around §1.

An image is a manifest; its digest is its identity. A tag is a record of its own, so that moving a tag is one write and
an image that lost its last tag simply has none. A layer record says that a repository may serve a blob: the bytes are
shared by all repositories (content-addressed files), the right to read them is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from moorage.domain.scope import Scope

TagMutability = Literal["MUTABLE", "IMMUTABLE", "IMMUTABLE_WITH_EXCLUSION", "MUTABLE_WITH_EXCLUSION"]


class Repository(msgspec.Struct, frozen=True):
    """`mutability_exclusions`: wildcard patterns of tags that are treated the other way round. `policy_text` and
    `lifecycle_policy_text` as the user wrote them. Times are epoch seconds."""

    arn: str
    account: str
    region: str
    name: str
    created_at: float
    tag_mutability: TagMutability = "MUTABLE"
    mutability_exclusions: tuple[str, ...] = ()
    scan_on_push: bool = False
    encryption_type: str = "AES256"
    kms_key: str | None = None
    policy_text: str | None = None
    lifecycle_policy_text: str | None = None
    lifecycle_evaluated_at: float | None = None
    tags: Mapping[str, str] = {}

    @property
    def scope(self) -> Scope:
        return Scope(self.account, self.region)


class Image(msgspec.Struct, frozen=True):
    """One manifest in one repository. `blobs` are the layers and the config that it needs, `children` the manifests
    of a list or index, `subject` the manifest that it describes (OCI referrers). `size` in bytes, compressed."""

    repository_arn: str
    digest: str
    media_type: str
    manifest: bytes
    pushed_at: float
    size: int = 0
    blobs: tuple[str, ...] = ()
    children: tuple[str, ...] = ()
    subject: str | None = None
    artifact_media_type: str | None = None
    scanned_at: float | None = None
    last_pulled_at: float | None = None

    @property
    def key(self) -> str:
        return image_key(self.repository_arn, self.digest)


class ImageTag(msgspec.Struct, frozen=True):
    repository_arn: str
    tag: str
    digest: str

    @property
    def key(self) -> str:
        return tag_key(self.repository_arn, self.tag)


class Layer(msgspec.Struct, frozen=True):
    """A blob that `repository_arn` may serve. `size` in bytes."""

    repository_arn: str
    digest: str
    size: int
    uploaded_at: float

    @property
    def key(self) -> str:
        return image_key(self.repository_arn, self.digest)


class ImageFacts(msgspec.Struct, frozen=True):
    """What a policy can see of an image. Times are epoch seconds; `referenced_by`: the lists and indexes that hold it."""

    digest: str
    pushed_at: float
    tags: tuple[str, ...] = ()
    pulled_at: float | None = None
    referenced_by: tuple[str, ...] = ()


class PreviewedExpiry(msgspec.Struct, frozen=True):
    """An image that a previewed lifecycle policy would expire."""

    digest: str
    tags: tuple[str, ...]
    pushed_at: float
    rule_priority: int


class LifecyclePreview(msgspec.Struct, frozen=True):
    """The last preview of a repository (StartLifecyclePolicyPreview)."""

    repository_arn: str
    policy_text: str
    expiring: tuple[PreviewedExpiry, ...]


class PullReference(msgspec.Struct, frozen=True):
    """What an engine needs to pull an image of ours: `image` by digest at an address that any local engine reaches
    over plain HTTP, and the credentials for it."""

    image: str
    digest: str
    username: str
    password: str


def repository_arn(scope: Scope, name: str) -> str:
    return scope.arn("ecr", f"repository/{name}")


def image_key(repository_arn: str, digest: str) -> str:
    return f"{repository_arn}@{digest}"


def tag_key(repository_arn: str, tag: str) -> str:
    return f"{repository_arn}:{tag}"


def not_in_registry(name: str, account: str) -> str:
    """The sentence for a repository that does not exist, in the API and in `docker push`."""
    return f"The repository with name '{name}' does not exist in the registry with id '{account}'"


def immutable_tag(tag: str, name: str) -> str:
    return (
        f"The image tag '{tag}' already exists in the '{name}' repository and cannot be overwritten "
        "because the tag is immutable."
    )


EXPIRED_SENTENCE = "Your authorization token has expired. Reauthenticate and try again."
