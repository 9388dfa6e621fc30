"""Shapes of a service model: the same view of the same data as botocore's `Shape`, without importing botocore.

botocore's own parsers and serializers take these shapes too. What a reference adds to a shape ("locationName",
"flattened" …) is merged over the shape's own traits, as botocore does it.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, TypeAlias

_SERIALIZED = (
    "queryName", "flattened", "location", "payload", "streaming", "timestampFormat", "xmlNamespace", "resultWrapper",
    "xmlAttribute", "eventstream", "event", "eventheader", "eventpayload", "jsonvalue", "hostLabel",
)  # fmt: skip
_METADATA = (
    "required", "min", "max", "pattern", "sensitive", "enum", "idempotencyToken", "error", "exception", "fault", "document",
    "union", "requiresLength",
)  # fmt: skip


class ModelShape:
    """One use of a shape. `type_name` decides which attributes make sense: `members` of structures, `member` of lists,
    `key` and `value` of maps, `enum` of strings."""

    def __init__(self, name: str, model: dict[str, Any], shapes: dict[str, Any]) -> None:
        self.name = name
        self.type_name: str = model["type"]
        self._model = model
        self._shapes = shapes

    @cached_property
    def serialization(self) -> dict[str, Any]:
        """How the shape travels. The model's `locationName` is called `name`, as in botocore."""
        model = self._model
        found = {trait: model[trait] for trait in _SERIALIZED if trait in model}
        if "locationName" in model:
            found["name"] = model["locationName"]
        return found

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """Constraints and what kind of error the shape is."""
        return {trait: self._model[trait] for trait in _METADATA if trait in self._model}

    @cached_property
    def members(self) -> dict[str, Shape]:
        return {name: resolve(reference, self._shapes) for name, reference in self._model.get("members", {}).items()}

    @cached_property
    def member(self) -> Shape:
        return resolve(self._model["member"], self._shapes)

    @cached_property
    def key(self) -> Shape:
        return resolve(self._model["key"], self._shapes)

    @cached_property
    def value(self) -> Shape:
        return resolve(self._model["value"], self._shapes)

    @property
    def required_members(self) -> list[str]:
        return self._model.get("required", [])  # type: ignore[no-any-return]

    @property
    def enum(self) -> list[str]:
        return self._model.get("enum", [])  # type: ignore[no-any-return]

    @property
    def is_document_type(self) -> bool:
        return bool(self._model.get("document"))

    @property
    def is_tagged_union(self) -> bool:
        return bool(self._model.get("union"))

    @cached_property
    def event_stream_name(self) -> str | None:
        """The member that is a stream of events."""
        if self.type_name != "structure":
            return None
        return next((name for name, member in self.members.items() if member.serialization.get("eventstream")), None)

    @property
    def error_code(self) -> str | None:
        """What query protocols call this error."""
        if not self._model.get("exception"):
            return None
        return self._model.get("error", {}).get("code") or self.name

    def __repr__(self) -> str:
        return f"<{self.type_name} {self.name}>"


# botocore has a class per type; code that branches on `type_name` takes both.
Shape: TypeAlias = Any


def resolve(reference: dict[str, Any], shapes: dict[str, Any]) -> Shape:
    """The shape that `{"shape": "Name", …traits}` refers to."""
    name = reference["shape"]
    model = shapes[name]
    return ModelShape(name, {**model, **reference} if len(reference) > 1 else model, shapes)
