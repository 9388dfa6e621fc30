"""JSON results: the fast writer and the general one say the same, and only what the model knows."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from moorage.wire import model
from moorage.wire.messages import WireRequest
from moorage.wire.model import Operation
from moorage.wire.protocols import JSON_1_1
from moorage.wire.protocols.json_fast import struct_of
from moorage.wire.protocols.json_rpc import writer_of


def operation(service: str, name: str) -> Operation:
    found = model.service(service).operation(name)
    assert found is not None
    return found


def written(result: Any, service: str = "ecs", name: str = "DescribeTasks") -> Any:
    response = JSON_1_1.serialize(operation(service, name), result, "id")
    assert isinstance(response.body, bytes)
    return json.loads(response.body)


def test_unknown_members_and_nulls_are_left_out() -> None:
    task = {
        "taskArn": "a",
        "cpu": None,
        "secret": 1,
        "containers": [{"name": "c", "exitCode": None, "x": 1}],
        "tags": [],
    }
    assert written({"tasks": [task], "more": 1}) == {
        "tasks": [{"taskArn": "a", "containers": [{"name": "c"}], "tags": []}]
    }


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (1_700_000_000, 1_700_000_000),
        (1_700_000_000.25, 1_700_000_000.25),
        (datetime(2023, 11, 14, 22, 13, 20, 250_000, UTC), 1_700_000_000.25),
        (datetime(2023, 11, 14, 22, 13, 20), 1_700_000_000),
    ],
)
def test_times_are_epoch_seconds(moment: Any, expected: float) -> None:
    assert written({"tasks": [{"createdAt": moment}]}) == {"tasks": [{"createdAt": expected}]}


def test_json_that_somebody_encoded_before_passes_through() -> None:
    raw = msgspec.Raw(b'{"taskArn":"raw"}')
    assert written({"tasks": [raw, {"taskArn": "b", "cpu": None}]}) == {"tasks": [{"taskArn": "raw"}, {"taskArn": "b"}]}
    assert written({"tasks": msgspec.Raw(b"[]"), "failures": []}) == {"tasks": [], "failures": []}


def test_special_floats_are_texts() -> None:
    answer = written({"taskSets": [{"scale": {"value": float("nan"), "unit": "PERCENT"}}]}, name="DescribeTaskSets")
    assert answer == {"taskSets": [{"scale": {"value": "NaN", "unit": "PERCENT"}}]}


def test_decimals_are_numbers() -> None:
    answer = written({"taskSets": [{"scale": {"value": Decimal("12.5")}}]}, name="DescribeTaskSets")
    assert answer == {"taskSets": [{"scale": {"value": 12.5}}]}


def test_blobs_are_base64() -> None:
    assert written({"SecretBinary": b"\x00\xff"}, "secretsmanager", "GetSecretValue") == {"SecretBinary": "AP8="}


def test_tuples_and_other_mappings_are_fine() -> None:
    assert written({"taskArns": ("a", "b")}, name="ListTasks") == {"taskArns": ["a", "b"]}


def test_both_writers_agree() -> None:
    described = operation("ecs", "DescribeServices")
    struct = struct_of(described.output)
    assert struct is not None
    service = {
        "serviceName": "s",
        "deployments": [{"id": "d", "createdAt": 1.5, "unknown": [], "failedTasks": 0}, {}],
        "events": [{"id": "e", "createdAt": 2, "message": "é"}],
        "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["a"], "assignPublicIp": None}},
    }
    result = {"services": [service], "failures": [{"arn": "a", "reason": None}]}
    write = writer_of(described.service).writer(described.output)
    assert write is not None
    fast = msgspec.json.encode(msgspec.convert(result, struct))
    assert json.loads(fast) == json.loads(msgspec.json.encode(write(result)))


def test_a_request_drops_nulls_and_unknown_members() -> None:
    request = WireRequest("POST", "/", "", {}, b'{"tasks": ["a"], "cluster": null, "shape": {"of": ["things"]}}')
    assert JSON_1_1.parse(operation("ecs", "DescribeTasks"), request) == {"tasks": ["a"]}
    assert JSON_1_1.parse(operation("ecs", "ListClusters"), WireRequest("POST", "/", "", {}, b"")) == {}
