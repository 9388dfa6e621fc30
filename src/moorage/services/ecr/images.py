"""Images by manifest: put, get, describe, list, delete; scans."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from moorage.domain.ecr import Image, Repository, image_key, tag_key
from moorage.domain.errors import AwsError
from moorage.registry.images import parse_manifest, put_image
from moorage.registry.names import is_digest
from moorage.services.base import RequestContext, operation
from moorage.services.ecr import present
from moorage.services.ecr.common import EcrOperations, Params, in_repository, page
from moorage.store.api import Transaction, View
from moorage.store.tables.ecr import IMAGE_TAGS, IMAGES, delete_image, tags_of

Answer = dict[str, Any]

# failureCode → failureReason
FAILURES = {
    "ImageNotFound": "Requested image not found",
    "ImageTagDoesNotMatchDigest": "Requested image tag does not match the digest",
    "InvalidImageDigest": "Invalid request parameters: image digest should satisfy the regex "
    "'[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+'",
    "MissingDigestAndTag": "Invalid request parameters: both tag and digest cannot be null",
}


class ImageOperations(EcrOperations):
    @operation("PutImage")
    async def put_image(self, context: RequestContext, params: Params) -> Answer:
        content: bytes = params["imageManifest"].encode()
        manifest = parse_manifest(content, params.get("imageManifestMediaType"))
        expected = params.get("imageDigest")
        if expected is not None and expected != manifest.digest:
            raise AwsError(
                "ImageDigestDoesNotMatchException",
                f"The calculated image digest '{manifest.digest}' does not match the provided digest '{expected}'",
            )
        tag = params.get("imageTag")
        now = self._clock.now()

        def put(tx: Transaction) -> tuple[Repository, Image]:
            owner = self._repository(tx, context, params)
            if not put_image(tx, owner, content, manifest, tag, now):
                tagged = f" and tag '{tag}'" if tag is not None else ""
                raise AwsError(
                    "ImageAlreadyExistsException",
                    f"Image with digest '{manifest.digest}'{tagged} already exists in the repository with name "
                    f"'{owner.name}' in registry with id '{owner.account}'",
                )
            image = tx.get(IMAGES, image_key(owner.arn, manifest.digest))
            assert image is not None
            return owner, image

        owner, image = await self._store.update(put)
        return {"image": present.image(image, owner, tag)}

    @operation("BatchGetImage")
    async def batch_get_image(self, context: RequestContext, params: Params) -> Answer:
        owner = self._repository(self._store, context, params)
        images: list[Answer] = []
        failures: list[Answer] = []
        for wanted in params["imageIds"]:
            found = _find(self._store, owner, wanted)
            if isinstance(found, Image):
                images.append(present.image(found, owner, wanted.get("imageTag")))
            else:
                failures.append(_failure(wanted, found))
        return {"images": images, "failures": failures}

    @operation("BatchDeleteImage")
    async def batch_delete_image(self, context: RequestContext, params: Params) -> Answer:
        """By tag: the tag goes, and the image with its last tag. By digest: the image and all its tags."""

        def delete(tx: Transaction) -> Answer:
            owner = self._repository(tx, context, params)
            removed: list[Answer] = []
            failures: list[Answer] = []
            for wanted in params["imageIds"]:
                found = _find(tx, owner, wanted)
                if not isinstance(found, Image):
                    failures.append(_failure(wanted, found))
                    continue
                tags = tags_of(tx, owner.arn, found.digest)
                if wanted.get("imageTag") and tags != [wanted["imageTag"]]:
                    tx.delete(IMAGE_TAGS, tag_key(owner.arn, wanted["imageTag"]))
                    removed.append(present.image_id(found.digest, wanted["imageTag"]))
                    continue
                lists = _lists_with(tx, owner, found.digest)
                if lists:
                    reason = f"Requested image referenced by manifest list: [{', '.join(lists)}]"
                    failures.append(_failure(wanted, "ImageReferencedByManifestList", reason))
                    continue
                delete_image(tx, owner.arn, found.digest)
                removed += [present.image_id(found.digest, tag) for tag in tags] or [present.image_id(found.digest)]
            return {"imageIds": removed, "failures": failures}

        return await self._store.update(delete)

    @operation("DescribeImages")
    async def describe_images(self, context: RequestContext, params: Params) -> Answer:
        owner = self._repository(self._store, context, params)
        if params.get("imageIds"):
            found = {image.digest: image for wanted in params["imageIds"] for image in [self._image(owner, wanted)]}
            return {"imageDetails": [self._detail(image, owner) for image in found.values()]}
        wanted = _tag_filter(params)
        images = [
            image
            for image in self._store.find(IMAGES, "repository", owner.arn)
            if wanted(tags_of(self._store, owner.arn, image.digest))
        ]
        shown, token = page(sorted(images, key=lambda image: image.digest), lambda image: image.digest, params)
        return {"imageDetails": [self._detail(image, owner) for image in shown], **token}

    @operation("ListImages")
    async def list_images(self, context: RequestContext, params: Params) -> Answer:
        """One entry per tag, and one for each image without a tag."""
        owner = self._repository(self._store, context, params)
        wanted = _tag_filter(params)
        entries: list[tuple[str, str | None]] = []
        for image in self._store.find(IMAGES, "repository", owner.arn):
            tags = tags_of(self._store, owner.arn, image.digest)
            if wanted(tags):
                entries += [(image.digest, tag) for tag in tags] or [(image.digest, None)]
        entries.sort(key=_entry_key)
        shown, token = page(entries, _entry_key, params)
        return {"imageIds": [present.image_id(digest, tag) for digest, tag in shown], **token}

    # -- scans -------------------------------------------------------------------------------------------------------

    @operation("StartImageScan")
    async def start_image_scan(self, context: RequestContext, params: Params) -> Answer:
        now = self._clock.now()

        def scan(tx: Transaction) -> tuple[Repository, Image]:
            owner = self._repository(tx, context, params)
            image = self._image(owner, params["imageId"], tx)
            return owner, tx.put(IMAGES, msgspec.structs.replace(image, scanned_at=now))

        owner, image = await self._store.update(scan)
        return self._scan(owner, image, params)

    @operation("DescribeImageScanFindings")
    async def describe_image_scan_findings(self, context: RequestContext, params: Params) -> Answer:
        owner = self._repository(self._store, context, params)
        image = self._image(owner, params["imageId"])
        if image.scanned_at is None:
            raise AwsError(
                "ScanNotFoundException",
                f"Image scan does not exist for the image with '{_named(params['imageId'])}' in the "
                f"{in_repository(owner)}",
            )
        findings = {
            "imageScanCompletedAt": image.scanned_at,
            "vulnerabilitySourceUpdatedAt": image.scanned_at,
            "findingSeverityCounts": {},
            "findings": [],
        }
        return {**self._scan(owner, image, params), "imageScanFindings": findings}

    # -- helpers -----------------------------------------------------------------------------------------------------

    def _scan(self, owner: Repository, image: Image, params: Params) -> Answer:
        shown = present.image_id(image.digest, params["imageId"].get("imageTag"))
        return {**present.named(owner), "imageId": shown, "imageScanStatus": present.scan_status()}

    def _detail(self, image: Image, owner: Repository) -> Answer:
        return present.image_detail(image, owner, tags_of(self._store, owner.arn, image.digest))

    def _image(self, owner: Repository, wanted: Params, view: View | None = None) -> Image:
        found = _find(view or self._store, owner, wanted)
        if isinstance(found, Image):
            return found
        if found in ("MissingDigestAndTag", "InvalidImageDigest"):
            raise AwsError("InvalidParameterException", FAILURES[found])
        raise AwsError(
            "ImageNotFoundException",
            f"The image with imageId {_named(wanted)} does not exist within the repository with name '{owner.name}' "
            f"in the registry with id '{owner.account}'",
        )


def _find(view: View, owner: Repository, wanted: Params) -> Image | str:
    """The image that an ImageIdentifier names, or the failure code."""
    digest, tag = wanted.get("imageDigest"), wanted.get("imageTag")
    if digest is None and tag is None:
        return "MissingDigestAndTag"
    if digest is not None and not is_digest(digest):
        return "InvalidImageDigest"
    if tag is not None:
        record = view.get(IMAGE_TAGS, tag_key(owner.arn, tag))
        if record is None:
            return "ImageNotFound"
        if digest is not None and record.digest != digest:
            return "ImageTagDoesNotMatchDigest"
        digest = record.digest
    assert digest is not None
    return view.get(IMAGES, image_key(owner.arn, digest)) or "ImageNotFound"


def _failure(wanted: Params, code: str, reason: str | None = None) -> Answer:
    return {"imageId": dict(wanted), "failureCode": code, "failureReason": reason or FAILURES[code]}


def _lists_with(view: View, owner: Repository, digest: str) -> list[str]:
    return [image.digest for image in view.find(IMAGES, "repository", owner.arn) if digest in image.children]


def _named(wanted: Params) -> str:
    return f"{{imageDigest:'{wanted.get('imageDigest', 'null')}', imageTag:'{wanted.get('imageTag', 'null')}'}}"


def _entry_key(entry: tuple[str, str | None]) -> str:
    return f"{entry[0]} {entry[1] or ''}"


def _tag_filter(params: Params) -> Callable[[list[str]], bool]:
    status = (params.get("filter") or {}).get("tagStatus", "ANY")
    return {"ANY": lambda tags: True, "TAGGED": bool, "UNTAGGED": lambda tags: not tags}[status]
