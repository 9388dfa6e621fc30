"""What breaks the model is refused in AWS's words."""

from __future__ import annotations

from typing import Any

import pytest

from moorage.domain.errors import AwsError
from moorage.wire import model
from moorage.wire.validate import validate


def refused(service: str, operation: str, params: dict[str, Any]) -> AwsError:
    found = model.service(service).operation(operation)
    assert found is not None
    with pytest.raises(AwsError) as refusal:
        validate(found, params)
    return refusal.value


def accepted(service: str, operation: str, params: dict[str, Any]) -> None:
    found = model.service(service).operation(operation)
    assert found is not None
    validate(found, params)


def test_a_value_beyond_its_range() -> None:
    error = refused("logs", "DescribeLogGroups", {"limit": 10001})
    assert error.code == "InvalidParameterException"
    assert error.message == (
        "1 validation error detected: Value '10001' at 'limit' failed to satisfy constraint: "
        "Member must have value less than or equal to 50"
    )


def test_several_errors_are_told_at_once() -> None:
    error = refused("elbv2", "CreateTargetGroup", {"Protocol": "SMTP", "Port": 0})
    assert error.code == "ValidationError"
    assert error.message.startswith("3 validation errors detected: Value null at 'name' failed to satisfy constraint: ")
    assert (
        "Value '0' at 'port' failed to satisfy constraint: Member must have value greater than or equal to 1"
        in error.message
    )
    assert (
        "Value 'SMTP' at 'protocol' failed to satisfy constraint: Member must satisfy enum value set: [HTTP, "
        in error.message
    )


def test_members_of_lists_are_counted_from_one() -> None:
    error = refused("elbv2", "AddTags", {"ResourceArns": ["a"], "Tags": [{"Key": "k"}, {"Value": "v"}]})
    assert "Value null at 'tags.2.member.key' failed to satisfy constraint: Member must not be null" in error.message


def test_ecr_has_words_of_its_own() -> None:
    error = refused("ecr", "CreateRepository", {"repositoryName": "UPPER"})
    assert error.code == "InvalidParameterException"
    start = "Invalid parameter at 'repositoryName' failed to satisfy constraint: "
    assert error.message.startswith(start + "'must satisfy regular expression '[a-z0-9]+")
    assert error.message.endswith("*''")


def test_ecs_checks_meaning_itself() -> None:
    accepted("ecs", "CreateCluster", {"clusterName": "?" * 300, "settings": [{"name": "nonsense", "value": ""}]})
    assert refused("ecs", "RegisterTaskDefinition", {"family": "a"}).code == "ClientException"
    assert refused("ecs", "DescribeTasks", {}).code == "InvalidParameterException"


def test_values_that_ecs_does_not_know() -> None:
    refusal = refused("ecs", "RunTask", {"taskDefinition": "web", "launchType": "LAMBDA"})
    assert refusal.code == "InvalidParameterException"
    assert refusal.message == (
        "1 validation error detected: Value 'LAMBDA' at 'launchType' failed to satisfy constraint: Member must satisfy "
        "enum value set: [EC2, FARGATE, EXTERNAL, MANAGED_INSTANCES]"
    )
    document = {"family": "web", "containerDefinitions": [{"name": "app", "image": "app"}]}
    refusal = refused("ecs", "RegisterTaskDefinition", document | {"requiresCompatibilities": ["LAMBDA"]})
    assert refusal.code == "InvalidParameterException"
    assert "Value 'LAMBDA' at 'requiresCompatibilities.1.member'" in refusal.message
    # What the service has sentences for is left to it.
    accepted("ecs", "RegisterTaskDefinition", document | {"networkMode": "nonsense"})


def test_ec2_says_which_parameter_is_missing() -> None:
    error = refused("ec2", "DescribeInstanceAttribute", {"InstanceId": "i-1"})
    assert (error.code, error.message) == ("MissingParameter", "The request must contain the parameter Attribute")


def test_secrets_are_not_repeated() -> None:
    error = refused("secretsmanager", "CreateSecret", {"Name": "a", "SecretString": "x" * 70000})
    assert "xxx" not in error.message
    assert "Value at 'secretString' failed to satisfy constraint: Member must have length" in error.message


def test_a_shape_may_contain_itself() -> None:
    accepted("ecs", "CreateCluster", {})
    accepted("dynamodb", "PutItem", {"TableName": "abc", "Item": {"a": {"M": {"b": {"L": [{"S": "x"}]}}}}})


@pytest.mark.parametrize(
    ("operation", "params", "path", "allowed"),
    [
        ("CreateService", {"schedulingStrategy": "FOO"}, "schedulingStrategy", "REPLICA, DAEMON"),
        (
            "UpdateService",
            {"deploymentConfiguration": {"strategy": "FOO"}},
            "deploymentConfiguration.strategy",
            "ROLLING, BLUE_GREEN, LINEAR, CANARY",
        ),
        ("ListServices", {"launchType": "FOO"}, "launchType", "EC2, FARGATE, EXTERNAL, MANAGED_INSTANCES"),
        (
            "UpdateCapacityProvider",
            {"name": "x", "autoScalingGroupProvider": {"managedScaling": {"status": "FOO"}}},
            "autoScalingGroupProvider.managedScaling.status",
            "ENABLED, DISABLED",
        ),
    ],
)
def test_ecs_values_that_it_has_no_words_of_its_own_for(
    operation: str, params: dict[str, Any], path: str, allowed: str
) -> None:
    given = {"serviceName": "a", "service": "a", **params}
    error = refused("ecs", operation, given)
    assert (error.code, error.message) == (
        "InvalidParameterException",
        f"1 validation error detected: Value 'FOO' at '{path}' failed to satisfy constraint: Member must satisfy enum "
        f"value set: [{allowed}]",
    )


def test_ecs_has_words_of_its_own_for_most_values() -> None:
    accepted("ecs", "CreateService", {"serviceName": "a", "placementStrategy": [{"type": "FOO"}]})
    accepted("ecs", "RegisterTaskDefinition", {"family": "a", "containerDefinitions": [], "networkMode": "FOO"})
