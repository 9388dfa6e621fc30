"""Service deployments and revisions: reading, stopping, ending a pause (semantics ecs-services §5.4, §5.6)."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from moorage.domain.clock import Clock
from moorage.domain.errors import AwsError
from moorage.domain.scope import scope_of
from moorage.domain.service import ENDED, Service, ServiceDeployment
from moorage.services.base import Provider, RequestContext, operation
from moorage.services.ecs import present_deployment, resolve
from moorage.services.ecs.paging import page
from moorage.store.api import StoreApi, Transaction
from moorage.store.tables.ecs import REVISIONS, SERVICE_DEPLOYMENTS, SERVICES

MOST = 20
_HOOK_ID = re.compile(r"ecs-[a-z]+-[A-Za-z0-9_-]+")


class DeploymentOperations(Provider):
    _store: StoreApi
    _clock: Clock

    @operation("ListServiceDeployments")
    async def list_service_deployments(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        identifier = request["service"]
        named = request.get("cluster")
        if named is None and identifier.startswith("arn:") and identifier.count("/") == 2:
            named = identifier.split("/")[1]
        cluster = resolve.cluster(self._store, ctx.scope, named)
        service = resolve.service(self._store, ctx.scope, cluster, identifier)
        if service is None:
            raise AwsError("ServiceNotFoundException", "Service not found.")
        created = request.get("createdAt") or {}
        after, before = _epoch(created.get("after")), _epoch(created.get("before"))
        status = request.get("status") or ()
        records = [
            r
            for r in self._store.find(SERVICE_DEPLOYMENTS, "service", service.arn)
            if (not status or r.status in status)
            and (after is None or r.created_at > after)
            and (before is None or r.created_at < before)
        ]
        records.sort(key=lambda r: -r.created_at)
        chosen, token = page([r.arn for r in records], request, default=20)
        by_arn = {r.arn: r for r in records}
        return {
            "serviceDeployments": [present_deployment.brief(by_arn[arn]) for arn in chosen],
            "nextToken": token,
        }

    @operation("DescribeServiceDeployments")
    async def describe_service_deployments(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        found, failures = [], []
        for arn in _at_most(request["serviceDeploymentArns"]):
            record = self._store.get(SERVICE_DEPLOYMENTS, arn)
            if record is None or scope_of(arn) != ctx.scope:
                failures.append({"arn": arn, "reason": "MISSING"})
            else:
                found.append(present_deployment.service_deployment(self._store, record))
        return {"serviceDeployments": found, "failures": failures}

    @operation("DescribeServiceRevisions")
    async def describe_service_revisions(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        found, failures = [], []
        for arn in _at_most(request["serviceRevisionArns"]):
            # The revision of a task set has the task set's ARN: it is no service revision.
            record = self._store.get(REVISIONS, arn) if ":service-revision/" in arn else None
            if record is None or scope_of(arn) != ctx.scope:
                failures.append({"arn": arn, "reason": "MISSING"})
            else:
                found.append(present_deployment.service_revision(self._store, record))
        return {"serviceRevisions": found, "failures": failures}

    @operation("StopServiceDeployment")
    async def stop_service_deployment(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        """Asks; the service controller does it (§5.6). Raises ConflictException for what is finished or going back."""
        arn = request["serviceDeploymentArn"]
        kind = request.get("stopType") or "ROLLBACK"
        if kind not in ("ROLLBACK", "ABORT"):
            raise AwsError("InvalidParameterException", "Invalid stopType. Valid values are: ABORT, ROLLBACK")

        def write(tx: Transaction) -> None:
            record, service = _running(tx, ctx, arn)
            stage = service.shift.stage if service is not None and service.shift is not None else None
            if service is None or record.status not in ("PENDING", "IN_PROGRESS") or stage == "CLEAN_UP":
                raise AwsError(
                    "ConflictException",
                    "The service deployment cannot be stopped: it is finished, being stopped or cleaning up.",
                )
            asked = "ROLLBACK_REQUESTED" if kind == "ROLLBACK" else "STOP_REQUESTED"
            now = self._clock.now()
            tx.put(SERVICE_DEPLOYMENTS, replace(record, status=asked, stopped_at=now, updated_at=now))
            if service.shift is not None:
                tx.put(SERVICES, replace(service, shift=replace(service.shift, requested=kind)))
            else:
                tx.put(SERVICES, replace(service, stop_requested=kind))

        await self._store.update(write)
        return {"serviceDeploymentArn": arn}

    @operation("ContinueServiceDeployment")
    async def continue_service_deployment(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        """Ends a pause (§5.4)."""
        arn, hook_id = request["serviceDeploymentArn"], request["hookId"]
        action = request.get("action") or "CONTINUE"
        if not _HOOK_ID.fullmatch(hook_id):
            raise AwsError(
                "InvalidParameterException", "Invalid hookId: hookId must follow the format: ecs-{hookType}-{id}"
            )
        if action not in ("CONTINUE", "ROLLBACK"):
            raise AwsError("InvalidParameterException", "Invalid action. Valid values are: CONTINUE, ROLLBACK")

        def write(tx: Transaction) -> None:
            record, service = _running(tx, ctx, arn)
            if record.status in ENDED:
                raise AwsError(
                    "InvalidParameterException",
                    "Continuing a service deployment is not allowed for service deployment in terminal states.",
                )
            shift = service.shift if service is not None else None
            waiting = {run.hook_id for run in shift.hooks if run.status == "AWAITING_ACTION"} if shift else set()
            if service is None or shift is None or hook_id not in waiting:
                raise AwsError(
                    "InvalidParameterException",
                    "Provided hookId is either completed, unavailable, or not associated with the given Resource ARN",
                )
            runs = tuple(
                replace(run, status="SUCCEEDED" if action == "CONTINUE" else "FAILED")
                if run.hook_id == hook_id
                else run
                for run in shift.hooks
            )
            tx.put(SERVICES, replace(service, shift=replace(shift, hooks=runs)))

        await self._store.update(write)
        return {"serviceDeploymentArn": arn}


def _running(tx: Transaction, ctx: RequestContext, arn: str) -> tuple[ServiceDeployment, Service | None]:
    """The service deployment, and its service if that is what it runs now."""
    record = tx.get(SERVICE_DEPLOYMENTS, arn)
    if record is None or scope_of(arn) != ctx.scope:
        raise AwsError("ServiceDeploymentNotFoundException", "The service deployment does not exist.")
    service = tx.get(SERVICES, record.service_arn)
    current = service is not None and service.status == "ACTIVE" and bool(service.deployments)
    mine = current and service is not None and service.deployments[0].service_deployment_arn == arn
    return record, service if mine else None


def _at_most(arns: list[str]) -> list[str]:
    if not arns or len(arns) > MOST:
        raise AwsError("InvalidParameterException", f"Specify between 1 and {MOST} ARNs.")
    return arns


def _epoch(moment: datetime | float | None) -> float | None:
    """Parsed timestamps come as datetimes or as numbers."""
    return moment.timestamp() if isinstance(moment, datetime) else moment
