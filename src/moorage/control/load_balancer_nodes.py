"""The nodes of load balancers: one network namespace with an address of its own per subnet, as AWS has one network
interface there. Clients in the VPC reach the load balancer at these addresses, and targets see requests come from them.

A node is a sandbox of the engine that holds nothing but its network; the proxy opens listeners in it. Nodes are made when
a load balancer gets its first listener and go with it. What cannot be made is tried again: until then, and on machines
whose proxy cannot enter the engine's networks, the load balancer answers on its loopback address only, and says so.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

from msgspec.structs import replace

from moorage.control.addresses import Addresses
from moorage.control.container_network import network_of
from moorage.control.host_ranges import on_this_host
from moorage.control.loop import Loop, Pass
from moorage.domain.load_balancer import LoadBalancer, LoadBalancerNode, load_balancer_of
from moorage.domain.network import NetworkInterface, Subnet
from moorage.engine.driver import (
    LABEL_LOAD_BALANCER,
    Engine,
    EngineError,
    EngineEvent,
    ObservedContainer,
    SandboxSpec,
)
from moorage.store.api import Change, StoreApi, Transaction
from moorage.store.tables.elbv2 import LISTENERS, LOAD_BALANCER_NODES, LOAD_BALANCERS
from moorage.store.tables.network import NETWORK_INTERFACES, SUBNETS

RETRY = 15.0
"""Seconds until a node that could not be made is tried again."""


class LoadBalancerNodes:
    """`addresses`: those of the tasks' controller, so that nobody gets an address twice."""

    def __init__(self, store: StoreApi, engine: Engine, addresses: Addresses) -> None:
        self._store = store
        self._engine = engine
        self._addresses = addresses
        self._strays: dict[str, set[str]] = {}
        self.loop = Loop("load-balancer-nodes", self._reconcile, workers=4)
        self._end_watch: Callable[[], None] = lambda: None

    def said(self, arn: str) -> str | None:
        return self.loop.said(arn)

    def start(self) -> None:
        if not self._engine.enters_networks:
            return
        self._end_watch = self._store.watch(self._changed)
        for record in self._store.all(LOAD_BALANCERS):
            self.loop.wake(record.arn)
        for interface in self._store.all(NETWORK_INTERFACES):
            if ":loadbalancer/" in interface.owner_arn:
                self.loop.wake(interface.owner_arn)

    async def close(self) -> None:
        self._end_watch()
        await self.loop.close()

    # --- being woken -------------------------------------------------------------------------------------------------
    def _changed(self, changes: Sequence[Change[Any]]) -> None:
        for change in changes:
            if change.table is LISTENERS and (change.before is None or change.after is None):
                self.loop.wake(load_balancer_of(change.key))
            elif change.table is LOAD_BALANCER_NODES and change.after is None and change.before is not None:
                # Whoever deleted the record (a reset of the whole state, say): its sandbox goes too.
                node: LoadBalancerNode = change.before
                self._strays.setdefault(node.load_balancer_arn, set()).add(node.sandbox_id)
                self.loop.wake(node.load_balancer_arn)
            elif change.table is LOAD_BALANCERS and _stands_elsewhere(change.before, change.after):
                self.loop.wake(change.key)

    def observe(self, event: EngineEvent) -> None:
        """The engine told something about a node."""
        if event.kind in ("died", "gone"):
            self.loop.wake(event.labels[LABEL_LOAD_BALANCER])

    def compare(self, observed: Collection[ObservedContainer]) -> None:
        """The engine's full list: nodes that do not run are made again, sandboxes of no node are removed."""
        running = {one.id for one in observed if one.state == "running"}
        known = {node.sandbox_id: node for node in self._store.all(LOAD_BALANCER_NODES)}
        for sandbox_id, node in known.items():
            if sandbox_id not in running:
                self.loop.wake(node.load_balancer_arn)
        for one in observed:
            if one.id not in known:
                arn = one.labels[LABEL_LOAD_BALANCER]
                self._strays.setdefault(arn, set()).add(one.id)
                self.loop.wake(arn)

    # --- a pass ------------------------------------------------------------------------------------------------------
    async def _reconcile(self, arn: str) -> Pass:
        record = self._store.get(LOAD_BALANCERS, arn)
        if record is None:
            await self._remove(arn, keep=())
            asyncio.get_running_loop().call_soon(self.loop.forget, arn)
            return Pass("no nodes: it is gone")
        if not self._store.find(LISTENERS, "load_balancer", arn):
            await self._remove(arn, keep=(), reserved={one.subnet_id for one in record.addresses})
            await self._reserve(record)
            return Pass("no nodes: it has no listener")
        troubles: list[str] = []
        for subnet_id, zone in sorted(record.subnets, key=lambda pair: pair[1]):
            try:
                trouble = await self._make(record, subnet_id, zone)
            except EngineError as error:
                trouble = error.reason()
            if trouble is not None:
                troubles.append(f"{subnet_id}: {trouble}")
        subnets = {subnet_id for subnet_id, _ in record.subnets}
        await self._remove(arn, keep=subnets, reserved=subnets)
        made = sorted(node.address for node in self._store.find(LOAD_BALANCER_NODES, "load_balancer", arn))
        said = f"inside the VPC at {', '.join(made)}" if made else "not reachable inside the VPC"
        if troubles:
            return Pass(f"{said}; {'; '.join(troubles)}", again_after=RETRY)
        return Pass(said)

    async def _make(self, record: LoadBalancer, subnet_id: str, zone: str) -> str | None:
        """Brings one node about; what is in the way, or None."""
        subnet = self._store.get(SUBNETS, f"{record.account}/{record.region}/{subnet_id}")
        if subnet is None:
            return "the subnet is not known any more"
        subnet = await on_this_host(self._store, self._engine, subnet)
        interface = await self._interface(record, subnet)
        if interface is None:
            chosen = _chosen(record, subnet)
            return "it has no free address" if chosen is None else f"somebody else has the address {chosen}"
        spec = SandboxSpec(
            task_arn=f"{record.arn}/{subnet_id}",
            mode="awsvpc",
            labels={LABEL_LOAD_BALANCER: record.arn},
            network=network_of(subnet),
            ipv4=interface.ipv4,
            mac=interface.mac,
        )
        sandbox = await self._engine.start_sandbox(spec)
        namespace = await self._engine.namespace_of(sandbox.id)
        if namespace is None:
            return "its network cannot be entered"
        node = LoadBalancerNode(record.arn, subnet_id, zone, interface.ipv4, namespace, sandbox.id)
        await self._store.update(lambda tx: tx.put(LOAD_BALANCER_NODES, node))
        return None

    async def _reserve(self, record: LoadBalancer) -> None:
        """The addresses that were chosen for a load balancer are its own before it has a listener."""
        for chosen in record.addresses:
            subnet = self._store.get(SUBNETS, f"{record.account}/{record.region}/{chosen.subnet_id}")
            if subnet is not None and chosen.private_ipv4 is not None:
                await self._interface(record, subnet)

    async def _interface(self, record: LoadBalancer, subnet: Subnet) -> NetworkInterface | None:
        """The load balancer's interface in this subnet, made now when there is none. None: nothing is free, or not the
        address that was chosen for it."""
        given: list[NetworkInterface] = []
        chosen = _chosen(record, subnet)

        def write(tx: Transaction) -> NetworkInterface | None:
            for known in tx.find(NETWORK_INTERFACES, "owner", record.arn):
                if known.subnet_id == subnet.subnet_id:
                    return tx.put(NETWORK_INTERFACES, replace(known, security_groups=record.security_groups))
            take = self._addresses.allocate if chosen is None else partial(self._addresses.claim, address=chosen)
            found = take(
                tx,
                subnet,
                owner_arn=record.arn,
                security_groups=record.security_groups,
                description=f"ELB {record.full_name}",
            )
            if found is not None:
                found = tx.put(NETWORK_INTERFACES, replace(found, public_ipv4=_elastic(record, subnet)))
                given.append(found)
            return found

        try:
            return await self._store.update(write)
        except BaseException:
            for interface in given:
                self._addresses.forget(interface)
            raise

    async def _remove(self, arn: str, keep: Collection[str], reserved: Collection[str] = ()) -> None:
        """Nodes in other subnets than these: the record first, so that the proxy leaves, then the sandbox, then the
        address, except those in `reserved` subnets."""
        nodes = self._store.find(LOAD_BALANCER_NODES, "load_balancer", arn)
        gone = [node for node in nodes if node.subnet_id not in keep]

        def forget(tx: Transaction) -> None:
            for node in gone:
                tx.delete(LOAD_BALANCER_NODES, node.key)

        if gone:
            self._strays.setdefault(arn, set()).update(node.sandbox_id for node in gone)
            await self._store.update(forget)
        stay = {node.sandbox_id for node in nodes if node.subnet_id in keep}
        for stray in sorted(self._strays.get(arn, set()) - stay):
            await self._engine.remove_sandbox(stray)
            self._strays[arn].discard(stray)
        self._strays.pop(arn, None)
        for interface in self._store.find(NETWORK_INTERFACES, "owner", arn):
            if interface.subnet_id not in reserved:
                await self._addresses.give_back(interface)
                self._addresses.forget(interface)


def _chosen(record: LoadBalancer, subnet: Subnet) -> str | None:
    """The private address that its owner chose for the load balancer there. One that is not in the range which the subnet
    has on this machine cannot be used."""
    for one in record.addresses:
        if one.subnet_id == subnet.subnet_id and one.private_ipv4 is not None:
            inside = ipaddress.ip_address(one.private_ipv4) in ipaddress.ip_network(subnet.range)
            return one.private_ipv4 if inside else None
    return None


def _elastic(record: LoadBalancer, subnet: Subnet) -> str | None:
    return next((one.ip_address for one in record.addresses if one.subnet_id == subnet.subnet_id), None)


def _stands_elsewhere(before: LoadBalancer | None, after: LoadBalancer | None) -> bool:
    if before is None or after is None:
        return True
    where = (before.subnets, before.addresses, before.security_groups)
    return where != (after.subnets, after.addresses, after.security_groups)
