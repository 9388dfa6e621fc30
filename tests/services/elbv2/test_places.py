"""Where load balancers, targets and logs may be: what AWS asks EC2 and S3 about (semantics elbv2 §3.1, §3.4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from moorage.domain.network import Subnet
from moorage.domain.scope import Scope
from moorage.services.elbv2.log_buckets import allows
from moorage.store.tables.elbv2 import LOAD_BALANCERS

from .rig import ACCOUNT, REGION, Rig

ZONES = {"subnet-a": ("10.0.0.0/24", "a"), "subnet-b": ("10.0.1.0/24", "b"), "subnet-b2": ("10.0.2.0/24", "b")}


class Vpcs:
    """vpc-1 reaches the internet; vpc-2 does not. Of `full` subnets, seven addresses are free."""

    def __init__(self) -> None:
        self.full: set[str] = set()

    async def has_internet_gateway(self, scope: Scope, vpc_id: str) -> bool:
        return vpc_id == "vpc-1"

    async def subnets_of(self, scope: Scope, vpc_id: str) -> Sequence[Subnet]:
        return [
            Subnet(
                ACCOUNT,
                REGION,
                name,
                "vpc-1",
                cidr,
                f"{REGION}{zone}",
                host_cidr="10.9.0.0/24" if zone == "a" else None,
            )
            for name, (cidr, zone) in ZONES.items()
            if vpc_id == "vpc-1"
        ]

    def free_addresses(self, subnet: Subnet) -> int:
        return 7 if subnet.subnet_id in self.full else 8


class Buckets:
    def __init__(self) -> None:
        self.policies: dict[str, str] = {}

    async def bucket_policy(self, scope: Scope, bucket: str) -> str | None:
        return self.policies.get(bucket)


@pytest.fixture
def vpcs(elb: Rig) -> Vpcs:
    elb.provider.vpcs = found = Vpcs()
    return found


@pytest.fixture
def buckets(elb: Rig) -> Buckets:
    elb.provider.buckets = found = Buckets()
    return found


async def test_a_way_to_the_internet(elb: Rig, vpcs: Vpcs) -> None:
    there = {"Name": "web", "Subnets": ["subnet-c", "subnet-d"]}
    refusal = await elb.refused("CreateLoadBalancer", **there)
    assert (refusal.code, refusal.message) == ("InvalidSubnet", "VPC vpc-2 has no internet gateway")
    await elb.call("CreateLoadBalancer", **there, Scheme="internal")


async def test_room_for_its_addresses(elb: Rig, vpcs: Vpcs) -> None:
    made = await elb.load_balancer()
    vpcs.full = {"subnet-a", "subnet-b2"}
    refusal = await elb.refused("CreateLoadBalancer", Name="more", Subnets=["subnet-a", "subnet-b"])
    assert (refusal.code, refusal.message) == (
        "InvalidSubnet",
        "Not enough IP space available in subnet-a. ELB requires at least 8 free IP addresses in each subnet.",
    )
    arn = made["LoadBalancerArn"]
    await elb.call("SetSubnets", LoadBalancerArn=arn, Subnets=["subnet-a", "subnet-b"])  # where it is already
    moved = await elb.refused("SetSubnets", LoadBalancerArn=arn, Subnets=["subnet-a", "subnet-b2"])
    assert "subnet-b2" in moved.message


INSIDE = (
    "The IP address '10.0.1.7' is within the VPC, and cannot have its Availability Zone overridden to '{}' from '{}'"
)


@pytest.mark.parametrize(
    ("address", "given", "found"),
    [
        ("10.0.0.7", None, "us-east-1a"),
        ("10.0.1.7", "us-east-1b", "us-east-1b"),
        ("10.9.0.7", None, "us-east-1a"),  # as it is on the host
        ("192.168.0.7", "all", "all"),
        ("192.168.0.7", "us-east-1a", "us-east-1a"),
        (
            "192.168.0.7",
            "us-east-1x",
            "The Availability Zone 'us-east-1x' of IP address '192.168.0.7' must be 'all' or one of the VPC's: "
            "us-east-1a, us-east-1b",
        ),
        ("127.0.0.1", None, None),  # this machine
        ("10.0.1.7", "all", INSIDE.format("all", "us-east-1b")),
        ("10.0.1.7", "us-east-1a", INSIDE.format("us-east-1a", "us-east-1b")),
        (
            "192.168.0.7",
            None,
            "The Availability Zone is required for IP address '192.168.0.7' because it is not in the VPC",
        ),
    ],
)
async def test_zones_of_addresses(elb: Rig, vpcs: Vpcs, address: str, given: str | None, found: str | None) -> None:
    arn = (await elb.target_group())["TargetGroupArn"]
    target = {"Id": address, **({"AvailabilityZone": given} if given else {})}
    if found and " " in found:
        refusal = await elb.refused("RegisterTargets", TargetGroupArn=arn, Targets=[target])
        assert (refusal.code, refusal.message) == ("ValidationError", found)
        return
    await elb.call("RegisterTargets", TargetGroupArn=arn, Targets=[target])
    shown = (await elb.call("DescribeTargetHealth", TargetGroupArn=arn))["TargetHealthDescriptions"][0]["Target"]
    assert shown.get("AvailabilityZone") == found
    await elb.call("DeregisterTargets", TargetGroupArn=arn, Targets=[{"Id": address}])
    assert (await elb.call("DescribeTargetHealth", TargetGroupArn=arn))["TargetHealthDescriptions"] == []


# --- logs --------------------------------------------------------------------------------------------------------------
KEY = "arn:aws:s3:::logs/web/AWSLogs/000000000000/elasticloadbalancing/x"
SERVICE = {"Service": "logdelivery.elasticloadbalancing.amazonaws.com"}


def statement(principal: Any, **other: Any) -> dict[str, Any]:
    return {
        "Effect": "Allow",
        "Principal": principal,
        "Action": "s3:PutObject",
        "Resource": "arn:aws:s3:::logs/web/AWSLogs/000000000000/*",
        **other,
    }


@pytest.mark.parametrize(
    ("statements", "allowed"),
    [
        ([statement(SERVICE)], True),
        (statement(SERVICE), True),
        ([statement({"AWS": "arn:aws:iam::127311923021:root"})], True),
        ([statement({"AWS": ["127311923021"]})], True),
        ([statement({"AWS": "arn:aws:iam::156460612806:root"})], False),  # of another region
        ([statement({"AWS": "arn:aws:iam::000000000000:root"})], False),
        ([statement("*", Action=["s3:Get*", "s3:*"])], True),
        ([statement("*", Action="*", Resource="*")], True),
        ([statement(SERVICE, Action="s3:GetObject")], False),
        ([statement(SERVICE, Resource="arn:aws:s3:::logs/AWSLogs/*")], False),  # without the prefix
        ([statement(SERVICE, Resource="arn:aws:s3:::logs")], False),
        ([statement(SERVICE), statement("*", Effect="Deny")], False),
        (
            [statement(SERVICE), statement("*", Effect="Deny", Condition={"Bool": {"aws:SecureTransport": "false"}})],
            True,
        ),
        ([statement(None)], False),
        ([], False),
        (["nonsense"], False),
    ],
)
def test_policies(statements: Any, allowed: bool) -> None:
    assert allows(msgspec.json.encode({"Statement": statements}).decode(), KEY, REGION) is allowed


@pytest.mark.parametrize("policy", ["", "[", "[]", "1", '{"Statement": 1}'])
def test_what_is_no_policy(policy: str) -> None:
    assert not allows(policy, KEY, REGION)


@pytest.mark.parametrize("kind", ["access_logs", "connection_logs", "health_check_logs"])
async def test_logs_need_a_bucket_that_takes_them(elb: Rig, buckets: Buckets, kind: str) -> None:
    arn = (await elb.load_balancer())["LoadBalancerArn"]

    def change(**values: str) -> dict[str, Any]:
        given = [{"Key": f"{kind}.s3.{name}", "Value": value} for name, value in values.items()]
        return {"LoadBalancerArn": arn, "Attributes": given}

    refusal = await elb.refused("ModifyLoadBalancerAttributes", **change(enabled="true"))
    assert (refusal.code, refusal.message) == ("ValidationError", f"The value of '{kind}.s3.bucket' cannot be empty")
    denied = ("InvalidConfigurationRequest", "Access Denied for bucket: logs. Please check S3bucket permission")
    on = change(enabled="true", bucket="logs", prefix="web")
    for policy in (None, ""):  # no such bucket; no policy
        buckets.policies = {"logs": policy} if policy is not None else {}
        refusal = await elb.refused("ModifyLoadBalancerAttributes", **on)
        assert (refusal.code, refusal.message) == denied
    record = elb.store.get(LOAD_BALANCERS, arn)
    assert record is not None
    assert not record.attributes
    buckets.policies["logs"] = msgspec.json.encode({"Statement": [statement(SERVICE)]}).decode()
    await elb.call("ModifyLoadBalancerAttributes", **on)
    buckets.policies.clear()  # is looked at when something of it changes
    other = [{"Key": "idle_timeout.timeout_seconds", "Value": "30"}]
    await elb.call("ModifyLoadBalancerAttributes", LoadBalancerArn=arn, Attributes=other)
    refusal = await elb.refused("ModifyLoadBalancerAttributes", **change(prefix="other"))
    assert (refusal.code, refusal.message) == denied
    assert "AWSLogs" in (await elb.refused("ModifyLoadBalancerAttributes", **change(prefix="AWSLogs"))).message
    await elb.call("ModifyLoadBalancerAttributes", **change(enabled="false"))


@pytest.mark.parametrize("first", ["attribute", "target"])
async def test_without_cross_zone_balancing_every_target_has_a_zone(elb: Rig, vpcs: Vpcs, first: str) -> None:
    arn = (await elb.target_group())["TargetGroupArn"]
    apart = {"Attributes": [{"Key": "load_balancing.cross_zone.enabled", "Value": "false"}]}
    everywhere = {"Targets": [{"Id": "192.168.0.7", "AvailabilityZone": "all"}]}
    steps = [("ModifyTargetGroupAttributes", apart), ("RegisterTargets", everywhere)]
    (before, given), (after, refused) = steps if first == "attribute" else reversed(steps)
    await elb.call(before, TargetGroupArn=arn, **given)
    assert (await elb.refused(after, TargetGroupArn=arn, **refused)).code == "InvalidConfigurationRequest"
