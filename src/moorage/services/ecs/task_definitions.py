"""Task definition operations (semantics ecs-task-definitions §1, §2)."""

from __future__ import annotations

import re
from typing import Any

from msgspec.structs import replace

from moorage.domain.clock import Clock
from moorage.domain.errors import AwsError
from moorage.domain.task_definition import Family, TaskDefinition
from moorage.services.base import Provider, RequestContext, operation
from moorage.services.ecs import normalise, present_task_definition, resolve
from moorage.services.ecs.paging import page
from moorage.services.ecs.requirements import requires_attributes
from moorage.services.ecs.tags import to_list, to_mapping
from moorage.services.ecs.validate_task_definition import validate
from moorage.store.api import StoreApi, Transaction
from moorage.store.tables.ecs import FAMILIES, TASK_DEFINITIONS

_INVALID_ID = "The specified task definition identifier is invalid. Specify a valid name or ARN and try again."
_MISSING = "The specified task definition does not exist. Specify a valid account, family, revision and try again."
_STILL_ACTIVE = "The specified task definition is still in ACTIVE status. Please deregister the target and try again."


class TaskDefinitionOperations(Provider):
    _store: StoreApi
    _clock: Clock

    @operation("RegisterTaskDefinition")
    async def register_task_definition(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        tags = to_mapping(request.get("tags"))
        if request.get("trustedExecutionConfiguration") is not None:
            raise AwsError(
                "ClientException",
                "trustedExecutionConfiguration is only supported with Managed Instances, which Moorage does not have yet.",
            )
        document = normalise.document_of(request)
        validate(document, ctx.account)
        compatibilities = normalise.compatibilities(document)
        attributes = requires_attributes(document)

        def write(tx: Transaction) -> TaskDefinition:
            key = f"{ctx.account}/{ctx.region}/{document.family}"
            family = tx.get(FAMILIES, key)
            revision = family.last_revision + 1 if family is not None else 1
            tx.put(FAMILIES, Family(ctx.account, ctx.region, document.family, revision))
            return tx.put(
                TASK_DEFINITIONS,
                TaskDefinition(
                    arn=ctx.scope.arn("ecs", f"task-definition/{document.family}:{revision}"),
                    account=ctx.account,
                    region=ctx.region,
                    family=document.family,
                    revision=revision,
                    document=document,
                    compatibilities=compatibilities,
                    requires_attributes=attributes,
                    registered_at=self._clock.now(),
                    registered_by=ctx.principal_arn,
                    tags=tags,
                ),
            )

        record = await self._store.update(write)
        answer: dict[str, Any] = {"taskDefinition": present_task_definition.task_definition(record)}
        if tags:
            answer["tags"] = to_list(tags)
        return answer

    @operation("DescribeTaskDefinition")
    async def describe_task_definition(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        record = resolve.task_definition(self._store, ctx.scope, request["taskDefinition"])
        if record is None:
            raise AwsError("ClientException", "Unable to describe task definition.")
        include = request.get("include") or ()
        return {
            "taskDefinition": present_task_definition.task_definition(record),
            "tags": to_list(record.tags) if "TAGS" in include else [],
        }

    @operation("DeregisterTaskDefinition")
    async def deregister_task_definition(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        identifier = request["taskDefinition"]
        _, separator, revision = identifier.rsplit("/", 1)[-1].rpartition(":")
        if not separator:
            raise AwsError("ClientException", "Revision is missing.")
        if not re.fullmatch(r"[0-9]+", revision):
            raise AwsError("InvalidParameterException", f"Invalid revision number. Number: {revision}")

        def write(tx: Transaction) -> TaskDefinition:
            record = resolve.task_definition(tx, ctx.scope, identifier)
            if record is None:
                raise AwsError("ClientException", "The specified task definition does not exist.")
            if record.status == "DELETE_IN_PROGRESS":
                raise AwsError(
                    "ClientException",
                    "The specified task definition is in the process of being deleted and cannot be deregistered.",
                )
            if record.status == "INACTIVE":
                return record
            return tx.put(TASK_DEFINITIONS, replace(record, status="INACTIVE", deregistered_at=self._clock.now()))

        return {"taskDefinition": present_task_definition.task_definition(await self._store.update(write))}

    @operation("DeleteTaskDefinitions")
    async def delete_task_definitions(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        identifiers = request["taskDefinitions"]
        if not identifiers:
            raise AwsError("InvalidParameterException", "TaskDefinitions cannot be empty.")
        if len(identifiers) > 10:
            raise AwsError("InvalidParameterException", "Size of TaskDefinition references list cannot exceed 10")

        def write(tx: Transaction) -> tuple[list[TaskDefinition], list[dict[str, str]]]:
            done: list[TaskDefinition] = []
            failures: list[dict[str, str]] = []
            for identifier in identifiers:
                name = identifier.rsplit("/", 1)[-1]
                arn = identifier if identifier.startswith("arn:") else ctx.scope.arn("ecs", f"task-definition/{name}")
                if not re.fullmatch(r"[A-Za-z0-9_-]{1,255}:\d+", name):
                    failures.append({"arn": arn, "reason": "INVALID", "detail": _INVALID_ID})
                    continue
                record = resolve.task_definition(tx, ctx.scope, identifier)
                if record is None:
                    failures.append({"arn": arn, "reason": "MISSING", "detail": _MISSING})
                elif record.status == "ACTIVE":
                    failures.append({"arn": arn, "reason": "ACTIVE", "detail": _STILL_ACTIVE})
                else:
                    if record.status == "INACTIVE":
                        now = self._clock.now()
                        record = tx.put(
                            TASK_DEFINITIONS, replace(record, status="DELETE_IN_PROGRESS", delete_requested_at=now)
                        )
                    done.append(record)
            return done, failures

        done, failures = await self._store.update(write)
        return {
            "taskDefinitions": [present_task_definition.task_definition(record) for record in done],
            "failures": failures,
        }

    @operation("ListTaskDefinitions")
    async def list_task_definitions(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        status = request.get("status") or "ACTIVE"
        scope = (ctx.account, ctx.region)
        family = request.get("familyPrefix")
        if family:
            # In this operation, familyPrefix is the complete name of the family (§2).
            records = [r for r in self._store.find(TASK_DEFINITIONS, "family", (*scope, family)) if r.status == status]
        else:
            records = list(self._store.find(TASK_DEFINITIONS, "status", (*scope, status)))
        records.sort(key=lambda r: (r.family, r.revision), reverse=request.get("sort") == "DESC")
        chosen, token = page([r.arn for r in records], request)
        return {"taskDefinitionArns": chosen, "nextToken": token}

    @operation("ListTaskDefinitionFamilies")
    async def list_task_definition_families(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        status = request.get("status") or "ALL"
        prefix = request.get("familyPrefix") or ""
        scope = (ctx.account, ctx.region)
        active = {r.family for r in self._store.find(TASK_DEFINITIONS, "status", (*scope, "ACTIVE"))}
        every = active | {r.family for r in self._store.find(TASK_DEFINITIONS, "status", (*scope, "INACTIVE"))}
        wanted = {"ACTIVE": active, "INACTIVE": every - active}.get(status, every)
        chosen, token = page(sorted(name for name in wanted if name.startswith(prefix)), request)
        return {"families": chosen, "nextToken": token}
