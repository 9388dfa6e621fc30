"""What guides, Terraform and CDK do with the services around ECS, by boto3 through the gateway."""

from __future__ import annotations

import datetime
import http.server
import io
import json
import queue
import threading
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError
from front import Front

from moorage.domain.scope import Scope
from moorage.services.aws_backed.objects import MotoObjects

Client = Callable[..., Any]

ECS_TASKS = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ],
    }
)
READ_S3 = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]})
EXECUTION_POLICY = "arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"


def code_and_message(call: Callable[[], Any]) -> tuple[str, str]:
    with pytest.raises(ClientError) as refusal:
        call()
    error = refusal.value.response["Error"]
    return error["Code"], error["Message"]


# ── STS and IAM ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_test_credentials_are_the_root_of_the_configured_account(client: Client) -> None:
    identity = client("sts").get_caller_identity()
    assert identity["Arn"] == "arn:aws:iam::000000000000:root"
    assert identity["Account"] == identity["UserId"] == "000000000000"


def test_a_twelve_digit_access_key_is_an_account_of_its_own(client: Client) -> None:
    assert client("sts", key="111122223333").get_caller_identity()["Account"] == "111122223333"
    role = client("iam", key="111122223333").create_role(RoleName="theirs", AssumeRolePolicyDocument=ECS_TASKS)["Role"]
    assert role["Arn"] == "arn:aws:iam::111122223333:role/theirs"
    assert "theirs" not in [each["RoleName"] for each in client("iam").list_roles()["Roles"]]


def test_an_assumed_role_is_who_it_says(client: Client) -> None:
    client("iam").create_role(RoleName="assumable", AssumeRolePolicyDocument=ECS_TASKS)
    answer = client("sts").assume_role(RoleArn="arn:aws:iam::000000000000:role/assumable", RoleSessionName="session")
    assert answer["AssumedRoleUser"]["Arn"] == "arn:aws:sts::000000000000:assumed-role/assumable/session"
    keys = answer["Credentials"]
    assert keys["AccessKeyId"].startswith("ASIA")
    caller = client("sts", key=keys["AccessKeyId"], secret=keys["SecretAccessKey"]).get_caller_identity()
    assert caller["Arn"] == "arn:aws:sts::000000000000:assumed-role/assumable/session"


def test_keys_of_another_account_act_there(client: Client) -> None:
    theirs = client("iam", key="333322221111")
    theirs.create_role(RoleName="visited", AssumeRolePolicyDocument=ECS_TASKS)
    arn = "arn:aws:iam::333322221111:role/visited"
    keys = client("sts").assume_role(RoleArn=arn, RoleSessionName="visit")["Credentials"]
    there = client("iam", key=keys["AccessKeyId"], secret=keys["SecretAccessKey"])
    assert [role["RoleName"] for role in there.list_roles()["Roles"]] == ["visited"]
    theirs.create_user(UserName="u")
    pair = theirs.create_access_key(UserName="u")["AccessKey"]
    caller = client("sts", key=pair["AccessKeyId"], secret=pair["SecretAccessKey"]).get_caller_identity()
    assert caller["Arn"] == "arn:aws:iam::333322221111:user/u"


def test_the_roles_of_a_deployment_guide(client: Client) -> None:
    iam = client("iam")
    iam.create_role(RoleName="execution", AssumeRolePolicyDocument=ECS_TASKS)
    iam.get_waiter("role_exists").wait(RoleName="execution")
    iam.attach_role_policy(RoleName="execution", PolicyArn=EXECUTION_POLICY)
    iam.put_role_policy(RoleName="execution", PolicyName="read", PolicyDocument=READ_S3)
    attached = iam.list_attached_role_policies(RoleName="execution")["AttachedPolicies"]
    assert attached == [{"PolicyName": "AmazonECSTaskExecutionRolePolicy", "PolicyArn": EXECUTION_POLICY}]
    assert iam.get_role_policy(RoleName="execution", PolicyName="read")["PolicyDocument"] == json.loads(READ_S3)
    assert iam.get_role(RoleName="execution")["Role"]["AssumeRolePolicyDocument"] == json.loads(ECS_TASKS)

    delete = lambda: iam.delete_role(RoleName="execution")  # noqa: E731
    assert code_and_message(delete) == ("DeleteConflict", "Cannot delete entity, must detach all policies first.")
    iam.detach_role_policy(RoleName="execution", PolicyArn=EXECUTION_POLICY)
    assert code_and_message(delete) == ("DeleteConflict", "Cannot delete entity, must delete policies first.")
    iam.delete_role_policy(RoleName="execution", PolicyName="read")
    delete()
    gone = code_and_message(lambda: iam.get_role(RoleName="execution"))
    assert gone == ("NoSuchEntity", "The role with name execution cannot be found.")


@pytest.mark.parametrize(
    "name",
    [
        "service-role/AmazonECSTaskExecutionRolePolicy",
        "service-role/AmazonEC2ContainerServiceforEC2Role",
        "service-role/AmazonEC2ContainerServiceEventsRole",
        "AmazonECS_FullAccess",
        "AmazonECSInfrastructureRolePolicyForLoadBalancers",
        "service-role/AmazonECSInfrastructureRolePolicyForVolumes",
        "service-role/AmazonECSInfrastructureRolePolicyForServiceConnectTransportLayerSecurity",
        "service-role/AmazonECSInfrastructureRoleforExpressGatewayServices",
        "service-role/AWSLambdaBasicExecutionRole",
        "AmazonSSMManagedInstanceCore",
        "AmazonSSMReadOnlyAccess",
        "AdministratorAccess",
        "ReadOnlyAccess",
    ],
)
def test_managed_policies_are_there(client: Client, name: str) -> None:
    iam = client("iam")
    policy = iam.get_policy(PolicyArn=f"arn:aws:iam::aws:policy/{name}")["Policy"]
    version = iam.get_policy_version(PolicyArn=policy["Arn"], VersionId=policy["DefaultVersionId"])
    assert version["PolicyVersion"]["Document"]["Statement"]


def test_the_execution_policy_may_not_create_log_groups(client: Client) -> None:
    iam = client("iam")
    version = iam.get_policy(PolicyArn=EXECUTION_POLICY)["Policy"]["DefaultVersionId"]
    document = iam.get_policy_version(PolicyArn=EXECUTION_POLICY, VersionId=version)["PolicyVersion"]["Document"]
    assert set(document["Statement"][0]["Action"]) == {
        "ecr:GetAuthorizationToken",
        "ecr:BatchCheckLayerAvailability",
        "ecr:GetDownloadUrlForLayer",
        "ecr:BatchGetImage",
        "logs:CreateLogStream",
        "logs:PutLogEvents",
    }


def test_trust_policies_are_checked(client: Client) -> None:
    iam = client("iam")
    code, _ = code_and_message(lambda: iam.create_role(RoleName="bad", AssumeRolePolicyDocument="{nope"))
    assert code == "MalformedPolicyDocument"
    with_resource = ECS_TASKS.replace('"Action"', '"Resource": "*", "Action"')
    refusal = code_and_message(lambda: iam.create_role(RoleName="bad", AssumeRolePolicyDocument=with_resource))
    assert refusal == ("MalformedPolicyDocument", "Has prohibited field Resource.")


@pytest.mark.parametrize(
    ("service", "name"),
    [
        ("ecs.amazonaws.com", "AWSServiceRoleForECS"),
        ("elasticloadbalancing.amazonaws.com", "AWSServiceRoleForElasticLoadBalancing"),
        ("ecs.application-autoscaling.amazonaws.com", "AWSServiceRoleForApplicationAutoScaling_ECSService"),
    ],
)
def test_service_linked_roles(client: Client, service: str, name: str) -> None:
    iam = client("iam", key="222233334444")
    arn = iam.create_service_linked_role(AWSServiceName=service)["Role"]["Arn"]
    assert arn == f"arn:aws:iam::222233334444:role/aws-service-role/{service}/{name}"
    assert code_and_message(lambda: iam.create_service_linked_role(AWSServiceName=service)) == (
        "InvalidInput",
        f"Service role name {name} has been taken in this account, please try a different suffix.",
    )


# ── CloudWatch ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_alarms_and_metrics(client: Client) -> None:
    cloudwatch = client("cloudwatch")
    dimensions = [{"Name": "ClusterName", "Value": "c"}, {"Name": "ServiceName", "Value": "s"}]
    cloudwatch.put_metric_alarm(
        AlarmName="cpu-high",
        MetricName="CPUUtilization",
        Namespace="AWS/ECS",
        Statistic="Average",
        Period=60,
        EvaluationPeriods=2,
        Threshold=80.0,
        ComparisonOperator="GreaterThanThreshold",
        Dimensions=dimensions,
    )
    alarm = cloudwatch.describe_alarms(AlarmNames=["cpu-high"])["MetricAlarms"][0]
    assert alarm["AlarmArn"] == "arn:aws:cloudwatch:us-east-1:000000000000:alarm:cpu-high"
    assert (alarm["Threshold"], alarm["Dimensions"]) == (80.0, dimensions)
    cloudwatch.set_alarm_state(AlarmName="cpu-high", StateValue="ALARM", StateReason="a test")
    assert cloudwatch.describe_alarms(AlarmNames=["cpu-high"])["MetricAlarms"][0]["StateValue"] == "ALARM"
    cloudwatch.delete_alarms(AlarmNames=["cpu-high"])
    assert cloudwatch.describe_alarms(AlarmNames=["cpu-high"])["MetricAlarms"] == []

    data = [{"MetricName": "requests", "Value": value, "Dimensions": dimensions} for value in (1.0, 3.0)]
    cloudwatch.put_metric_data(Namespace="Mine", MetricData=data)
    now = datetime.datetime.now(datetime.UTC)
    statistics = cloudwatch.get_metric_statistics(
        Namespace="Mine",
        MetricName="requests",
        Dimensions=dimensions,
        StartTime=now - datetime.timedelta(minutes=10),
        EndTime=now + datetime.timedelta(minutes=10),
        Period=3600,
        Statistics=["Sum", "Average"],
    )["Datapoints"]
    assert [(point["Sum"], point["Average"]) for point in statistics] == [(4.0, 2.0)]


@pytest.mark.parametrize("speaks", ["query", "smithy-rpc-v2-cbor"])
def test_cloudwatch_answers_in_every_protocol_that_clients_speak(front: Any, speaks: str) -> None:
    """botocore sends JSON (the test above); Terraform sends query, newer Go and Java SDKs CBOR."""
    client = speaking(front, "cloudwatch", speaks)
    client.put_metric_data(Namespace=f"By {speaks}", MetricData=[{"MetricName": "m", "Value": 1.5}])
    assert [metric["MetricName"] for metric in client.list_metrics(Namespace=f"By {speaks}")["Metrics"]] == ["m"]
    code, _ = code_and_message(lambda: client.set_alarm_state(AlarmName="no", StateValue="OK", StateReason="because"))
    assert code == "ResourceNotFound"


def speaking(front: Any, service: str, protocol: str) -> Any:
    """A client whose model offers only `protocol`."""
    import botocore.session

    session = botocore.session.get_session()
    session.set_credentials("test", "test")
    loader = session.get_component("data_loader")
    load = loader.load_service_model

    def load_one(name: str, kind: str, **more: Any) -> Any:
        loaded = load(name, kind, **more)
        if kind == "service-2" and name == service:
            return {**loaded, "metadata": {**loaded["metadata"], "protocols": [protocol], "protocol": protocol}}
        return loaded

    loader.load_service_model = load_one
    return session.create_client(service, region_name="us-east-1", endpoint_url=f"http://localhost:{front.port}")


# ── API Gateway ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_private_api_with_a_lambda_proxy_method(client: Client) -> None:
    gateway = client("apigateway")
    api = gateway.create_rest_api(name="query", endpointConfiguration={"types": ["PRIVATE"]})["id"]
    root = gateway.get_resources(restApiId=api)["items"][0]["id"]
    query = gateway.create_resource(restApiId=api, parentId=root, pathPart="query")["id"]
    gateway.put_method(restApiId=api, resourceId=query, httpMethod="POST", authorizationType="NONE")
    uri = (
        "arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/"
        "arn:aws:lambda:us-east-1:000000000000:function:query/invocations"
    )
    gateway.put_integration(
        restApiId=api, resourceId=query, httpMethod="POST", type="AWS_PROXY", integrationHttpMethod="POST", uri=uri
    )
    deployment = gateway.create_deployment(restApiId=api)["id"]
    gateway.create_stage(restApiId=api, stageName="prod", deploymentId=deployment)

    assert gateway.get_rest_api(restApiId=api)["endpointConfiguration"]["types"] == ["PRIVATE"]
    integration = gateway.get_integration(restApiId=api, resourceId=query, httpMethod="POST")
    assert (integration["type"], integration["uri"]) == ("AWS_PROXY", uri)
    stages = gateway.get_stages(restApiId=api)["item"]
    assert [(stage["stageName"], stage["deploymentId"]) for stage in stages] == [("prod", deployment)]
    gateway.delete_rest_api(restApiId=api)
    code, _ = code_and_message(lambda: gateway.get_rest_api(restApiId=api))
    assert code == "NotFoundException"


# ── S3, DynamoDB, SQS, SNS, secrets ──────────────────────────────────────────────────────────────────────────────────


def test_objects_come_back_as_they_went(client: Client) -> None:
    s3 = client("s3")
    s3.create_bucket(Bucket="objects")
    keys = ["plain", "with space+plus", "ünïcode/ß", "double//slash", "percent%41"]
    for key in keys:
        s3.put_object(Bucket="objects", Key=key, Body=key.encode(), Metadata={"my_key": "v"}, ContentType="text/x")
    assert sorted(each["Key"] for each in s3.list_objects_v2(Bucket="objects")["Contents"]) == sorted(keys)
    for key in keys:
        got = s3.get_object(Bucket="objects", Key=key)
        assert (got["Body"].read(), got["Metadata"], got["ContentType"]) == (key.encode(), {"my_key": "v"}, "text/x")
    large = bytes(range(256)) * 40_000
    s3.upload_fileobj(io.BytesIO(large), "objects", "large")
    assert s3.head_object(Bucket="objects", Key="large")["ContentLength"] == len(large)
    assert s3.get_object(Bucket="objects", Key="large")["Body"].read() == large
    url = s3.generate_presigned_url("get_object", Params={"Bucket": "objects", "Key": "plain"})
    with urllib.request.urlopen(url) as response:
        assert response.read() == b"plain"
    assert code_and_message(lambda: s3.get_object(Bucket="objects", Key="no"))[0] == "NoSuchKey"
    assert code_and_message(lambda: s3.delete_bucket(Bucket="objects"))[0] == "BucketNotEmpty"


def test_conditional_writes_of_dynamodb(client: Client) -> None:
    dynamodb = client("dynamodb")
    dynamodb.create_table(
        TableName="locks",
        KeySchema=[{"AttributeName": "LockID", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "LockID", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    put = lambda: dynamodb.put_item(  # noqa: E731
        TableName="locks", Item={"LockID": {"S": "state"}}, ConditionExpression="attribute_not_exists(LockID)"
    )
    put()
    assert code_and_message(put) == ("ConditionalCheckFailedException", "The conditional request failed")


def test_a_long_poll_ends_when_a_message_comes_by_a_topic(front: Any) -> None:
    sqs, sns = front.client("sqs"), front.client("sns")
    url = sqs.create_queue(QueueName="polled", Attributes={"ReceiveMessageWaitTimeSeconds": "20"})["QueueUrl"]
    topic = sns.create_topic(Name="topic-of-polled")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint="arn:aws:sqs:us-east-1:000000000000:polled")
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(lambda: front.client("sqs").receive_message(QueueUrl=url))
        front.client("iam").list_roles()  # the worker is not blocked by the poll
        sns.publish(TopicArn=topic, Message="hello")
        message = waiting.result(15)["Messages"][0]
    assert json.loads(message["Body"])["Message"] == "hello"
    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])


def form(front: Any, service: str, path: str = "/", **values: str) -> tuple[int, str]:
    """A request as clients sent it before SQS and CloudWatch spoke JSON."""
    scope = f"Credential=test/20260101/us-east-1/{service}/aws4_request"
    headers = {"Authorization": f"AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0"}
    body = urllib.parse.urlencode(values).encode()
    request = urllib.request.Request(f"http://localhost:{front.port}{path}", data=body, headers=headers)
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_sqs_in_its_old_protocol(front: Any) -> None:
    version = "2012-11-05"
    status, created = form(front, "sqs", Action="CreateQueue", QueueName="old", Version=version)
    assert status == 200
    assert f"<QueueUrl>http://localhost:{front.port}/000000000000/old</QueueUrl>" in created
    path = "/000000000000/old"
    assert form(front, "sqs", path, Action="SendMessage", MessageBody="body", Version=version)[0] == 200
    _, received = form(front, "sqs", path, Action="ReceiveMessage", WaitTimeSeconds="1", Version=version)
    assert "<Body>body</Body>" in received
    status, refused = form(front, "sqs", Action="GetQueueUrl", QueueName="nowhere", Version=version)
    assert (status, "<Code>AWS.SimpleQueueService.NonExistentQueue</Code>" in refused) == (400, True)
    status, unknown = form(front, "sqs", Action="Invent", Version=version)
    assert (status, "sqs Invent is not implemented" in unknown) == (400, True)


def test_messages_move_to_the_dead_letter_queue(front: Any) -> None:
    sqs = front.client("sqs")
    dead = sqs.create_queue(QueueName="dead")["QueueUrl"]
    policy = {"deadLetterTargetArn": "arn:aws:sqs:us-east-1:000000000000:dead", "maxReceiveCount": 1}
    attributes = {"RedrivePolicy": json.dumps(policy), "VisibilityTimeout": "0"}
    url = sqs.create_queue(QueueName="source", Attributes=attributes)["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="poison")
    assert sqs.receive_message(QueueUrl=url)["Messages"]
    assert not sqs.receive_message(QueueUrl=url).get("Messages")
    front.kill_worker()
    assert sqs.receive_message(QueueUrl=dead)["Messages"][0]["Body"] == "poison"


def test_secrets_and_parameters(client: Client) -> None:
    secrets, ssm = client("secretsmanager"), client("ssm")
    arn = secrets.create_secret(Name="db", SecretString='{"password": "p"}')["ARN"]
    assert arn.startswith("arn:aws:secretsmanager:us-east-1:000000000000:secret:db-")
    assert secrets.get_secret_value(SecretId=arn)["SecretString"] == '{"password": "p"}'
    ssm.put_parameter(Name="/app/key", Value="v", Type="SecureString")
    assert ssm.get_parameters(Names=["/app/key"], WithDecryption=True)["Parameters"][0]["Value"] == "v"
    image = ssm.get_parameter(Name="/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id")
    assert image["Parameter"]["Value"].startswith("ami-")


# ── What is not there ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("service", "operation", "params"),
    [
        ("ec2", "describe_verified_access_trust_providers", {}),
        ("kms", "describe_custom_key_stores", {}),
        ("route53", "list_cidr_collections", {}),
        ("sqs", "start_message_move_task", {"SourceArn": "arn:aws:sqs:us-east-1:000000000000:q"}),
        ("s3", "get_bucket_metadata_configuration", {"Bucket": "b"}),
        ("lambda", "list_capacity_providers", {}),
    ],
)
def test_an_operation_that_moto_does_not_implement_is_refused_by_name(
    client: Client, service: str, operation: str, params: dict[str, Any]
) -> None:
    with pytest.raises(ClientError) as refusal:
        getattr(client(service), operation)(**params)
    response = refusal.value.response
    assert response["Error"]["Code"].endswith("UnsupportedOperation")
    assert refusal.value.operation_name in response["Error"]["Message"]
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 400


def test_functions_are_kept_and_nobody_pretends_to_run_them(client: Client) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.py", "def handler(event, context): return event")
    client("iam").create_role(RoleName="for-lambda", AssumeRolePolicyDocument=ECS_TASKS)
    functions = client("lambda")
    arn = functions.create_function(
        FunctionName="f",
        Runtime="python3.12",
        Role="arn:aws:iam::000000000000:role/for-lambda",
        Handler="a.handler",
        Code={"ZipFile": archive.getvalue()},
    )["FunctionArn"]
    assert functions.get_function(FunctionName="f")["Configuration"]["FunctionArn"] == arn
    code, sentence = code_and_message(lambda: functions.invoke(FunctionName="f", Payload=b"{}"))
    assert (code, sentence) == (
        "UnsupportedOperation",
        "lambda Invoke is not available: functions are kept and read back, but not executed yet",
    )


def test_http_subscribers_are_told_once_and_never_block(front: Any) -> None:
    told: queue.Queue[str] = queue.Queue()

    class Subscriber(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.put(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["Message"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Subscriber) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sns = front.client("sns")
        topic = sns.create_topic(Name="told")["TopicArn"]
        sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=f"http://127.0.0.1:{server.server_port}/")
        sns.publish(TopicArn=topic, Message="once")
        assert told.get(timeout=15) == "once"
        front.kill_worker()
        sns.publish(TopicArn=topic, Message="twice")
        assert told.get(timeout=15) == "twice"
        assert told.empty()
        server.shutdown()


@pytest.mark.parametrize(
    "host", ["hosted.s3.localhost", "hosted.s3.us-east-1.amazonaws.com", "s3.localhost", "moorage.internal"]
)
def test_buckets_are_found_by_host_and_by_path(front: Any, host: str) -> None:
    s3 = front.client("s3")
    s3.create_bucket(Bucket="hosted")
    s3.put_object(Bucket="hosted", Key="a/b", Body=b"found")
    path = "/a/b" if host.startswith("hosted.") else "/hosted/a/b"
    scope = "Credential=test/20260101/us-east-1/s3/aws4_request"
    headers = {"Host": host, "Authorization": f"AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0"}
    with urllib.request.urlopen(urllib.request.Request(f"http://localhost:{front.port}{path}", headers=headers)) as got:
        assert got.read() == b"found"


def test_keys_of_aws_survive_although_nobody_made_them(front: Any) -> None:
    kms = front.client("kms")
    secret = kms.encrypt(KeyId="alias/aws/s3", Plaintext=b"secret")["CiphertextBlob"]
    front.kill_worker()
    assert kms.decrypt(CiphertextBlob=secret)["Plaintext"] == b"secret"


def test_policies_of_buckets(front: Front) -> None:
    objects, scope = MotoObjects(front.backed), Scope("000000000000", "us-east-1")
    s3 = front.client("s3")
    s3.create_bucket(Bucket="policed")
    assert front.run(objects.bucket_policy(scope, "policed")) == ""
    assert front.run(objects.bucket_policy(scope, "nowhere")) is None
    s3.put_bucket_policy(Bucket="policed", Policy='{"Statement":[]}')
    assert front.run(objects.bucket_policy(scope, "policed")) == '{"Statement":[]}'
