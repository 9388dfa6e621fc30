"""What AWS refuses, in AWS's words, through a real client."""

from __future__ import annotations

from collections.abc import Callable

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from .stack import Stack

pytestmark = pytest.mark.docker


def refusal(call: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(ClientError) as refused:
        call()
    error = refused.value.response["Error"]
    return error["Code"], error["Message"]


@pytest.fixture(scope="module")
def calm(server, image):
    """One stack for all refusals: nothing of it ever changes."""
    stack = Stack(server, image)
    yield stack
    stack.remove()


def test_an_unknown_cluster(calm: Stack):
    revision = calm.register()
    expected = ("ClusterNotFoundException", "Cluster not found.")
    assert refusal(lambda: calm.ecs.run_task(cluster="nowhere", taskDefinition=revision)) == expected
    assert refusal(lambda: calm.ecs.list_tasks(cluster="nowhere")) == expected
    assert refusal(lambda: calm.ecs.describe_services(cluster="nowhere", services=["x"])) == expected


def test_an_unknown_task_definition(calm: Stack):
    expected = ("ClientException", "TaskDefinition not found.")
    assert refusal(lambda: calm.run_task("nothing:7")) == expected
    assert refusal(lambda: calm.create_service("nothing:7", name="never")) == expected
    calm.services.clear()


def test_an_unknown_subnet_and_security_group(calm: Stack):
    revision = calm.register()

    def run(**network: list[str]) -> object:
        return calm.ecs.run_task(
            cluster=calm.name, taskDefinition=revision, launchType="FARGATE",
            networkConfiguration={"awsvpcConfiguration": {"subnets": calm.subnets, **network}},
        )  # fmt: skip

    code, message = refusal(lambda: run(subnets=["subnet-0123456789abcdef0"]))
    assert code == "InvalidParameterException"
    assert "The subnet ID 'subnet-0123456789abcdef0' does not exist" in message
    code, message = refusal(lambda: run(securityGroups=["sg-0123456789abcdef0"]))
    assert code == "InvalidParameterException"
    assert "The security group 'sg-0123456789abcdef0' does not exist" in message


def test_a_fargate_size_that_does_not_exist(calm: Stack):
    code, message = refusal(
        lambda: calm.ecs.register_task_definition(
            family="odd", networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="300", memory="999",
            containerDefinitions=[calm.container()],
        )
    )  # fmt: skip
    assert code == "ClientException"
    assert message.startswith("No Fargate configuration exists for given values")


def test_a_second_listener_on_a_port(calm: Stack):
    group = calm.new_target_group(f"{calm.name}-x")
    code, message = refusal(
        lambda: calm.elbv2.create_listener(
            LoadBalancerArn=calm.balancer, Protocol="HTTP", Port=calm.port,
            DefaultActions=[{"Type": "forward", "TargetGroupArn": group}],
        )
    )  # fmt: skip
    assert code == "DuplicateListener"
    assert message == f"A listener already exists on this port for this load balancer '{calm.balancer}'"


def test_deleting_a_target_group_in_use(calm: Stack):
    code, message = refusal(lambda: calm.elbv2.delete_target_group(TargetGroupArn=calm.target_group))
    assert code == "ResourceInUse"
    assert message == f"Target group '{calm.target_group}' is currently in use by a listener or a rule"


def test_a_missing_member_is_refused_as_the_model_says(calm: Stack):
    """The client's own validation is off: the server has to see it."""
    client = calm.server.client("ecs")
    client.meta.config.parameter_validation = False

    bare = boto3.client(
        "ecs", endpoint_url=calm.server.endpoint, region_name="eu-west-1", aws_access_key_id="test",
        aws_secret_access_key="test", config=Config(parameter_validation=False, retries={"total_max_attempts": 1}),
    )  # fmt: skip
    code, message = refusal(lambda: bare.register_task_definition())
    assert code in {"ClientException", "InvalidParameterException", "ValidationException"}
    assert "family" in message or "containerDefinitions" in message


def test_an_operation_that_nobody_has_implemented_is_named(calm: Stack):
    code, message = refusal(lambda: calm.server.client("glacier").list_vaults(accountId="-"))
    assert code
    assert "glacier" in message.lower()


def test_accounts_and_regions_see_nothing_of_each_other(calm: Stack):
    other = calm.server.client("ecs", account="111122223333")
    assert other.list_clusters()["clusterArns"] == []
    assert calm.server.client("sts", account="111122223333").get_caller_identity()["Account"] == "111122223333"
