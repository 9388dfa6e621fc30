"""Security groups at the nodes of load balancers: what the firewall is told, and when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import pytest

from moorage.control.security_groups import OPEN, SecurityGroupsController
from moorage.domain.load_balancer import LoadBalancerNode
from moorage.domain.network import EVERYWHERE, Ingress, IngressRule, NetworkInterface, SecurityGroup
from moorage.domain.scope import Scope
from moorage.domain.target_group import HealthCheck, Target
from moorage.network.firewall import FirewallUnavailable
from moorage.store.elbv2_queries import put_listener
from moorage.store.log_memory import MemoryLog
from moorage.store.memory import Store
from moorage.store.tables import elbv2, network
from moorage.store.tables.elbv2 import LOAD_BALANCER_NODES, LOAD_BALANCERS, TARGET_GROUPS, TARGETS
from moorage.store.tables.network import NETWORK_INTERFACES

from .load_balancing_world import GROUP, LB, a_listener, a_load_balancer, a_target_group

NODE = LoadBalancerNode(LB, "subnet-a", "us-east-1a", "10.0.1.9", "/netns/a", "a")
SCOPE = Scope("000000000000", "us-east-1")


class Groups:
    def __init__(self) -> None:
        self.known: dict[str, SecurityGroup] = {}

    def put(self, group_id: str, *rules: IngressRule) -> None:
        self.known[group_id] = SecurityGroup("000000000000", "us-east-1", group_id, "vpc-1", group_id, rules)

    async def security_groups(self, scope: Scope, group_ids: Sequence[str]) -> dict[str, SecurityGroup]:
        return {one: self.known[one] for one in group_ids if one in self.known}


class RememberingFirewall:
    def __init__(self) -> None:
        self.rules: dict[str, tuple[Ingress, ...]] = {}
        self.resets: dict[str, tuple[int, ...]] = {}
        self.calls = 0
        self.away = False

    async def apply(self, namespace: str, ingress: Sequence[Ingress], resets: Sequence[int] = ()) -> None:
        self.calls += 1
        if self.away:
            raise FirewallUnavailable("No firewall", "away", "Wait")
        self.rules[namespace], self.resets[namespace] = tuple(ingress), tuple(resets)


class Guarded:
    """A network load balancer with one node, one listener and an empty target group."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.groups, self.firewall = Groups(), RememberingFirewall()
        self.controller = SecurityGroupsController(store, self.groups, self.firewall)

    async def seed(self, *security_groups: str, kind: str = "network") -> None:
        balancer = msgspec.structs.replace(a_load_balancer(), type=kind, security_groups=security_groups)
        group = msgspec.structs.replace(a_target_group(HealthCheck(), {}), protocol="TCP")

        def write(tx: Any) -> None:
            tx.put(LOAD_BALANCERS, balancer)
            tx.put(TARGET_GROUPS, group)
            put_listener(tx, msgspec.structs.replace(a_listener(), protocol="TCP", port=5432))
            tx.put(LOAD_BALANCER_NODES, NODE)

        await self.store.update(write)
        self.controller.start()
        await self.settled()

    async def settled(self) -> None:
        for _ in range(50):
            await asyncio.sleep(0)

    @property
    def lets_in(self) -> tuple[Ingress, ...]:
        return self.firewall.rules[NODE.namespace]

    @property
    def resets(self) -> tuple[int, ...]:
        return self.firewall.resets[NODE.namespace]


@pytest.fixture
async def guarded() -> AsyncIterator[Guarded]:
    made = Guarded(await Store.open(MemoryLog(), (*elbv2.TABLES, *network.TABLES), verify=True))
    yield made
    await made.controller.close()


async def test_a_network_load_balancer_without_groups_lets_everybody_in(guarded: Guarded) -> None:
    await guarded.seed()
    assert guarded.lets_in == OPEN


async def test_rules_are_followed(guarded: Guarded) -> None:
    guarded.groups.put("sg-1", IngressRule("tcp", 80, 80, cidrs=("10.0.0.0/8",)))
    await guarded.seed("sg-1")
    assert guarded.lets_in == (Ingress("tcp", 80, 80, ("10.0.0.0/8",)),)
    guarded.groups.put("sg-1", IngressRule("any", cidrs=(EVERYWHERE,)))
    guarded.controller.rules_changed(SCOPE)
    await guarded.settled()
    assert guarded.lets_in == OPEN
    guarded.groups.put("sg-2")
    balancer = guarded.store.get(LOAD_BALANCERS, LB)
    assert balancer is not None
    changed = msgspec.structs.replace(balancer, security_groups=("sg-2",))
    await guarded.store.update(lambda tx: tx.put(LOAD_BALANCERS, changed))
    await guarded.settled()
    assert guarded.lets_in == ()


async def test_members_of_a_named_group_come_and_go(guarded: Guarded) -> None:
    guarded.groups.put("sg-1", IngressRule("tcp", 80, 80, groups=("sg-peers",)))
    await guarded.seed("sg-1")
    assert guarded.lets_in == ()
    peer = NetworkInterface(
        "000000000000", "us-east-1", "eni-1", "subnet-a", "10.0.1.5", "02:42:0a:00:01:05", ("sg-peers",), "task", ""
    )
    await guarded.store.update(lambda tx: tx.put(NETWORK_INTERFACES, peer))
    await guarded.settled()
    assert [rule.sources for rule in guarded.lets_in] == [("10.0.1.5/32",)]
    calls = guarded.firewall.calls
    other = msgspec.structs.replace(peer, interface_id="eni-2", ipv4="10.0.1.6", security_groups=("sg-else",))
    await guarded.store.update(lambda tx: tx.put(NETWORK_INTERFACES, other))
    await guarded.settled()
    assert guarded.firewall.calls == calls, "nobody named that group"
    await guarded.store.update(lambda tx: tx.delete(NETWORK_INTERFACES, "000000000000/us-east-1/eni-1"))
    await guarded.settled()
    assert guarded.lets_in == ()


async def test_a_node_that_is_made_again_is_guarded_again(guarded: Guarded) -> None:
    await guarded.seed()
    again = msgspec.structs.replace(NODE, namespace="/netns/b")
    await guarded.store.update(lambda tx: tx.put(LOAD_BALANCER_NODES, again))
    await guarded.settled()
    assert guarded.firewall.rules["/netns/b"] == OPEN


async def test_connections_that_lead_nowhere_are_reset(guarded: Guarded) -> None:
    await guarded.seed()
    assert guarded.resets == (5432,)
    target = Target(GROUP, "10.0.1.5", 9000, None, registered_at=0.0)
    await guarded.store.update(lambda tx: tx.put(TARGETS, target))
    await guarded.settled()
    assert guarded.resets == ()
    draining = msgspec.structs.replace(target, deregistered_at=1.0)
    await guarded.store.update(lambda tx: tx.put(TARGETS, draining))
    await guarded.settled()
    assert guarded.resets == (5432,)
    assert "reset connections to 5432" in (guarded.controller.said(LB) or "")


async def test_an_application_load_balancer_answers_for_empty_groups(guarded: Guarded) -> None:
    await guarded.seed(kind="application")
    assert guarded.resets == ()
