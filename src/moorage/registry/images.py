"""What a manifest says, and putting one into a repository inside a transaction.

Used by `docker push` and by PutImage alike: the rules (layers present, tags immutable, digest right) are ECR's, the
refusals ECR's `AwsError`s. Source: semantics around §1.1. Nothing here touches files or HTTP.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import msgspec

from moorage.domain.ecr import Image, ImageTag, Repository, image_key, immutable_tag, tag_key
from moorage.domain.errors import AwsError
from moorage.registry.names import is_digest, is_tag
from moorage.store.api import Transaction
from moorage.store.tables.ecr import IMAGE_TAGS, IMAGES, LAYERS

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
LISTS = frozenset({DOCKER_LIST, OCI_INDEX})
MEDIA_TYPES = frozenset({DOCKER_MANIFEST, OCI_MANIFEST}) | LISTS
MAX_MANIFEST = 4 << 20


class Manifest(msgspec.Struct, frozen=True):
    """`blobs`: (digest, size) of the config and of every layer that the registry must hold."""

    digest: str
    media_type: str
    blobs: tuple[tuple[str, int], ...]
    children: tuple[str, ...]
    subject: str | None
    artifact_media_type: str | None


def _invalid(why: str) -> AwsError:
    return AwsError(
        "InvalidParameterException", f"Invalid parameter at 'ImageManifest' failed to satisfy constraint: '{why}'"
    )


def parse_manifest(content: bytes, media_type: str | None) -> Manifest:
    """Reads a manifest. `media_type` as declared by the caller (None: whatever the manifest says of itself)."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        raise _invalid("Invalid JSON syntax") from None
    if not isinstance(document, dict) or document.get("schemaVersion") != 2:
        raise _invalid("schemaVersion must be 2")
    stated = document.get("mediaType")
    kind = media_type or stated or (OCI_INDEX if "manifests" in document else OCI_MANIFEST)
    if kind not in MEDIA_TYPES:
        raise _invalid(f"unsupported manifest media type {kind}")
    if stated is not None and stated != kind:
        raise _invalid(f"manifest media type {stated} does not match {kind}")
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    subject = _descriptor(document["subject"])[0] if document.get("subject") else None
    if kind in LISTS:
        children = tuple(_descriptor(entry)[0] for entry in _list(document, "manifests"))
        return Manifest(digest, kind, (), children, subject, document.get("artifactType"))
    config = document.get("config")
    blobs = [_descriptor(config)]
    blobs += [_descriptor(layer) for layer in _list(document, "layers") if not layer.get("urls")]
    artifact = document.get("artifactType") or (config.get("mediaType") if isinstance(config, Mapping) else None)
    return Manifest(digest, kind, tuple(blobs), (), subject, artifact)


def _list(document: Mapping[str, Any], member: str) -> list[dict[str, Any]]:
    entries = document.get(member)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise _invalid(f"{member} must be a list of descriptors")
    return entries


def _descriptor(value: Any) -> tuple[str, int]:
    digest = value.get("digest") if isinstance(value, Mapping) else None
    size = value.get("size") if isinstance(value, Mapping) else None
    if not isinstance(digest, str) or not is_digest(digest) or not isinstance(size, int) or size < 0:
        raise _invalid("a descriptor needs a sha256 digest and a size")
    return digest, size


def tag_is_immutable(repository: Repository, tag: str) -> bool:
    """MUTABLE → no; IMMUTABLE → yes; …_WITH_EXCLUSION → the other way round for tags that a filter matches."""
    immutable = repository.tag_mutability.startswith("IMMUTABLE")
    excluded = any(fnmatch.fnmatchcase(tag, _literal_brackets(pattern)) for pattern in repository.mutability_exclusions)
    return immutable != (excluded and repository.tag_mutability.endswith("_WITH_EXCLUSION"))


def _literal_brackets(pattern: str) -> str:
    return pattern.replace("[", "[[]").replace("?", "[?]")


def put_image(
    tx: Transaction, repository: Repository, content: bytes, manifest: Manifest, tag: str | None, now: float
) -> bool:
    """Stores the manifest and points the tag at it. Returns False when the very same manifest and tag were there.

    Raises LayersNotFoundException, ReferencedImagesNotFoundException, ImageTagAlreadyExistsException and
    InvalidParameterException (bad tag), having changed nothing."""
    if tag is not None and not is_tag(tag):
        raise AwsError(
            "InvalidParameterException",
            f"Invalid parameter at 'imageTag' failed to satisfy constraint: '{tag}' is not a valid image tag",
        )
    missing = [digest for digest, _ in manifest.blobs if tx.get(LAYERS, image_key(repository.arn, digest)) is None]
    if missing:
        raise AwsError(
            "LayersNotFoundException",
            f"Layers with digests '[{', '.join(missing)}]' required for pushing image into repository with name "
            f"'{repository.name}' in the registry with id '{repository.account}' do not exist",
        )
    children = {child: tx.get(IMAGES, image_key(repository.arn, child)) for child in manifest.children}
    absent = [digest for digest, child in children.items() if child is None]
    if absent:
        raise AwsError(
            "ReferencedImagesNotFoundException",
            f"Images with digests '[{', '.join(absent)}]' required for pushing image into repository with name "
            f"'{repository.name}' in the registry with id '{repository.account}' do not exist",
        )
    existing = tx.get(IMAGES, image_key(repository.arn, manifest.digest))
    tagged = tx.get(IMAGE_TAGS, tag_key(repository.arn, tag)) if tag is not None else None
    if existing is not None and (tag is None or (tagged is not None and tagged.digest == manifest.digest)):
        return False
    if tag is not None:
        if tagged is not None and tag_is_immutable(repository, tag):
            raise AwsError("ImageTagAlreadyExistsException", immutable_tag(tag, repository.name))
        tx.put(IMAGE_TAGS, ImageTag(repository.arn, tag, manifest.digest))
    if existing is None:
        # A list is as large as its largest member (imageSizeInBytes in the service model).
        size = sum(size for _, size in manifest.blobs) or max((c.size for c in children.values() if c), default=0)
        tx.put(
            IMAGES,
            Image(
                repository_arn=repository.arn,
                digest=manifest.digest,
                media_type=manifest.media_type,
                manifest=content,
                pushed_at=now,
                size=size,
                blobs=tuple(digest for digest, _ in manifest.blobs),
                children=manifest.children,
                subject=manifest.subject,
                artifact_media_type=manifest.artifact_media_type,
                scanned_at=now if repository.scan_on_push else None,
            ),
        )
    return True
