"""What flows mean in CloudWatch's AWS/NetworkELB. Pure. Source: AWS's guide, "CloudWatch metrics for your Network Load
Balancer": names, dimensions, what is counted when.

Resets: who ended a flow is the proxy's word. A flow that no target took is counted as one that the load balancer reset, as
AWS does reset it; here it is closed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, get_args

from moorage.decide.elbv2_metrics import BYTES, COUNT, Measure
from moorage.domain.connection_record import ConnectionRecord

NAMESPACE = "AWS/NetworkELB"
FlowProtocol = Literal["TCP", "TLS", "UDP"]
PROTOCOLS: tuple[FlowProtocol, ...] = get_args(FlowProtocol)


def of_flow(record: ConnectionRecord, *, fresh_bytes: int, fail_open: bool = False) -> Iterator[Measure]:
    """`fresh_bytes`: that were not counted yet. `fail_open`: the target group had too few healthy targets."""
    kind = record.protocol
    if _is_new(record):
        yield Measure("NewFlowCount")
        yield Measure(f"NewFlowCount_{kind}")
        if fail_open and record.target_group_arn:
            yield Measure("UnhealthyRoutingFlowCount", 1, COUNT, record.target_group_arn.rpartition(":")[2])
    if fresh_bytes:
        yield Measure("ProcessedBytes", fresh_bytes, BYTES)
        yield Measure(f"ProcessedBytes_{kind}", fresh_bytes, BYTES)
    if record.event == "end" and kind != "UDP":
        yield from _ended(record)


def active(flows: Mapping[str, int]) -> Iterator[Measure]:
    """How many flows are open. `flows`: by protocol."""
    for protocol, count in flows.items():
        yield Measure(f"ActiveFlowCount_{protocol}", count)
    if flows:
        yield Measure("ActiveFlowCount", sum(flows.values()))


def _is_new(record: ConnectionRecord) -> bool:
    """A flow of UDP is told when it ends only."""
    return record.event == "begin" or (record.protocol == "UDP" and record.event == "end")


def _ended(record: ConnectionRecord) -> Iterator[Measure]:
    if record.protocol == "TLS" and not record.tls_is_settled:
        yield Measure("ClientTLSNegotiationErrorCount")
        return
    if "tls" in record.target_failure.lower():
        yield Measure("TargetTLSNegotiationErrorCount")
    if record.client_close == "RemoteReset":
        yield Measure("TCP_Client_Reset_Count")
    elif record.target_close == "RemoteReset" or "refused" in record.target_failure.lower():
        yield Measure("TCP_Target_Reset_Count")
    elif record.client_close == "LocalReset" or {"UH", "UF"} & set(record.flags.split(",")):
        yield Measure("TCP_ELB_Reset_Count")
