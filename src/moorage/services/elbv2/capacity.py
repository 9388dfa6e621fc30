"""Reserved capacity of load balancers (semantics elbv2 §3.1). Stored and shown, and provisioned at once: a load balancer
here always has what this machine has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from moorage.domain.load_balancer import LoadBalancer
from moorage.services.base import RequestContext, operation
from moorage.services.elbv2.common import ElbV2Base, the_load_balancer
from moorage.services.elbv2.validate import invalid
from moorage.store.api import Transaction
from moorage.store.tables.elbv2 import LOAD_BALANCERS

DECREASES_A_DAY = 2


class Capacity(ElbV2Base):
    @operation("DescribeCapacityReservation")
    async def describe_capacity_reservation(self, ctx: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        return _shown(the_load_balancer(self.store, ctx, params["LoadBalancerArn"]))

    @operation("ModifyCapacityReservation")
    async def modify_capacity_reservation(self, ctx: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        now = self.clock.now()

        def change(tx: Transaction) -> LoadBalancer:
            record = the_load_balancer(tx, ctx, params["LoadBalancerArn"])
            after = msgspec.structs.replace(record, capacity_units=_units(params), capacity_changed_at=now)
            return tx.put(LOAD_BALANCERS, after)

        return _shown(await self.store.update(change))


def _units(params: Mapping[str, Any]) -> int | None:
    """What is to be reserved; None: nothing any more."""
    wanted, reset = params.get("MinimumLoadBalancerCapacity"), params.get("ResetCapacityReservation")
    if (wanted is None) == (not reset):
        raise invalid("You must specify either a minimum load balancer capacity or a reset of the capacity reservation")
    if reset:
        return None
    units: int = (wanted or {}).get("CapacityUnits") or 0
    if units < 1:
        raise invalid("The capacity units of a reservation must be a positive number")
    return units


def _shown(record: LoadBalancer) -> dict[str, Any]:
    """Shared out evenly among the zones."""
    shape: dict[str, Any] = {"DecreaseRequestsRemaining": DECREASES_A_DAY, "CapacityReservationState": []}
    if record.capacity_changed_at is not None:
        shape["LastModifiedTime"] = record.capacity_changed_at
    if record.capacity_units is not None:
        zones = sorted(zone for _, zone in record.subnets)
        shape["MinimumLoadBalancerCapacity"] = {"CapacityUnits": record.capacity_units}
        shape["CapacityReservationState"] = [
            {
                "State": {"Code": "provisioned"},
                "AvailabilityZone": zone,
                "EffectiveCapacityUnits": record.capacity_units / len(zones),
            }
            for zone in zones
        ]
    return shape
