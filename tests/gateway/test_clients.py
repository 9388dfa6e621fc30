"""Real botocore clients in every protocol against a running gateway."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from moorage.domain.errors import AwsError

from .toys import Recorder, client, running

MOMENT = 1_700_000_000.5


async def call(function: Any, **params: Any) -> Any:
    return await asyncio.to_thread(lambda: function(**params))


async def test_ec2() -> None:
    vpc = {"VpcId": "vpc-1", "CidrBlock": "10.0.0.0/16", "Tags": [{"Key": "a", "Value": "<&>"}], "IsDefault": True}
    provider = Recorder(
        "ec2", {"DescribeVpcs": {"Vpcs": [vpc]}, "DeleteVpc": AwsError("InvalidVpcID.NotFound", "The vpc")}
    )
    async with running(provider) as gateway:
        ec2 = client("ec2", gateway)
        answer = await call(ec2.describe_vpcs, Filters=[{"Name": "isDefault", "Values": ["true", "x"]}], DryRun=False)
        assert answer["Vpcs"] == [vpc]
        assert answer["ResponseMetadata"]["RequestId"]
        assert provider.asked[0][1] == {"Filters": [{"Name": "isDefault", "Values": ["true", "x"]}], "DryRun": False}
        with pytest.raises(ClientError, match=r"InvalidVpcID\.NotFound"):
            await call(ec2.delete_vpc, VpcId="vpc-2")


async def test_lambda() -> None:
    answers = {
        "Invoke": {"StatusCode": 202, "Payload": b"hi", "ExecutedVersion": "$LATEST"},
        "GetFunction": AwsError("ResourceNotFoundException", "Function not found: arn", Type="User"),
        "ListFunctions": {"Functions": [{"FunctionName": "f", "Timeout": 3}]},
        "CreateFunction": {"FunctionName": "f", "CodeSize": 3},
    }
    provider = Recorder("lambda", answers)
    async with running(provider) as gateway:
        functions = client("lambda", gateway)
        arn = "arn:aws:lambda:us-east-1:123456789012:function:f"
        invoked = await call(functions.invoke, FunctionName=arn, Payload=b'{"a":1}', LogType="Tail")
        assert (invoked["StatusCode"], invoked["Payload"].read(), invoked["ExecutedVersion"]) == (202, b"hi", "$LATEST")
        assert provider.asked[0][1] == {
            "FunctionName": arn,
            "LogType": "Tail",
            "Payload": b'{"a":1}',
        }
        assert (await call(functions.list_functions, MaxItems=5))["Functions"][0]["FunctionName"] == "f"
        assert provider.asked[1][1] == {"MaxItems": 5}
        created = {"FunctionName": "f", "Role": "arn:aws:iam::123456789012:role/r", "Code": {"ZipFile": b"\x00\xff"}}
        await call(functions.create_function, **created)
        assert provider.asked[2][1] == created
        with pytest.raises(ClientError) as refused:
            await call(functions.get_function, FunctionName="g")
        assert refused.value.response["Error"]["Code"] == "ResourceNotFoundException"
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404


async def test_route53() -> None:
    zone = {"Id": "/hostedzone/Z1", "Name": "a.", "CallerReference": "r"}
    answers = {
        "ListHostedZones": {"HostedZones": [zone], "Marker": "", "IsTruncated": False, "MaxItems": "100"},
        "ChangeResourceRecordSets": {"ChangeInfo": {"Id": "C1", "Status": "INSYNC", "SubmittedAt": MOMENT}},
        "GetHostedZone": AwsError("NoSuchHostedZone", "No hosted zone found with ID: Z9"),
    }
    provider = Recorder("route53", answers)
    async with running(provider) as gateway:
        dns = client("route53", gateway)
        assert (await call(dns.list_hosted_zones))["HostedZones"] == [zone]
        record = {"Name": "x.", "Type": "A", "TTL": 60, "ResourceRecords": [{"Value": "1.2.3.4"}, {"Value": "1.2.3.5"}]}
        batch = {"Comment": "c", "Changes": [{"Action": "UPSERT", "ResourceRecordSet": record}]}
        changed = await call(dns.change_resource_record_sets, HostedZoneId="Z1", ChangeBatch=batch)
        assert changed["ChangeInfo"]["SubmittedAt"] == datetime.fromtimestamp(MOMENT, UTC)
        assert provider.asked[1][1] == {"HostedZoneId": "Z1", "ChangeBatch": batch}
        with pytest.raises(ClientError) as refused:
            await call(dns.get_hosted_zone, Id="Z9")
        assert refused.value.response["Error"]["Code"] == "NoSuchHostedZone"


@pytest.mark.parametrize("protocol", ["smithy-rpc-v2-cbor", "json", "query"])
async def test_cloudwatch_in_all_its_protocols(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    alarm = {"AlarmName": "a", "Threshold": 1.5, "AlarmConfigurationUpdatedTimestamp": MOMENT, "Dimensions": []}
    answers = {
        "DescribeAlarms": {"MetricAlarms": [alarm]},
        "PutMetricData": None,
        "DeleteAlarms": AwsError("ResourceNotFound", "no such alarm"),
    }
    provider = Recorder("cloudwatch", answers)
    async with running(provider) as gateway:
        cloudwatch = speaking(protocol, "cloudwatch", gateway)
        described = (await call(cloudwatch.describe_alarms, AlarmNames=["a", "b"]))["MetricAlarms"][0]
        assert described["Threshold"] == 1.5
        assert described["AlarmConfigurationUpdatedTimestamp"] == datetime.fromtimestamp(MOMENT, UTC)
        assert provider.asked[0][1] == {"AlarmNames": ["a", "b"]}
        datum = {"MetricName": "m", "Value": 2.5, "Timestamp": datetime.fromtimestamp(1_700_000_000, UTC)}
        await call(cloudwatch.put_metric_data, Namespace="n", MetricData=[datum])
        assert provider.asked[1][1] == {
            "Namespace": "n",
            "MetricData": [{"MetricName": "m", "Value": 2.5, "Timestamp": 1_700_000_000.0}],
        }
        with pytest.raises(ClientError) as refused:
            await call(cloudwatch.delete_alarms, AlarmNames=["a"])
        assert refused.value.response["Error"]["Code"] == "ResourceNotFound"


async def test_sqs_errors_carry_their_query_code() -> None:
    answers = {"GetQueueUrl": AwsError("QueueDoesNotExist", "The specified queue does not exist.")}
    async with running(Recorder("sqs", answers)) as gateway:
        sqs = client("sqs", gateway)
        with pytest.raises(sqs.exceptions.QueueDoesNotExist) as refused:
            await call(sqs.get_queue_url, QueueName="q")
        assert refused.value.response["Error"]["Code"] == "AWS.SimpleQueueService.NonExistentQueue"
        assert refused.value.response["Error"]["Type"] == "Sender"


async def test_sqs_in_query_form() -> None:
    import aiohttp

    provider = Recorder("sqs", {"GetQueueUrl": {"QueueUrl": "http://q"}})
    async with running(provider) as gateway, aiohttp.ClientSession() as session:
        form = {"Action": "GetQueueUrl", "Version": "2012-11-05", "QueueName": "q"}
        answer = await session.post(f"http://127.0.0.1:{gateway.port}/", data=form)
        assert answer.status == 200
        assert "<GetQueueUrlResult><QueueUrl>http://q</QueueUrl></GetQueueUrlResult>" in await answer.text()
        assert provider.asked[0][1] == {"QueueName": "q"}


async def test_a_stream_of_events() -> None:
    async def events() -> Any:
        yield {"sessionStart": {"requestId": "r", "logGroupIdentifiers": ["g"]}}
        yield {"sessionUpdate": {"sessionResults": [{"message": "hello", "timestamp": 1}]}}

    async with running(Recorder("logs", {"StartLiveTail": {"responseStream": events()}})) as gateway:
        logs = client("logs", gateway)
        answer = await call(logs.start_live_tail, logGroupIdentifiers=["arn:aws:logs:us-east-1:1:log-group:g"])
        seen = await asyncio.to_thread(lambda: list(answer["responseStream"]))
        assert [list(event) for event in seen] == [["sessionStart"], ["sessionUpdate"]]
        assert seen[1]["sessionUpdate"]["sessionResults"][0]["message"] == "hello"


def speaking(protocol: str, service: str, gateway: Any) -> Any:
    """A client whose model prefers one protocol."""
    session = botocore.session.Session()
    loader = session.get_component("data_loader")
    load = loader.load_service_model

    def load_with_protocol(service_name: str, type_name: str, api_version: str | None = None) -> Any:
        loaded = load(service_name, type_name, api_version)
        if type_name == "service-2" and service_name == service:
            metadata = {**loaded["metadata"], "protocol": protocol, "protocols": [protocol]}
            return {**loaded, "metadata": metadata}
        return loaded

    loader.load_service_model = load_with_protocol
    return session.create_client(
        service,
        endpoint_url=f"http://127.0.0.1:{gateway.port}",
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"max_attempts": 0}),
    )


async def test_sqs_batches_in_query_form() -> None:
    import aiohttp

    message = {"MessageId": "m", "Body": "<b>", "Attributes": {"SentTimestamp": "1"}}
    provider = Recorder(
        "sqs", {"ReceiveMessage": {"Messages": [message, message]}, "SendMessageBatch": {}, "GetQueueUrl": {}}
    )
    async with running(provider) as gateway, aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{gateway.port}/"
        version = {"Version": "2012-11-05", "QueueUrl": "q"}
        form = {"Action": "ReceiveMessage", "AttributeName.1": "All", "MessageAttributeName.1": "x", **version}
        text = await (await session.post(url, data=form)).text()
        assert text.count("<Message><MessageId>m</MessageId>") == 2
        assert "<Attribute><Name>SentTimestamp</Name><Value>1</Value></Attribute>" in text
        assert provider.asked[0][1] == {"QueueUrl": "q", "AttributeNames": ["All"], "MessageAttributeNames": ["x"]}
        entry = "SendMessageBatchRequestEntry.1."
        attribute = entry + "MessageAttribute.1."
        form = {"Action": "SendMessageBatch", entry + "Id": "a", entry + "MessageBody": "b", **version}
        form |= {attribute + "Name": "n", attribute + "Value.DataType": "String", attribute + "Value.StringValue": "v"}
        assert (await session.post(url, data=form)).status == 200
        attributes = {"n": {"DataType": "String", "StringValue": "v"}}
        assert provider.asked[1][1]["Entries"] == [{"Id": "a", "MessageBody": "b", "MessageAttributes": attributes}]
