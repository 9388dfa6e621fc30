"""What a request counts as in CloudWatch (semantics elbv2 §11)."""

from __future__ import annotations

import msgspec
import pytest

from moorage.decide.elbv2_metrics import (
    dimensions_of,
    of_failed_handshake,
    of_request,
    of_targets,
    of_zones,
    requests_per_target,
)
from moorage.domain.request_record import RequestRecord
from proxy.builders import a_target_group

GROUP = "arn:aws:elasticloadbalancing:us-east-1:000000000000:targetgroup/web/73e2"
OF_LB = ("LoadBalancer", "app/web/50dc")
OF_ZONE = ("AvailabilityZone", "us-east-1a")
OF_GROUP = ("TargetGroup", "targetgroup/web/73e2")
PLAIN = RequestRecord(1.0, "192.0.2.1:9", 80, "HTTP/1.1", "GET", "h", "/", 200, 0.1, received_bytes=10, sent_bytes=20)
ANSWERED = {"target_group_arn": GROUP, "target": "10.0.0.7:80", "details": "via_upstream", "target_time": 0.25}


def counted(**changes: object) -> dict[str, float]:
    """Metric → value."""
    return {one.name: one.value for one in of_request(msgspec.structs.replace(PLAIN, **changes))}


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({**ANSWERED}, {"RequestCount", "HTTPCode_Target_2XX_Count", "TargetResponseTime"}),
        ({**ANSWERED, "status": 503}, {"RequestCount", "HTTPCode_Target_5XX_Count", "TargetResponseTime"}),
        ({**ANSWERED, "status": 101}, {"RequestCount", "TargetResponseTime"}),
        (
            {"status": 503, "flags": "UH", "target_group_arn": GROUP, "details": "no_healthy_upstream"},
            {"HTTPCode_ELB_5XX_Count", "HTTPCode_ELB_503_Count"},
        ),
        (
            {"status": 502, "flags": "UF", "target_group_arn": GROUP, "target": "10.0.0.7:80",
             "details": "upstream_reset_before_response_started{connection_refused}"},
            {"RequestCount", "HTTPCode_ELB_5XX_Count", "HTTPCode_ELB_502_Count", "TargetConnectionErrorCount"},
        ),
        (
            {"status": 404, "details": "direct_response", "priority": 0},
            {"HTTPCode_ELB_4XX_Count", "HTTP_Fixed_Response_Count"},
        ),
        (
            {"status": 301, "details": "direct_response", "location": "https://h:443/", "priority": 1},
            {"HTTPCode_ELB_3XX_Count", "HTTP_Redirect_Count"},
        ),
        (
            {"status": 507, "details": "direct_response", "location": "https://h:443/" + "x" * 8192, "priority": 1},
            {"HTTPCode_ELB_5XX_Count", "HTTP_Redirect_Url_Limit_Exceeded_Count"},
        ),
        ({"status": 464, "details": "direct_response", "priority": 1}, {"HTTPCode_ELB_4XX_Count"}),
        (
            {"status": 400, "flags": "DPE", "details": "http1.codec_error"},
            {"HTTPCode_ELB_4XX_Count", "DesyncMitigationMode_NonCompliant_Request_Count"},
        ),
        ({"status": 460, "flags": "DC", "target": "10.0.0.7:80"}, {"RequestCount", "HTTPCode_ELB_4XX_Count"}),
        ({"client": "[2001:db8::1]:9", **ANSWERED},
         {"RequestCount", "HTTPCode_Target_2XX_Count", "TargetResponseTime", "IPv6RequestCount", "IPv6ProcessedBytes"}),
    ],
)  # fmt: skip
def test_what_counts(changes: dict[str, object], names: set[str]) -> None:
    assert set(counted(**changes)) == names | {"ProcessedBytes"}
    assert counted(**changes)["ProcessedBytes"] == 30


def test_dimensions() -> None:
    assert list(dimensions_of("app/web/50dc", "", "us-east-1a")) == [(OF_LB,), (OF_ZONE, OF_LB)]
    assert list(dimensions_of("app/web/50dc", "targetgroup/web/73e2", "us-east-1a")) == [
        (OF_GROUP, OF_LB), (OF_GROUP, OF_ZONE, OF_LB),
    ]  # fmt: skip
    assert list(dimensions_of("app/web/50dc", "", "")) == [(OF_LB,)]


def test_which_metrics_a_target_group_has_too() -> None:
    measures = list(of_request(msgspec.structs.replace(PLAIN, **ANSWERED)))
    assert {one.name for one in measures if one.group == "targetgroup/web/73e2"} == {
        "RequestCount", "HTTPCode_Target_2XX_Count", "TargetResponseTime",
    }  # fmt: skip
    assert {one.name for one in measures if not one.group} == {"ProcessedBytes"}
    time = next(one for one in measures if one.name == "TargetResponseTime")
    assert (time.value, time.unit) == (0.25, "Seconds")


def test_targets() -> None:
    names = {"load_balancer": "app/web/50dc", "target_group": "targetgroup/web/73e2"}
    targets = [("a", "healthy"), ("b", "unhealthy"), ("", "unavailable"), ("a", "initial")]
    made = {
        (one.name, one.dimensions[1][1]): one.value for one in of_targets(**names, zones=["a", "b"], targets=targets)
    }
    assert made == {
        ("HealthyHostCount", "app/web/50dc"): 2, ("UnHealthyHostCount", "app/web/50dc"): 1,
        ("HealthyHostCount", "a"): 2, ("UnHealthyHostCount", "a"): 0,
        ("HealthyHostCount", "b"): 1, ("UnHealthyHostCount", "b"): 1,
    }  # fmt: skip
    assert {one.value for one in requests_per_target(**names, requests=90, targets=3)} == {30}
    assert list(requests_per_target(**names, requests=90, targets=0)) == []


def test_requests_that_go_to_ill_targets_and_those_of_grpc() -> None:
    record = msgspec.structs.replace(PLAIN, **ANSWERED)
    names = {one.name for one in of_request(record, grpc=True, fail_open=True)}
    assert {"UnhealthyRoutingRequestCount", "GrpcRequestCount"} <= names
    unanswered = msgspec.structs.replace(PLAIN, status=503, flags="UH", target_group_arn=GROUP)
    assert not {"UnhealthyRoutingRequestCount", "GrpcRequestCount"} & {
        one.name for one in of_request(unanswered, grpc=True, fail_open=True)
    }


def test_what_is_no_http_is_counted_as_not_compliant() -> None:
    names = counted(status=400, flags="DPE", details="http1.codec_error")
    assert names["DesyncMitigationMode_NonCompliant_Request_Count"] == 1
    assert names["HTTPCode_ELB_4XX_Count"] == 1


def test_a_target_that_no_cookie_led_to() -> None:
    assert counted(**ANSWERED, chosen_anew=True)["NonStickyRequestCount"] == 1
    assert "NonStickyRequestCount" not in counted(**ANSWERED)


def test_a_failed_handshake_is_a_connection_too() -> None:
    made = {one.name for one in of_failed_handshake()}
    assert made == {"ActiveConnectionCount", "NewConnectionCount", "ClientTLSNegotiationErrorCount"}


@pytest.mark.parametrize(
    ("targets", "crosses", "attributes", "dns", "routing"),
    [
        ([("a", True), ("b", False)], True, {}, (2, 0), (2, 0)),
        ([("a", True), ("b", False)], False, {}, (1, 1), (1, 1)),
        ([("", True)], False, {}, (2, 0), (2, 0)),
        ([("a", False), ("b", False)], True, {}, (0, 2), (0, 2)),
        ([], True, {}, (0, 2), (0, 2)),
        ([("a", True), ("b", False)], True, {"dns_failover.minimum_healthy_targets.percentage": "60"}, (0, 2), (2, 0)),
        ([("a", True), ("b", False)], True, {"dns_failover.minimum_healthy_targets.count": "off"}, (2, 0), (2, 0)),
        ([("a", True)], True, {"unhealthy_state_routing.minimum_healthy_targets.count": "2"}, (2, 0), (0, 2)),
    ],
)
def test_zones_with_enough_healthy_targets(
    targets: list[tuple[str, bool]],
    crosses: bool,
    attributes: dict[str, str],
    dns: tuple[int, int],
    routing: tuple[int, int],
) -> None:
    group = msgspec.structs.replace(
        a_target_group("web"), attributes={f"target_group_health.{key}": value for key, value in attributes.items()}
    )
    samples = of_zones(group, load_balancer="app/web/1", zones=["a", "b"], targets=targets, crosses=crosses)
    found = {one.name: one.value for one in samples if len(one.dimensions) == 2}
    assert (found.get("HealthyStateDNS", 0), found.get("UnhealthyStateDNS", 0)) == dns
    assert (found.get("HealthyStateRouting", 0), found.get("UnhealthyStateRouting", 0)) == routing
