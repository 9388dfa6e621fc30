"""Records in ECR's shapes."""

from __future__ import annotations

from typing import Any

from moorage.domain.ecr import Image, Repository

SCAN_DESCRIPTION = "Moorage searches for no vulnerabilities: the scan completed, and its empty list says nothing."


def repository(record: Repository, uri: str) -> dict[str, Any]:
    encryption = {"encryptionType": record.encryption_type}
    if record.kms_key is not None:
        encryption["kmsKey"] = record.kms_key
    shape: dict[str, Any] = {
        "repositoryArn": record.arn,
        "registryId": record.account,
        "repositoryName": record.name,
        "repositoryUri": uri,
        "createdAt": record.created_at,
        "imageTagMutability": record.tag_mutability,
        "imageScanningConfiguration": {"scanOnPush": record.scan_on_push},
        "encryptionConfiguration": encryption,
    }
    if record.mutability_exclusions:
        shape["imageTagMutabilityExclusionFilters"] = exclusion_filters(record)
    return shape


def exclusion_filters(record: Repository) -> list[dict[str, str]]:
    return [{"filterType": "WILDCARD", "filter": pattern} for pattern in record.mutability_exclusions]


def named(record: Repository) -> dict[str, str]:
    """The two members that nearly every answer begins with."""
    return {"registryId": record.account, "repositoryName": record.name}


def image_id(digest: str | None, tag: str | None = None) -> dict[str, str]:
    shape = {"imageDigest": digest} if digest is not None else {}
    return shape | ({"imageTag": tag} if tag is not None else {})


def image(record: Image, owner: Repository, tag: str | None) -> dict[str, Any]:
    return {
        **named(owner),
        "imageId": image_id(record.digest, tag),
        "imageManifest": record.manifest.decode(),
        "imageManifestMediaType": record.media_type,
    }


def image_detail(record: Image, owner: Repository, tags: list[str]) -> dict[str, Any]:
    shape: dict[str, Any] = {
        **named(owner),
        "imageDigest": record.digest,
        "imageSizeInBytes": record.size,
        "imagePushedAt": record.pushed_at,
        "imageManifestMediaType": record.media_type,
        "imageStatus": "ACTIVE",
    }
    if tags:
        shape["imageTags"] = tags
    if record.artifact_media_type is not None:
        shape["artifactMediaType"] = record.artifact_media_type
    if record.subject is not None:
        shape["subjectManifestDigest"] = record.subject
    if record.last_pulled_at is not None:
        shape["lastRecordedPullTime"] = record.last_pulled_at
    if record.scanned_at is not None:
        shape["imageScanStatus"] = scan_status()
        shape["imageScanFindingsSummary"] = {
            "imageScanCompletedAt": record.scanned_at,
            "vulnerabilitySourceUpdatedAt": record.scanned_at,
            "findingSeverityCounts": {},
        }
    return shape


def scan_status() -> dict[str, str]:
    return {"status": "COMPLETE", "description": SCAN_DESCRIPTION}


def tag_list(record: Repository) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in sorted(record.tags.items())]
