"""What an application load balancer says to a Lambda function and how it reads the answer. Pure: HTTP on one side, JSON
on the other. Source: semantics elbv2 §9.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

LARGEST = 1024 * 1024
"""Bytes of a request's body, and of a function's whole answer."""
USER_AGENT = "ELB-HealthChecker/2.0"
HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_TEXT = ("application/json", "application/javascript", "application/xml")


class FunctionRequest(msgspec.Struct, frozen=True):
    """`query` as it came, without the question mark; nothing of it is decoded for a function."""

    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""


class FunctionAnswer(msgspec.Struct, frozen=True):
    """`reason`: what stands behind the status in the first line."""

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


class InvalidAnswer(Exception):
    """The function's answer is not one. `cause`: AWS's word in the access log's error_reason."""

    def __init__(self, cause: str, sentence: str) -> None:
        super().__init__(sentence)
        self.cause = cause


def event_of(request: FunctionRequest, target_group_arn: str, *, multi_value: bool) -> bytes:
    """The event that the function is invoked with."""
    headers = [(name.lower(), value) for name, value in request.headers if name.lower() not in HOP_BY_HOP]
    pairs = _pairs(request.query)
    coded = bool(request.body) and not _is_text(dict(headers))
    event: dict[str, Any] = {
        "requestContext": {"elb": {"targetGroupArn": target_group_arn}},
        "httpMethod": request.method,
        "path": request.path,
    }
    if multi_value:
        event |= {"multiValueQueryStringParameters": _all(pairs), "multiValueHeaders": _all(headers)}
    else:
        event |= {"queryStringParameters": dict(pairs), "headers": dict(headers)}
    body = base64.b64encode(request.body) if coded else request.body
    event |= {"body": body.decode("utf-8", "replace"), "isBase64Encoded": coded}
    return msgspec.json.encode(event)


def health_event(target_group_arn: str, path: str, *, multi_value: bool) -> bytes:
    """The event of a health check."""
    headers = (("user-agent", USER_AGENT),)
    return event_of(FunctionRequest("GET", path, "", headers), target_group_arn, multi_value=multi_value)


def answer_of(payload: bytes, *, multi_value: bool) -> FunctionAnswer:
    """Raises InvalidAnswer: the client gets a 502."""
    if len(payload) > LARGEST:
        raise InvalidAnswer("LambdaResponseTooLarge", "the function's answer is larger than 1 MB")
    try:
        document = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise _invalid("it is not JSON") from None
    if not isinstance(document, dict):
        raise _invalid("it is not a JSON object")
    status = document.get("statusCode")
    if not isinstance(status, int) or isinstance(status, bool) or not 200 <= status <= 599:
        raise _invalid("statusCode is not a number from 200 to 599")
    description = document.get("statusDescription") or ""
    if not isinstance(description, str):
        raise _invalid("statusDescription is not a text")
    given = document.get("multiValueHeaders" if multi_value else "headers") or {}
    headers = tuple(_headers(given, multi_value=multi_value))
    return FunctionAnswer(status, description.partition(" ")[2], headers, _body(document))


def _headers(given: Any, *, multi_value: bool) -> Iterable[tuple[str, str]]:
    """Without those of a hop, and without a length, which is counted."""
    if not isinstance(given, dict):
        raise _invalid("its headers are not an object")
    for name, value in given.items():
        values = value if multi_value else [value]
        if not isinstance(values, list) or not all(isinstance(one, str) for one in values):
            raise _invalid(f"the header {name} is not {'a list of texts' if multi_value else 'a text'}")
        if name.lower() in HOP_BY_HOP or name.lower() == "content-length":
            continue
        for one in values:
            if any(character in name + one for character in "\r\n\0") or not name:
                raise _invalid(f"the header {name!r} is not valid in HTTP")
            yield name, one


def _body(document: Mapping[str, Any]) -> bytes:
    body = document.get("body")
    if body is None:
        return b""
    if not isinstance(body, str):
        raise _invalid("its body is not a text")
    if document.get("isBase64Encoded") is not True:
        return body.encode()
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        raise _invalid("its body is not valid base64") from None


def _invalid(why: str) -> InvalidAnswer:
    return InvalidAnswer("LambdaInvalidResponse", f"the function's answer is not valid: {why}")


def _is_text(headers: Mapping[str, str]) -> bool:
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    return "content-encoding" not in headers and (kind.startswith("text/") or kind in _TEXT)


def _pairs(query: str) -> list[tuple[str, str]]:
    """`a=1&b&a=2` → (a, 1), (b, ""), (a, 2)"""
    split = (part.partition("=") for part in query.split("&") if part)
    return [(name, value) for name, _, value in split]


def _all(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found
