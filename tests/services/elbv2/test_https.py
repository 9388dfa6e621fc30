"""HTTPS listeners and their certificates, as the API sees them."""

from __future__ import annotations

from typing import Any

import pytest

from .rig import Rig, certificate, fixed, forward


@pytest.fixture
async def owner(elb: Rig) -> str:
    arn: str = (await elb.load_balancer())["LoadBalancerArn"]
    return arn


async def https(elb: Rig, owner: str, **params: Any) -> dict[str, Any]:
    given = {"Certificates": [{"CertificateArn": certificate("a")}], "DefaultActions": [fixed()], **params}
    made = await elb.call("CreateListener", LoadBalancerArn=owner, Protocol="HTTPS", Port=443, **given)
    listener: dict[str, Any] = made["Listeners"][0]
    return listener


async def test_policy_default_and_certificate_are_shown(elb: Rig, owner: str) -> None:
    made = await https(elb, owner)
    assert (made["Protocol"], made["SslPolicy"]) == ("HTTPS", "ELBSecurityPolicy-2016-08")
    assert made["Certificates"] == [{"CertificateArn": certificate("a")}]
    assert await https(elb, owner) == made  # the same again


async def test_other_settings_on_the_port_are_refused(elb: Rig, owner: str) -> None:
    await https(elb, owner)
    error = await elb.refused(
        "CreateListener",
        LoadBalancerArn=owner,
        Protocol="HTTPS",
        Port=443,
        Certificates=[{"CertificateArn": certificate("b")}],
        DefaultActions=[fixed()],
    )
    assert error.code == "DuplicateListener"


async def test_further_certificates_come_and_go(elb: Rig, owner: str) -> None:
    arn = (await https(elb, owner))["ListenerArn"]
    one = [{"CertificateArn": certificate("b")}]
    added = await elb.call("AddListenerCertificates", ListenerArn=arn, Certificates=one)
    assert added == {"Certificates": [{"CertificateArn": certificate("b"), "IsDefault": False}]}
    await elb.call("AddListenerCertificates", ListenerArn=arn, Certificates=one)
    assert (await elb.call("DescribeListenerCertificates", ListenerArn=arn))["Certificates"] == [
        {"CertificateArn": certificate("a"), "IsDefault": True},
        {"CertificateArn": certificate("b"), "IsDefault": False},
    ]
    assert (await elb.call("DescribeListeners", ListenerArns=[arn]))["Listeners"][0]["Certificates"] == [
        {"CertificateArn": certificate("a")}
    ]
    await elb.call("RemoveListenerCertificates", ListenerArn=arn, Certificates=one)
    assert len((await elb.call("DescribeListenerCertificates", ListenerArn=arn))["Certificates"]) == 1
    default = [{"CertificateArn": certificate("a")}]
    error = await elb.refused("RemoveListenerCertificates", ListenerArn=arn, Certificates=default)
    assert error.code == "OperationNotPermitted"


async def test_the_default_that_is_also_a_further_one_appears_twice(elb: Rig, owner: str) -> None:
    arn = (await https(elb, owner))["ListenerArn"]
    default = [{"CertificateArn": certificate("a")}]
    await elb.call("AddListenerCertificates", ListenerArn=arn, Certificates=default)
    shown = (await elb.call("DescribeListenerCertificates", ListenerArn=arn))["Certificates"]
    assert [one["IsDefault"] for one in shown] == [True, False]
    await elb.call("RemoveListenerCertificates", ListenerArn=arn, Certificates=default)
    assert len((await elb.call("DescribeListenerCertificates", ListenerArn=arn))["Certificates"]) == 1


async def test_quota(elb: Rig, owner: str) -> None:
    arn = (await https(elb, owner))["ListenerArn"]
    for n in range(25):
        one = [{"CertificateArn": certificate(f"x{n}")}]
        await elb.call("AddListenerCertificates", ListenerArn=arn, Certificates=one)
    error = await elb.refused(
        "AddListenerCertificates", ListenerArn=arn, Certificates=[{"CertificateArn": certificate("y")}]
    )
    assert error.code == "TooManyCertificates"


async def test_modify_replaces_only_what_is_given(elb: Rig, owner: str) -> None:
    arn = (await https(elb, owner))["ListenerArn"]
    await elb.call("AddListenerCertificates", ListenerArn=arn, Certificates=[{"CertificateArn": certificate("b")}])
    policy = "ELBSecurityPolicy-TLS13-1-2-2021-06"
    after = (await elb.call("ModifyListener", ListenerArn=arn, SslPolicy=policy))["Listeners"][0]
    assert (after["SslPolicy"], after["Certificates"]) == (policy, [{"CertificateArn": certificate("a")}])
    other = [{"CertificateArn": certificate("c")}]
    after = (await elb.call("ModifyListener", ListenerArn=arn, Certificates=other))["Listeners"][0]
    assert (after["SslPolicy"], after["Certificates"]) == (policy, other)
    shown = (await elb.call("DescribeListenerCertificates", ListenerArn=arn))["Certificates"]
    assert [one["CertificateArn"] for one in shown] == [certificate("c"), certificate("b")]


async def test_to_http_and_back(elb: Rig, owner: str) -> None:
    arn = (await https(elb, owner))["ListenerArn"]
    plain = (await elb.call("ModifyListener", ListenerArn=arn, Protocol="HTTP"))["Listeners"][0]
    assert "Certificates" not in plain
    assert "SslPolicy" not in plain
    error = await elb.refused("ModifyListener", ListenerArn=arn, Protocol="HTTPS")
    assert error.message == "A certificate must be specified for HTTPS listeners"
    default = [{"CertificateArn": certificate("a")}]
    after = (await elb.call("ModifyListener", ListenerArn=arn, Protocol="HTTPS", Certificates=default))["Listeners"][0]
    assert after["SslPolicy"] == "ELBSecurityPolicy-2016-08"


async def test_refusals(elb: Rig, owner: str) -> None:
    http = (await elb.listener(owner))["ListenerArn"]
    one = [{"CertificateArn": certificate("a")}]
    error = await elb.refused("AddListenerCertificates", ListenerArn=http, Certificates=one)
    assert error.code == "ValidationError"
    arn = (await https(elb, owner))["ListenerArn"]
    error = await elb.refused(
        "AddListenerCertificates", ListenerArn=arn, Certificates=[{"CertificateArn": certificate("unknown")}]
    )
    assert (error.code, error.message) == (
        "CertificateNotFound",
        f"Certificate '{certificate('unknown')}' not found",
    )


@pytest.mark.parametrize(
    "arn",
    [
        "x",
        "arn:aws:acm:us-east-1:000000000000:certificate/",
        certificate("a").replace("us-east-1", "eu-west-1"),
        "arn:aws:s3:::bucket",
    ],
)
async def test_what_is_no_certificate_here(elb: Rig, owner: str, arn: str) -> None:
    """One of another region is the usual mistake."""
    listener = (await https(elb, owner))["ListenerArn"]
    one = [{"CertificateArn": arn}]
    for operation, params in (
        ("CreateListener", {"LoadBalancerArn": owner, "Protocol": "HTTPS", "Port": 1, "DefaultActions": [fixed()]}),
        ("ModifyListener", {"ListenerArn": listener}),
        ("AddListenerCertificates", {"ListenerArn": listener}),
    ):
        error = await elb.refused(operation, Certificates=one, **params)
        assert (error.code, error.message) == ("ValidationError", f"Certificate ARN '{arn}' is not valid")


async def test_the_same_again_knows_no_later_certificates(elb: Rig, owner: str) -> None:
    made = await https(elb, owner)
    one = [{"CertificateArn": certificate("b")}]
    await elb.call("AddListenerCertificates", ListenerArn=made["ListenerArn"], Certificates=one)
    assert await https(elb, owner) == made


async def test_fips_policies_stand_beside_each_other_only(elb: Rig, owner: str) -> None:
    fips = "ELBSecurityPolicy-TLS13-1-2-Res-FIPS-2023-04"
    listener = (await https(elb, owner, SslPolicy=fips))["ListenerArn"]
    given = {"Certificates": [{"CertificateArn": certificate("a")}], "DefaultActions": [fixed()], "Protocol": "HTTPS"}
    for policy in ({}, {"SslPolicy": "ELBSecurityPolicy-TLS13-1-2-2021-06"}):
        error = await elb.refused("CreateListener", LoadBalancerArn=owner, Port=444, **given, **policy)
        assert error.code == "InvalidConfigurationRequest"
    other = "ELBSecurityPolicy-TLS13-1-3-FIPS-PQ-2025-09"
    await elb.call("CreateListener", LoadBalancerArn=owner, Port=444, SslPolicy=other, **given)
    await elb.listener(owner)  # HTTP has none
    error = await elb.refused("ModifyListener", ListenerArn=listener, SslPolicy="ELBSecurityPolicy-2016-08")
    assert error.code == "InvalidConfigurationRequest"


async def test_a_policy_of_network_load_balancers_only(elb: Rig, owner: str) -> None:
    given = {
        "Certificates": [{"CertificateArn": certificate("a")}],
        "Port": 443,
        "SslPolicy": "ELBSecurityPolicy-2015-05",
    }
    error = await elb.refused(
        "CreateListener", LoadBalancerArn=owner, Protocol="HTTPS", DefaultActions=[fixed()], **given
    )
    assert (error.code, error.message) == ("SSLPolicyNotFound", "SSL policy 'ELBSecurityPolicy-2015-05' not found")
    network = (await elb.load_balancer("net", Type="network"))["LoadBalancerArn"]
    group = (await elb.target_group("tcp", Protocol="TCP"))["TargetGroupArn"]
    made = await elb.call(
        "CreateListener", LoadBalancerArn=network, Protocol="TLS", DefaultActions=[forward(group)], **given
    )
    assert made["Listeners"][0]["SslPolicy"] == "ELBSecurityPolicy-2015-05"


async def test_attributes_of_https_go_with_it(elb: Rig, owner: str) -> None:
    arn = (await https(elb, owner))["ListenerArn"]
    given = [
        {"Key": "routing.http.request.x_amzn_tls_version.header_name", "Value": "tls"},
        {"Key": "routing.http.response.x_frame_options.header_value", "Value": "DENY"},
    ]
    await elb.call("ModifyListenerAttributes", ListenerArn=arn, Attributes=given)
    await elb.call("ModifyListener", ListenerArn=arn, Protocol="HTTP")
    await elb.call(
        "ModifyListener", ListenerArn=arn, Protocol="HTTPS", Certificates=[{"CertificateArn": certificate("a")}]
    )
    shown = (await elb.call("DescribeListenerAttributes", ListenerArn=arn))["Attributes"]
    assert {**given[0], "Value": ""} in shown
    assert given[1] in shown
