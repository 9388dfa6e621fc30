"""Where multi-line events begin (semantics ecs-tasks §20)."""

from __future__ import annotations

import pytest

from moorage.decide.awslogs import event_start


@pytest.mark.parametrize(
    ("options", "line", "begins"),
    [
        ({"awslogs-multiline-pattern": "^INFO"}, "INFO started", True),
        ({"awslogs-multiline-pattern": "^INFO"}, "  at line 3", False),
        ({"awslogs-datetime-format": "%Y-%m-%d %H:%M:%S"}, "x 2026-11-22 03:10:59 y", True),
        ({"awslogs-datetime-format": "%Y-%m-%d"}, "2026-13-22", False),
        ({"awslogs-datetime-format": r"\[%b %d, %Y %H:%M:%S\]"}, "[May 01, 2017 19:00:01] A message", True),
        ({"awslogs-datetime-format": "%I:%M%p"}, "07:30PM", True),
    ],
)
def test_the_first_line_of_an_event(options: dict[str, str], line: str, begins: bool) -> None:
    pattern = event_start(options)
    assert pattern is not None
    assert (pattern.search(line) is not None) is begins


def test_without_a_pattern_every_line_is_an_event() -> None:
    assert event_start({"awslogs-group": "g"}) is None


def test_a_pattern_that_cannot_be_read_is_named() -> None:
    with pytest.raises(ValueError, match=r"awslogs could not parse multiline pattern key '\(': "):
        event_start({"awslogs-multiline-pattern": "("})
