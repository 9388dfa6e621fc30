"""Task set operations (semantics ecs-services §6): what somebody outside of ECS makes a service of. They write what should
be; the service controller makes it so.

A service of the controller CODE_DEPLOY is made with a first task set, one of EXTERNAL with none.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from moorage.domain.clock import Clock, Ids
from moorage.domain.cluster import Cluster
from moorage.domain.errors import AwsError
from moorage.domain.service import Revision, Service
from moorage.domain.task import LoadBalancerRef
from moorage.domain.task_set import MOST_TASK_SETS, TaskSet, arn_of
from moorage.services.base import Provider, RequestContext, operation
from moorage.services.ecs import compute, networking, resolve
from moorage.services.ecs.idempotency import Idempotency
from moorage.services.ecs.present_task_sets import Shape, task_set, task_sets
from moorage.services.ecs.shapes import convert
from moorage.services.ecs.tags import to_mapping
from moorage.services.ecs.unsupported import refuse_unsupported
from moorage.services.ecs.validate_service import check_load_balancers, check_unsupported, refuse
from moorage.services.lookups import NetworkLookup
from moorage.store.api import StoreApi, Transaction, View
from moorage.store.tables.ecs import REVISIONS, SERVICES, TASK_SETS


class TaskSetOperations(Provider):
    _store: StoreApi
    _clock: Clock
    _ids: Ids
    _networks: NetworkLookup
    _idempotency: Idempotency

    @operation("CreateTaskSet")
    async def create_task_set(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        cluster = resolve.cluster(self._store, ctx.scope, request["cluster"])
        service = _managed(self._store, ctx, cluster, request["service"])
        check_unsupported(request)
        scale = _scale(request.get("scale") or {"value": 0.0})
        definition = resolve.task_definition(self._store, ctx.scope, request["taskDefinition"])
        if definition is None:
            raise AwsError("ClientException", "TaskDefinition not found.")
        if definition.status != "ACTIVE":
            raise AwsError("ClientException", "TaskDefinition is inactive")
        chosen = compute.resolve(cluster, definition, request)
        network = await networking.check(
            self._networks, ctx.scope, definition.document, chosen.launches_on, request.get("networkConfiguration")
        )
        refuse_unsupported(definition.document)
        load_balancers = convert(request.get("loadBalancers") or [], tuple[LoadBalancerRef, ...])
        tags = to_mapping(request.get("tags"))
        now = self._clock.now()
        revision = Revision(
            arn="",
            service_arn=service.arn,
            cluster_arn=cluster.arn,
            number="",
            created_at=now,
            task_definition_arn=definition.arn,
            launch_type=chosen.launch_type,
            strategy=chosen.strategy,
            platform_version=chosen.platform_version,
            network=network.configuration if network is not None else None,
            load_balancers=load_balancers,
            service_registries=tuple(request.get("serviceRegistries") or ()),
        )

        def write(tx: Transaction) -> Shape:
            seen = self._idempotency.replayed(tx, ctx, "CreateTaskSet", request)
            again = tx.get(TASK_SETS, seen[0]) if seen else None
            if again is not None:
                return task_set(tx, again, tags=True)
            current = _managed(tx, ctx, cluster, request["service"])
            if len(tx.find(TASK_SETS, "service", current.arn)) >= MOST_TASK_SETS:
                raise refuse(
                    f"{MOST_TASK_SETS} deployments exist on the service. Unable to create new TaskSet since this "
                    "exceeds the maximum limit."
                )
            check_load_balancers(tx, ctx.scope, definition.document, load_balancers, chosen.launches_on)
            if network is not None:
                network.remember(tx)
            made = put_task_set(tx, current, revision, self._ids.digits(19), now, scale=scale)
            made = replace(made, external_id=request.get("externalId"), tags=tags)
            self._idempotency.remember(tx, ctx, "CreateTaskSet", request, [made.arn])
            return task_set(tx, tx.put(TASK_SETS, made), tags=True)

        return {"taskSet": await self._store.update(write)}

    @operation("UpdateTaskSet")
    async def update_task_set(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        scale, now = _scale(request["scale"]), self._clock.now()

        def write(tx: Transaction) -> Shape:
            cluster = resolve.cluster(tx, ctx.scope, request["cluster"])
            service = _managed(tx, ctx, cluster, request["service"])
            found = _find(tx, service, request["taskSet"])
            if scale != found.scale:
                found = tx.put(TASK_SETS, unsettled(replace(found, scale=scale), now))
            return task_set(tx, found)

        return {"taskSet": await self._store.update(write)}

    @operation("UpdateServicePrimaryTaskSet")
    async def update_service_primary_task_set(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        now = self._clock.now()

        def write(tx: Transaction) -> Shape:
            cluster = resolve.cluster(tx, ctx.scope, request["cluster"])
            service = _managed(tx, ctx, cluster, request["service"])
            return task_set(tx, make_primary(tx, service, _find(tx, service, request["primaryTaskSet"]), now))

        return {"taskSet": await self._store.update(write)}

    @operation("DeleteTaskSet")
    async def delete_task_set(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        """It is DRAINING until its last task has stopped."""
        now = self._clock.now()

        def write(tx: Transaction) -> Shape:
            cluster = resolve.cluster(tx, ctx.scope, request["cluster"])
            service = _managed(tx, ctx, cluster, request["service"])
            found = _find(tx, service, request["taskSet"], draining=True)
            if found.status == "DRAINING":
                return task_set(tx, found)
            if found.scale > 0 and not request.get("force"):
                raise refuse("The task set cannot be deleted while it is scaled above 0.")
            # Shown before it is durable: without tasks it may be gone a moment later.
            return task_set(tx, tx.put(TASK_SETS, unsettled(replace(found, status="DRAINING"), now)))

        return {"taskSet": await self._store.update(write)}

    @operation("DescribeTaskSets")
    async def describe_task_sets(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        cluster = resolve.cluster(self._store, ctx.scope, request["cluster"])
        service = _managed(self._store, ctx, cluster, request["service"])
        tags = "TAGS" in (request.get("include") or ())
        wanted = request.get("taskSets")
        if not wanted:
            return {"taskSets": task_sets(self._store, service, tags=tags), "failures": []}
        found, failures = [], []
        for identifier in wanted:
            record = self._store.get(TASK_SETS, _arn(service, identifier))
            if record is None or record.service_arn != service.arn:
                failures.append({"arn": _arn(service, identifier), "reason": "MISSING"})
            else:
                found.append(task_set(self._store, record, tags=tags))
        return {"taskSets": found, "failures": failures}


# --- records ---------------------------------------------------------------------------------------------------------
def put_task_set(
    tx: Transaction, service: Service, revision: Revision, number: str, now: float, *, scale: float
) -> TaskSet:
    """A new ACTIVE task set of `revision`, which is stored under its ARN. `number`: 19 digits."""
    id = f"ecs-svc/{number}"
    arn = arn_of(service.arn, id)
    tx.put(REVISIONS, replace(revision, arn=arn, number=number, created_at=now))
    return tx.put(
        TASK_SETS,
        TaskSet(
            arn=arn,
            id=id,
            service_arn=service.arn,
            cluster_arn=service.cluster_arn,
            account=service.account,
            region=service.region,
            created_at=now,
            updated_at=now,
            stability_at=now,
            scale=scale,
        ),
    )


def make_primary(tx: Transaction, service: Service, wanted: TaskSet, now: float) -> TaskSet:
    """`wanted` serves production from now on, whoever did before does not; the service shows what `wanted` is made of."""
    for other in tx.find(TASK_SETS, "service", service.arn):
        if other.status == "PRIMARY" and other.arn != wanted.arn:
            tx.put(TASK_SETS, replace(other, status="ACTIVE", updated_at=now))
    tx.put(SERVICES, replace(service, revision_arn=wanted.arn))
    return tx.put(TASK_SETS, replace(wanted, status="PRIMARY", updated_at=now))


def unsettled(record: TaskSet, now: float) -> TaskSet:
    return replace(record, updated_at=now, steady=False, stability_at=now)


# --- finding ---------------------------------------------------------------------------------------------------------
def _managed(view: View, ctx: RequestContext, cluster: Cluster, identifier: str) -> Service:
    """The ACTIVE service, whose deployments are not those of ECS."""
    service = resolve.service(view, ctx.scope, cluster, identifier)
    if service is None:
        raise AwsError("ServiceNotFoundException", "Service not found.")
    if service.status != "ACTIVE":
        raise AwsError("ServiceNotActiveException", "Service was not ACTIVE.")
    if service.controller == "ECS":
        raise refuse(
            "Amazon ECS only supports task set management on services configured to use external deployment controllers."
        )
    return service


def _arn(service: Service, identifier: str) -> str:
    return identifier if identifier.startswith("arn:") else arn_of(service.arn, identifier)


def _find(view: View, service: Service, identifier: str, *, draining: bool = False) -> TaskSet:
    """`draining`: one that was deleted will do."""
    found = view.get(TASK_SETS, _arn(service, identifier))
    if found is None or found.service_arn != service.arn or (found.status == "DRAINING" and not draining):
        raise AwsError("TaskSetNotFoundException", "The specified task set does not exist.")
    return found


def _scale(given: dict[str, Any]) -> float:
    value, unit = given.get("value"), given.get("unit") or "PERCENT"
    if unit != "PERCENT":
        raise refuse("Invalid scale unit. Valid values are: PERCENT")
    # NaN is neither above nor below anything.
    if value is None or not 0.0 <= float(value) <= 100.0:
        raise refuse("The scale value must be between 0 and 100.")
    return float(value)
