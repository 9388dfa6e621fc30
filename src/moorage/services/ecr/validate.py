"""What ECR refuses in the parameters of a call, beyond what the service model's types say."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from moorage.decide.lifecycle_policy import InvalidPolicy, Rule, parse_policy
from moorage.domain.errors import AwsError
from moorage.registry.names import REPOSITORY_PATTERN, is_repository_name
from moorage.services.ecr.common import invalid

MAX_TAGS = 50
MAX_EXCLUSIONS = 5
MAX_WILDCARDS = 4


def repository_name(name: str) -> str:
    if not 2 <= len(name) <= 256:
        edge = "greater than or equal to 2" if len(name) < 2 else "less than or equal to 256"
        raise invalid("repositoryName", f"Member must have length {edge}")
    if not is_repository_name(name):
        raise invalid("repositoryName", f"must satisfy regular expression '{REPOSITORY_PATTERN}'")
    return name


def tags(entries: Sequence[Mapping[str, str]], present: Mapping[str, str]) -> dict[str, str]:
    """The tags after adding `entries` to those present."""
    for entry in entries:
        key, value = entry.get("Key", ""), entry.get("Value", "")
        if not 1 <= len(key) <= 128 or len(value) > 256 or key.lower().startswith("aws:"):
            raise AwsError(
                "InvalidTagParameterException",
                "Tag keys have 1 to 128 characters and do not begin with 'aws:'; tag values have at most 256 characters.",
            )
    merged = {**present, **{entry["Key"]: entry.get("Value", "") for entry in entries}}
    if len(merged) > MAX_TAGS:
        raise AwsError("TooManyTagsException", f"A repository can have at most {MAX_TAGS} tags.")
    return merged


def exclusions(mutability: str, filters: Sequence[Mapping[str, str]]) -> tuple[str, ...]:
    patterns = tuple(entry["filter"] for entry in filters)
    if mutability.endswith("_WITH_EXCLUSION") != bool(patterns):
        raise invalid(
            "imageTagMutabilityExclusionFilters",
            "filters must be given with, and only with, MUTABLE_WITH_EXCLUSION or IMMUTABLE_WITH_EXCLUSION",
        )
    if len(patterns) > MAX_EXCLUSIONS:
        raise invalid(
            "imageTagMutabilityExclusionFilters", f"Member must have length less than or equal to {MAX_EXCLUSIONS}"
        )
    if any(not pattern or pattern.count("*") > MAX_WILDCARDS for pattern in patterns):
        raise invalid("imageTagMutabilityExclusionFilters", f"a filter has at most {MAX_WILDCARDS} wildcards (*)")
    return patterns


def lifecycle_policy(text: str) -> tuple[Rule, ...]:
    try:
        return parse_policy(text)
    except InvalidPolicy as error:
        raise invalid("LifecyclePolicyText", f"Lifecycle policy validation failure: {error}") from None


def repository_policy(text: str) -> str:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    statements: Any = document.get("Statement") if isinstance(document, dict) else None
    statements = [statements] if isinstance(statements, dict) else statements
    if not isinstance(statements, list) or not statements or not all(_is_statement(entry) for entry in statements):
        raise invalid("PolicyText", "Invalid repository policy provided")
    return text


def _is_statement(entry: Any) -> bool:
    if not isinstance(entry, dict) or entry.get("Effect") not in ("Allow", "Deny"):
        return False
    return bool(entry.keys() & {"Principal", "NotPrincipal"}) and bool(entry.keys() & {"Action", "NotAction"})
