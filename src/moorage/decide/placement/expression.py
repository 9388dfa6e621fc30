"""The cluster query language: which container instances a `memberOf` constraint or a list filter means (semantics
ecs-services §7).

    expression = any                          attribute:stack == prod and attribute:ecs.instance-type =~ t3.*
    any        = all  { ("||" | "or") all }   task:group in [service:web, service:api] or not (runningTasksCount > 3)
    all        = one  { ("&&" | "and") one }
    one        = ("!" | "not") one | "(" any ")" | subject operator [argument]

`parse` reads it into a tree, `holds` asks the tree about one host. An instance without the attribute matches only the
operators that deny: `!=`, `!in`, `!~`, `!exists`. A subject with several values (task:group) matches when one of them
does, and its denials when none does.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from moorage.decide.placement.hosts import Host

LONGEST = 2000


class InvalidExpression(ValueError):
    """The text is not an expression; the message says where and what was expected there."""


class Comparison(msgspec.Struct, frozen=True):
    """`operator` in its symbolic form; `argument`: one word, a tuple for `in`, a pattern for `=~`, None for exists."""

    subject: str
    operator: str
    argument: Any = None


class Not(msgspec.Struct, frozen=True):
    inner: Any


class AllOf(msgspec.Struct, frozen=True):
    parts: tuple[Any, ...]


class OneOf(msgspec.Struct, frozen=True):
    parts: tuple[Any, ...]


Expression = Comparison | Not | AllOf | OneOf

SUBJECTS = ("agentConnected", "agentVersion", "ec2InstanceId", "registeredAt", "runningTasksCount", "task:group")
_OPERATORS = {
    "==": "==",
    "equals": "==",
    "!=": "!=",
    "not_equals": "!=",
    ">": ">",
    "greater_than": ">",
    ">=": ">=",
    "greater_than_equal": ">=",
    "<": "<",
    "less_than": "<",
    "<=": "<=",
    "less_than_equal": "<=",
    "exists": "exists",
    "!exists": "!exists",
    "not_exists": "!exists",
    "in": "in",
    "!in": "!in",
    "not_in": "!in",
    "=~": "=~",
    "matches": "=~",
    "!~": "!~",
    "not_matches": "!~",
}
# Every denial is the opposite of its operator.
_DENIES = {"!=": "==", "!in": "in", "!~": "=~", "!exists": "exists"}

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<quoted>"[^"]*"|'[^']*')
      | (?P<symbol>&&|\|\||==|!=|>=|<=|=~|!~|!exists\b|!in\b|[()\[\],<>!])
      | (?P<word>[^\s()\[\],<>!=&|"']+)
    )""",
    re.VERBOSE,
)
# A pattern is read as it stands: up to the next blank that is not inside brackets of its own.
_BLANK = re.compile(r"\s+")


@functools.lru_cache(maxsize=256)
def parse(text: str) -> Expression:
    """Raises `InvalidExpression`."""
    if len(text) > LONGEST:
        raise InvalidExpression(f"the expression is longer than {LONGEST} characters")
    return _Reader(text).read()


class _Reader:
    """Recursive descent over the text; `at` is where the next token begins."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def read(self) -> Expression:
        found = self.any()
        if self.peek() is not None:
            raise self.expected("'and', 'or' or the end")
        return found

    def any(self) -> Expression:
        parts = [self.all()]
        while self.skip("||", "or"):
            parts.append(self.all())
        return parts[0] if len(parts) == 1 else OneOf(tuple(parts))

    def all(self) -> Expression:
        parts = [self.one()]
        while self.skip("&&", "and"):
            parts.append(self.one())
        return parts[0] if len(parts) == 1 else AllOf(tuple(parts))

    def one(self) -> Expression:
        if self.skip("!", "not"):
            return Not(self.one())
        if self.skip("("):
            inner = self.any()
            if not self.skip(")"):
                raise self.expected("')'")
            return inner
        return self.comparison()

    def comparison(self) -> Expression:
        subject = self.word("a subject")
        if subject not in SUBJECTS and not (subject.startswith("attribute:") and subject != "attribute:"):
            raise InvalidExpression(f"'{subject}' is not one of attribute:NAME, {', '.join(SUBJECTS)}")
        operator = _OPERATORS.get(self.peek() or "")
        if operator is None:
            raise self.expected(f"an operator after '{subject}'")
        self.take()
        match operator:
            case "exists" | "!exists":
                return Comparison(subject, operator)
            case "in" | "!in":
                return Comparison(subject, operator, self.words())
            case "=~" | "!~":
                return Comparison(subject, operator, self.pattern())
            case _:
                return Comparison(subject, operator, self.word(f"a value after '{operator}'"))

    def words(self) -> tuple[str, ...]:
        if not self.skip("["):
            raise self.expected("'['")
        found = [self.word("a value")]
        while self.skip(","):
            found.append(self.word("a value"))
        if not self.skip("]"):
            raise self.expected("',' or ']'")
        return tuple(found)

    def word(self, what: str) -> str:
        match = _TOKEN.match(self.text, self.at)
        if match is None or match["symbol"]:
            raise self.expected(what)
        self.at = match.end()
        return match["word"] or match["quoted"][1:-1]

    def pattern(self) -> str:
        """To the next blank, or to the bracket that closes what surrounds the comparison; quotes hold it together."""
        blank = _BLANK.match(self.text, self.at)
        start = blank.end() if blank is not None else self.at
        if self.text[start : start + 1] in ("'", '"'):
            pattern = self.word("a pattern")
        else:
            end, depth, inside = start, 0, False
            while end < len(self.text) and (inside or not self.text[end].isspace()):
                character = self.text[end]
                if character == "\\":
                    end += 2
                    continue
                inside = character == "[" or (inside and character != "]")
                if not inside:
                    depth += (character == "(") - (character == ")")
                if depth < 0:
                    break
                end += 1
            pattern, self.at = self.text[start:end], min(end, len(self.text))
        if not pattern:
            raise self.expected("a pattern")
        compiled(pattern)
        return pattern

    def peek(self) -> str | None:
        match = _TOKEN.match(self.text, self.at)
        if match is not None:
            return match["symbol"] or match["word"] or match["quoted"]
        return self.text[self.at :].strip() or None

    def take(self) -> None:
        match = _TOKEN.match(self.text, self.at)
        assert match is not None
        self.at = match.end()

    def skip(self, *tokens: str) -> bool:
        if self.peek() in tokens:
            self.take()
            return True
        return False

    def expected(self, what: str) -> InvalidExpression:
        found = self.peek()
        where = f"'{found}' at position {self.at}" if found is not None else "the end"
        return InvalidExpression(f"expected {what}, found {where}")


def looks_at_tasks(expression: Expression) -> bool:
    """Does its answer depend on the tasks that an instance has?"""
    match expression:
        case Not(inner):
            return looks_at_tasks(inner)
        case AllOf(parts) | OneOf(parts):
            return any(looks_at_tasks(part) for part in parts)
        case Comparison(subject, _, _):
            return subject in ("runningTasksCount", "task:group")


# Java's regular expressions, as far as Python's mean the same.
_UNLIKE = re.compile(r"\\[pPQEGzZhHRXN]|&&|\(\?[dux-]")

# "(a+)+" tries more ways than there is time for: nobody's pattern may stop the control plane.
_NESTED = re.compile(r"\((?:[^()\\]|\\.)*(?<!\\)[*+}](?:[^()\\]|\\.)*\)[*+{]")


@functools.lru_cache(maxsize=256)
def compiled(pattern: str) -> re.Pattern[str]:
    """Java's `(?<name>…)` and `\\k<name>` are translated; what Python reads differently is refused, not guessed at."""
    unlike = _UNLIKE.search(pattern)
    if unlike is not None:
        raise InvalidExpression(f"'{unlike[0]}' in the pattern '{pattern}' is not supported")
    if _NESTED.search(pattern):
        raise InvalidExpression(f"the pattern '{pattern}' repeats a group that repeats: it could take forever")
    python = re.sub(r"\(\?<(?![=!])", "(?P<", pattern)
    python = re.sub(r"\\k<(\w+)>", r"(?P=\1)", python)
    try:
        return re.compile(python, re.ASCII)
    except re.error as error:
        raise InvalidExpression(f"the pattern '{pattern}' is not valid: {error}") from error


def holds(expression: Expression, host: Host) -> bool:
    match expression:
        case Not(inner):
            return not holds(inner, host)
        case AllOf(parts):
            return all(holds(part, host) for part in parts)
        case OneOf(parts):
            return any(holds(part, host) for part in parts)
        case Comparison(subject, operator, argument):
            if operator in _DENIES:
                return not holds(Comparison(subject, _DENIES[operator], argument), host)
            return any(_is(value, operator, argument) for value in _values(subject, host))


def _values(subject: str, host: Host) -> tuple[str, ...]:
    """What the host has for the subject; empty when it has nothing."""
    instance = host.instance
    match subject:
        case "agentConnected":
            return ("true" if instance.agent_connected else "false",)
        case "agentVersion":
            version = instance.version_info.get("agentVersion")
            return (str(version),) if version else ()
        case "ec2InstanceId":
            return (instance.ec2_instance_id,)
        case "registeredAt":
            return (datetime.fromtimestamp(instance.registered_at, UTC).isoformat(),)
        case "runningTasksCount":
            return (str(host.tasks),)
        case "task:group":
            return tuple(group for group, count in host.groups.items() if count)
        case _:
            name = subject.removeprefix("attribute:")
            if name not in instance.attributes:
                return ()
            return (instance.attributes[name] or "",)


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda a, b: bool(a == b),
    ">": lambda a, b: bool(a > b),
    ">=": lambda a, b: bool(a >= b),
    "<": lambda a, b: bool(a < b),
    "<=": lambda a, b: bool(a <= b),
}


def _is(value: str, operator: str, argument: Any) -> bool:
    match operator:
        case "exists":
            return True
        case "in":
            return value in argument
        case "=~":
            return compiled(argument).fullmatch(value) is not None
        case "==":
            return value == argument or _COMPARE["=="](*_alike(value, argument))
        case _:
            return _COMPARE[operator](*_alike(value, argument))


def _alike(value: str, argument: str) -> tuple[Any, Any]:
    """Both as dates, numbers or versions ("1.9.0" < "1.10.0") when both are such, else as text."""
    for read in (_number, _version, _date):
        left, right = read(value), read(argument)
        if left is not None and right is not None:
            return left, right
    return value, argument


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"-?\d+(\.\d+)?", text) else None


def _version(text: str) -> tuple[int, ...] | None:
    return tuple(int(part) for part in text.split(".")) if re.fullmatch(r"\d+(\.\d+){2,}", text) else None


def _date(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
