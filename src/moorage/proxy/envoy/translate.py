"""Load balancers and target groups → the Envoy resources that make them real. Pure: no I/O, no state, no protobuf.

    listener of a load balancer   one Listener on its own address, one RouteConfiguration, scopes on the edge
    target group                  one Cluster, one ClusterLoadAssignment
    port in use by any            one edge Listener per address family

What a network load balancer's listeners become is said in `translate_network`.

Names are stable: the same input gives the same resources after a restart, so that nothing is sent that Envoy has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from moorage.domain.desync import Mode
from moorage.domain.load_balancer import (
    DATAGRAM,
    LAYER_4,
    STREAM,
    Listener,
    LoadBalancer,
    owner_of_shared_port,
    trust_store_of,
)
from moorage.domain.target_group import TargetGroup
from moorage.proxy.driver import LoadBalancerConfig
from moorage.proxy.envoy import translate_network as network
from moorage.proxy.envoy.desync import mode_of, shared_mode
from moorage.proxy.envoy.script import TargetTraits
from moorage.proxy.envoy.translate_listeners import edge_listener, named_chain, own_listener, scopes
from moorage.proxy.envoy.translate_nodes import at_node, preserving
from moorage.proxy.envoy.translate_routes import RouteContext, route_configuration
from moorage.proxy.envoy.translate_tls import secret
from moorage.proxy.envoy.translate_zones import at_zone, keeps_zones_apart

EXPRESS_NAME = re.compile(r"[a-z]{2}-[0-9a-f]{32}\.ecs\.[a-z0-9-]+\.localhost")
EDGE_ADDRESSES = {"v4": "127.0.0.1", "v6": "::1"}

Resources = dict[str, dict[str, Any]]
"""name → JSON form of the resource"""


class LoadBalancerResources(msgspec.Struct, frozen=True):
    """`ports`: the API's ports, for which edge listeners must exist; `plain_ports` those that answer HTTP, `edge_chains`
    by port what answers HTTPS there. `secrets`: the certificates."""

    listeners: Resources
    routes: Resources
    scopes: Resources
    ports: frozenset[int]
    plain_ports: frozenset[int] = frozenset()
    edge_chains: Mapping[int, dict[str, Any]] = {}
    secrets: Resources = {}
    unnamed: tuple[tuple[LoadBalancer, Listener], ...] = ()
    """TCP and UDP listeners: at the edge only on a port that they have for themselves."""

    desync: Mode = "defensive"
    preserves_host: bool = False
    inside: Resources = {}
    """Listeners at the load balancer's nodes: what of `listeners` clients inside the VPC reach."""

    def together(self, other: LoadBalancerResources) -> LoadBalancerResources:
        """Everything of both; `other` where both have a name."""
        return LoadBalancerResources(
            self.listeners | other.listeners,
            self.routes | other.routes,
            self.scopes | other.scopes,
            self.ports | other.ports,
            other.plain_ports,
            other.edge_chains,
            self.secrets | other.secrets,
            other.unnamed,
            other.desync,
            other.preserves_host,
            self.inside | other.inside,
        )


def load_balancer_resources(
    config: LoadBalancerConfig, port_of: Callable[[int], int], traits: Mapping[str, TargetTraits]
) -> LoadBalancerResources:
    """Everything of one load balancer. An HTTPS listener without its default certificate is not served."""
    served = [listener for listener in config.listeners if _is_served(listener, config)]
    chains: dict[int, dict[str, Any]] = {}
    made = LoadBalancerResources(
        {},
        {},
        {},
        frozenset(listener.port for listener in served),
        frozenset(listener.port for listener in served if listener.protocol == "HTTP"),
        chains,
        {
            arn: secret(config.certificates[arn])
            for listener in served
            for arn in listener.certificates
            if arn in config.certificates
        },
        tuple((config.load_balancer, listener) for listener in served if listener.protocol in STREAM | DATAGRAM),
        mode_of(config.load_balancer),
        config.load_balancer.preserves_host,
    )
    also = names_beside(config)
    for listener in served:
        balancer, port = config.load_balancer, listener.port
        name = listener_name(balancer.arn, port)
        context = RouteContext(balancer, listener, port_of, traits)
        arns = [arn for arn in listener.certificates if arn in config.certificates]
        if listener.protocol in LAYER_4:
            _add_network(made.listeners, name, config, listener, port_of(port), arns)
            if listener.protocol == "TLS":
                chains[port] = network.named_chain(name, balancer, listener, arns)
            continue
        anchors = config.trust_stores.get(trust_store_of(listener) or "")
        made.listeners[name] = own_listener(name, balancer, listener, port_of(port), arns, anchors)
        made.routes[name] = route_configuration(name, context, config.rules.get(listener.arn, ()))
        if listener.protocol == "HTTP":
            made.scopes.update(scopes(name, balancer, port, also))
        else:
            chains[port] = named_chain(name, balancer, listener, arns, anchors, also)
    apart = keeps_zones_apart(config, traits)
    return msgspec.structs.replace(made, inside=_at_nodes(made.listeners, served, config, apart))


def _at_nodes(listeners: Resources, served: Iterable[Listener], config: LoadBalancerConfig, apart: bool) -> Resources:
    """The listeners once more per node: at its address, in its network namespace, on the port that the API names. The
    namespace is part of the name: a node that is made again is another one."""
    made: Resources = {}
    for listener in served:
        name = listener_name(config.load_balancer.arn, listener.port)
        for node in config.nodes:
            for known in (name, datagram_name(name)):
                if known in listeners:
                    inside = f"{known}@{node.namespace}"
                    found = at_zone(listeners[known], node.zone) if apart else listeners[known]
                    door = at_node(found, inside, node, listener.port)
                    made[inside] = preserving(door) if listener.arn in config.preserving else door
    return made


def names_beside(config: LoadBalancerConfig) -> tuple[str, ...]:
    """Names beside its own by which the shared doors know a load balancer: those of Express services, which nobody else
    can have (they are made of random characters), as its rules name them."""
    return tuple(
        sorted(
            {
                value
                for rules in config.rules.values()
                for rule in rules
                for condition in rule.conditions
                if condition.field == "host-header"
                for value in condition.values
                if EXPRESS_NAME.fullmatch(value)
            }
        )
    )


def _add_network(
    listeners: Resources, name: str, config: LoadBalancerConfig, listener: Listener, port: int, arns: Sequence[str]
) -> None:
    balancer = config.load_balancer
    if listener.protocol != "UDP":
        chain = network.stream_chain(balancer, listener, arns)
        listeners[name] = network.stream_listener(name, balancer.loopback, port, [chain])
    if listener.protocol in DATAGRAM:
        name = datagram_name(name)
        listeners[name] = network.datagram_listener(name, balancer.loopback, port, listener)


def edge_resources(
    port: int, port_of: Callable[[int], int], families: tuple[str, ...], users: Iterable[LoadBalancerResources] = ()
) -> Resources:
    """The shared listeners of one port. `users`: the load balancers that have it, for what HTTPS needs."""
    of_port = [one for one in users if port in one.ports]
    tls = [one.edge_chains[port] for one in of_port if port in one.edge_chains]
    plain = any(port in one.plain_ports for one in of_port)
    unnamed = [pair for one in of_port for pair in one.unnamed if pair[1].port == port]
    shared = bool(tls) or plain or not unnamed
    stream = None if shared else owner_of_shared_port(pair for pair in unnamed if pair[1].protocol in STREAM)
    datagram = owner_of_shared_port(pair for pair in unnamed if pair[1].protocol in DATAGRAM)
    of_http = [one for one in of_port if port in one.plain_ports]
    mode, preserves = shared_mode({one.desync for one in of_http}), any(one.preserves_host for one in of_http)
    made: Resources = {}
    for family in families:
        name, address, bind_port = edge_name(port, family), EDGE_ADDRESSES[family], port_of(port)
        if shared:
            made[name] = edge_listener(
                name, address, port, bind_port, plain=plain or not tls, tls=tls, mode=mode, preserves_host=preserves
            )
        elif stream:
            made[name] = network.stream_listener(name, address, bind_port, [network.stream_chain(*stream)])
        if datagram:
            name = datagram_name(name)
            made[name] = network.datagram_listener(name, address, bind_port, datagram[1])
    return made


def edge_names(port: int) -> tuple[str, ...]:
    """All that `edge_resources` can name."""
    streams = [edge_name(port, family) for family in EDGE_ADDRESSES]
    return (*streams, *(datagram_name(name) for name in streams))


def traits_of(group: TargetGroup, *, zonal: bool = False) -> TargetTraits | None:
    """What routes and listeners must know of the target group; None when there is nothing special about it. `zonal`: it is
    without cross-zone balancing."""
    if group.protocol in LAYER_4:
        return None
    attributes = group.attributes
    kind = attributes.get("stickiness.type", "lb_cookie")
    seconds, name = None, ""
    if attributes.get("stickiness.enabled", "false") == "true" and kind in ("lb_cookie", "app_cookie"):
        seconds = int(attributes.get(f"stickiness.{kind}.duration_seconds", "86400"))
        name = attributes.get("stickiness.app_cookie.cookie_name", "") if kind == "app_cookie" else ""
    traits = TargetTraits(group.protocol_version or "HTTP1", seconds, name, zonal)
    return None if traits == TargetTraits() else traits


def listener_name(load_balancer_arn: str, port: int) -> str:
    """By port and not by listener ARN: a listener that is deleted and made again on its port changes in place."""
    return f"{load_balancer_arn}:{port}"


def edge_name(port: int, family: str) -> str:
    return f"edge/{port}/{family}"


def datagram_name(listener: str) -> str:
    """The UDP door beside a listener."""
    return f"{listener}/udp"


def _is_served(listener: Listener, config: LoadBalancerConfig) -> bool:
    if listener.protocol == "HTTPS":
        trusted = trust_store_of(listener)
        if trusted is not None and trusted not in config.trust_stores:
            return False  # rather closed than open to everybody
    if listener.protocol in ("HTTPS", "TLS"):
        return bool(listener.certificates) and listener.certificates[0] in config.certificates
    return True
