"""Placement constraints: distinctInstance and memberOf (semantics ecs-services §7).

`read` turns the API's shapes into values (refusing what cannot be read); `unmet` says why a host breaks one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from moorage.decide.placement.expression import Expression, holds, parse
from moorage.decide.placement.hosts import Host

MEMBER_OF = "MemberOf placement constraint unsatisfied"
DISTINCT = "DistinctInstance placement constraint unsatisfied"


class DistinctInstance(msgspec.Struct, frozen=True):
    """No two tasks of one task group on one host."""


class MemberOf(msgspec.Struct, frozen=True):
    text: str
    expression: Expression


Constraint = DistinctInstance | MemberOf


def read(shapes: Iterable[Mapping[str, Any]]) -> tuple[Constraint, ...]:
    """`placementConstraints` as the API has them. Raises `InvalidExpression` or `ValueError` with the reason."""
    found: list[Constraint] = []
    for shape in shapes:
        kind, text = shape.get("type"), shape.get("expression")
        if kind == "distinctInstance":
            if text:
                raise ValueError("distinctInstance expression should not be specified.")
            found.append(DistinctInstance())
        elif kind == "memberOf":
            if not text:
                raise ValueError("memberOf expression should be specified.")
            found.append(MemberOf(text, parse(text)))
        else:
            raise ValueError(f"Invalid placement constraint type '{kind}'.")
    return tuple(found)


def unmet(constraint: Constraint, host: Host, group: str) -> tuple[str, str] | None:
    """(reason, detail) when `host` may not take a task of `group`."""
    match constraint:
        case DistinctInstance():
            return (DISTINCT, f"has a task of {group} already") if host.groups.get(group) else None
        case MemberOf(text, expression):
            return None if holds(expression, host) else (MEMBER_OF, f"is not a member of '{text}'")
