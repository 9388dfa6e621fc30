"""Target groups and their endpoints → Envoy clusters and endpoint assignments. Pure. Source: semantics elbv2 §4, §5, §7.

The cluster changes only when an attribute of the target group changes; targets coming, going and changing health
travel in the (small) endpoint resource. With too few healthy ones, all get traffic (fail-open), and without cross-zone
balancing every zone that has a healthy target gets the same share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from moorage.domain.load_balancer import DATAGRAM, LAYER_4
from moorage.domain.target_group import TargetGroup, below_minimum
from moorage.proxy.driver import Endpoint, TargetGroupConfig
from moorage.proxy.envoy.request_log import short
from moorage.proxy.envoy.translate_nodes import source_of
from moorage.proxy.envoy.translate_zones import in_zone, subsets

CONNECT_TIMEOUT = "1s"
"""AWS gives a connection 10 s. A task that was killed leaves an address that answers nothing at all: with one second
per attempt and repeats on other targets, its requests are served elsewhere instead of waiting out the ten."""

_EXT = "type.googleapis.com/envoy.extensions."
_HTTP = _EXT + "upstreams.http.v3.HttpProtocolOptions"
_TLS = _EXT + "transport_sockets.tls.v3.UpstreamTlsContext"
_LEAST = _EXT + "load_balancing_policies.least_request.v3.LeastRequest"
_PROXY_PROTOCOL = _EXT + "transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport"
_PLAIN = _EXT + "transport_sockets.raw_buffer.v3.RawBuffer"
FUNCTION_GROUP_HEADER = "x-moorage-target-group"
_UNLIMITED = 1_000_000
_WHOLE_ZONES = 1_000_000
"""Overprovisioning factor: a zone keeps its whole share until its last healthy target goes."""


def cluster(config: TargetGroupConfig) -> dict[str, Any]:
    """The envoy.config.cluster.v3.Cluster of a target group, named by its ARN."""
    group, cross_zone = config.target_group, config.cross_zone
    made: dict[str, Any] = {
        "name": group.arn,
        "alt_stat_name": short(group.arn),  # `%UPSTREAM_CLUSTER%` of the request log
        "type": "EDS",
        "eds_cluster_config": {"eds_config": {"ads": {}, "resource_api_version": "V3"}},
        "connect_timeout": CONNECT_TIMEOUT,
        "ignore_health_on_host_removal": True,
        # fail-open is decided in `endpoints`, exactly; Envoy's own percentage is off
        "common_lb_config": {
            "update_merge_window": "0s",
            "healthy_panic_threshold": {"value": 0},
            **({} if cross_zone else {"locality_weighted_lb_config": {}}),
        },
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
        **(source_of(config.source, config.endpoints) if _is_connected_to(group) else {}),
        **(_by_flow(group) if group.protocol in LAYER_4 else _by_request(group, cross_zone)),
    }
    if transport := _transport(group):
        made["transport_socket"] = transport
    return made


def _is_connected_to(group: TargetGroup) -> bool:
    """Functions are behind a door of this machine, and Envoy sends datagrams from this machine's own namespace only."""
    return group.target_type != "lambda" and group.protocol not in DATAGRAM


def assignment(
    config: TargetGroupConfig, port_of: Callable[[int], int] = lambda port: port, functions: str = ""
) -> dict[str, Any]:
    """The envoy.config.endpoint.v3.ClusterLoadAssignment. With fewer healthy targets than the minimum, all registered
    targets get traffic (fail-open): worked example, 4 registered, 0 healthy, minimum 1 → all 4. `port_of`: port of the
    API → port of this machine, for targets that are load balancers themselves. `functions`: the socket behind which
    functions are invoked."""
    group = config.target_group
    if group.target_type == "lambda":
        door = {"endpoint": {"address": {"pipe": {"path": functions}}}, "health_status": "HEALTHY"}
        return {"cluster_name": group.arn, "endpoints": [{"lb_endpoints": [door]}] if config.endpoints else []}
    made: dict[str, Any] = {"cluster_name": group.arn, "endpoints": []}
    for zone, (members, usable, in_dns) in _traffic(config).items():
        # whoever is told of no zone is not sent to one that left DNS
        status = "HEALTHY" if in_dns else "UNHEALTHY" if group.protocol in LAYER_4 else "DEGRADED"
        place: dict[str, Any] = {}
        known: dict[str, Any] = {}
        if not config.cross_zone:
            place = {"locality": {"zone": zone or "all"}, "load_balancing_weight": 1}
            known = in_zone(zone or "all")
        hosts = [
            {
                **known,
                **_host(e, port_of(e.port) if group.target_type == "alb" else e.port),
                "health_status": status if e in usable else "UNHEALTHY",
            }
            for e in members
        ]
        made["endpoints"].append({**place, "lb_endpoints": hosts})
    if not config.cross_zone:
        made["policy"] = {"overprovisioning_factor": _WHOLE_ZONES}
    if group.protocol in DATAGRAM:
        _let_flows_stay(made, config)
    return made


def _let_flows_stay(made: dict[str, Any], config: TargetGroupConfig) -> None:
    """Flows of datagrams stay with a target that is ill or drains (semantics §4: unhealthy targets are not cut off from
    them); new ones go elsewhere. To Envoy such a target is degraded: used for nothing new as long as any is healthy."""
    hosts = [host for place in made["endpoints"] for host in place["lb_endpoints"]]
    for host in hosts:
        if host["health_status"] == "UNHEALTHY":
            host["health_status"] = "DEGRADED"
    made["policy"] = {"overprovisioning_factor": _WHOLE_ZONES}
    if not any(host["health_status"] == "HEALTHY" for host in hosts):
        return  # or who drains would get new ones
    for zone in sorted({"" if config.cross_zone else one.zone for one in config.leaving}):
        leaving = [
            {**_host(one, one.port), "health_status": "DEGRADED"}
            for one in config.leaving
            if config.cross_zone or one.zone == zone
        ]
        name = zone or "all"
        known = [one for one in made["endpoints"] if config.cross_zone or one["locality"]["zone"] == name]
        if known:
            known[0]["lb_endpoints"] += leaving
        else:
            place = {} if config.cross_zone else {"locality": {"zone": name}, "load_balancing_weight": 1}
            made["endpoints"].append({**place, "lb_endpoints": leaving})


def _traffic(config: TargetGroupConfig) -> dict[str, tuple[list[Endpoint], list[Endpoint], bool]]:
    """By zone: its endpoints, those that get traffic, and whether the zone is in DNS. One zone "" when zones do not matter.
    A zone with fewer healthy targets than its minimum leaves DNS, unless all zones would; below its other minimum it opens
    to all its targets. Zone a with 1 of 2 healthy, b with 0 of 2, minima 1 → the healthy one of a, both of b for those who
    still ask there; 0 and 0 → all four."""
    group, zones = config.target_group, dict[str, list[Endpoint]]()
    for endpoint in config.endpoints:
        zones.setdefault("" if config.cross_zone else endpoint.zone, []).append(endpoint)
    in_dns = {zone for zone, members in zones.items() if not _below(group, "dns_failover", members)} or set(zones)
    return {zone: (members, _usable(group, members), zone in in_dns) for zone, members in sorted(zones.items())}


def _usable(group: TargetGroup, members: list[Endpoint]) -> list[Endpoint]:
    open_to_all = _below(group, "unhealthy_state_routing", members)
    return [e for e in members if e.healthy or open_to_all]


def _below(
    group: TargetGroup, what: Literal["dns_failover", "unhealthy_state_routing"], members: Sequence[Endpoint]
) -> bool:
    return below_minimum(group, what, sum(e.healthy for e in members), len(members))


def _host(endpoint: Endpoint, port: int) -> dict[str, Any]:
    return {"endpoint": {"address": {"socket_address": {"address": endpoint.address, "port_value": port}}}}


def _transport(group: TargetGroup) -> dict[str, Any] | None:
    """What is spoken below the application: TLS (targets' certificates are never validated, elbv2 §7), and before
    everything the PROXY protocol, if a network load balancer's target group asks for it."""
    tls = {"name": "envoy.transport_sockets.tls", "typed_config": {"@type": _TLS}}
    secure = group.protocol in ("HTTPS", "TLS")
    if group.attributes.get("proxy_protocol_v2.enabled") != "true":
        return tls if secure else None
    plain = {"name": "envoy.transport_sockets.raw_buffer", "typed_config": {"@type": _PLAIN}}
    config = {"version": "V2"}
    return {
        "name": "envoy.transport_sockets.upstream_proxy_protocol",
        "typed_config": {
            "@type": _PROXY_PROTOCOL,
            "config": config,
            "transport_socket": tls if secure else plain,
        },
    }


def _by_flow(group: TargetGroup) -> dict[str, Any]:
    """Targets of a network load balancer: a connection or UDP session stays where it began. Sticky groups choose by the
    client's address."""
    return {"lb_policy": "MAGLEV" if group.attributes.get("stickiness.enabled") == "true" else "ROUND_ROBIN"}


def _by_request(group: TargetGroup, cross_zone: bool) -> dict[str, Any]:
    options: dict[str, Any] = {
        "@type": _HTTP,
        "common_http_protocol_options": {
            "idle_timeout": "60s",
            "max_response_headers_kb": 32,
            "max_headers_count": _UNLIMITED,  # their size is limited, not their number
        },
        "explicit_http_config": _protocol(group),
    }
    if group.target_type == "lambda":
        options["http_filters"] = _named_by_header(group)
    return {
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
        **_algorithm(group, cross_zone),
        **({} if cross_zone else subsets()),
    }


def _named_by_header(group: TargetGroup) -> list[dict[str, Any]]:
    """All functions are behind one door: whoever is there must be told which target group was meant."""
    name = {"key": FUNCTION_GROUP_HEADER, "value": group.arn}
    append = {"append": {"header": name, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}
    return [
        {
            "name": "envoy.filters.http.header_mutation",
            "typed_config": {
                "@type": _EXT + "filters.http.header_mutation.v3.HeaderMutation",
                "mutations": {"request_mutations": [append]},
            },
        },
        {
            "name": "envoy.filters.http.upstream_codec",
            "typed_config": {"@type": _EXT + "filters.http.upstream_codec.v3.UpstreamCodec"},
        },
    ]


def _protocol(group: TargetGroup) -> dict[str, Any]:
    if group.protocol_version in ("HTTP2", "GRPC"):
        return {"http2_protocol_options": {}}
    return {"http_protocol_options": {}}


def _algorithm(group: TargetGroup, cross_zone: bool) -> dict[str, Any]:
    algorithm = group.attributes.get("load_balancing.algorithm.type", "round_robin")
    if algorithm == "least_outstanding_requests" and not cross_zone:
        return {
            "lb_policy": "LEAST_REQUEST",
            "least_request_lb_config": {"choice_count": 16},
        }  # subsets know no full scan
    if algorithm == "least_outstanding_requests":
        policy = {
            "name": "envoy.load_balancing_policies.least_request",
            "typed_config": {"@type": _LEAST, "selection_method": "FULL_SCAN"},
        }
        return {"load_balancing_policy": {"policies": [{"typed_extension_config": policy}]}}
    if algorithm == "weighted_random":
        if group.attributes.get("load_balancing.algorithm.anomaly_mitigation") == "on":
            return {"lb_policy": "RANDOM", "outlier_detection": _MITIGATION}
        return {"lb_policy": "RANDOM"}
    slow_start = int(group.attributes.get("slow_start.duration_seconds", "0"))
    if slow_start:
        window = {"slow_start_config": {"slow_start_window": f"{slow_start}s"}}
        return {"lb_policy": "ROUND_ROBIN", "round_robin_lb_config": window}
    return {"lb_policy": "ROUND_ROBIN"}


_MITIGATION = {
    "interval": "5s",
    "base_ejection_time": "10s",
    "max_ejection_percent": 50,
    "consecutive_5xx": 10,
    "enforcing_consecutive_5xx": 100,
    "enforcing_consecutive_gateway_failure": 0,
    "success_rate_minimum_hosts": 3,
    "success_rate_request_volume": 20,
    "enforcing_success_rate": 100,
}
"""Anomaly mitigation: a target that fails clearly more than the others of its group (three at least) is passed over for a
while, at most half of them at once. AWS lowers its share instead."""
