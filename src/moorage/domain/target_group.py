"""Target groups, the targets registered in them, and their health. Source: semantics elbv2 §3.4, §5.

A `Target` is desired state (written by RegisterTargets and by ECS); a `TargetHealth` is observed state (written only by
the health checker). Both are keyed by target group ARN, target id and port.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec


class HealthCheck(msgspec.Struct, frozen=True):
    """Seconds. `port` is a number as text or "traffic-port"; `matcher` as the user wrote it ("200,202" or "200-399")."""

    protocol: str = "HTTP"
    port: str = "traffic-port"
    path: str = "/"
    interval: int = 30
    timeout: int = 5
    healthy_threshold: int = 5
    unhealthy_threshold: int = 2
    matcher: str = "200"
    enabled: bool = True


class TargetGroup(msgspec.Struct, frozen=True):
    """`full_name` is the ARN's tail ("targetgroup/web/73e2d6bc24d8a067")."""

    arn: str
    account: str
    region: str
    name: str
    full_name: str
    target_type: Literal["instance", "ip", "lambda", "alb"]
    protocol: str | None
    protocol_version: str | None
    port: int | None
    vpc_id: str | None
    ip_address_type: str
    health_check: HealthCheck
    created_at: float
    attributes: Mapping[str, str] = {}
    tags: Mapping[str, str] = {}


class Target(msgspec.Struct, frozen=True, gc=False):
    """One registered target. `deregistered_at` set: it drains and the record goes `deregistration_delay` later.
    `reaches` is the address that really answers, when it differs from `id` (instance targets)."""

    target_group_arn: str
    id: str
    port: int
    availability_zone: str | None
    registered_at: float
    deregistered_at: float | None = None
    reaches: str | None = None

    @property
    def key(self) -> str:
        return target_key(self.target_group_arn, self.id, self.port)


def is_in_service(target: Target | None) -> bool:
    """Registered, and not draining."""
    return target is not None and target.deregistered_at is None


class TargetHealth(msgspec.Struct, frozen=True, gc=False):
    """What DescribeTargetHealth shows while the target is not draining. `successes`/`failures` are the consecutive
    counts of the checker. `since`: when `state` was entered. `registered_at`: that of the registration it is about (a
    target that was registered again begins anew)."""

    target_group_arn: str
    id: str
    port: int
    state: Literal["initial", "healthy", "unhealthy", "unused", "unavailable"]
    since: float
    registered_at: float
    reason: str | None = None
    description: str | None = None
    successes: int = 0
    failures: int = 0

    @property
    def key(self) -> str:
        return target_key(self.target_group_arn, self.id, self.port)


def target_key(target_group_arn: str, id: str, port: int) -> str:
    return f"{target_group_arn}|{id}|{port}"


class ProbeResult(msgspec.Struct, frozen=True):
    """The outcome of one health check. `answered`: an HTTP response with `status` came (or, for a TCP check, the
    connection was made: `status` is None). `timeout`: nothing complete came in time. `failed`: refused, reset, not
    HTTP. `detail` is for people."""

    outcome: Literal["answered", "timeout", "failed"]
    status: int | None = None
    detail: str = ""


class TargetState(msgspec.Struct, frozen=True):
    """What DescribeTargetHealth says of a target (semantics elbv2 §5): all AWS's words."""

    state: Literal["initial", "healthy", "unhealthy", "unhealthy.draining", "unused", "draining", "unavailable"]
    reason: str | None = None
    description: str | None = None


HEALTHY = TargetState("healthy")
REGISTERING = TargetState("initial", "Elb.RegistrationInProgress", "Target registration is in progress")
CHECKING = TargetState("initial", "Elb.InitialHealthChecking", "Initial health checks in progress")
TIMED_OUT = TargetState("unhealthy", "Target.Timeout", "Request timed out")
FAILED_CHECKS = TargetState("unhealthy", "Target.FailedHealthChecks", "Health checks failed")
NOT_REGISTERED = TargetState("unused", "Target.NotRegistered", "Target is not registered to the target group")
NOT_IN_USE = TargetState(
    "unused",
    "Target.NotInUse",
    "Target group is not configured to receive traffic from the load balancer",
)
ZONE_NOT_ENABLED = TargetState(
    "unused",
    "Target.NotInUse",
    "Target is in an Availability Zone that is not enabled for the load balancer",
)
INVALID_STATE = TargetState("unused", "Target.InvalidState", "Target is in the terminated state")
IP_UNUSABLE = TargetState(
    "unused",
    "Target.IpUnusable",
    "The IP address cannot be used as a target, as it is in use by a load balancer",
)
DRAINING = TargetState("draining", "Target.DeregistrationInProgress", "Target deregistration is in progress")
CHECKS_DISABLED = TargetState("unavailable", "Target.HealthCheckDisabled", "Health checks are disabled")


def mismatched(status: int) -> TargetState:
    return TargetState("unhealthy", "Target.ResponseCodeMismatch", f"Health checks failed with these codes: [{status}]")


Minimum = Literal["dns_failover", "unhealthy_state_routing"]


def below_minimum(group: TargetGroup, what: Minimum, healthy: int, targets: int) -> bool:
    """Are fewer targets healthy than `target_group_health.<what>` wants? One rule for Envoy and for what people are shown.
    Worked example: minimum 2 or 50 %, 2 of 5 healthy → below, for 40 % are."""
    prefix = f"target_group_health.{what}.minimum_healthy_targets"
    count = group.attributes.get(f"{prefix}.count", "1")
    percentage = group.attributes.get(f"{prefix}.percentage", "off")
    if count.isdigit() and healthy < int(count):
        return True
    return percentage.isdigit() and healthy * 100 < int(percentage) * targets


DEFAULT_DEREGISTRATION_DELAY = 300


def deregistration_delay(group: TargetGroup) -> float:
    """Seconds that a deregistered target is shown as draining."""
    return float(group.attributes.get("deregistration_delay.timeout_seconds", DEFAULT_DEREGISTRATION_DELAY))
