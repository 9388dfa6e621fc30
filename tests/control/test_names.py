"""The names that tasks can resolve."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest

from moorage.control.names import NamesKept, names_of
from moorage.domain.load_balancer import LoadBalancerNode
from moorage.domain.network import Subnet, address_of_private_name
from moorage.store.log_memory import MemoryLog
from moorage.store.memory import Store
from moorage.store.tables import elbv2, network
from moorage.store.tables.elbv2 import LOAD_BALANCER_NODES, LOAD_BALANCERS
from moorage.store.tables.network import SUBNETS

from .load_balancing_world import LB, a_load_balancer

NET, NAME = LB.replace("/app/", "/net/"), "db-1.elb.us-east-1.localhost"


@pytest.fixture
async def store() -> Store:
    """An application and a network load balancer, the latter with nodes in two zones."""
    made = await Store.open(MemoryLog(), (*elbv2.TABLES, *network.TABLES), verify=True)

    def write(tx: Any) -> None:
        tx.put(LOAD_BALANCERS, a_load_balancer())
        tx.put(LOAD_BALANCERS, msgspec.structs.replace(a_load_balancer(NET), type="network", dns_name=NAME))
        for number, zone in ((2, "b"), (1, "a")):
            node = LoadBalancerNode(NET, f"subnet-{zone}", f"us-east-1{zone}", f"10.0.{number}.9", f"/{zone}", zone)
            tx.put(LOAD_BALANCER_NODES, node)

    await made.update(write)
    return made


async def test_who_is_where(store: Store) -> None:
    app, net = store.all(LOAD_BALANCERS)
    if app.type == "network":
        app, net = net, app
    assert names_of(store, app) == {"web-1.us-east-1.elb.localhost": []}
    zones = {zone for _, zone in net.subnets}
    at = {"us-east-1a": ["10.0.1.9"], "us-east-1b": ["10.0.2.9"]}
    assert names_of(store, net) == {
        NAME: ["10.0.1.9", "10.0.2.9"],
        **{f"{zone}.{NAME}": at.get(zone, []) for zone in zones},
    }
    loud = msgspec.structs.replace(net, dns_name="DB-1.elb")
    assert names_of(store, loud)["db-1.elb"] == ["10.0.1.9", "10.0.2.9"], "names are asked in lower case"


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("ip-10-0-1-4.us-east-1.compute.internal", "10.0.1.4"),
        ("ip-10-0-1-4.ec2.internal", "10.0.1.4"),
        ("ip-10-0-1-444.us-east-1.compute.internal", None),
        ("example.com", None),
    ],
)
def test_private_names_say_their_address(name: str, address: str | None) -> None:
    assert address_of_private_name(name) == address


class Paper:
    def __init__(self) -> None:
        self.written: list[tuple[list[str], dict[str, list[str]]]] = []

    def keep(self, doors: Sequence[str], names: Mapping[str, Sequence[str]]) -> None:
        self.written.append((list(doors), {name: list(addresses) for name, addresses in names.items()}))


async def test_names_are_told_at_once_and_together(store: Store) -> None:
    paper = Paper()
    kept = NamesKept(store, paper)
    kept.start()
    told = paper.written[0][1]
    assert told[NAME] == ["10.0.1.9", "10.0.2.9"]
    assert told["web-1.us-east-1.elb.localhost"] == []
    node = LoadBalancerNode(LB, "subnet-a", "us-east-1a", "10.0.1.8", "/c", "c")
    for address in ("10.0.1.7", "10.0.1.8"):
        await store.update(
            lambda tx, at=address: tx.put(LOAD_BALANCER_NODES, msgspec.structs.replace(node, address=at))
        )
    assert len(paper.written) == 1
    kept.close()
    assert len(paper.written) == 2, "once for both changes, and before the control plane has gone"
    assert paper.written[1][1]["web-1.us-east-1.elb.localhost"] == ["10.0.1.8"]


async def test_doors_follow_subnets(store: Store) -> None:
    paper = Paper()
    kept = NamesKept(store, paper)
    kept.start()
    subnet = Subnet("000000000000", "us-east-1", "subnet-1", "vpc-1", "10.0.1.0/24", "us-east-1a")
    other = msgspec.structs.replace(subnet, subnet_id="subnet-2", cidr="10.0.2.0/24")

    async def doors() -> list[str]:
        count = len(paper.written)
        async with asyncio.timeout(5):
            while len(paper.written) == count:
                await asyncio.sleep(0)
        return paper.written[-1][0]

    await store.update(lambda tx: [tx.put(SUBNETS, one) for one in (subnet, other)])
    assert await doors() == ["10.0.1.1", "10.0.2.1"]
    await store.update(lambda tx: tx.put(SUBNETS, msgspec.structs.replace(other, host_cidr="10.9.0.0/24")))
    assert await doors() == ["10.0.1.1", "10.9.0.1"], "its own range was taken on this machine"
    await store.reset()
    assert await doors() == []
    kept.close()
