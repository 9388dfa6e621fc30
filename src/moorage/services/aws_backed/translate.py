"""Which operation a raw request names, and the protocols that moto does not speak (CBOR), by Moorage's own wire code.

Query, json and ec2 requests name their operation without a model, so none is loaded for them.
"""

from __future__ import annotations

from collections.abc import Mapping

from moorage.domain.errors import AwsError
from moorage.services.aws_backed import client
from moorage.wire import model
from moorage.wire.messages import WireRequest
from moorage.wire.protocols import CBOR, protocol_of
from moorage.wire.protocols.form_values import form_items


def operation_of(service: str, request: WireRequest) -> str:
    """The operation, or "" when the request names none that the model knows (S3 websites, odd paths)."""
    target = request.headers.get("X-Amz-Target")
    if target:
        return target.rpartition(".")[2]
    if "x-www-form-urlencoded" in request.headers.get("Content-Type", "") or "Action=" in request.query:
        action = next((value for name, value in form_items(request) if name == "Action"), None)
        if action:
            return action
    described = model.service(service)
    try:
        return protocol_of(described, request).operation_name(described, request)
    except AwsError:
        return ""


def is_cbor(request: WireRequest) -> bool:
    return request.headers.get("smithy-protocol") == "rpc-v2-cbor"


def from_cbor(service: str, operation: str, region: str, request: WireRequest) -> client.Request:
    """The same request in a protocol that moto speaks."""
    found = model.service(service).operation(operation)
    if found is None:
        raise AwsError("UnknownOperationException", f"{service} has no operation {operation}")
    return client.serialize(service, operation, CBOR.parse(found, request), region)


def to_cbor(
    service: str, operation: str, answer: tuple[int, Mapping[str, str], bytes], request_id: str
) -> tuple[int, dict[str, str], bytes]:
    """moto's answer in CBOR. Raises the refusal as `AwsError`, for the gateway to word."""
    found = model.service(service).operation(operation)
    assert found is not None
    response = CBOR.serialize(found, client.parse(service, operation, *answer), request_id)
    assert isinstance(response.body, bytes)
    return response.status, dict(response.headers), response.body
