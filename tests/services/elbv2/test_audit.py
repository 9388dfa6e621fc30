"""Small rules between records that are easily forgotten (semantics elbv2 §3, §4, §12)."""

from __future__ import annotations

from typing import Any

import pytest

from .rig import Rig, certificate, fixed, forward, path
from .test_auth_actions import OIDC

TLS = {"Certificates": [{"CertificateArn": certificate("one")}]}
LOGIN = {"Type": "authenticate-oidc", "Order": 1, "AuthenticateOidcConfig": {**OIDC, "ClientSecret": "hush"}}


@pytest.fixture
async def owner(elb: Rig) -> str:
    return str((await elb.load_balancer())["LoadBalancerArn"])


async def https(elb: Rig, owner: str, *actions: dict[str, Any]) -> str:
    made = await elb.call(
        "CreateListener", LoadBalancerArn=owner, Protocol="HTTPS", Port=443, DefaultActions=list(actions), **TLS
    )
    return str(made["Listeners"][0]["ListenerArn"])


async def attributes(elb: Rig, group: str, **values: str) -> dict[str, Any]:
    return {
        "TargetGroupArn": group,
        "Attributes": [{"Key": key.replace("__", "."), "Value": value} for key, value in values.items()],
    }


@pytest.mark.parametrize("where", ["default", "rule"])
async def test_a_listener_that_logs_in_cannot_become_http(elb: Rig, owner: str, where: str) -> None:
    last = {**fixed(), "Order": 2}
    listener = await https(elb, owner, *([LOGIN, last] if where == "default" else [fixed()]))
    if where == "rule":
        await elb.rule(listener, Actions=[LOGIN, last])
    refusal = await elb.refused("ModifyListener", ListenerArn=listener, Protocol="HTTP")
    assert (refusal.code, refusal.message) == (
        "InvalidLoadBalancerAction",
        "Actions of type 'authenticate-oidc' are supported only on HTTPS listeners",
    )


async def test_nor_can_one_whose_rule_leads_to_grpc(elb: Rig, owner: str) -> None:
    grpc = (await elb.target_group("grpc", ProtocolVersion="GRPC"))["TargetGroupArn"]
    listener = await https(elb, owner, fixed())
    rule = await elb.rule(listener, Actions=[forward(grpc)])
    refusal = await elb.refused("ModifyListener", ListenerArn=listener, Protocol="HTTP")
    assert refusal.code == "InvalidLoadBalancerAction"
    await elb.call("DeleteRule", RuleArn=rule["RuleArn"])
    changed = await elb.call("ModifyListener", ListenerArn=listener, Protocol="HTTP")
    assert "Certificates" not in changed["Listeners"][0]


async def test_a_redirect_must_not_become_a_loop(elb: Rig, owner: str) -> None:
    redirect = {"Type": "redirect", "RedirectConfig": {"StatusCode": "HTTP_301", "Port": "8080"}}
    listener = (await elb.listener(owner, DefaultActions=[redirect]))["ListenerArn"]
    refusal = await elb.refused("ModifyListener", ListenerArn=listener, Port=8080)
    assert refusal.message == "The redirect configuration is not valid because it creates a loop."
    await elb.call("ModifyListener", ListenerArn=listener, Port=81)


async def test_sticky_groups_need_a_sticky_rule(elb: Rig, owner: str) -> None:
    one, two = [(await elb.target_group(name))["TargetGroupArn"] for name in ("one", "two")]
    listener = (await elb.listener(owner))["ListenerArn"]
    await elb.call("ModifyTargetGroupAttributes", **await attributes(elb, one, stickiness__enabled="true"))
    await elb.rule(listener, 1, Actions=[forward(one)])  # alone it may be
    both = forward(one, two)
    refusal = await elb.refused("CreateRule", ListenerArn=listener, Priority=2, Conditions=[path("/x")], Actions=[both])
    assert (refusal.code, refusal.message) == (
        "InvalidLoadBalancerAction",
        "You must enable group stickiness on a rule if you enabled target stickiness on one of its target groups",
    )
    both["ForwardConfig"]["TargetGroupStickinessConfig"] = {"Enabled": True, "DurationSeconds": 60}
    await elb.rule(listener, 2, Actions=[both])


async def test_sticky_groups_balance_across_zones(elb: Rig) -> None:
    group = (await elb.target_group())["TargetGroupArn"]
    apart = {"load_balancing__cross_zone__enabled": "false"}
    refusal = await elb.refused(
        "ModifyTargetGroupAttributes", **await attributes(elb, group, stickiness__enabled="true", **apart)
    )
    assert refusal.code == "InvalidConfigurationRequest"
    await elb.call("ModifyTargetGroupAttributes", **await attributes(elb, group, **apart))
    layer4 = (await elb.target_group("tcp", Protocol="TCP"))["TargetGroupArn"]
    await elb.call("ModifyTargetGroupAttributes", **await attributes(elb, layer4, stickiness__enabled="true", **apart))


async def test_twenty_attributes_at_once(elb: Rig, owner: str) -> None:
    shown = (await elb.call("DescribeLoadBalancerAttributes", LoadBalancerArn=owner))["Attributes"]
    await elb.call("ModifyLoadBalancerAttributes", LoadBalancerArn=owner, Attributes=shown[:20])
    refusal = await elb.refused("ModifyLoadBalancerAttributes", LoadBalancerArn=owner, Attributes=shown[:21])
    assert refusal.code == "ValidationError"


async def test_a_hundred_target_groups(elb: Rig, owner: str) -> None:
    arns = [(await elb.target_group(f"g{number}"))["TargetGroupArn"] for number in range(101)]
    for start in range(0, 100, 5):
        await elb.listener(owner, *arns[start : start + 5], port=1000 + start)
    refusal = await elb.refused(
        "CreateListener", LoadBalancerArn=owner, Protocol="HTTP", Port=80, DefaultActions=[forward(arns[100])]
    )
    assert refusal.code == "TooManyUniqueTargetGroupsPerLoadBalancer"
    await elb.listener(owner, arns[0], port=80)  # one that is there already


@pytest.mark.parametrize("text", ["²", "٣", "-1", "1.5", "", " 5", "9" * 30])
async def test_what_is_no_number(elb: Rig, owner: str, text: str) -> None:
    given = [{"Key": "idle_timeout.timeout_seconds", "Value": text}]
    refusal = await elb.refused("ModifyLoadBalancerAttributes", LoadBalancerArn=owner, Attributes=given)
    assert refusal.message == f"'idle_timeout.timeout_seconds' value '{text}' must be between '1-4000' inclusive"


@pytest.mark.parametrize(
    "url",
    ["https://[", "https://a:99999/", "https://a:x/", "https://a b/", "http://a/", "https:///a", "https://ü/", "a"],
)
async def test_what_is_no_address_of_a_provider(elb: Rig, owner: str, url: str) -> None:
    login = {**LOGIN, "AuthenticateOidcConfig": {**LOGIN["AuthenticateOidcConfig"], "TokenEndpoint": url}}  # type: ignore[dict-item]
    given = {"DefaultActions": [login, {**fixed(), "Order": 2}], "Protocol": "HTTPS", "Port": 443, **TLS}
    refusal = await elb.refused("CreateListener", LoadBalancerArn=owner, **given)
    assert (refusal.code, url in refusal.message) == ("InvalidLoadBalancerAction", True)


async def test_texts_that_the_proxy_would_refuse(elb: Rig, owner: str) -> None:
    listener = await https(elb, owner, fixed())
    for key, value in (
        ("routing.http.response.x_frame_options.header_value", "a\nb"),
        ("routing.http.response.x_frame_options.header_value", "a\x00"),
        ("routing.http.request.x_amzn_tls_version.header_name", "a b"),
    ):
        given = [{"Key": key, "Value": value}]
        assert (await elb.refused("ModifyListenerAttributes", ListenerArn=listener, Attributes=given)).code == (
            "ValidationError"
        )
    for member, value in (("Host", "a\nb"), ("Path", "/\x00"), ("Query", "ü")):
        redirect = {"Type": "redirect", "RedirectConfig": {"StatusCode": "HTTP_301", member: value}}
        refusal = await elb.refused(
            "CreateRule", ListenerArn=listener, Priority=1, Conditions=[path("/")], Actions=[redirect]
        )
        assert refusal.message == f"The {member} parameter contains a character that is not valid"
