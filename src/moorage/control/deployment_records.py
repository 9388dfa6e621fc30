"""What a pass decided about deployments, written down: service deployments that end or turn back, tasks that pass from one
deployment to another; and which zones a service could use, and when to look at them. Decides nothing.
"""

from __future__ import annotations

from msgspec.structs import replace

from moorage.control.instance_placement import is_ec2, zones_of
from moorage.decide.service_plan import DeploymentOutcome
from moorage.domain.container_instance import ContainerInstance
from moorage.domain.service import Service
from moorage.store.api import Change, Transaction, View
from moorage.store.tables.ecs import CONTAINER_INSTANCES, REVISIONS, SERVICE_DEPLOYMENTS, SERVICES, TASKS

_FARGATE = ("FARGATE", "FARGATE_SPOT")
GOING_ON = ("IN_PROGRESS", "ROLLBACK_IN_PROGRESS")


def note_outcome(tx: Transaction, outcome: DeploymentOutcome, now: float) -> None:
    """The change of a service deployment (ecs-services §5.6)."""
    record = tx.get(SERVICE_DEPLOYMENTS, outcome.service_deployment_arn)
    if record is None:
        return
    finished = outcome.status not in GOING_ON
    rolling_back = outcome.status == "ROLLBACK_IN_PROGRESS"
    tx.put(
        SERVICE_DEPLOYMENTS,
        replace(
            record,
            status=outcome.status,
            status_reason=outcome.reason or record.status_reason,
            updated_at=now,
            finished_at=now if finished else None,
            stopped_at=now if outcome.status == "STOPPED" and record.stopped_at is None else record.stopped_at,
            rollback_reason=outcome.reason if rolling_back else record.rollback_reason,
            rollback_started_at=now if rolling_back else record.rollback_started_at,
            rollback_revision=outcome.rollback_revision or record.rollback_revision,
            failure_count=outcome.failure_count if outcome.failure_count is not None else record.failure_count,
            breaker_status=monitor(record.breaker_status, tripped=outcome.tripped == "breaker"),
            alarms_status=monitor(record.alarms_status, tripped=outcome.tripped == "alarms"),
            triggered_alarms=outcome.alarms or record.triggered_alarms,
        ),
    )


def note_started(tx: Transaction, service: Service, now: float) -> None:
    """A service deployment is PENDING until the scheduler has looked at it for the first time (§3.1)."""
    for deployment in service.deployments[:1]:
        record = tx.get(SERVICE_DEPLOYMENTS, deployment.service_deployment_arn)
        if record is not None and record.status == "PENDING":
            tx.put(SERVICE_DEPLOYMENTS, replace(record, status="IN_PROGRESS", started_at=now, updated_at=now))


def monitor(before: str, *, tripped: bool) -> str:
    """What became of a monitor when its deployment ended or turned back."""
    if tripped:
        return "TRIGGERED"
    return "MONITORING_COMPLETE" if before == "MONITORING" else before


def take_over(tx: Transaction, service_arn: str, old: str, new: str) -> None:
    """The tasks of a deployment belong to another; nothing else about them changes."""
    for task in tuple(tx.find(TASKS, "service", service_arn)):
        if task.deployment_id == old:
            tx.put(TASKS, replace(task, deployment_id=new))


def zones_for(view: View, service: Service) -> tuple[str, ...]:
    """The availability zones that tasks of the service could be moved between; none while nothing is to be moved."""
    at_rest = len(service.deployments) == 1 and service.deployments[0].rollout_state == "COMPLETED"
    if service.az_rebalancing != "ENABLED" or service.status != "ACTIVE" or not at_rest:
        return ()
    revision = view.get(REVISIONS, service.revision_arn)
    if revision is None:
        return ()
    subnets = zones_of(view, service, revision)
    if not is_ec2(revision) and all(item.capacity_provider in _FARGATE for item in revision.strategy):
        return tuple(sorted(subnets or ()))
    instances = view.find(CONTAINER_INSTANCES, "cluster", (service.cluster_arn, "ACTIVE"))
    found = {one.availability_zone for one in instances}
    return tuple(sorted(found if subnets is None else found & subnets))


def came_up(change: Change[ContainerInstance]) -> bool:
    """A container instance takes tasks from now on: a zone may have room again."""
    before, after = change.before, change.after
    return after is not None and after.status == "ACTIVE" and (before is None or before.status != "ACTIVE")


def to_rebalance(view: View, cluster_arn: str) -> list[str]:
    """The services of a cluster whose tasks may be moved between zones. Asked when an instance came up, which is rare."""
    found = view.find(SERVICES, "cluster", (cluster_arn, "ACTIVE"))
    return [service.arn for service in found if service.az_rebalancing == "ENABLED"]
