"""Listeners of network load balancers → Envoy listeners. Pure. Source: semantics elbv2 §3.2, §13.

    TCP        a TCP proxy                                 TLS      the same behind TLS that ends here
    UDP        a UDP proxy, one session per client port    TCP_UDP  both on one port

A network load balancer answers on its own loopback address. Its DNS name leads to 127.0.0.1, where the load balancers of
a port cannot be told apart by anything but the name in a TLS handshake: so a TLS listener is a filter chain of the shared
listener, and a TCP or UDP listener has the port for itself or not at all (`domain.load_balancer.answers_by_name`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from moorage.domain.load_balancer import Forward, Listener, LoadBalancer, WeightedTargetGroup
from moorage.proxy.envoy.connection_log import flows
from moorage.proxy.envoy.translate_tls import inspector, transport_socket

UDP_IDLE = "120s"
LARGEST_DATAGRAM = 65507
"""What a UDP datagram over IPv4 can hold."""
_IN_FRAGMENTS = {
    "description": "answers larger than a packet go out in fragments",
    "level": 0,  # IPPROTO_IP
    "name": 10,  # IP_MTU_DISCOVER
    "int_value": 0,  # IP_PMTUDISC_DONT
    "state": "STATE_BOUND",  # after Envoy has asked for the contrary
}
EARLY_DATA = 65536
"""Bytes that a client may send before its target has taken the connection; it waits then."""
ALPN = {
    "HTTP1Only": ("http/1.1", "http/1.0"),
    "HTTP2Only": ("h2",),
    "HTTP2Optional": ("http/1.1", "http/1.0", "h2"),
    "HTTP2Preferred": ("h2", "http/1.1", "http/1.0"),
    "None": (),
}
"""What a TLS listener offers, the one it would rather have first."""
SHARES = 100
"""Flows of UDP are dealt out in this many shares."""

_EXT = "type.googleapis.com/envoy.extensions."
_TCP_PROXY = _EXT + "filters.network.tcp_proxy.v3.TcpProxy"
_UDP_PROXY = _EXT + "filters.udp.udp_proxy.v3.UdpProxyConfig"
_UDP_ROUTE = _EXT + "filters.udp.udp_proxy.v3.Route"
_SOURCE_PORT = _EXT + "matching.common_inputs.network.v3.SourcePortInput"
NOBODY = "nobody"
"""A cluster that there is not: connections to it are closed, as those to an empty target group are."""

Resource = dict[str, Any]


def stream_chain(load_balancer: LoadBalancer, listener: Listener, certificates: Sequence[str] = ()) -> Resource:
    """The filter chain of a TCP, TLS or TCP_UDP listener. `certificates`: ARNs, those that there are, the default first."""
    proxy = {
        "@type": _TCP_PROXY,
        "stat_prefix": "nlb",
        "idle_timeout": f"{listener.attributes.get('tcp.idle_timeout.seconds', '350')}s",
        "max_connect_attempts": 5,
        **_clusters(_groups(listener)),
        # the same client goes to the same target when a target group is sticky; else the hash is not looked at
        "hash_policy": [{"source_ip": {}}],
        "access_log": flows("TLS" if listener.protocol == "TLS" else "TCP", _told_as(listener)),
        "access_log_options": {"flush_access_log_on_connected": True, "access_log_flush_interval": "60s"},
    }
    chain: Resource = {"filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}]}
    if listener.protocol == "TLS":
        # a client that TLS fails for is no target's business
        proxy |= {"upstream_connect_mode": "ON_DOWNSTREAM_TLS_HANDSHAKE", "max_early_data_bytes": EARLY_DATA}
        secured = transport_socket(load_balancer, listener, certificates)
        context = secured["typed_config"]["common_tls_context"]
        context["alpn_protocols"] = list(ALPN[listener.alpn_policy[0]] if listener.alpn_policy else ())
        chain["transport_socket"] = secured
    return chain


def stream_listener(name: str, address: str, port: int, chains: Sequence[Resource]) -> Resource:
    made: Resource = {
        "name": name,
        "stat_prefix": "listener",
        "address": {"socket_address": {"address": address, "port_value": port}},
        "enable_reuse_port": False,
        "connection_balance_config": {"exact_balance": {}},
        "filter_chains": list(chains),
    }
    if any("transport_socket" in chain for chain in chains):
        made["listener_filters"] = [inspector()]
    return made


def datagram_listener(name: str, address: str, port: int, listener: Listener) -> Resource:
    proxy = {
        "@type": _UDP_PROXY,
        "stat_prefix": "nlb",
        "idle_timeout": UDP_IDLE,
        "matcher": _dealt(_groups(listener)),
        "hash_policies": [{"source_ip": True}],
        "upstream_socket_config": {"max_rx_datagram_size": LARGEST_DATAGRAM},
        "access_log": flows("UDP", _told_as(listener)),
    }
    return {
        "name": name,
        "stat_prefix": "listener",
        "address": {"socket_address": {"address": address, "port_value": port, "protocol": "UDP"}},
        "socket_options": [_IN_FRAGMENTS],
        "udp_listener_config": {"downstream_socket_config": {"max_rx_datagram_size": LARGEST_DATAGRAM}},
        "listener_filters": [{"name": "envoy.filters.udp_listener.udp_proxy", "typed_config": proxy}],
    }


def named_chain(name: str, load_balancer: LoadBalancer, listener: Listener, certificates: Sequence[str]) -> Resource:
    """A TLS listener on the shared door of its port, chosen by the name that the client asks TLS for."""
    match = {"transport_protocol": "tls", "server_names": [load_balancer.dns_name.lower()]}
    return {"name": name, "filter_chain_match": match, **stream_chain(load_balancer, listener, certificates)}


def _told_as(listener: Listener) -> str:
    """Whose a flow is, in the log."""
    return f"{listener.load_balancer_arn}:{listener.port}"


def _groups(listener: Listener) -> tuple[WeightedTargetGroup, ...]:
    """Those with a share of the traffic."""
    forwards = (action for action in listener.default_actions if isinstance(action, Forward))
    return tuple(group for action in forwards for group in action.target_groups if group.weight > 0)


def _clusters(groups: Sequence[WeightedTargetGroup]) -> Resource:
    if len(groups) < 2:
        return {"cluster": groups[0].arn if groups else NOBODY}
    return {"weighted_clusters": {"clusters": [{"name": group.arn, "weight": group.weight} for group in groups]}}


def _dealt(groups: Sequence[WeightedTargetGroup]) -> Resource:
    """Envoy cannot weigh for UDP. The last two digits of the client's port are as good as a hash of the flow, and stay
    the same for it: weights 3 and 1 → ports ending in 00–74 and 75–99."""
    if len(groups) < 2:
        return {"on_no_match": _route(groups[0].arn if groups else NOBODY)}
    whole = sum(group.weight for group in groups)
    matchers, begin, so_far = [], 0, 0
    for group in groups[:-1]:
        so_far += group.weight
        end = so_far * SHARES // whole
        if end > begin:
            endings = "|".join(f"{ending:02d}" for ending in range(begin, end))
            matchers.append({"predicate": _port_ends_in(endings), "on_match": _route(group.arn)})
        begin = end
    on_no_match = _route(groups[-1].arn)
    return (
        {"matcher_list": {"matchers": matchers}, "on_no_match": on_no_match}
        if matchers
        else {"on_no_match": on_no_match}
    )


def _port_ends_in(endings: str) -> Resource:
    return {
        "single_predicate": {
            "input": {"name": "port", "typed_config": {"@type": _SOURCE_PORT}},
            "value_match": {"safe_regex": {"google_re2": {}, "regex": f".*(?:{endings})"}},
        }
    }


def _route(cluster: str) -> Resource:
    return {"action": {"name": "route", "typed_config": {"@type": _UDP_ROUTE, "cluster": cluster}}}
