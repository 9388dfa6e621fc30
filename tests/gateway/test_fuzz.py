"""Whatever bytes come, nobody gets a 500: bad input is the caller's fault, told in a protocol."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import cbor2
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from moorage.domain.clock import Ids, SystemClock
from moorage.gateway import chain
from moorage.gateway.exchange import Exchange
from moorage.gateway.server import Gateway
from moorage.settings import Settings
from moorage.wire.messages import WireRequest, WireResponse

from .raw import TARGET, signed
from .toys import Recorder, ToyElb

JSON = "application/x-amz-json-1.1"
TIME = cbor2.CBORTag(1, 1)
FORM = "application/x-www-form-urlencoded"

# One good request in each protocol, from which bad ones are made.
SEEDS: list[WireRequest] = [
    WireRequest(
        "POST", "/", "", CIMultiDict({**signed(), "X-Amz-Target": TARGET + "RunTask", "Content-Type": JSON}),
        b'{"taskDefinition":"a"}',
    ),
    WireRequest(
        "POST", "/", "", CIMultiDict({**signed("elasticloadbalancing"), "Content-Type": FORM}),
        b"Action=DescribeLoadBalancers&Version=2015-12-01&Names.member.1=a&PageSize=5",
    ),
    WireRequest(
        "POST", "/", "", CIMultiDict({**signed("ec2"), "Content-Type": FORM}),
        b"Action=DescribeVpcs&Version=2016-11-15&Filter.1.Name=a&Filter.1.Value.1=b",
    ),
    WireRequest("GET", "/2015-03-31/functions", "MaxItems=5", CIMultiDict(signed("lambda")), b""),
    WireRequest(
        "POST", "/2015-03-31/functions/f/invocations", "",
        CIMultiDict({**signed("lambda"), "X-Amz-Client-Context": "e30="}), b"{}",
    ),
    WireRequest(
        "POST", "/2013-04-01/hostedzone", "", CIMultiDict(signed("route53")),
        b"<CreateHostedZoneRequest><Name>a.</Name><CallerReference>r</CallerReference></CreateHostedZoneRequest>",
    ),
    WireRequest(
        "POST", "/service/GraniteServiceVersion20100801/operation/PutMetricData", "",
        CIMultiDict({**signed("monitoring"), "smithy-protocol": "rpc-v2-cbor", "Content-Type": "application/cbor"}),
        cbor2.dumps({"Namespace": "n", "MetricData": [{"MetricName": "m", "Value": 1.5, "Timestamp": TIME}]}),
    ),
]  # fmt: skip


@pytest.fixture(scope="module")
def gateway() -> Gateway:
    gateway = Gateway(Settings(port=0, data_dir=Path("/nonexistent")), SystemClock(), Ids(seed=1))
    for provider in (
        ToyElb(),
        Recorder("ecs", {"RunTask": {}, "DescribeTasks": {}, "RegisterTaskDefinition": {}}),
        Recorder("ec2", {"DescribeVpcs": {}}),
        Recorder("lambda", {"Invoke": {}, "ListFunctions": {}}),
        Recorder("route53", {"CreateHostedZone": {}}),
        Recorder("cloudwatch", {"PutMetricData": None}),
    ):
        gateway.add_provider(provider)
    return gateway


def answered(gateway: Gateway, request: WireRequest) -> WireResponse:
    answer = asyncio.run(chain.answer(gateway, Exchange(request, "id", "127.0.0.1")))
    assert answer.status != 500, (request, answer)
    assert all(isinstance(value, str) and "\n" not in value for value in answer.headers.values())
    return answer


header_names = st.sampled_from(
    ["Authorization", "X-Amz-Target", "Content-Type", "smithy-protocol", "Host", "Content-Encoding", "X-Amz-Date"]
)
texts = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\x00"), max_size=60)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
relaxed = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@relaxed
@given(seed=st.sampled_from(SEEDS), body=st.binary(max_size=200))
def test_any_body(gateway: Gateway, seed: WireRequest, body: bytes) -> None:
    answered(gateway, msgspec.structs.replace(seed, body=body))


@relaxed
@given(seed=st.sampled_from(SEEDS), at=st.floats(0, 1), bit=st.integers(0, 255), cut=st.booleans())
def test_a_damaged_body(gateway: Gateway, seed: WireRequest, at: float, bit: int, cut: bool) -> None:
    body = bytearray(seed.body or b"x")
    index = min(int(at * len(body)), len(body) - 1)
    body[index] = bit
    answered(gateway, msgspec.structs.replace(seed, body=bytes(body[:index] if cut else body)))


@relaxed
@given(
    seed=st.sampled_from(SEEDS),
    changed=st.dictionaries(header_names, texts, max_size=4),
    method=st.sampled_from(["GET", "PUT"]),
)
def test_any_headers(gateway: Gateway, seed: WireRequest, changed: dict[str, str], method: str) -> None:
    headers = CIMultiDict(seed.headers)
    headers.update(changed)
    answered(gateway, msgspec.structs.replace(seed, headers=headers))
    answered(gateway, msgspec.structs.replace(seed, headers=headers, method=method))


@relaxed
@given(seed=st.sampled_from(SEEDS), path=texts, query=texts)
def test_any_path(gateway: Gateway, seed: WireRequest, path: str, query: str) -> None:
    answered(gateway, msgspec.structs.replace(seed, path="/" + path, query=query))
    answered(gateway, msgspec.structs.replace(seed, path=seed.path + path, query=seed.query + "&" + query))
    answered(gateway, WireRequest("GET", "/" + path, query, CIMultiDict(), b""))


MEMBERS = [
    "family",
    "containerDefinitions",
    "tags",
    "volumes",
    "cpu",
    "runtimePlatform",
    "ephemeralStorage",
    "placementConstraints",
]


@relaxed
@given(value=st.dictionaries(st.sampled_from(MEMBERS), json_values, max_size=4))
def test_any_json_in_the_members_of_a_call(gateway: Gateway, value: dict[str, Any]) -> None:
    seed = SEEDS[0]
    headers = CIMultiDict(seed.headers)
    headers["X-Amz-Target"] = TARGET + "RegisterTaskDefinition"
    answered(gateway, msgspec.structs.replace(seed, headers=headers, body=msgspec.json.encode(value)))


@relaxed
@given(value=json_values)
def test_any_cbor(gateway: Gateway, value: Any) -> None:
    answered(gateway, msgspec.structs.replace(SEEDS[-1], body=cbor2.dumps(value)))
    answered(gateway, msgspec.structs.replace(SEEDS[-1], body=cbor2.dumps({"Namespace": "n", "MetricData": value})))


@relaxed
@given(pairs=st.lists(st.tuples(st.text("Names.member123PageSize", max_size=20), st.text(max_size=8)), max_size=5))
def test_any_form(gateway: Gateway, pairs: list[tuple[str, str]]) -> None:
    from urllib.parse import urlencode

    for seed in SEEDS[1:3]:
        answered(gateway, msgspec.structs.replace(seed, body=seed.body + b"&" + urlencode(pairs).encode()))
