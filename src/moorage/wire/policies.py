"""How each service answers parameters that break its model: which constraints it checks at all, with which code and words.

Only a table. A service without a row does what most of AWS does: every constraint, in the generic words.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

Constraint = Literal["required", "enum", "range", "length", "pattern"]
ALL: frozenset[Constraint] = frozenset(("required", "enum", "range", "length", "pattern"))
REQUIRED: frozenset[Constraint] = frozenset(("required",))


class Policy(msgspec.Struct, frozen=True):
    """`code` (and `codes` by operation): the error code. `words`: "generic" is `1 validation error detected: Value …`,
    "ecr" is `Invalid parameter at …`, "ec2" is `The request must contain the parameter …`. `enums`: shapes whose values are
    checked although other enums of the service are not."""

    code: str
    checks: frozenset[Constraint] = ALL
    words: Literal["generic", "ecr", "ec2"] = "generic"
    codes: Mapping[str, str] = {}
    enums: frozenset[str] = frozenset()

    def code_of(self, operation: str) -> str:
        return self.codes.get(operation, self.code)


_ECS_ENUMS = frozenset(
    (
        "AssignPublicIp",
        "AvailabilityZoneRebalancing",
        "CapacityProviderField",
        "DeploymentLifecycleHookStage",
        "DeploymentStrategy",
        "LaunchType",
        "ManagedDraining",
        "ManagedScalingStatus",
        "ManagedTerminationProtection",
        "PropagateTags",
        "ResourceManagementType",
        "SchedulingStrategy",
        "ServiceDeploymentStatus",
        "ServiceField",
        "TaskSetField",
    )
)
"""Enums of services, deployments and capacity providers that ECS has no words of its own for."""

POLICIES: dict[str, Policy] = {
    # ECS checks meaning itself, in words of its own (semantics/ecs-task-definitions §4): the wire only sees to shape.
    "ecs": Policy(
        "InvalidParameterException",
        REQUIRED,
        codes={"RegisterTaskDefinition": "ClientException"},
        enums=_ECS_ENUMS,
    ),
    "ecr": Policy("InvalidParameterException", words="ecr"),
    "elbv2": Policy("ValidationError"),
    "logs": Policy("InvalidParameterException"),
    "ec2": Policy("MissingParameter", REQUIRED, words="ec2"),
    "sqs": Policy("MissingParameter", REQUIRED, words="ec2"),
    "cloudwatch": Policy("ValidationError"),
    "servicediscovery": Policy("InvalidInput"),
    "route53": Policy("InvalidInput"),
    "sns": Policy("InvalidParameter"),
    "s3": Policy("InvalidRequest", REQUIRED),
}

_BY_PROTOCOL: dict[str, Policy] = {
    "query": Policy("ValidationError"),
    "ec2": POLICIES["ec2"],
    "rest-xml": Policy("InvalidInput"),
}
_DEFAULT = Policy("ValidationException")


def policy_of(service: str, protocol: str) -> Policy:
    return POLICIES.get(service) or _BY_PROTOCOL.get(protocol, _DEFAULT)
