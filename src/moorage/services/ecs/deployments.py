"""Service deployments and revisions: the reads (semantics ecs-services §5.6)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from moorage.domain.errors import AwsError
from moorage.domain.scope import scope_of
from moorage.services.base import Provider, RequestContext, operation
from moorage.services.ecs import present, resolve
from moorage.services.ecs.paging import page
from moorage.store.api import StoreApi
from moorage.store.tables.ecs import REVISIONS, SERVICE_DEPLOYMENTS

MOST = 20


class DeploymentOperations(Provider):
    _store: StoreApi

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
            "serviceDeployments": [present.service_deployment(self._store, by_arn[arn], brief=True) for arn in chosen],
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
                found.append(present.service_deployment(self._store, record))
        return {"serviceDeployments": found, "failures": failures}

    @operation("DescribeServiceRevisions")
    async def describe_service_revisions(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        found, failures = [], []
        for arn in _at_most(request["serviceRevisionArns"]):
            record = self._store.get(REVISIONS, arn)
            if record is None or scope_of(arn) != ctx.scope:
                failures.append({"arn": arn, "reason": "MISSING"})
            else:
                found.append(present.service_revision(self._store, record))
        return {"serviceRevisions": found, "failures": failures}


def _at_most(arns: list[str]) -> list[str]:
    if not arns or len(arns) > MOST:
        raise AwsError("InvalidParameterException", f"Specify between 1 and {MOST} ARNs.")
    return arns


def _epoch(moment: datetime | float | None) -> float | None:
    """Parsed timestamps come as datetimes or as numbers."""
    return moment.timestamp() if isinstance(moment, datetime) else moment
