"""Smithy RPC v2 CBOR: the operation in the path, one CBOR map each way. Newer SDKs prefer it for CloudWatch and others."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import unquote

import cbor2

from moorage.domain.errors import AwsError
from moorage.wire import timestamps
from moorage.wire.errors import Malformed, malformed_json
from moorage.wire.messages import Params, WireRequest, WireResponse
from moorage.wire.model import Operation, Service
from moorage.wire.protocols import eventstream
from moorage.wire.protocols.base import REQUEST_ID, resolve_error
from moorage.wire.protocols.json_values import SCALAR_READERS, Convert, JsonReader, JsonWriter, wrong_type
from moorage.wire.shapes import Shape

CONTENT_TYPE = "application/cbor"
_PATH = re.compile(r"/service/([^/]+)/operation/([^/]+)/?$")


def _read_blob(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    raise wrong_type(value, "ByteBuffer")


def _read_timestamp(value: Any) -> float:
    if isinstance(value, datetime | int | float):
        return timestamps.parse(value)
    raise wrong_type(value, "Timestamp")


_READERS: dict[str, Convert] = {**SCALAR_READERS, "blob": _read_blob, "timestamp": _read_timestamp}


def _write_timestamp(value: Any) -> cbor2.CBORTag:
    return cbor2.CBORTag(1, timestamps.to_unix(value))


def _write_blob(value: Any) -> bytes:
    return value.encode("utf-8") if isinstance(value, str) else bytes(value)


_WRITERS: dict[str, Convert] = {"timestamp": _write_timestamp, "blob": _write_blob}


def decode_cbor(body: bytes) -> Any:
    if not body:
        return {}
    try:
        return cbor2.loads(body)
    except Exception as error:  # every way in which bytes may fail to be CBOR
        raise malformed_json(f"Unable to read the CBOR body: {type(error).__name__}") from None


class CborPayloads:
    content_type = CONTENT_TYPE

    def __init__(self, writer: JsonWriter) -> None:
        self._writer = writer

    def write(self, shape: Shape, value: Any) -> bytes:
        convert = self._writer.writer(shape)
        return cbor2.dumps(convert(value) if convert else value)


class CborProtocol:
    name = "smithy-rpc-v2-cbor"

    def operation_name(self, service: Service, request: WireRequest) -> str:
        match = _PATH.search(request.path)
        if match is None:
            raise AwsError(
                "UnknownOperationException", f"The request to {service.name} names no operation.", status=404
            )
        return unquote(match[2])

    def _reader(self, service: Service) -> JsonReader:
        found = service.codecs.get("cbor-reader")
        if found is None:
            found = service.codecs["cbor-reader"] = JsonReader(_READERS, wire_names=False)
        return found

    def _writer(self, service: Service) -> JsonWriter:
        found = service.codecs.get("cbor-writer")
        if found is None:
            found = service.codecs["cbor-writer"] = JsonWriter(_WRITERS, wire_names=False)
        return found

    def parse(self, operation: Operation, request: WireRequest) -> Params:
        if operation.input is None:
            return {}
        try:
            return self._reader(operation.service).reader(operation.input)(decode_cbor(request.body))  # type: ignore[no-any-return]
        except Malformed as error:
            raise malformed_json(str(error)) from None
        except RecursionError:
            raise malformed_json("The request is nested too deeply.") from None

    def serialize(self, operation: Operation, result: Mapping[str, Any], request_id: str) -> WireResponse:
        headers = self._headers(request_id)
        if operation.output is None:
            headers.pop("Content-Type")
            return WireResponse(200, headers)
        writer = self._writer(operation.service)
        write: Convert | None = operation.codecs.get("cbor-out")
        if write is None:
            write = operation.codecs["cbor-out"] = writer.structure(operation.output, skip_located=False)
        stream_name = operation.output.event_stream_name
        if stream_name:
            initial = cbor2.dumps(write({key: value for key, value in result.items() if key != stream_name}))
            shape = operation.output.members[stream_name]
            body = eventstream.encode(result.get(stream_name), shape, CborPayloads(writer), initial)
            return WireResponse(200, {**headers, "Content-Type": eventstream.CONTENT_TYPE}, body)
        return WireResponse(200, headers, cbor2.dumps(write(result)))

    def _headers(self, request_id: str) -> dict[str, str]:
        return {REQUEST_ID: request_id, "smithy-protocol": "rpc-v2-cbor", "Content-Type": CONTENT_TYPE}

    def serialize_error(self, service: Service, error: AwsError, request_id: str) -> WireResponse:
        facts = resolve_error(service, error, rpc=True)
        headers = self._headers(request_id)
        if service.query_compatible:
            headers["x-amzn-query-error"] = f"{facts.code};{'Sender' if facts.sender else 'Receiver'}"
        body: dict[str, Any] = {"__type": facts.shape_name}
        if facts.shape is not None:
            write = self._writer(service).writer(facts.shape)
            body.update(write(facts.members) if write else facts.members)
        if not any(key.lower() == "message" for key in body):
            body["message"] = error.message
        return WireResponse(facts.status, headers, cbor2.dumps(body))
