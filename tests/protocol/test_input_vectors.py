"""Every request that botocore's vectors say a client sends parses to the parameters it was made from."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from multidict import CIMultiDict

from moorage.wire.messages import WireRequest
from moorage.wire.protocols import protocol_of

from .cases import FILLED_TOKEN, as_moorage, cases, comparable, operation_of


def request_of(suite: dict[str, Any], case: dict[str, Any]) -> WireRequest:
    serialized = case["serialized"]
    body = serialized.get("body", "")
    raw = base64.b64decode(body) if "cbor" in suite["metadata"]["protocol"] else body.encode()
    path, _, query = serialized.get("uri", "/").partition("?")
    method = serialized.get("method") or case["given"].get("http", {}).get("method", "POST")
    return WireRequest(method, path, query, CIMultiDict(serialized.get("headers", {})), raw)


def without_bound_keys(shape: Any, params: dict[str, Any]) -> dict[str, Any]:
    """Some vectors repeat in a map of query parameters what other members carry, others do not; Moorage never does."""
    members = shape.members.items() if shape is not None else ()
    bound = {
        m.serialization.get("name", name) for name, m in members if m.serialization.get("location") == "querystring"
    }
    maps = {n for n, m in members if m.serialization.get("location") == "querystring" and m.type_name == "map"}
    out = {}
    for name, value in params.items():
        kept = {key: item for key, item in value.items() if key not in bound} if name in maps else value
        if name not in maps or kept:
            out[name] = kept
    return out


@pytest.mark.parametrize(("suite", "case"), cases("input"))
def test_a_request_parses_to_its_parameters(suite: dict[str, Any], case: dict[str, Any]) -> None:
    operation = operation_of(suite, case)
    request = request_of(suite, case)
    protocol = protocol_of(operation.service, request)
    assert protocol.name == suite["metadata"]["protocol"]
    assert protocol.operation_name(operation.service, request) == operation.name
    expected = as_moorage(operation.input, case["params"]) if operation.input is not None else {}
    expected = without_bound_keys(operation.input, expected)
    for name, member in operation.input.members.items() if operation.input is not None else ():
        if member.metadata.get("idempotencyToken"):
            expected.setdefault(name, FILLED_TOKEN)
    assert comparable(protocol.parse(operation, request)) == comparable(expected)
