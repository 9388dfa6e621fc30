"""Elastic Load Balancing v2 records: load balancers, listeners, rules. Source: semantics elbv2 §1–§4, §6.

Attributes are kept as AWS's flat string maps; only those that differ from the default are stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from moorage.domain.trust_store import MutualAuthentication

LoadBalancerType = Literal["application", "network", "gateway"]


LAYER_4 = frozenset({"TCP", "TLS", "UDP", "TCP_UDP"})
"""Protocols of network load balancers (semantics elbv2 §3.2, §13). TCP_UDP: both on one port."""
DATAGRAM = frozenset({"UDP", "TCP_UDP"})
STREAM = frozenset({"TCP", "TCP_UDP"})


class NodeAddress(msgspec.Struct, frozen=True):
    """The address that a user chose for a network load balancer in one subnet: an Elastic IP (`allocation_id`, and its
    `ip_address`), or a private address."""

    subnet_id: str
    allocation_id: str | None = None
    ip_address: str | None = None
    private_ipv4: str | None = None


class LoadBalancer(msgspec.Struct, frozen=True):
    """`full_name` is the ARN's tail ("app/web/50dc6c495c0c9188"); `loopback` the 127.x.y.z address of this machine on
    which the load balancer answers for every Host; `created_at` epoch seconds."""

    arn: str
    account: str
    region: str
    name: str
    type: LoadBalancerType
    scheme: Literal["internet-facing", "internal"]
    dns_name: str
    full_name: str
    vpc_id: str
    subnets: tuple[tuple[str, str], ...]
    """(subnet id, availability zone)"""
    security_groups: tuple[str, ...]
    ip_address_type: str
    canonical_hosted_zone_id: str
    loopback: str
    created_at: float
    state: Literal["provisioning", "active", "failed"] = "provisioning"
    state_reason: str = ""
    attributes: Mapping[str, str] = {}
    tags: Mapping[str, str] = {}
    addresses: tuple[NodeAddress, ...] = ()
    private_link_rules: str = ""
    """"on" or "off" once a network load balancer was told whether its security groups apply to PrivateLink traffic."""
    capacity_units: int | None = None
    """Reserved capacity, of all zones together."""
    capacity_changed_at: float | None = None

    @property
    def preserves_host(self) -> bool:
        """Targets get the Host as the client wrote it."""
        return self.attributes.get("routing.http.preserve_host_header.enabled") == "true"


class LoadBalancerNode(msgspec.Struct, frozen=True):
    """Where a load balancer stands in one of its subnets: its address there, in the network namespace with the path
    `namespace`, held by the engine's sandbox `sandbox_id`. Observed state."""

    load_balancer_arn: str
    subnet_id: str
    zone: str
    address: str
    namespace: str
    sandbox_id: str

    @property
    def key(self) -> str:
        return f"{self.load_balancer_arn}|{self.subnet_id}"


class WeightedTargetGroup(msgspec.Struct, frozen=True):
    arn: str
    weight: int = 1


class Forward(msgspec.Struct, frozen=True, tag="forward"):
    target_groups: tuple[WeightedTargetGroup, ...]
    stickiness_seconds: int | None = None
    """None: target-group stickiness is off."""
    order: int | None = None
    unused_stickiness_seconds: int | None = None
    """A duration that was given although stickiness is off: it is shown, and nothing else."""


class Redirect(msgspec.Struct, frozen=True, tag="redirect"):
    """Placeholders `#{protocol}` `#{host}` `#{port}` `#{path}` `#{query}` as written by the user."""

    status_code: Literal["HTTP_301", "HTTP_302"]
    protocol: str = "#{protocol}"
    host: str = "#{host}"
    port: str = "#{port}"
    path: str = "/#{path}"
    query: str = "#{query}"
    order: int | None = None


class FixedResponse(msgspec.Struct, frozen=True, tag="fixed-response"):
    status_code: str
    content_type: str | None = None
    body: str | None = None
    order: int | None = None


class AuthenticateOidc(msgspec.Struct, frozen=True, tag="authenticate-oidc"):
    """Users log in at an OpenID Connect provider before anything else happens. `session_timeout` in seconds. The client
    secret is never shown."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    user_info_endpoint: str
    client_id: str
    client_secret: str
    session_cookie_name: str = "AWSELBAuthSessionCookie"
    scope: str = "openid"
    session_timeout: int = 604800
    extra_params: Mapping[str, str] = {}
    on_unauthenticated: Literal["authenticate", "allow", "deny"] = "authenticate"
    order: int | None = None

    def __repr__(self) -> str:
        return f"AuthenticateOidc({self.issuer!r}, {self.client_id!r})"


class JwtClaim(msgspec.Struct, frozen=True):
    """A claim that must have one of `values`."""

    format: Literal["single-string", "string-array", "space-separated-values"]
    name: str
    values: tuple[str, ...]


class ValidateJwt(msgspec.Struct, frozen=True, tag="jwt-validation"):
    """Requests must carry a token that `issuer` signed (RS256) with a key of `jwks_endpoint`."""

    jwks_endpoint: str
    issuer: str
    additional_claims: tuple[JwtClaim, ...] = ()
    order: int | None = None


AuthAction = AuthenticateOidc | ValidateJwt
Action = Forward | Redirect | FixedResponse | AuthenticateOidc | ValidateJwt


class Condition(msgspec.Struct, frozen=True):
    """`field`: path-pattern | host-header | http-header | http-request-method | query-string | source-ip. `values` are
    OR-ed. `header` names the header of an http-header condition. `pairs` are (key or None, value) of query-string.
    `regex` values are OR-ed with nothing else (values is empty then). `typed` remembers whether the caller used the
    typed `…Config` member (the answer shows it either way)."""

    field: str
    values: tuple[str, ...] = ()
    header: str | None = None
    pairs: tuple[tuple[str | None, str], ...] = ()
    regex: tuple[str, ...] = ()


class Listener(msgspec.Struct, frozen=True):
    """`default_rule_arn`: the ARN of the default rule, whose actions are `default_actions`."""

    arn: str
    load_balancer_arn: str
    port: int
    protocol: str
    default_actions: tuple[Action, ...]
    default_rule_arn: str
    ssl_policy: str | None = None
    certificates: tuple[str, ...] = ()
    alpn_policy: tuple[str, ...] = ()
    attributes: Mapping[str, str] = {}
    tags: Mapping[str, str] = {}
    default_rule_tags: Mapping[str, str] = {}
    mutual: MutualAuthentication | None = None
    """None: clients are not asked for certificates."""


class Transform(msgspec.Struct, frozen=True):
    """A rewrite between matching and forwarding: every match of `regex` by `replace`, in which `$1` is the first group."""

    type: Literal["host-header-rewrite", "url-rewrite"]
    regex: str
    replace: str


class Rule(msgspec.Struct, frozen=True):
    arn: str
    listener_arn: str
    priority: int
    conditions: tuple[Condition, ...]
    actions: tuple[Action, ...]
    tags: Mapping[str, str] = {}
    transforms: tuple[Transform, ...] = ()


class TargetGroupUse(msgspec.Struct, frozen=True):
    """One listener or rule (`user_arn`) that forwards to one target group. Derived from listeners and rules, written
    together with them (`store/elbv2_queries`), so that "who uses this target group?" never scans rules."""

    target_group_arn: str
    user_arn: str
    load_balancer_arn: str

    @property
    def key(self) -> str:
        return f"{self.user_arn}|{self.target_group_arn}"


def owner_of_shared_port(
    wanting: Iterable[tuple[LoadBalancer, Listener]],
) -> tuple[LoadBalancer, Listener] | None:
    """Whose TCP or UDP listener has a port of the address that all DNS names lead to: that of the oldest load balancer."""
    return min(wanting, key=lambda pair: (pair[0].created_at, pair[0].arn), default=None)


def answers_by_name(listener: Listener, on_port: Iterable[tuple[LoadBalancer, Listener]]) -> bool:
    """Does a load balancer's DNS name lead to this listener? HTTP and TLS are told apart by the name that clients ask
    for; TCP has a port of the shared address only while nobody shares it so. `on_port`: all listeners of the port."""
    if listener.protocol not in STREAM | DATAGRAM:
        return True
    there = list(on_port)
    if listener.protocol == "UDP":
        owner = owner_of_shared_port(pair for pair in there if pair[1].protocol in DATAGRAM)
    elif any(one.protocol not in STREAM | DATAGRAM for _, one in there):
        owner = None
    else:
        owner = owner_of_shared_port(pair for pair in there if pair[1].protocol in STREAM)
    return owner is not None and owner[1].arn == listener.arn


def forwarded_to(actions: tuple[Action, ...]) -> tuple[str, ...]:
    """The target groups that these actions name, each once, in order."""
    arns = [group.arn for action in actions if isinstance(action, Forward) for group in action.target_groups]
    return tuple(dict.fromkeys(arns))


def auth_of(actions: tuple[Action, ...]) -> AuthAction | None:
    """What must hold before the last action happens."""
    return next((action for action in actions if isinstance(action, AuthenticateOidc | ValidateJwt)), None)


def trust_store_of(listener: Listener) -> str | None:
    """The trust store that it verifies client certificates with."""
    return listener.mutual.trust_store_arn if listener.mutual is not None else None


def listener_of(rule_arn: str) -> str:
    """`…:listener-rule/app/web/<lb>/<listener>/<rule>` → `…:listener/app/web/<lb>/<listener>`"""
    return rule_arn.replace(":listener-rule/", ":listener/", 1).rpartition("/")[0]


def load_balancer_of(listener_arn: str) -> str:
    """`…:listener/app/web/<lb>/<listener>` → `…:loadbalancer/app/web/<lb>`"""
    return listener_arn.replace(":listener/", ":loadbalancer/", 1).rpartition("/")[0]
