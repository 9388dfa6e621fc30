"""What a request, and the health of a target group, mean in CloudWatch's AWS/ApplicationELB. Pure.

Source: semantics elbv2 §11 (names, dimensions, what is counted when). Left out, because nothing here knows them: consumed
capacity units, rule evaluations, TLS negotiation errors of clients, anomaly mitigation.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from moorage.decide.elbv2_cause import (
    CONNECT_FAILED,
    CONNECT_TIMEOUT,
    LONG_REDIRECT,
    MISMATCH,
    REFUSED,
    cause_of,
)
from moorage.decide.elbv2_desync import classified
from moorage.domain.request_record import RequestRecord

NAMESPACE = "AWS/ApplicationELB"
COUNT, BYTES, SECONDS = "Count", "Bytes", "Seconds"
_CONNECTION_ERRORS = frozenset({REFUSED, CONNECT_TIMEOUT, CONNECT_FAILED})
_COUNTED_ALONE = frozenset({500, 502, 503, 504})

Dimensions = tuple[tuple[str, str], ...]


class Sample(msgspec.Struct, frozen=True):
    """One observation of a metric."""

    name: str
    dimensions: Dimensions
    value: float = 1.0
    unit: str = COUNT


class Datum(msgspec.Struct, frozen=True):
    """A metric over one minute that began at `at` (epoch seconds)."""

    name: str
    dimensions: Dimensions
    unit: str
    at: float
    samples: float
    total: float
    least: float
    most: float


def of_request(record: RequestRecord, *, load_balancer: str, zone: str) -> Iterator[Sample]:
    """`load_balancer`: "app/web/50dc…"; `zone`: of the node that served it. Each metric comes with and without its
    zone."""
    group = _full_name(record.target_group_arn)
    for name, value, unit, also_of_group in _measured(record):
        yield from _dimensioned(name, value, unit, load_balancer, group if also_of_group else "", zone)


def of_connection(*, load_balancer: str, zone: str, new: bool) -> Iterator[Sample]:
    """A client connection that carried a request in this minute; `new`: it did not in the minute before."""
    yield from _dimensioned("ActiveConnectionCount", 1, COUNT, load_balancer, "", zone)
    if new:
        yield from _dimensioned("NewConnectionCount", 1, COUNT, load_balancer, "", zone)


def of_targets(
    *, load_balancer: str, target_group: str, healthy: int, unhealthy: int, enough: bool
) -> Iterator[Sample]:
    """`target_group`: "targetgroup/web/73e2…"; `enough`: the group has as many healthy targets as its attributes ask."""
    dimensions = (("TargetGroup", target_group), ("LoadBalancer", load_balancer))
    yield Sample("HealthyHostCount", dimensions, healthy)
    yield Sample("UnHealthyHostCount", dimensions, unhealthy)
    yield Sample("HealthyStateRouting" if enough else "UnhealthyStateRouting", dimensions, 1)


def requests_per_target(*, load_balancer: str, target_group: str, requests: float, targets: int) -> Iterator[Sample]:
    """The average per target: 90 requests, 3 targets → 30."""
    if requests and targets:
        for dimensions in (
            (("TargetGroup", target_group),),
            (("TargetGroup", target_group), ("LoadBalancer", load_balancer)),
        ):
            yield Sample("RequestCountPerTarget", dimensions, requests / targets)


def _measured(record: RequestRecord) -> Iterator[tuple[str, float, str, bool]]:
    """(metric, value, unit, whether the target group has it too)"""
    hundreds = record.status // 100
    if record.target:
        yield "RequestCount", 1, COUNT, True
    yield "ProcessedBytes", record.received_bytes + record.sent_bytes, BYTES, False
    if classified(record)[0]:
        yield "DesyncMitigationMode_NonCompliant_Request_Count", 1, COUNT, False
    if ":" in record.client.rpartition(":")[0]:
        yield "IPv6RequestCount", 1, COUNT, False
        yield "IPv6ProcessedBytes", record.received_bytes + record.sent_bytes, BYTES, False
    if record.from_target:
        if 2 <= hundreds <= 5:
            yield f"HTTPCode_Target_{hundreds}XX_Count", 1, COUNT, True
        if record.target_time is not None:
            yield "TargetResponseTime", record.target_time, SECONDS, True
        return
    if 3 <= hundreds <= 5:
        yield f"HTTPCode_ELB_{hundreds}XX_Count", 1, COUNT, False
    if record.status in _COUNTED_ALONE:
        yield f"HTTPCode_ELB_{record.status}_Count", 1, COUNT, False
    if record.location and record.status in (301, 302):
        yield "HTTP_Redirect_Count", 1, COUNT, False
    cause = cause_of(record)
    code = cause.code if cause is not None else ""
    if code == LONG_REDIRECT:
        yield "HTTP_Redirect_Url_Limit_Exceeded_Count", 1, COUNT, False
    of_rule = record.details == "direct_response" and record.priority is not None and code != MISMATCH
    if of_rule and not record.location:
        yield "HTTP_Fixed_Response_Count", 1, COUNT, False
    if code in _CONNECTION_ERRORS:
        tls = "tls" in record.failure.lower()
        yield "TargetTLSNegotiationErrorCount" if tls else "TargetConnectionErrorCount", 1, COUNT, True


def _dimensioned(name: str, value: float, unit: str, balancer: str, group: str, zone: str) -> Iterator[Sample]:
    of_balancer = ("LoadBalancer", balancer)
    of_zone = ("AvailabilityZone", zone)
    yield Sample(name, (of_balancer,), value, unit)
    if zone:
        yield Sample(name, (of_zone, of_balancer), value, unit)
    if group:
        yield Sample(name, (("TargetGroup", group), of_balancer), value, unit)
        if zone:
            yield Sample(name, (("TargetGroup", group), of_zone, of_balancer), value, unit)


def _full_name(target_group_arn: str) -> str:
    """`targetgroup/web/73e2…`"""
    return target_group_arn.rpartition(":")[2] if target_group_arn else ""
