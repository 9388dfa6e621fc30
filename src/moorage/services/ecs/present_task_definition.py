"""Task definitions → API shapes. Absent stays absent; lists that AWS always sends are always there. Everything else has a
module of its own (`present_…`).

Source: semantics ecs-task-definitions §3.
"""

from __future__ import annotations

from typing import Any

import msgspec

from moorage.domain.task_definition import TaskDefinition

Shape = dict[str, Any]


def task_definition(record: TaskDefinition) -> Shape:
    shape: Shape = {"taskDefinitionArn": record.arn}
    shape |= msgspec.to_builtins(record.document)
    shape |= {
        "revision": record.revision,
        "volumes": shape.get("volumes", []),
        "status": record.status,
        "requiresAttributes": [{"name": name} for name in record.requires_attributes],
        "placementConstraints": shape.get("placementConstraints", []),
        "compatibilities": list(record.compatibilities),
        "registeredAt": record.registered_at,
        "registeredBy": record.registered_by,
    }
    if record.deregistered_at is not None:
        shape["deregisteredAt"] = record.deregistered_at
    if record.delete_requested_at is not None:
        shape["deleteRequestedAt"] = record.delete_requested_at
    return shape
