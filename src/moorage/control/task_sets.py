"""What the service controller reads and writes of task sets: their revisions, their names in events, their records."""

from __future__ import annotations

from moorage.decide.service_plan import ServicePlan
from moorage.domain import sentences
from moorage.domain.service import Revision, Service
from moorage.domain.task_set import TaskSet, arn_of
from moorage.store.api import Transaction, View
from moorage.store.tables.ecs import REVISIONS, TASK_SETS


def task_sets_of(view: View, service: Service) -> tuple[TaskSet, ...]:
    """Oldest first; only services of the controllers EXTERNAL and CODE_DEPLOY have any."""
    if service.controller == "ECS":
        return ()
    return tuple(sorted(view.find(TASK_SETS, "service", service.arn), key=lambda one: one.created_at))


def revision_of(view: View, service: Service, id: str) -> Revision | None:
    """Of a deployment or of a task set."""
    if service.controller != "ECS":
        return view.get(REVISIONS, arn_of(service.arn, id))
    return view.get(REVISIONS, next(d.revision_arn for d in service.deployments if d.id == id))


def name_in_events(service: Service, id: str | None) -> str:
    """The events about the tasks of a task set name it."""
    return service.name if service.controller == "ECS" or id is None else sentences.task_set(service.name, id)


def write_task_sets(tx: Transaction, plan: ServicePlan) -> None:
    """A task set that was deleted meanwhile stays so: what the plan knows of it comes from the same transaction."""
    for one in plan.task_sets:
        tx.put(TASK_SETS, one)
    for arn in plan.gone:
        tx.delete(TASK_SETS, arn)
        tx.delete(REVISIONS, arn)
