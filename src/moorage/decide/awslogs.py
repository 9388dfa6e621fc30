"""The options of the awslogs driver that shape events: where a multi-line event begins (semantics ecs-tasks §20)."""

from __future__ import annotations

import re

# strftime's directives as the awslogs driver knows them.
_DIRECTIVES = {
    "%a": "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)",
    "%A": "(?:Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday)",
    "%w": "[0-6]",
    "%d": "(?:0[1-9]|[12][0-9]|3[01])",
    "%b": "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)",
    "%B": "(?:January|February|March|April|May|June|July|August|September|October|November|December)",
    "%m": "(?:0[1-9]|1[0-2])",
    "%Y": r"\d{4}",
    "%y": r"\d{2}",
    "%H": "(?:[01][0-9]|2[0-3])",
    "%I": "(?:0[0-9]|1[0-2])",
    "%p": "[AP]M",
    "%M": r"[0-5]\d",
    "%S": r"[0-5]\d",
    "%L": r"\.\d{3}",
    "%f": r"\d{6}",
    "%z": r"[+-]\d{4}",
    "%Z": "[A-Z]{1,4}T",
    "%j": r"(?:00[1-9]|0[1-9]\d|[12]\d\d|3[0-5]\d|36[0-6])",
}
_DIRECTIVE = re.compile("%[a-zA-Z]")
MULTILINE, DATETIME = "awslogs-multiline-pattern", "awslogs-datetime-format"


def event_start(options: dict[str, str]) -> re.Pattern[str] | None:
    """What the first line of an event looks like; None when every line is an event. Raises ValueError with the driver's
    words for a pattern that cannot be read."""
    pattern = options.get(MULTILINE)
    if options.get(DATETIME):
        pattern = _DIRECTIVE.sub(lambda found: _DIRECTIVES.get(found.group(), found.group()), options[DATETIME])
    if not pattern:
        return None
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(f"awslogs could not parse multiline pattern key {pattern!r}: {error}") from error
