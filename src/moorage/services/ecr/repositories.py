"""Repositories, their settings, policies and tags; the registry as a whole."""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from moorage.domain.ecr import Repository, not_in_registry, repository_arn
from moorage.domain.errors import AwsError
from moorage.registry.tokens import USERNAME
from moorage.services.base import RequestContext, operation
from moorage.services.ecr import present, validate
from moorage.services.ecr.common import EcrOperations, Params, invalid, page, registry_scope
from moorage.store.api import Transaction
from moorage.store.tables.ecr import IMAGES, LAYERS, PREVIEWS, REPOSITORIES, delete_image

Answer = dict[str, Any]
NO_FORCE = "cannot be deleted because it still contains images"


class RepositoryOperations(EcrOperations):
    # -- repositories ------------------------------------------------------------------------------------------------

    @operation("CreateRepository")
    async def create_repository(self, context: RequestContext, params: Params) -> Answer:
        scope = registry_scope(context, params)
        if scope.account != context.account:
            raise invalid("registryId", "a repository can only be created in the caller's own registry")
        name = validate.repository_name(params["repositoryName"])
        mutability = params.get("imageTagMutability", "MUTABLE")
        encryption = params.get("encryptionConfiguration") or {}
        record = Repository(
            arn=repository_arn(scope, name),
            account=scope.account,
            region=scope.region,
            name=name,
            created_at=self._clock.now(),
            tag_mutability=mutability,
            mutability_exclusions=validate.exclusions(mutability, params.get("imageTagMutabilityExclusionFilters", [])),
            scan_on_push=bool((params.get("imageScanningConfiguration") or {}).get("scanOnPush", False)),
            encryption_type=encryption.get("encryptionType", "AES256"),
            kms_key=encryption.get("kmsKey"),
            tags=validate.tags(params.get("tags") or [], {}),
        )

        def create(tx: Transaction) -> None:
            if tx.get(REPOSITORIES, record.arn) is not None:
                raise AwsError(
                    "RepositoryAlreadyExistsException",
                    f"The repository with name '{name}' already exists in the registry with id '{scope.account}'",
                )
            tx.put(REPOSITORIES, record)

        await self._store.update(create)
        return {"repository": self._present(record)}

    @operation("DescribeRepositories")
    async def describe_repositories(self, context: RequestContext, params: Params) -> Answer:
        names = params.get("repositoryNames")
        if names:
            if params.get("nextToken") or params.get("maxResults"):
                raise invalid("repositoryNames", "repository names cannot be combined with nextToken or maxResults")
            found = [self._repository(self._store, context, params, name) for name in names]
            return {"repositories": [self._present(record) for record in found]}
        scope = registry_scope(context, params)
        owned = self._store.find(REPOSITORIES, "scope", (scope.account, scope.region))
        visible = sorted(owned, key=lambda record: record.name) if scope.account == context.account else []
        shown, token = page(visible, lambda record: record.name, params)
        return {"repositories": [self._present(record) for record in shown], **token}

    @operation("DeleteRepository")
    async def delete_repository(self, context: RequestContext, params: Params) -> Answer:
        def delete(tx: Transaction) -> Repository:
            record = self._repository(tx, context, params)
            images = list(tx.find(IMAGES, "repository", record.arn))
            if images and not params.get("force"):
                raise AwsError(
                    "RepositoryNotEmptyException",
                    f"The repository with name '{record.name}' in registry with id '{record.account}' {NO_FORCE}",
                )
            for image in images:
                delete_image(tx, record.arn, image.digest)
            for layer in list(tx.find(LAYERS, "repository", record.arn)):
                tx.delete(LAYERS, layer.key)
            tx.delete(PREVIEWS, record.arn)
            tx.delete(REPOSITORIES, record.arn)
            return record

        return {"repository": self._present(await self._store.update(delete))}

    @operation("PutImageTagMutability")
    async def put_image_tag_mutability(self, context: RequestContext, params: Params) -> Answer:
        mutability = params["imageTagMutability"]
        patterns = validate.exclusions(mutability, params.get("imageTagMutabilityExclusionFilters", []))
        record = await self._change(context, params, tag_mutability=mutability, mutability_exclusions=patterns)
        answer: Answer = {**present.named(record), "imageTagMutability": record.tag_mutability}
        if patterns:
            answer["imageTagMutabilityExclusionFilters"] = present.exclusion_filters(record)
        return answer

    @operation("PutImageScanningConfiguration")
    async def put_image_scanning_configuration(self, context: RequestContext, params: Params) -> Answer:
        scan = bool(params["imageScanningConfiguration"].get("scanOnPush", False))
        record = await self._change(context, params, scan_on_push=scan)
        return {**present.named(record), "imageScanningConfiguration": {"scanOnPush": record.scan_on_push}}

    # -- repository policies -----------------------------------------------------------------------------------------

    @operation("SetRepositoryPolicy")
    async def set_repository_policy(self, context: RequestContext, params: Params) -> Answer:
        text = validate.repository_policy(params["policyText"])
        record = await self._change(context, params, policy_text=text)
        return {**present.named(record), "policyText": text}

    @operation("GetRepositoryPolicy")
    async def get_repository_policy(self, context: RequestContext, params: Params) -> Answer:
        record = self._repository(self._store, context, params)
        return {**present.named(record), "policyText": _policy_of(record)}

    @operation("DeleteRepositoryPolicy")
    async def delete_repository_policy(self, context: RequestContext, params: Params) -> Answer:
        def delete(tx: Transaction) -> tuple[Repository, str]:
            record = self._repository(tx, context, params)
            text = _policy_of(record)
            return tx.put(REPOSITORIES, msgspec.structs.replace(record, policy_text=None)), text

        record, text = await self._store.update(delete)
        return {**present.named(record), "policyText": text}

    # -- tags --------------------------------------------------------------------------------------------------------

    @operation("TagResource")
    async def tag_resource(self, context: RequestContext, params: Params) -> Answer:
        def tag(tx: Transaction) -> None:
            record = self._by_arn(tx, context, params["resourceArn"])
            tx.put(REPOSITORIES, msgspec.structs.replace(record, tags=validate.tags(params["tags"], record.tags)))

        await self._store.update(tag)
        return {}

    @operation("UntagResource")
    async def untag_resource(self, context: RequestContext, params: Params) -> Answer:
        def untag(tx: Transaction) -> None:
            record = self._by_arn(tx, context, params["resourceArn"])
            kept = {key: value for key, value in record.tags.items() if key not in params["tagKeys"]}
            tx.put(REPOSITORIES, msgspec.structs.replace(record, tags=kept))

        await self._store.update(untag)
        return {}

    @operation("ListTagsForResource")
    async def list_tags_for_resource(self, context: RequestContext, params: Params) -> Answer:
        return {"tags": present.tag_list(self._by_arn(self._store, context, params["resourceArn"]))}

    # -- the registry ------------------------------------------------------------------------------------------------

    @operation("GetAuthorizationToken")
    async def get_authorization_token(self, context: RequestContext, params: Params) -> Answer:
        """One token for the caller: it opens every registry whose policies let the caller in."""
        expires_at = self._registry.token_expiry()
        password = self._registry.token(context.scope)
        token = base64.b64encode(f"{USERNAME}:{password}".encode()).decode()
        entry = {
            "authorizationToken": token,
            "expiresAt": expires_at,
            "proxyEndpoint": f"http://{self._registry.host}",
        }
        return {"authorizationData": [entry for _ in params.get("registryIds") or [context.account]]}

    @operation("DescribeRegistry")
    async def describe_registry(self, context: RequestContext, params: Params) -> Answer:
        return {"registryId": context.account, "replicationConfiguration": {"rules": []}}

    @operation("GetRegistryScanningConfiguration")
    async def get_registry_scanning_configuration(self, context: RequestContext, params: Params) -> Answer:
        return {"registryId": context.account, "scanningConfiguration": {"scanType": "BASIC", "rules": []}}

    @operation("GetRegistryPolicy")
    async def get_registry_policy(self, context: RequestContext, params: Params) -> Answer:
        raise AwsError(
            "RegistryPolicyNotFoundException",
            f"Registry policy does not exist in the registry with id '{context.account}'",
        )

    # -- helpers -----------------------------------------------------------------------------------------------------

    def _present(self, record: Repository) -> Answer:
        return present.repository(record, self._registry.repository_uri(record.name))

    async def _change(self, context: RequestContext, params: Params, **changes: Any) -> Repository:
        return await self._store.update(
            lambda tx: tx.put(REPOSITORIES, msgspec.structs.replace(self._repository(tx, context, params), **changes))
        )

    def _by_arn(self, view: Any, context: RequestContext, arn: str) -> Repository:
        record: Repository | None = view.get(REPOSITORIES, arn)
        if record is None or record.scope != context.scope:
            name = arn.partition(":repository/")[2]
            if not name:
                raise invalid("resourceArn", "Invalid ARN")
            raise AwsError("RepositoryNotFoundException", not_in_registry(name, context.account))
        return record


def _policy_of(record: Repository) -> str:
    if record.policy_text is None:
        raise AwsError(
            "RepositoryPolicyNotFoundException",
            f"Repository policy does not exist for the repository with name '{record.name}' "
            f"in the registry with id '{record.account}'",
        )
    return record.policy_text
