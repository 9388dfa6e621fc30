"""What a request, and the health of a target group, mean in CloudWatch's AWS/ApplicationELB. Pure.

Source: semantics elbv2 §11 (names, dimensions, what is counted when). Left out, because nothing here knows them: invalid
headers that were dropped or forwarded, redirects that are too long, anomaly mitigation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from moorage.decide.elbv2_cause import CONNECT_FAILED, CONNECT_TIMEOUT, REFUSED, TLS_FAILED, cause_of
from moorage.domain.request_record import RequestRecord
from moorage.domain.target_group import TargetGroup, below_minimum

NAMESPACE = "AWS/ApplicationELB"
COUNT, BYTES, SECONDS = "Count", "Bytes", "Seconds"
_CONNECTION_ERRORS = {
    REFUSED: "TargetConnectionErrorCount",
    CONNECT_TIMEOUT: "TargetConnectionErrorCount",
    CONNECT_FAILED: "TargetConnectionErrorCount",
    TLS_FAILED: "TargetTLSNegotiationErrorCount",
}
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
    values: tuple[tuple[float, float], ...] = ()
    """(value, how often), of a metric whose percentiles are asked for; together the same as the four above."""


def of_request(
    record: RequestRecord, *, load_balancer: str, zone: str, grpc: bool = False, fail_open: bool = False
) -> Iterator[Sample]:
    """`load_balancer`: "app/web/50dc…"; `zone`: of the node that served it. Each metric comes with and without its
    zone. `grpc`: the target group speaks gRPC; `fail_open`: it had too few healthy targets."""
    group = _full_name(record.target_group_arn)
    for name, value, unit, also_of_group in _measured(record):
        yield from dimensioned(name, value, unit, load_balancer, group if also_of_group else "", zone)
    if grpc and record.target:
        yield from dimensioned("GrpcRequestCount", 1, COUNT, load_balancer, "", zone)
    if fail_open and record.target:
        yield from dimensioned("UnhealthyRoutingRequestCount", 1, COUNT, load_balancer, group, zone, alone=False)


def of_connection(*, load_balancer: str, zone: str, new: bool) -> Iterator[Sample]:
    """A client connection that was used in this minute; `new`: it was not in the minute before."""
    yield from dimensioned("ActiveConnectionCount", 1, COUNT, load_balancer, "", zone)
    if new:
        yield from dimensioned("NewConnectionCount", 1, COUNT, load_balancer, "", zone)


def of_failed_handshake(*, load_balancer: str, zone: str) -> Iterator[Sample]:
    """A connection that came to nothing because of TLS."""
    yield from of_connection(load_balancer=load_balancer, zone=zone, new=True)
    yield from dimensioned("ClientTLSNegotiationErrorCount", 1, COUNT, load_balancer, "", zone)


def of_zones(
    group: TargetGroup,
    *,
    load_balancer: str,
    zones: Sequence[str],
    targets: Sequence[tuple[str, bool]],
    crosses: bool,
) -> Iterator[Sample]:
    """In how many zones the group has as many healthy targets as its attributes ask, for DNS and for routing. `targets`:
    (zone, healthy); one without a zone is in all of them. `crosses`: a zone has the targets of all zones."""
    dimensions = (("TargetGroup", group.full_name), ("LoadBalancer", load_balancer))
    for what, name in (("dns_failover", "DNS"), ("unhealthy_state_routing", "Routing")):
        good = 0
        for zone in zones:
            there = [healthy for own, healthy in targets if crosses or own in ("", zone)]
            below = not there or below_minimum(group, what, sum(there), len(there))  # type: ignore[arg-type]
            good += not below
            one_zone = (dimensions[0], ("AvailabilityZone", zone), dimensions[1])
            yield Sample(f"{'Unhealthy' if below else 'Healthy'}State{name}", one_zone, 1)
        if good:
            yield Sample(f"HealthyState{name}", dimensions, good)
        if good < len(zones):
            yield Sample(f"UnhealthyState{name}", dimensions, len(zones) - good)


def of_targets(*, load_balancer: str, target_group: str, healthy: int, unhealthy: int) -> Iterator[Sample]:
    """`target_group`: "targetgroup/web/73e2…"."""
    dimensions = (("TargetGroup", target_group), ("LoadBalancer", load_balancer))
    yield Sample("HealthyHostCount", dimensions, healthy)
    yield Sample("UnHealthyHostCount", dimensions, unhealthy)


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
    if record.chosen_anew:
        yield "NonStickyRequestCount", 1, COUNT, False
    yield "ProcessedBytes", record.received_bytes + record.sent_bytes, BYTES, False
    if ":" in record.client.rpartition(":")[0]:
        yield "IPv6RequestCount", 1, COUNT, False
        yield "IPv6ProcessedBytes", record.received_bytes + record.sent_bytes, BYTES, False
    if record.from_target:
        if 2 <= hundreds <= 5:
            yield f"HTTPCode_Target_{hundreds}XX_Count", 1, COUNT, True
        if record.target_time is not None:
            yield "TargetResponseTime", record.target_time, SECONDS, True
        return
    if "DPE" in record.flags:
        yield "DesyncMitigationMode_NonCompliant_Request_Count", 1, COUNT, False
    if 3 <= hundreds <= 5:
        yield f"HTTPCode_ELB_{hundreds}XX_Count", 1, COUNT, False
    if record.status in _COUNTED_ALONE:
        yield f"HTTPCode_ELB_{record.status}_Count", 1, COUNT, False
    if record.location and record.status in (301, 302):
        yield "HTTP_Redirect_Count", 1, COUNT, False
    elif record.details == "direct_response" and record.priority is not None:
        yield "HTTP_Fixed_Response_Count", 1, COUNT, False
    cause = cause_of(record)
    if cause is not None and cause.code in _CONNECTION_ERRORS:
        yield _CONNECTION_ERRORS[cause.code], 1, COUNT, True


def dimensioned(
    name: str, value: float, unit: str, balancer: str, group: str, zone: str, *, alone: bool = True
) -> Iterator[Sample]:
    """One observation under all its dimensions. `group`, `zone`: "" where there is none. `alone`: also of the load
    balancer without its target group."""
    of_balancer = ("LoadBalancer", balancer)
    of_zone = ("AvailabilityZone", zone)
    if alone:
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
