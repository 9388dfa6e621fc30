"""Reserved capacity and address pools: stored and shown, or refused by name (semantics elbv2 §3, §3.1)."""

from __future__ import annotations

from typing import Any

import pytest

from .rig import Rig

SUBNETS = ["subnet-a", "subnet-b"]


async def test_nothing_is_reserved_at_first(elb: Rig) -> None:
    arn = (await elb.load_balancer())["LoadBalancerArn"]
    shown = await elb.call("DescribeCapacityReservation", LoadBalancerArn=arn)
    assert shown == {"DecreaseRequestsRemaining": 2, "CapacityReservationState": []}


@pytest.mark.parametrize("kind", ["application", "network"])
async def test_a_reservation_is_provisioned_in_every_zone(elb: Rig, kind: str) -> None:
    arn = (await elb.load_balancer(Type=kind))["LoadBalancerArn"]
    wanted = {"CapacityUnits": 101}
    made = await elb.call("ModifyCapacityReservation", LoadBalancerArn=arn, MinimumLoadBalancerCapacity=wanted)
    assert made == {
        "LastModifiedTime": elb.clock.now(),
        "DecreaseRequestsRemaining": 2,
        "MinimumLoadBalancerCapacity": wanted,
        "CapacityReservationState": [
            {"State": {"Code": "provisioned"}, "AvailabilityZone": zone, "EffectiveCapacityUnits": 50.5}
            for zone in ("us-east-1a", "us-east-1b")
        ],
    }
    assert await elb.call("DescribeCapacityReservation", LoadBalancerArn=arn) == made
    reset = await elb.call("ModifyCapacityReservation", LoadBalancerArn=arn, ResetCapacityReservation=True)
    assert "MinimumLoadBalancerCapacity" not in reset
    assert reset["CapacityReservationState"] == []


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"ResetCapacityReservation": False},
        {"MinimumLoadBalancerCapacity": {"CapacityUnits": 1}, "ResetCapacityReservation": True},
        {"MinimumLoadBalancerCapacity": {}},
        {"MinimumLoadBalancerCapacity": {"CapacityUnits": 0}},
    ],
)
async def test_what_cannot_be_reserved(elb: Rig, params: dict[str, Any]) -> None:
    arn = (await elb.load_balancer())["LoadBalancerArn"]
    refusal = await elb.refused("ModifyCapacityReservation", LoadBalancerArn=arn, **params)
    assert refusal.code == "ValidationError"
    shown = await elb.call("DescribeCapacityReservation", LoadBalancerArn=arn)
    assert "LastModifiedTime" not in shown


@pytest.mark.parametrize(
    "params",
    [
        {"IpamPools": {"Ipv4IpamPoolId": "ipam-pool-1"}},
        {"CustomerOwnedIpv4Pool": "ipv4pool-coip-1"},
        {"EnablePrefixForIpv6SourceNat": "on"},
    ],
)
async def test_addresses_that_cannot_be_had_are_not_pretended(elb: Rig, params: dict[str, Any]) -> None:
    refusal = await elb.refused("CreateLoadBalancer", Name="web", Subnets=SUBNETS, **params)
    assert refusal.code == "UnsupportedOperation"
    assert (await elb.call("DescribeLoadBalancers"))["LoadBalancers"] == []


async def test_source_nat_prefixes_are_off(elb: Rig) -> None:
    made = await elb.load_balancer(EnablePrefixForIpv6SourceNat="off")
    assert made["EnablePrefixForIpv6SourceNat"] == "off"
    arn = made["LoadBalancerArn"]
    moved = await elb.call("SetSubnets", LoadBalancerArn=arn, Subnets=SUBNETS, EnablePrefixForIpv6SourceNat="off")
    assert moved["EnablePrefixForIpv6SourceNat"] == "off"
    refusal = await elb.refused(
        "SetSubnets", LoadBalancerArn=arn, Subnets=["subnet-a", "subnet-b2"], EnablePrefixForIpv6SourceNat="on"
    )
    assert refusal.code == "UnsupportedOperation"


async def test_address_pools(elb: Rig) -> None:
    arn = (await elb.load_balancer())["LoadBalancerArn"]
    assert await elb.call("ModifyIpPools", LoadBalancerArn=arn, RemoveIpamPools=["ipv4"]) == {}
    refusal = await elb.refused("ModifyIpPools", LoadBalancerArn=arn, IpamPools={"Ipv4IpamPoolId": "ipam-pool-1"})
    assert refusal.code == "UnsupportedOperation"
    network = (await elb.load_balancer("net", Type="network"))["LoadBalancerArn"]
    refusal = await elb.refused("ModifyIpPools", LoadBalancerArn=network, RemoveIpamPools=["ipv4"])
    assert (refusal.code, refusal.message) == (
        "InvalidConfigurationRequest",
        "IPAM pools are not supported on load balancers with type 'network'",
    )
