"""What security groups let in: rules of groups → addresses and ports. Pure. Source: semantics around §3.

An interface with several groups lets in what any of them does. A rule that names a group means the private addresses of the
interfaces that carry it, which come and go.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Sequence

from moorage.domain.network import Ingress, SecurityGroup


def allowed(groups: Iterable[SecurityGroup], members: Callable[[str], Sequence[str]]) -> tuple[Ingress, ...]:
    """`members`: the addresses that carry a group. Same rules, same answer, whatever their order. Rules about the same
    protocol and ports are put together; what nobody can come from is left out."""
    sources: dict[tuple[str, int, int], list[str]] = {}
    for group in groups:
        for rule in group.ingress:
            known = sources.setdefault((rule.protocol, rule.low, rule.high), [])
            known += rule.cidrs
            known += [address for group_id in rule.groups for address in members(group_id)]
    made = (Ingress(*about, sources=_together(known)) for about, known in sources.items())
    return tuple(sorted(rule for rule in made if rule.sources))


def named_groups(groups: Iterable[SecurityGroup]) -> frozenset[str]:
    """The groups whose members matter to these."""
    return frozenset(group_id for group in groups for rule in group.ingress for group_id in rule.groups)


def _together(sources: Iterable[str]) -> tuple[str, ...]:
    networks = [ipaddress.IPv4Network(source, strict=False) for source in sources]
    return tuple(str(network) for network in ipaddress.collapse_addresses(networks))
