from __future__ import annotations

import msgspec
import pytest

from moorage.decide.elbv2_flow_metrics import active, of_flow
from moorage.domain.connection_record import ConnectionRecord
from proxy.builders import tg_arn

NET = "arn:aws:elasticloadbalancing:us-east-1:000000000000:loadbalancer/net/db/c6e7"
OF_LB = ("LoadBalancer", "net/db/c6e7")
OF_ZONE = ("AvailabilityZone", "us-east-1a")
FLOW = ConnectionRecord(f"{NET}:443", "TCP", "end", 1.0, 0.5, "192.0.2.1:9", "10.0.0.1:443", 1, target="10.0.0.7:80")


def counted(fresh: int = 0, **changes: object) -> dict[str, float]:
    """Metric → value, those of the load balancer alone."""
    record = msgspec.structs.replace(FLOW, **changes)
    samples = of_flow(record, load_balancer="net/db/c6e7", zone="us-east-1a", fresh_bytes=fresh)
    return {one.name: one.value for one in samples if one.dimensions == (OF_LB,)}


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"event": "begin"}, {"NewFlowCount", "NewFlowCount_TCP"}),
        ({"event": "begin", "protocol": "TLS"}, {"NewFlowCount", "NewFlowCount_TLS"}),
        ({"event": "during", "fresh": 7}, {"ProcessedBytes", "ProcessedBytes_TCP"}),
        ({"event": "end", "fresh": 7}, {"ProcessedBytes", "ProcessedBytes_TCP"}),
        ({"protocol": "UDP", "fresh": 7},
         {"NewFlowCount", "NewFlowCount_UDP", "ProcessedBytes", "ProcessedBytes_UDP"}),
        ({"client_close": "Normal", "target_close": "Normal"}, set()),
        ({"client_close": "RemoteReset", "target_close": "Normal"}, {"TCP_Client_Reset_Count"}),
        ({"client_close": "LocalReset", "target_close": "RemoteReset"}, {"TCP_Target_Reset_Count"}),
        ({"flags": "UF,URX", "target_failure": "delayed_connect_error:_Connection_refused"}, {"TCP_Target_Reset_Count"}),
        ({"flags": "UF,URX", "target_failure": "connection_timeout"}, {"TCP_ELB_Reset_Count"}),
        ({"flags": "UH", "target": ""}, {"TCP_ELB_Reset_Count"}),
        ({"client_close": "LocalReset"}, {"TCP_ELB_Reset_Count"}),
        ({"protocol": "TLS", "target": ""}, {"ClientTLSNegotiationErrorCount"}),
        ({"protocol": "TLS", "target": "", "flags": "UH"}, {"TCP_ELB_Reset_Count"}),
        ({"flags": "UF", "target_failure": "TLS_error:_CERTIFICATE"},
         {"TargetTLSNegotiationErrorCount", "TCP_ELB_Reset_Count"}),
    ],
)  # fmt: skip
def test_what_counts(changes: dict[str, object], names: set[str]) -> None:
    assert set(counted(**changes)) == names  # type: ignore[arg-type]


def test_dimensions() -> None:
    samples = of_flow(
        msgspec.structs.replace(FLOW, event="begin", target_group_arn=tg_arn("web")),
        load_balancer="net/db/c6e7",
        zone="us-east-1a",
        fresh_bytes=0,
        fail_open=True,
    )
    found = [(one.name, one.dimensions) for one in samples]
    group = ("TargetGroup", "targetgroup/web/73e2d6bc24d8a067")
    assert ("NewFlowCount", (OF_LB,)) in found
    assert ("NewFlowCount", (OF_ZONE, OF_LB)) in found
    assert [dimensions for name, dimensions in found if name == "UnhealthyRoutingFlowCount"] == [
        (group, OF_LB), (group, OF_ZONE, OF_LB),
    ]  # fmt: skip


def test_open_flows() -> None:
    made = {one.name: one.value for one in active("TLS", load_balancer="net/db/c6e7", zone="", flows=2, all_flows=5)}
    assert made == {"ActiveFlowCount_TLS": 2, "ActiveFlowCount": 5}
