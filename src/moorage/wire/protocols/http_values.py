"""Members that REST protocols bind to the parts of an HTTP message other than its body: URI labels, query string, headers,
status code. Both directions, compiled once per shape."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote_plus

import msgspec

from moorage.wire.errors import Malformed
from moorage.wire.messages import Params, WireRequest
from moorage.wire.protocols.xml_values import scalar_text, text_scalar
from moorage.wire.shapes import Shape

_BREAKS = re.compile(r"[\r\n\x00]+")
_QUOTED = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|([^,]*))\s*(?:,|$)')
_HTTP_DATE_LIST = re.compile(r"[^,]+,[^,]+")


class RequestParts:
    """Reads the bound members of an input shape from a request."""

    def __init__(self, shape: Shape, request_uri: str = "") -> None:
        # Query parameters that the template itself spells out say which operation it is; they are nobody's value.
        self._spelled_out = {item.partition("=")[0] for item in request_uri.partition("?")[2].split("&")}
        self._labels: list[tuple[str, str, Callable[[str], Any]]] = []
        self._query: dict[str, tuple[str, bool, Callable[[str], Any]]] = {}
        self._query_maps: list[tuple[str, bool]] = []
        self._headers: list[tuple[str, str, Callable[[str], Any]]] = []
        self._prefixes: list[tuple[str, str]] = []
        for name, member in shape.members.items():
            location, key = member.serialization.get("location"), member.serialization.get("name", name)
            if location == "uri":
                self._labels.append((name, key, text_scalar(member)))
            elif location == "querystring":
                if member.type_name == "map":
                    self._query_maps.append((name, member.value.type_name == "list"))
                elif member.type_name == "list":
                    self._query[key] = (name, True, text_scalar(member.member))
                else:
                    self._query[key] = (name, False, text_scalar(member))
            elif location == "header":
                self._headers.append((name, key, header_reader(member)))
            elif location == "headers":
                self._prefixes.append((name, member.serialization.get("name", "").lower()))

    def read(self, request: WireRequest, labels: Mapping[str, str], params: Params) -> None:
        for name, key, convert in self._labels:
            if key in labels:
                params[name] = convert(labels[key])
        if self._query or self._query_maps:
            self._read_query(request, params)
        for name, key, convert in self._headers:
            text = request.headers.get(key)
            if text is not None:
                params[name] = convert(text)
        for name, prefix in self._prefixes:
            found = {
                key[len(prefix) :]: value for key, value in request.headers.items() if key.lower().startswith(prefix)
            }
            if found:
                params[name] = found

    def _read_query(self, request: WireRequest, params: Params) -> None:
        rest: dict[str, list[str]] = {}
        for item in request.query.split("&") if request.query else ():
            raw_key, _, raw_value = item.partition("=")
            key, value = unquote_plus(raw_key), unquote_plus(raw_value)
            entry = self._query.get(key)
            if entry is None:
                if key in self._spelled_out:
                    continue
                rest.setdefault(key, []).append(value)
            elif entry[1]:
                params.setdefault(entry[0], []).append(entry[2](value))
            else:
                params[entry[0]] = entry[2](value)
        for name, lists in self._query_maps:
            if rest:
                params[name] = {key: values if lists else values[0] for key, values in rest.items()}


def header_reader(shape: Shape) -> Callable[[str], Any]:
    if shape.serialization.get("jsonvalue"):
        return _read_json_value
    if shape.type_name == "list":
        convert = text_scalar(shape.member)
        if shape.member.type_name == "timestamp" and shape.member.serialization.get("timestampFormat") in (
            None,
            "rfc822",
        ):
            return lambda text: [convert(date.strip()) for date in _HTTP_DATE_LIST.findall(text)]
        return lambda text: [convert(item) for item in split_list(text)]
    return text_scalar(shape)


def split_list(text: str) -> list[str]:
    """Comma-separated header values; a quoted one may contain commas."""
    items: list[str] = []
    position = 0
    while position < len(text):
        match = _QUOTED.match(text, position)
        if match is None or match.end() == position:
            items.append(text[position:].strip())
            break
        quoted, plain = match.groups()
        items.append(re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain.strip())
        position = match.end()
    return items


def _read_json_value(text: str) -> Any:
    try:
        return json.loads(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError, RecursionError):
        raise Malformed("Invalid JSON value in a header") from None


class ResponseParts:
    """Writes the bound members of an output (or error) shape into headers and status."""

    def __init__(self, shape: Shape) -> None:
        self._headers: list[tuple[str, str, Callable[[Any], str]]] = []
        self._prefixes: list[tuple[str, str]] = []
        self.status_member: str | None = None
        for name, member in shape.members.items():
            location, key = member.serialization.get("location"), member.serialization.get("name", name)
            if location == "header":
                self._headers.append((name, key, header_writer(member)))
            elif location == "headers":
                self._prefixes.append((name, member.serialization.get("name", "")))
            elif location == "statusCode":
                self.status_member = name

    def write(self, result: Mapping[str, Any], headers: dict[str, str]) -> None:
        for name, key, text in self._headers:
            value = result.get(name)
            if value is not None:
                headers[key] = _BREAKS.sub(" ", text(value))
        for name, prefix in self._prefixes:
            for key, value in (result.get(name) or {}).items():
                headers[_BREAKS.sub(" ", prefix + key)] = _BREAKS.sub(" ", str(value))

    def status(self, result: Mapping[str, Any], default: int) -> int:
        value = result.get(self.status_member) if self.status_member else None
        return default if value is None else int(value)


def header_writer(shape: Shape) -> Callable[[Any], str]:
    if shape.serialization.get("jsonvalue"):
        return lambda value: base64.b64encode(msgspec.json.encode(value)).decode("ascii")
    if shape.type_name == "list":
        text = scalar_text(shape.member, "rfc822")
        if shape.member.type_name == "string":
            return lambda value: ", ".join(_quoted(str(item)) for item in value if item is not None)
        return lambda value: ", ".join(text(item) for item in value if item is not None)
    return scalar_text(shape, "rfc822")


def _quoted(text: str) -> str:
    if '"' in text or "," in text:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return text
