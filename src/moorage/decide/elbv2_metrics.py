"""What a request, and the health of a target group, mean in CloudWatch's AWS/ApplicationELB. Pure.

Source: semantics elbv2 §11 (names, dimensions, what is counted when). Left out, because nothing here knows them: invalid
headers that were dropped or forwarded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from moorage.decide.elbv2_auth import CALLBACK
from moorage.decide.elbv2_cause import (
    CONNECT_FAILED,
    CONNECT_TIMEOUT,
    LONG_REDIRECT,
    MISMATCH,
    REFUSED,
    TLS_FAILED,
    cause_of,
)
from moorage.decide.elbv2_desync import classified
from moorage.domain.request_record import RequestRecord
from moorage.domain.target_group import Minimum, TargetGroup, below_minimum

NAMESPACE = "AWS/ApplicationELB"
COUNT, BYTES, SECONDS, MILLISECONDS = "Count", "Bytes", "Seconds", "Milliseconds"
_CONNECTION_ERRORS = {
    REFUSED: "TargetConnectionErrorCount",
    CONNECT_TIMEOUT: "TargetConnectionErrorCount",
    CONNECT_FAILED: "TargetConnectionErrorCount",
    TLS_FAILED: "TargetTLSNegotiationErrorCount",
}
WELL = ("healthy", "unavailable")
"""States of targets that get requests: without health checks, all of them are well."""
_COUNTED_ALONE = frozenset({500, 502, 503, 504})

Dimensions = tuple[tuple[str, str], ...]


class Measure(NamedTuple):
    """One observation of a load balancer's metric. `group`: the target group that has it too ("targetgroup/web/73e2…")."""

    name: str
    value: float = 1.0
    unit: str = COUNT
    group: str = ""


class Sample(msgspec.Struct, frozen=True):
    """One observation under dimensions of its own."""

    name: str
    dimensions: Dimensions
    value: float = 1.0


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


GROUP_ONLY = frozenset({"UnhealthyRoutingRequestCount", "UnhealthyRoutingFlowCount"})
"""Metrics that a load balancer has by target group only."""


def of_request(record: RequestRecord, *, grpc: bool = False, fail_open: bool = False) -> Iterator[Measure]:
    """`grpc`: the target group speaks gRPC; `fail_open`: it had too few healthy targets."""
    group = _full_name(record.target_group_arn)
    if record.target:
        yield Measure("RequestCount", 1, COUNT, group)
        if grpc:
            yield Measure("GrpcRequestCount")
        if fail_open:
            yield Measure("UnhealthyRoutingRequestCount", 1, COUNT, group)
    if record.chosen_anew:
        yield Measure("NonStickyRequestCount")
    if classified(record)[0]:
        yield Measure("DesyncMitigationMode_NonCompliant_Request_Count")
    yield Measure("ProcessedBytes", record.received_bytes + record.sent_bytes, BYTES)
    if ":" in record.client.rpartition(":")[0]:
        yield Measure("IPv6RequestCount")
        yield Measure("IPv6ProcessedBytes", record.received_bytes + record.sent_bytes, BYTES)
    hundreds = record.status // 100
    if record.from_target:
        if 2 <= hundreds <= 5:
            yield Measure(f"HTTPCode_Target_{hundreds}XX_Count", 1, COUNT, group)
        if record.target_time is not None:
            yield Measure("TargetResponseTime", record.target_time, SECONDS, group)
        return
    yield from _own_answer(record, hundreds, group)


def of_connection(*, new: bool) -> Iterator[Measure]:
    """A client connection that was used in this minute; `new`: it was not in the minute before."""
    yield Measure("ActiveConnectionCount")
    if new:
        yield Measure("NewConnectionCount")


def of_failed_handshake() -> Iterator[Measure]:
    """A connection that came to nothing because of TLS."""
    yield from of_connection(new=True)
    yield Measure("ClientTLSNegotiationErrorCount")


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
    minima: tuple[tuple[Minimum, str], ...] = (("dns_failover", "DNS"), ("unhealthy_state_routing", "Routing"))
    for what, name in minima:
        good = 0
        for zone in zones:
            there = [healthy for own, healthy in targets if crosses or own in ("", zone)]
            below = not there or below_minimum(group, what, sum(there), len(there))
            good += not below
            one_zone = (dimensions[0], ("AvailabilityZone", zone), dimensions[1])
            yield Sample(f"{'Unhealthy' if below else 'Healthy'}State{name}", one_zone, 1)
        if good:
            yield Sample(f"HealthyState{name}", dimensions, good)
        if good < len(zones):
            yield Sample(f"UnhealthyState{name}", dimensions, len(zones) - good)


def of_targets(
    *, load_balancer: str, target_group: str, zones: Sequence[str], targets: Sequence[tuple[str, str]]
) -> Iterator[Sample]:
    """`target_group`: "targetgroup/web/73e2…"; `targets`: (zone, state) of those that were checked; one without a zone is
    in all of them."""
    of_group, of_balancer = ("TargetGroup", target_group), ("LoadBalancer", load_balancer)
    for zone in ("", *zones):
        there = [state for own, state in targets if not zone or own in ("", zone)]
        dimensions = (of_group, ("AvailabilityZone", zone), of_balancer) if zone else (of_group, of_balancer)
        yield Sample("HealthyHostCount", dimensions, sum(state in WELL for state in there))
        yield Sample("UnHealthyHostCount", dimensions, there.count("unhealthy"))


def of_anomalies(*, load_balancer: str, target_group: str, passed_over: int) -> Iterator[Sample]:
    """Targets that show anomalies are passed over at once: both numbers are the same."""
    dimensions = (("TargetGroup", target_group), ("LoadBalancer", load_balancer))
    yield Sample("AnomalousHostCount", dimensions, passed_over)
    yield Sample("MitigatedHostCount", dimensions, passed_over)


def requests_per_target(*, load_balancer: str, target_group: str, requests: float, targets: int) -> Iterator[Sample]:
    """The average per target: 90 requests, 3 targets → 30."""
    if requests and targets:
        for dimensions in (
            (("TargetGroup", target_group),),
            (("TargetGroup", target_group), ("LoadBalancer", load_balancer)),
        ):
            yield Sample("RequestCountPerTarget", dimensions, requests / targets)


def dimensions_of(load_balancer: str, group: str, zone: str) -> Iterator[Dimensions]:
    """Under which dimensions a measure is found: with and without its zone. `load_balancer`: "app/web/50dc…"; `group`: ""
    for the load balancer as a whole."""
    of_group: Dimensions = (("TargetGroup", group),) if group else ()
    of_balancer = ("LoadBalancer", load_balancer)
    yield (*of_group, of_balancer)
    if zone:
        yield (*of_group, ("AvailabilityZone", zone), of_balancer)


def _own_answer(record: RequestRecord, hundreds: int, group: str) -> Iterator[Measure]:
    """Of an answer that the load balancer made itself."""
    if 3 <= hundreds <= 5:
        yield Measure(f"HTTPCode_ELB_{hundreds}XX_Count")
    if record.status in _COUNTED_ALONE:
        yield Measure(f"HTTPCode_ELB_{record.status}_Count")
    if record.stopped_by_authentication:
        yield from _login(record)
    elif record.location and record.status in (301, 302):
        yield Measure("HTTP_Redirect_Count")
    cause = cause_of(record)
    code = cause.code if cause is not None else ""
    if code == LONG_REDIRECT:
        yield Measure("HTTP_Redirect_Url_Limit_Exceeded_Count")
    of_rule = record.details == "direct_response" and record.priority is not None and code != MISMATCH
    if of_rule and not record.location:
        yield Measure("HTTP_Fixed_Response_Count")
    if code in _CONNECTION_ERRORS:
        yield Measure(_CONNECTION_ERRORS[code], 1, COUNT, group)


def _login(record: RequestRecord) -> Iterator[Measure]:
    """Of a user who comes back from the provider; that others are sent there is no outcome yet."""
    if record.path.partition("?")[0] != CALLBACK:
        return
    yield Measure("ELBAuthLatency", record.duration * 1000, MILLISECONDS)
    if record.status == 302:
        yield Measure("ELBAuthSuccess")
    elif record.status == 401:
        yield Measure("ELBAuthFailure")
    else:
        yield Measure("ELBAuthError")


def _full_name(target_group_arn: str) -> str:
    """`targetgroup/web/73e2…`"""
    return target_group_arn.rpartition(":")[2] if target_group_arn else ""
