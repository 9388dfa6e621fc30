"""Nothing that was acknowledged is lost: kill -9 of the worker, of the control plane, torn and full journals."""

from __future__ import annotations

import io
import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError
from front import Front

TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ],
    }
)

INLINE = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]})
HTTP = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}


def write_everything(front: Front) -> None:
    """More than 200 changing requests over many services, accounts and regions, some of them refused."""
    client = front.client
    iam, ec2, s3, sqs = client("iam"), client("ec2"), client("s3"), client("sqs")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    for index in range(12):
        iam.create_role(RoleName=f"role-{index}", AssumeRolePolicyDocument=TRUST)
        iam.put_role_policy(RoleName=f"role-{index}", PolicyName="inline", PolicyDocument=INLINE)
        iam.attach_role_policy(RoleName=f"role-{index}", PolicyArn="arn:aws:iam::aws:policy/ReadOnlyAccess")
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{index}.0/24")
        group = ec2.create_security_group(GroupName=f"group-{index}", Description="d", VpcId=vpc)["GroupId"]
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[HTTP])
    iam.create_access_key(UserName=iam.create_user(UserName="somebody")["User"]["UserName"])
    refused(lambda: iam.create_role(RoleName="role-0", AssumeRolePolicyDocument=TRUST))
    refused(lambda: iam.delete_role(RoleName="role-0"))
    ec2.create_key_pair(KeyName="rsa")
    ec2.create_key_pair(KeyName="ed", KeyType="ed25519")
    s3.create_bucket(Bucket="one")
    s3.put_bucket_versioning(Bucket="one", VersioningConfiguration={"Status": "Enabled"})
    for index in range(30):
        s3.put_object(Bucket="one", Key=f"key {index % 10}", Body=b"x" * index, Metadata={"n": str(index)})
    s3.delete_object(Bucket="one", Key="key 3")
    s3.upload_fileobj(io.BytesIO(b"large" * 2_000_000), "one", "large")
    dynamodb = client("dynamodb")
    dynamodb.create_table(
        TableName="table",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    for index in range(40):
        dynamodb.put_item(TableName="table", Item={"id": {"S": str(index)}, "n": {"N": "1"}})
        dynamodb.update_item(
            TableName="table",
            Key={"id": {"S": str(index % 7)}},
            UpdateExpression="ADD n :one",
            ExpressionAttributeValues={":one": {"N": "1"}},
        )
    url = sqs.create_queue(QueueName="queue")["QueueUrl"]
    topic = client("sns").create_topic(Name="topic")["TopicArn"]
    client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint="arn:aws:sqs:us-east-1:000000000000:queue")
    for index in range(10):
        sqs.send_message(QueueUrl=url, MessageBody=f"message {index}")
        client("sns").publish(TopicArn=topic, Message=f"published {index}")
    received = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=5)["Messages"]
    sqs.delete_message(QueueUrl=url, ReceiptHandle=received[0]["ReceiptHandle"])
    for index in range(5):
        client("secretsmanager").create_secret(Name=f"secret-{index}", SecretString="s")
        client("ssm").put_parameter(Name=f"/path/{index}", Value="v", Type="SecureString")
        client("kms").create_key()
    signing = client("kms").create_key(KeySpec="RSA_2048", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    client("kms").create_alias(AliasName="alias/signing", TargetKeyId=signing)
    client("events").put_rule(Name="rule", ScheduleExpression="rate(5 minutes)")
    client("scheduler").create_schedule(
        Name="schedule",
        ScheduleExpression="rate(1 hour)",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={
            "Arn": "arn:aws:ecs:us-east-1:000000000000:cluster/c",
            "RoleArn": "arn:aws:iam::000000000000:role/role-0",
        },
    )
    zone = client("route53").create_hosted_zone(Name="example.com", CallerReference="1")["HostedZone"]["Id"]
    client("route53").change_resource_record_sets(
        HostedZoneId=zone,
        ChangeBatch={
            "Changes": [
                {
                    "Action": "CREATE",
                    "ResourceRecordSet": {
                        "Name": "a.example.com",
                        "Type": "A",
                        "TTL": 5,
                        "ResourceRecords": [{"Value": "1.2.3.4"}],
                    },
                }
            ]
        },
    )
    client("acm").request_certificate(DomainName="a.example.com", ValidationMethod="DNS")
    api = client("apigateway").create_rest_api(name="api", endpointConfiguration={"types": ["PRIVATE"]})["id"]
    root = client("apigateway").get_resources(restApiId=api)["items"][0]["id"]
    client("apigateway").create_resource(restApiId=api, parentId=root, pathPart="query")
    client("cloudwatch").put_metric_alarm(
        AlarmName="cpu",
        MetricName="CPUUtilization",
        Namespace="AWS/ECS",
        Statistic="Average",
        Period=60,
        EvaluationPeriods=2,
        Threshold=70.0,
        ComparisonOperator="GreaterThanThreshold",
    )
    client("cloudwatch").put_metric_data(Namespace="N", MetricData=[{"MetricName": "m", "Value": 3.0}])
    client("cloudformation").create_stack(
        StackName="stack", TemplateBody=json.dumps({"Resources": {"Q": {"Type": "AWS::SQS::Queue"}}})
    )
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.py", "x = 1")
    client("lambda").create_function(
        FunctionName="function",
        Runtime="python3.12",
        Role="arn:aws:iam::000000000000:role/role-0",
        Handler="a.h",
        Code={"ZipFile": archive.getvalue()},
    )
    other = client("s3", "eu-west-1", key="111122223333")
    other.create_bucket(Bucket="two", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    client("ec2", "eu-west-1", key="111122223333").create_vpc(CidrBlock="10.9.0.0/16")
    client("sts").assume_role(RoleArn="arn:aws:iam::000000000000:role/role-1", RoleSessionName="session")


def refused(call: Callable[[], Any]) -> None:
    try:
        call()
    except Exception:
        return
    raise AssertionError("was not refused")


def read_everything(front: Front) -> dict[str, Any]:
    client = front.client
    iam, ec2, s3, sqs = client("iam"), client("ec2"), client("s3"), client("sqs")
    url = sqs.get_queue_url(QueueName="queue")["QueueUrl"]
    zone = client("route53").list_hosted_zones()["HostedZones"][0]["Id"]
    api = client("apigateway").get_rest_apis()["items"][0]["id"]
    key = client("kms").describe_key(KeyId="alias/signing")["KeyMetadata"]["KeyId"]
    reads: dict[str, Callable[[], Any]] = {
        "details": lambda: iam.get_account_authorization_details(
            Filter=["Role", "User", "Group", "LocalManagedPolicy"]
        ),
        "access keys": lambda: iam.list_access_keys(UserName="somebody"),
        "vpcs": ec2.describe_vpcs,
        "subnets": ec2.describe_subnets,
        "groups": ec2.describe_security_groups,
        "rules": ec2.describe_security_group_rules,
        "routes": ec2.describe_route_tables,
        "gateways": ec2.describe_internet_gateways,
        "keys": ec2.describe_key_pairs,
        "other vpcs": client("ec2", "eu-west-1", key="111122223333").describe_vpcs,
        "buckets": s3.list_buckets,
        "other buckets": client("s3", "eu-west-1", key="111122223333").list_buckets,
        "versions": lambda: s3.list_object_versions(Bucket="one"),
        "object": lambda: s3.get_object(Bucket="one", Key="key 5")["Body"].read(),
        "large": lambda: s3.head_object(Bucket="one", Key="large"),
        "table": lambda: client("dynamodb").describe_table(TableName="table"),
        "items": lambda: client("dynamodb").scan(TableName="table"),
        "queue": lambda: sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"],
        "subscriptions": client("sns").list_subscriptions,
        "secrets": client("secretsmanager").list_secrets,
        "parameters": lambda: client("ssm").get_parameters_by_path(Path="/path", WithDecryption=True),
        "kms": client("kms").list_keys,
        "public key": lambda: client("kms").get_public_key(KeyId=key)["PublicKey"],
        "rules of events": client("events").list_rules,
        "schedule": lambda: client("scheduler").get_schedule(Name="schedule"),
        "records": lambda: client("route53").list_resource_record_sets(HostedZoneId=zone),
        "certificates": client("acm").list_certificates,
        "resources": lambda: client("apigateway").get_resources(restApiId=api),
        "alarms": client("cloudwatch").describe_alarms,
        "metrics": client("cloudwatch").list_metrics,
        "stack": lambda: client("cloudformation").describe_stack_resources(StackName="stack"),
        "function": lambda: client("lambda").get_function_configuration(FunctionName="function"),
    }
    found = {name: read() for name, read in reads.items()}
    for answer in found.values():
        if isinstance(answer, dict):
            answer.pop("ResponseMetadata", None)
    return found


def test_everything_reads_back_equal_after_the_worker_was_killed(fronts: Callable[[], Front]) -> None:
    front = fronts()
    write_everything(front)
    before = read_everything(front)
    front.kill_worker()
    after = read_everything(front)
    assert front.backed.worker.ready is not None
    assert front.backed.worker.ready.replayed > 200
    assert front.backed.worker.ready.failed == 0
    for name, answer in before.items():
        assert after[name] == answer, name
    front.close()
    again = fronts()
    rewritten = read_everything(again)
    before["queue"] = rewritten["queue"]  # its visibility timeout may have run out meanwhile
    assert rewritten == before


def test_what_was_only_read_before_changes_nothing_when_it_is_replayed(fronts: Callable[[], Front]) -> None:
    """A read loads code and makes backends, and no journal keeps it: the first write draws the same all the same."""
    front = fronts()
    for region in ("us-east-1", "eu-west-1"):
        ec2 = front.client("ec2", region)
        assert ec2.describe_vpcs()["Vpcs"]
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24")
    assert front.client("kms").list_keys()["Keys"] == []
    front.client("kms").create_key()

    def read(front: Front) -> list[Any]:
        told: list[Any] = [front.client("ec2", region).describe_vpcs()["Vpcs"] for region in ("us-east-1", "eu-west-1")]
        told += [front.client("ec2", region).describe_subnets()["Subnets"] for region in ("us-east-1", "eu-west-1")]
        return [*told, front.client("kms").list_keys()["Keys"]]

    before = read(front)
    front.close()
    assert read(fronts()) == before


def test_calls_under_way_when_the_worker_dies_are_done_exactly_once(fronts: Callable[[], Front]) -> None:
    front = fronts()
    dynamodb = front.client("dynamodb")
    dynamodb.create_table(
        TableName="t",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    add = {"UpdateExpression": "ADD n :one", "ExpressionAttributeValues": {":one": {"N": "1"}}}

    def increment(index: int) -> None:
        if index == 20:
            front.kill_worker()
        dynamodb.update_item(TableName="t", Key={"id": {"S": "counter"}}, **add)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(increment, range(60)))
    item = dynamodb.get_item(TableName="t", Key={"id": {"S": "counter"}})["Item"]
    assert item["n"]["N"] == "60"


def test_the_worker_dies_with_the_control_plane_and_nothing_is_lost(
    fronts: Callable[[], Front], tmp_path: Path
) -> None:
    program = """
        import sys
        sys.path.insert(0, sys.argv[1])
        from pathlib import Path
        from front import Front
        front = Front(Path(sys.argv[2]))
        front.client("s3").create_bucket(Bucket="acknowledged")
        print(front.backed.worker.pid, flush=True)
        sys.stdin.read()
    """
    here = str(Path(__file__).parent)
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), here, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    worker = int(child.stdout.readline())
    child.send_signal(signal.SIGKILL)
    child.wait()
    buckets = fronts().client("s3").list_buckets()["Buckets"]  # the new worker waits for the old one's lock
    assert [bucket["Name"] for bucket in buckets] == ["acknowledged"]
    assert not is_running(worker)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_torn_last_record_is_dropped(fronts: Callable[[], Front], tmp_path: Path) -> None:
    front = fronts()
    front.client("s3").create_bucket(Bucket="whole")
    front.close()
    journal = tmp_path / "aws-backed.journal"
    whole = journal.stat().st_size
    with journal.open("ab") as file:
        file.write(b"\x00\x00\x01\x00torn")
    again = fronts()
    again.client("s3").create_bucket(Bucket="next")
    again.kill_worker()
    names = [bucket["Name"] for bucket in again.client("s3").list_buckets()["Buckets"]]
    assert sorted(names) == ["next", "whole"]
    assert journal.stat().st_size > whole


def test_reset_is_durable_with_and_without_a_running_worker(fronts: Callable[[], Front]) -> None:
    front = fronts()
    client = front.client("s3")
    client.create_bucket(Bucket="gone")
    began = time.perf_counter()
    front.run(front.backed.reset())
    took = time.perf_counter() - began
    assert client.list_buckets()["Buckets"] == []
    front.kill_worker()
    assert client.list_buckets()["Buckets"] == []
    client.create_bucket(Bucket="gone-too")
    front.close()
    again = fronts()
    again.run(again.backed.reset())
    assert not again.backed.loaded
    assert again.client("s3").list_buckets()["Buckets"] == []
    print(f"reset took {took * 1000:.1f} ms")


def test_a_journal_of_something_else_is_not_touched(fronts: Callable[[], Front], tmp_path: Path) -> None:
    journal = tmp_path / "aws-backed.journal"
    journal.write_bytes(b"something of somebody else")
    refused(lambda: fronts().client("s3").list_buckets())
    assert journal.read_bytes() == b"something of somebody else"
    assert os.access(tmp_path / "aws-backed.log", os.R_OK)


def test_an_idle_worker_is_ended_and_comes_back(fronts: Callable[[], Front]) -> None:
    front = fronts()
    client = front.client("s3")
    front.backed.worker._idle_after = 0.05
    client.create_bucket(Bucket="kept")
    wait_until(lambda: not front.backed.loaded)
    assert [bucket["Name"] for bucket in client.list_buckets()["Buckets"]] == ["kept"]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_request_that_kills_every_worker_is_refused(fronts: Callable[[], Front]) -> None:
    front = fronts()
    sqs = front.client("sqs")
    url = sqs.create_queue(QueueName="q")["QueueUrl"]
    front.run(kill_on_sight(front))
    code = None
    try:
        sqs.send_message(QueueUrl=url, MessageBody="never")
    except ClientError as error:
        code = error.response["Error"]["Code"]
    assert code == "ServiceUnavailable"
    front.backed.worker._send = type(front.backed.worker)._send.__get__(front.backed.worker)  # type: ignore[method-assign]
    assert sqs.get_queue_url(QueueName="q")["QueueUrl"] == url


async def kill_on_sight(front: Front) -> None:
    """From now on the worker dies before it sees a call."""
    worker = front.backed.worker

    def send(waiting: Any) -> None:
        waiting.sent_on = worker._writer
        front.kill_worker()

    worker._send = send  # type: ignore[method-assign]


def test_a_full_disk_refuses_and_keeps_what_was_acknowledged(fronts: Callable[[], Front], tmp_path: Path) -> None:
    front = fronts()
    s3 = front.client("s3")
    s3.create_bucket(Bucket="kept")
    size = (tmp_path / "aws-backed.journal").stat().st_size
    assert front.backed.worker.pid is not None
    resource.prlimit(front.backed.worker.pid, resource.RLIMIT_FSIZE, (size + 100, size + 100))
    code = None
    try:
        s3.put_object(Bucket="kept", Key="too-much", Body=b"x" * 10_000)
    except ClientError as error:
        code = error.response["Error"]["Code"]
    # The client tries again by itself; the next worker has no such limit.
    wait_until(lambda: code is None or not front.backed.loaded)
    s3.put_object(Bucket="kept", Key="fits", Body=b"x")
    keys = [each["Key"] for each in s3.list_objects_v2(Bucket="kept")["Contents"]]
    assert keys == (["fits"] if code else ["fits", "too-much"])
    assert code in (None, "ServiceUnavailable")
