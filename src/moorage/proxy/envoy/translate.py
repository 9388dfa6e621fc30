"""Load balancers and target groups → the Envoy resources that make them real. Pure: no I/O, no state, no protobuf.

    listener of a load balancer   one Listener on its own address, one RouteConfiguration, scopes on the edge
    target group                  one Cluster, one ClusterLoadAssignment
    port in use by any            one edge Listener per address family

Names are stable: the same input gives the same resources after a restart, so that nothing is sent that Envoy has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from moorage.domain.target_group import TargetGroup
from moorage.proxy.driver import LoadBalancerConfig
from moorage.proxy.envoy.translate_listeners import edge_listener, own_listener, scopes
from moorage.proxy.envoy.translate_routes import RouteContext, route_configuration

EDGE_ADDRESSES = {"v4": "127.0.0.1", "v6": "::1"}

Resources = dict[str, dict[str, Any]]
"""name → JSON form of the resource"""


class LoadBalancerResources(msgspec.Struct, frozen=True):
    """`ports`: the API's ports, for which edge listeners must exist."""

    listeners: Resources
    routes: Resources
    scopes: Resources
    ports: frozenset[int]

    def together(self, other: LoadBalancerResources) -> LoadBalancerResources:
        """Everything of both; `other` where both have a name."""
        return LoadBalancerResources(
            self.listeners | other.listeners,
            self.routes | other.routes,
            self.scopes | other.scopes,
            self.ports | other.ports,
        )


def load_balancer_resources(
    config: LoadBalancerConfig, port_of: Callable[[int], int], sticky: Mapping[str, int]
) -> LoadBalancerResources:
    """Everything of one load balancer. Only HTTP listeners are served (TLS needs certificates, which
    this seam does not carry yet)."""
    made = LoadBalancerResources({}, {}, {}, frozenset(_served(config)))
    for listener in config.listeners:
        if listener.port not in made.ports:
            continue
        name = listener_name(config.load_balancer.arn, listener.port)
        context = RouteContext(config.load_balancer, listener, port_of, sticky)
        made.listeners[name] = own_listener(name, config.load_balancer, listener.port, port_of(listener.port))
        made.routes[name] = route_configuration(name, context, config.rules.get(listener.arn, ()))
        made.scopes.update(scopes(name, config.load_balancer, listener.port))
    return made


def edge_resources(port: int, port_of: Callable[[int], int], families: tuple[str, ...]) -> Resources:
    """The shared listeners of one port."""
    made = {}
    for family in families:
        name = edge_name(port, family)
        made[name] = edge_listener(name, EDGE_ADDRESSES[family], port, port_of(port))
    return made


def sticky_seconds(group: TargetGroup) -> int | None:
    """Seconds of the load balancer cookie, or None when the target group has no lb_cookie stickiness."""
    attributes = group.attributes
    if attributes.get("stickiness.enabled", "false") != "true":
        return None
    if attributes.get("stickiness.type", "lb_cookie") != "lb_cookie":
        return None
    return int(attributes.get("stickiness.lb_cookie.duration_seconds", "86400"))


def listener_name(load_balancer_arn: str, port: int) -> str:
    """By port and not by listener ARN: a listener that is deleted and made again on its port changes in place."""
    return f"{load_balancer_arn}:{port}"


def edge_name(port: int, family: str) -> str:
    return f"edge/{port}/{family}"


def _served(config: LoadBalancerConfig) -> set[int]:
    return {listener.port for listener in config.listeners if listener.protocol == "HTTP"}
