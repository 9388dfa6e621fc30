"""The way back of flows whose client keeps its address through a network load balancer: a target that sees the client's own
address would answer it directly, past the load balancer, which would be nobody's connection to the client.

    node      the namespace from which the proxy connects: takes in what is meant for the clients in whose name it speaks,
              and has a foot (an interface without address) in every subnet with targets, so that targets can tell what
              came from it by the hardware address
    target    remembers by which hardware address a flow came in (connection mark), and answers that way (a routing table
              per mark)
    machine   datagrams leave from this machine's own namespace, so it is the one that takes in their answers

Everything in a namespace goes with it; on the machine, `close` removes what `open_machine` made. All of it is idempotent,
and put in place without a moment in between.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from ipaddress import IPv4Address
from typing import Literal, Protocol

import msgspec

from moorage.domain.errors import Retryable


class ReturnPathsUnavailable(Retryable):
    """The way back could not be made: a namespace is gone, or this machine lets us not."""


class Way(msgspec.Struct, frozen=True, order=True):
    """Flows of `protocol` that come from the hardware address `mac` are answered through it. `via`: the IPv4 address that
    stands for it in routing tables. `known`: it answers for that address itself; else it must be told."""

    mac: str
    protocol: Literal["tcp", "udp"]
    via: str
    known: bool = True

    @property
    def mark(self) -> int:
        """The same for the same `via`, whoever counts."""
        return int(IPv4Address(self.via))


class ReturnPaths(Protocol):
    @property
    def streams(self) -> bool:
        """Can this machine do it for connections?"""
        ...

    @property
    def datagrams(self) -> bool: ...

    def mac_of(self, bridge: str) -> str | None:
        """The hardware address of this machine on a bridge; None when there is no such bridge."""
        ...

    async def open_node(self, namespace: str, address: str, feet: Mapping[str, str]) -> None:
        """`feet`: bridge on this machine → CIDR of the subnet. Raises ReturnPathsUnavailable."""
        ...

    async def keep_nodes(self, namespaces: Collection[str]) -> None:
        """Removes the feet of all other nodes: a namespace may outlive its node for as long as the proxy holds a socket in
        it."""
        ...

    async def open_target(self, namespace: str, ways: Sequence[Way]) -> None:
        """Adds ways to those there are. Raises ReturnPathsUnavailable."""
        ...

    async def open_machine(self) -> None:
        """For datagrams. Raises ReturnPathsUnavailable."""
        ...


class NoReturnPaths:
    """Clients' addresses are not preserved: the simulated world, and machines that cannot do it."""

    streams = False
    datagrams = False

    def mac_of(self, bridge: str) -> str | None:
        return None

    async def open_node(self, namespace: str, address: str, feet: Mapping[str, str]) -> None:
        return None

    async def keep_nodes(self, namespaces: Collection[str]) -> None:
        return None

    async def open_target(self, namespace: str, ways: Sequence[Way]) -> None:
        return None

    async def open_machine(self) -> None:
        return None


def foot_mac(address: str) -> str:
    """The hardware address of a node in subnets that are not its own; 10.0.1.9 → 02:43:0a:00:01:09."""
    return "02:43:" + ":".join(f"{int(part):02x}" for part in address.split("."))
