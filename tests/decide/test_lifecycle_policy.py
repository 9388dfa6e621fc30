"""Lifecycle policies: which images go, and which texts are no policies."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.decide.lifecycle_policy import DAY, InvalidPolicy, Rule, evaluate, parse_policy
from moorage.domain.ecr import ImageFacts

NOW = 1_700_000_000.0


def an_image(digest: str, *tags: str, days: float = 0, **extra: Any) -> ImageFacts:
    return ImageFacts(digest, NOW - days * DAY, tags, **extra)


def a_rule(
    priority: int = 1, status: str = "any", count: int = 1, kind: str = "imageCountMoreThan", **extra: Any
) -> Rule:
    return Rule(priority, status, kind, count, **extra)  # type: ignore[arg-type]


def expired(*rules: Rule, images: list[ImageFacts]) -> list[tuple[str, int]]:
    return [(expiry.digest, expiry.rule_priority) for expiry in evaluate(rules, images, NOW)]


def test_keep_the_newest() -> None:
    images = [an_image("a", days=3), an_image("b", days=2), an_image("c", days=1)]
    assert expired(a_rule(count=2), images=images) == [("a", 1)]
    assert expired(a_rule(count=3), images=images) == []


def test_older_than_so_many_days() -> None:
    images = [an_image("a", days=14.1), an_image("b", days=13.9)]
    assert expired(a_rule(count=14, kind="sinceImagePushed"), images=images) == [("a", 1)]


def test_pulled_lately_is_not_old() -> None:
    images = [an_image("a", days=30), an_image("b", days=30, pulled_at=NOW - DAY)]
    assert expired(a_rule(count=14, kind="sinceImagePulled"), images=images) == [("a", 1)]


def test_all_prefixes_must_match_some_tag() -> None:
    images = [an_image("a", "prod-1", days=3), an_image("b", "prod-2", "blue", days=2), an_image("c", "prod-3", "blue")]
    rule = a_rule(status="tagged", prefixes=("prod", "blue"))
    assert expired(rule, images=images) == [("b", 1)]


def test_patterns_match_the_whole_tag() -> None:
    images = [an_image("a", "v1.2-rc", days=3), an_image("b", "v1.2", days=2), an_image("c", "v2.0", days=1)]
    assert expired(a_rule(status="tagged", patterns=("v*.*",)), images=images) == [("b", 1), ("a", 1)]
    assert expired(a_rule(status="tagged", patterns=("v1.2",)), images=images) == []


def test_what_a_rule_selects_is_out_of_reach_of_later_rules_but_counts_there() -> None:
    images = [
        an_image("p3", "prod-3", days=1),
        an_image("p2", "prod-2", days=2),
        an_image("p1", "prod-1", days=3),
        an_image("d2", "dev-2", days=4),
        an_image("d1", "dev-1", days=5),
        an_image("u", days=6),
    ]
    rules = (a_rule(1, "tagged", 2, prefixes=("prod",)), a_rule(2, "any", 3))
    assert expired(*rules, images=images) == [("p1", 1), ("d2", 2), ("d1", 2), ("u", 2)]


def test_members_of_a_list_stay_while_the_list_is_there() -> None:
    images = [an_image("list", "v1"), an_image("member", days=30, referenced_by=("list",)), an_image("old", days=30)]
    assert expired(a_rule(status="untagged", count=1, kind="sinceImagePushed"), images=images) == [("old", 1)]


def document(*rules: dict[str, Any]) -> str:
    return json.dumps({"rules": list(rules)})


def a_rule_document(priority: int = 1, **selection: Any) -> dict[str, Any]:
    chosen = {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 10, **selection}
    return {
        "rulePriority": priority,
        "selection": {name: value for name, value in chosen.items() if value is not None},
        "action": {"type": "expire"},
    }


def test_the_policy_of_the_guides() -> None:
    text = document({**a_rule_document(), "description": "keep the last 10"})
    assert parse_policy(text) == (a_rule(count=10, description="keep the last 10"),)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "Invalid JSON syntax"),
        ("[]", "policy must be an object"),
        ("{}", 'policy has missing required properties (["rules"])'),
        (document(), "rules must be a list of at least one rule"),
        ('{"rules": [], "x": 1}', 'policy has properties which are not allowed: ["x"]'),
        (document({"rulePriority": 1}), 'rule has missing required properties (["action", "selection"])'),
        (document(a_rule_document(0)), "rulePriority must be"),
        (document(a_rule_document(True)), "rulePriority must be"),
        (document(a_rule_document(countNumber=0)), "countNumber of rule 1"),
        (document(a_rule_document(countNumber="10")), "countNumber of rule 1"),
        (document(a_rule_document(tagStatus="some")), "tagStatus of rule 1"),
        (document(a_rule_document(tagStatus="tagged")), "needs exactly one of"),
        (document(a_rule_document(tagPrefixList=["v"])), "need tagStatus tagged"),
        (document(a_rule_document(tagStatus="tagged", tagPatternList=["*a*b*c*d*"])), "more than 4 wildcards"),
        (document(a_rule_document(countUnit="days")), "countUnit of rule 1 is not allowed"),
        (document(a_rule_document(countType="sinceImagePushed")), "countUnit of rule 1 must be days"),
        (document(a_rule_document(countType="sinceImageTransitioned")), "countType of rule 1"),
        (document({**a_rule_document(), "action": {"type": "transition"}}), "action of rule 1"),
        (
            document(a_rule_document(1), a_rule_document(1, tagStatus="untagged")),
            "rulePriority 1 is used more than once",
        ),
        (document(a_rule_document(1), a_rule_document(2, tagStatus="untagged")), "must have the highest rulePriority"),
        (
            document(a_rule_document(1, tagStatus="untagged"), a_rule_document(2, tagStatus="untagged")),
            "only one rule may have tagStatus untagged",
        ),
        (
            document(
                a_rule_document(1, tagStatus="tagged", tagPrefixList=["a", "b"]),
                a_rule_document(2, tagStatus="tagged", tagPrefixList=["b", "a"]),
            ),
            "the tags of rule 2 are already used",
        ),
    ],
)
def test_what_is_no_policy(text: str, why: str) -> None:
    with pytest.raises(InvalidPolicy) as refusal:
        parse_policy(text)
    assert why in str(refusal.value)


images = st.lists(
    st.builds(
        lambda tags, days: (tuple(sorted(tags)), days),
        st.sets(st.sampled_from(["prod-1", "prod-2", "dev-1", "blue"]), max_size=3),
        st.integers(0, 40),
    ),
    max_size=12,
).map(lambda entries: [an_image(f"i{n}", *tags, days=days) for n, (tags, days) in enumerate(entries)])
rules = st.lists(
    st.builds(
        lambda status, kind, count: (status, kind, count),
        st.sampled_from(["prod", "dev", "blue"]),
        st.sampled_from(["imageCountMoreThan", "sinceImagePushed"]),
        st.integers(1, 20),
    ),
    max_size=3,
).map(
    lambda entries: [
        a_rule(n, "tagged", count, kind, prefixes=(prefix,)) for n, (prefix, kind, count) in enumerate(entries, 1)
    ]
)


@given(images, rules)
def test_never_twice_never_below_the_count_never_what_no_rule_selects(
    some: list[ImageFacts], chosen: list[Rule]
) -> None:
    gone = evaluate(chosen, some, NOW)
    digests = [expiry.digest for expiry in gone]
    assert len(digests) == len(set(digests))
    by_digest = {image.digest: image for image in some}
    for expiry in gone:
        rule = next(rule for rule in chosen if rule.priority == expiry.rule_priority)
        assert any(tag.startswith(rule.prefixes[0]) for tag in by_digest[expiry.digest].tags)
    for rule in chosen:
        if rule.count_type == "imageCountMoreThan":
            selected = [i for i in some if any(tag.startswith(rule.prefixes[0]) for tag in i.tags)]
            by_this = [expiry for expiry in gone if expiry.rule_priority == rule.priority]
            assert len(by_this) <= max(0, len(selected) - rule.count_number)


@given(images, rules)
def test_applying_a_policy_twice_changes_nothing_more(some: list[ImageFacts], chosen: list[Rule]) -> None:
    gone = {expiry.digest for expiry in evaluate(chosen, some, NOW)}
    left = [image for image in some if image.digest not in gone]
    assert evaluate(chosen, left, NOW) == ()
