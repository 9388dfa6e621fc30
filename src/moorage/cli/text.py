"""Text that a person reads in 100 columns: tables whose last column wraps, paragraphs with a hanging indent, ages. No
colours: what is printed is the same in a terminal, a pipe and a log."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterator, Sequence

WIDTH = 100
LONGEST_CELL = 32
"""Characters of every column but the last."""


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The lines of a table: columns as wide as they need to be, the last one wrapped into what is left."""
    lines = [headings, *([printable(cell) for cell in row] for row in rows)]
    widths = [min(max(len(row[at]) for row in lines), LONGEST_CELL) for at in range(len(headings) - 1)]
    while sum(widths) + 2 * len(widths) > WIDTH - 24:  # something must be left for the last column
        widths[widths.index(max(widths))] -= 1
    start = sum(widths) + 2 * len(widths)
    for row in lines:
        cells = "".join(f"{_cut(cell, width):<{width}}  " for cell, width in zip(row, widths, strict=False))
        wrapped = textwrap.wrap(row[-1], WIDTH - start) or [""]
        yield (cells + wrapped[0]).rstrip()
        yield from (" " * start + line for line in wrapped[1:])


def _cut(cell: str, width: int) -> str:
    return cell if len(cell) <= width else cell[: width - 1] + "…"


def paragraph(text: str, indent: str = "", hanging: str | None = None) -> Iterator[str]:
    """Wrapped at 100 columns; lines after the first begin with `hanging`. Words that are longer stay whole, so that an
    ARN or a command can be copied."""
    yield from textwrap.wrap(
        printable(text),
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + "  " if hanging is None else hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )


def printable(text: str) -> str:
    """What containers and images said must not move the cursor of a terminal."""
    return "".join(c if c.isprintable() else " " for c in text)


def age(seconds: float | None) -> str:
    """5 → "5s", 200 → "3m20s", 7500 → "2h05m", 200000 → "2d07h"; "" for None."""
    if seconds is None:
        return ""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def clock_time(at: float, now: float) -> str:
    """The local time, with the date when it was not today."""
    then, today = time.localtime(at), time.localtime(now)
    same_day = then[:3] == today[:3]
    return time.strftime("%H:%M:%S" if same_day else "%Y-%m-%d %H:%M:%S", then)
