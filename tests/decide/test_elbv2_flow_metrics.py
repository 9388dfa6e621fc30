from __future__ import annotations

import msgspec
import pytest

from moorage.decide.elbv2_flow_metrics import active, of_flow
from moorage.domain.connection_record import ConnectionRecord
from proxy.builders import tg_arn

NET = "arn:aws:elasticloadbalancing:us-east-1:000000000000:loadbalancer/net/db/c6e7"
FLOW = ConnectionRecord(f"{NET}:443", "TCP", "end", 1.0, 0.5, "192.0.2.1:9", "10.0.0.1:443", 1, target="10.0.0.7:80")


def counted(fresh: int = 0, **changes: object) -> dict[str, float]:
    """Metric → value."""
    return {one.name: one.value for one in of_flow(msgspec.structs.replace(FLOW, **changes), fresh_bytes=fresh)}


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


def test_flows_that_go_to_ill_targets_are_the_target_groups() -> None:
    begun = msgspec.structs.replace(FLOW, event="begin", target_group_arn=tg_arn("web"))
    found = {one.name: one.group for one in of_flow(begun, fresh_bytes=0, fail_open=True)}
    assert found["UnhealthyRoutingFlowCount"] == "targetgroup/web/73e2d6bc24d8a067"
    assert found["NewFlowCount"] == ""
    ended = msgspec.structs.replace(begun, event="end")
    assert list(of_flow(ended, fresh_bytes=0, fail_open=True)) == []


def test_open_flows() -> None:
    made = {one.name: one.value for one in active({"TLS": 2, "TCP": 3})}
    assert made == {"ActiveFlowCount_TLS": 2, "ActiveFlowCount_TCP": 3, "ActiveFlowCount": 5}
    assert list(active({})) == []
