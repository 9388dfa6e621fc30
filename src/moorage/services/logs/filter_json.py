"""Filter patterns over JSON events: `{ $.status = 5* && ($.latency > 100 || $.user.name IS NULL) }`.

Source: semantics around §4. A comparison with a member that is not there never matches, `NOT EXISTS` does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from moorage.services.logs.filter_values import InvalidPattern, Scanner, compare

Predicate = Callable[[Any], bool]
Step = str | int

_BARE = re.compile(r'[^\s&|(){}"%<>=!]+')
_KEY = re.compile(r"\.([A-Za-z0-9_@$-]+)")
_INDEX = re.compile(r"\[(\d+|\*)\]")
_QUOTED_KEY = re.compile(r"\.?\[\s*(?:'([^']*)'|\"([^\"]*)\")\s*\]")
_TESTS: list[tuple[re.Pattern[str], Predicate]] = [
    (re.compile(r"IS\s+NULL\b", re.IGNORECASE), lambda found: any(value is None for value in found)),
    (re.compile(r"IS\s+TRUE\b", re.IGNORECASE), lambda found: any(value is True for value in found)),
    (re.compile(r"IS\s+FALSE\b", re.IGNORECASE), lambda found: any(value is False for value in found)),
    (re.compile(r"NOT\s+EXISTS\b", re.IGNORECASE), lambda found: not found),
    (re.compile(r"EXISTS\b", re.IGNORECASE), bool),
]


def compile_json(pattern: str) -> Callable[[str], bool]:
    """The predicate behind `{ … }`; an event that is not JSON never matches."""
    scanner = Scanner(pattern)
    scanner.expect("{")
    condition = _any_of(scanner)
    scanner.expect("}")
    if not scanner.done():
        raise InvalidPattern("Invalid filter pattern: nothing may follow the closing brace")

    def matches(message: str) -> bool:
        if not message.lstrip().startswith(("{", "[")):
            return False
        try:
            document = json.loads(message)
        except (ValueError, RecursionError):
            return False
        return condition(document)

    return matches


def _any_of(scanner: Scanner) -> Predicate:
    conditions = [_all_of(scanner)]
    while scanner.take("||"):
        conditions.append(_all_of(scanner))
    return conditions[0] if len(conditions) == 1 else lambda document: any(c(document) for c in conditions)


def _all_of(scanner: Scanner) -> Predicate:
    conditions = [_condition(scanner)]
    while scanner.take("&&"):
        conditions.append(_condition(scanner))
    return conditions[0] if len(conditions) == 1 else lambda document: all(c(document) for c in conditions)


def _condition(scanner: Scanner) -> Predicate:
    if scanner.take("("):
        inner = _any_of(scanner)
        scanner.expect(")")
        return inner
    path = _path(scanner)
    for keyword, test in _TESTS:
        if scanner.match(keyword):
            return lambda document: test(_values(document, path))
    how = scanner.operator()
    operand = scanner.operand(_BARE)

    def compares(document: Any) -> bool:
        for value in _values(document, path):
            if operand.number is not None and not isinstance(value, int | float):
                continue
            if operand.number is None and not isinstance(value, str):
                continue
            if compare(value, how, operand):
                return True
        return False

    return compares


def _path(scanner: Scanner) -> tuple[Step, ...]:
    scanner.expect("$")
    steps: list[Step] = []
    while True:
        if found := scanner.match(_KEY):
            steps.append(found[1])
        elif found := scanner.match(_INDEX):
            steps.append("*" if found[1] == "*" else int(found[1]))
        elif found := scanner.match(_QUOTED_KEY):
            steps.append(found[1] if found[1] is not None else found[2])
        else:
            return tuple(steps)


def _values(document: Any, path: tuple[Step, ...]) -> list[Any]:
    """What the path leads to: one value, several after [*], or none."""
    found = [document]
    for step in path:
        following: list[Any] = []
        for value in found:
            if isinstance(value, dict) and isinstance(step, str) and step in value:
                following.append(value[step])
            elif isinstance(value, list) and step == "*":
                following += value
            elif isinstance(value, list) and isinstance(step, int) and step < len(value):
                following.append(value[step])
        found = following
    return found
