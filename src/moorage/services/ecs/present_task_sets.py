"""Task sets → API shapes (semantics ecs-services §6)."""

from __future__ import annotations

from typing import Any

import msgspec

from moorage.domain.service import Service
from moorage.domain.task_set import TaskSet
from moorage.services.ecs.present_revision import PENDING, awsvpc, launched_on
from moorage.services.ecs.tags import to_list
from moorage.store.api import View
from moorage.store.tables.ecs import REVISIONS, SERVICES, TASK_SETS, TASKS

Shape = dict[str, Any]


def task_sets(view: View, service: Service, *, tags: bool = False) -> list[Shape]:
    """All of a service, oldest first."""
    found = sorted(view.find(TASK_SETS, "service", service.arn), key=lambda one: one.created_at)
    return [task_set(view, one, tags=tags) for one in found]


def task_set(view: View, record: TaskSet, *, tags: bool = False) -> Shape:
    revision, service = view.get(REVISIONS, record.arn), view.get(SERVICES, record.service_arn)
    assert revision is not None, "a task set keeps the revision it was made of"
    mine = [t for t in view.find(TASKS, "service", record.service_arn) if t.deployment_id == record.id]
    shape: Shape = {
        "id": record.id,
        "taskSetArn": record.arn,
        "serviceArn": record.service_arn,
        "clusterArn": record.cluster_arn,
        "status": record.status,
        "taskDefinition": revision.task_definition_arn,
        "computedDesiredCount": record.desired(service.desired_count if service is not None else 0),
        "pendingCount": sum(1 for t in mine if t.last_status in PENDING),
        "runningCount": sum(1 for t in mine if t.last_status == "RUNNING"),
        "createdAt": record.created_at,
        "updatedAt": record.updated_at,
        "loadBalancers": msgspec.to_builtins(revision.load_balancers),
        "serviceRegistries": list(revision.service_registries),
        "scale": {"value": record.scale, "unit": "PERCENT"},
        "stabilityStatus": "STEADY_STATE" if record.steady else "STABILIZING",
        "stabilityStatusAt": record.stability_at,
        "tags": to_list(record.tags) if tags else [],
    }
    shape |= launched_on(revision)
    if revision.network is not None:
        shape["networkConfiguration"] = {"awsvpcConfiguration": awsvpc(revision)}
    optional = {"startedBy": record.started_by, "externalId": record.external_id}
    return shape | {name: value for name, value in optional.items() if value is not None}
