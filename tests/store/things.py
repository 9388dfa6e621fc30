"""A small table for the tests of the store."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from moorage.store.api import Table


class Thing(msgspec.Struct, frozen=True):
    name: str
    color: str | None = None
    size: int = 0
    tags: Mapping[str, str] = {}


THINGS: Table[Thing] = Table(
    "things", Thing, key=lambda r: r.name, indexes={"color": lambda r: r.color, "size": lambda r: r.size % 2}
)
OTHERS: Table[Thing] = Table("others", Thing, key=lambda r: r.name)
TABLES = (THINGS, OTHERS)
