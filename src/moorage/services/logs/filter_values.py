"""What the three kinds of filter patterns share: the refusal, the scanner, and comparing a value with an operand."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any

import msgspec

MAX_PATTERN = 1024

_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_ORDER: dict[str, Callable[[float, float], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}
OPERATORS = ("!=", "<=", ">=", "=", "<", ">")


class InvalidPattern(Exception):
    """The text is not a filter pattern; the argument says why."""


class Operand(msgspec.Struct, frozen=True):
    """The right-hand side of a comparison: exactly one of the three."""

    number: float | None = None
    text: re.Pattern[str] | None = None
    regex: re.Pattern[str] | None = None


def compare(value: Any, how: str, operand: Operand) -> bool:
    """`value` is a JSON scalar or the text of a field. Numbers compare with numbers (a field's text is read as one),
    texts with `=` and `!=` only; whatever does not fit is unequal, and never matches `<` or `>`."""
    if operand.number is not None:
        number = _as_number(value)
        return _ORDER[how](number, operand.number) if number is not None else how == "!="
    pattern = operand.text or operand.regex
    assert pattern is not None
    if how not in ("=", "!="):
        return False
    found = pattern.fullmatch(value) if operand.text else pattern.search(value)
    return (found is not None) == (how == "=")


def _as_number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value)
    return None


def compile_regex(source: str) -> re.Pattern[str]:
    try:
        return re.compile(source)
    except re.error as error:
        raise InvalidPattern(f"Invalid regular expression %{source}%: {error}") from None


class Scanner:
    """Walks over the text of a pattern; whitespace before a token is skipped."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def rest(self) -> str:
        self._skip()
        return self.text[self.at :]

    def done(self) -> bool:
        return not self.rest()

    def take(self, literal: str) -> bool:
        if self.rest().startswith(literal):
            self.at += len(literal)
            return True
        return False

    def expect(self, literal: str) -> None:
        if not self.take(literal):
            raise InvalidPattern(f"Invalid filter pattern: expected '{literal}' at position {self.at}")

    def match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        self._skip()
        found = pattern.match(self.text, self.at)
        if found is not None:
            self.at = found.end()
        return found

    def operator(self) -> str:
        for candidate in OPERATORS:
            if self.take(candidate):
                return candidate
        raise InvalidPattern(f"Invalid filter pattern: expected an operator at position {self.at}")

    def operand(self, bare: re.Pattern[str]) -> Operand:
        """A number, a "quoted" or bare text with * as wildcard, or a %regular expression%."""
        if self.rest().startswith('"'):
            return Operand(text=_wildcard(self.quoted()))
        if self.rest().startswith("%"):
            end = self.text.find("%", self.at + 1)
            if end < 0:
                raise InvalidPattern("Invalid filter pattern: a regular expression must end with %")
            source = self.text[self.at + 1 : end]
            self.at = end + 1
            return Operand(regex=compile_regex(source))
        word = self.match(bare)
        if word is None:
            raise InvalidPattern(f"Invalid filter pattern: expected a value at position {self.at}")
        if _NUMBER.fullmatch(word[0]):
            return Operand(number=float(word[0]))
        return Operand(text=_wildcard(word[0]))

    def quoted(self) -> str:
        r"""A text in double quotes; \" and \\ stand for themselves."""
        self.expect('"')
        content: list[str] = []
        while self.at < len(self.text):
            character = self.text[self.at]
            self.at += 1
            if character == '"':
                return "".join(content)
            if character == "\\" and self.text[self.at : self.at + 1] in ('"', "\\"):
                character = self.text[self.at]
                self.at += 1
            content.append(character)
        raise InvalidPattern("Invalid filter pattern: a quotation is not closed")

    def _skip(self) -> None:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1


def _wildcard(text: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in text.split("*")), re.DOTALL)
