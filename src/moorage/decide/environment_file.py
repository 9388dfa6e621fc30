"""What an environment file says (semantics ecs-tasks §10): as the ECS agent reads it, not as a shell would."""

from __future__ import annotations

from collections.abc import Iterable


def variables(text: str) -> dict[str, str]:
    """NAME=value, one a line. Lines that begin with # or have no = are left out, and so are those without a name or
    without a value; nothing is quoted, escaped or trimmed. A name that comes twice has its last value.

    'A=1' → 1 · 'A="1"' → "1" with its quotes · 'A=x=y' → x=y · 'A=' → nothing · ' A=1' → ' A'"""
    found: dict[str, str] = {}
    # The agent's scanner ends lines at \\n and takes a \\r before it away; nothing else is an end of line.
    for line in text.split("\n"):
        name, separator, value = line.removesuffix("\r").partition("=")
        if separator and name and value and not line.startswith("#"):
            found[name] = value
    return found


def merged(files: Iterable[dict[str, str]]) -> dict[str, str]:
    """Of several files the first that names a variable counts."""
    found: dict[str, str] = {}
    for file in files:
        found = file | found
    return found
