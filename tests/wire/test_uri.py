"""REST operations by method, path and query string."""

from __future__ import annotations

import pytest

from moorage.wire import model
from moorage.wire.messages import WireRequest
from moorage.wire.protocols.uri import router_of


def matched(service: str, method: str, target: str, **headers: str) -> tuple[str, dict[str, str]] | None:
    path, _, query = target.partition("?")
    match = router_of(model.service(service)).match(WireRequest(method, path, query, headers, b""))
    return (match.operation, match.labels) if match else None


@pytest.mark.parametrize(
    ("service", "method", "target", "operation", "labels"),
    [
        ("lambda", "GET", "/2015-03-31/functions", "ListFunctions", {}),
        ("lambda", "GET", "/2015-03-31/functions/", "ListFunctions", {}),
        ("lambda", "GET", "/2015-03-31/functions/a%3Ab", "GetFunction", {"FunctionName": "a:b"}),
        ("s3", "GET", "/b", "ListObjects", {"Bucket": "b"}),
        ("s3", "GET", "/b?list-type=2&prefix=x", "ListObjectsV2", {"Bucket": "b"}),
        ("s3", "GET", "/b?acl", "GetBucketAcl", {"Bucket": "b"}),
        (
            "s3",
            "GET",
            "/b/k/with/slashes%20and%20spaces",
            "GetObject",
            {"Bucket": "b", "Key": "k/with/slashes and spaces"},
        ),
        ("s3", "GET", "/b/k?uploadId=u", "ListParts", {"Bucket": "b", "Key": "k"}),
        ("s3", "PUT", "/b/k?partNumber=1&uploadId=u", "UploadPart", {"Bucket": "b", "Key": "k"}),
        ("route53", "POST", "/2013-04-01/hostedzone/Z1/rrset", "ChangeResourceRecordSets", {"Id": "Z1"}),
        ("apigateway", "GET", "/restapis/a/resources/b", "GetResource", {"restapi_id": "a", "resource_id": "b"}),
    ],
)
def test_the_most_specific_operation(
    service: str, method: str, target: str, operation: str, labels: dict[str, str]
) -> None:
    assert matched(service, method, target) == (operation, labels)


def test_nothing_matches() -> None:
    assert matched("lambda", "GET", "/nowhere") is None
    assert matched("lambda", "PATCH", "/2015-03-31/functions") is None
