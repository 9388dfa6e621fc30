"""What a listener may be: its protocol by the type of load balancer, what goes with each protocol, and where it may
forward. AWS's refusals in AWS's words (semantics elbv2 §2, §3.2), then our own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from moorage.domain.errors import AwsError
from moorage.domain.load_balancer import LAYER_4, Listener, LoadBalancer
from moorage.domain.ssl_policies import NETWORK_ONLY, SSL_POLICIES, is_fips
from moorage.domain.target_group import TargetGroup
from moorage.services.elbv2.validate import invalid, unsupported

PROTOCOLS = {
    "application": ("HTTP", "HTTPS"),
    "network": ("TCP", "TLS", "UDP", "TCP_UDP", "QUIC", "TCP_QUIC"),
}
SECURE = ("HTTPS", "TLS")
ALPN_POLICIES = ("HTTP1Only", "HTTP2Only", "HTTP2Optional", "HTTP2Preferred", "None")
_FORWARDS_TO: dict[str, tuple[str | None, ...]] = {
    "HTTP": ("HTTP", "HTTPS", None),
    "HTTPS": ("HTTP", "HTTPS", None),
    "TCP": ("TCP", "TCP_UDP"),
    "TLS": ("TLS", "TCP"),
    "UDP": ("UDP", "TCP_UDP"),
    "TCP_UDP": ("TCP_UDP",),
}
"""Protocols of target groups by that of the listener. None: functions."""


def check(owner: LoadBalancer, protocol: str, params: Mapping[str, Any], *, creating: bool) -> None:
    """May a listener of this load balancer have this protocol, with the certificates and policies that are given?"""
    allowed = PROTOCOLS.get(owner.type, ())
    if protocol not in allowed:
        raise invalid(f"Listener protocol '{protocol}' must be one of '{', '.join(allowed)}'")
    if protocol in ("QUIC", "TCP_QUIC"):
        raise unsupported(f"Moorage has no data plane for listeners with the protocol '{protocol}'; use 'TCP_UDP'")
    _check_alpn(owner, protocol, params.get("AlpnPolicy") or ())
    policy = params.get("SslPolicy")
    if protocol not in SECURE:
        if policy:
            raise invalid(f"An SSL policy cannot be specified for {protocol} listeners")
        if params.get("Certificates"):
            raise invalid(f"A certificate cannot be specified for {protocol} listeners")
        return
    if creating and not params.get("Certificates"):
        raise invalid(f"A certificate must be specified for {protocol} listeners")
    if policy and (policy not in SSL_POLICIES or (policy in NETWORK_ONLY and owner.type != "network")):
        raise AwsError("SSLPolicyNotFound", f"SSL policy '{policy}' not found")


def check_policies(owner: LoadBalancer, listener: Listener, siblings: Iterable[Listener]) -> None:
    """FIPS policies or others: all listeners of a load balancer alike. `siblings`: its listeners, as they are."""
    for other in siblings:
        if other.arn == listener.arn or other.ssl_policy is None or listener.ssl_policy is None:
            continue
        if is_fips(other.ssl_policy) != is_fips(listener.ssl_policy):
            raise AwsError(
                "InvalidConfigurationRequest",
                f"The listeners of load balancer '{owner.arn}' must use either FIPS or non-FIPS security policies",
            )


def _check_alpn(owner: LoadBalancer, protocol: str, given: Sequence[str]) -> None:
    if not given:
        return
    if owner.type != "network":
        raise invalid(f"You cannot set ALPN policy on load balancers of type '{owner.type}'")
    if protocol != "TLS":
        raise invalid(f"You cannot set ALPN policy on listeners with protocol '{protocol}'")
    if len(given) > 1:
        raise invalid("You can specify only one ALPN policy")
    if given[0] not in ALPN_POLICIES:
        raise AwsError("ALPNPolicyNotFound", f"ALPN policy '{given[0]}' is not supported")


def check_actions(owner: LoadBalancer, given: Sequence[Mapping[str, Any]]) -> None:
    """What the actions of a network load balancer may not be."""
    if owner.type != "network":
        return
    for action in given:
        if action.get("Type") != "forward":
            raise AwsError(
                "InvalidLoadBalancerAction",
                f"The action type '{action.get('Type')}' is not valid with network load balancer",
            )
        stickiness = (action.get("ForwardConfig") or {}).get("TargetGroupStickinessConfig") or {}
        if stickiness.get("Enabled"):
            raise AwsError(
                "InvalidLoadBalancerAction", "Target group stickiness is not supported with network load balancer"
            )


def check_rules(listener: Listener) -> None:
    if listener.protocol in LAYER_4:
        raise AwsError(
            "InvalidConfigurationRequest", f"Rules are not supported for listeners with protocol '{listener.protocol}'"
        )


def check_compatible(protocol: str, groups: Sequence[TargetGroup]) -> None:
    """May a listener with this protocol forward to these target groups?"""
    if wrong := [group.arn for group in groups if not _compatible(protocol, group)]:
        raise AwsError(
            "IncompatibleProtocols",
            f"The listener and the following target groups have incompatible protocols: {', '.join(wrong)}",
        )


def _compatible(protocol: str, group: TargetGroup) -> bool:
    if group.target_type == "alb" and protocol != "TCP":
        return False
    return group.protocol in _FORWARDS_TO.get(protocol, ())
