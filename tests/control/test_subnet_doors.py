"""The DNS server listens at the gateways of the subnets that there are."""

from __future__ import annotations

import asyncio

from moorage.control.names import SubnetDoors
from moorage.domain.network import Subnet
from moorage.store.log_memory import MemoryLog
from moorage.store.memory import Store
from moorage.store.tables.network import SUBNETS, TABLES


class Server:
    def __init__(self) -> None:
        self.open: set[str] = set()

    async def listen(self, address: str) -> int:
        await asyncio.sleep(0)
        self.open.add(address)
        return 53

    def leave(self, address: str) -> None:
        self.open.discard(address)


def a_subnet(number: int, host_cidr: str | None = None) -> Subnet:
    return Subnet(
        "000000000000",
        "us-east-1",
        f"subnet-{number}",
        "vpc-1",
        f"10.0.{number}.0/24",
        "us-east-1a",
        host_cidr=host_cidr,
    )


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_doors_follow_subnets() -> None:
    store, server = await Store.open(MemoryLog(), TABLES), Server()
    await store.update(lambda tx: tx.put(SUBNETS, a_subnet(1)))
    doors = SubnetDoors(store, server)
    await doors.start()
    await store.update(lambda tx: tx.put(SUBNETS, a_subnet(2)))
    await settled()
    assert server.open == {"10.0.1.1", "10.0.2.1"}
    await store.update(lambda tx: tx.put(SUBNETS, a_subnet(2, host_cidr="10.9.0.0/24")))
    await settled()
    assert server.open == {"10.0.1.1", "10.9.0.1"}, "its own range was taken on this machine"
    await store.update(lambda tx: tx.put(SUBNETS, a_subnet(3)))
    await store.reset()  # while the third is about to open
    await settled()
    assert server.open == set()
    await doors.close()
