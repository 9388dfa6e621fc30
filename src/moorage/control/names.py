"""The names of load balancers that tasks can resolve, from the records. And where they are answered: at the gateway of
every subnet in use.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from moorage.domain.load_balancer import LoadBalancer
from moorage.domain.network import Subnet
from moorage.store.api import Change, StoreApi
from moorage.store.tables.elbv2 import LOAD_BALANCER_NODES, LOAD_BALANCERS
from moorage.store.tables.network import SUBNETS

log = logging.getLogger("moorage.dns")

SOON = 0.01
"""Seconds: several records of one load balancer change together."""


def names_of(store: StoreApi, balancer: LoadBalancer) -> dict[str, Sequence[str]]:
    """The names (lower case) of a load balancer inside its VPC, with their IPv4 addresses. One that stands in no subnet has
    the name, but no address. Network load balancers have a name per zone beside: that of the zone, a dot, and their own."""
    nodes = sorted(store.find(LOAD_BALANCER_NODES, "load_balancer", balancer.arn), key=lambda node: node.zone)
    name = balancer.dns_name.lower()
    zones = sorted({zone for _, zone in balancer.subnets}) if balancer.type == "network" else ()
    of_zones = {f"{zone}.{name}": [node.address for node in nodes if node.zone == zone] for zone in zones}
    return {name: [node.address for node in nodes], **of_zones}


def gateway_of(subnet: Subnet) -> str:
    return str(ipaddress.IPv4Network(subnet.range)[1])


class Keeper(Protocol):
    def keep(self, doors: Sequence[str], names: Mapping[str, Sequence[str]]) -> None: ...


class NamesKept:
    """Has whoever answers names know them: at once, and once for what changes together."""

    def __init__(self, store: StoreApi, keeper: Keeper) -> None:
        self._store = store
        self._keeper = keeper
        self._due: asyncio.TimerHandle | None = None
        self._end_watch: Callable[[], None] = lambda: None

    def start(self) -> None:
        self._end_watch = self._store.watch(self._changed)
        self._tell()

    def close(self) -> None:
        """What has changed last is told too."""
        self._end_watch()
        if self._due is not None:
            self._due.cancel()
            self._tell()

    def _changed(self, changes: Sequence[Change[Any]]) -> None:
        concerned = any(change.table in (SUBNETS, LOAD_BALANCERS, LOAD_BALANCER_NODES) for change in changes)
        if concerned and self._due is None:
            self._due = asyncio.get_running_loop().call_later(SOON, self._tell)

    def _tell(self) -> None:
        self._due = None
        names: dict[str, Sequence[str]] = {}
        for balancer in self._store.all(LOAD_BALANCERS):
            names.update(names_of(self._store, balancer))
        try:
            self._keeper.keep(sorted({gateway_of(subnet) for subnet in self._store.all(SUBNETS)}), names)
        except OSError as error:
            log.warning("tasks may not find load balancers by their newest names: %s", error)
