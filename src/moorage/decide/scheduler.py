"""Who decides over a service: the replica scheduler, the stage machine while a deployment shifts traffic, the daemon
scheduler, or (when deployments are somebody else's) the one for task sets."""

from __future__ import annotations

from moorage.decide.daemon import DaemonPass
from moorage.decide.service import decide_service
from moorage.decide.service_plan import ServicePlan, ServiceSnapshot
from moorage.decide.shifting import ShiftingPass
from moorage.decide.task_sets import decide_task_sets


def decide(snapshot: ServiceSnapshot, now: float) -> ServicePlan:
    service = snapshot.service
    if service.controller != "ECS":
        return decide_task_sets(snapshot, now)
    if service.status != "ACTIVE":
        return decide_service(snapshot, now)
    if service.scheduling_strategy == "DAEMON":
        return DaemonPass(snapshot, now).plan()
    if service.shift is not None:
        return ShiftingPass(snapshot, now).plan()
    return decide_service(snapshot, now)
