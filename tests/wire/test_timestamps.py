"""Times in AWS's spellings, read and written."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.wire.errors import Malformed
from moorage.wire.timestamps import parse, to_iso, to_rfc822, to_unix


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2015-01-25T08:00:00Z", 1422172800),
        ("2015-01-25T08:00:00.250Z", 1422172800.25),
        ("2015-01-25T09:00:00+01:00", 1422172800),
        ("2015-01-25T07:00:00-0100", 1422172800),
        ("2015-01-25T08:00Z", 1422172800),
        ("2015-01-25", 1422144000),
        ("Sun, 25 Jan 2015 08:00:00 GMT", 1422172800),
        ("1422172800", 1422172800),
        ("1422172800.5", 1422172800.5),
        (1422172800.5, 1422172800.5),
    ],
)
def test_reading(text: Any, expected: float) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    "bad", ["", "yesterday", "2015-13-01T00:00:00Z", "nan", "1e999", True, None, [1], "2015-01-25T08"]
)
def test_what_is_no_time(bad: Any) -> None:
    with pytest.raises(Malformed):
        parse(bad)


def test_writing() -> None:
    assert to_iso(1422172800) == "2015-01-25T08:00:00Z"
    assert to_iso(1422172800.25) == "2015-01-25T08:00:00.250Z"
    assert to_iso(datetime(2015, 1, 25, 8, tzinfo=UTC)) == "2015-01-25T08:00:00Z"
    assert to_iso(-1) == "1969-12-31T23:59:59Z"
    assert to_rfc822(1422172800.9) == "Sun, 25 Jan 2015 08:00:00 GMT"
    assert (to_unix(1422172800.0), to_unix(1422172800.1239)) == (1422172800, 1422172800.124)


@given(st.integers(-62_135_596_800_000, 253_402_300_799_000))
def test_milliseconds_survive(milliseconds: int) -> None:
    assert round(parse(to_iso(milliseconds / 1000)) * 1000) == milliseconds


@given(st.text(max_size=40))
def test_any_text_is_a_time_or_refused(text: str) -> None:
    with contextlib.suppress(Malformed):
        assert isinstance(parse(text), float)
