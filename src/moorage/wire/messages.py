"""What goes in and out of the wire: an HTTP request and an HTTP response as plain records, free of any HTTP library."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import parse_qsl

import msgspec


class WireRequest(msgspec.Struct):
    """`path` is the raw, still percent-encoded path without the query; `query` the raw query string without "?";
    `headers` is looked up without regard to case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes

    def query_items(self) -> list[tuple[str, str]]:
        """The decoded query string in order, blank values kept."""
        return parse_qsl(self.query, keep_blank_values=True) if self.query else []

    @property
    def path_and_query(self) -> str:
        return f"{self.path}?{self.query}" if self.query else self.path


class WireResponse(msgspec.Struct):
    """`body` is either whole or a stream of chunks (event streams, large objects)."""

    status: int
    headers: dict[str, str]
    body: bytes | AsyncIterator[bytes] = b""


Params = dict[str, Any]
