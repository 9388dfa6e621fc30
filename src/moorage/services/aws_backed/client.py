"""botocore's serializers and parsers as plain functions: dict → HTTP request and back.

No network, no session, no credentials. botocore is imported when it is first needed: not by every start.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, cast
from urllib.parse import urlencode

import msgspec

from moorage.domain.errors import AwsError
from moorage.wire import model

# What moto speaks of the protocols that a service lists.
_PROTOCOLS = ("json", "rest-json", "rest-xml", "ec2", "query")


class Request(msgspec.Struct, frozen=True):
    """`path` with its query string."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes


@cache
def protocol(service: str) -> str:
    """The protocol that `serialize` and `parse` use with moto."""
    listed = model.service(service).protocols
    return next(name for name in _PROTOCOLS if name in listed)


def serialize(service: str, operation: str, params: Mapping[str, Any], region: str) -> Request:
    """Raises `AwsError` ValidationException when the parameters do not fit the model."""
    shape = model.service(service).model.operation_model(operation)
    from botocore.exceptions import ParamValidationError
    from botocore.serialize import create_serializer

    try:
        made = create_serializer(protocol(service), include_validation=True).serialize_to_request(dict(params), shape)
    except ParamValidationError as error:
        raise AwsError("ValidationException", str(error)) from error
    path = cast("str", made["url_path"])
    query = made["query_string"]
    if query:
        path += ("&" if "?" in path else "?") + (query if isinstance(query, str) else urlencode(query, doseq=True))
    body = made["body"]
    headers = [(str(name), str(value)) for name, value in made["headers"].items()]
    if isinstance(body, dict):
        body = urlencode(body, doseq=True)
        if not any(name.lower() == "content-type" for name, _ in headers):
            headers.append(("Content-Type", "application/x-www-form-urlencoded; charset=utf-8"))
    data = body.encode() if isinstance(body, str) else bytes(body or b"")
    headers.append(("Host", f"{model.service(service).metadata['endpointPrefix']}.{region}.amazonaws.com"))
    return Request(made["method"], path, headers, data)


def parse(service: str, operation: str, status: int, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """The result without `ResponseMetadata`; an error answer is raised as `AwsError`."""
    from botocore.awsrequest import HeadersDict
    from botocore.parsers import create_parser

    shape = model.service(service).model.operation_model(operation)
    blob = _blob_payload(shape.output_shape) if status < 300 else None
    # botocore's parser takes a payload of bytes for text: what is no UTF-8 would not survive.
    read = b"" if blob is not None else body
    answer = {"status_code": status, "headers": HeadersDict(headers), "body": read, "context": {}}
    parsed: dict[str, Any] = create_parser(protocol(service)).parse(answer, cast("Any", shape.output_shape))
    if status >= 300 or "Error" in parsed:
        error = parsed.get("Error", {})
        raise AwsError(error.get("Code") or str(status), error.get("Message") or "", status=status)
    parsed.pop("ResponseMetadata", None)
    return parsed if blob is None else {**parsed, blob: body}


def _blob_payload(shape: Any) -> str | None:
    """The member that is the whole body, when that is bytes (the content of an S3 object)."""
    name = shape.serialization.get("payload") if shape is not None else None
    return name if name is not None and shape.members[name].type_name == "blob" else None
