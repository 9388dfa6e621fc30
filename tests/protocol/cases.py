"""botocore's protocol vectors as cases for a server, and the one table of what is left out and why."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from moorage.wire.model import Operation, Service

VECTORS = Path(__file__).parent / "vectors"

# (file, direction, case id) -> why the case says nothing about a server, or nothing that can hold.
_EMPTY = "an empty list or map leaves nothing on the wire, so a server cannot know of it"
_GZIP = "the vector carries no body; it checks the client's compression (ours: tests/gateway/test_bodies.py)"
_TARGET = "the vector leaves out X-Amz-Target and so names no operation; it checks the client's host"
_BASE_PATH = "the path of the client's own endpoint configuration, which a proxy in front would take away"
_FLAT_LISTS = (
    "botocore's parser takes the list member's name for a flattened list, cannot read the vector and skips it too"
)
_HEADER_LISTS = "botocore's parser splits header lists at every comma and so cannot read the vector (it skips it too)"
_NO_PAYLOAD = "botocore's parser cannot tell an absent payload from an empty one (it skips the vector too)"
_STRUCTURE = "`{}` on the wire is an empty structure, not none"
_UNKNOWN_MEMBER = "the union's member is not in the model, so that nobody can return it"

EXCLUDED: dict[tuple[str, str, str], str] = {
    ("ec2", "input", "Ec2EmptyQueryLists"): _EMPTY,
    ("query", "input", "QueryEmptyQueryMaps"): _EMPTY,
    ("rest-json", "input", "RestJsonHttpPrefixHeadersAreNotPresent"): _EMPTY,
    ("rest-json", "input", "RestJsonOmitsEmptyListQueryValues"): _EMPTY,
    ("rest-xml", "input", "HttpPrefixHeadersAreNotPresent"): _EMPTY,
    ("ec2", "input", "SDKAppliedContentEncoding_ec2Query"): _GZIP,
    ("ec2", "input", "SDKAppendsGzipAndIgnoresHttpProvidedEncoding_ec2Query"): _GZIP,
    ("json", "input", "SDKAppliedContentEncoding_awsJson1_1"): _GZIP,
    ("json", "input", "SDKAppendsGzipAndIgnoresHttpProvidedEncoding_awsJson1_1"): _GZIP,
    ("json_1_0", "input", "SDKAppliedContentEncoding_awsJson1_0"): _GZIP,
    ("json_1_0", "input", "SDKAppendsGzipAndIgnoresHttpProvidedEncoding_awsJson1_0"): _GZIP,
    ("query", "input", "SDKAppliedContentEncoding_awsQuery"): _GZIP,
    ("query", "input", "SDKAppendsGzipAndIgnoresHttpProvidedEncoding_awsQuery"): _GZIP,
    ("rest-json", "input", "SDKAppliedContentEncoding_restJson1"): _GZIP,
    ("rest-json", "input", "SDKAppendedGzipAfterProvidedEncoding_restJson1"): _GZIP,
    ("rest-xml", "input", "SDKAppliedContentEncoding_restXml"): _GZIP,
    ("rest-xml", "input", "SDKAppendedGzipAfterProvidedEncoding_restXml"): _GZIP,
    ("json_1_0", "input", "AwsJson10EndpointTrait"): _TARGET,
    ("json_1_0", "input", "AwsJson10EndpointTraitWithHostLabel"): _TARGET,
    ("json_1_0", "input", "AwsJson10HostWithPath"): _BASE_PATH,
    ("rest-json", "input", "RestJsonHostWithPath"): _BASE_PATH,
    (
        "rest-json",
        "input",
        "MediaTypeHeaderInputBase64",
    ): "the vector gives the JSON text; a jsonvalue member is the value",
    (
        "rest-json",
        "input",
        "RestJsonQueryPrecedence",
    ): "which of two values a client drops; the dropped one is not sent",
    ("rest-xml", "input", "RestXmlQueryPrecedence"): "which of two values a client drops; the dropped one is not sent",
    ("ec2", "output", "Ec2XmlLists"): _FLAT_LISTS,
    ("query", "output", "QueryXmlLists"): _FLAT_LISTS,
    ("rest-xml", "output", "XmlLists"): _FLAT_LISTS,
    ("rest-json", "output", "RestJsonInputAndOutputWithQuotedStringHeaders"): _HEADER_LISTS,
    ("rest-json", "output", "RestJsonInputAndOutputWithTimestampHeaders"): _HEADER_LISTS,
    ("rest-xml", "output", "InputAndOutputWithTimestampHeaders"): _HEADER_LISTS,
    ("rest-json", "output", "RestJsonHttpPayloadTraitsWithNoBlobBody"): _NO_PAYLOAD,
    ("rest-xml", "output", "HttpPayloadTraitsWithNoBlobBody"): _NO_PAYLOAD,
    ("rest-json", "output", "RestJsonHttpPayloadWithUnsetUnion"): _NO_PAYLOAD,
    ("rest-xml", "output", "RestXmlHttpPayloadWithUnsetUnion"): _NO_PAYLOAD,
    ("rest-json", "input", "RestJsonHttpWithEmptyStructurePayload"): _STRUCTURE,
    ("rest-json", "input", "RestJsonHttpWithHeadersButNoPayload"): _STRUCTURE,
    ("legacy/json", "input", "6:0"): _TARGET,
    ("legacy/json", "input", "6:1"): _TARGET,
    ("legacy/rest-json", "input", "13:1"): _STRUCTURE,
    ("legacy/rest-json", "input", "25:2"): _STRUCTURE,
    ("legacy/rest-json", "input", "25:4"): _STRUCTURE,
    ("legacy/rest-json", "input", "25:7"): "the client adds a Content-Type that the caller did not give",
    ("legacy/rest-json", "input", "26:1"): _EMPTY,
    ("legacy/rest-xml", "input", "26:1"): _EMPTY,
    ("legacy/rest-json", "output", "17:2"): _UNKNOWN_MEMBER,
    ("legacy/rest-xml", "output", "16:2"): _UNKNOWN_MEMBER,
}

# Output vectors whose body spells the same result in another way that is just as good: id -> how.
_OFFSET = "times are written in UTC"
_NULLS = "nulls and unknown members, which a client has to skip, are not written in the first place"
_OWN_NAME = "botocore gives members the name of their shape's root element; what it reads is written"
BODY_DIFFERS: dict[str, str] = {
    "Ec2QueryDateTimeWithNegativeOffset": _OFFSET,
    "Ec2QueryDateTimeWithPositiveOffset": _OFFSET,
    "AwsJson11DateTimeWithNegativeOffset": _OFFSET,
    "AwsJson11DateTimeWithPositiveOffset": _OFFSET,
    "AwsQueryDateTimeWithNegativeOffset": _OFFSET,
    "AwsQueryDateTimeWithPositiveOffset": _OFFSET,
    "RestJsonDateTimeWithNegativeOffset": _OFFSET,
    "RestJsonDateTimeWithPositiveOffset": _OFFSET,
    "RestXmlDateTimeWithNegativeOffset": _OFFSET,
    "RestXmlDateTimeWithPositiveOffset": _OFFSET,
    "handles_unexpected_json_output": _NULLS,
    "AwsJson11DeserializeIgnoreType": _NULLS,
    "AwsJson11StructuresDontDeserializeNullValues": _NULLS,
    "AwsJson10DeserializeIgnoreType": _NULLS,
    "AwsJson10DeserializeAllowNulls": _NULLS,
    "AwsJson10HandlesUnexpectedJsonOutput": _NULLS,
    "RestJsonDeserializesDenseSetMapAndSkipsNull": _NULLS,
    "RestJsonDeserializeIgnoreType": _NULLS,
    "RestJsonDoesntDeserializeNullStructureValues": _NULLS,
    "SimpleScalarPropertiesWithXMLPreamble": _NULLS,
    "RpcV2CborDeserializesDenseSetMapAndSkipsNull": _NULLS,
    "RpcV2CborClientDoesntDeserializeNullStructureValues": _NULLS,
    "RpcV2CborExtraFieldsInTheBodyShouldBeSkippedByClients": _NULLS,
    "RpcV2CborPayloadWithUnsetUnion": _NULLS,
    "BodyWithXmlName": _OWN_NAME,
}

# Idempotency tokens that a client fills in: the vector's parameters are what the caller gave, before filling.
FILLED_TOKEN = "00000000-0000-4000-8000-000000000000"


def cases(direction: str) -> list[Any]:
    return list(_cases(direction))


def _cases(direction: str) -> Iterator[Any]:
    for folder in (VECTORS, VECTORS / "legacy"):
        for path in sorted((folder / direction).glob("*.json")):
            file = path.stem if folder is VECTORS else f"legacy/{path.stem}"
            for number, suite in enumerate(json.loads(path.read_text())):
                for index, case in enumerate(suite["cases"]):
                    case.setdefault("id", f"{number}:{index}")  # older vectors have no names
                    case["old"] = folder is not VECTORS  # and spell bodies as they like
                    if (file, direction, case["id"]) not in EXCLUDED:
                        yield pytest.param(suite, case, id=f"{file}-{case['id']}")


def operation_of(suite: dict[str, Any], case: dict[str, Any]) -> Operation:
    """The case's operation inside a service made of the suite's shapes."""
    name = case["given"].get("name", "OperationName")
    description = {
        "metadata": suite["metadata"],
        "shapes": suite["shapes"],
        "operations": {name: {**case["given"], "name": name}},
    }
    if suite["metadata"]["protocol"] == "query" and "output" in case["given"]:
        output = {"resultWrapper": f"{name}Result", **case["given"]["output"]}
        description["operations"][name]["output"] = output
    operation = Service("vectors", json.loads(json.dumps(description))).operation(name)
    assert operation is not None
    return operation


def as_moorage(shape: Any, value: Any) -> Any:
    """A vector's value in Moorage's form: blobs as bytes, special floats as floats, nulls gone from structures."""
    if value is None:
        return None
    kind = shape.type_name
    if shape.serialization.get("eventstream"):
        return [as_moorage_event(shape, event) for event in value]
    if kind == "structure":
        if shape.is_document_type:
            return value
        return {
            name: as_moorage(shape.members[name], item)
            for name, item in value.items()
            if item is not None and name in shape.members
        }
    if kind == "list":
        return [as_moorage(shape.member, item) for item in value]
    if kind == "map":
        return {key: as_moorage(shape.value, item) for key, item in value.items()}
    if kind == "blob" and isinstance(value, str):
        return value.encode()
    if kind in ("float", "double") and isinstance(value, str):
        return float(value)
    return value


def as_moorage_event(shape: Any, event: dict[str, Any]) -> dict[str, Any]:
    return {name: as_moorage(shape.members[name], value) for name, value in event.items()}


def comparable(value: Any) -> Any:
    """NaN compares unequal to itself; as text it does not. botocore leaves special floats as the texts they travel as."""
    if isinstance(value, dict):
        return {key: comparable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [comparable(item) for item in value]
    return (
        str(value).replace("inf", "Infinity").replace("nan", "NaN")
        if isinstance(value, float) and value - value != 0
        else value
    )


def text_blobs(shape: Any, value: Any) -> Any:
    """botocore hands payload blobs out as text when they are given to it whole."""
    payload = shape.serialization.get("payload") if shape is not None else None
    if payload and isinstance(value.get(payload), str) and shape.members[payload].type_name == "blob":
        return {**value, payload: value[payload].encode()}
    return value
