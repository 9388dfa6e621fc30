"""What security groups let in and out: rules of groups → addresses and ports. Pure. Source: semantics around §3.

An interface with several groups lets through what any of them does. A rule that names a group means the private addresses
of the interfaces that carry it, which come and go.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from moorage.domain.network import SecurityGroup, Traffic

Direction = Literal["ingress", "egress"]


def allowed(
    groups: Iterable[SecurityGroup],
    members: Callable[[str], Sequence[str]],
    direction: Direction = "ingress",
) -> tuple[Traffic, ...]:
    """`members`: the addresses that carry a group. Same rules, same answer, whatever their order. Rules about the same
    protocol and ports are put together; what nobody can come from (or be reached at) is left out."""
    peers: dict[tuple[str, int, int], list[str]] = {}
    for group in groups:
        for rule in group.ingress if direction == "ingress" else group.egress:
            known = peers.setdefault((rule.protocol, rule.low, rule.high), [])
            known += rule.cidrs
            known += [address for group_id in rule.groups for address in members(group_id)]
    made = (Traffic(*about, peers=_together(known)) for about, known in peers.items())
    return tuple(sorted(rule for rule in made if rule.peers))


def lets(traffic: Iterable[Traffic], protocol: str, address: str, port: int) -> bool:
    """Is a packet to (or from) this IPv4 address among it?"""
    peer = ipaddress.IPv4Address(address)
    return any(
        rule.protocol in ("any", protocol)
        and rule.low <= port <= rule.high
        and any(peer in ipaddress.IPv4Network(block) for block in rule.peers)
        for rule in traffic
    )


def named_groups(groups: Iterable[SecurityGroup]) -> frozenset[str]:
    """The groups whose members matter to these."""
    return frozenset(
        group_id for group in groups for rule in (*group.ingress, *group.egress) for group_id in rule.groups
    )


def _together(peers: Iterable[str]) -> tuple[str, ...]:
    networks = [ipaddress.IPv4Network(peer, strict=False) for peer in peers]
    return tuple(str(network) for network in ipaddress.collapse_addresses(networks))
