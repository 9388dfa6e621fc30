"""One health check → one line of AWS's health check log. Pure. Source: AWS's guide, "Health check log entries": ten fields
and the reason codes.
"""

from __future__ import annotations

from moorage.decide.elbv2_access_log import iso
from moorage.decide.target_health import verdict
from moorage.domain.target_group import ProbeResult, Target, TargetGroup


def health_check_line(
    target: Target,
    group: TargetGroup,
    result: ProbeResult,
    *,
    started: float,
    seconds: float,
    load_balancer: str,
    address: str,
) -> str:
    """`started`: epoch seconds; `load_balancer`: "app/web/50dc…"; `address`: of its node."""
    passed = verdict(result, group.health_check) is None
    status = str(result.status) if result.status is not None else "-"
    where = target.id if group.target_type == "lambda" else f"{target.reaches or target.id}:{_port(target, group)}"
    return (
        f"{_type(group)} {iso(started)} {seconds:.9f} {where} {group.name} {'PASS' if passed else 'FAIL'} {status} "
        f"{'-' if passed else reason(result, group)} {load_balancer} {address}"
    )


def reason(result: ProbeResult, group: TargetGroup) -> str:
    """Why a check failed, in AWS's words."""
    if result.outcome == "timeout":
        return "TimedOut"
    if group.protocol_version == "GRPC" and result.status is not None:
        return "GRPCUnexpectedStatus"
    if result.status is None:
        # refused, reset or not HTTP: AWS has one word for what is not an answer
        return "ConnectionReset"
    return "TargetError" if result.status >= 500 else "ResponseCodeMismatch"


def _type(group: TargetGroup) -> str:
    if group.target_type == "lambda":
        return "lambda"
    if group.protocol_version == "GRPC":
        return "grpc"
    if group.protocol_version == "HTTP2":
        return "h2"
    return group.health_check.protocol.lower()


def _port(target: Target, group: TargetGroup) -> int:
    port = group.health_check.port
    return target.port if port == "traffic-port" else int(port)
