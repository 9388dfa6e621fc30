"""Tags: validation and the three tag operations, for every kind of ECS resource (semantics ecs-tasks §11)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from moorage.domain.cluster import Cluster
from moorage.domain.container_instance import ContainerInstance
from moorage.domain.errors import AwsError
from moorage.domain.service import Service
from moorage.domain.task import Task
from moorage.services.base import Provider, RequestContext, operation
from moorage.store.api import StoreApi, Table, Transaction
from moorage.store.tables.ecs import (
    CAPACITY_PROVIDERS,
    CLUSTERS,
    CONTAINER_INSTANCES,
    SERVICES,
    TASK_DEFINITIONS,
    TASK_SETS,
    TASKS,
)

MOST = 50
# Letters, digits, spaces (no control characters) and _ . : / = + - @
_PATTERN = re.compile(r"[\w.:/=+\-@]*(?:[^\S\t\n\r\f\v\x1c-\x1f\x85][\w.:/=+\-@]*)*")


def to_mapping(tags: Sequence[Mapping[str, str]] | None) -> dict[str, str]:
    """API tag list → mapping, validated. Raises InvalidParameterException."""
    found: dict[str, str] = {}
    for tag in tags or ():
        key, value = tag.get("key") or "", tag.get("value") or ""
        if not 1 <= len(key) <= 128 or not _PATTERN.fullmatch(key):
            raise AwsError("InvalidParameterException", f"Tag key '{key}' is not valid.")
        if len(value) > 256 or not _PATTERN.fullmatch(value):
            raise AwsError("InvalidParameterException", f"Tag value '{value}' is not valid.")
        if key.lower().startswith("aws:"):
            raise AwsError("InvalidParameterException", "aws: prefixed tag key names are not allowed for external use.")
        if key in found:
            raise AwsError("InvalidParameterException", f"Duplicate tag key '{key}'.")
        found[key] = value
    if len(found) > MOST:
        raise AwsError("InvalidParameterException", f"The maximum number of tags is {MOST}.")
    return found


def to_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in tags.items()]


def _table_of(arn: str) -> Table[Any]:
    kind = arn.split(":", 5)[-1].split("/", 1)[0]
    tables: dict[str, Table[Any]] = {
        "capacity-provider": CAPACITY_PROVIDERS,
        "cluster": CLUSTERS,
        "container-instance": CONTAINER_INSTANCES,
        "service": SERVICES,
        "task": TASKS,
        "task-definition": TASK_DEFINITIONS,
        "task-set": TASK_SETS,
    }
    if not arn.startswith("arn:aws:ecs:") or kind not in tables:
        raise AwsError("InvalidParameterException", f"The specified resource ARN '{arn}' is not valid.")
    return tables[kind]


class TagOperations(Provider):
    _store: StoreApi

    @operation("TagResource")
    async def tag_resource(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        added = to_mapping(request["tags"])

        def merge(tags: Mapping[str, str]) -> dict[str, str]:
            merged = dict(tags) | added
            if len(merged) > MOST:
                raise AwsError("InvalidParameterException", f"The maximum number of tags is {MOST}.")
            return merged

        await self._store.update(lambda tx: _change(tx, ctx, request["resourceArn"], merge))
        return {}

    @operation("UntagResource")
    async def untag_resource(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        gone = set(request["tagKeys"])
        if any(key.lower().startswith("aws:") for key in gone):
            raise AwsError("InvalidParameterException", "aws: prefixed tag key names are not allowed for external use.")
        await self._store.update(
            lambda tx: _change(
                tx, ctx, request["resourceArn"], lambda tags: {k: v for k, v in tags.items() if k not in gone}
            )
        )
        return {}

    @operation("ListTagsForResource")
    async def list_tags_for_resource(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        arn = request["resourceArn"]
        record = self._store.get(_table_of(arn), arn)
        if record is None or (record.account, record.region) != (ctx.account, ctx.region):
            raise _missing(arn)
        return {"tags": to_list(record.tags)}


def _change(tx: Transaction, ctx: RequestContext, arn: str, change: Any) -> None:
    table = _table_of(arn)
    record = tx.get(table, arn)
    if record is None or (record.account, record.region) != (ctx.account, ctx.region):
        raise _missing(arn)
    if _is_over(record):
        kind, state = _GONE[table.name]
        raise AwsError(
            "InvalidParameterException", f"The specified {kind} is {state[0]}. Specify {state[1]} {kind} and try again."
        )
    tx.put(table, replace(record, tags=change(record.tags)))


_INACTIVE = ("inactive", "an active")
_GONE = {
    "clusters": ("cluster", _INACTIVE),
    "container_instances": ("container instance", _INACTIVE),
    "services": ("service", _INACTIVE),
    "tasks": ("task", ("stopped", "a running")),
}
"""How what is over is called, and what is asked for instead."""


def _is_over(record: Any) -> bool:
    """A cluster, service or container instance that is INACTIVE, a task that has stopped: they keep the tags they had."""
    if isinstance(record, Task):
        return record.last_status == "STOPPED"
    return isinstance(record, Cluster | Service | ContainerInstance) and record.status == "INACTIVE"


def _missing(arn: str) -> AwsError:
    kind = arn.split(":", 5)[-1].split("/", 1)[0]
    if kind == "cluster":
        return AwsError("ClusterNotFoundException", "Cluster not found.")
    return AwsError(
        "InvalidParameterException",
        "The specified " + kind.replace("-", " ") + " was not found. Specify a valid ARN and try again.",
    )
