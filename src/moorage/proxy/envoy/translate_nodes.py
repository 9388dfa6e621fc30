"""Load balancers inside their VPC: their listeners at each node, and where requests to targets come from. Pure.

A node is a network namespace with an address in one subnet (`LoadBalancerNode`). Listeners there are those of the loopback
address once more; they share its routes.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

from moorage.domain.load_balancer import LoadBalancerNode
from moorage.proxy.driver import Endpoint

Resource = dict[str, Any]


def at_node(listener: Resource, name: str, node: LoadBalancerNode, port: int) -> Resource:
    """`listener` at the node's address, on `port`. Nobody else is in that namespace, so that a process which takes over
    may open the door before the other one has left it."""
    socket = {
        **listener["address"]["socket_address"],
        "address": node.address,
        "port_value": port,
        "network_namespace_filepath": node.namespace,
    }
    moved = {**listener, "name": name, "address": {"socket_address": socket}}
    if "enable_reuse_port" in moved:
        moved["enable_reuse_port"] = True
        moved.pop("connection_balance_config", None)
    return moved


def preserving(listener: Resource) -> Resource:
    """A listener at a node that speaks to targets in the name of its clients: their addresses, not their ports."""
    first, *others = listener.get("listener_filters") or [{}]
    if "udp_proxy" in first.get("name", ""):
        proxy = {**first["typed_config"], "use_original_src_ip": True}
        return {**listener, "listener_filters": [{**first, "typed_config": proxy}, *others]}
    return {**listener, "listener_filters": [_ORIGINAL_SOURCE, *(listener.get("listener_filters") or ())]}


_ORIGINAL_SOURCE: Resource = {
    "name": "envoy.filters.listener.original_src",
    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.listener.original_src.v3.OriginalSrc"},
}


def source_of(node: LoadBalancerNode | None, endpoints: Iterable[Endpoint]) -> Resource:
    """The part of a cluster that says where its connections come from: the node, unless a target is on this machine's own
    loopback, which no other namespace reaches."""
    if node is None or any(ipaddress.ip_address(one.address).is_loopback for one in endpoints):
        return {}
    return {
        "upstream_bind_config": {
            "source_address": {
                "address": node.address,
                "port_value": 0,
                "network_namespace_filepath": node.namespace,
            }
        }
    }
