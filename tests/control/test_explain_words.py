"""Spans of time and short names."""

from __future__ import annotations

import pytest

from moorage.control.explain_words import left, name_of, sections, shortened, span

GROUP = "arn:aws:elasticloadbalancing:us-east-1:1:targetgroup/web/73e2d6bc24d8a067"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "0 s"), (0.04, "0 s"), (7.64, "7.6 s"), (9.97, "10 s"), (42, "42 s"), (59.7, "1 min"), (200, "3 min 20 s"),
        (3600, "1 h"), (7500, "2 h 5 min"), (200_000, "2 d 7 h"),
    ],
)  # fmt: skip
def test_spans(seconds: float, words: str) -> None:
    assert span(seconds) == words


@pytest.mark.parametrize(("seconds", "words"), [(-3, "1 s"), (0.2, "1 s"), (5.6, "6 s"), (60, "1 min")])
def test_what_is_left_is_never_nothing(seconds: float, words: str) -> None:
    assert left(seconds) == words


@pytest.mark.parametrize(
    ("arn", "name"),
    [
        (GROUP, "web"),
        ("arn:aws:elasticloadbalancing:us-east-1:1:loadbalancer/app/front/50dc", "front"),
        ("arn:aws:ecs:us-east-1:1:task-definition/web:3", "web:3"),
        ("arn:aws:ecs:us-east-1:1:cluster/c1", "c1"),
        (None, "none"),
    ],
)
def test_names(arn: str | None, name: str) -> None:
    assert name_of(arn) == name


def test_target_groups_are_named_shortly() -> None:
    assert shortened(f"is initial in {GROUP}: because") == "is initial in target group web: because"
    assert shortened(f"in (target-group {GROUP})") == "in (target-group web)"


def test_sections_without_lines_are_left_out() -> None:
    assert [one.heading for one in sections(("A", ("x", "")), ("B", ("",)), ("C", ()))] == ["A"]
