"""`application/vnd.amazon.eventstream`: a result in pieces, each a binary message with headers and checksums."""

from __future__ import annotations

import binascii
import struct
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Protocol

import msgspec

from moorage.domain.errors import AwsError
from moorage.wire import timestamps
from moorage.wire.protocols.json_values import JsonWriter
from moorage.wire.shapes import Shape

CONTENT_TYPE = "application/vnd.amazon.eventstream"


class Payloads(Protocol):
    """How a protocol writes the body of an event."""

    content_type: str

    def write(self, shape: Shape, value: Any) -> bytes: ...


class JsonPayloads:
    content_type = "application/json"

    def __init__(self, writer: JsonWriter) -> None:
        self._writer = writer

    def write(self, shape: Shape, value: Any) -> bytes:
        convert = self._writer.writer(shape)
        return msgspec.json.encode(convert(value) if convert else value)


async def encode(events: Any, shape: Shape, payloads: Payloads, initial: bytes | None = None) -> AsyncIterator[bytes]:
    """Messages for `events`, an async or plain iterable of `{event name: value}`; an `AwsError` that it raises becomes an
    exception message, as AWS ends a stream. `initial` is the body of RPC protocols' first message."""
    if initial is not None:
        yield message(
            {":message-type": "event", ":event-type": "initial-response", ":content-type": payloads.content_type},
            initial,
        )
    try:
        if hasattr(events, "__aiter__"):
            async for event in events:
                yield event_message(event, shape, payloads)
        else:
            for event in _plain(events):
                yield event_message(event, shape, payloads)
    except AwsError as error:
        headers = {
            ":message-type": "exception",
            ":exception-type": error.code,
            ":content-type": payloads.content_type,
        }
        yield message(headers, msgspec.json.encode({"message": error.message}))
    finally:
        close = getattr(events, "aclose", None)
        if close is not None:
            await close()


def _plain(events: Iterable[Mapping[str, Any]] | None) -> Iterable[Mapping[str, Any]]:
    return events or ()


def event_message(event: Mapping[str, Any], shape: Shape, payloads: Payloads) -> bytes:
    """One event: members marked as headers go to headers, one marked as payload is the body, else the rest is."""
    ((name, value),) = event.items()
    member = shape.members[name]
    headers: dict[str, Any] = {":message-type": "event", ":event-type": name}
    rest: dict[str, Any] = {}
    body: bytes | None = None
    for key, item in value.items():
        trait = member.members.get(key)
        if trait is None or item is None:
            continue
        if trait.serialization.get("eventheader"):
            headers[key] = _Milliseconds(item) if trait.type_name == "timestamp" else item
        elif trait.serialization.get("eventpayload"):
            if trait.type_name == "blob":
                body, headers[":content-type"] = bytes(item), "application/octet-stream"
            elif trait.type_name == "string":
                body, headers[":content-type"] = str(item).encode(), "text/plain"
            else:
                body, headers[":content-type"] = payloads.write(trait, item), payloads.content_type
        else:
            rest[key] = item
    if body is None:
        if any(not m.serialization.get("eventheader") for m in member.members.values()):
            headers[":content-type"] = payloads.content_type
            body = payloads.write(member, rest)
        else:
            body = b""
    return message(headers, body)


class _Milliseconds:
    def __init__(self, value: Any) -> None:
        self.value = round(timestamps.epoch(value) * 1000)


def _header(name: str, value: Any) -> bytes:
    key = bytes([len(name)]) + name.encode()
    if value is True or value is False:
        return key + (b"\x00" if value else b"\x01")
    if isinstance(value, int):
        return key + (
            b"\x04" + struct.pack(">i", value) if -(2**31) <= value < 2**31 else b"\x05" + struct.pack(">q", value)
        )
    if isinstance(value, _Milliseconds):
        return key + b"\x08" + struct.pack(">q", value.value)
    data, kind = (value, b"\x06") if isinstance(value, bytes) else (str(value).encode(), b"\x07")
    return key + kind + struct.pack(">H", len(data)) + data


def message(headers: Mapping[str, Any], payload: bytes) -> bytes:
    """Prelude (total length, headers length, checksum), headers, payload, checksum of all."""
    packed = b"".join(_header(name, value) for name, value in headers.items())
    prelude = struct.pack(">II", 16 + len(packed) + len(payload), len(packed))
    head = prelude + struct.pack(">I", binascii.crc32(prelude)) + packed + payload
    return head + struct.pack(">I", binascii.crc32(head))
