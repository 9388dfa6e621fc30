"""XML values of model shapes, compiled once per shape and name: writers append text, readers walk parsed elements.

Used by query and ec2 (writing) and rest-xml (both ways). Element names, attributes, namespaces, flattening and timestamp
formats all come from the model.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable
from typing import Any
from xml.etree import ElementTree

from moorage.domain.errors import AwsError
from moorage.wire import timestamps
from moorage.wire.errors import Malformed
from moorage.wire.protocols.base import float_text
from moorage.wire.protocols.json_values import decode_base64
from moorage.wire.shapes import Shape

Write = Callable[[list[str], Any], None]
# Where a response may carry a member outside its body; other locations mean nothing in a response.
RESPONSE_LOCATIONS = ("header", "headers", "statusCode")

Read = Callable[[ElementTree.Element], Any]

# Characters that XML 1.0 cannot carry at all; AWS drops them too.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")
_SPECIAL = re.compile('[&<>"\r\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]')


def escape(text: str) -> str:
    if _SPECIAL.search(text) is None:
        return text
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
    return _FORBIDDEN.sub("", text.replace("\r", "&#xD;"))


def scalar_text(shape: Shape, default_timestamp: str = "iso8601") -> Callable[[Any], str]:
    """How a scalar shape is spelled as text; strings are not escaped yet."""
    kind = shape.type_name
    if kind == "timestamp":
        write = timestamps.formatter(shape.serialization.get("timestampFormat"), default_timestamp)
        return lambda value: str(write(value))
    if kind == "boolean":
        return lambda value: "true" if value else "false"
    if kind == "blob":
        return lambda value: base64.b64encode(value.encode() if isinstance(value, str) else value).decode("ascii")
    if kind in ("float", "double"):
        return float_text
    return str


def text_scalar(shape: Shape) -> Callable[[str], Any]:
    """The reverse of `scalar_text`; a text that does not fit raises `Malformed`."""
    kind = shape.type_name
    return _TEXT_READERS.get(kind, _text)


def _text(value: str) -> str:
    return value


def _read_boolean(value: str) -> bool:
    lowered = value.strip().lower()
    if lowered in ("true", "1"):
        return True
    if lowered in ("false", "0"):
        return False
    raise Malformed(f"Invalid boolean value: {value[:64]}")


def _read_integer(value: str) -> int:
    text = value.strip()
    if len(text) > 20:
        raise Malformed(f"Invalid integer value: {value[:64]}")
    try:
        return int(text)
    except ValueError:
        raise Malformed(f"Invalid integer value: {value[:64]}") from None


def _read_float(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise Malformed(f"Invalid number: {value[:64]}") from None


_TEXT_READERS: dict[str, Callable[[str], Any]] = {
    "boolean": _read_boolean,
    "integer": _read_integer,
    "long": _read_integer,
    "short": _read_integer,
    "float": _read_float,
    "double": _read_float,
    "timestamp": timestamps.parse,
    "blob": decode_base64,
}


def list_element_name(shape: Shape, own: str) -> str:
    """A flattened list's elements carry the member's own name when it has one."""
    return str(shape.member.serialization.get("name") or own)


def member_element_name(member: Shape, name: str, *, ec2: bool = False) -> str:
    """The element (or query key) under which a structure carries a member. In ec2, query names are for requests only."""
    if not ec2 and "queryName" in member.serialization:
        return str(member.serialization["queryName"])
    if member.type_name == "list" and member.serialization.get("flattened"):
        renamed = member.member.serialization.get("name")
        if renamed:
            return str(renamed)
    return str(member.serialization.get("name", name))


def namespace_attribute(shape: Shape) -> str:
    """` xmlns="…"` when the shape has a namespace of its own, else nothing."""
    namespace = shape.serialization.get("xmlNamespace")
    if not namespace:
        return ""
    if isinstance(namespace, str):
        return f' xmlns="{escape(namespace)}"'
    prefix = namespace.get("prefix")
    return f' xmlns{":" + prefix if prefix else ""}="{escape(namespace["uri"])}"'


class XmlWriter:
    """Compiles writers for the shapes of one service. `skip_located`: members bound to HTTP parts stay out of bodies."""

    def __init__(self, *, ec2: bool = False) -> None:
        self._ec2 = ec2
        self._compiled: dict[tuple[Any, ...], Write] = {}

    def writer(self, shape: Shape, name: str, namespace: str = "") -> Write:
        """Writes one value as element(s) called `name`; `namespace` is an xmlns attribute text for the element."""
        traits = shape.serialization
        namespace = namespace or namespace_attribute(shape)
        key = (shape.name, name, bool(traits.get("flattened")), namespace, traits.get("timestampFormat"))
        found = self._compiled.get(key)
        if found is None:
            compiled = self._compiled
            compiled[key] = lambda out, value: compiled[key](out, value)
            found = compiled[key] = self._compile(shape, name, namespace)
        return found

    def _compile(self, shape: Shape, name: str, namespace: str) -> Write:
        kind = shape.type_name
        if kind == "structure":
            return self._structure(shape, name, namespace)
        if kind == "list":
            return self._list(shape, name, namespace)
        if kind == "map":
            return self._map(shape, name, namespace)
        return self._scalar(shape, name, namespace)

    def _scalar(self, shape: Shape, name: str, namespace: str) -> Write:
        opening, closing, text = f"<{name}{namespace}>", f"</{name}>", scalar_text(shape)

        def write(out: list[str], value: Any) -> None:
            out.append(f"{opening}{escape(text(value))}{closing}")

        return write

    def members(self, shape: Shape) -> Write:
        """Writes the members of a structure without an element around them."""
        table = [
            (name, self.writer(member, member_element_name(member, name, ec2=self._ec2)))
            for name, member in shape.members.items()
            if not member.serialization.get("xmlAttribute")
            and member.serialization.get("location") not in RESPONSE_LOCATIONS
        ]

        def write(out: list[str], value: Any) -> None:
            get = value.get
            for name, write_member in table:
                item = get(name)
                if item is not None:
                    write_member(out, item)

        return write

    def _structure(self, shape: Shape, name: str, namespace: str) -> Write:
        body = self.members(shape)
        attributes = [
            (key, str(member.serialization.get("name", key)), scalar_text(member))
            for key, member in shape.members.items()
            if member.serialization.get("xmlAttribute")
        ]
        closing = f"</{name}>"

        def write(out: list[str], value: Any) -> None:
            opening = f"<{name}{namespace}"
            for key, attribute, text in attributes:
                item = value.get(key)
                if item is not None:
                    opening += f' {attribute}="{escape(text(item))}"'
            out.append(opening + ">")
            body(out, value)
            out.append(closing)

        return write

    def _list(self, shape: Shape, name: str, namespace: str) -> Write:
        if shape.serialization.get("flattened"):
            item = self.writer(shape.member, list_element_name(shape, name), namespace)

            def write_flat(out: list[str], value: Any) -> None:
                for element in value:
                    item(out, "" if element is None else element)

            return write_flat
        element_writer = self.writer(shape.member, shape.member.serialization.get("name") or "member")
        opening, closing = f"<{name}{namespace}>", f"</{name}>"

        def write(out: list[str], value: Any) -> None:
            out.append(opening)
            for element in value:
                element_writer(out, "" if element is None else element)
            out.append(closing)

        return write

    def _map(self, shape: Shape, name: str, namespace: str) -> Write:
        flat = bool(shape.serialization.get("flattened"))
        entry = f"{name}" if flat else "entry"
        entry_open, entry_close = f"<{entry}{namespace if flat else ''}>", f"</{entry}>"
        opening, closing = ("", "") if flat else (f"<{name}{namespace}>", f"</{name}>")
        write_key = self.writer(shape.key, shape.key.serialization.get("name") or "key")
        write_value = self.writer(shape.value, shape.value.serialization.get("name") or "value")

        def write(out: list[str], value: Any) -> None:
            out.append(opening)
            for key, item in value.items():
                if item is None:
                    continue
                out.append(entry_open)
                write_key(out, key)
                write_value(out, item)
                out.append(entry_close)
            out.append(closing)

        return write


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def parse_document(body: bytes) -> ElementTree.Element:
    """The root element; document type declarations are refused, so that entities cannot blow up."""
    if b"<!DOCTYPE" in body[:4096] or b"<!ENTITY" in body:
        raise AwsError(
            "MalformedXML", "The XML you provided was not well-formed or did not validate against our schema"
        )
    try:
        return ElementTree.fromstring(body)  # noqa: S314 - no entities can be declared, see above
    except (ElementTree.ParseError, ValueError, LookupError):
        raise AwsError(
            "MalformedXML", "The XML you provided was not well-formed or did not validate against our schema"
        ) from None


def local_name(tag: Any) -> str:
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


class XmlReader:
    """Compiles readers for the shapes of one service."""

    def __init__(self) -> None:
        self._compiled: dict[tuple[str, str | None], Read] = {}

    def reader(self, shape: Shape) -> Read:
        kind = shape.type_name
        if kind not in ("structure", "list", "map"):
            convert = text_scalar(shape)
            return lambda element: convert(element.text or "")
        key = (shape.name, kind)
        found = self._compiled.get(key)
        if found is None:
            compiled = self._compiled
            compiled[key] = lambda element: compiled[key](element)
            found = compiled[key] = (
                self.structure(shape)
                if kind == "structure"
                else self._list(shape)
                if kind == "list"
                else self._map(shape)
            )
        return found

    def structure(self, shape: Shape) -> Read:
        single: dict[str, tuple[str, Read]] = {}
        repeated: dict[str, tuple[str, Callable[[Iterable[ElementTree.Element]], Any]]] = {}
        attributes: dict[str, tuple[str, Callable[[str], Any]]] = {}
        for name, member in shape.members.items():
            traits = member.serialization
            if "location" in traits:
                continue
            if traits.get("xmlAttribute"):
                attributes[traits.get("name", name).rpartition(":")[2]] = (name, text_scalar(member))
            elif member.type_name in ("list", "map") and traits.get("flattened"):
                many = self._items(member.member) if member.type_name == "list" else self._entries(member)
                for wire_name in (member_element_name(member, name), traits.get("name", name)):
                    repeated.setdefault(wire_name, (name, many))
            else:
                single[traits.get("name", name)] = (name, self.reader(member))
                # Models may put the name of the shape's own root element on its members too; clients use either.
                single.setdefault(name, (name, self.reader(member)))

        def read(element: ElementTree.Element) -> dict[str, Any]:
            out: dict[str, Any] = {}
            gathered: dict[str, list[ElementTree.Element]] = {}
            for child in element:
                tag = local_name(child.tag)
                entry = single.get(tag)
                if entry is not None:
                    out[entry[0]] = entry[1](child)
                elif tag in repeated:
                    gathered.setdefault(tag, []).append(child)
            for tag, children in gathered.items():
                name, many = repeated[tag]
                out[name] = many(children)
            if attributes:
                for key, text in element.attrib.items():
                    attribute = attributes.get(local_name(key))
                    if attribute is not None:
                        out[attribute[0]] = attribute[1](text)
            return out

        return read

    def _items(self, member: Shape) -> Callable[[Iterable[ElementTree.Element]], Any]:
        read = self.reader(member)
        return lambda elements: [read(element) for element in elements]

    def _list(self, shape: Shape) -> Read:
        return self._items(shape.member)

    def _entries(self, shape: Shape) -> Callable[[Iterable[ElementTree.Element]], Any]:
        key_name = shape.key.serialization.get("name") or "key"
        value_name = shape.value.serialization.get("name") or "value"
        read_key, read_value = self.reader(shape.key), self.reader(shape.value)

        def read(elements: Iterable[ElementTree.Element]) -> dict[str, Any]:
            out: dict[str, Any] = {}
            for element in elements:
                parts = {local_name(child.tag): child for child in element}
                if key_name not in parts or value_name not in parts:
                    raise Malformed("A map entry needs a key and a value")
                out[read_key(parts[key_name])] = read_value(parts[value_name])
            return out

        return read

    def _map(self, shape: Shape) -> Read:
        return self._entries(shape)
