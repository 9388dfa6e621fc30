"""HTTP to Lambda events and back (semantics elbv2 §9)."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from moorage.decide.elbv2_function import FunctionRequest, InvalidAnswer, answer_of, event_of, health_event

GROUP = "arn:aws:elasticloadbalancing:us-east-1:000000000000:targetgroup/fn/1"
REQUEST = FunctionRequest(
    "GET",
    "/a%20b",
    "x=1%2B1&y&x=2",
    (("Host", "fn.example.com"), ("Accept", "a"), ("accept", "b"), ("Connection", "close")),
)


def event(request: FunctionRequest = REQUEST, *, multi_value: bool = False) -> dict[str, Any]:
    return dict(json.loads(event_of(request, GROUP, multi_value=multi_value)))


def test_the_last_of_several_wins_and_nothing_is_decoded() -> None:
    assert event() == {
        "requestContext": {"elb": {"targetGroupArn": GROUP}},
        "httpMethod": "GET",
        "path": "/a%20b",
        "queryStringParameters": {"x": "2", "y": ""},
        "headers": {"host": "fn.example.com", "accept": "b"},
        "body": "",
        "isBase64Encoded": False,
    }


def test_with_several_values() -> None:
    made = event(multi_value=True)
    assert made["multiValueQueryStringParameters"] == {"x": ["1%2B1", "2"], "y": [""]}
    assert made["multiValueHeaders"] == {"host": ["fn.example.com"], "accept": ["a", "b"]}
    assert not {"headers", "queryStringParameters"} & set(made)


@pytest.mark.parametrize(
    ("headers", "coded"),
    [
        ({"content-type": "text/plain; charset=utf-8"}, False),
        ({"content-type": "application/json"}, False),
        ({"content-type": "application/javascript"}, False),
        ({"content-type": "application/xml"}, False),
        ({"content-type": "application/json", "content-encoding": "gzip"}, True),
        ({"content-type": "image/png"}, True),
        ({}, True),
    ],
)
def test_bodies(headers: dict[str, str], coded: bool) -> None:
    made = event(FunctionRequest("POST", "/", "", tuple(headers.items()), b"hi"))
    assert made["isBase64Encoded"] is coded
    assert made["body"] == (base64.b64encode(b"hi").decode() if coded else "hi")


def test_a_health_check() -> None:
    made = json.loads(health_event(GROUP, "/ok", multi_value=False))
    assert (made["httpMethod"], made["path"], made["headers"]) == (
        "GET",
        "/ok",
        {"user-agent": "ELB-HealthChecker/2.0"},
    )


def answered(*, multi_value: bool = False, **document: Any) -> Any:
    return answer_of(json.dumps({"statusCode": 200, **document}).encode(), multi_value=multi_value)


def test_answers() -> None:
    made = answered(statusDescription="200 OK", headers={"X-A": "1", "Connection": "close"}, body="hi")
    assert (made.status, made.reason, made.headers, made.body) == (200, "OK", (("X-A", "1"),), b"hi")
    coded = answered(body=base64.b64encode(b"\x00\xff").decode(), isBase64Encoded=True, headers={"Content-Length": "9"})
    assert (coded.body, coded.headers) == (b"\x00\xff", ())
    several = answered(multi_value=True, multiValueHeaders={"Set-Cookie": ["a=1", "b=2"]}, headers={"X": "1"})
    assert several.headers == (("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"))
    assert answered(body=None).body == b""


@pytest.mark.parametrize(
    "document",
    [
        {"statusCode": "200"},
        {"statusCode": 99},
        {"statusCode": True},
        {"headers": {"X": 1}},
        {"headers": {"X": "a\r\nY: b"}},
        {"headers": ["X"]},
        {"body": 1},
        {"body": "*", "isBase64Encoded": True},
        {"statusDescription": 200},
    ],
)
def test_what_is_not_an_answer(document: dict[str, Any]) -> None:
    with pytest.raises(InvalidAnswer) as refusal:
        answered(**document)
    assert refusal.value.cause == "LambdaInvalidResponse"


@pytest.mark.parametrize("payload", [b"", b"null", b"[]", b'"hi"', b"\xff"])
def test_what_is_not_even_an_object(payload: bytes) -> None:
    with pytest.raises(InvalidAnswer):
        answer_of(payload, multi_value=False)


def test_too_much() -> None:
    with pytest.raises(InvalidAnswer) as refusal:
        answered(body="x" * 1024 * 1024)
    assert refusal.value.cause == "LambdaResponseTooLarge"
