"""The seam to the proxy: whole load balancers and whole target groups, put and removed one at a time, so that
the cost of a change does not grow with the number of load balancers.

Every verb is idempotent and returns when the proxy has taken the change into use (or raises `ProxyRefused` with the
proxy's own words, or `ProxyUnavailable` when it does not run). A load balancer may name a target group that was not
put yet: its requests then answer 503.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from moorage.domain.errors import Permanent, Retryable
from moorage.domain.load_balancer import Listener, LoadBalancer, LoadBalancerNode, Rule
from moorage.domain.target_group import TargetGroup


class ProxyUnavailable(Retryable):
    """The proxy does not run or does not answer."""


class ProxyRefused(Permanent):
    """The proxy rejected a configuration (a bug of ours, or a port of this machine that is taken)."""


class Endpoint(msgspec.Struct, frozen=True):
    """Where requests of a target group may go. `healthy` False: only used when no endpoint is healthy (fail-open).
    `zone`: told only where it matters, in a group without cross-zone balancing."""

    address: str
    port: int
    healthy: bool = True
    zone: str = ""


class Certificate(msgspec.Struct, frozen=True):
    """A server certificate in PEM: `chain` begins with the server's own. The key is never shown."""

    arn: str
    chain: bytes
    key: bytes

    def __repr__(self) -> str:
        return f"Certificate({self.arn!r})"


class TrustAnchors(msgspec.Struct, frozen=True):
    """What a listener verifies client certificates against, in PEM. `revoked`: revocation lists, or nothing."""

    arn: str
    bundle: bytes
    revoked: bytes = b""


class AuthRequest(msgspec.Struct, frozen=True):
    """A request whose rule asks who sends it. `rule`: its ARN; empty for the door to which an OpenID Connect provider sends
    users back. `listener`: ARN. `host` as the client named it; `path` with its query; header names in lower case.
    `client`: "address:port"."""

    rule: str
    listener: str
    method: str
    host: str
    path: str
    headers: Mapping[str, str]
    client: str = ""


class AuthAnswer(msgspec.Struct, frozen=True):
    """`status` None: let it through, without the headers `remove`, with the headers `add`. Otherwise answered at once
    with `answer_headers` and AWS's page, `why` is for people. `answer_headers` go to the client in both cases."""

    status: int | None = None
    add: Mapping[str, str] = {}
    remove: tuple[str, ...] = ()
    answer_headers: tuple[tuple[str, str], ...] = ()
    why: str = ""


Authorizer = Callable[[AuthRequest], Awaitable[AuthAnswer]]


class LoadBalancerConfig(msgspec.Struct, frozen=True):
    """A load balancer with all its listeners; `rules` by listener ARN, in any order (priority decides). `certificates`
    by ARN, those that its HTTPS listeners name; a listener whose default certificate is not there is not opened.
    `trust_stores` by ARN, those that its listeners verify clients with; without its own, a listener is not opened."""

    load_balancer: LoadBalancer
    listeners: tuple[Listener, ...]
    rules: Mapping[str, tuple[Rule, ...]]
    certificates: Mapping[str, Certificate] = {}
    trust_stores: Mapping[str, TrustAnchors] = {}
    nodes: tuple[LoadBalancerNode, ...] = ()
    """Where it is reached from inside its VPC, on the ports of its listeners as they are."""

    preserving: frozenset[str] = frozenset()
    """Listeners (ARNs) that speak to targets in the name of their clients inside the VPC."""


class TargetGroupConfig(msgspec.Struct, frozen=True):
    """`cross_zone` False: every zone that has a healthy endpoint gets the same share, however many it has."""

    target_group: TargetGroup
    endpoints: tuple[Endpoint, ...]
    cross_zone: bool = True
    source: LoadBalancerNode | None = None
    """Where its load balancer connects from; None: from this machine."""

    leaving: tuple[Endpoint, ...] = ()
    """Of groups of datagrams: draining targets, which keep the flows that they have."""


class Proxy(Protocol):
    async def put_load_balancer(self, config: LoadBalancerConfig) -> None: ...

    async def remove_load_balancer(self, arn: str) -> None: ...

    async def put_target_group(self, config: TargetGroupConfig) -> None: ...

    async def remove_target_group(self, arn: str) -> None: ...

    async def cut(self, places: Sequence[tuple[str, int]]) -> int:
        """Ends the connections that are open to these addresses, whatever is under way on them; answers how many. Does
        what it can: where this machine gives no way to it, nothing is cut."""
        ...

    async def retain(self, load_balancers: Sequence[str], target_groups: Sequence[str]) -> None:
        """After a restart of the control plane: forget everything that is not named here."""
        ...
