"""Server side of the AWS protocols, driven by botocore's models. `protocol_of` chooses the one a request speaks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import msgspec

from moorage.domain.errors import AwsError
from moorage.wire.messages import WireRequest, WireResponse
from moorage.wire.model import Service
from moorage.wire.protocols.base import REQUEST_ID, WireProtocol
from moorage.wire.protocols.cbor import CborProtocol
from moorage.wire.protocols.form_values import form_items
from moorage.wire.protocols.json_rpc import JsonProtocol
from moorage.wire.protocols.query import Ec2Protocol, QueryProtocol
from moorage.wire.protocols.rest import RestJsonProtocol, RestXmlProtocol
from moorage.wire.protocols.xml_values import escape

JSON_1_0 = JsonProtocol("1.0")
JSON_1_1 = JsonProtocol("1.1")
QUERY = QueryProtocol()
EC2 = Ec2Protocol()
REST_JSON = RestJsonProtocol()
REST_XML = RestXmlProtocol()
CBOR = CborProtocol()

BY_NAME: dict[str, WireProtocol] = {
    "json": JSON_1_1,
    "query": QUERY,
    "ec2": EC2,
    "rest-json": REST_JSON,
    "rest-xml": REST_XML,
    "smithy-rpc-v2-cbor": CBOR,
}


def protocol_of(service: Service, request: WireRequest) -> WireProtocol:
    """The protocol this request speaks. The request decides, not the model: clients differ in what they prefer."""
    headers = request.headers
    if "X-Amz-Target" in headers:
        return JSON_1_0 if "1.0" in headers.get("Content-Type", "") else JSON_1_1
    if service.protocol in ("rest-json", "rest-xml"):
        return BY_NAME[service.protocol]
    if "smithy-protocol" in headers or headers.get("Content-Type", "").startswith("application/cbor"):
        return CBOR
    if service.protocol == "ec2":
        return EC2
    if service.protocol == "query" or speaks_form(request):
        return QUERY
    return default_protocol(service)


def speaks_form(request: WireRequest) -> bool:
    """Whether the request is in query form, whatever its service prefers: old SQS and CloudWatch clients."""
    return "x-www-form-urlencoded" in request.headers.get("Content-Type", "") or "Action=" in request.query


def named_operation(request: WireRequest) -> str:
    """The operation as far as the request itself names it (JSON, CBOR, query); "" when only a model can tell (REST)."""
    target = request.headers.get("X-Amz-Target")
    if target:
        return target.rpartition(".")[2]
    if "smithy-protocol" in request.headers:
        return request.path.rpartition("/operation/")[2]
    if speaks_form(request):
        with contextlib.suppress(AwsError):
            return next((value for key, value in form_items(request) if key == "Action"), "")
    return ""


def default_protocol(service: Service) -> WireProtocol:
    """What the model itself prefers."""
    if service.protocol == "json":
        return JSON_1_0 if service.metadata.get("jsonVersion") == "1.0" else JSON_1_1
    return BY_NAME[service.protocol]


def guess_protocol(request: WireRequest) -> Callable[[AwsError, str], WireResponse]:
    """How to word a refusal when not even the service is known: XML for query-like requests, else JSON."""
    form = speaks_form(request)

    def write(error: AwsError, request_id: str) -> WireResponse:
        if form:
            text = (
                f"<ErrorResponse><Error><Type>Sender</Type><Code>{escape(error.code)}</Code>"
                f"<Message>{escape(error.message)}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>"
            )
            return WireResponse(error.status, {REQUEST_ID: request_id, "Content-Type": "text/xml"}, text.encode())
        body = msgspec.json.encode({"__type": error.code, "message": error.message})
        headers = {REQUEST_ID: request_id, "Content-Type": "application/json", "x-amzn-errortype": error.code}
        return WireResponse(error.status, headers, body)

    return write
