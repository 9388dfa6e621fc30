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
    """`code`: the error code; `missing_codes`: another one by operation, for required members that are not there. `words`:
    "generic" is `1 validation error detected: Value …`, "ecr" is `Invalid parameter at …`, "ec2" is `The request must
    contain the parameter …`. `own_enums`: shapes whose values the service checks itself."""

    code: str
    checks: frozenset[Constraint] = ALL
    words: Literal["generic", "ecr", "ec2"] = "generic"
    missing_codes: Mapping[str, str] = {}
    own_enums: frozenset[str] = frozenset()


# Refused in ECS's own sentences, or taken for something (any other protocol of a port mapping is tcp).
_ENUMS_OF_ECS = frozenset(
    (
        "ClusterSettingName", "ContainerInstanceStatus", "DeploymentControllerType", "DeploymentLifecycleHookAction",
        "DeploymentLifecycleHookTargetType", "FirelensConfigurationType", "IpcMode", "LogDriver", "NetworkMode", "PidMode",
        "PlacementConstraintType", "PlacementStrategyType", "ScaleUnit", "ServiceRevisionCleanup", "SettingName",
        "StopServiceDeploymentStopType", "TaskDefinitionPlacementConstraintType", "TaskFilesystemType", "ThresholdType",
        "TransportProtocol", "UlimitName",
    )
)  # fmt: skip

POLICIES: dict[str, Policy] = {
    # ECS checks meaning itself, in words of its own (semantics/ecs-task-definitions §4): the wire only sees to shape.
    "ecs": Policy(
        "InvalidParameterException",
        frozenset(("required", "enum")),
        missing_codes={"RegisterTaskDefinition": "ClientException"},
        own_enums=_ENUMS_OF_ECS,
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
