"""An explanation as a value, and the words that every explanation is made of: spans of time, short names.

Nothing here knows what is being explained, and nothing here is AWS's wording: those texts are `domain/sentences`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

_GROUP_IN_EVENT = re.compile(r"\(target-group arn:\S+?:targetgroup/([^/\s)]+)/[^\s)]+\)")
_GROUP = re.compile(r"arn:\S+?:targetgroup/([^/\s]+)/[\w-]+")


class Section(msgspec.Struct, frozen=True):
    heading: str
    lines: tuple[str, ...]


class Explanation(msgspec.Struct, frozen=True):
    """`title`: the answer in one sentence. `sections`: the rest, most important first, none of them empty. `facts`: the
    same as plain values for programs. `next`: the command that tells more."""

    kind: str
    arn: str
    title: str
    sections: tuple[Section, ...] = ()
    facts: Mapping[str, Any] = {}
    next: str = ""

    def section(self, heading: str) -> tuple[str, ...]:
        """The lines under a heading; none when there is no such section."""
        return next((section.lines for section in self.sections if section.heading == heading), ())


def sections(*pairs: tuple[str, Iterable[str]]) -> tuple[Section, ...]:
    """Those that have something to say."""
    built = (Section(heading, tuple(shortened(line) for line in lines if line)) for heading, lines in pairs)
    return tuple(section for section in built if section.lines)


def span(seconds: float) -> str:
    """7.6 → "7.6 s", 42 → "42 s", 200 → "3 min 20 s", 7500 → "2 h 5 min", 200000 → "2 d 7 h"."""
    seconds = max(0.0, seconds)
    if seconds < 9.95:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    whole = round(seconds)
    for size, small, names in ((86400, 3600, ("d", "h")), (3600, 60, ("h", "min")), (60, 1, ("min", "s"))):
        if whole >= size:
            rest = whole % size // small
            return f"{whole // size} {names[0]}" + (f" {rest} {names[1]}" if rest else "")
    return f"{whole} s"


def left(seconds: float) -> str:
    """Time that is still to come, in whole seconds, never less than 1 s: what is over is not left."""
    return span(max(1.0, float(round(seconds))))


def ago(then: float | None, now: float) -> str:
    return "at an unknown time" if then is None else f"{span(now - then)} ago"


def shortened(text: str) -> str:
    """Target groups by name: their ARNs fill a line and say no more."""
    return _GROUP.sub(r"target group \1", _GROUP_IN_EVENT.sub(r"(target-group \1)", text))


def name_of(arn: str | None) -> str:
    """The name in an ARN: of `…:targetgroup/web/73e2` and `…:loadbalancer/app/web/50dc` it is "web", of
    `…:task-definition/web:3` it is "web:3"."""
    if not arn:
        return "none"
    parts = arn.split(":", 5)[-1].split("/")
    return parts[-2] if ":elasticloadbalancing:" in arn and len(parts) > 2 else parts[-1]


def count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def id_of(task_id: str) -> str:
    """As much of a task id as a person reads; commands take it as it is."""
    return task_id[:8]
