"""The names that tasks can resolve, from the records: load balancers, and the private names of addresses. And where the
DNS server must listen for them: at the gateway of every subnet in use.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from moorage.domain.network import Subnet
from moorage.store.api import Change, StoreApi
from moorage.store.tables.elbv2 import LOAD_BALANCER_NODES, LOAD_BALANCERS
from moorage.store.tables.network import SUBNETS

log = logging.getLogger("moorage.dns")

_PRIVATE = re.compile(r"ip-(\d{1,3})-(\d{1,3})-(\d{1,3})-(\d{1,3})\.(ec2\.internal|[a-z0-9-]+\.compute\.internal)")


def addresses_of(store: StoreApi, name: str) -> Sequence[str] | None:
    """The IPv4 addresses of a name (lower case, no final dot) inside a VPC; None when it is nobody's here. A load balancer
    that stands in no subnet has the name, but no address. Network load balancers have a name per zone beside: that of the
    zone, a dot, and their own."""
    for balancer in store.find(LOAD_BALANCERS, "dns_name", name):
        nodes = store.find(LOAD_BALANCER_NODES, "load_balancer", balancer.arn)
        return [node.address for node in sorted(nodes, key=lambda node: node.zone)]
    zone, _, rest = name.partition(".")
    for balancer in store.find(LOAD_BALANCERS, "dns_name", rest):
        if balancer.type == "network" and zone in {enabled for _, enabled in balancer.subnets}:
            nodes = store.find(LOAD_BALANCER_NODES, "load_balancer", balancer.arn)
            return [node.address for node in nodes if node.zone == zone]
    private = _PRIVATE.fullmatch(name)
    if private is None:
        return None
    try:
        return [str(ipaddress.IPv4Address(".".join(private.groups()[:4])))]
    except ValueError:
        return None


def gateway_of(subnet: Subnet) -> str:
    return str(ipaddress.IPv4Network(subnet.range)[1])


class Listening(Protocol):
    async def listen(self, address: str) -> int: ...

    def leave(self, address: str) -> None: ...


class SubnetDoors:
    """Has the DNS server listen wherever tasks will ask, and nowhere else."""

    def __init__(self, store: StoreApi, server: Listening) -> None:
        self._store = store
        self._server = server
        self._jobs: set[asyncio.Task[None]] = set()
        self._told = False
        self._end_watch: Callable[[], None] = lambda: None

    async def start(self) -> None:
        self._end_watch = self._store.watch(self._changed)
        for subnet in self._store.all(SUBNETS):
            await self._open(subnet)

    async def close(self) -> None:
        self._end_watch()
        for job in list(self._jobs):
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)

    def _changed(self, changes: Sequence[Change[Any]]) -> None:
        for change in changes:
            if change.table is not SUBNETS:
                continue
            if change.before is not None:
                self._leave(gateway_of(change.before))
            if change.after is not None:
                job = asyncio.get_running_loop().create_task(self._open(change.after), name="dns door")
                self._jobs.add(job)
                job.add_done_callback(self._jobs.discard)

    async def _open(self, subnet: Subnet) -> None:
        try:
            await self._server.listen(gateway_of(subnet))
        except OSError as error:
            if not self._told:
                log.warning("tasks cannot resolve the names of load balancers: %s", error)
            self._told = True
        self._leave(gateway_of(subnet))  # unless it is wanted: the subnet may have gone or moved meanwhile

    def _leave(self, gateway: str) -> None:
        if all(gateway_of(subnet) != gateway for subnet in self._store.all(SUBNETS)):
            self._server.leave(gateway)
