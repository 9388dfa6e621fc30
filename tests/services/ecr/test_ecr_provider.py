"""ECR's operations against the real store and registry; every answer is checked against the official service model."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import botocore.session
import pytest
import pytest_asyncio
from botocore.validate import ParamValidator

from moorage.control.lifecycle import LifecycleController
from moorage.domain.clock import Ids
from moorage.domain.errors import AwsError
from moorage.domain.scope import Scope
from moorage.registry.images import OCI_INDEX, OCI_MANIFEST
from moorage.registry.registry import Registry
from moorage.services.base import RequestContext
from moorage.services.ecr.provider import EcrProvider
from moorage.store.log_memory import MemoryLog
from moorage.store.memory import Store
from moorage.store.tables.ecr import TABLES

MODEL = botocore.session.get_session().get_service_model("ecr")
ACCOUNT = "111122223333"
REPOSITORY_ARN = f"arn:aws:ecr:eu-west-1:{ACCOUNT}:repository/web"


class HandClock:
    time = 1_700_000_000.0

    def now(self) -> float:
        return self.time


class Ecr:
    """The provider as a caller sees it: `await ecr("CreateRepository", repositoryName="web")`."""

    def __init__(self, data_dir: Path, store: Store, clock: HandClock) -> None:
        self.clock = clock
        self.store = store
        self.registry = Registry(data_dir, store, clock, Ids(1), port=4566)
        self._handlers = EcrProvider(store, clock, Ids(2), self.registry).handlers()

    async def __call__(self, operation: str, account: str = ACCOUNT, **params: Any) -> dict[str, Any]:
        context = RequestContext(account, "eu-west-1", "ecr", operation, "r", "test", f"arn:aws:iam::{account}:root")
        answer = dict(await self._handlers[operation](context, params) or {})
        report = ParamValidator().validate(answer, MODEL.operation_model(operation).output_shape)
        # Lengths bind requests only: AWS answers empty lists where the model says "at least one".
        wrong = [line for line in report.generate_report().splitlines() if not line.startswith("Invalid length")]
        assert not wrong, wrong
        return answer

    async def layer(self, data: bytes, repository: str = "web") -> str:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        upload = (await self("InitiateLayerUpload", repositoryName=repository))["uploadId"]
        await self(
            "UploadLayerPart",
            repositoryName=repository,
            uploadId=upload,
            partFirstByte=0,
            partLastByte=len(data) - 1,
            layerPartBlob=data,
        )
        await self("CompleteLayerUpload", repositoryName=repository, uploadId=upload, layerDigests=[digest])
        return digest

    async def image(self, tag: str | None, data: bytes = b"layer", repository: str = "web") -> str:
        """Puts an image whose one layer is `data`; answers its digest."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        known = await self("BatchCheckLayerAvailability", repositoryName=repository, layerDigests=[digest])
        if known["layers"][0]["layerAvailability"] == "UNAVAILABLE":
            await self.layer(data, repository)
        descriptor = {"digest": digest, "size": len(data)}
        manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": descriptor, "layers": []}
        params = {"imageTag": tag} if tag is not None else {}
        put = await self("PutImage", repositoryName=repository, imageManifest=json.dumps(manifest), **params)
        return str(put["image"]["imageId"]["imageDigest"])


@pytest_asyncio.fixture
async def ecr(tmp_path: Path) -> AsyncIterator[Ecr]:
    store = await Store.open(MemoryLog(), TABLES, verify=True)
    yield Ecr(tmp_path, store, HandClock())
    await store.close()


async def refusal(call: Awaitable[Any]) -> tuple[str, str]:
    with pytest.raises(AwsError) as error:
        await call
    return error.value.code, error.value.message


# -- repositories ------------------------------------------------------------------------------------------------------


async def test_a_new_repository_has_the_defaults_of_ecr(ecr: Ecr) -> None:
    repository = (await ecr("CreateRepository", repositoryName="web"))["repository"]
    assert repository == {
        "repositoryArn": REPOSITORY_ARN,
        "registryId": ACCOUNT,
        "repositoryName": "web",
        "repositoryUri": "localhost:4566/web",
        "createdAt": ecr.clock.time,
        "imageTagMutability": "MUTABLE",
        "imageScanningConfiguration": {"scanOnPush": False},
        "encryptionConfiguration": {"encryptionType": "AES256"},
    }
    described = await ecr("DescribeRepositories", repositoryNames=["web"])
    assert described["repositories"] == [repository]


async def test_a_second_repository_of_the_name_is_refused(ecr: Ecr) -> None:
    await ecr("CreateRepository", repositoryName="web")
    assert await refusal(ecr("CreateRepository", repositoryName="web")) == (
        "RepositoryAlreadyExistsException",
        f"The repository with name 'web' already exists in the registry with id '{ACCOUNT}'",
    )


@pytest.mark.parametrize("name", ["a", "Web", "web/", "-web", "we b", "a" * 257])
async def test_names_that_are_no_repository_names(ecr: Ecr, name: str) -> None:
    code, message = await refusal(ecr("CreateRepository", repositoryName=name))
    assert code == "InvalidParameterException"
    assert message.startswith("Invalid parameter at 'repositoryName' failed to satisfy constraint: '")


async def test_an_unknown_repository(ecr: Ecr) -> None:
    expected = (
        "RepositoryNotFoundException",
        f"The repository with name 'nowhere' does not exist in the registry with id '{ACCOUNT}'",
    )
    assert await refusal(ecr("DescribeRepositories", repositoryNames=["nowhere"])) == expected
    assert await refusal(ecr("DescribeImages", repositoryName="nowhere")) == expected
    assert await refusal(ecr("DeleteRepository", repositoryName="nowhere")) == expected


async def test_accounts_do_not_see_each_other(ecr: Ecr) -> None:
    await ecr("CreateRepository", repositoryName="web")
    assert (await ecr("DescribeRepositories", account="999999999999"))["repositories"] == []
    call = ecr("ListImages", account="999999999999", repositoryName="web", registryId=ACCOUNT)
    assert (await refusal(call))[0] == "AccessDeniedException"


async def test_repositories_are_described_in_pages(ecr: Ecr) -> None:
    for name in ("cc", "aa", "bb"):
        await ecr("CreateRepository", repositoryName=name)
    first = await ecr("DescribeRepositories", maxResults=2)
    second = await ecr("DescribeRepositories", maxResults=2, nextToken=first["nextToken"])
    assert [r["repositoryName"] for r in first["repositories"] + second["repositories"]] == ["aa", "bb", "cc"]
    assert "nextToken" not in second
    assert (await refusal(ecr("DescribeRepositories", nextToken="ä")))[0] == "InvalidParameterException"


async def test_a_repository_with_images_is_deleted_only_by_force(ecr: Ecr) -> None:
    await ecr("CreateRepository", repositoryName="web")
    await ecr.image("v1")
    assert await refusal(ecr("DeleteRepository", repositoryName="web")) == (
        "RepositoryNotEmptyException",
        f"The repository with name 'web' in registry with id '{ACCOUNT}' cannot be deleted because it still contains "
        "images",
    )
    await ecr("DeleteRepository", repositoryName="web", force=True)
    assert all(not ecr.store.all(table) for table in TABLES)


async def test_tags_of_a_repository(ecr: Ecr) -> None:
    await ecr("CreateRepository", repositoryName="web", tags=[{"Key": "team", "Value": "a"}])
    await ecr("TagResource", resourceArn=REPOSITORY_ARN, tags=[{"Key": "stage", "Value": "prod"}])
    await ecr("UntagResource", resourceArn=REPOSITORY_ARN, tagKeys=["team"])
    listed = await ecr("ListTagsForResource", resourceArn=REPOSITORY_ARN)
    assert listed["tags"] == [{"Key": "stage", "Value": "prod"}]


async def test_repository_policy(ecr: Ecr) -> None:
    await ecr("CreateRepository", repositoryName="web")
    assert (await refusal(ecr("GetRepositoryPolicy", repositoryName="web")))[0] == "RepositoryPolicyNotFoundException"
    text = json.dumps({"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "ecr:ListImages"}]})
    await ecr("SetRepositoryPolicy", repositoryName="web", policyText=text)
    assert (await ecr("GetRepositoryPolicy", repositoryName="web"))["policyText"] == text
    shared = await ecr("ListImages", account="999999999999", repositoryName="web", registryId=ACCOUNT)
    assert shared["imageIds"] == []
    assert (await refusal(ecr("SetRepositoryPolicy", repositoryName="web", policyText="{}")))[0] == (
        "InvalidParameterException"
    )
    await ecr("DeleteRepositoryPolicy", repositoryName="web")
    assert (await refusal(ecr("DeleteRepositoryPolicy", repositoryName="web")))[0] == (
        "RepositoryPolicyNotFoundException"
    )


async def test_the_authorization_token_is_the_registrys(ecr: Ecr) -> None:
    (data,) = (await ecr("GetAuthorizationToken"))["authorizationData"]
    user, _, password = base64.b64decode(data["authorizationToken"]).decode().partition(":")
    assert user == "AWS"
    assert password == ecr.registry.token(Scope(ACCOUNT, "eu-west-1"))
    assert data["proxyEndpoint"] == "http://localhost:4566"
    assert data["expiresAt"] == ecr.clock.time + 12 * 3600


# -- images ------------------------------------------------------------------------------------------------------------


async def test_the_same_manifest_and_tag_again(ecr: Ecr) -> None:
    await ecr("CreateRepository", repositoryName="web")
    digest = await ecr.image("v1")
    assert await refusal(ecr.image("v1")) == (
        "ImageAlreadyExistsException",
        f"Image with digest '{digest}' and tag 'v1' already exists in the repository with name 'web' in registry with "
        f"id '{ACCOUNT}'",
    )


async def test_a_tag_moves_and_the_old_image_stays_untagged(ecr: Ecr) -> None:
    await ecr("CreateRepository", repositoryName="web")
    old = await ecr.image("v1", b"old")
    new = await ecr.image("v1", b"new")
    untagged = await ecr("ListImages", repositoryName="web", filter={"tagStatus": "UNTAGGED"})
    assert untagged["imageIds"] == [{"imageDigest": old}]
    tagged = await ecr("ListImages", repositoryName="web", filter={"tagStatus": "TAGGED"})
    assert tagged["imageIds"] == [{"imageDigest": new, "imageTag": "v1"}]


@pytest.mark.parametrize(
    ("mutability", "filters", "refused"),
    [
        ("MUTABLE", [], False),
        ("IMMUTABLE", [], True),
        ("IMMUTABLE_WITH_EXCLUSION", ["v*"], False),
        ("IMMUTABLE_WITH_EXCLUSION", ["dev-*"], True),
        ("MUTABLE_WITH_EXCLUSION", ["v*"], True),
        ("MUTABLE_WITH_EXCLUSION", ["[v]1"], False),
    ],
)
async def test_who_may_overwrite_a_tag(ecr: Ecr, mutability: str, filters: list[str], refused: bool) -> None:
    await ecr("CreateRepository", repositoryName="web")
    settings = [{"filterType": "WILDCARD", "filter": pattern} for pattern in filters]
    await ecr(
        "PutImageTagMutability",
        repositoryName="web",
        imageTagMutability=mutability,
        imageTagMutabilityExclusionFilters=settings,
    )
    await ecr.image("v1", b"old")
    if refused:
        assert await refusal(ecr.image("v1", b"new")) == (
            "ImageTagAlreadyExistsException",
            "The image tag 'v1' already exists in the 'web' repository and cannot be overwritten because the tag is "
            "immutable.",
        )
    else:
        await ecr.image("v1", b"new")


async def test_images_and_what_is_wrong_with_the_others(ecr: Ecr) -> None:
    await ecr("CreateRepository", repositoryName="web")
    digest = await ecr.image("v1")
    other = "sha256:" + "0" * 64
    wanted = [
        {"imageTag": "v1"},
        {"imageTag": "v9"},
        {"imageDigest": other},
        {"imageDigest": other, "imageTag": "v1"},
        {"imageDigest": "md5:1"},
        {},
    ]
    answer = await ecr("BatchGetImage", repositoryName="web", imageIds=wanted)
    assert [image["imageId"] for image in answer["images"]] == [{"imageDigest": digest, "imageTag": "v1"}]
    assert [failure["failureCode"] for failure in answer["failures"]] == [
        "ImageNotFound",
        "ImageNotFound",
        "ImageTagDoesNotMatchDigest",
        "InvalidImageDigest",
        "MissingDigestAndTag",
    ]
    assert await refusal(ecr("DescribeImages", repositoryName="web", imageIds=[{"imageTag": "v9"}])) == (
        "ImageNotFoundException",
        "The image with imageId {imageDigest:'null', imageTag:'v9'} does not exist within the repository with name "
        f"'web' in the registry with id '{ACCOUNT}'",
    )


async def test_described_images(ecr: Ecr) -> None:
    await ecr("CreateRepository", repositoryName="web", imageScanningConfiguration={"scanOnPush": True})
    digest = await ecr.image("v1")
    await ecr.image("latest")
    (detail,) = (await ecr("DescribeImages", repositoryName="web"))["imageDetails"]
    assert detail["imageDigest"] == digest
    assert detail["imageTags"] == ["latest", "v1"]
    assert detail["imageSizeInBytes"] == 5
    assert detail["imageScanStatus"]["status"] == "COMPLETE"


async def test_delete_by_tag_removes_the_image_with_its_last_tag(ecr: Ecr) -> None:
    await ecr("CreateRepository", repositoryName="web")
    digest = await ecr.image("v1")
    await ecr.image("latest")
    await ecr("BatchDeleteImage", repositoryName="web", imageIds=[{"imageTag": "v1"}])
    listed = await ecr("ListImages", repositoryName="web")
    assert listed["imageIds"] == [{"imageDigest": digest, "imageTag": "latest"}]
    deleted = await ecr("BatchDeleteImage", repositoryName="web", imageIds=[{"imageTag": "latest"}])
    assert deleted == {"imageIds": [{"imageDigest": digest, "imageTag": "latest"}], "failures": []}
    assert (await ecr("ListImages", repositoryName="web"))["imageIds"] == []


async def test_delete_by_digest_removes_all_tags(ecr: Ecr) -> None:
    await ecr("CreateRepository", repositoryName="web")
    digest = await ecr.image("v1")
    await ecr.image("latest")
    deleted = await ecr("BatchDeleteImage", repositoryName="web", imageIds=[{"imageDigest": digest}])
    assert [entry["imageTag"] for entry in deleted["imageIds"]] == ["latest", "v1"]
    assert (await ecr("DescribeImages", repositoryName="web"))["imageDetails"] == []


async def test_a_member_of_a_manifest_list_cannot_be_deleted(ecr: Ecr) -> None:
    await ecr("CreateRepository", repositoryName="web")
    member = await ecr.image(None)
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [{"digest": member, "size": 100}]}
    await ecr("PutImage", repositoryName="web", imageManifest=json.dumps(index), imageTag="v1")
    answer = await ecr("BatchDeleteImage", repositoryName="web", imageIds=[{"imageDigest": member}])
    assert answer["failures"][0]["failureCode"] == "ImageReferencedByManifestList"


async def test_layers_that_do_not_fit(ecr: Ecr) -> None:
    await ecr("CreateRepository", repositoryName="web")
    digest = await ecr.layer(b"here")
    assert (await refusal(ecr.layer(b"here")))[0] == "LayerAlreadyExistsException"
    upload = (await ecr("InitiateLayerUpload", repositoryName="web"))["uploadId"]
    complete = {"repositoryName": "web", "uploadId": upload, "layerDigests": [digest]}
    assert (await refusal(ecr("CompleteLayerUpload", **complete)))[0] == "EmptyUploadException"
    part = {"repositoryName": "web", "uploadId": upload, "partLastByte": 9, "layerPartBlob": b"x"}
    assert (await refusal(ecr("UploadLayerPart", partFirstByte=9, **part)))[0] == "InvalidLayerPartException"
    assert (await refusal(ecr("UploadLayerPart", partFirstByte=3, **part)))[0] == "InvalidParameterException"
    complete["uploadId"] = "nothing"
    assert (await refusal(ecr("CompleteLayerUpload", **complete)))[0] == "UploadNotFoundException"


async def test_scans_find_nothing_and_say_so(ecr: Ecr) -> None:
    await ecr("CreateRepository", repositoryName="web")
    await ecr.image("v1")
    wanted = {"repositoryName": "web", "imageId": {"imageTag": "v1"}}
    assert (await refusal(ecr("DescribeImageScanFindings", **wanted)))[0] == "ScanNotFoundException"
    await ecr("StartImageScan", **wanted)
    answer = await ecr("DescribeImageScanFindings", **wanted)
    assert answer["imageScanStatus"]["status"] == "COMPLETE"
    assert "searches for no vulnerabilities" in answer["imageScanStatus"]["description"]
    assert answer["imageScanFindings"]["findings"] == []


# -- lifecycle policies --------------------------------------------------------------------------------------------------

KEEP_TWO = json.dumps(
    {
        "rules": [
            {
                "rulePriority": 1,
                "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 2},
                "action": {"type": "expire"},
            }
        ]
    }
)


async def test_lifecycle_policy_is_kept_and_deleted(ecr: Ecr) -> None:
    await ecr("CreateRepository", repositoryName="web")
    missing = (
        "LifecyclePolicyNotFoundException",
        f"Lifecycle policy does not exist for the repository with name 'web' in the registry with id '{ACCOUNT}'",
    )
    assert await refusal(ecr("GetLifecyclePolicy", repositoryName="web")) == missing
    await ecr("PutLifecyclePolicy", repositoryName="web", lifecyclePolicyText=KEEP_TWO)
    assert (await ecr("GetLifecyclePolicy", repositoryName="web"))["lifecyclePolicyText"] == KEEP_TWO
    await ecr("DeleteLifecyclePolicy", repositoryName="web")
    assert await refusal(ecr("DeleteLifecyclePolicy", repositoryName="web")) == missing


async def test_a_policy_that_is_none_is_refused(ecr: Ecr) -> None:
    await ecr("CreateRepository", repositoryName="web")
    call = ecr("PutLifecyclePolicy", repositoryName="web", lifecyclePolicyText="{}")
    assert await refusal(call) == (
        "InvalidParameterException",
        "Invalid parameter at 'LifecyclePolicyText' failed to satisfy constraint: 'Lifecycle policy validation "
        """failure: policy has missing required properties (["rules"])'""",
    )


async def test_preview_and_the_controller_agree(ecr: Ecr) -> None:
    await ecr("CreateRepository", repositoryName="web")
    digests = []
    for number in range(4):
        ecr.clock.time += 60
        digests.append(await ecr.image(f"v{number}", b"%d" % number))
    await ecr("StartLifecyclePolicyPreview", repositoryName="web", lifecyclePolicyText=KEEP_TWO)
    preview = await ecr("GetLifecyclePolicyPreview", repositoryName="web")
    assert preview["status"] == "COMPLETE"
    assert {result["imageDigest"] for result in preview["previewResults"]} == set(digests[:2])
    assert len((await ecr("DescribeImages", repositoryName="web"))["imageDetails"]) == 4

    await ecr("PutLifecyclePolicy", repositoryName="web", lifecyclePolicyText=KEEP_TWO)
    controller = LifecycleController(ecr.store, ecr.clock)
    outcome = await controller.reconcile(REPOSITORY_ARN)
    assert outcome.said == "expired 2 images by lifecycle policy"
    listed = await ecr("ListImages", repositoryName="web")
    assert {entry["imageTag"] for entry in listed["imageIds"]} == {"v2", "v3"}
    assert (await ecr("GetLifecyclePolicy", repositoryName="web"))["lastEvaluatedAt"] == ecr.clock.time
    assert (await controller.reconcile(REPOSITORY_ARN)).said == "no image to expire"
