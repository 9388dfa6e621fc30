"""What every protocol offers, and what they share about errors.

A protocol turns a request into `(operation name, params)` and a result or a refusal into a response. It never decides
what a call means. Values inside Moorage: member names of the model, timestamps as epoch seconds, blobs as bytes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any
from typing import Protocol as TypingProtocol

import msgspec

from moorage.domain.errors import AwsError
from moorage.wire.messages import Params, WireRequest, WireResponse
from moorage.wire.model import Operation, Service
from moorage.wire.shapes import Shape

REQUEST_ID = "x-amzn-requestid"


class WireProtocol(TypingProtocol):
    """One AWS protocol, server side. Malformed input raises `AwsError` (status 400)."""

    name: str

    def operation_name(self, service: Service, request: WireRequest) -> str:
        """The operation that the request names; raises AwsError when it names none."""
        ...

    def parse(self, operation: Operation, request: WireRequest) -> Params: ...

    def serialize(self, operation: Operation, result: Mapping[str, Any], request_id: str) -> WireResponse: ...

    def serialize_error(self, service: Service, error: AwsError, request_id: str) -> WireResponse: ...


class ErrorFacts(msgspec.Struct, frozen=True):
    """A refusal resolved against the model: `code` as query protocols spell it, `shape_name` as JSON ones do."""

    code: str
    shape_name: str
    status: int
    sender: bool
    shape: Shape | None
    members: dict[str, Any]


def resolve_error(service: Service, error: AwsError, *, rpc: bool = False) -> ErrorFacts:
    """Looks the refusal up in the model: code and name, HTTP status, whose fault, and the members of its shape. `rpc`: JSON
    and CBOR, where a query-compatible service keeps the statuses of its model for query clients only."""
    shape = service.error_shape(error.code)
    details = shape.metadata.get("error", {}) if shape is not None else {}
    status = error.status
    fault = bool(shape is not None and shape.metadata.get("fault"))
    if status == 400:
        modelled = None if rpc and service.query_compatible else details.get("httpStatusCode")
        status = modelled or (500 if fault else 400)
    members: dict[str, Any] = dict(error.fields)
    if shape is not None:
        members.setdefault(message_member(shape), error.message)
    return ErrorFacts(
        code=shape.error_code if shape is not None else error.code,
        shape_name=shape.name if shape is not None else error.code,
        status=status,
        sender=error.sender and status < 500,
        shape=shape,
        members=members,
    )


def message_member(shape: Shape) -> str:
    """Which member of an error shape carries the sentence: models spell it `message`, `Message` or `errorMessage`."""
    for name in shape.members:
        if name.lower() == "message":
            return str(name)
    return "message"


def float_text(value: Any) -> str:
    """A float as AWS spells it in texts: NaN, Infinity and -Infinity by name."""
    if isinstance(value, float):
        if value != value:
            return "NaN"
        if value in (float("inf"), float("-inf")):
            return "Infinity" if value > 0 else "-Infinity"
    return str(value)


def is_event_stream(shape: Shape | None) -> bool:
    return shape is not None and bool(shape.serialization.get("eventstream"))


def is_stream(value: Any) -> bool:
    return isinstance(value, AsyncIterator) or hasattr(value, "__aiter__")
