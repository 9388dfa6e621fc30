"""Lines put together into multi-line events."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence

import pytest

from moorage.control.log_lines import joined
from moorage.engine.driver import LogLine

START = re.compile("^E")


async def lines_of(texts: Sequence[str]) -> AsyncIterator[LogLine]:
    for number, text in enumerate(texts):
        yield LogLine(float(number), text)


@pytest.mark.parametrize(
    ("texts", "resumed", "events"),
    [
        (["E1", "a", "b", "E2"], False, [(0, "E1\na\nb"), (3, "E2")]),
        (["a", "E1"], False, [(0, "a"), (1, "E1")]),
        (["a", "b", "E1"], False, [(0, "a\nb"), (2, "E1")]),
        (["a", "b", "E1", "c"], True, [(2, "E1\nc")]),
        ([], False, []),
        (["E1", "x" * 30, "y"], False, [(0, "E1"), (1, "x" * 30 + "\ny")]),
    ],
)
async def test_events(texts: list[str], resumed: bool, events: list[tuple[int, str]]) -> None:
    found = [(e.at, e.message) async for e in joined(lines_of(texts), START, largest=32, resumed=resumed)]
    assert found == events


async def test_an_event_that_nothing_follows_is_handed_on_after_a_while() -> None:
    gate = asyncio.Event()

    async def slow() -> AsyncIterator[LogLine]:
        yield LogLine(0, "E1")
        yield LogLine(1, "more")
        await gate.wait()
        yield LogLine(2, "E2")

    events = joined(slow(), START, largest=1000, resumed=False, patience=0.01)
    assert (await anext(events)).message == "E1\nmore"
    gate.set()
    assert (await anext(events)).message == "E2"
    await events.aclose()  # type: ignore[attr-defined]
