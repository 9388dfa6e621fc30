"""Target group → Envoy cluster and endpoints. Pure. Source: semantics elbv2 §5 (fail-open), §6 (algorithms), §7.

The cluster changes only when an attribute of the target group changes; targets coming, going and changing health
travel in the (small) endpoint resource.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from moorage.domain.target_group import TargetGroup
from moorage.proxy.driver import Endpoint, TargetGroupConfig

CONNECT_TIMEOUT = "1s"
"""AWS gives a connection 10 s. A task that was killed leaves an address that answers nothing at all: with one second
per attempt and repeats on other targets, its requests are served elsewhere instead of waiting out the ten."""

_HTTP = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
_LEAST = "type.googleapis.com/envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest"
_UNLIMITED = 1_000_000


def cluster(group: TargetGroup) -> dict[str, Any]:
    """The envoy.config.cluster.v3.Cluster of a target group, named by its ARN."""
    made: dict[str, Any] = {
        "name": group.arn,
        "alt_stat_name": group.full_name,
        "type": "EDS",
        "eds_cluster_config": {"eds_config": {"ads": {}, "resource_api_version": "V3"}},
        "connect_timeout": CONNECT_TIMEOUT,
        "ignore_health_on_host_removal": True,
        # fail-open is decided in `endpoints`, exactly; Envoy's own percentage is off
        "common_lb_config": {"update_merge_window": "0s", "healthy_panic_threshold": {"value": 0}},
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": _UNLIMITED,
                    "max_pending_requests": _UNLIMITED,
                    "max_requests": _UNLIMITED,
                    "max_retries": _UNLIMITED,
                }
            ]
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": _HTTP,
                "common_http_protocol_options": {"idle_timeout": "60s", "max_response_headers_kb": 32},
                "explicit_http_config": _protocol(group),
            }
        },
        **_algorithm(group),
    }
    if group.protocol == "HTTPS":
        # targets' certificates are never validated (elbv2 §7)
        made["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": {"@type": _TLS}}
    return made


def assignment(config: TargetGroupConfig) -> dict[str, Any]:
    """The envoy.config.endpoint.v3.ClusterLoadAssignment. With fewer healthy targets than the minimum, all registered
    targets get traffic (fail-open): worked example, 4 registered, 0 healthy, minimum 1 → all 4."""
    open_to_all = _fails_open(config.target_group, config.endpoints)
    hosts = [
        {
            "endpoint": {"address": {"socket_address": {"address": e.address, "port_value": e.port}}},
            "health_status": "HEALTHY" if e.healthy or open_to_all else "UNHEALTHY",
        }
        for e in config.endpoints
    ]
    return {"cluster_name": config.target_group.arn, "endpoints": [{"lb_endpoints": hosts}] if hosts else []}


def _fails_open(group: TargetGroup, endpoints: Sequence[Endpoint]) -> bool:
    healthy = sum(e.healthy for e in endpoints)
    prefix = "target_group_health.unhealthy_state_routing.minimum_healthy_targets"
    count = group.attributes.get(f"{prefix}.count", "1")
    percentage = group.attributes.get(f"{prefix}.percentage", "off")
    if count.isdigit() and healthy < int(count):
        return True
    return percentage.isdigit() and healthy * 100 < int(percentage) * len(endpoints)


def _protocol(group: TargetGroup) -> dict[str, Any]:
    if group.protocol_version in ("HTTP2", "GRPC"):
        return {"http2_protocol_options": {}}
    return {"http_protocol_options": {}}


def _algorithm(group: TargetGroup) -> dict[str, Any]:
    algorithm = group.attributes.get("load_balancing.algorithm.type", "round_robin")
    if algorithm == "least_outstanding_requests":
        policy = {
            "name": "envoy.load_balancing_policies.least_request",
            "typed_config": {"@type": _LEAST, "selection_method": "FULL_SCAN"},
        }
        return {"load_balancing_policy": {"policies": [{"typed_extension_config": policy}]}}
    if algorithm == "weighted_random":
        return {"lb_policy": "RANDOM"}
    slow_start = int(group.attributes.get("slow_start.duration_seconds", "0"))
    if slow_start:
        window = {"slow_start_config": {"slow_start_window": f"{slow_start}s"}}
        return {"lb_policy": "ROUND_ROBIN", "round_robin_lb_config": window}
    return {"lb_policy": "ROUND_ROBIN"}
