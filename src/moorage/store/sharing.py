"""Equal values are kept once: what a store reads back is full of repetitions (ARNs of clusters, names, zones, images).

A record that was written by this process shares its strings with the records it was made from; one that comes back from
its bytes has copies of its own. A hundred thousand tasks would hold two million strings, most of them equal.
"""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar

import msgspec
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
        seen = self._seen
        for name, value in zip(_names(type(record)), astuple(record), strict=True):
            if value.__class__ is str:
                shared = seen.setdefault(value, value)
            elif value and value.__class__ is tuple:
                shared = self._tuple(value)
            elif isinstance(value, msgspec.Struct):
                shared = self.record(value)
            else:
                continue
            if shared is not value:
                force_setattr(record, name, shared)
        return record

    def _tuple(self, value: tuple[Any, ...]) -> tuple[Any, ...]:
        if all(isinstance(one, msgspec.Struct) for one in value):
            for one in value:
                self.record(one)
        elif all(isinstance(one, str) for one in value):
            value = tuple([self.text(one) for one in value])
        else:  # (1,) equals (1.0,) and (True,)
            return value
        try:
            shared: tuple[Any, ...] = self._seen.setdefault(value, value)
        except TypeError:  # something in it is a dictionary
            return value
        return shared


@cache
def _names(kind: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in msgspec.structs.fields(kind))
