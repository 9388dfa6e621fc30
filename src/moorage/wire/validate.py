"""Checks parsed parameters against the constraints of the model, and refuses in AWS's words.

Types were checked while parsing; this is about required members, enums, lengths, ranges and patterns, as far as the
service's policy says that it checks them there. Checks are compiled once per shape; one without constraints costs nothing.
Source of the words: semantics/around (validation shapes).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from moorage.domain.errors import AwsError
from moorage.wire.messages import Params
from moorage.wire.model import Operation, Service
from moorage.wire.policies import Policy, policy_of
from moorage.wire.shapes import Shape

LONGEST_FOR_PATTERN = 8192


class Violation(msgspec.Struct, frozen=True):
    """`path` is AWS's ("tags.1.member.key"), `shown` the value as AWS prints it, `constraint` what it should have met;
    `name`: of a required member that is not there."""

    path: str
    shown: str
    constraint: str
    name: str = ""


Check = Callable[[Any, str, list[Violation]], None]


def validate(operation: Operation, params: Params) -> None:
    """Raises `AwsError` when a parameter breaks the model."""
    check = operation.codecs.get("check", _UNSET)
    if check is _UNSET:
        check = operation.codecs["check"] = (
            _checker_of(operation.service).check(operation.input) if operation.input else None
        )
    if check is None:
        return
    violations: list[Violation] = []
    check(params, "", violations)
    if violations:
        raise refusal(policy_of(operation.service.name, operation.service.protocol), operation.name, violations)


_UNSET = object()


def refusal(policy: Policy, operation: str, violations: list[Violation]) -> AwsError:
    """The one error that tells of all violations."""
    missing = any(violation.name for violation in violations)
    code = policy.missing_codes.get(operation, policy.code) if missing else policy.code
    if policy.words == "ec2":
        return AwsError(code, f"The request must contain the parameter {violations[0].name}")
    if policy.words == "ecr":
        first = violations[0]
        constraint = first.constraint.removeprefix("Member ").replace("expression pattern: ", "expression '")
        closing = "'" if "expression '" in constraint else ""
        return AwsError(
            code, f"Invalid parameter at '{first.path}' failed to satisfy constraint: '{constraint}{closing}'"
        )
    count = len(violations)
    details = "; ".join(
        f"Value {item.shown}at '{item.path}' failed to satisfy constraint: {item.constraint}" for item in violations
    )
    return AwsError(code, f"{count} validation error{'s' if count > 1 else ''} detected: {details}")


def _checker_of(service: Service) -> Checker:
    found = service.codecs.get("checker")
    if found is None:
        found = service.codecs["checker"] = Checker(policy_of(service.name, service.protocol))
    return found


class Checker:
    """Compiles the checks of one service's shapes; None means that there is nothing to check."""

    def __init__(self, policy: Policy) -> None:
        self._checks = policy.checks
        self._own_enums = policy.own_enums
        self._compiled: dict[str, Check | None] = {}

    def check(self, shape: Shape) -> Check | None:
        if shape.name not in self._compiled:
            compiled = self._compiled

            def later(value: Any, path: str, out: list[Violation]) -> None:
                known = compiled[shape.name]
                if known is not None:
                    known(value, path, out)

            compiled[shape.name] = later
            compiled[shape.name] = self._compile(shape)
        return self._compiled[shape.name]

    def _compile(self, shape: Shape) -> Check | None:
        kind = shape.type_name
        if kind == "structure":
            return None if shape.is_document_type else self._structure(shape)
        own = self._length(shape) if kind in ("list", "map", "string", "blob") else self._range(shape)
        if kind == "list":
            return _both(own, self._items(shape))
        if kind == "map":
            return _both(own, self._entries(shape))
        if kind == "string":
            return _both(own, self._text(shape))
        return own

    def _structure(self, shape: Shape) -> Check | None:
        required = tuple(shape.required_members) if "required" in self._checks else ()
        members = {name: check for name, member in shape.members.items() if (check := self.check(member)) is not None}
        if not required and not members:
            return None

        def check_members(value: Any, path: str, out: list[Violation]) -> None:
            out.extend(
                Violation(_join(path, name), "null ", "Member must not be null", name)
                for name in required
                if value.get(name) is None
            )
            for name, check_member in members.items():
                item = value.get(name)
                if item is not None:
                    check_member(item, _join(path, name), out)

        return check_members

    def _items(self, shape: Shape) -> Check | None:
        check_item = self.check(shape.member)
        if check_item is None:
            return None

        def check(value: Any, path: str, out: list[Violation]) -> None:
            for index, item in enumerate(value, 1):
                if item is not None:
                    check_item(item, f"{path}.{index}.member", out)

        return check

    def _entries(self, shape: Shape) -> Check | None:
        check_key, check_value = self.check(shape.key), self.check(shape.value)
        if check_key is None and check_value is None:
            return None

        def check(value: Any, path: str, out: list[Violation]) -> None:
            for key, item in value.items():
                if check_key is not None:
                    check_key(key, f"{path}.{key}.key", out)
                if check_value is not None and item is not None:
                    check_value(item, f"{path}.{key}.member", out)

        return check

    def _length(self, shape: Shape) -> Check | None:
        low, high = shape.metadata.get("min"), shape.metadata.get("max")
        if "length" not in self._checks or (not low and high is None):
            return None
        show = _shower(shape)

        def check(value: Any, path: str, out: list[Violation]) -> None:
            length = len(value)
            if low and length < low:
                out.append(Violation(path, show(value), f"Member must have length greater than or equal to {low}"))
            if high is not None and length > high:
                out.append(Violation(path, show(value), f"Member must have length less than or equal to {high}"))

        return check

    def _range(self, shape: Shape) -> Check | None:
        low, high = shape.metadata.get("min"), shape.metadata.get("max")
        numeric = shape.type_name in ("integer", "long", "short", "float", "double")
        if "range" not in self._checks or not numeric or (low is None and high is None):
            return None
        show = _shower(shape)

        def check(value: Any, path: str, out: list[Violation]) -> None:
            if low is not None and value < low:
                out.append(Violation(path, show(value), f"Member must have value greater than or equal to {low}"))
            if high is not None and value > high:
                out.append(Violation(path, show(value), f"Member must have value less than or equal to {high}"))

        return check

    def _text(self, shape: Shape) -> Check | None:
        show = _shower(shape)
        enum = shape.enum if "enum" in self._checks and shape.name not in self._own_enums else ()
        if enum:
            allowed, listed = frozenset(enum), ", ".join(enum)

            def check_enum(value: Any, path: str, out: list[Violation]) -> None:
                if value not in allowed:
                    out.append(Violation(path, show(value), f"Member must satisfy enum value set: [{listed}]"))

            return check_enum
        pattern = shape.metadata.get("pattern") if "pattern" in self._checks else None
        compiled = _compile_pattern(pattern)
        if compiled is None:
            return None

        def check_pattern(value: Any, path: str, out: list[Violation]) -> None:
            if len(value) <= LONGEST_FOR_PATTERN and compiled.fullmatch(value) is None:
                out.append(Violation(path, show(value), f"Member must satisfy regular expression pattern: {pattern}"))

        return check_pattern


def _both(first: Check | None, second: Check | None) -> Check | None:
    if first is None or second is None:
        return first or second

    def check(value: Any, path: str, out: list[Violation]) -> None:
        first(value, path, out)
        second(value, path, out)

    return check


def _join(path: str, name: str) -> str:
    own = name[:1].lower() + name[1:]
    return f"{path}.{own}" if path else own


def _shower(shape: Shape) -> Callable[[Any], str]:
    """Sensitive values are not repeated."""
    return (lambda _value: "") if shape.metadata.get("sensitive") else (lambda value: f"'{_java(value)}' ")


def _java(value: Any) -> str:
    """A value as AWS's Java prints it."""
    if isinstance(value, list):
        return f"[{', '.join(_java(item) for item in value)}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}={_java(item)}" for key, item in value.items()) + "}"
    if isinstance(value, bytes):
        return f"java.nio.HeapByteBuffer[pos=0 lim={len(value)} cap={len(value)}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _compile_pattern(pattern: str | None) -> re.Pattern[str] | None:
    """None for patterns that are Java's own and that Python cannot read: those are not checked."""
    if not pattern or pattern in (".*", "^.*$", "[\\s\\S]*"):
        return None
    try:
        return re.compile(pattern)
    except re.error:
        return None
