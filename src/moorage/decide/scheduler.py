"""Who decides over a service: the rolling scheduler, or the stage machine while a deployment shifts traffic."""

from __future__ import annotations

from moorage.decide.service import ServicePlan, ServiceSnapshot, decide_service
from moorage.decide.shifting import ShiftingPass


def decide(snapshot: ServiceSnapshot, now: float) -> ServicePlan:
    if snapshot.service.status == "ACTIVE" and snapshot.service.shift is not None:
        return ShiftingPass(snapshot, now).plan()
    return decide_service(snapshot, now)
