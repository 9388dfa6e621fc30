"""What the control plane and the worker say to each other: length-prefixed msgpack over a socket pair.

A frame is four bytes of length (big endian) and the msgpack of one tagged struct. Both sides run the same version of
the code (the worker is a child), so that only the journal, which keeps `Call`s, has to stay readable by later versions:
fields are appended with a default, never removed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import msgspec

_LENGTH = struct.Struct(">I")


class Call(msgspec.Struct, frozen=True, tag="call", array_like=True):
    """One HTTP request for moto. `at` (seconds since the epoch) and `seed` are everything that the answer may depend on
    beside the state: they make it repeatable. `path` is raw (percent-encoded, with the query string). `mutates`: goes
    into the journal before it is answered."""

    id: str
    at: float
    seed: str
    service: str
    operation: str
    account: str
    region: str
    access_key: str
    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes
    mutates: bool


class Reset(msgspec.Struct, frozen=True, tag="reset", array_like=True):
    """Forget everything. `at` and `seed` become those of the new, empty state."""

    id: str
    at: float
    seed: str


class Answer(msgspec.Struct, frozen=True, tag="answer", array_like=True):
    """`refused`: code and sentence when moto cannot do it at all; `status` then says whose fault it was. `wait`: seconds
    for which the caller wants to be asked again while the answer is empty (SQS long polls)."""

    id: str
    status: int
    headers: list[tuple[str, str]]
    body: bytes
    refused: tuple[str, str] | None = None
    wait: float = 0.0


class Ready(msgspec.Struct, frozen=True, tag="ready", array_like=True):
    """The worker has replayed `replayed` requests in `seconds` and now takes calls."""

    replayed: int
    seconds: float
    failed: int = 0


Request = Call | Reset
Reply = Answer | Ready

_encoder = msgspec.msgpack.Encoder()
_request_decoder: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_reply_decoder: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)


def frame(message: Request | Reply) -> bytes:
    body = _encoder.encode(message)
    return _LENGTH.pack(len(body)) + body


class Frames:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._buffer += data
        while len(self._buffer) >= 4:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if len(self._buffer) < 4 + length:
                return
            body = bytes(self._buffer[4 : 4 + length])
            del self._buffer[: 4 + length]
            yield body


def decode_request(body: bytes) -> Request:
    return _request_decoder.decode(body)


def decode_reply(body: bytes) -> Reply:
    return _reply_decoder.decode(body)
