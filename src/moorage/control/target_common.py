"""What both sides of a target group's life ask: where it is reached from, on which port, and whether it gets traffic."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from moorage.control.loop import Loop
from moorage.domain.load_balancer import LoadBalancerNode
from moorage.domain.target_group import Target, TargetGroup
from moorage.store.api import StoreApi
from moorage.store.elbv2_queries import current_health, load_balancers_of
from moorage.store.tables.elbv2 import LOAD_BALANCER_NODES

PortOf = Callable[[int], int]
"""Port of the API → port of this machine, where load balancers listen."""
CLOSE_ENOUGH = 0.001
"""Timers and the clock are two clocks: a timer may fire this many seconds before its moment."""


def same_port(port: int) -> int:
    return port


def port_of_targets(group: TargetGroup, port_of: PortOf) -> PortOf:
    """Load balancers listen on ports of this machine; everybody else on the port that is registered."""
    return port_of if group.target_type == "alb" else same_port


def source_of(store: StoreApi, arn: str) -> LoadBalancerNode | None:
    """Where the group's load balancer connects from: its node in the first zone."""
    for owner in load_balancers_of(store, arn):
        nodes = store.find(LOAD_BALANCER_NODES, "load_balancer", owner)
        if nodes:
            return min(nodes, key=lambda node: node.zone)
    return None


def is_routable(store: StoreApi, target: Target) -> bool:
    health = current_health(store, target)
    return health is not None and health.state in ("healthy", "unavailable")


def forget_after_this_pass(loop: Loop, key: str) -> None:
    """The loop notes the sentence of a pass when it ends; nothing may stay of a key that is gone."""
    asyncio.get_running_loop().call_soon(loop.forget, key)
