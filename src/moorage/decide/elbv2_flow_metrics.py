"""What flows mean in CloudWatch's AWS/NetworkELB. Pure. Source: AWS's guide, "CloudWatch metrics for your Network Load
Balancer": names, dimensions, what is counted when.

Resets: who ended a flow is the proxy's word. A flow that no target took is counted as one that the load balancer reset, as
AWS does reset it; here it is closed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

from moorage.decide.elbv2_metrics import BYTES, COUNT, Sample, dimensioned
from moorage.domain.connection_record import ConnectionRecord

NAMESPACE = "AWS/NetworkELB"
FlowProtocol = Literal["TCP", "TLS", "UDP"]
PROTOCOLS: tuple[FlowProtocol, ...] = get_args(FlowProtocol)


def of_flow(
    record: ConnectionRecord, *, load_balancer: str, zone: str, fresh_bytes: int, fail_open: bool = False
) -> Iterator[Sample]:
    """`load_balancer`: "net/db/50dc…"; `zone`: of the node; `fresh_bytes`: that were not counted yet. `fail_open`: the
    target group had too few healthy targets."""
    for name, value, unit in _measured(record, fresh_bytes):
        yield from dimensioned(name, value, unit, load_balancer, "", zone)
    if fail_open and _is_new(record) and record.target_group_arn:
        group = record.target_group_arn.rpartition(":")[2]
        yield from dimensioned("UnhealthyRoutingFlowCount", 1, COUNT, load_balancer, group, zone, alone=False)


def active(protocol: str, *, load_balancer: str, zone: str, flows: int, all_flows: int) -> Iterator[Sample]:
    """How many flows are open: of one protocol, and altogether."""
    yield from dimensioned(f"ActiveFlowCount_{protocol}", flows, COUNT, load_balancer, "", zone)
    yield from dimensioned("ActiveFlowCount", all_flows, COUNT, load_balancer, "", zone)


def _is_new(record: ConnectionRecord) -> bool:
    """A flow of UDP is told when it ends only."""
    return record.event == "begin" or (record.protocol == "UDP" and record.event == "end")


def _measured(record: ConnectionRecord, fresh_bytes: int) -> Iterator[tuple[str, float, str]]:
    kind = record.protocol
    if _is_new(record):
        yield "NewFlowCount", 1, COUNT
        yield f"NewFlowCount_{kind}", 1, COUNT
    if fresh_bytes:
        yield "ProcessedBytes", fresh_bytes, BYTES
        yield f"ProcessedBytes_{kind}", fresh_bytes, BYTES
    if record.event != "end" or kind == "UDP":
        return
    if kind == "TLS" and not record.tls_is_settled:
        yield "ClientTLSNegotiationErrorCount", 1, COUNT
        return
    if "tls" in record.target_failure.lower():
        yield "TargetTLSNegotiationErrorCount", 1, COUNT
    if record.client_close == "RemoteReset":
        yield "TCP_Client_Reset_Count", 1, COUNT
    elif record.target_close == "RemoteReset" or "refused" in record.target_failure.lower():
        yield "TCP_Target_Reset_Count", 1, COUNT
    elif record.client_close == "LocalReset" or {"UH", "UF"} & set(record.flags.split(",")):
        yield "TCP_ELB_Reset_Count", 1, COUNT
