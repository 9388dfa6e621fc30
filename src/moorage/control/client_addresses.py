"""Client addresses that are preserved: which target groups do it, and the way back from their targets.

A network load balancer whose target group has `preserve_client_ip.enabled` speaks to targets in the name of its clients
inside the VPC. That needs targets that are tasks of this machine, whose namespaces can be told how to answer; a group with
any other target preserves nobody's address. A target gets traffic only once its way back is there.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Callable, Collection, Sequence
from typing import Any

from moorage.control.container_network import network_of
from moorage.control.names import gateway_of
from moorage.decide.ipam import mac_of
from moorage.decide.target_traffic import wants_client_addresses
from moorage.domain.errors import MoorageError
from moorage.domain.load_balancer import DATAGRAM, LoadBalancerNode
from moorage.domain.network import NetworkInterface, Subnet
from moorage.domain.target_group import TargetGroup
from moorage.engine.driver import Engine
from moorage.network.return_paths import ReturnPaths, Way, foot_mac
from moorage.store.api import Change, StoreApi, View
from moorage.store.tables.ecs import TASKS
from moorage.store.tables.elbv2 import LOAD_BALANCER_NODES, TARGETS
from moorage.store.tables.network import NETWORK_INTERFACES, SUBNETS

log = logging.getLogger("moorage.clients")

AT_ONCE = 8


class ClientAddresses:
    def __init__(self, store: StoreApi, engine: Engine, paths: ReturnPaths) -> None:
        self._store = store
        self._engine = engine
        self._paths = paths
        self._ready: dict[str, dict[tuple[str, str], frozenset[Way]]] = {}
        """By target group: (node's namespace, sandbox of the target) → ways that are there."""
        self._machine = False
        self._sweeps: set[asyncio.Task[None]] = set()
        self._end_watch: Callable[[], None] = lambda: None
        self._alone = asyncio.Lock()
        self._gate = asyncio.Semaphore(AT_ONCE)

    def start(self) -> None:
        self._end_watch = self._store.watch(self._changed)
        self._sweep()

    async def close(self) -> None:
        self._end_watch()
        for sweep in self._sweeps:
            sweep.cancel()
        await asyncio.gather(*self._sweeps, return_exceptions=True)

    def _changed(self, changes: Sequence[Change[Any]]) -> None:
        if any(_left_a_namespace(change) for change in changes):
            self._sweep()

    def _sweep(self) -> None:
        if self._paths.streams:
            sweep = asyncio.get_running_loop().create_task(self._keep_nodes(), name="feet of nodes")
            self._sweeps.add(sweep)
            sweep.add_done_callback(self._sweeps.discard)

    async def _keep_nodes(self) -> None:
        """What a node that is gone left on this machine goes too."""
        async with self._alone:
            try:
                await self._paths.keep_nodes({node.namespace for node in self._store.all(LOAD_BALANCER_NODES)})
            except MoorageError as error:
                log.info("something of a load balancer's node stays on this machine: %s", error)

    def preserved(self, group: TargetGroup) -> bool:
        """Are clients' addresses preserved on the way to this group's targets? Follows from the records alone, so that it
        is the same after a restart."""
        possible = self._paths.datagrams if group.protocol in DATAGRAM else self._paths.streams
        if not possible or group.target_type != "ip" or not wants_client_addresses(group):
            return False
        subnets = _subnets(self._store, group)
        return all(
            _subnet_of(subnets, target.id) is not None
            for target in self._store.find(TARGETS, "target_group", group.arn)
            if target.deregistered_at is None
        )

    async def prepare(self, group: TargetGroup, node: LoadBalancerNode, addresses: Collection[str]) -> dict[str, str]:
        """Makes the way back from targets with these addresses, for connections that come from `node`. Answers those from
        which there is none yet: address → why."""
        async with self._alone:
            places = {address: self._place(group, address) for address in addresses}
            found = {address: place for address, place in places.items() if place is not None}
            missing = {address: "no task has this address" for address in places if address not in found}
            known = self._ready.get(group.arn, {})
            keys = {address: (node.namespace, sandbox_id) for address, (sandbox_id, _) in found.items()}
            ready = self._ready[group.arn] = {key: known[key] for key in keys.values() if key in known}
            ways = {address: frozenset(self._ways(group, node, subnet)) for address, (_, subnet) in found.items()}
            wanted = [address for address in found if not ways[address] <= ready.get(keys[address], frozenset())]
            if not wanted:
                return missing
            try:
                await self._open_node(group, node, [found[address][1] for address in wanted])
            except MoorageError as error:
                return {**missing, **dict.fromkeys(wanted, str(error))}
            told = await asyncio.gather(*(self._open_target(found[one][0], sorted(ways[one])) for one in wanted))
            for address, why in zip(wanted, told, strict=True):
                if why is None:
                    ready[keys[address]] = ready.get(keys[address], frozenset()) | ways[address]
                else:
                    missing[address] = why
            return missing

    def forget(self, group_arn: str) -> None:
        self._ready.pop(group_arn, None)

    async def _open_node(self, group: TargetGroup, node: LoadBalancerNode, subnets: list[Subnet]) -> None:
        feet = {
            bridge: subnet.range
            for subnet in subnets
            if subnet.subnet_id != node.subnet_id and (bridge := self._engine.bridge_of(network_of(subnet))) is not None
        }
        await self._paths.open_node(node.namespace, node.address, feet)
        if group.protocol in DATAGRAM and not self._machine:
            await self._paths.open_machine()
            self._machine = True

    async def _open_target(self, sandbox_id: str, ways: list[Way]) -> str | None:
        """What is in the way, or None."""
        try:
            async with self._gate:
                namespace = await self._engine.namespace_of(sandbox_id)
                if namespace is None:
                    return "its network cannot be entered"
                await self._paths.open_target(namespace, ways)
        except MoorageError as error:
            return str(error)
        return None

    def _ways(self, group: TargetGroup, node: LoadBalancerNode, subnet: Subnet) -> list[Way]:
        ways = []
        if group.protocol != "UDP":
            near = subnet.subnet_id == node.subnet_id
            mac = mac_of(node.address) if near else foot_mac(node.address)
            ways.append(Way(mac, "tcp", node.address, known=near))
        if group.protocol in DATAGRAM:
            bridge = self._engine.bridge_of(network_of(subnet))
            own = self._paths.mac_of(bridge) if bridge is not None else None
            if own is not None:
                ways.append(Way(own, "udp", gateway_of(subnet)))
        return ways

    def _place(self, group: TargetGroup, address: str) -> tuple[str, Subnet] | None:
        """The sandbox of the task with this address, and its subnet."""
        subnet = _subnet_of(_subnets(self._store, group), address)
        if subnet is None:
            return None
        for interface in self._store.find(NETWORK_INTERFACES, "address", address):
            if _is_in(interface, subnet):
                task = self._store.get(TASKS, interface.owner_arn)
                if task is not None and task.sandbox_id is not None:
                    return task.sandbox_id, subnet
        return None


def _left_a_namespace(change: Change[Any]) -> bool:
    if change.table is not LOAD_BALANCER_NODES or change.before is None:
        return False
    return change.after is None or change.after.namespace != change.before.namespace


def _is_in(interface: NetworkInterface, subnet: Subnet) -> bool:
    return (interface.account, interface.region, interface.subnet_id) == (
        subnet.account,
        subnet.region,
        subnet.subnet_id,
    )


def _subnets(view: View, group: TargetGroup) -> list[Subnet]:
    """Those in use of the group's VPC."""
    return [
        subnet
        for subnet in view.all(SUBNETS)
        if (subnet.account, subnet.region, subnet.vpc_id) == (group.account, group.region, group.vpc_id)
    ]


def _subnet_of(subnets: Collection[Subnet], address: str) -> Subnet | None:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    return next((one for one in subnets if parsed in ipaddress.ip_network(one.range)), None)
