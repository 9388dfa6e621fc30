"""Which service a request is for."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from moorage.gateway.credentials import read_credentials
from moorage.gateway.routing import bucket_of, by_host, route
from moorage.wire import model
from moorage.wire.messages import WireRequest

from .raw import signed

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def routed(method: str = "POST", path: str = "/", query: str = "", body: bytes = b"", **headers: str) -> str | None:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = WireRequest(method, path, query, CIMultiDict(named), body)
    return route(request, read_credentials(request))


@pytest.mark.parametrize(
    ("target", "service"),
    [
        ("AmazonEC2ContainerServiceV20141113.ListClusters", "ecs"),
        ("AmazonEC2ContainerRegistry_V20150921.CreateRepository", "ecr"),
        ("Logs_20140328.GetLogEvents", "logs"),
        ("GraniteServiceVersion20100801.PutMetricData", "cloudwatch"),
        ("AmazonSQS.SendMessage", "sqs"),
        ("DynamoDB_20120810.PutItem", "dynamodb"),
        ("DynamoDBStreams_20120810.ListStreams", "dynamodbstreams"),
        ("AnyScaleFrontendService.RegisterScalableTarget", "application-autoscaling"),
        ("Route53AutoNaming_v20170314.DiscoverInstances", "servicediscovery"),
    ],
)
def test_by_target(target: str, service: str) -> None:
    assert routed(X_Amz_Target=target) == service


@pytest.mark.parametrize(
    ("name", "service"),
    [
        ("ecs", "ecs"),
        ("monitoring", "cloudwatch"),
        ("ec2", "ec2"),
        ("sts", "sts"),
        ("s3", "s3"),
        ("states", "stepfunctions"),
    ],
)
def test_by_signing_name(name: str, service: str) -> None:
    assert routed(**signed(name)) == service


def test_load_balancers_of_both_generations_share_a_signing_name() -> None:
    for version, service in (("2015-12-01", "elbv2"), ("2012-06-01", "elb")):
        body = f"Action=DescribeLoadBalancers&Version={version}".encode()
        assert routed(body=body, **FORM, **signed("elasticloadbalancing")) == service


def test_api_gateways_of_both_generations_share_a_signing_name() -> None:
    assert routed("GET", "/restapis", **signed("apigateway")) == "apigateway"
    assert routed("GET", "/v2/apis", **signed("apigateway")) == "apigatewayv2"


def test_by_rpc_path() -> None:
    assert routed(path="/service/GraniteServiceVersion20100801/operation/PutMetricData") == "cloudwatch"


def test_unsigned_query_requests_by_their_version() -> None:
    assert routed(body=b"Action=GetCallerIdentity&Version=2011-06-15", **FORM) == "sts"
    assert routed("GET", query="Action=DescribeVpcs&Version=2016-11-15") == "ec2"


@pytest.mark.parametrize(
    ("host", "service"),
    [
        ("ecs.us-east-1.amazonaws.com", "ecs"),
        ("api.ecr.us-east-1.amazonaws.com:443", "ecr"),
        ("ecs.localhost:4566", "ecs"),
        ("bucket.s3.localhost:4566", "s3"),
        ("bucket.s3.eu-west-1.amazonaws.com", "s3"),
        ("data-servicediscovery.us-east-1.amazonaws.com", "servicediscovery"),
        ("data-localhost:4566", None),
        ("stream-localhost:4566", None),
        ("localhost:4566", None),
        ("127.0.0.1:4566", None),
        ("[::1]:4566", None),
        ("", None),
    ],
)
def test_by_host(host: str, service: str | None) -> None:
    assert by_host(host) == service


def test_our_own_services_need_no_index_of_all() -> None:
    own = model.index_of(("ecs", "elbv2", "ec2"))

    def found(body: bytes = b"", **headers: str) -> str | None:
        request = WireRequest("POST", "/", "", CIMultiDict({n.replace("_", "-"): v for n, v in headers.items()}), body)
        return route(request, read_credentials(request), own)

    assert found(X_Amz_Target="AmazonEC2ContainerServiceV20141113.RunTask") == "ecs"
    for version, service in (("2015-12-01", "elbv2"), ("2012-06-01", "elb")):
        assert found(f"Action=X&Version={version}".encode(), **FORM, **signed("elasticloadbalancing")) == service
    assert found(X_Amz_Target="Logs_20140328.X") == "logs"
    assert found(**signed("sts")) == "sts"


def test_nothing_names_a_service() -> None:
    assert routed("GET", Host="localhost:4566") is None
    assert routed(**signed("no-such-service")) is None
    assert routed(X_Amz_Target="Nonsense.Operation") is None


def test_the_bucket_of_a_virtual_host() -> None:
    assert bucket_of("my.bucket.s3.localhost:4566") == "my.bucket"
    assert bucket_of("s3.localhost:4566") is None
    assert bucket_of("localhost") is None
