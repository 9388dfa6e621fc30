"""The attributes of every kind of thing: all with their defaults, and what depends on the kind (semantics elbv2 §4)."""

from __future__ import annotations

from typing import Any

import pytest

from .rig import Rig, certificate, fixed, forward

LOGS = {"access_logs.s3.enabled": "false", "access_logs.s3.bucket": "", "access_logs.s3.prefix": ""}
MORE_LOGS = {key.replace("access", kind): LOGS[key] for kind in ("connection", "health_check") for key in LOGS}
LOAD_BALANCER = {
    **LOGS,
    "deletion_protection.enabled": "false",
    "ipv6.deny_all_igw_traffic": "false",
    "zonal_shift.config.enabled": "false",
}
APPLICATION = {
    **LOAD_BALANCER,
    **MORE_LOGS,
    "client_keep_alive.seconds": "3600",
    "idle_timeout.timeout_seconds": "60",
    "load_balancing.cross_zone.enabled": "true",
    "routing.http.desync_mitigation_mode": "defensive",
    "routing.http.drop_invalid_header_fields.enabled": "false",
    "routing.http.preserve_host_header.enabled": "false",
    "routing.http.x_amzn_tls_version_and_cipher_suite.enabled": "false",
    "routing.http.xff_client_port.enabled": "false",
    "routing.http.xff_header_processing.mode": "append",
    "routing.http2.enabled": "true",
    "waf.fail_open.enabled": "false",
}
NETWORK = {
    **LOAD_BALANCER,
    "dns_record.client_routing_policy": "any_availability_zone",
    "load_balancing.cross_zone.enabled": "false",
    "secondary_ips.auto_assigned.per_subnet": "0",
}
HEALTH = {
    f"target_group_health.{purpose}.minimum_healthy_targets.{unit}": value
    for purpose in ("dns_failover", "unhealthy_state_routing")
    for unit, value in (("count", "1"), ("percentage", "off"))
}
TARGET_GROUP = {
    **HEALTH,
    "deregistration_delay.timeout_seconds": "300",
    "load_balancing.cross_zone.enabled": "use_load_balancer_configuration",
    "stickiness.enabled": "false",
}
COOKIES = {"stickiness.type": "lb_cookie", "stickiness.lb_cookie.duration_seconds": "86400"}
HTTP = {
    **TARGET_GROUP,
    **COOKIES,
    "load_balancing.algorithm.type": "round_robin",
    "load_balancing.algorithm.anomaly_mitigation": "off",
    "slow_start.duration_seconds": "0",
    "stickiness.app_cookie.cookie_name": "",
    "stickiness.app_cookie.duration_seconds": "86400",
}
TCP = {
    **TARGET_GROUP,
    "deregistration_delay.connection_termination.enabled": "false",
    "preserve_client_ip.enabled": "false",
    "proxy_protocol_v2.enabled": "false",
    "stickiness.type": "source_ip",
    "target_health_state.unhealthy.connection_termination.enabled": "true",
    "target_health_state.unhealthy.draining_interval_seconds": "0",
}
UDP = {
    **TCP,
    "deregistration_delay.connection_termination.enabled": "true",
    "preserve_client_ip.enabled": "true",
    "target_health_state.unhealthy.connection_termination.enabled": "false",
}
LAMBDA = {**HEALTH, **COOKIES, "stickiness.enabled": "false", "lambda.multi_value_headers.enabled": "false"}
RESPONSE = {
    "routing.http.response.server.enabled": "true",
    **{
        f"routing.http.response.{name}.header_value": ""
        for name in (
            "access_control_allow_credentials", "access_control_allow_headers", "access_control_allow_methods",
            "access_control_allow_origin", "access_control_expose_headers", "access_control_max_age",
            "content_security_policy", "strict_transport_security", "x_content_type_options", "x_frame_options",
        )
    },
}  # fmt: skip
REQUEST = {
    f"routing.http.request.x_amzn_{name}.header_name": ""
    for name in (
        "mtls_clientcert", "mtls_clientcert_issuer", "mtls_clientcert_leaf", "mtls_clientcert_serial_number",
        "mtls_clientcert_subject", "mtls_clientcert_validity", "tls_cipher_suite", "tls_version",
    )
}  # fmt: skip
FLOW = {"tcp.idle_timeout.seconds": "350"}


def as_map(answer: dict[str, Any]) -> dict[str, str]:
    shown = answer["Attributes"]
    found = {one["Key"]: one["Value"] for one in shown}
    assert len(found) == len(shown)
    return found


@pytest.mark.parametrize(("kind", "expected"), [("application", APPLICATION), ("network", NETWORK)])
async def test_load_balancers(elb: Rig, kind: str, expected: dict[str, str]) -> None:
    arn = (await elb.load_balancer(Type=kind))["LoadBalancerArn"]
    assert as_map(await elb.call("DescribeLoadBalancerAttributes", LoadBalancerArn=arn)) == expected
    inside = (await elb.load_balancer("inside", Type=kind, Scheme="internal"))["LoadBalancerArn"]
    assert as_map(await elb.call("DescribeLoadBalancerAttributes", LoadBalancerArn=inside)) == {
        **expected,
        "ipv6.deny_all_igw_traffic": "true",
    }


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, HTTP),
        ({"Protocol": "HTTPS", "TargetType": "instance"}, HTTP),
        ({"Protocol": "TCP"}, TCP),
        ({"Protocol": "TLS"}, TCP),
        ({"Protocol": "TCP", "TargetType": "instance"}, {**TCP, "preserve_client_ip.enabled": "true"}),
        ({"Protocol": "TCP", "TargetType": "alb"}, {**TCP, "preserve_client_ip.enabled": "true"}),
        ({"Protocol": "UDP"}, UDP),
        ({"Protocol": "TCP_UDP"}, UDP),
    ],
)
async def test_target_groups(elb: Rig, params: dict[str, str], expected: dict[str, str]) -> None:
    arn = (await elb.target_group(**params))["TargetGroupArn"]
    assert as_map(await elb.call("DescribeTargetGroupAttributes", TargetGroupArn=arn)) == expected


async def test_functions(elb: Rig) -> None:
    made = await elb.call("CreateTargetGroup", Name="fn", TargetType="lambda")
    arn = made["TargetGroups"][0]["TargetGroupArn"]
    assert as_map(await elb.call("DescribeTargetGroupAttributes", TargetGroupArn=arn)) == LAMBDA


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        ("HTTP", RESPONSE),
        ("HTTPS", {**RESPONSE, **REQUEST}),
        ("TCP", FLOW),
        ("TCP_UDP", FLOW),
        ("TLS", {}),
        ("UDP", {}),
    ],
)
async def test_listeners(elb: Rig, protocol: str, expected: dict[str, str]) -> None:
    layer4 = not protocol.startswith("HTTP")
    owner = (await elb.load_balancer(Type="network" if layer4 else "application"))["LoadBalancerArn"]
    group = (await elb.target_group(Protocol="TCP" if protocol == "TLS" else protocol))["TargetGroupArn"]
    params: dict[str, Any] = {"DefaultActions": [forward(group) if layer4 else fixed()]}
    if protocol in ("HTTPS", "TLS"):
        params["Certificates"] = [{"CertificateArn": certificate("a")}]
    made = await elb.call("CreateListener", LoadBalancerArn=owner, Protocol=protocol, Port=80, **params)
    arn = made["Listeners"][0]["ListenerArn"]
    assert as_map(await elb.call("DescribeListenerAttributes", ListenerArn=arn)) == expected


def changed(arn: str, **values: str) -> dict[str, Any]:
    given = [{"Key": key.replace("__", "."), "Value": value} for key, value in values.items()]
    return {"TargetGroupArn": arn, "Attributes": given}


@pytest.mark.parametrize(
    ("protocol", "kind"),
    [
        ("HTTP", "source_ip"),
        ("HTTPS", "source_ip_dest_ip"),
        ("TCP", "lb_cookie"),
        ("UDP", "app_cookie"),
        ("TLS", "lb_cookie"),
    ],
)
async def test_the_kind_of_stickiness_depends_on_the_protocol(elb: Rig, protocol: str, kind: str) -> None:
    arn = (await elb.target_group(Protocol=protocol))["TargetGroupArn"]
    refusal = await elb.refused("ModifyTargetGroupAttributes", **changed(arn, stickiness__type=kind))
    assert (refusal.code, refusal.message) == (
        "InvalidConfigurationRequest",
        f"Stickiness type '{kind}' is not supported for target groups with the {protocol} protocol",
    )


async def test_tls_has_no_stickiness(elb: Rig) -> None:
    arn = (await elb.target_group(Protocol="TLS"))["TargetGroupArn"]
    await elb.call("ModifyTargetGroupAttributes", **changed(arn, stickiness__type="source_ip"))
    refusal = await elb.refused("ModifyTargetGroupAttributes", **changed(arn, stickiness__enabled="true"))
    assert refusal.code == "InvalidConfigurationRequest"


async def test_load_balancers_behind_others_always_see_the_client(elb: Rig) -> None:
    arn = (await elb.target_group(Protocol="TCP", TargetType="alb"))["TargetGroupArn"]
    refusal = await elb.refused("ModifyTargetGroupAttributes", **changed(arn, preserve_client_ip__enabled="false"))
    assert refusal.message == "Client IP preservation cannot be disabled for target groups with target type 'alb'"


async def test_secondary_addresses_are_never_taken_back(elb: Rig) -> None:
    arn = (await elb.load_balancer(Type="network"))["LoadBalancerArn"]
    key = "secondary_ips.auto_assigned.per_subnet"
    for value in ("2", "2", "7"):
        await elb.call("ModifyLoadBalancerAttributes", LoadBalancerArn=arn, Attributes=[{"Key": key, "Value": value}])
    for value in ("6", "0"):
        refusal = await elb.refused(
            "ModifyLoadBalancerAttributes", LoadBalancerArn=arn, Attributes=[{"Key": key, "Value": value}]
        )
        assert (refusal.code, refusal.message) == (
            "ValidationError",
            f"'{key}' value '{value}' cannot be less than the current value '7'",
        )
