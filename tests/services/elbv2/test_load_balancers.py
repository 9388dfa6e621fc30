"""Load balancers: shapes, defaults, idempotency, refusals (semantics elbv2 §1–§4)."""

from __future__ import annotations

import re
from typing import Any

import pytest

from .rig import Rig


async def test_a_new_one_shows_everything(elb: Rig) -> None:
    made = await elb.load_balancer("web")
    assert re.fullmatch(
        r"arn:aws:elasticloadbalancing:us-east-1:0{12}:loadbalancer/app/web/[0-9a-f]{16}", made["LoadBalancerArn"]
    )
    assert re.fullmatch(r"web-\d{9,10}\.us-east-1\.elb\.localhost", made["DNSName"])
    assert made["State"] == {"Code": "provisioning"}
    assert made["Scheme"] == "internet-facing"
    assert made["Type"] == "application"
    assert made["IpAddressType"] == "ipv4"
    assert made["VpcId"] == "vpc-1"
    assert made["SecurityGroups"] == ["sg-1"]
    assert made["CanonicalHostedZoneId"] == "Z35SXDOTRQ7X7K"
    assert [zone["ZoneName"] for zone in made["AvailabilityZones"]] == ["us-east-1a", "us-east-1b"]
    assert (await elb.call("DescribeLoadBalancers"))["LoadBalancers"] == [made]
    assert (await elb.call("DescribeLoadBalancers", Names=["web"]))["LoadBalancers"] == [made]
    assert (await elb.call("DescribeLoadBalancers", LoadBalancerArns=[made["LoadBalancerArn"]]))["LoadBalancers"] == [
        made
    ]


async def test_internal_names_begin_with_internal(elb: Rig) -> None:
    made = await elb.load_balancer("web", Scheme="internal")
    assert made["DNSName"].startswith("internal-web-")
    attributes = await elb.call("DescribeLoadBalancerAttributes", LoadBalancerArn=made["LoadBalancerArn"])
    assert {"Key": "ipv6.deny_all_igw_traffic", "Value": "true"} in attributes["Attributes"]


async def test_the_same_again_is_the_same(elb: Rig) -> None:
    first = await elb.load_balancer("web")
    assert await elb.load_balancer("web") == first
    refusal = await elb.refused("CreateLoadBalancer", Name="web", Subnets=["subnet-a", "subnet-b"], Scheme="internal")
    assert refusal.code == "DuplicateLoadBalancerName"
    assert refusal.message == "A load balancer with the same name 'web' exists, but with different settings"
    tagged = await elb.refused(
        "CreateLoadBalancer", Name="web", Subnets=["subnet-a", "subnet-b"], Tags=[{"Key": "a", "Value": "b"}]
    )
    assert tagged.code == "DuplicateLoadBalancerName"


async def test_every_one_has_its_own_address_the_lowest_free(elb: Rig) -> None:
    from moorage.store.tables.elbv2 import LOAD_BALANCERS

    made = [await elb.load_balancer(name) for name in ("one", "two", "three")]
    elsewhere = await elb.call(
        "CreateLoadBalancer", account="111111111111", region="eu-west-1", Name="one", Subnets=["subnet-a", "subnet-b"]
    )
    arns = [one["LoadBalancerArn"] for one in (*made, elsewhere["LoadBalancers"][0])]
    assert [elb.store.get(LOAD_BALANCERS, arn).loopback for arn in arns] == [f"127.0.10.{n}" for n in (1, 2, 3, 4)]  # type: ignore[union-attr]
    await elb.call("DeleteLoadBalancer", LoadBalancerArn=arns[1])
    again = await elb.load_balancer("four")
    assert elb.store.get(LOAD_BALANCERS, again["LoadBalancerArn"]).loopback == "127.0.10.2"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("params", "code", "message"),
    [
        (
            {"Name": "internal-x"},
            "ValidationError",
            "The load balancer name 'internal-x' cannot begin with 'internal-'",
        ),
        ({"Name": "x-"}, "ValidationError", "The load balancer name 'x-' cannot end with a hyphen(-)"),
        ({"Name": "-x"}, "ValidationError", "The load balancer name '-x' cannot begin with a hyphen(-)"),
        (
            {"Name": "x" * 33},
            "ValidationError",
            f"The load balancer name '{'x' * 33}' cannot be longer than '32' characters",
        ),
        (
            {"Name": "a_b"},
            "ValidationError",
            "The load balancer name 'a_b' can only contain characters that are alphanumeric characters or hyphens(-)",
        ),
        (
            {"Subnets": ["subnet-a"]},
            "ValidationError",
            "At least two subnets in two different Availability Zones must be specified",
        ),
        (
            {"Subnets": []},
            "ValidationError",
            "At least two subnets in two different Availability Zones must be specified",
        ),
        (
            {"Subnets": ["subnet-b", "subnet-b2"]},
            "InvalidConfigurationRequest",
            "A load balancer cannot be attached to multiple subnets in the same Availability Zone",
        ),
        (
            {"Subnets": ["subnet-a subnet-b"]},  # a shell that did not split them
            "InvalidSubnet",
            "The subnet ID 'subnet-a subnet-b' is not valid",
        ),
        ({"Subnets": ["subnet-a", "10.0.0.0/24"]}, "InvalidSubnet", "The subnet ID '10.0.0.0/24' is not valid"),
        ({"Subnets": ["subnet-a", "subnet-x"]}, "SubnetNotFound", "The subnet ID 'subnet-x' does not exist"),
        (
            {"Subnets": ["subnet-a", "subnet-d"]},
            "InvalidConfigurationRequest",
            "The following subnets are not in VPC 'vpc-1': subnet-d",
        ),
        ({"SecurityGroups": ["sg-9"]}, "InvalidConfigurationRequest", "One or more security groups are invalid"),
        ({"SecurityGroups": ["sg-3"]}, "InvalidConfigurationRequest", "One or more security groups are invalid"),
        ({"Tags": [{"Key": "a"}, {"Key": "a"}]}, "DuplicateTagKeys", "Tag key 'a' was specified more than once"),
        (
            {"Type": "gateway"},
            "UnsupportedOperation",
            "Moorage has no data plane for load balancers of type 'gateway'; use 'network'",
        ),
    ],
)
async def test_refusals(elb: Rig, params: dict[str, Any], code: str, message: str) -> None:
    refusal = await elb.refused("CreateLoadBalancer", **{"Name": "web", "Subnets": ["subnet-a", "subnet-b"], **params})
    assert (refusal.code, refusal.message) == (code, message)
    assert (await elb.call("DescribeLoadBalancers"))["LoadBalancers"] == []


async def test_not_found_and_not_valid(elb: Rig) -> None:
    unknown = "arn:aws:elasticloadbalancing:us-east-1:000000000000:loadbalancer/app/web/0123456789abcdef"
    by_name = await elb.refused("DescribeLoadBalancers", Names=["web"])
    assert (by_name.code, by_name.message) == ("LoadBalancerNotFound", "Load balancers '[web]' not found")
    by_arn = await elb.refused("DescribeLoadBalancers", LoadBalancerArns=[unknown])
    assert (by_arn.code, by_arn.message) == ("LoadBalancerNotFound", f"Load balancers '[{unknown}]' not found")
    malformed = await elb.refused("DescribeLoadBalancers", LoadBalancerArns=["web"])
    assert (malformed.code, malformed.message) == ("ValidationError", "'web' is not a valid load balancer ARN")
    assert await elb.call("DeleteLoadBalancer", LoadBalancerArn=unknown) == {}


async def test_other_accounts_and_regions_see_nothing(elb: Rig) -> None:
    made = await elb.load_balancer("web")
    assert (await elb.call("DescribeLoadBalancers", account="111111111111"))["LoadBalancers"] == []
    arn = made["LoadBalancerArn"]
    for elsewhere in ({"region": "eu-west-1"}, {"account": "111111111111"}):
        for operation, params in (
            ("DescribeLoadBalancers", {"LoadBalancerArns": [arn]}),
            ("DeleteLoadBalancer", {"LoadBalancerArn": arn}),
        ):
            refusal = await elb.refused(operation, **elsewhere, **params)
            assert (refusal.code, refusal.message) == ("ValidationError", f"'{arn}' is not a valid load balancer ARN")
    assert (await elb.call("DescribeLoadBalancers"))["LoadBalancers"] == [made]


async def test_paging(elb: Rig) -> None:
    for number in range(5):
        await elb.load_balancer(f"lb{number}")
    first = await elb.call("DescribeLoadBalancers", PageSize=2)
    assert [one["LoadBalancerName"] for one in first["LoadBalancers"]] == ["lb0", "lb1"]
    await elb.call("DeleteLoadBalancer", LoadBalancerArn=first["LoadBalancers"][1]["LoadBalancerArn"])
    second = await elb.call("DescribeLoadBalancers", PageSize=2, Marker=first["NextMarker"])
    assert [one["LoadBalancerName"] for one in second["LoadBalancers"]] == ["lb2", "lb3"]
    third = await elb.call("DescribeLoadBalancers", PageSize=2, Marker=second["NextMarker"])
    assert [one["LoadBalancerName"] for one in third["LoadBalancers"]] == ["lb4"]
    assert "NextMarker" not in third
    assert (await elb.refused("DescribeLoadBalancers", Marker="?")).code == "ValidationError"


async def test_deletion_takes_listeners_and_rules_but_not_target_groups(elb: Rig) -> None:
    from moorage.store.tables.elbv2 import LISTENERS, RULES, TARGET_GROUP_USES

    arn = (await elb.load_balancer())["LoadBalancerArn"]
    group = (await elb.target_group())["TargetGroupArn"]
    listener = await elb.listener(arn, group)
    await elb.rule(listener["ListenerArn"])
    await elb.call("DeleteLoadBalancer", LoadBalancerArn=arn)
    for table in (LISTENERS, RULES, TARGET_GROUP_USES):
        assert not elb.store.all(table)
    shown = (await elb.call("DescribeTargetGroups", Names=["web"]))["TargetGroups"][0]
    assert shown["LoadBalancerArns"] == []


async def test_deletion_protection(elb: Rig) -> None:
    arn = (await elb.load_balancer())["LoadBalancerArn"]
    key = "deletion_protection.enabled"
    changed = await elb.call(
        "ModifyLoadBalancerAttributes", LoadBalancerArn=arn, Attributes=[{"Key": key, "Value": "true"}]
    )
    assert {"Key": key, "Value": "true"} in changed["Attributes"]
    refusal = await elb.refused("DeleteLoadBalancer", LoadBalancerArn=arn)
    assert refusal.code == "OperationNotPermitted"
    assert refusal.message == f"Load balancer '{arn}' cannot be deleted because deletion protection is enabled"
    await elb.call("ModifyLoadBalancerAttributes", LoadBalancerArn=arn, Attributes=[{"Key": key, "Value": "false"}])
    await elb.call("DeleteLoadBalancer", LoadBalancerArn=arn)
    assert (await elb.call("DescribeLoadBalancers"))["LoadBalancers"] == []


@pytest.mark.parametrize(
    ("key", "value", "code", "message"),
    [
        ("nonsense", "1", "ValidationError", "Load balancer attribute key 'nonsense' is not recognized"),
        (
            "dns_record.client_routing_policy",
            "any_availability_zone",
            "InvalidConfigurationRequest",
            "Load balancer attribute key 'dns_record.client_routing_policy' is not supported on load balancers with type "
            "'application'",
        ),
        (
            "idle_timeout.timeout_seconds",
            "4001",
            "ValidationError",
            "'idle_timeout.timeout_seconds' value '4001' must be between '1-4000' inclusive",
        ),
        (
            "routing.http2.enabled",
            "maybe",
            "ValidationError",
            "'routing.http2.enabled' value 'maybe' must be one of 'true, false'",
        ),
    ],
)
async def test_attribute_refusals_change_nothing(elb: Rig, key: str, value: str, code: str, message: str) -> None:
    arn = (await elb.load_balancer())["LoadBalancerArn"]
    before = await elb.call("DescribeLoadBalancerAttributes", LoadBalancerArn=arn)
    good = {"Key": "idle_timeout.timeout_seconds" if key != "idle_timeout.timeout_seconds" else "routing.http2.enabled"}
    good["Value"] = "30" if good["Key"].startswith("idle") else "false"
    refusal = await elb.refused(
        "ModifyLoadBalancerAttributes", LoadBalancerArn=arn, Attributes=[good, {"Key": key, "Value": value}]
    )
    assert (refusal.code, refusal.message) == (code, message)
    assert await elb.call("DescribeLoadBalancerAttributes", LoadBalancerArn=arn) == before


async def test_subnets_security_groups_and_address_type_can_be_set(elb: Rig) -> None:
    arn = (await elb.load_balancer())["LoadBalancerArn"]
    zones = await elb.call("SetSubnets", LoadBalancerArn=arn, Subnets=["subnet-a", "subnet-b2"])
    assert [zone["SubnetId"] for zone in zones["AvailabilityZones"]] == ["subnet-a", "subnet-b2"]
    assert (await elb.refused("SetSubnets", LoadBalancerArn=arn, Subnets=["subnet-c", "subnet-d"])).code == (
        "InvalidConfigurationRequest"
    )
    groups = await elb.call("SetSecurityGroups", LoadBalancerArn=arn, SecurityGroups=["sg-2"])
    assert groups == {"SecurityGroupIds": ["sg-2"]}
    assert await elb.call("SetIpAddressType", LoadBalancerArn=arn, IpAddressType="ipv4") == {"IpAddressType": "ipv4"}
    assert (await elb.refused("SetIpAddressType", LoadBalancerArn=arn, IpAddressType="dualstack")).code == (
        "UnsupportedOperation"
    )
    assert (await elb.call("DescribeCapacityReservation", LoadBalancerArn=arn))["CapacityReservationState"] == []


async def test_tags(elb: Rig) -> None:
    arn = (await elb.load_balancer(Tags=[{"Key": "a", "Value": "1"}]))["LoadBalancerArn"]
    listener = await elb.listener(arn)
    rules = await elb.call("DescribeRules", ListenerArn=listener["ListenerArn"])
    default = rules["Rules"][0]["RuleArn"]
    for resource in (arn, listener["ListenerArn"], default):
        await elb.call("AddTags", ResourceArns=[resource], Tags=[{"Key": "b", "Value": "2"}, {"Key": "c"}])
        await elb.call("RemoveTags", ResourceArns=[resource], TagKeys=["c"])
    shown = await elb.call("DescribeTags", ResourceArns=[arn, listener["ListenerArn"], default])
    assert [one["Tags"] for one in shown["TagDescriptions"]] == [
        [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}],
        [{"Key": "b", "Value": "2"}],
        [{"Key": "b", "Value": "2"}],
    ]
    many = [{"Key": f"k{n}", "Value": ""} for n in range(49)]
    assert (await elb.refused("AddTags", ResourceArns=[arn], Tags=many)).code == "TooManyTags"


@pytest.mark.parametrize(
    ("kind", "zone"), [("application", "Z06391101F2ZOEP8P5EB3"), ("network", "Z02239872DOALSIDCX66S")]
)
async def test_the_hosted_zone_is_that_of_region_and_type(elb: Rig, kind: str, zone: str) -> None:
    made = await elb.call(
        "CreateLoadBalancer", region="eu-central-2", Name="web", Type=kind, Subnets=["subnet-a", "subnet-b"]
    )
    assert made["LoadBalancers"][0]["CanonicalHostedZoneId"] == zone


async def test_the_limits_of_an_account(elb: Rig) -> None:
    shown = (await elb.call("DescribeAccountLimits"))["Limits"]
    limits = {one["Name"]: one["Max"] for one in shown}
    assert len(limits) == len(shown) == 23
    assert limits["application-load-balancers"] == "50"
    assert limits["network-load-balancer-enis-per-vpc"] == "1200"
    assert shown[0] == {"Name": "target-groups", "Max": "3000"}
    first = await elb.call("DescribeAccountLimits", PageSize=20)
    rest = await elb.call("DescribeAccountLimits", PageSize=20, Marker=first["NextMarker"])
    assert [*first["Limits"], *rest["Limits"]] == shown


async def test_policies(elb: Rig) -> None:
    shown = (await elb.call("DescribeSSLPolicies"))["SslPolicies"]
    by_name = {one["Name"]: one for one in shown}
    assert len(by_name) == len(shown) == 42
    default = by_name["ELBSecurityPolicy-2016-08"]
    assert default["SslProtocols"] == ["TLSv1", "TLSv1.1", "TLSv1.2"]
    assert [one["Priority"] for one in default["Ciphers"]] == list(range(1, 19))
    assert default["SupportedLoadBalancerTypes"] == ["application", "network"]
    named = await elb.call("DescribeSSLPolicies", Names=[default["Name"]])
    assert named["SslPolicies"] == [default]
    for kind, count in (("application", 41), ("network", 42), ("gateway", 0)):
        assert len((await elb.call("DescribeSSLPolicies", LoadBalancerType=kind))["SslPolicies"]) == count
    first = await elb.call("DescribeSSLPolicies", PageSize=40)
    rest = await elb.call("DescribeSSLPolicies", PageSize=40, Marker=first["NextMarker"])
    assert [*first["SslPolicies"], *rest["SslPolicies"]] == shown
    refusal = await elb.refused("DescribeSSLPolicies", Names=["x"])
    assert (refusal.code, refusal.message) == ("SSLPolicyNotFound", "SSL policy 'x' not found")
