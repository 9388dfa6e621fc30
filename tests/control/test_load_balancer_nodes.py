"""Nodes of load balancers: one per subnet, at the addresses that were chosen, and nothing left of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import msgspec
import pytest

from moorage.control.addresses import Addresses
from moorage.control.load_balancer_nodes import LoadBalancerNodes
from moorage.control.warm_pool import OWNER
from moorage.domain.clock import Ids
from moorage.domain.load_balancer import NodeAddress
from moorage.domain.network import NetworkInterface, Subnet
from moorage.engine.driver import LABEL_LOAD_BALANCER, Engine, EngineEvent, Sandbox, SandboxSpec, SubnetNetwork
from moorage.store.elbv2_queries import delete_listener, delete_load_balancer, put_listener
from moorage.store.log_memory import MemoryLog
from moorage.store.memory import Store
from moorage.store.tables import elbv2, network
from moorage.store.tables.elbv2 import LOAD_BALANCER_NODES, LOAD_BALANCERS
from moorage.store.tables.network import NETWORK_INTERFACES, SUBNETS

from .load_balancing_world import LB, LISTENER, a_listener, a_load_balancer

SUBNET_A, SUBNET_B = (
    Subnet("000000000000", "us-east-1", f"subnet-{letter}", "vpc-1", f"10.0.{number}.0/24", f"us-east-1{letter}")
    for number, letter in enumerate("ab", 1)
)


class Sandboxes:
    """Sandboxes by what they are for, as an engine keeps them: asking twice makes one."""

    enters_networks = True

    def __init__(self) -> None:
        self.running: dict[str, SandboxSpec] = {}
        self.made = 0

    async def prepare_network(self, network: SubnetNetwork) -> str:
        return network.cidr

    async def start_sandbox(self, spec: SandboxSpec) -> Sandbox:
        for sandbox_id, known in self.running.items():
            if known.task_arn == spec.task_arn:
                return Sandbox(sandbox_id)
        self.made += 1
        self.running[f"sandbox-{self.made}"] = spec
        return Sandbox(f"sandbox-{self.made}")

    async def namespace_of(self, sandbox_id: str) -> str | None:
        return f"/netns/{sandbox_id}" if sandbox_id in self.running else None

    async def remove_sandbox(self, sandbox_id: str) -> None:
        self.running.pop(sandbox_id, None)


class Standing:
    """A load balancer in subnets a and b, with a listener unless told otherwise."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.engine = Sandboxes()
        self.addresses = Addresses(store, Ids(seed=1))
        self.nodes = LoadBalancerNodes(store, cast("Engine", self.engine), self.addresses)
        self.nodes.start()

    async def seed(self, *addresses: NodeAddress, listener: bool = True, subnets: str = "ab") -> None:
        places = tuple((f"subnet-{letter}", f"us-east-1{letter}") for letter in subnets)
        balancer = msgspec.structs.replace(a_load_balancer(), type="network", addresses=addresses, subnets=places)

        def write(tx: Any) -> None:
            tx.put(SUBNETS, SUBNET_A)
            tx.put(SUBNETS, SUBNET_B)
            tx.put(LOAD_BALANCERS, balancer)
            if listener:
                put_listener(tx, a_listener())

        await self.store.update(write)
        await self.settled()

    async def settled(self) -> None:
        for _ in range(200):
            await asyncio.sleep(0)

    def standing(self) -> dict[str, str]:
        """subnet → address, of the nodes that stand"""
        found = {node.subnet_id: node for node in self.store.all(LOAD_BALANCER_NODES)}
        assert {node.sandbox_id for node in found.values()} == set(self.engine.running)
        for node in found.values():
            assert self.engine.running[node.sandbox_id].ipv4 == node.address
        return {subnet: node.address for subnet, node in found.items()}

    def held(self) -> dict[str, str]:
        """address → owner"""
        return {one.ipv4: one.owner_arn for one in self.store.all(NETWORK_INTERFACES)}


@pytest.fixture
async def standing() -> AsyncIterator[Standing]:
    made = Standing(await Store.open(MemoryLog(), (*elbv2.TABLES, *network.TABLES), verify=True))
    yield made
    await made.nodes.close()


def chosen(address: str, subnet: Subnet = SUBNET_A) -> NodeAddress:
    return NodeAddress(subnet.subnet_id, private_ipv4=address)


def held_by(owner: str, address: str) -> NetworkInterface:
    return NetworkInterface(
        "000000000000", "us-east-1", f"eni-{address}", "subnet-a", address, "02:42:0a:00:01:05", (), owner, ""
    )


async def test_a_node_in_every_subnet(standing: Standing) -> None:
    await standing.seed()
    assert standing.standing() == {"subnet-a": "10.0.1.4", "subnet-b": "10.0.2.4"}
    assert standing.nodes.said(LB) == "inside the VPC at 10.0.1.4, 10.0.2.4"


async def test_chosen_addresses_are_used(standing: Standing) -> None:
    await standing.seed(chosen("10.0.1.77"))
    assert standing.standing() == {"subnet-a": "10.0.1.77", "subnet-b": "10.0.2.4"}


async def test_elastic_addresses_are_shown_at_the_interface(standing: Standing) -> None:
    await standing.seed(NodeAddress("subnet-a", allocation_id="eipalloc-1", ip_address="198.51.100.7"))
    public = {one.subnet_id: one.public_ipv4 for one in standing.store.all(NETWORK_INTERFACES)}
    assert public == {"subnet-a": "198.51.100.7", "subnet-b": None}


async def test_a_chosen_address_is_kept_before_there_is_a_listener(standing: Standing) -> None:
    await standing.seed(chosen("10.0.1.4"), listener=False)
    assert standing.standing() == {}
    assert standing.held() == {"10.0.1.4": LB}
    await standing.store.update(lambda tx: put_listener(tx, a_listener()))
    await standing.settled()
    assert standing.standing()["subnet-a"] == "10.0.1.4"
    await standing.store.update(lambda tx: delete_listener(tx, LISTENER))
    await standing.settled()
    assert standing.standing() == {}
    assert standing.held() == {"10.0.1.4": LB}


async def test_the_warm_pool_gives_way(standing: Standing) -> None:
    await standing.store.update(lambda tx: tx.put(NETWORK_INTERFACES, held_by(OWNER, "10.0.1.77")))
    await standing.seed(chosen("10.0.1.77"))
    assert standing.standing()["subnet-a"] == "10.0.1.77"
    assert standing.held()["10.0.1.77"] == LB


async def test_a_task_does_not(standing: Standing) -> None:
    await standing.store.update(lambda tx: tx.put(NETWORK_INTERFACES, held_by("task", "10.0.1.77")))
    await standing.seed(chosen("10.0.1.77"))
    assert standing.standing() == {"subnet-b": "10.0.2.4"}
    assert "subnet-a: somebody else has the address 10.0.1.77" in (standing.nodes.said(LB) or "")


async def test_an_address_outside_the_range_on_this_machine_cannot_be_used(standing: Standing) -> None:
    await standing.seed(chosen("10.9.9.9"))
    assert standing.standing()["subnet-a"] == "10.0.1.4"


async def test_nodes_follow_the_subnets(standing: Standing) -> None:
    await standing.seed()
    await standing.seed(subnets="b")
    assert standing.standing() == {"subnet-b": "10.0.2.4"}
    assert standing.held() == {"10.0.2.4": LB}
    await standing.seed(subnets="ab")
    assert set(standing.standing()) == {"subnet-a", "subnet-b"}


async def test_a_node_that_died_is_made_again_at_its_address(standing: Standing) -> None:
    await standing.seed()
    await standing.engine.remove_sandbox("sandbox-1")
    standing.nodes.observe(EngineEvent("died", "sandbox-1", {LABEL_LOAD_BALANCER: LB}, 0.0))
    await standing.settled()
    assert standing.standing() == {"subnet-a": "10.0.1.4", "subnet-b": "10.0.2.4"}


async def test_nothing_is_left_of_a_deleted_load_balancer(standing: Standing) -> None:
    await standing.seed(chosen("10.0.1.77"))
    await standing.store.update(lambda tx: delete_load_balancer(tx, LB))
    await standing.settled()
    assert standing.standing() == {}
    assert standing.held() == {}
    assert standing.addresses.is_unused(SUBNET_A)


async def test_nothing_is_left_after_a_reset(standing: Standing) -> None:
    await standing.seed()
    await standing.store.reset()
    await standing.settled()
    assert standing.engine.running == {}
