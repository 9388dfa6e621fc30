"""Addresses of subnets, given out and taken back. `decide/ipam` chooses; this keeps the set of taken ones at hand so
that a choice costs the same in a full subnet as in an empty one."""

from __future__ import annotations

from moorage.control.warm_pool import OWNER
from moorage.decide.ipam import mac_of, next_address, usable
from moorage.domain.clock import Ids
from moorage.domain.network import NetworkInterface, Subnet
from moorage.store.api import StoreApi, Transaction
from moorage.store.tables.network import NETWORK_INTERFACES, SUBNETS

SubnetKey = tuple[str, str, str]


class Addresses:
    """`reserve` and `give_back` serve the warm pool, `allocate` and `release` the tasks."""

    def __init__(self, store: StoreApi, ids: Ids) -> None:
        self._store = store
        self._ids = ids
        self._taken: dict[SubnetKey, set[str]] = {}
        self._last: dict[SubnetKey, str] = {}
        for interface in store.all(NETWORK_INTERFACES):
            self._taken.setdefault(_key(interface), set()).add(interface.ipv4)
            # The newest comes last: the walk through the subnet goes on behind it.
            self._last[_key(interface)] = interface.ipv4

    def allocate(
        self,
        tx: Transaction,
        subnet: Subnet,
        *,
        owner_arn: str,
        security_groups: tuple[str, ...],
        description: str,
    ) -> NetworkInterface | None:
        """A new interface with a free address, or None when the subnet is full. Part of the caller's transaction; when
        that fails, `forget` gives the address back."""
        key = (subnet.account, subnet.region, subnet.subnet_id)
        taken = self._taken.setdefault(key, set())
        address = next_address(subnet.range, taken, self._last.get(key))
        if address is None:
            return None
        self._last[key] = address
        return self._made(tx, subnet, address, owner_arn, security_groups, description)

    def _made(
        self,
        tx: Transaction,
        subnet: Subnet,
        address: str,
        owner_arn: str,
        security_groups: tuple[str, ...],
        description: str,
    ) -> NetworkInterface:
        interface = NetworkInterface(
            account=subnet.account,
            region=subnet.region,
            interface_id=f"eni-{self._ids.hex(17)}",
            subnet_id=subnet.subnet_id,
            ipv4=address,
            mac=mac_of(address),
            security_groups=security_groups,
            owner_arn=owner_arn,
            description=description,
        )
        tx.put(NETWORK_INTERFACES, interface)
        self._taken.setdefault(_key(interface), set()).add(address)
        return interface

    def claim(
        self,
        tx: Transaction,
        subnet: Subnet,
        *,
        address: str,
        owner_arn: str,
        security_groups: tuple[str, ...],
        description: str,
    ) -> NetworkInterface | None:
        """A new interface with this very address, or None when somebody has it (the warm pool gives way). Otherwise as
        `allocate`."""
        for known in list(tx.find(NETWORK_INTERFACES, "address", address)):
            if _key(known) == (subnet.account, subnet.region, subnet.subnet_id):
                if known.owner_arn != OWNER:
                    return None
                tx.delete(NETWORK_INTERFACES, _record_key(known))
        return self._made(tx, subnet, address, owner_arn, security_groups, description)

    async def reserve(self, subnet: Subnet) -> NetworkInterface | None:
        """One more interface for the warm pool, or None when the subnet is nearly full: tasks come first."""
        if len(self._taken.get((subnet.account, subnet.region, subnet.subnet_id), ())) > usable(subnet.range) // 2:
            return None
        given: list[NetworkInterface] = []

        def write(tx: Transaction) -> NetworkInterface | None:
            found = self.allocate(tx, subnet, owner_arn=OWNER, security_groups=(), description="kept warm by Moorage")
            given.extend([found] if found is not None else [])
            return found

        try:
            return await self._store.update(write)
        except BaseException:
            for interface in given:
                self.forget(interface)
            raise

    async def give_back(self, interface: NetworkInterface) -> None:
        await self._store.update(lambda tx: self.release(tx, interface))

    def is_there(self, subnet: Subnet) -> bool:
        return self._store.get(SUBNETS, f"{subnet.account}/{subnet.region}/{subnet.subnet_id}") is not None

    def is_unused(self, subnet: Subnet) -> bool:
        """Nobody has an address of this subnet."""
        return not self._taken.get((subnet.account, subnet.region, subnet.subnet_id))

    def holds(self, interface: NetworkInterface) -> bool:
        return self._store.get(NETWORK_INTERFACES, _record_key(interface)) is not None

    def release(self, tx: Transaction, interface: NetworkInterface) -> None:
        tx.delete(NETWORK_INTERFACES, _record_key(interface))

    def forget(self, interface: NetworkInterface) -> None:
        """The interface's record is gone for good (or was never written): its address is free again, unless somebody has
        claimed it meanwhile."""
        same = self._store.find(NETWORK_INTERFACES, "address", interface.ipv4)
        if any(_key(one) == _key(interface) for one in same):
            return
        self._taken.get(_key(interface), set()).discard(interface.ipv4)


def _record_key(interface: NetworkInterface) -> str:
    return f"{interface.account}/{interface.region}/{interface.interface_id}"


def _key(interface: NetworkInterface) -> SubnetKey:
    return (interface.account, interface.region, interface.subnet_id)
