"""Filter patterns over space-delimited events: `[ip, user, ..., status = 4* || status = 5*, bytes > 1000]`.

An event is split at spaces; what stands in "quotes" or [brackets] is one field. Without `...` the number of fields must
be exactly the pattern's. Source: semantics around §4.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from moorage.services.logs.filter_values import InvalidPattern, Scanner, compare

Predicate = Callable[[str], bool]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_BARE = re.compile(r'[^\s,&|\[\]"%<>=!]+')
_FIELD = re.compile(r'\s*(?:"([^"]*)"|\[([^\]]*)\]|(\S+))')
_REST = None


def compile_fields(pattern: str) -> Predicate:
    """The predicate behind `[ … ]`."""
    scanner = Scanner(pattern)
    scanner.expect("[")
    fields: list[Predicate | None] = []
    while not scanner.take("]"):
        if fields:
            scanner.expect(",")
        fields.append(_REST if scanner.take("...") else _field(scanner))
    if not scanner.done():
        raise InvalidPattern("Invalid filter pattern: nothing may follow the closing bracket")
    if fields.count(_REST) > 1:
        raise InvalidPattern("Invalid filter pattern: '...' may stand only once")
    if _REST not in fields:
        whole = [field for field in fields if field is not None]
        return lambda message: _match_all(whole, split_fields(message), exactly=True)
    gap = fields.index(_REST)
    head = [field for field in fields[:gap] if field is not None]
    tail = [field for field in fields[gap + 1 :] if field is not None]

    def matches(message: str) -> bool:
        values = split_fields(message)
        if len(values) < len(head) + len(tail):
            return False
        return _match_all(head, values) and _match_all(tail, values[len(values) - len(tail) :])

    return matches


def split_fields(message: str) -> list[str]:
    return [next(part for part in found.groups() if part is not None) for found in _FIELD.finditer(message)]


def _match_all(fields: list[Predicate], values: list[str], *, exactly: bool = False) -> bool:
    if len(values) < len(fields) or (exactly and len(values) != len(fields)):
        return False
    return all(field(value) for field, value in zip(fields, values, strict=False))


def _field(scanner: Scanner) -> Predicate:
    """`name`, `name = value`, `name = value && name != value`; the name only says which field is meant."""
    alternatives: list[list[Predicate]] = [[_comparison(scanner)]]
    while True:
        if scanner.take("&&"):
            alternatives[-1].append(_comparison(scanner))
        elif scanner.take("||"):
            alternatives.append([_comparison(scanner)])
        else:
            return lambda value: any(all(test(value) for test in tests) for tests in alternatives)


def _comparison(scanner: Scanner) -> Predicate:
    if scanner.match(_NAME) is None:
        raise InvalidPattern(f"Invalid filter pattern: expected a field name at position {scanner.at}")
    if scanner.rest()[:1] in (",", "]", "&", "|", ""):
        return lambda value: True
    how = scanner.operator()
    operand = scanner.operand(_BARE)
    return lambda value: compare(value, how, operand)
