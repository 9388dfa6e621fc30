"""Lifecycle policies: put, get, delete, preview. Expiring for real is `control/lifecycle.py`'s business."""

from __future__ import annotations

from typing import Any

import msgspec

from moorage.decide.lifecycle_policy import evaluate
from moorage.domain.ecr import LifecyclePreview, PreviewedExpiry, Repository
from moorage.domain.errors import AwsError
from moorage.services.base import RequestContext, operation
from moorage.services.ecr import present, validate
from moorage.services.ecr.common import EcrOperations, Params, page
from moorage.store.api import Transaction
from moorage.store.tables.ecr import PREVIEWS, REPOSITORIES, image_facts

Answer = dict[str, Any]


class LifecycleOperations(EcrOperations):
    @operation("PutLifecyclePolicy")
    async def put_lifecycle_policy(self, context: RequestContext, params: Params) -> Answer:
        text = params["lifecyclePolicyText"]
        validate.lifecycle_policy(text)

        def put(tx: Transaction) -> Repository:
            record = self._repository(tx, context, params)
            return tx.put(REPOSITORIES, msgspec.structs.replace(record, lifecycle_policy_text=text))

        return {**present.named(await self._store.update(put)), "lifecyclePolicyText": text}

    @operation("GetLifecyclePolicy")
    async def get_lifecycle_policy(self, context: RequestContext, params: Params) -> Answer:
        return _present(self._repository(self._store, context, params))

    @operation("DeleteLifecyclePolicy")
    async def delete_lifecycle_policy(self, context: RequestContext, params: Params) -> Answer:
        def delete(tx: Transaction) -> Answer:
            record = self._repository(tx, context, params)
            answer = _present(record)
            tx.put(
                REPOSITORIES,
                msgspec.structs.replace(record, lifecycle_policy_text=None, lifecycle_evaluated_at=None),
            )
            return answer

        return await self._store.update(delete)

    @operation("StartLifecyclePolicyPreview")
    async def start_lifecycle_policy_preview(self, context: RequestContext, params: Params) -> Answer:
        now = self._clock.now()

        def preview(tx: Transaction) -> Answer:
            record = self._repository(tx, context, params)
            text: str = params.get("lifecyclePolicyText") or _text_of(record)
            rules = validate.lifecycle_policy(text)
            facts = {fact.digest: fact for fact in image_facts(tx, record.arn)}
            expiring = tuple(
                PreviewedExpiry(
                    expiry.digest, facts[expiry.digest].tags, facts[expiry.digest].pushed_at, expiry.rule_priority
                )
                for expiry in evaluate(rules, list(facts.values()), now)
            )
            tx.put(PREVIEWS, LifecyclePreview(record.arn, text, expiring))
            return {**present.named(record), "lifecyclePolicyText": text, "status": "IN_PROGRESS"}

        return await self._store.update(preview)

    @operation("GetLifecyclePolicyPreview")
    async def get_lifecycle_policy_preview(self, context: RequestContext, params: Params) -> Answer:
        record = self._repository(self._store, context, params)
        preview = self._store.get(PREVIEWS, record.arn)
        if preview is None:
            raise AwsError("LifecyclePolicyPreviewNotFoundException", "There is no dry run for this repository.")
        results = [entry for entry in preview.expiring if _is_wanted(entry, params)]
        shown, token = page(sorted(results, key=lambda entry: entry.digest), lambda entry: entry.digest, params)
        return {
            **present.named(record),
            "lifecyclePolicyText": preview.policy_text,
            "status": "COMPLETE",
            "previewResults": [
                {
                    "imageTags": list(entry.tags),
                    "imageDigest": entry.digest,
                    "imagePushedAt": entry.pushed_at,
                    "action": {"type": "EXPIRE"},
                    "appliedRulePriority": entry.rule_priority,
                }
                for entry in shown
            ],
            "summary": {"expiringImageTotalCount": len(preview.expiring)},
            **token,
        }


def _is_wanted(entry: PreviewedExpiry, params: Params) -> bool:
    status = (params.get("filter") or {}).get("tagStatus", "ANY")
    if status != "ANY" and (status == "TAGGED") != bool(entry.tags):
        return False
    wanted = params.get("imageIds")
    return not wanted or any(
        image.get("imageDigest") == entry.digest or image.get("imageTag") in entry.tags for image in wanted
    )


def _text_of(record: Repository) -> str:
    if record.lifecycle_policy_text is None:
        raise AwsError(
            "LifecyclePolicyNotFoundException",
            f"Lifecycle policy does not exist for the repository with name '{record.name}' "
            f"in the registry with id '{record.account}'",
        )
    return record.lifecycle_policy_text


def _present(record: Repository) -> Answer:
    answer: Answer = {**present.named(record), "lifecyclePolicyText": _text_of(record)}
    # AWS answers the epoch for a policy that was never evaluated.
    answer["lastEvaluatedAt"] = record.lifecycle_evaluated_at or 0.0
    return answer
