"""The health check settings of a target group: defaults by protocol, and what they may be (semantics elbv2 §3.4, §5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from moorage.decide.target_health import parse_matcher
from moorage.domain.errors import AwsError
from moorage.domain.load_balancer import LAYER_4
from moorage.domain.target_group import HealthCheck, TargetGroup
from moorage.services.elbv2.validate import between, invalid, number

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


def created(kind: str, protocol: str | None, version: str | None, params: Mapping[str, Any]) -> HealthCheck:
    """`kind`: the target type. `protocol`: None for functions."""
    base = _defaults(kind, protocol, version, params.get("HealthCheckProtocol"))
    return _applied(base, kind, protocol, version, params)


def modified(group: TargetGroup, params: Mapping[str, Any]) -> HealthCheck:
    """The group's check with what was given replaced. A check that becomes another protocol begins with that one's
    defaults where it had nothing to say."""
    base = group.health_check
    wanted = params.get("HealthCheckProtocol")
    if wanted in ("HTTP", "HTTPS") and base.protocol == "TCP":
        base = msgspec.structs.replace(base, path="/", matcher="200-399")
    elif wanted == "TCP":
        base = msgspec.structs.replace(base, path="", matcher="")
    return _applied(base, group.target_type, group.protocol, group.protocol_version, params)


def _defaults(kind: str, protocol: str | None, version: str | None, check_protocol: str | None) -> HealthCheck:
    if kind == "lambda":
        return HealthCheck(
            protocol="", port="", interval=35, timeout=30, healthy_threshold=5, unhealthy_threshold=5, enabled=False
        )
    if version == "GRPC":
        return HealthCheck(path="/AWS.ALB/healthcheck", matcher="12")
    if protocol in ("HTTP", "HTTPS"):
        return HealthCheck()
    if check_protocol == "HTTPS":
        return HealthCheck(protocol="HTTPS", timeout=10, matcher="200-399")
    if check_protocol == "HTTP" or kind == "alb":
        return HealthCheck(timeout=6, matcher="200-399")
    return HealthCheck(protocol="TCP", timeout=10, path="", matcher="")


def _applied(
    base: HealthCheck, kind: str, protocol: str | None, version: str | None, params: Mapping[str, Any]
) -> HealthCheck:
    given = {field: params[member] for member, field in _MEMBERS.items() if params.get(member) is not None}
    if kind == "lambda":
        for member in ("HealthCheckProtocol", "HealthCheckPort"):
            if params.get(member) is not None:
                raise invalid(f"{_words(member)} cannot be specified for target groups with target type 'lambda'")
    matcher = params.get("Matcher") or {}
    _check_kind_of_codes(matcher, version)
    code = matcher.get("GrpcCode") if version == "GRPC" else matcher.get("HttpCode")
    check = msgspec.structs.replace(base, **given)
    if check.protocol == "TCP" and protocol in LAYER_4:
        for given_one, what in ((matcher, "matchers"), (params.get("HealthCheckPath"), "paths")):
            if given_one:
                raise AwsError(
                    "InvalidConfigurationRequest",
                    f"Custom health check {what} are not supported for health checks for target groups with the "
                    f"{protocol} protocol",
                )
    elif code is not None:
        check = msgspec.structs.replace(check, matcher=code)
    if not check.enabled and kind != "lambda":
        raise invalid(f"Health check enabled must be true for target groups with target type '{kind}'")
    _check(check, kind, protocol, version)
    return check


def _check_kind_of_codes(matcher: Mapping[str, Any], version: str | None) -> None:
    if version == "GRPC" and matcher.get("HttpCode"):
        raise invalid(
            "Health check matcher HTTP code cannot be specified for target groups with the GRPC protocol version"
        )
    if version != "GRPC" and matcher.get("GrpcCode"):
        raise invalid(
            "Health check matcher GRPC code can only be specified for target groups with the GRPC protocol version"
        )


def _words(member: str) -> str:
    return {"HealthCheckProtocol": "Health check protocol", "HealthCheckPort": "Health check port"}[member]


def _check(check: HealthCheck, kind: str, protocol: str | None, version: str | None) -> None:
    by_tcp = protocol in LAYER_4 and kind != "alb"
    allowed = ("HTTP", "HTTPS", "TCP") if by_tcp else ("HTTP", "HTTPS")
    if kind != "lambda" and check.protocol not in allowed:
        raise invalid(f"Health check protocol '{check.protocol}' must be one of '{', '.join(allowed)}'")
    between("Health check interval", check.interval, 5, 300)
    between("Health check timeout", check.timeout, 2, 120)
    between("Healthy threshold count", check.healthy_threshold, 2, 10)
    between("Unhealthy threshold count", check.unhealthy_threshold, 2, 10)
    if check.timeout > check.interval or (check.timeout == check.interval and protocol not in LAYER_4):
        raise invalid(f"Health check timeout '{check.timeout}' must be smaller than the interval '{check.interval}'")
    numbered = 1 <= (number(check.port) or 0) <= 65535
    if kind != "lambda" and check.port != "traffic-port" and not numbered:
        raise invalid(f"Health check port '{check.port}' must be 'traffic-port' or a number between '1' and '65535'")
    if check.protocol == "TCP":
        return
    if not check.path.startswith("/"):
        raise invalid(f"Health check path '{check.path}' must begin with a '/' character")
    if len(check.path) > 1024 or any(c.isspace() for c in check.path):
        raise invalid(f"Health check path '{check.path}' must be a valid path")
    low, high = _codes(protocol, version)
    try:
        ranges = parse_matcher(check.matcher)
    except ValueError:
        raise invalid(f"Health check matcher '{check.matcher}' is not valid") from None
    if any(not low <= first <= last <= high for first, last in ranges):
        kind = "GRPC" if version == "GRPC" else "HTTP"
        raise invalid(f"Health check matcher {kind} code '{check.matcher}' must be within '{low}-{high}' inclusive")


def _codes(protocol: str | None, version: str | None) -> tuple[int, int]:
    if version == "GRPC":
        return 0, 99
    return (200, 599) if protocol in LAYER_4 else (200, 499)
