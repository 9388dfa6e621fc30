"""Every result of botocore's vectors, written by us, is read back by botocore's own parser as that result."""

from __future__ import annotations

import base64
import json
from datetime import UTC
from typing import Any
from xml.etree import ElementTree

import cbor2
import pytest
from botocore.awsrequest import HeadersDict
from botocore.eventstream import EventStream
from botocore.parsers import PROTOCOL_PARSERS
from botocore.utils import parse_timestamp

from moorage.domain.errors import AwsError
from moorage.wire.messages import WireResponse
from moorage.wire.model import Operation
from moorage.wire.protocols import BY_NAME
from moorage.wire.protocols.base import REQUEST_ID

from .cases import BODY_DIFFERS, as_moorage, cases, comparable, operation_of, text_blobs


class RawBody:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def stream(self) -> Any:
        yield self._data


async def whole(response: WireResponse) -> bytes:
    if isinstance(response.body, bytes):
        return response.body
    return b"".join([chunk async for chunk in response.body])


def read_by_botocore(operation: Operation, response: WireResponse, body: bytes, shape: Any) -> dict[str, Any]:
    parser = PROTOCOL_PARSERS[operation.service.protocol](
        timestamp_parser=lambda value: parse_timestamp(value).astimezone(UTC).timestamp()
    )
    raw: Any = RawBody(body) if shape is operation.output and operation.model.has_event_stream_output else body
    parsed = parser.parse(
        {
            "status_code": response.status,
            "headers": HeadersDict(response.headers),
            "body": raw,
            "context": {"operation_name": operation.name},
        },
        shape,
    )
    return {name: list(value) if isinstance(value, EventStream) else value for name, value in parsed.items()}


@pytest.mark.parametrize(("suite", "case"), [case for case in cases("output") if "error" not in case.values[1]])
async def test_botocore_reads_our_result(suite: dict[str, Any], case: dict[str, Any]) -> None:
    operation = operation_of(suite, case)
    result = as_moorage(operation.output, case["result"]) if operation.output is not None else {}
    response = BY_NAME[operation.service.protocol].serialize(operation, result, "the-request-id")
    body = await whole(response)
    parsed = read_by_botocore(operation, response, body, operation.output)
    parsed.pop("ResponseMetadata", None)
    for member in parsed.values():
        if isinstance(member, dict):  # an empty header prefix takes in every header
            member.pop(REQUEST_ID, None)
            member.pop(REQUEST_ID.removeprefix("x-"), None)
    assert comparable(text_blobs(operation.output, parsed)) == comparable(result)
    assert response.headers[REQUEST_ID] == "the-request-id"
    if "body" in case["response"] and not case["old"] and case["id"] not in BODY_DIFFERS:
        assert same_body(operation.service.protocol, body, case["response"]["body"])


@pytest.mark.parametrize(("suite", "case"), [case for case in cases("output") if "error" in case.values[1]])
async def test_botocore_reads_our_refusal(suite: dict[str, Any], case: dict[str, Any]) -> None:
    operation = operation_of(suite, case)
    service = operation.service
    code = case["errorCode"]
    shape = service.error_shape(code)
    fields = as_moorage(shape, case["error"]) if shape is not None else {}
    message = case.get("errorMessage", "")
    status = case["response"]["status_code"]
    refusal = AwsError(code, message, status=status, **{k: v for k, v in fields.items() if k.lower() != "message"})
    response = BY_NAME[service.protocol].serialize_error(service, refusal, "the-request-id")
    body = await whole(response)
    assert response.status == status
    parsed = read_by_botocore(operation, response, body, operation.output)
    assert parsed["Error"]["Code"] == code
    assert (parsed["Error"].get("Message") or "") == message
    if shape is not None:
        modelled = read_by_botocore(operation, response, body, shape)
        modelled.pop("ResponseMetadata", None)
        expected = dict(fields)
        assert comparable({k: v for k, v in modelled.items() if k in expected}) == comparable(expected)


def same_body(protocol: str, ours: bytes, theirs: str) -> bool:
    """Equal up to spelling: key order, white space, declaration, request ids, members that a result does not have."""
    if protocol == "smithy-rpc-v2-cbor":
        return plain(cbor2.loads(ours) if ours else {}) == plain(
            cbor2.loads(base64.b64decode(theirs)) if theirs else {}
        )
    if protocol in ("json", "rest-json"):
        try:
            return json.loads(ours or b"{}") == json.loads(theirs or "{}")
        except ValueError:
            return ours.decode() == theirs
    return canonical(ours.decode()) == canonical(theirs)


def plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str, sort_keys=True))


def canonical(text: str) -> Any:
    if not text.strip():
        return None
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return text
    return flat(root)


def flat(node: ElementTree.Element) -> Any:
    children = [flat(child) for child in node if node_name(child) not in ("ResponseMetadata", "requestId", "RequestId")]
    return (node_name(node), sorted(node.attrib.items()), (node.text or "").strip(), sorted(children, key=repr))


def node_name(node: ElementTree.Element) -> str:
    return node.tag.rpartition("}")[2]
