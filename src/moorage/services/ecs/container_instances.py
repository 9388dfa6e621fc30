"""Container instances: register, describe, list, drain, deregister (semantics ecs-tasks §15, ecs-services §7).

An operator registers them by the API, as the ECS agent does on a machine of its own: here each is a share of the one
Docker host, with a loopback address on which its port space lies.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from moorage.decide.placement import capabilities
from moorage.decide.placement.addresses import lowest_free_address
from moorage.decide.placement.expression import InvalidExpression, holds, parse
from moorage.domain import sentences
from moorage.domain.clock import Clock, Ids
from moorage.domain.cluster import Cluster
from moorage.domain.container_instance import AGENT_PORTS, ContainerInstance, Resources
from moorage.domain.errors import AwsError
from moorage.domain.scope import Scope
from moorage.domain.task import Task
from moorage.services.base import Provider, RequestContext, operation
from moorage.services.ecs import placement, resolve
from moorage.services.ecs.paging import page
from moorage.services.ecs.present_instances import container_instance, health
from moorage.services.ecs.tags import to_mapping
from moorage.store.api import StoreApi, Transaction, View
from moorage.store.capacity_queries import address_in_use
from moorage.store.tables.ecs import CONTAINER_INSTANCES, TASKS

MOST_STATE_CHANGES = 10
MOST_PORTS = 100
# What an instance has that is registered without totalResources: as much as a t3.medium.
DEFAULT_CPU, DEFAULT_MEMORY = 2048, 3884
_ZONES = "abc"


def _refuse(message: str) -> AwsError:
    return AwsError("InvalidParameterException", message)


class ContainerInstanceOperations(Provider):
    _store: StoreApi
    _clock: Clock
    _ids: Ids

    @operation("RegisterContainerInstance")
    async def register_container_instance(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        identity = _identity(request.get("instanceIdentityDocument"))
        registered = resources(request.get("totalResources") or ())
        given = {str(a["name"]): a.get("value") for a in request.get("attributes") or ()}
        tags = to_mapping(request.get("tags"))
        now = self._clock.now()

        def write(tx: Transaction) -> ContainerInstance:
            cluster = resolve.cluster(tx, ctx.scope, request.get("cluster"))
            ec2_instance_id = identity.get("instanceId")
            known = _again(tx, ctx.scope, cluster, request.get("containerInstanceArn"), ec2_instance_id)
            zone = given.get("ecs.availability-zone") or identity.get("availabilityZone")
            zone = zone or (known.availability_zone if known else _emptiest_zone(tx, cluster))
            attributes = capabilities.complete(given, zone, identity)
            if known is not None:
                again = replace(
                    known,
                    registered=registered if request.get("totalResources") else known.registered,
                    attributes={**known.attributes, **attributes},
                    version_info=request.get("versionInfo") or known.version_info,
                    agent_connected=True,
                    changes=known.changes + 1,
                    tags=tags or known.tags,
                )
                return tx.put(CONTAINER_INSTANCES, again)
            address = lowest_free_address(lambda one: address_in_use(tx, one))
            if address is None:
                raise AwsError("ServerException", "Moorage has no loopback address left for a container instance.")
            fresh = ContainerInstance(
                arn=ctx.scope.arn("ecs", f"container-instance/{cluster.name}/{self._ids.hex(32)}"),
                account=ctx.account,
                region=ctx.region,
                cluster_arn=cluster.arn,
                ec2_instance_id=ec2_instance_id or f"i-{self._ids.hex(17)}",
                address=address,
                registered=registered,
                attributes=attributes,
                registered_at=now,
                version_info=request.get("versionInfo") or dict(capabilities.VERSION_INFO),
                tags=tags,
            )
            return tx.put(CONTAINER_INSTANCES, fresh)

        record = await self._store.update(write)
        return {"containerInstance": self._instance_shape(record, tags=True)}

    @operation("DeregisterContainerInstance")
    async def deregister_container_instance(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        now = self._clock.now()

        def write(tx: Transaction) -> ContainerInstance:
            cluster = resolve.cluster(tx, ctx.scope, request.get("cluster"))
            record = _find(tx, ctx.scope, cluster, request["containerInstance"])
            if record is None or record.status == "INACTIVE":
                raise _refuse("The specified container instance was not found. Specify a valid container instance.")
            tasks = tx.find(TASKS, "container_instance", record.arn)
            if tasks and not request.get("force"):
                raise _refuse("Found running tasks on the instance.")
            for task in tasks:
                _stop(tx, task, now)
            return tx.put(
                CONTAINER_INSTANCES,
                replace(
                    record,
                    status="INACTIVE",
                    agent_connected=False,
                    changes=record.changes + 1,
                    tags={},
                    inactive_at=now,
                ),
            )

        return {"containerInstance": self._instance_shape(await self._store.update(write))}

    @operation("DescribeContainerInstances")
    async def describe_container_instances(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        cluster = resolve.cluster(self._store, ctx.scope, request.get("cluster"))
        wanted = request["containerInstances"]
        if not wanted:
            raise _refuse("Container instance cannot be empty.")
        if len(wanted) > 100:
            raise _refuse("containerInstances can have at most 100 items.")
        included = request.get("include") or ()
        tags, healths = "TAGS" in included, "CONTAINER_INSTANCE_HEALTH" in included
        found, failures = [], []
        for identifier in wanted:
            record = _find(self._store, ctx.scope, cluster, identifier)
            if record is None:
                failures.append({"arn": arn_of(ctx.scope, cluster, identifier), "reason": "MISSING"})
            else:
                found.append(self._instance_shape(record, tags=tags) | (health(record) if healths else {}))
        return {"containerInstances": found, "failures": failures}

    @operation("ListContainerInstances")
    async def list_container_instances(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        cluster = resolve.cluster(self._store, ctx.scope, request.get("cluster"))
        records = placement.instances(self._store, cluster.arn)
        status = request.get("status")
        if status:
            records = tuple(r for r in records if r.status == status)
        if request.get("filter"):
            try:
                expression = parse(request["filter"])
            except InvalidExpression as error:
                raise _refuse(f"Invalid filter: {error}.") from error
            hosts = placement.hosts(self._store, records)
            records = tuple(host.instance for host in hosts if holds(expression, host))
        arns, token = page(sorted(r.arn for r in records), request)
        return {"containerInstanceArns": arns, "nextToken": token}

    @operation("UpdateContainerInstancesState")
    async def update_container_instances_state(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        status, wanted = request["status"], request["containerInstances"]
        if status not in ("ACTIVE", "DRAINING"):
            raise _refuse("Container instance status should be one of [ACTIVE, DRAINING].")
        if not wanted:
            raise _refuse("Container instance cannot be empty.")
        if len(wanted) > MOST_STATE_CHANGES:
            raise _refuse(f"containerInstances can have at most {MOST_STATE_CHANGES} items.")

        def write(tx: Transaction) -> tuple[list[ContainerInstance], list[dict[str, str]]]:
            cluster = resolve.cluster(tx, ctx.scope, request.get("cluster"))
            changed: list[ContainerInstance] = []
            failures: list[dict[str, str]] = []
            for identifier in wanted:
                record = _find(tx, ctx.scope, cluster, identifier)
                if record is None or record.status == "INACTIVE":
                    reason = "MISSING" if record is None else "INACTIVE"
                    failures.append({"arn": arn_of(ctx.scope, cluster, identifier), "reason": reason})
                elif record.status == status:
                    changed.append(record)
                else:
                    moved = replace(record, status=status, changes=record.changes + 1)
                    changed.append(tx.put(CONTAINER_INSTANCES, moved))
            return changed, failures

        changed, failures = await self._store.update(write)
        return {"containerInstances": [self._instance_shape(record) for record in changed], "failures": failures}

    @operation("UpdateContainerAgent")
    async def update_container_agent(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        cluster = resolve.cluster(self._store, ctx.scope, request.get("cluster"))
        if _find(self._store, ctx.scope, cluster, request["containerInstance"]) is None:
            raise _refuse("The specified container instance was not found. Specify a valid container instance.")
        raise AwsError("NoUpdateAvailableException", "There is no update available for your container agent.")

    def _instance_shape(self, record: ContainerInstance, *, tags: bool = False) -> dict[str, Any]:
        (host,) = placement.hosts(self._store, (record,))
        tasks = self._store.find(TASKS, "container_instance", record.arn)
        return container_instance(host, tasks, tags=tags)


class ContainerInstanceAddresses:
    """Where registered container instances answer: `InstanceLookup` of the load balancers."""

    def __init__(self, store: StoreApi) -> None:
        self._store = store

    async def addresses(self, scope: Scope, instance_ids: Sequence[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for one in instance_ids:
            for record in self._store.find(CONTAINER_INSTANCES, "ec2_instance", (scope.account, scope.region, one)):
                found[one] = record.address
        return found


def arn_of(scope: Scope, cluster: Cluster, identifier: str) -> str:
    """From a short id, or an ARN in the old or the new form."""
    if not identifier.startswith("arn:"):
        return scope.arn("ecs", f"container-instance/{cluster.name}/{identifier}")
    parts = identifier.split("/")
    return scope.arn("ecs", f"container-instance/{cluster.name}/{parts[1]}") if len(parts) == 2 else identifier


def _find(view: View, scope: Scope, cluster: Cluster, identifier: str) -> ContainerInstance | None:
    record = view.get(CONTAINER_INSTANCES, arn_of(scope, cluster, identifier))
    return record if record is not None and record.cluster_arn == cluster.arn else None


def resources(given: Sequence[dict[str, Any]]) -> Resources:
    """`totalResources` as a record; ports are those that are taken. Raises InvalidParameterException."""
    named = {one.get("name"): one for one in given}
    for name in named:
        if name not in ("CPU", "MEMORY", "PORTS", "PORTS_UDP"):
            raise _refuse(f"Moorage does not support the resource {name} of container instances yet.")

    def number(name: str, default: int) -> int:
        value = named.get(name, {}).get("integerValue")
        value = default if value is None else int(value)
        if value <= 0:
            raise _refuse(f"The resource {name} must be greater than zero.")
        return value

    def ports(name: str, default: Sequence[str]) -> frozenset[int]:
        values = named.get(name, {}).get("stringSetValue")
        values = default if values is None else values
        if len(values) > MOST_PORTS:
            raise _refuse(f"{name} can have at most {MOST_PORTS} items.")
        for value in values:
            if not (value.isascii() and value.isdigit() and 1 <= int(value[:6]) <= 65535):
                raise _refuse(f"'{value}' is not a port.")
        return frozenset(int(value) for value in values)

    return Resources(
        cpu=number("CPU", DEFAULT_CPU),
        memory=number("MEMORY", DEFAULT_MEMORY),
        ports=ports("PORTS", AGENT_PORTS),
        ports_udp=ports("PORTS_UDP", ()),
    )


def _identity(document: str | None) -> dict[str, str]:
    """The EC2 instance identity document: JSON text. Its signature is not looked at."""
    if not document:
        return {}
    try:
        found = json.loads(document)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise _refuse("The instance identity document is not valid.")
    return {str(name): value for name, value in found.items() if isinstance(value, str)}


def _again(
    tx: Transaction, scope: Scope, cluster: Cluster, arn: str | None, ec2_instance_id: str | None
) -> ContainerInstance | None:
    """The registration that this call repeats (an agent that was restarted)."""
    if arn:
        record = _find(tx, scope, cluster, arn)
        if record is None or record.status == "INACTIVE":
            raise AwsError("ClientException", "The specified container instance does not exist or is INACTIVE.")
        return record
    if not ec2_instance_id:
        return None
    same = tx.find(CONTAINER_INSTANCES, "ec2_instance", (scope.account, scope.region, ec2_instance_id))
    if any(r.cluster_arn != cluster.arn for r in same):
        raise AwsError("ClientException", f"The instance {ec2_instance_id} is registered to another cluster.")
    return next(iter(same), None)


def _emptiest_zone(tx: Transaction, cluster: Cluster) -> str:
    """Instances that do not say where they are are spread over the first three zones of the region."""
    counts = Counter(i.availability_zone for i in placement.instances(tx, cluster.arn))
    return min((f"{cluster.region}{letter}" for letter in _ZONES), key=lambda zone: counts[zone])


def _stop(tx: Transaction, task: Task, now: float) -> None:
    if task.desired_status == "STOPPED":
        return
    tx.put(
        TASKS,
        replace(
            task,
            desired_status="STOPPED",
            stop_code="UserInitiated",
            stopped_reason=sentences.INSTANCE_DEREGISTERED,
            stopping_at=now,
            version=task.version + 1,
        ),
    )
