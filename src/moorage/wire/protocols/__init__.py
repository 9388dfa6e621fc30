"""Server side of the AWS protocols, driven by botocore's models. `protocol_of` chooses the one a request speaks."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from moorage.domain.errors import AwsError
from moorage.wire.messages import WireRequest, WireResponse
from moorage.wire.model import Service
from moorage.wire.protocols.base import REQUEST_ID, WireProtocol
from moorage.wire.protocols.json_rpc import JsonProtocol
from moorage.wire.protocols.query import Ec2Protocol, QueryProtocol
from moorage.wire.protocols.xml_values import escape

JSON_1_0 = JsonProtocol("1.0")
JSON_1_1 = JsonProtocol("1.1")
QUERY = QueryProtocol()
EC2 = Ec2Protocol()


def protocol_of(service: Service, request: WireRequest) -> WireProtocol:
    """The protocol this request speaks. The request decides, not the model: clients differ in what they prefer."""
    headers = request.headers
    if "X-Amz-Target" in headers:
        return JSON_1_0 if "1.0" in headers.get("Content-Type", "") else JSON_1_1
    return default_protocol(service)


def default_protocol(service: Service) -> WireProtocol:
    if service.protocol == "query":
        return QUERY
    if service.protocol == "ec2":
        return EC2
    return JSON_1_0 if service.metadata.get("jsonVersion") == "1.0" else JSON_1_1


def guess_protocol(request: WireRequest) -> Callable[[AwsError, str], WireResponse]:
    """How to word a refusal when not even the service is known: XML for query-like requests, else JSON."""
    form = "x-www-form-urlencoded" in request.headers.get("Content-Type", "") or "Action=" in request.query

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
