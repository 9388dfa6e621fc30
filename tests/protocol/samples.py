"""Sample values for any shape of any model: every member filled, recursion cut short."""

from __future__ import annotations

from typing import Any

from moorage.wire.shapes import Shape

MOMENT = 1_700_000_000
_LEFT_OUT = object()


def sample(shape: Shape, *, label: str = "x", inside: tuple[str, ...] = ()) -> Any:
    """A value with all members set; members that lead back into their own shape are left out."""
    value = _sample(shape, label, inside)
    return {} if value is _LEFT_OUT else value


def _sample(shape: Shape, label: str, inside: tuple[str, ...]) -> Any:
    kind = shape.type_name
    if kind in ("structure", "list", "map") and (shape.name in inside or len(inside) > 8):
        return _LEFT_OUT
    inner = (*inside, shape.name)
    if kind == "structure":
        if shape.is_document_type:
            return {"any": ["thing", 1, None]}
        return _structure(shape, inner)
    if kind == "list":
        items = [_sample(shape.member, label + str(n), inner) for n in (1, 2)]
        return _LEFT_OUT if _LEFT_OUT in items else items
    if kind == "map":
        value = _sample(shape.value, label + "v", inner)
        key = shape.key.enum[0] if getattr(shape.key, "enum", None) else "key" + label
        return _LEFT_OUT if value is _LEFT_OUT else {key: value}
    if kind == "string" and shape.enum:
        return shape.enum[-1]
    return {
        "string": f"{label} é<&>\"'",
        "character": "c",
        "boolean": True,
        "integer": 7,
        "short": 7,
        "long": 1 << 40,
        "float": 1.5,
        "double": 2.25,
        "blob": b"\x00\xffblob",
        "timestamp": MOMENT,
    }[kind]


def _structure(shape: Shape, inside: tuple[str, ...]) -> Any:
    out: dict[str, Any] = {}
    for name, member in shape.members.items():
        value = _located(member) if "location" in member.serialization else _sample(member, name, inside)
        if value is _LEFT_OUT or member.serialization.get("eventstream"):
            continue
        out[name] = value
        if shape.is_tagged_union:
            break
    payload = shape.serialization.get("payload")
    if payload in out and shape.members[payload].type_name == "blob":
        out[payload] = b"ascii: botocore's parser decodes payloads that are not streamed"
    return out if out or len(inside) == 1 or not shape.members else _LEFT_OUT


def _located(member: Shape) -> Any:
    """Values that HTTP parts can carry: plain texts, no spaces at their ends."""
    kind = member.type_name
    if kind == "string" and not member.enum:
        return {"a": 1} if member.serialization.get("jsonvalue") else "plain-text-1"
    if kind == "map":
        return {"key": ["a", "b"] if member.value.type_name == "list" else "value"}
    if kind == "list":
        return [_located(member.member), _located(member.member)]
    return _sample(member, "x", ())
