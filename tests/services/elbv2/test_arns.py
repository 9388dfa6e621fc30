"""ARNs that name nothing: every operation that takes one tells what it is not, in AWS's words (semantics elbv2 §1, §2)."""

from __future__ import annotations

from typing import Any

import pytest

from .rig import ACCOUNT, MODEL, REGION, Rig, certificate, fixed, path

PREFIX = f"arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:"
ID = "0123456789abcdef"
UNKNOWN = {
    "load balancer": f"{PREFIX}loadbalancer/app/web/{ID}",
    "target group": f"{PREFIX}targetgroup/web/{ID}",
    "listener": f"{PREFIX}listener/app/web/{ID}/{ID}",
    "listener rule": f"{PREFIX}listener-rule/app/web/{ID}/{ID}/{ID}",
    "trust store": f"{PREFIX}truststore/web/{ID}",
}
KIND_OF = {
    "LoadBalancerArn": "load balancer",
    "LoadBalancerArns": "load balancer",
    "TargetGroupArn": "target group",
    "TargetGroupArns": "target group",
    "ListenerArn": "listener",
    "ListenerArns": "listener",
    "RuleArn": "listener rule",
    "RuleArns": "listener rule",
    "TrustStoreArn": "trust store",
    "TrustStoreArns": "trust store",
}
BUNDLE = {"CaCertificatesBundleS3Bucket": "b", "CaCertificatesBundleS3Key": "ca.pem"}
BESIDE: dict[str, dict[str, Any]] = {
    "AddListenerCertificates": {"Certificates": [{"CertificateArn": certificate("one")}]},
    "CreateListener": {"Protocol": "HTTP", "Port": 80, "DefaultActions": [fixed()]},
    "CreateRule": {"Priority": 1, "Conditions": [path("/")], "Actions": [fixed()]},
    "DeleteSharedTrustStoreAssociation": {"ResourceArn": UNKNOWN["load balancer"]},
    "DeregisterTargets": {"Targets": [{"Id": "10.0.0.1"}]},
    "GetTrustStoreRevocationContent": {"RevocationId": 1},
    "ModifyListenerAttributes": {"Attributes": []},
    "ModifyLoadBalancerAttributes": {"Attributes": []},
    "ModifyTargetGroupAttributes": {"Attributes": []},
    "ModifyTrustStore": BUNDLE,
    "RegisterTargets": {"Targets": [{"Id": "10.0.0.1"}]},
    "RemoveListenerCertificates": {"Certificates": [{"CertificateArn": certificate("one")}]},
    "RemoveTrustStoreRevocations": {"RevocationIds": [1]},
    "SetIpAddressType": {"IpAddressType": "ipv4"},
    "SetSecurityGroups": {"SecurityGroups": ["sg-1"]},
    "SetSubnets": {"Subnets": ["subnet-a", "subnet-b"]},
}
"""What else an operation must be given."""
NOTHING_TO_DELETE = ("DeleteLoadBalancer", "DeleteTargetGroup")


def _places() -> list[tuple[str, str]]:
    """(operation, member) of every ARN at the top of a request."""
    found = []
    for operation in MODEL.operation_names:
        shape = MODEL.operation_model(operation).input_shape
        found += [(operation, member) for member in (shape.members if shape is not None else ()) if member in KIND_OF]
    return found


def _given(operation: str, member: str, arn: str) -> dict[str, Any]:
    return {**BESIDE.get(operation, {}), member: [arn] if member.endswith("s") else arn}


@pytest.mark.parametrize(("operation", "member"), _places())
async def test_what_is_no_arn_of_this_kind(elb: Rig, operation: str, member: str) -> None:
    kind = KIND_OF[member]
    others = [arn for other, arn in UNKNOWN.items() if other != kind]
    foreign = [UNKNOWN[kind].replace(REGION, "eu-west-1"), UNKNOWN[kind].replace(ACCOUNT, "111111111111")]
    for wrong in ("web", f"{PREFIX}loadbalancer/classic", *others, *(foreign if kind != "trust store" else [])):
        refusal = await elb.refused(operation, **_given(operation, member, wrong))
        assert (refusal.code, refusal.message) == ("ValidationError", f"'{wrong}' is not a valid {kind} ARN")


@pytest.mark.parametrize(("operation", "member"), _places())
async def test_what_is_not_there(elb: Rig, operation: str, member: str) -> None:
    kind = KIND_OF[member]
    arn = UNKNOWN[kind]
    if operation in NOTHING_TO_DELETE:
        assert await elb.call(operation, **_given(operation, member, arn)) == {}
        return
    refusal = await elb.refused(operation, **_given(operation, member, arn))
    several = "One or more target groups not found"
    assert (refusal.code, refusal.message) == {
        "load balancer": ("LoadBalancerNotFound", f"Load balancers '[{arn}]' not found"),
        "target group": (
            "TargetGroupNotFound",
            several if operation == "DescribeTargetGroups" else f"Target groups '{arn}' not found",
        ),
        "listener": ("ListenerNotFound", "One or more listeners not found"),
        "listener rule": ("RuleNotFound", "One or more rules not found"),
        "trust store": ("TrustStoreNotFound", f"Trust store '{arn}' not found"),
    }[kind]


@pytest.mark.parametrize("operation", ["AddTags", "RemoveTags", "DescribeTags"])
async def test_tags_of_nothing(elb: Rig, operation: str) -> None:
    beside = {"AddTags": {"Tags": [{"Key": "a"}]}, "RemoveTags": {"TagKeys": ["a"]}}.get(operation, {})
    codes = [(await elb.refused(operation, ResourceArns=[arn], **beside)).code for arn in UNKNOWN.values()]
    assert codes == [
        "LoadBalancerNotFound", "TargetGroupNotFound", "ListenerNotFound", "RuleNotFound", "TrustStoreNotFound"
    ]  # fmt: skip
    for wrong in ("web", f"{PREFIX}loadbalancer/classic", "arn:aws:ecs:us-east-1:000000000000:cluster/c"):
        refusal = await elb.refused(operation, ResourceArns=[wrong], **beside)
        assert (refusal.code, refusal.message) == ("ValidationError", f"'{wrong}' is not a valid ARN")
