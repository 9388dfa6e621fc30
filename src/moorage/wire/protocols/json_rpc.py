"""awsJson 1.0 and 1.1: the operation in `X-Amz-Target`, one JSON object each way, and query-compatible errors."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import msgspec

from moorage.domain.errors import AwsError
from moorage.wire.errors import Malformed, malformed_json
from moorage.wire.messages import Params, WireRequest, WireResponse
from moorage.wire.model import Operation, Service
from moorage.wire.protocols import eventstream
from moorage.wire.protocols.base import REQUEST_ID, resolve_error
from moorage.wire.protocols.json_fast import struct_of
from moorage.wire.protocols.json_values import Convert, JsonReader, JsonWriter

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_convert = msgspec.convert
_UNSET = object()


def decode_json(body: bytes) -> Any:
    """The JSON value of a body; nothing at all counts as an empty object."""
    if not body:
        return {}
    try:
        return _decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise malformed_json(f"Unable to read the JSON body: {error}") from None


def reader_of(service: Service) -> JsonReader:
    found = service.codecs.get("json-reader")
    if found is None:
        found = service.codecs["json-reader"] = JsonReader()
    return found


def writer_of(service: Service) -> JsonWriter:
    found = service.codecs.get("json-writer")
    if found is None:
        found = service.codecs["json-writer"] = JsonWriter()
    return found


class JsonProtocol:
    """`version` is "1.0" or "1.1"."""

    name = "json"

    def __init__(self, version: str) -> None:
        self.content_type = f"application/x-amz-json-{version}"

    def operation_name(self, service: Service, request: WireRequest) -> str:
        name = request.headers.get("X-Amz-Target", "").rpartition(".")[2]
        if not name:
            raise AwsError(
                "UnknownOperationException", f"The request to {service.name} names no operation (X-Amz-Target)."
            )
        return name

    def parse(self, operation: Operation, request: WireRequest) -> Params:
        if operation.input is None:
            return {}
        read = operation.codecs.get("json-in")
        if read is None:
            read = operation.codecs["json-in"] = reader_of(operation.service).reader(operation.input)
        try:
            return read(decode_json(request.body))  # type: ignore[no-any-return]
        except Malformed as error:
            raise malformed_json(str(error)) from None
        except RecursionError:
            raise malformed_json("The request is nested too deeply.") from None

    def serialize(self, operation: Operation, result: Mapping[str, Any], request_id: str) -> WireResponse:
        headers = {REQUEST_ID: request_id, "Content-Type": self.content_type}
        if operation.output is None:
            return WireResponse(200, headers, b"{}" if "1.0" in self.content_type else b"")
        fast = operation.codecs.get("json-fast", _UNSET)
        if fast is _UNSET:
            fast = operation.codecs["json-fast"] = struct_of(operation.output)
        if fast is not None:
            with contextlib.suppress(msgspec.ValidationError):
                return WireResponse(200, headers, _encode(_convert(result, fast)))
        write: Convert | None = operation.codecs.get("json-out")
        if write is None:
            write = operation.codecs["json-out"] = writer_of(operation.service).structure(
                operation.output, skip_located=False
            )
        stream_name = operation.output.event_stream_name
        if stream_name:
            return self._event_stream(operation, stream_name, result, headers)
        return WireResponse(200, headers, _encode(write(result)))

    def _event_stream(
        self, operation: Operation, stream_name: str, result: Mapping[str, Any], headers: dict[str, str]
    ) -> WireResponse:
        write = operation.codecs["json-out"]
        initial = {name: value for name, value in result.items() if name != stream_name}
        shape = operation.output.members[stream_name]
        body = eventstream.encode(
            result.get(stream_name, ()),
            shape,
            eventstream.JsonPayloads(writer_of(operation.service)),
            _encode(write(initial)),
        )
        return WireResponse(200, {**headers, "Content-Type": eventstream.CONTENT_TYPE}, body)

    def serialize_error(self, service: Service, error: AwsError, request_id: str) -> WireResponse:
        facts = resolve_error(service, error, rpc=True)
        headers = {REQUEST_ID: request_id, "Content-Type": self.content_type}
        if service.query_compatible:
            headers["x-amzn-query-error"] = f"{facts.code};{'Sender' if facts.sender else 'Receiver'}"
        body: dict[str, Any] = {"__type": facts.shape_name}
        if facts.shape is not None:
            write = writer_of(service).writer(facts.shape)
            body.update(write(facts.members) if write else facts.members)
        body.setdefault("message", error.message)
        return WireResponse(facts.status, headers, _encode(body))
