"""Decides what becomes of a target's traffic: whether zones are kept apart, and when open connections are ended. Pure.

Source: semantics elbv2 §4 (attributes), §5 (deregistration), §7 (cross-zone), §13.
"""

from __future__ import annotations

from collections.abc import Iterable

from moorage.domain.load_balancer import DATAGRAM, LAYER_4, LoadBalancer
from moorage.domain.target_group import Target, TargetGroup

CROSS_ZONE = "load_balancing.cross_zone.enabled"
Place = tuple[str, int]
"""(address, port)"""


def crosses_zones(group: TargetGroup, load_balancer: LoadBalancer | None) -> bool:
    """Do targets of every zone get traffic of every zone? The target group may say so itself; else its load balancer
    does: an application load balancer always, a network load balancer when told to."""
    own = group.attributes.get(CROSS_ZONE, "use_load_balancer_configuration")
    if own in ("true", "false"):
        return own == "true"
    if load_balancer is None or load_balancer.type != "network":
        return True
    return load_balancer.attributes.get(CROSS_ZONE) == "true"


def mitigates_anomalies(group: TargetGroup) -> bool:
    """Are targets whose answers stand out passed over? Only with weighted random routing."""
    attributes = group.attributes
    return (
        attributes.get("load_balancing.algorithm.type") == "weighted_random"
        and attributes.get("load_balancing.algorithm.anomaly_mitigation") == "on"
    )


def zone_of(target: Target) -> str:
    """ "" for a target that is in no zone in particular."""
    return "" if target.availability_zone in (None, "all") else str(target.availability_zone)


def ends_connections_after_drain(group: TargetGroup) -> bool:
    """Is what is still open cut when the deregistration delay is over? Always by application load balancers; by network
    load balancers for datagrams, and for connections when told to."""
    if group.protocol not in LAYER_4:
        return True
    default = "true" if group.protocol in DATAGRAM else "false"
    return group.attributes.get("deregistration_delay.connection_termination.enabled", default) == "true"


def ends_connections_when_unhealthy(group: TargetGroup) -> bool:
    """Only network load balancers do, and not for datagrams."""
    if group.protocol not in LAYER_4 or group.protocol in DATAGRAM:
        return False
    return group.attributes.get("target_health_state.unhealthy.connection_termination.enabled", "true") == "true"


def wants_client_addresses(group: TargetGroup) -> bool:
    """Shall targets see the clients' own addresses? (semantics §4: unless told otherwise, all but `ip` targets of TCP and
    TLS do; those of datagrams always.)"""
    if group.protocol not in LAYER_4:
        return False
    default = "false" if group.target_type == "ip" and group.protocol not in DATAGRAM else "true"
    return group.attributes.get("preserve_client_ip.enabled", default) == "true"


def still_used(target: Target, others: Iterable[Target]) -> bool:
    """Does another registration lead to the same place? Its connections cannot be told from this one's, so neither's
    are cut. `others`: every registration with the same id."""
    return any(
        other.key != target.key and other.port == target.port and other.deregistered_at is None for other in others
    )


def unhealthy_draining_seconds(group: TargetGroup) -> float:
    """Seconds that an unhealthy target is shown as `unhealthy.draining`."""
    return float(group.attributes.get("target_health_state.unhealthy.draining_interval_seconds", "0"))
