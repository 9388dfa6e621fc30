"""Equal values are kept once: what a store reads back is full of repetitions (ARNs of clusters, names, zones, images).

A record that was written by this process shares its strings with the records it was made from; one that comes back from
its bytes has copies of its own. A hundred thousand tasks would hold two million strings, most of them equal.
"""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar

import msgspec
import msgspec.inspect
from msgspec.structs import astuple, force_setattr

R = TypeVar("R", bound=msgspec.Struct)


class Sharing:
    """Remembers every value it has seen: for the time of one reading, not for ever."""

    def __init__(self) -> None:
        self._seen: dict[Any, Any] = {}

    def text(self, value: str) -> str:
        seen: str = self._seen.setdefault(value, value)
        return seen

    def record(self, record: R) -> R:
        """The same record, its strings and what is made of them replaced by equal ones that were seen before. It must
        have no other readers yet."""
        once = self._seen.setdefault
        for name, value in zip(_names(record.__class__), astuple(record), strict=True):
            if name is None or not value:
                continue
            kind = value.__class__
            if kind is str:
                shared = once(value, value)
            elif kind is tuple:
                shared = self._tuple(value)
            elif isinstance(value, msgspec.Struct):
                shared = self.record(value)
            else:
                continue
            if shared is not value:
                force_setattr(record, name, shared)
        return record

    def _tuple(self, value: tuple[Any, ...]) -> tuple[Any, ...]:
        """Of records: the same tuple. Of strings: one of those seen before."""
        if isinstance(value[0], msgspec.Struct):
            for one in value:
                self.record(one)
            return value
        if not all(one.__class__ is str for one in value):  # (1,) equals (True,)
            return value
        known = self._seen.get(value)
        if known is None:
            known = tuple([self.text(one) for one in value])
            self._seen[known] = known
        shared: tuple[Any, ...] = known
        return shared


@cache
def _names(kind: type[Any]) -> tuple[str | None, ...]:
    """The fields of a record in order; None for numbers, which are not worth a look."""
    described = msgspec.inspect.type_info(kind)
    assert isinstance(described, msgspec.inspect.StructType)
    fields = described.fields
    return tuple(None if _is_number(field.type) else field.name for field in fields)


def _is_number(kind: msgspec.inspect.Type) -> bool:
    if isinstance(kind, msgspec.inspect.UnionType):
        return all(_is_number(one) for one in kind.types)
    # A literal is the object that the annotation names, whatever it was decoded from.
    return isinstance(
        kind,
        msgspec.inspect.IntType
        | msgspec.inspect.FloatType
        | msgspec.inspect.BoolType
        | msgspec.inspect.NoneType
        | msgspec.inspect.LiteralType,
    )
