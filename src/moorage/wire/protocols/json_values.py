"""JSON values of model shapes: each shape is compiled once into a small function, then only the function runs.

Readers check types on the way (wrong type: `Malformed` with AWS's words) and rename wire names to member names; members
that the model does not know and nulls are dropped. Writers do the reverse; a `msgspec.Raw` anywhere is JSON that somebody
has encoded before, in wire names, and passes through.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from moorage.wire import timestamps
from moorage.wire.errors import Malformed
from moorage.wire.shapes import Shape

Convert = Callable[[Any], Any]
Raw = msgspec.Raw

_KINDS = {str: "STRING_VALUE", int: "NUMBER_VALUE", float: "NUMBER_VALUE"}


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "TRUE_VALUE" if value else "FALSE_VALUE"
    return _KINDS.get(type(value), "")


def wrong_type(value: Any, wanted: str) -> Malformed:
    """AWS's words for a JSON value of the wrong kind."""
    if isinstance(value, dict):
        return Malformed("Start of structure or map found where not expected.")
    if isinstance(value, list):
        return Malformed("Start of list found where not expected")
    article = "an" if wanted[0] in "AEIOU" else "a"
    return Malformed(f"{_kind(value)} can not be converted to {article} {wanted}")


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _read_string(value: Any) -> str:
    if value.__class__ is str:
        return value
    raise wrong_type(value, "String")


def _read_boolean(value: Any) -> bool:
    if value is True or value is False:
        return value
    raise wrong_type(value, "Boolean")


def _integer_reader(bits: int, wanted: str) -> Convert:
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1

    def read(value: Any) -> int:
        if value.__class__ is float and value.is_integer():
            value = int(value)
        if value.__class__ is not int:
            raise wrong_type(value, wanted)
        if not low <= value <= high:
            raise Malformed(f"NUMBER_VALUE can not be converted to {'an' if wanted == 'Integer' else 'a'} {wanted}")
        return value

    return read


_SPECIAL_FLOATS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


def _read_float(value: Any) -> float:
    if value.__class__ is float or value.__class__ is int:
        return value
    if value.__class__ is str and value in _SPECIAL_FLOATS:
        return _SPECIAL_FLOATS[value]
    raise wrong_type(value, "Double")


def _read_blob(value: Any) -> bytes:
    if value.__class__ is bytes:
        return value
    if value.__class__ is not str:
        raise wrong_type(value, "ByteBuffer")
    return decode_base64(value)


def decode_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Malformed("Invalid base64 data") from None


def _read_timestamp(value: Any) -> float:
    if isinstance(value, dict | list):
        raise wrong_type(value, "Timestamp")
    return timestamps.parse(value)


def _read_document(value: Any) -> Any:
    return value


SCALAR_READERS: dict[str, Convert] = {
    "string": _read_string,
    "character": _read_string,
    "boolean": _read_boolean,
    "integer": _integer_reader(32, "Integer"),
    "short": _integer_reader(16, "Short"),
    "long": _integer_reader(64, "Long"),
    "float": _read_float,
    "double": _read_float,
    "blob": _read_blob,
    "timestamp": _read_timestamp,
}


class JsonReader:
    """Compiles readers for the shapes of one service. CBOR has scalars of its own and prefers member names on the wire."""

    def __init__(self, scalars: Mapping[str, Convert] | None = None, *, wire_names: bool = True) -> None:
        self._scalars = SCALAR_READERS if scalars is None else scalars
        self._wire_names = wire_names
        self._compiled: dict[str, Convert] = {}

    def reader(self, shape: Shape) -> Convert:
        scalar = self._scalars.get(shape.type_name)
        if scalar is not None:
            return scalar
        found = self._compiled.get(shape.name)
        if found is None:
            compiled = self._compiled
            # A shape may contain itself: until it is compiled, references go through the table.
            compiled[shape.name] = lambda value: compiled[shape.name](value)
            found = compiled[shape.name] = self._compile(shape)
        return found

    def _compile(self, shape: Shape) -> Convert:
        if shape.type_name == "structure":
            if shape.is_document_type:
                return _read_document
            return self.structure(shape, skip_located=False)
        if shape.type_name == "list":
            return self._list(shape)
        if shape.type_name == "map":
            return self._map(shape)
        return _read_document

    def structure(self, shape: Shape, *, skip_located: bool) -> Convert:
        """Reads a structure; `skip_located` leaves out members that REST binds to headers, URI or query string."""
        table: dict[str, tuple[str, Convert]] = {}
        for name, member in shape.members.items():
            if skip_located and "location" in member.serialization:
                continue
            table[member.serialization.get("name", name)] = (name, self.reader(member))
            if not self._wire_names:
                table[name] = (name, self.reader(member))
        find = table.get

        def read(value: Any) -> dict[str, Any]:
            if value.__class__ is not dict:
                raise (
                    Malformed("Start of list found where not expected")
                    if isinstance(value, list)
                    else Malformed("Unexpected token: expected a structure")
                )
            out: dict[str, Any] = {}
            for key, item in value.items():
                entry = find(key)
                if entry is not None and item is not None:
                    out[entry[0]] = entry[1](item)
            return out

        return read

    def _list(self, shape: Shape) -> Convert:
        member = self.reader(shape.member)

        def read(value: Any) -> list[Any]:
            if value.__class__ is not list:
                raise Malformed("Expected list or null")
            return [None if item is None else member(item) for item in value]

        return read

    def _map(self, shape: Shape) -> Convert:
        member = self.reader(shape.value)

        def read(value: Any) -> dict[str, Any]:
            if value.__class__ is not dict:
                raise Malformed("Expected map or null")
            return {_read_string(key): None if item is None else member(item) for key, item in value.items()}

        return read


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _write_blob(value: Any) -> str:
    return base64.b64encode(value.encode() if isinstance(value, str) else value).decode("ascii")


def _write_float(value: Any) -> Any:
    if isinstance(value, Decimal):
        value = float(value)
    if value.__class__ is float:
        if value != value:
            return "NaN"
        if value in (float("inf"), float("-inf")):
            return "Infinity" if value > 0 else "-Infinity"
    return value


_SCALAR_WRITERS: dict[str, Convert] = {"blob": _write_blob, "float": _write_float, "double": _write_float}


class JsonWriter:
    """Compiles writers for the shapes of one service; None stands for "write the value as it is"."""

    def __init__(self, scalars: Mapping[str, Convert] | None = None, *, wire_names: bool = True) -> None:
        self._scalars = _SCALAR_WRITERS if scalars is None else scalars
        self._wire_names = wire_names
        self._compiled: dict[tuple[str, str | None], Convert | None] = {}

    def writer(self, shape: Shape) -> Convert | None:
        kind = shape.type_name
        if kind not in ("structure", "list", "map"):
            if kind in self._scalars or kind != "timestamp":
                return self._scalars.get(kind)
            return timestamps.formatter(shape.serialization.get("timestampFormat"), "unixTimestamp")  # type: ignore[no-any-return]
        key = (shape.name, None)
        if key not in self._compiled:
            compiled = self._compiled
            compiled[key] = lambda value: (compiled[key] or _as_is)(value)
            compiled[key] = self._compile(shape)
        return self._compiled[key]

    def _compile(self, shape: Shape) -> Convert | None:
        if shape.type_name == "structure":
            return None if shape.is_document_type else self.structure(shape, skip_located=False)
        if shape.type_name == "list":
            return self._list(shape)
        return self._map(shape)

    def structure(self, shape: Shape, *, skip_located: bool) -> Convert:
        """Writes a structure: modelled members only, no nulls."""
        as_is: set[str] = set()
        changed: dict[str, tuple[str, Convert | None]] = {}
        for name, member in shape.members.items():
            if skip_located and member.serialization.get("location") in ("header", "headers", "statusCode"):
                continue
            wire_name = member.serialization.get("name", name) if self._wire_names else name
            convert = self.writer(member)
            if convert is None and wire_name == name:
                as_is.add(name)
            else:
                changed[name] = (wire_name, convert)
        same = frozenset(as_is)
        if not changed:

            def write_plain(value: Any) -> Any:
                if value.__class__ is Raw or (value.keys() <= same and None not in value.values()):
                    return value
                return {name: item for name, item in value.items() if item is not None and name in same}

            return write_plain
        find = changed.get

        def write(value: Any) -> Any:
            if value.__class__ is Raw:
                return value
            out: dict[str, Any] = {}
            for name, item in value.items():
                if item is None:
                    continue
                if name in same:
                    out[name] = item
                    continue
                entry = find(name)
                if entry is not None:
                    out[entry[0]] = item if entry[1] is None else entry[1](item)
            return out

        return write

    def _list(self, shape: Shape) -> Convert | None:
        member = self.writer(shape.member)
        if member is None:
            return None

        def write(value: Any) -> Any:
            if value.__class__ is Raw:
                return value
            return [None if item is None else member(item) for item in value]

        return write

    def _map(self, shape: Shape) -> Convert | None:
        member = self.writer(shape.value)
        if member is None:
            return None

        def write(value: Any) -> Any:
            if value.__class__ is Raw:
                return value
            return {key: None if item is None else member(item) for key, item in value.items()}

        return write


def _as_is(value: Any) -> Any:
    return value
