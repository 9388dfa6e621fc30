"""Custom attributes of container instances: PutAttributes, DeleteAttributes, ListAttributes (semantics ecs-services §7)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from msgspec.structs import replace

from moorage.decide.placement.capabilities import is_reserved
from moorage.domain.container_instance import ContainerInstance
from moorage.domain.errors import AwsError
from moorage.services.base import Provider, RequestContext, operation
from moorage.services.ecs import placement, resolve
from moorage.services.ecs.container_instances import arn_of
from moorage.services.ecs.paging import page
from moorage.store.api import StoreApi, Transaction
from moorage.store.tables.ecs import CONTAINER_INSTANCES

MOST_CUSTOM = 10
_NAME = re.compile(r"[A-Za-z0-9_\-./\\]{1,128}")
_VALUE = re.compile(r"[A-Za-z0-9_\-./@:\\ ]{1,128}")

Attributes = Mapping[str, str | None]


def _refuse(message: str) -> AwsError:
    return AwsError("InvalidParameterException", message)


class AttributeOperations(Provider):
    _store: StoreApi

    @operation("PutAttributes")
    async def put_attributes(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        def put(attributes: Attributes, given: dict[str, Any]) -> Attributes:
            name, value = given["name"], given.get("value")
            if not _NAME.fullmatch(name) or (value and (not _VALUE.fullmatch(value) or value != value.strip())):
                raise _refuse(f"The attribute '{name}' is not valid.")
            if is_reserved(name):
                raise _refuse(f"The attribute name '{name}' is reserved.")
            changed = {**attributes, name: value or None}
            if sum(1 for one in changed if not is_reserved(one)) > MOST_CUSTOM:
                raise AwsError(
                    "AttributeLimitExceededException",
                    f"You can apply up to {MOST_CUSTOM} custom attributes for each resource.",
                )
            return changed

        return await self._change_attributes(ctx, request, put)

    @operation("DeleteAttributes")
    async def delete_attributes(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        def delete(attributes: Attributes, given: dict[str, Any]) -> Attributes:
            name, value = given["name"], given.get("value")
            if is_reserved(name):
                raise _refuse(f"The attribute name '{name}' is reserved.")
            if value and attributes.get(name) != value:
                return attributes
            return {one: kept for one, kept in attributes.items() if one != name}

        return await self._change_attributes(ctx, request, delete)

    async def _change_attributes(
        self,
        ctx: RequestContext,
        request: dict[str, Any],
        change: Callable[[Attributes, dict[str, Any]], Attributes],
    ) -> dict[str, Any]:
        """All of them or, when one is refused, none."""
        wanted = request["attributes"]
        if not 1 <= len(wanted) <= MOST_CUSTOM:
            raise _refuse(f"attributes must have between 1 and {MOST_CUSTOM} items.")

        def write(tx: Transaction) -> list[dict[str, Any]]:
            cluster = resolve.cluster(tx, ctx.scope, request.get("cluster"))
            done = []
            for given in wanted:
                if not given.get("targetId"):
                    raise _refuse("targetId can not be blank.")
                arn = arn_of(ctx.scope, cluster, given["targetId"])
                record = tx.get(CONTAINER_INSTANCES, arn)
                if record is None or record.cluster_arn != cluster.arn or record.status == "INACTIVE":
                    raise AwsError("TargetNotFoundException", f"The container instance {arn} was not found.")
                attributes = change(record.attributes, given)
                if attributes != record.attributes:
                    tx.put(CONTAINER_INSTANCES, replace(record, attributes=attributes, changes=record.changes + 1))
                done.append(_shape(record, given["name"], given.get("value")))
            return done

        return {"attributes": await self._store.update(write)}

    @operation("ListAttributes")
    async def list_attributes(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        cluster = resolve.cluster(self._store, ctx.scope, request.get("cluster"))
        name, value = request.get("attributeName"), request.get("attributeValue")
        if value and not name:
            raise _refuse("attributeName must be specified when attributeValue is specified.")
        found = {}
        for record in placement.instances(self._store, cluster.arn):
            for one, held in record.attributes.items():
                if (not name or one == name) and (not value or held == value):
                    found[f"{one} {record.arn}"] = _shape(record, one, held)
        keys, token = page(sorted(found), request)
        return {"attributes": [found[key] for key in keys], "nextToken": token}


def _shape(record: ContainerInstance, name: str, value: str | None) -> dict[str, Any]:
    shape = {"name": name, "targetType": "container-instance", "targetId": record.arn}
    return shape | ({"value": value} if value else {})
