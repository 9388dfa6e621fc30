"""Every operation of the services that matter here: what botocore sends we read, what we write botocore reads."""

from __future__ import annotations

from datetime import UTC
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.awsrequest import HeadersDict, prepare_request_dict
from botocore.parsers import PROTOCOL_PARSERS
from botocore.serialize import SERIALIZERS
from botocore.utils import parse_timestamp, percent_encode_sequence
from multidict import CIMultiDict

from moorage.wire import model
from moorage.wire.messages import WireRequest
from moorage.wire.model import Operation
from moorage.wire.protocols import BY_NAME, protocol_of

from .cases import text_blobs
from .samples import sample

SERVICES = (
    "ecs", "ecr", "elbv2", "logs", "cloudwatch", "application-autoscaling", "servicediscovery", "events", "scheduler",
    "ec2", "iam", "sts", "sqs", "sns", "ssm", "secretsmanager", "dynamodb", "route53", "s3", "lambda", "apigateway",
    "apigatewayv2", "cloudformation", "autoscaling", "acm", "codedeploy", "stepfunctions",
)  # fmt: skip

# (service, operation, direction) -> why botocore's own code does not carry the sample there and back.
_SAME_URI = "S3 has another operation with the same method and path"
EXCLUDED: dict[tuple[str, str, str], str] = {
    ("s3", "GetBucketLifecycle", "request"): _SAME_URI,
    ("s3", "GetBucketNotification", "request"): _SAME_URI,
    ("s3", "PutBucketLifecycle", "request"): _SAME_URI,
    ("s3", "PutBucketNotification", "request"): _SAME_URI,
    ("s3", "ListDirectoryBuckets", "request"): _SAME_URI,
    ("s3", "GetBucketNotification", "result"): "two members of the deprecated shape share one element",
}


def protocols(name: str) -> list[str]:
    service = model.service(name)
    return [protocol for protocol in service.protocols if protocol in BY_NAME] or [service.protocol]


PAIRS = [(name, protocol) for name in SERVICES for protocol in protocols(name)]


def sent_by_botocore(operation: Operation, protocol: str, params: dict[str, Any]) -> WireRequest:
    serialized = SERIALIZERS[protocol]().serialize_to_request(params, operation.model)
    serialized.pop("host_prefix", None)
    prepare_request_dict(serialized, "http://localhost:4566")
    split = urlsplit(serialized["url"])
    body = serialized["body"]
    if isinstance(body, dict):
        body = percent_encode_sequence(body).encode()
    headers = CIMultiDict((name, str(value)) for name, value in serialized["headers"].items())
    return WireRequest(serialized["method"], split.path, split.query, headers, body)


@pytest.mark.parametrize(("name", "protocol"), PAIRS)
def test_requests(name: str, protocol: str) -> None:
    service = model.service(name)
    wrong = []
    for operation_name in sorted(service.operation_names):
        operation = service.operation(operation_name)
        assert operation is not None
        if (name, operation_name, "request") in EXCLUDED or operation.model.has_event_stream_input:
            continue
        params = sample(operation.input) if operation.input is not None else {}
        request = sent_by_botocore(operation, protocol, params)
        spoken = protocol_of(service, request)
        assert spoken.name == protocol
        found = spoken.operation_name(service, request)
        read = spoken.parse(operation, request)
        if found != operation_name or read != params:
            wrong.append((operation_name, found, difference(read, params)))
    assert not wrong, "\n".join(map(str, wrong))


@pytest.mark.parametrize(("name", "protocol"), PAIRS)
async def test_results(name: str, protocol: str) -> None:
    service = model.service(name)
    wrong = []
    for operation_name in sorted(service.operation_names):
        operation = service.operation(operation_name)
        assert operation is not None
        if (name, operation_name, "result") in EXCLUDED or operation.model.has_event_stream_output:
            continue
        result = sample(operation.output) if operation.output is not None else {}
        response = BY_NAME[protocol].serialize(operation, result, "id")
        parser = PROTOCOL_PARSERS[protocol](
            timestamp_parser=lambda value: int(parse_timestamp(value).astimezone(UTC).timestamp())
        )
        raw = {
            "status_code": response.status,
            "headers": HeadersDict(response.headers),
            "body": response.body,
            "context": {"operation_name": operation_name},
        }
        parsed = parser.parse(raw, operation.output)
        parsed.pop("ResponseMetadata", None)
        parsed = text_blobs(operation.output, parsed)
        if parsed != result:
            wrong.append((operation_name, difference(parsed, result)))
    assert not wrong, "\n".join(map(str, wrong))


def difference(got: Any, expected: Any) -> Any:
    """The part that differs, for a message that can be read."""
    if isinstance(got, dict) and isinstance(expected, dict):
        keys = [
            key for key in {*got, *expected} if got.get(key) != expected.get(key) or (key in got) != (key in expected)
        ]
        return {key: difference(got.get(key), expected.get(key)) for key in sorted(keys)[:3]}
    return (got, expected)
