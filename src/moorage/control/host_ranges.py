"""Which range a subnet has on this host: its own, or a substitute when that one is taken here."""

from __future__ import annotations

import logging

from msgspec.structs import replace

from moorage.control.container_network import network_of
from moorage.domain.network import Subnet
from moorage.engine.driver import Engine
from moorage.store.api import StoreApi
from moorage.store.tables.network import SUBNETS

log = logging.getLogger("moorage.subnets")


async def on_this_host(store: StoreApi, engine: Engine, subnet: Subnet) -> Subnet:
    """The subnet with the range that it has on this host; remembered when that is another than its own. Makes its
    network when there is none. Raises EngineError."""
    found = await engine.prepare_network(network_of(replace(subnet, host_cidr=None)))
    if found == subnet.range:
        return subnet
    settled = replace(subnet, host_cidr=None if found == subnet.cidr else found)
    log.info("subnet %s (%s) has the range %s on this host", subnet.subnet_id, subnet.cidr, found)
    await store.update(lambda tx: tx.put(SUBNETS, settled))
    return settled
