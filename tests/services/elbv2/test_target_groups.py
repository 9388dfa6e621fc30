"""Target groups and targets: shapes, defaults, refusals (semantics elbv2 §2, §3.4, §4, §5)."""

from __future__ import annotations

from typing import Any

import pytest

from moorage.domain.target_group import TargetHealth
from moorage.store.tables.elbv2 import TARGET_HEALTH, TARGETS

from .rig import Rig

BASE = {"Name": "web", "Protocol": "HTTP", "Port": 80, "VpcId": "vpc-1", "TargetType": "ip"}


async def test_a_new_one_shows_everything(elb: Rig) -> None:
    made = await elb.target_group("web")
    assert made["TargetGroupArn"].startswith("arn:aws:elasticloadbalancing:us-east-1:000000000000:targetgroup/web/")
    assert {key: value for key, value in made.items() if key != "TargetGroupArn"} == {
        "TargetGroupName": "web",
        "Protocol": "HTTP",
        "Port": 80,
        "VpcId": "vpc-1",
        "HealthCheckProtocol": "HTTP",
        "HealthCheckPort": "traffic-port",
        "HealthCheckEnabled": True,
        "HealthCheckIntervalSeconds": 30,
        "HealthCheckTimeoutSeconds": 5,
        "HealthyThresholdCount": 5,
        "UnhealthyThresholdCount": 2,
        "HealthCheckPath": "/",
        "Matcher": {"HttpCode": "200"},
        "LoadBalancerArns": [],
        "TargetType": "ip",
        "ProtocolVersion": "HTTP1",
        "IpAddressType": "ipv4",
    }
    assert (await elb.call("DescribeTargetGroups", Names=["web"]))["TargetGroups"] == [made]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"ProtocolVersion": "GRPC"}, {"HealthCheckPath": "/AWS.ALB/healthcheck", "Matcher": {"GrpcCode": "12"}}),
        ({"Protocol": "TCP"}, {"HealthCheckProtocol": "TCP", "HealthCheckTimeoutSeconds": 10}),
        (
            {"Protocol": "TCP", "HealthCheckProtocol": "HTTP"},
            {"HealthCheckTimeoutSeconds": 6, "Matcher": {"HttpCode": "200-399"}, "HealthCheckPath": "/"},
        ),
        ({"Matcher": {"HttpCode": "200,301-302"}}, {"Matcher": {"HttpCode": "200,301-302"}}),
    ],
)
async def test_health_check_defaults(elb: Rig, params: dict[str, Any], expected: dict[str, Any]) -> None:
    made = await elb.target_group("web", **params)
    assert {key: made[key] for key in expected} == expected


async def test_the_same_again_is_the_same(elb: Rig) -> None:
    first = await elb.target_group("web")
    assert await elb.target_group("web") == first
    refusal = await elb.refused("CreateTargetGroup", **{**BASE, "Port": 81})
    assert refusal.code == "DuplicateTargetGroupName"
    assert refusal.message == "A target group with the same name 'web' exists, but with different settings"


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"Name": "-x"}, "Target group name '-x' cannot begin or end with '-'"),
        ({"Name": "x" * 33}, f"Target group name '{'x' * 33}' cannot be longer than '32' characters"),
        (
            {"Name": "a_b"},
            "Target group name 'a_b' can only contain characters that are alphanumeric characters or hyphens(-)",
        ),
        ({"Port": None}, "A port must be specified"),
        ({"Protocol": None}, "A protocol must be specified"),
        ({"VpcId": None}, "A VPC ID must be specified"),
        ({"VpcId": "vpc-9"}, "The VPC ID 'vpc-9' is not found"),
        ({"TargetType": "lambda"}, "Port cannot be specified for target groups with target type 'lambda'"),
        (
            {"HealthCheckIntervalSeconds": 5},
            "Health check timeout '5' must be smaller than the interval '5'",
        ),
        (
            {"HealthCheckPort": "http"},
            "Health check port 'http' must be 'traffic-port' or a number between '1' and '65535'",
        ),
        (
            {"HealthCheckEnabled": False},
            "Health check enabled must be true for target groups with target type 'ip'",
        ),
        ({"HealthCheckPath": "x"}, "Health check path 'x' must begin with a '/' character"),
        ({"HealthCheckPath": "/a b"}, "Health check path '/a b' must be a valid path"),
        (
            {"Matcher": {"HttpCode": "500"}},
            "Health check matcher HTTP code '500' must be within '200-499' inclusive",
        ),
        ({"Matcher": {"HttpCode": "ok"}}, "Health check matcher 'ok' is not valid"),
        (
            {"Matcher": {"GrpcCode": "12"}},
            "Health check matcher GRPC code can only be specified for target groups with the GRPC protocol version",
        ),
        (
            {"ProtocolVersion": "GRPC", "Matcher": {"HttpCode": "200"}},
            "Health check matcher HTTP code cannot be specified for target groups with the GRPC protocol version",
        ),
        ({"ProtocolVersion": "HTTP3"}, "Protocol version 'HTTP3' must be one of 'GRPC, HTTP1, HTTP2'"),
    ],
)
async def test_refusals(elb: Rig, params: dict[str, Any], message: str) -> None:
    given = {key: value for key, value in {**BASE, **params}.items() if value is not None}
    refusal = await elb.refused("CreateTargetGroup", **given)
    assert (refusal.code, refusal.message) == ("ValidationError", message)
    assert (await elb.call("DescribeTargetGroups"))["TargetGroups"] == []


@pytest.mark.parametrize("params", [{"Matcher": {"HttpCode": "200"}}, {"HealthCheckPath": "/health"}])
async def test_what_a_tcp_check_does_not_have(elb: Rig, params: dict[str, Any]) -> None:
    what = "matchers" if "Matcher" in params else "paths"
    refusal = await elb.refused("CreateTargetGroup", **{**BASE, "Protocol": "TCP"}, **params)
    assert (refusal.code, refusal.message) == (
        "InvalidConfigurationRequest",
        f"Custom health check {what} are not supported for health checks for target groups with the TCP protocol",
    )
    arn = (await elb.target_group("tcp", Protocol="TCP"))["TargetGroupArn"]
    assert (await elb.refused("ModifyTargetGroup", TargetGroupArn=arn, **params)).message == refusal.message
    await elb.call("ModifyTargetGroup", TargetGroupArn=arn, HealthCheckProtocol="HTTP", **params)


async def test_what_there_is_no_data_plane_for(elb: Rig) -> None:
    for params in ({"TargetControlPort": 3000}, {"Protocol": "GENEVE"}, {"Protocol": "QUIC"}):
        assert (await elb.refused("CreateTargetGroup", **{**BASE, **params})).code == "UnsupportedOperation"


async def test_describe_by(elb: Rig) -> None:
    one, two = [await elb.target_group(name) for name in ("one", "two")]
    owner = (await elb.load_balancer())["LoadBalancerArn"]
    await elb.listener(owner, one["TargetGroupArn"])
    of_owner = (await elb.call("DescribeTargetGroups", LoadBalancerArn=owner))["TargetGroups"]
    assert [group["TargetGroupName"] for group in of_owner] == ["one"]
    assert of_owner[0]["LoadBalancerArns"] == [owner]
    both = await elb.call("DescribeTargetGroups", TargetGroupArns=[two["TargetGroupArn"], one["TargetGroupArn"]])
    assert [group["TargetGroupName"] for group in both["TargetGroups"]] == ["one", "two"]
    exclusive = await elb.refused("DescribeTargetGroups", Names=["one"], LoadBalancerArn=owner)
    assert exclusive.message == (
        "Target group names, target group ARNs, and a load balancer ARN cannot be specified at the same time"
    )
    for params in ({"Names": ["three"]}, {"TargetGroupArns": [one["TargetGroupArn"][:-1] + "0"]}):
        refusal = await elb.refused("DescribeTargetGroups", **params)
        assert (refusal.code, refusal.message) == ("TargetGroupNotFound", "One or more target groups not found")


async def test_one_in_use_is_not_deleted(elb: Rig) -> None:
    arn = (await elb.target_group())["TargetGroupArn"]
    listener = await elb.listener((await elb.load_balancer())["LoadBalancerArn"], arn)
    refusal = await elb.refused("DeleteTargetGroup", TargetGroupArn=arn)
    assert refusal.code == "ResourceInUse"
    assert refusal.message == f"Target group '{arn}' is currently in use by a listener or a rule"
    await elb.call("DeleteListener", ListenerArn=listener["ListenerArn"])
    await elb.call("RegisterTargets", TargetGroupArn=arn, Targets=[{"Id": "10.0.0.1"}])
    await elb.call("DeleteTargetGroup", TargetGroupArn=arn)
    assert not elb.store.all(TARGETS)
    assert await elb.call("DeleteTargetGroup", TargetGroupArn=arn) == {}
    gone = await elb.refused("RegisterTargets", TargetGroupArn=arn, Targets=[{"Id": "10.0.0.1"}])
    assert (gone.code, gone.message) == ("TargetGroupNotFound", f"Target groups '{arn}' not found")


async def test_modify_replaces_only_what_is_given(elb: Rig) -> None:
    arn = (await elb.target_group())["TargetGroupArn"]
    changed = await elb.call(
        "ModifyTargetGroup", TargetGroupArn=arn, HealthCheckPath="/health", HealthyThresholdCount=2
    )
    shown = changed["TargetGroups"][0]
    assert (shown["HealthCheckPath"], shown["HealthyThresholdCount"]) == ("/health", 2)
    assert shown["HealthCheckIntervalSeconds"] == 30
    refusal = await elb.refused("ModifyTargetGroup", TargetGroupArn=arn, HealthCheckTimeoutSeconds=30)
    assert refusal.message == "Health check timeout '30' must be smaller than the interval '30'"


async def test_attributes(elb: Rig) -> None:
    arn = (await elb.target_group())["TargetGroupArn"]
    shown = (await elb.call("DescribeTargetGroupAttributes", TargetGroupArn=arn))["Attributes"]
    values = {one["Key"]: one["Value"] for one in shown}
    assert len(values) == len(shown) == 14
    assert values["deregistration_delay.timeout_seconds"] == "300"
    assert values["stickiness.lb_cookie.duration_seconds"] == "86400"
    changed = await elb.call(
        "ModifyTargetGroupAttributes",
        TargetGroupArn=arn,
        Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "5"}],
    )
    assert {"Key": "deregistration_delay.timeout_seconds", "Value": "5"} in changed["Attributes"]


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        (
            [("deregistration_delay.timeout_seconds", "3601")],
            "'deregistration_delay.timeout_seconds' value '3601' must be between '0-3600' inclusive",
        ),
        (
            [("stickiness.enabled", "true"), ("stickiness.type", "app_cookie")],
            "You must set an application cookie name to enable stickiness of type 'app_cookie'",
        ),
        (
            [("slow_start.duration_seconds", "30"), ("slow_start.duration_seconds", "31")],
            "Attribute key 'slow_start.duration_seconds' has been specified more than once",
        ),
        ([("k", "v")], "Target group attribute key 'k' is not recognized"),
    ],
)
async def test_attribute_refusals(elb: Rig, attributes: list[tuple[str, str]], message: str) -> None:
    arn = (await elb.target_group())["TargetGroupArn"]
    given = [{"Key": key, "Value": value} for key, value in attributes]
    refusal = await elb.refused("ModifyTargetGroupAttributes", TargetGroupArn=arn, Attributes=given)
    assert (refusal.code, refusal.message) == ("ValidationError", message)


async def test_the_states_of_a_target(elb: Rig) -> None:
    arn = (await elb.target_group())["TargetGroupArn"]
    await elb.call("RegisterTargets", TargetGroupArn=arn, Targets=[{"Id": "10.0.0.1"}, {"Id": "10.0.0.1", "Port": 81}])

    async def health(**params: Any) -> list[tuple[str, str | None, str | None]]:
        shown = await elb.call("DescribeTargetHealth", TargetGroupArn=arn, **params)
        return [
            (one["TargetHealth"]["State"], one["TargetHealth"].get("Reason"), one["TargetHealth"].get("Description"))
            for one in shown["TargetHealthDescriptions"]
        ]

    not_used = (
        "unused",
        "Target.NotInUse",
        "Target group is not configured to receive traffic from the load balancer",
    )
    assert await health() == [not_used, not_used]
    await elb.listener((await elb.load_balancer())["LoadBalancerArn"], arn)
    registering = ("initial", "Elb.RegistrationInProgress", "Target registration is in progress")
    assert await health() == [registering, registering]

    found = TargetHealth(arn, "10.0.0.1", 80, "healthy", since=elb.clock.now(), registered_at=elb.clock.now())
    await elb.store.update(lambda tx: tx.put(TARGET_HEALTH, found))
    assert await health(Targets=[{"Id": "10.0.0.1", "Port": 80}]) == [("healthy", None, None)]
    assert await health(Targets=[{"Id": "10.0.0.9"}]) == [
        ("unused", "Target.NotRegistered", "Target is not registered to the target group")
    ]

    await elb.call("DeregisterTargets", TargetGroupArn=arn, Targets=[{"Id": "10.0.0.1"}, {"Id": "10.9.9.9"}])
    draining = ("draining", "Target.DeregistrationInProgress", "Target deregistration is in progress")
    assert await health() == [draining, registering]

    elb.clock.time += 1  # registered again: draining is cancelled, and the old health counts no more
    await elb.call("RegisterTargets", TargetGroupArn=arn, Targets=[{"Id": "10.0.0.1"}])
    assert await health() == [registering, registering]


async def test_a_zone_that_is_not_enabled(elb: Rig) -> None:
    arn = (await elb.target_group())["TargetGroupArn"]
    await elb.listener((await elb.load_balancer())["LoadBalancerArn"], arn)
    targets = [{"Id": "10.0.0.1", "AvailabilityZone": zone} for zone in ("us-east-1c",)]
    await elb.call("RegisterTargets", TargetGroupArn=arn, Targets=targets)
    shown = (await elb.call("DescribeTargetHealth", TargetGroupArn=arn))["TargetHealthDescriptions"][0]
    assert shown["Target"] == {"Id": "10.0.0.1", "Port": 80, "AvailabilityZone": "us-east-1c"}
    assert shown["HealthCheckPort"] == "80"
    assert shown["TargetHealth"]["Description"] == (
        "Target is in an Availability Zone that is not enabled for the load balancer"
    )
    assert shown["AdministrativeOverride"]["State"] == "no_override"
    assert "AnomalyDetection" not in shown
    more = await elb.call("DescribeTargetHealth", TargetGroupArn=arn, Include=["AnomalyDetection"])
    assert more["TargetHealthDescriptions"][0]["AnomalyDetection"]["Result"] == "normal"


async def test_unused_targets_leave_at_once(elb: Rig) -> None:
    arn = (await elb.target_group())["TargetGroupArn"]
    await elb.call("RegisterTargets", TargetGroupArn=arn, Targets=[{"Id": "10.0.0.1"}])
    await elb.call("DeregisterTargets", TargetGroupArn=arn, Targets=[{"Id": "10.0.0.1"}])
    assert not elb.store.all(TARGETS)


@pytest.mark.parametrize(
    ("kind", "target", "code", "message"),
    [
        ("ip", "10.0.0", "ValidationError", "The IP address '10.0.0' is not a valid IPv4 address"),
        (
            "ip",
            "8.8.8.8",
            "InvalidTarget",
            "The IP address '8.8.8.8' is not within the VPC CIDR or one of the ranges 10.0.0.0/8, 100.64.0.0/10, "
            "172.16.0.0/12 and 192.168.0.0/16",
        ),
        (
            "instance",
            "i-1",
            "InvalidTarget",
            "The following targets are not in a running state and cannot be registered: 'i-1'",
        ),
    ],
)
async def test_targets_that_cannot_be(elb: Rig, kind: str, target: str, code: str, message: str) -> None:
    arn = (await elb.target_group(TargetType=kind))["TargetGroupArn"]
    refusal = await elb.refused("RegisterTargets", TargetGroupArn=arn, Targets=[{"Id": target}])
    assert (refusal.code, refusal.message) == (code, message)


@pytest.mark.parametrize(
    ("group", "target", "message"),
    [
        (
            {"TargetType": "instance"},
            {"Id": "i-1", "AvailabilityZone": "us-east-1a"},
            "Availability Zone cannot be specified for targets of target groups with target type 'instance'",
        ),
        (
            {},
            {"Id": "10.0.0.1", "QuicServerId": "0x0123456789abcdef"},
            "A QUIC server ID can only be specified for target groups with the QUIC protocols",
        ),
    ],
)
async def test_members_that_a_target_cannot_have(
    elb: Rig, group: dict[str, Any], target: dict[str, Any], message: str
) -> None:
    arn = (await elb.target_group(**group))["TargetGroupArn"]
    for operation in ("RegisterTargets", "DeregisterTargets"):
        refusal = await elb.refused(operation, TargetGroupArn=arn, Targets=[target])
        assert (refusal.code, refusal.message) == ("ValidationError", message)
        nobody = await elb.refused(operation, TargetGroupArn=arn, Targets=[])
        assert (nobody.code, nobody.message) == ("ValidationError", "A target must be specified")


async def test_functions_are_in_every_zone(elb: Rig) -> None:
    made = await elb.call("CreateTargetGroup", Name="fn", TargetType="lambda")
    arn, function = made["TargetGroups"][0]["TargetGroupArn"], "arn:aws:lambda:us-east-1:000000000000:function:hello"
    target = {"Id": function, "AvailabilityZone": "us-east-1a"}
    refusal = await elb.refused("RegisterTargets", TargetGroupArn=arn, Targets=[target])
    assert refusal.message == (
        "The Availability Zone 'us-east-1a' must be 'all' for target groups with target type 'lambda'"
    )
    await elb.call("RegisterTargets", TargetGroupArn=arn, Targets=[{**target, "AvailabilityZone": "all"}])


async def test_nobody_in_particular_is_everybody(elb: Rig) -> None:
    arn = (await elb.target_group())["TargetGroupArn"]
    await elb.call("RegisterTargets", TargetGroupArn=arn, Targets=[{"Id": "10.0.0.1"}])
    shown = await elb.call("DescribeTargetHealth", TargetGroupArn=arn, Targets=[])
    assert [one["Target"]["Id"] for one in shown["TargetHealthDescriptions"]] == ["10.0.0.1"]
