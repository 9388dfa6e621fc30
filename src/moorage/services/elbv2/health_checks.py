"""The health check settings of a target group: defaults by protocol, and what they may be (semantics elbv2 §3.4, §5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from moorage.decide.target_health import parse_matcher
from moorage.domain.errors import AwsError
from moorage.domain.target_group import HealthCheck, TargetGroup
from moorage.services.elbv2.validate import between, invalid

_MEMBERS = {
    "HealthCheckProtocol": "protocol",
    "HealthCheckPort": "port",
    "HealthCheckPath": "path",
    "HealthCheckEnabled": "enabled",
    "HealthCheckIntervalSeconds": "interval",
    "HealthCheckTimeoutSeconds": "timeout",
    "HealthyThresholdCount": "healthy_threshold",
    "UnhealthyThresholdCount": "unhealthy_threshold",
}


def created(kind: str, protocol: str, version: str | None, params: Mapping[str, Any]) -> HealthCheck:
    """`kind`: the target type."""
    base = _defaults(protocol, version, params.get("HealthCheckProtocol"))
    return _applied(base, kind, protocol, version, params)


def modified(group: TargetGroup, params: Mapping[str, Any]) -> HealthCheck:
    """The group's check with what was given replaced."""
    assert group.protocol is not None
    return _applied(group.health_check, group.target_type, group.protocol, group.protocol_version, params)


def _defaults(protocol: str, version: str | None, check_protocol: str | None) -> HealthCheck:
    if version == "GRPC":
        return HealthCheck(path="/AWS.ALB/healthcheck", matcher="12")
    if protocol in ("HTTP", "HTTPS"):
        return HealthCheck()
    if check_protocol in ("HTTP", "HTTPS"):
        return HealthCheck(timeout=6, matcher="200-399")
    return HealthCheck(protocol="TCP", timeout=10, path="", matcher="")


def _applied(
    base: HealthCheck, kind: str, protocol: str, version: str | None, params: Mapping[str, Any]
) -> HealthCheck:
    given = {field: params[member] for member, field in _MEMBERS.items() if params.get(member) is not None}
    matcher = params.get("Matcher") or {}
    code = matcher.get("GrpcCode") if version == "GRPC" else matcher.get("HttpCode")
    check = msgspec.structs.replace(base, **given)
    if check.protocol == "TCP" and protocol not in ("HTTP", "HTTPS"):
        if matcher:
            raise AwsError(
                "InvalidConfigurationRequest",
                "Custom health check matchers are not supported for health checks for target groups with the "
                f"{protocol} protocol",
            )
    elif code is not None:
        check = msgspec.structs.replace(check, matcher=code)
    if not check.enabled:
        raise invalid(f"Health check enabled must be true for target groups with target type '{kind}'")
    _check(check, protocol, version)
    return check


def _check(check: HealthCheck, protocol: str, version: str | None) -> None:
    allowed = ("HTTP", "HTTPS") if protocol in ("HTTP", "HTTPS") else ("HTTP", "HTTPS", "TCP")
    if check.protocol not in allowed:
        raise invalid(f"Health check protocol '{check.protocol}' must be one of '{', '.join(allowed)}'")
    between("Health check interval", check.interval, 5, 300)
    between("Health check timeout", check.timeout, 2, 120)
    between("Healthy threshold count", check.healthy_threshold, 2, 10)
    between("Unhealthy threshold count", check.unhealthy_threshold, 2, 10)
    if check.timeout >= check.interval:
        raise invalid(f"Health check timeout '{check.timeout}' must be smaller than the interval '{check.interval}'")
    if check.port != "traffic-port" and not (check.port.isdigit() and 1 <= int(check.port) <= 65535):
        raise invalid(f"Health check port '{check.port}' must be 'traffic-port' or a number between '1' and '65535'")
    if check.protocol == "TCP":
        return
    if not check.path.startswith("/") or len(check.path) > 1024 or any(c.isspace() for c in check.path):
        raise invalid(f"Health check path '{check.path}' must begin with '/' and must be a valid path")
    low, high = _codes(protocol, version)
    try:
        ranges = parse_matcher(check.matcher)
    except ValueError:
        raise invalid(f"Health check matcher '{check.matcher}' is not valid") from None
    if any(not low <= first <= last <= high for first, last in ranges):
        kind = "GRPC" if version == "GRPC" else "HTTP"
        raise invalid(f"Health check matcher {kind} code '{check.matcher}' must be within '{low}-{high}' inclusive")


def _codes(protocol: str, version: str | None) -> tuple[int, int]:
    if version == "GRPC":
        return 0, 99
    return (200, 499) if protocol in ("HTTP", "HTTPS") else (200, 599)
