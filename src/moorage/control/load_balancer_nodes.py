"""The nodes of load balancers: one network namespace with an address of its own per subnet, as AWS has one network
interface there. Clients in the VPC reach the load balancer at these addresses, and targets see requests come from them.

A node is a sandbox of the engine that holds nothing but its network; the proxy opens listeners in it. Nodes are made when
a load balancer gets its first listener and go with it. What cannot be made is tried again: until then, and on machines
whose proxy cannot enter the engine's networks, the load balancer answers on its loopback address only, and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from moorage.control.addresses import Addresses
from moorage.control.container_network import network_of
from moorage.control.host_ranges import on_this_host
from moorage.control.loop import Loop, Pass
from moorage.domain.load_balancer import LoadBalancer, load_balancer_of
from moorage.domain.network import NetworkInterface, Subnet
from moorage.engine.driver import (
    LABEL_LOAD_BALANCER,
    Engine,
    EngineError,
    EngineEvent,
    ObservedContainer,
    SandboxSpec,
)
from moorage.proxy.driver import Node
from moorage.store.api import Change, StoreApi, Transaction
from moorage.store.tables.elbv2 import LISTENERS, LOAD_BALANCERS
from moorage.store.tables.network import NETWORK_INTERFACES, SUBNETS

RETRY = 15.0
"""Seconds until a node that could not be made is tried again."""


class LoadBalancerNodes:
    """`addresses`: those of the tasks' controller, so that nobody gets an address twice. `on_change` is called with the
    load balancer's ARN whenever `of` answers something else."""

    def __init__(self, store: StoreApi, engine: Engine, addresses: Addresses) -> None:
        self._store = store
        self._engine = engine
        self._addresses = addresses
        self._nodes: dict[str, tuple[Node, ...]] = {}
        self._sandboxes: dict[str, dict[str, str]] = {}
        self._strays: dict[str, set[str]] = {}
        self.on_change: Callable[[str], None] = lambda arn: None
        self.loop = Loop("load-balancer-nodes", self._reconcile, workers=4)
        self._end_watch: Callable[[], None] = lambda: None

    def of(self, arn: str) -> tuple[Node, ...]:
        """The nodes that answer, in the order of their zones."""
        return self._nodes.get(arn, ())

    def said(self, arn: str) -> str | None:
        return self.loop.said(arn)

    def start(self) -> None:
        if not self._engine.enters_networks:
            return
        self._end_watch = self._store.watch(self._changed)
        for record in self._store.all(LOAD_BALANCERS):
            self.loop.wake(record.arn)
        for interface in self._store.all(NETWORK_INTERFACES):
            if _is_balancers(interface.owner_arn) and self._store.get(LOAD_BALANCERS, interface.owner_arn) is None:
                self.loop.wake(interface.owner_arn)

    async def close(self) -> None:
        self._end_watch()
        await self.loop.close()

    # --- being woken -------------------------------------------------------------------------------------------------
    def _changed(self, changes: Sequence[Change[Any]]) -> None:
        for change in changes:
            if change.table is LISTENERS and (change.before is None or change.after is None):
                self.loop.wake(load_balancer_of(change.key))
            elif change.table is LOAD_BALANCERS and (
                change.before is None or change.after is None or change.before.subnets != change.after.subnets
            ):
                self.loop.wake(change.key)

    def observe(self, event: EngineEvent) -> None:
        """The engine told something about a node."""
        arn = event.labels.get(LABEL_LOAD_BALANCER)
        if arn is not None and event.kind in ("died", "gone"):
            self.loop.wake(arn)

    def compare(self, observed: Collection[ObservedContainer]) -> None:
        """The engine's full list: nodes that are not there are made again, nodes of nobody are removed."""
        running = {one.id for one in observed if one.state == "running"}
        for arn, known in self._sandboxes.items():
            if any(sandbox not in running for sandbox in known.values()):
                self.loop.wake(arn)
        for one in observed:
            arn = one.labels[LABEL_LOAD_BALANCER]
            if one.id not in self._sandboxes.get(arn, {}).values():
                self._strays.setdefault(arn, set()).add(one.id)
                self.loop.wake(arn)

    # --- a pass ------------------------------------------------------------------------------------------------------
    async def _reconcile(self, arn: str) -> Pass:
        record = self._store.get(LOAD_BALANCERS, arn)
        wanted = record is not None and bool(self._store.find(LISTENERS, "load_balancer", arn))
        if record is None or not wanted:
            await self._remove(arn, keep=())
            if record is None:
                return Pass("removed")
            return Pass("no nodes: it has no listener")
        made: list[Node] = []
        troubles: list[str] = []
        sandboxes = self._sandboxes.setdefault(arn, {})
        for subnet_id, zone in sorted(record.subnets, key=lambda pair: pair[1]):
            try:
                node, sandbox = await self._make(record, subnet_id, zone)
            except EngineError as error:
                troubles.append(f"{subnet_id}: {error.reason()}")
                continue
            if sandbox:
                sandboxes[subnet_id] = sandbox
            if node is None:
                troubles.append(f"{subnet_id}: it has no free address, or is not known any more")
                continue
            made.append(node)
        self._tell(arn, tuple(made))
        await self._remove(arn, keep={subnet_id for subnet_id, _ in record.subnets})
        said = f"{len(made)} nodes: {', '.join(node.address for node in made)}" if made else "no nodes"
        if troubles:
            return Pass(f"{said}; {'; '.join(troubles)}", again_after=RETRY)
        return Pass(said)

    async def _make(self, record: LoadBalancer, subnet_id: str, zone: str) -> tuple[Node | None, str]:
        subnet = self._store.get(SUBNETS, f"{record.account}/{record.region}/{subnet_id}")
        if subnet is None:
            return None, ""
        subnet = await on_this_host(self._store, self._engine, subnet)
        interface = await self._interface(record, subnet)
        if interface is None:
            return None, ""
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
            return None, sandbox.id
        return Node(subnet_id, zone, interface.ipv4, namespace), sandbox.id

    async def _interface(self, record: LoadBalancer, subnet: Subnet) -> NetworkInterface | None:
        """The load balancer's interface in this subnet, made now when there is none."""
        given: list[NetworkInterface] = []

        def write(tx: Transaction) -> NetworkInterface | None:
            for known in tx.find(NETWORK_INTERFACES, "owner", record.arn):
                if known.subnet_id == subnet.subnet_id:
                    return known
            found = self._addresses.allocate(
                tx,
                subnet,
                owner_arn=record.arn,
                security_groups=record.security_groups,
                description=f"ELB {record.full_name}",
            )
            given.extend([found] if found is not None else [])
            return found

        try:
            return await self._store.update(write)
        except BaseException:
            for interface in given:
                self._addresses.forget(interface)
            raise

    async def _remove(self, arn: str, keep: Collection[str]) -> None:
        """The proxy leaves first, then the sandbox goes, then the address is free."""
        if not keep:
            self._tell(arn, ())
        known = self._sandboxes.get(arn, {})
        for subnet_id in [one for one in known if one not in keep]:
            await self._engine.remove_sandbox(known[subnet_id])
            del known[subnet_id]
        for stray in sorted(self._strays.pop(arn, set()) - set(known.values())):
            await self._engine.remove_sandbox(stray)
        if not known:
            self._sandboxes.pop(arn, None)
        for interface in self._store.find(NETWORK_INTERFACES, "owner", arn):
            if interface.subnet_id not in keep:
                await self._addresses.give_back(interface)
                self._addresses.forget(interface)

    def _tell(self, arn: str, nodes: tuple[Node, ...]) -> None:
        if self._nodes.get(arn, ()) == nodes:
            return
        if nodes:
            self._nodes[arn] = nodes
        else:
            self._nodes.pop(arn, None)
        self.on_change(arn)


def _is_balancers(owner_arn: str) -> bool:
    return ":loadbalancer/" in owner_arn
