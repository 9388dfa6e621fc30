"""The seam to whatever keeps packets out of a network namespace."""

from __future__ import annotations

from typing import Protocol

from moorage.domain.errors import Retryable
from moorage.domain.network import Guard


class FirewallUnavailable(Retryable):
    """The rules could not be put in place (no nftables, not root, the namespace is gone)."""


class Firewall(Protocol):
    async def apply(self, namespace: str, guard: Guard) -> None:
        """From now on the namespace (a path) lets new connections through only as `guard` says; those that are open go on.
        All at once or not at all. Raises FirewallUnavailable."""
        ...


class NoFirewall:
    """Everything is let through: the simulated world, and machines without a firewall of ours."""

    async def apply(self, namespace: str, guard: Guard) -> None:
        return None
