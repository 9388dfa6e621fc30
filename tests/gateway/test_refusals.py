"""Whatever is wrong, the caller gets an answer in its own protocol that says what."""

from __future__ import annotations

import json
import logging
from typing import Any

import cbor2
import pytest

from moorage.domain.errors import AwsError, Permanent, Retryable

from .raw import raw, signed
from .toys import Recorder, ToyEcs, ToyElb, running

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


async def test_an_operation_that_nobody_implements() -> None:
    async with running(ToyEcs(), ToyElb()) as gateway, raw(gateway) as http:
        answer = await http.ecs("CreateDaemon")
        assert answer.status == 400
        assert json.loads(answer.body) == {
            "__type": "UnknownOperationException",
            "message": "Moorage does not implement ecs:CreateDaemon yet.",
        }
        body = b"Action=CreateTrustStore&Version=2015-12-01"
        answer = await http.send(data=body, headers={**FORM, **signed("elasticloadbalancing")})
        assert answer.status == 400
        assert "<Code>InvalidAction</Code>" in answer.text
        assert "Moorage does not implement elbv2:CreateTrustStore yet." in answer.text


async def test_a_service_that_nobody_implements() -> None:
    async with running(ToyEcs()) as gateway, raw(gateway) as http:
        answer = await http.send("GET", "/2015-03-31/functions", headers=signed("lambda"))
        assert answer.status == 400
        assert answer.headers["x-amzn-errortype"] == "UnknownOperationException"
        assert "Moorage does not implement lambda:ListFunctions yet." in answer.text
        answer = await http.send(headers={"X-Amz-Target": "Nonsense.Do", **signed("nonsense")}, data=b"{}")
        assert answer.status == 404
        assert "Moorage knows no AWS service for 'Nonsense.Do'" in answer.text


async def test_a_person_with_curl_is_told_what_this_is() -> None:
    async with running(ToyEcs()) as gateway, raw(gateway) as http:
        answer = await http.send("GET", "/")
        assert answer.status == 403
        assert f"aws --endpoint-url http://127.0.0.1:{gateway.port} ecs list-clusters" in answer.text
        assert (await http.send("GET", "/nowhere?x=%zz")).status == 404


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"{", "Unable to read the JSON body"),
        (b"\xff", "Unable to read the JSON body"),
        (b"[" * 100_000, "Unable to read the JSON body"),
        (b"[]", "Start of list found where not expected"),
        (b'"x"', "expected a structure"),
        (b'{"tasks": 7}', "Expected list or null"),
        (b'{"tasks": [7]}', "NUMBER_VALUE can not be converted to a String"),
        (b'{"tasks": [{}]}', "Start of structure or map found where not expected."),
        (b'{"tasks": ["a"], "cluster": true}', "TRUE_VALUE can not be converted to a String"),
    ],
)
async def test_json_that_does_not_fit(body: bytes, sentence: str) -> None:
    async with running(ToyEcs()) as gateway, raw(gateway) as http:
        answer = await http.ecs("DescribeTasks", body)
        assert answer.status == 400
        assert json.loads(answer.body)["__type"] == "SerializationException"
        assert sentence in json.loads(answer.body)["message"]


async def test_missing_members_are_named() -> None:
    async with running(ToyEcs()) as gateway, raw(gateway) as http:
        told = json.loads((await http.ecs("DescribeTasks")).body)
        assert told["__type"] == "InvalidParameterException"
        assert "Value null at 'tasks' failed to satisfy constraint: Member must not be null" in told["message"]


async def test_forms_that_do_not_fit() -> None:
    async with running(ToyElb()) as gateway, raw(gateway) as http:
        headers = {**FORM, **signed("elasticloadbalancing")}
        action = b"Action=DescribeLoadBalancers&Version=2015-12-01&"
        assert "<Code>MalformedQueryString</Code>" in (await http.send(data=b"Action=\xff", headers=headers)).text
        assert "<Code>MalformedInput</Code>" in (await http.send(data=action + b"PageSize=x", headers=headers)).text
        assert "<Code>ValidationError</Code>" in (await http.send(data=action + b"PageSize=0", headers=headers)).text
        deep = action + b"a" + b".a" * 5000 + b"=1"
        assert "<Code>MalformedInput</Code>" in (await http.send(data=deep, headers=headers)).text
        assert "<Code>MissingAction</Code>" in (await http.send(data=b"Version=2015-12-01", headers=headers)).text


async def test_cbor_and_xml_that_do_not_fit() -> None:
    async with (
        running(
            Recorder("cloudwatch", {"PutMetricData": None}), Recorder("route53", {"CreateHostedZone": {}})
        ) as gateway,
        raw(gateway) as http,
    ):
        path = "/service/GraniteServiceVersion20100801/operation/PutMetricData"
        headers = {"smithy-protocol": "rpc-v2-cbor", "Content-Type": "application/cbor", **signed("monitoring")}
        for body in (b"\xff", b"\x81" * 5000, cbor2.dumps([1]), cbor2.dumps({"Namespace": 1})):
            answer = await http.send("POST", path, data=body, headers=headers)
            assert answer.status == 400
            assert cbor2.loads(answer.body)["__type"] == "SerializationException"
        headers = signed("route53")
        bomb = b'<!DOCTYPE a [<!ENTITY b "c">]><CreateHostedZoneRequest><Name>&b;</Name></CreateHostedZoneRequest>'
        for body in (b"<", b"x", bomb):
            answer = await http.send("POST", "/2013-04-01/hostedzone", data=body, headers=headers)
            assert answer.status == 400
            assert "<Code>MalformedXML</Code>" in answer.text


async def test_our_own_bugs_are_answered_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async with running(ToyEcs()) as gateway, raw(gateway) as http:
        with caplog.at_level(logging.ERROR):
            answer = await http.ecs("ListTasks")
        told = json.loads(answer.body)
        assert (answer.status, told["__type"]) == (500, "ServerException")
        assert "a bug in Moorage" in told["message"]
        assert answer.headers["x-amzn-requestid"] in told["message"]
        assert len(caplog.records) == 1
        assert caplog.records[0].exc_info is not None


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (Retryable("Docker is not running", "no socket", "sudo systemctl start docker"), 503, "ServiceUnavailable"),
        (Permanent("The disk is broken"), 500, "ServerException"),
    ],
)
async def test_our_own_failures_say_what_and_what_next(failure: Exception, status: int, code: str) -> None:
    async with running(Recorder("ecs", {"RunTask": failure})) as gateway, raw(gateway) as http:
        answer = await http.ecs("RunTask", b'{"taskDefinition": "a"}')
        told: dict[str, Any] = json.loads(answer.body)
        assert (answer.status, told["__type"], told["message"]) == (status, code, str(failure))


async def test_a_modelled_fault_of_the_service_is_a_500() -> None:
    failure = AwsError("ServerException", "These errors are usually caused by a server issue.")
    async with running(Recorder("ecs", {"RunTask": failure})) as gateway, raw(gateway) as http:
        answer = await http.ecs("RunTask", b'{"taskDefinition": "a"}')
        assert (answer.status, json.loads(answer.body)["__type"]) == (500, "ServerException")


async def test_header_values_cannot_break_out() -> None:
    provider = Recorder("lambda", {"Invoke": {"StatusCode": 200, "FunctionError": "a\r\nX-Evil: 1"}})
    async with running(provider) as gateway, raw(gateway) as http:
        answer = await http.send("POST", "/2015-03-31/functions/f/invocations", headers=signed("lambda"))
        assert answer.status == 200
        assert "X-Evil" not in answer.headers
