"""Environment files as the ECS agent reads them (semantics ecs-tasks §10)."""

from __future__ import annotations

import pytest

from moorage.decide.environment_file import merged, variables


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("A=1", {"A": "1"}),
        ("A=1\nB=2\n", {"A": "1", "B": "2"}),
        ("A=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
        ("# a comment\nA=1", {"A": "1"}),
        (" # no comment=1", {" # no comment": "1"}),
        ("A=x=y=", {"A": "x=y="}),
        ("A=\n=1\nB", {}),
        ('A="quoted"', {"A": '"quoted"'}),
        ("A = spaced ", {"A ": " spaced "}),
        ("A=1\nA=2", {"A": "2"}),
        ("A=one\x0bB=two\u2028C=three", {"A": "one\x0bB=two\u2028C=three"}),
    ],
)
def test_variables(text: str, expected: dict[str, str]) -> None:
    assert variables(text) == expected


def test_the_first_file_that_names_a_variable_counts() -> None:
    assert merged([{"A": "first"}, {"A": "second", "B": "second"}]) == {"A": "first", "B": "second"}
