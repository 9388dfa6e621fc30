"""ListServicesByNamespace: the services of all clusters that are in one Cloud Map namespace (ecs-services §10)."""

from __future__ import annotations

from typing import Any

from moorage.domain.errors import AwsError
from moorage.services.base import Provider, RequestContext, operation
from moorage.services.ecs.paging import page
from moorage.services.lookups import NamespaceLookup
from moorage.store.api import StoreApi
from moorage.store.tables.ecs import SERVICES


class NamespaceOperations(Provider):
    """Without `_namespaces` there are none."""

    _store: StoreApi
    _namespaces: NamespaceLookup | None

    @operation("ListServicesByNamespace")
    async def list_services_by_namespace(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        wanted = request["namespace"]
        known = await self._namespaces.namespace(ctx.scope, wanted) if self._namespaces is not None else None
        if known is None:
            raise AwsError("NamespaceNotFoundException", f"The namespace '{wanted}' was not found.")
        arns = [
            service.arn
            for service in self._store.find(SERVICES, "scope", (ctx.account, ctx.region))
            if service.status != "INACTIVE" and (service.service_connect or {}).get("namespace") in known
        ]
        chosen, token = page(sorted(arns), request, default=10)
        return {"serviceArns": chosen, "nextToken": token}
