"""Listeners and their actions: shapes, normalisation, refusals (semantics elbv2 §3.2)."""

from __future__ import annotations

from typing import Any

import pytest

from .rig import Rig, fixed, forward


@pytest.fixture
async def owner(elb: Rig) -> str:
    return str((await elb.load_balancer())["LoadBalancerArn"])


async def test_a_new_one_shows_everything(elb: Rig, owner: str) -> None:
    group = (await elb.target_group())["TargetGroupArn"]
    made = await elb.listener(owner, group)
    assert made["ListenerArn"].startswith(owner.replace(":loadbalancer/", ":listener/") + "/")
    assert (made["Port"], made["Protocol"], made["LoadBalancerArn"]) == (80, "HTTP", owner)
    assert made["DefaultActions"] == [
        {
            "Type": "forward",
            "Order": 1,
            "TargetGroupArn": group,
            "ForwardConfig": {
                "TargetGroups": [{"TargetGroupArn": group, "Weight": 1}],
                "TargetGroupStickinessConfig": {"Enabled": False},
            },
        }
    ]
    assert (await elb.call("DescribeListeners", LoadBalancerArn=owner))["Listeners"] == [made]
    assert (await elb.call("DescribeListeners", ListenerArns=[made["ListenerArn"]]))["Listeners"] == [made]


async def test_several_target_groups(elb: Rig, owner: str) -> None:
    arns = [(await elb.target_group(name))["TargetGroupArn"] for name in ("one", "two")]
    config = {
        "TargetGroups": [{"TargetGroupArn": arns[0], "Weight": 90}, {"TargetGroupArn": arns[1], "Weight": 0}],
        "TargetGroupStickinessConfig": {"Enabled": True, "DurationSeconds": 60},
    }
    made = await elb.listener(owner, DefaultActions=[{"Type": "forward", "ForwardConfig": config}])
    assert made["DefaultActions"] == [{"Type": "forward", "Order": 1, "ForwardConfig": config}]


async def test_a_duration_is_shown_although_stickiness_is_off(elb: Rig, owner: str) -> None:
    """Terraform always sends one, and would see a change in every plan."""
    arn = (await elb.target_group())["TargetGroupArn"]
    config = {
        "TargetGroups": [{"TargetGroupArn": arn, "Weight": 1}],
        "TargetGroupStickinessConfig": {"Enabled": False, "DurationSeconds": 3600},
    }
    made = await elb.listener(owner, DefaultActions=[{"Type": "forward", "ForwardConfig": config}])
    assert made["DefaultActions"][0]["ForwardConfig"] == config


async def test_the_same_in_other_words_is_the_same(elb: Rig, owner: str) -> None:
    arn = (await elb.target_group())["TargetGroupArn"]
    made = await elb.listener(owner, arn)
    for action in (
        {**forward(arn), "Order": 1},
        {"Type": "forward", "ForwardConfig": {"TargetGroups": [{"TargetGroupArn": arn}]}},
        made["DefaultActions"][0],
    ):
        assert await elb.listener(owner, DefaultActions=[action]) == made


async def test_redirects_and_fixed_responses_are_filled_in(elb: Rig, owner: str) -> None:
    redirect = {"Type": "redirect", "RedirectConfig": {"Protocol": "HTTPS", "Port": "443", "StatusCode": "HTTP_301"}}
    made = await elb.listener(owner, DefaultActions=[redirect])
    assert made["DefaultActions"][0]["RedirectConfig"] == {
        "Protocol": "HTTPS",
        "Port": "443",
        "Host": "#{host}",
        "Path": "/#{path}",
        "Query": "#{query}",
        "StatusCode": "HTTP_301",
    }
    response = {"StatusCode": "503", "MessageBody": "later", "ContentType": "text/plain"}
    made = await elb.listener(
        owner, port=81, DefaultActions=[{"Type": "fixed-response", "FixedResponseConfig": response}]
    )
    assert made["DefaultActions"][0]["FixedResponseConfig"] == response


async def test_one_listener_a_port(elb: Rig, owner: str) -> None:
    made = await elb.listener(owner)
    assert await elb.listener(owner) == made
    refusal = await elb.refused(
        "CreateListener", LoadBalancerArn=owner, Protocol="HTTP", Port=80, DefaultActions=[fixed("200")]
    )
    assert refusal.code == "DuplicateListener"
    assert refusal.message == f"A listener already exists on this port for this load balancer '{owner}'"
    other = await elb.listener(owner, port=81)
    moved = await elb.refused("ModifyListener", ListenerArn=other["ListenerArn"], Port=80)
    assert moved.code == "DuplicateListener"


def _redirect(**config: Any) -> dict[str, Any]:
    return {"Type": "redirect", "RedirectConfig": {"StatusCode": "HTTP_302", **config}}


def _response(**config: Any) -> dict[str, Any]:
    return {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "200", **config}}


UNKNOWN = "arn:aws:elasticloadbalancing:us-east-1:000000000000:targetgroup/x/0123456789abcdef"


@pytest.mark.parametrize(
    ("params", "code", "message"),
    [
        ({"Port": None}, "ValidationError", "A listener port must be specified"),
        ({"Protocol": None}, "ValidationError", "A listener protocol must be specified"),
        ({"Protocol": "TCP"}, "ValidationError", "Listener protocol 'TCP' must be one of 'HTTP, HTTPS'"),
        ({"Protocol": "HTTPS"}, "ValidationError", "A certificate must be specified for HTTPS listeners"),
        ({"SslPolicy": "x"}, "ValidationError", "An SSL policy cannot be specified for HTTP listeners"),
        (
            {"AlpnPolicy": ["HTTP2Only"]},
            "ValidationError",
            "You cannot set ALPN policy on load balancers of type 'application'",
        ),
        (
            {"Protocol": "HTTPS", "Certificates": [{"CertificateArn": "arn:c"}]},
            "ValidationError",
            "Certificate ARN 'arn:c' is not valid",
        ),
        (
            {"Protocol": "HTTPS", "Certificates": [{"CertificateArn": "arn:a"}, {"CertificateArn": "arn:b"}]},
            "ValidationError",
            "Up to '1' certificate ARNs can be specified, but '2' were specified",
        ),
        (
            {"Protocol": "HTTPS", "Certificates": [{"CertificateArn": "arn:c"}], "SslPolicy": "x"},
            "SSLPolicyNotFound",
            "SSL policy 'x' not found",
        ),
        (
            {
                "Protocol": "HTTPS",
                "Certificates": [{"CertificateArn": "arn:c"}],
                "MutualAuthentication": {"Mode": "verify"},
            },
            "ValidationError",
            "A trust store ARN must be specified when mutual authentication mode is 'verify'",
        ),
        ({"DefaultActions": [forward(UNKNOWN)]}, "TargetGroupNotFound", f"Target groups '{UNKNOWN}' not found"),
        ({"DefaultActions": [forward("x")]}, "ValidationError", "'x' is not a valid target group ARN"),
        (
            {"DefaultActions": [_redirect()]},
            "InvalidLoadBalancerAction",
            "The redirect configuration is not valid because it creates a loop.",
        ),
        (
            {"DefaultActions": [_redirect(Protocol="HTTP", Port="80")]},
            "InvalidLoadBalancerAction",
            "The redirect configuration is not valid because it creates a loop.",
        ),
        (
            {"DefaultActions": [_redirect(Path="x")]},
            "InvalidLoadBalancerAction",
            "The Path parameter must be a valid path, should start with a '/', and may contain up to one of each of these "
            "placeholders: '#{path}', '#{host}', '#{port}'.",
        ),
        (
            {"DefaultActions": [{**fixed(), "RedirectConfig": {"StatusCode": "HTTP_301"}}]},
            "InvalidLoadBalancerAction",
            "'RedirectConfig' is not supported for an action of type 'fixed-response'",
        ),
        (
            {"DefaultActions": [_response(ContentType="text/x")]},
            "InvalidLoadBalancerAction",
            "The ContentType must be one of:'text/html', 'application/json', 'application/javascript', 'text/css', "
            "'text/plain'",
        ),
        (
            {"DefaultActions": [{"Type": "authenticate-cognito"}, fixed()]},
            "InvalidLoadBalancerAction",
            "Actions of type 'authenticate-cognito' are supported only on HTTPS listeners",
        ),
    ],
)
async def test_refusals(elb: Rig, owner: str, params: dict[str, Any], code: str, message: str) -> None:
    base = {"LoadBalancerArn": owner, "Protocol": "HTTP", "Port": 80, "DefaultActions": [fixed()]}
    given = {key: value for key, value in {**base, **params}.items() if value is not None}
    refusal = await elb.refused("CreateListener", **given)
    assert (refusal.code, refusal.message) == (code, message)
    assert (await elb.call("DescribeListeners", LoadBalancerArn=owner))["Listeners"] == []


async def test_target_groups_that_do_not_fit(elb: Rig, owner: str) -> None:
    async def refused(*groups: str) -> tuple[str, str]:
        refusal = await elb.refused(
            "CreateListener", LoadBalancerArn=owner, Protocol="HTTP", Port=80, DefaultActions=[forward(*groups)]
        )
        return refusal.code, refusal.message

    tcp = (await elb.target_group("tcp", Protocol="TCP"))["TargetGroupArn"]
    assert await refused(tcp) == (
        "IncompatibleProtocols",
        f"The listener and the following target groups have incompatible protocols: {tcp}",
    )
    grpc = (await elb.target_group("grpc", ProtocolVersion="GRPC"))["TargetGroupArn"]
    assert await refused(grpc) == (
        "InvalidLoadBalancerAction",
        "Listener protocol 'HTTP' is not supported with a target group with the protocol-version 'GRPC'",
    )
    elsewhere = (await elb.target_group("elsewhere", VpcId="vpc-2"))["TargetGroupArn"]
    assert (await refused(elsewhere))[0] == "ValidationError"
    taken = (await elb.target_group("taken"))["TargetGroupArn"]
    await elb.listener((await elb.load_balancer("other"))["LoadBalancerArn"], taken)
    assert await refused(taken) == (
        "TargetGroupAssociationLimit",
        f"The following target groups cannot be associated with more than one load balancer: {taken}",
    )


async def test_modify_and_delete(elb: Rig, owner: str) -> None:
    group = (await elb.target_group())["TargetGroupArn"]
    arn = (await elb.listener(owner, group))["ListenerArn"]
    changed = (await elb.call("ModifyListener", ListenerArn=arn, Port=8080))["Listeners"][0]
    assert (changed["Port"], changed["DefaultActions"][0]["TargetGroupArn"]) == (8080, group)
    await elb.call("ModifyListener", ListenerArn=arn, DefaultActions=[fixed()])
    await elb.call("DeleteTargetGroup", TargetGroupArn=group)  # no longer in use
    await elb.call("DeleteListener", ListenerArn=arn)
    for operation in ("DeleteListener", "ModifyListener", "DescribeListenerAttributes"):
        refusal = await elb.refused(operation, ListenerArn=arn)
        assert (refusal.code, refusal.message) == ("ListenerNotFound", "One or more listeners not found")
    malformed = await elb.refused("DescribeListeners", ListenerArns=["x"])
    assert malformed.message == "'x' is not a valid listener ARN"
    neither = await elb.refused("DescribeListeners")
    assert neither.message == "You must specify either listener ARNs or a load balancer ARN"


async def test_attributes_and_certificates(elb: Rig, owner: str) -> None:
    arn = (await elb.listener(owner))["ListenerArn"]
    key = "routing.http.response.server.enabled"
    shown = (await elb.call("DescribeListenerAttributes", ListenerArn=arn))["Attributes"]
    assert {"Key": key, "Value": "true"} in shown
    changed = await elb.call("ModifyListenerAttributes", ListenerArn=arn, Attributes=[{"Key": key, "Value": "false"}])
    assert {"Key": key, "Value": "false"} in changed["Attributes"]
    assert await elb.call("DescribeListenerCertificates", ListenerArn=arn) == {"Certificates": []}
