"""What a request counts as in CloudWatch (semantics elbv2 §11)."""

from __future__ import annotations

import msgspec
import pytest

from moorage.decide.elbv2_metrics import of_request, of_targets, requests_per_target
from moorage.domain.request_record import RequestRecord

GROUP = "arn:aws:elasticloadbalancing:us-east-1:000000000000:targetgroup/web/73e2"
OF_LB = ("LoadBalancer", "app/web/50dc")
OF_ZONE = ("AvailabilityZone", "us-east-1a")
OF_GROUP = ("TargetGroup", "targetgroup/web/73e2")
PLAIN = RequestRecord(1.0, "192.0.2.1:9", 80, "HTTP/1.1", "GET", "h", "/", 200, 0.1, received_bytes=10, sent_bytes=20)
ANSWERED = {"target_group_arn": GROUP, "target": "10.0.0.7:80", "details": "via_upstream", "target_time": 0.25}


def counted(**changes: object) -> dict[str, float]:
    """Metric → value, those of the load balancer alone."""
    record = msgspec.structs.replace(PLAIN, **changes)
    samples = of_request(record, load_balancer="app/web/50dc", zone="us-east-1a")
    return {one.name: one.value for one in samples if one.dimensions == (OF_LB,)}


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
    record = msgspec.structs.replace(PLAIN, **ANSWERED)
    samples = list(of_request(record, load_balancer="app/web/50dc", zone="us-east-1a"))
    of_requests = [one.dimensions for one in samples if one.name == "RequestCount"]
    assert of_requests == [
        (OF_LB,), (OF_ZONE, OF_LB), (OF_GROUP, OF_LB), (OF_GROUP, OF_ZONE, OF_LB),
    ]  # fmt: skip
    assert [one.dimensions for one in samples if one.name == "ProcessedBytes"] == [(OF_LB,), (OF_ZONE, OF_LB)]
    time = next(one for one in samples if one.name == "TargetResponseTime")
    assert (time.value, time.unit) == (0.25, "Seconds")


def test_targets() -> None:
    names = {"load_balancer": "app/web/50dc", "target_group": "targetgroup/web/73e2"}
    made = {one.name: one.value for one in of_targets(**names, healthy=2, unhealthy=1, enough=True)}
    assert made == {"HealthyHostCount": 2, "UnHealthyHostCount": 1, "HealthyStateRouting": 1}
    assert "UnhealthyStateRouting" in {one.name for one in of_targets(**names, healthy=0, unhealthy=1, enough=False)}
    assert {one.value for one in requests_per_target(**names, requests=90, targets=3)} == {30}
    assert list(requests_per_target(**names, requests=90, targets=0)) == []
