"""Lifecycle policies of image repositories: reading them, and deciding which images they expire.

Pure: images and the moment are arguments; nobody is deleted here. Source: semantics around §1.3.

How rules meet: every rule is evaluated on all images, as if no other rule existed, so that an image already marked by
one rule still counts in another's count. Then they are applied by priority, 1 first. An image that a rule *selects* by
its tag criteria, expired or not, is out of reach of every rule after it.

    images of `web`, newest first:  prod-3  prod-2  prod-1  dev-2  dev-1  (untagged)
    rule 1: tagged, prefix prod, imageCountMoreThan 2   → prod-1
    rule 2: any, imageCountMoreThan 3                   → counts all six, would mark prod-… beyond the third, dev-1 and
                                                          the untagged one; prod-* belong to rule 1: the others expire
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Literal

import msgspec

from moorage.domain.ecr import ImageFacts

DAY = 86400.0
MAX_RULES = 50
MAX_WILDCARDS = 4

TagStatus = Literal["tagged", "untagged", "any"]
CountType = Literal["imageCountMoreThan", "sinceImagePushed", "sinceImagePulled"]

_PREFIX = re.compile(r"[0-9a-zA-Z][0-9a-zA-Z._-]{0,127}")
_PATTERN = re.compile(r"[0-9a-zA-Z*._-]{1,128}")
_POLICY_MEMBERS = {"rules"}
_RULE_MEMBERS = {"rulePriority", "description", "selection", "action"}
_SELECTION_MEMBERS = {"tagStatus", "tagPrefixList", "tagPatternList", "countType", "countUnit", "countNumber"}


class Rule(msgspec.Struct, frozen=True):
    """`count_number`: images (imageCountMoreThan) or days (since…)."""

    priority: int
    tag_status: TagStatus
    count_type: CountType
    count_number: int
    prefixes: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    description: str = ""


class Expiry(msgspec.Struct, frozen=True):
    """An image to delete and the rule that says so."""

    digest: str
    rule_priority: int


class InvalidPolicy(Exception):
    """The text is not a lifecycle policy; the argument says why, as it stands behind
    `Lifecycle policy validation failure: `."""


# -- reading -------------------------------------------------------------------------------------------------------------


def parse_policy(text: str) -> tuple[Rule, ...]:
    """The rules in order of priority; raises InvalidPolicy."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidPolicy("Invalid JSON syntax") from None
    _members(document, "policy", _POLICY_MEMBERS, {"rules"})
    entries = document["rules"]
    if not isinstance(entries, list) or not entries:
        raise InvalidPolicy("rules must be a list of at least one rule")
    if len(entries) > MAX_RULES:
        raise InvalidPolicy(f"a policy may have at most {MAX_RULES} rules")
    rules = sorted((_rule(entry) for entry in entries), key=lambda rule: rule.priority)
    _check_together(rules)
    return tuple(rules)


def _rule(entry: Any) -> Rule:
    _members(entry, "rule", _RULE_MEMBERS, {"rulePriority", "selection", "action"})
    priority = entry["rulePriority"]
    if not _is_positive(priority):
        raise InvalidPolicy("rulePriority must be an integer greater than 0")
    description = entry.get("description", "")
    if not isinstance(description, str) or len(description) > 256:
        raise InvalidPolicy(f"description of rule {priority} must be a string of at most 256 characters")
    action = entry["action"]
    if not isinstance(action, dict) or action.get("type") != "expire" or len(action) != 1:
        raise InvalidPolicy(f'action of rule {priority} must be {{"type": "expire"}}')
    selection = entry["selection"]
    _members(selection, f"selection of rule {priority}", _SELECTION_MEMBERS, {"tagStatus", "countType", "countNumber"})
    status, prefixes, patterns = _tag_criteria(priority, selection)
    count_type = selection["countType"]
    if count_type not in ("imageCountMoreThan", "sinceImagePushed", "sinceImagePulled"):
        raise InvalidPolicy(
            f"countType of rule {priority} must be imageCountMoreThan, sinceImagePushed or sinceImagePulled"
        )
    if not _is_positive(selection["countNumber"]):
        raise InvalidPolicy(f"countNumber of rule {priority} must be an integer greater than 0")
    by_age = count_type != "imageCountMoreThan"
    if by_age and selection.get("countUnit") != "days":
        raise InvalidPolicy(f"countUnit of rule {priority} must be days with countType {count_type}")
    if not by_age and "countUnit" in selection:
        raise InvalidPolicy(f"countUnit of rule {priority} is not allowed with countType imageCountMoreThan")
    return Rule(priority, status, count_type, selection["countNumber"], prefixes, patterns, description)


def _tag_criteria(priority: int, selection: dict[str, Any]) -> tuple[TagStatus, tuple[str, ...], tuple[str, ...]]:
    status = selection["tagStatus"]
    if status not in ("tagged", "untagged", "any"):
        raise InvalidPolicy(f"tagStatus of rule {priority} must be tagged, untagged or any")
    prefixes = _strings(priority, selection, "tagPrefixList", _PREFIX)
    patterns = _strings(priority, selection, "tagPatternList", _PATTERN)
    if status != "tagged" and (prefixes or patterns):
        raise InvalidPolicy(f"tagPrefixList and tagPatternList of rule {priority} need tagStatus tagged")
    if status == "tagged" and bool(prefixes) == bool(patterns):
        raise InvalidPolicy(
            f"rule {priority} needs exactly one of tagPrefixList and tagPatternList with tagStatus tagged"
        )
    if any(pattern.count("*") > MAX_WILDCARDS for pattern in patterns):
        raise InvalidPolicy(f"a pattern of rule {priority} has more than {MAX_WILDCARDS} wildcards (*)")
    return status, prefixes, patterns


def _check_together(rules: Sequence[Rule]) -> None:
    seen_priorities: set[int] = set()
    seen_criteria: set[tuple[frozenset[str], frozenset[str]]] = set()
    for rule in rules:
        if rule.priority in seen_priorities:
            raise InvalidPolicy(f"rulePriority {rule.priority} is used more than once")
        seen_priorities.add(rule.priority)
        if rule.tag_status == "tagged":
            criteria = (frozenset(rule.prefixes), frozenset(rule.patterns))
            if criteria in seen_criteria:
                raise InvalidPolicy(f"the tags of rule {rule.priority} are already used by another rule")
            seen_criteria.add(criteria)
    if sum(rule.tag_status == "untagged" for rule in rules) > 1:
        raise InvalidPolicy("only one rule may have tagStatus untagged")
    any_rules = [rule.priority for rule in rules if rule.tag_status == "any"]
    if len(any_rules) > 1 or (any_rules and any_rules[0] != rules[-1].priority):
        raise InvalidPolicy("the one rule with tagStatus any must have the highest rulePriority")


def _members(value: Any, what: str, known: Collection[str], required: Collection[str]) -> None:
    if not isinstance(value, dict):
        raise InvalidPolicy(f"{what} must be an object")
    unknown = sorted(set(value) - set(known))
    if unknown:
        raise InvalidPolicy(f"{what} has properties which are not allowed: {json.dumps(unknown)}")
    missing = sorted(set(required) - set(value))
    if missing:
        raise InvalidPolicy(f"{what} has missing required properties ({json.dumps(missing)})")


def _strings(priority: int, selection: dict[str, Any], member: str, allowed: re.Pattern[str]) -> tuple[str, ...]:
    values = selection.get(member, [])
    if not isinstance(values, list) or not all(isinstance(v, str) and allowed.fullmatch(v) for v in values):
        raise InvalidPolicy(f"{member} of rule {priority} must be a list of valid tags")
    if len(set(values)) != len(values):
        raise InvalidPolicy(f"{member} of rule {priority} has duplicates")
    return tuple(values)


def _is_positive(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


# -- deciding ------------------------------------------------------------------------------------------------------------


def evaluate(rules: Iterable[Rule], images: Sequence[ImageFacts], now: float) -> tuple[Expiry, ...]:
    """The images to expire, each with the one rule that expires it, in order of priority.

    A member of a manifest list is never expired while a list refers to it; it goes in the evaluation after the list."""
    expiries: list[Expiry] = []
    taken: set[str] = set()
    for rule in sorted(rules, key=lambda rule: rule.priority):
        selected = [image for image in images if selects(rule, image)]
        expiries.extend(
            Expiry(image.digest, rule.priority)
            for image in _beyond_count(rule, selected, now)
            if image.digest not in taken and not image.referenced_by
        )
        taken.update(image.digest for image in selected)
    return tuple(expiries)


def selects(rule: Rule, image: ImageFacts) -> bool:
    """Whether the image meets the rule's tag criteria: every listed prefix or pattern must match some tag."""
    if rule.tag_status == "any":
        return True
    if rule.tag_status == "untagged":
        return not image.tags
    return all(any(tag.startswith(prefix) for tag in image.tags) for prefix in rule.prefixes) and all(
        any(_wildcard(pattern).fullmatch(tag) for tag in image.tags) for pattern in rule.patterns
    )


def _beyond_count(rule: Rule, selected: Sequence[ImageFacts], now: float) -> list[ImageFacts]:
    """imageCountMoreThan 3 of [e d c b a] (newest first) → [b a]; sinceImagePushed 14 → older than 14 × 24 h."""
    newest_first = sorted(selected, key=lambda image: (-image.pushed_at, image.digest))
    if rule.count_type == "imageCountMoreThan":
        return newest_first[rule.count_number :]
    horizon = now - rule.count_number * DAY
    if rule.count_type == "sinceImagePushed":
        return [image for image in newest_first if image.pushed_at < horizon]
    # An image that nobody ever pulled ages from its push.
    return [image for image in newest_first if (image.pulled_at or image.pushed_at) < horizon]


def _wildcard(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in pattern.split("*")))
