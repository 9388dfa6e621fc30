"""What becomes of a target's traffic: tables."""

from __future__ import annotations

import msgspec
import pytest

from moorage.decide import target_traffic as traffic
from moorage.decide.target_health import as_shown
from moorage.domain.load_balancer import LoadBalancer
from moorage.domain.target_group import CHECKING, TIMED_OUT, HealthCheck, Target, TargetGroup, TargetHealth


def a_group(protocol: str = "TCP", **attributes: str) -> TargetGroup:
    return TargetGroup(
        arn="tg", account="0", region="r", name="db", full_name="targetgroup/db/1", target_type="ip", protocol=protocol,
        protocol_version=None, port=80, vpc_id="vpc-1", ip_address_type="ipv4", health_check=HealthCheck(),
        created_at=0.0, attributes={key.replace("__", "."): value for key, value in attributes.items()},
    )  # fmt: skip


def a_balancer(kind: str, **attributes: str) -> LoadBalancer:
    record = LoadBalancer(
        arn="lb", account="0", region="r", name="lb", type="network", scheme="internal", dns_name="x", full_name="net/lb/1",
        vpc_id="vpc-1", subnets=(), security_groups=(), ip_address_type="ipv4", canonical_hosted_zone_id="Z",
        loopback="127.0.10.1", created_at=0.0, attributes={k.replace("__", "."): v for k, v in attributes.items()},
    )  # fmt: skip
    return msgspec.structs.replace(record, type=kind)


ON, OFF = {"load_balancing__cross_zone__enabled": "true"}, {"load_balancing__cross_zone__enabled": "false"}


@pytest.mark.parametrize(
    ("group", "balancer", "crosses"),
    [
        (a_group(), None, True),
        (a_group(), a_balancer("application"), True),
        (a_group(), a_balancer("network"), False),
        (a_group(), a_balancer("network", **ON), True),
        (a_group(**ON), a_balancer("network"), True),
        (a_group(**OFF), a_balancer("network", **ON), False),
        (a_group("HTTP", **OFF), a_balancer("application"), False),
    ],
)
def test_crossing_zones(group: TargetGroup, balancer: LoadBalancer | None, crosses: bool) -> None:
    assert traffic.crosses_zones(group, balancer) is crosses


@pytest.mark.parametrize(("zone", "shown"), [(None, ""), ("all", ""), ("us-east-1a", "us-east-1a")])
def test_zones(zone: str | None, shown: str) -> None:
    assert traffic.zone_of(Target("tg", "10.0.0.1", 80, zone, 0.0)) == shown


def test_a_place_is_still_used_by_another_registration_only() -> None:
    target = Target("tg", "10.0.0.1", 80, None, 0.0, deregistered_at=1.0)
    twin = msgspec.structs.replace(target, target_group_arn="tg2", deregistered_at=None)
    assert not traffic.still_used(target, [target])
    assert traffic.still_used(target, [target, twin])
    assert not traffic.still_used(target, [target, msgspec.structs.replace(twin, port=81)])
    assert not traffic.still_used(target, [target, msgspec.structs.replace(twin, deregistered_at=2.0)])


@pytest.mark.parametrize(
    ("state", "now", "shown"),
    [
        (TIMED_OUT, 119.0, "unhealthy.draining"),
        (TIMED_OUT, 120.0, "unhealthy"),
        (CHECKING, 119.0, "initial"),
    ],
)
def test_unhealthy_draining(state: object, now: float, shown: str) -> None:
    health = TargetHealth("tg", "10.0.0.1", 80, "unhealthy", since=60.0, registered_at=0.0)
    assert as_shown(state, health, 60.0, now).state == shown  # type: ignore[arg-type]
