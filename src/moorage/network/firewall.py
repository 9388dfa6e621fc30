"""The seam to whatever keeps packets out of a network namespace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from moorage.domain.errors import Retryable
from moorage.domain.network import Ingress


class FirewallUnavailable(Retryable):
    """The rules could not be put in place (no nftables, not root, the namespace is gone)."""


class Firewall(Protocol):
    async def apply(self, namespace: str, ingress: Sequence[Ingress], resets: Sequence[int] = ()) -> None:
        """From now on the namespace (a path) accepts new connections only as `ingress` says, and resets those to the TCP
        ports `resets`; those that are open go on. All at once or not at all. Raises FirewallUnavailable."""
        ...


class NoFirewall:
    """Everything is let in: the simulated world, and machines without a firewall of ours."""

    async def apply(self, namespace: str, ingress: Sequence[Ingress], resets: Sequence[int] = ()) -> None:
        return None
