"""Task operations: RunTask, StartTask, StopTask and the reads (semantics ecs-tasks §2, §5, §9)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from moorage.decide.capacity_placement import Start
from moorage.decide.new_task import new_task
from moorage.decide.placement.constraints import Constraint
from moorage.decide.placement.filters import Wish, refusal
from moorage.decide.placement.place import place, wish_of
from moorage.decide.placement.strategies import RANDOM
from moorage.decide.placement.subnets import choose_subnet
from moorage.domain import sentences
from moorage.domain.clock import Clock, Ids
from moorage.domain.cluster import Cluster
from moorage.domain.errors import AwsError
from moorage.domain.task import Task, Waiting
from moorage.domain.task_definition import TaskDefinition
from moorage.services.base import Provider, RequestContext, operation
from moorage.services.ecs import (
    compute,
    launch_volumes,
    networking,
    overrides,
    placement,
    present_task,
    provider_placement,
    resolve,
)
from moorage.services.ecs.container_instances import arn_of
from moorage.services.ecs.idempotency import Idempotency
from moorage.services.ecs.paging import page
from moorage.services.ecs.tags import to_mapping
from moorage.services.ecs.unsupported import refuse_unsupported
from moorage.services.lookups import NetworkLookup
from moorage.store.api import StoreApi, Transaction
from moorage.store.tables.ecs import CONTAINER_INSTANCES, TASKS

MOST_AT_ONCE = 10
MOST_DESCRIBED = 100
_CLIENT_TOKEN = re.compile(r"[!-~]{1,64}")
_STARTED_BY = re.compile(r"[A-Za-z0-9\-_/]{1,128}")


def _refuse(message: str) -> AwsError:
    return AwsError("InvalidParameterException", message)


class TaskOperations(Provider):
    _store: StoreApi
    _clock: Clock
    _ids: Ids
    _networks: NetworkLookup
    _idempotency: Idempotency

    @operation("RunTask")
    async def run_task(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        cluster = resolve.cluster(self._store, ctx.scope, request.get("cluster"))
        definition = self._definition(ctx, request["taskDefinition"])
        count = request.get("count") if request.get("count") is not None else 1
        if not isinstance(count, int) or not 1 <= count <= MOST_AT_ONCE:
            raise _refuse(f"count must be between 1 and {MOST_AT_ONCE}.")
        chosen = compute.resolve(cluster, definition, request)
        overridden = _checked(definition, request, chosen.launches_on)
        tags = to_mapping(request.get("tags"))
        rules = placement.read(request)
        refuse_unsupported(definition.document, overridden)
        network = await networking.check(
            self._networks, ctx.scope, definition.document, chosen.launches_on, request.get("networkConfiguration")
        )

        seed = self._ids.hex(8) if chosen.launches_on == "EC2" else ""

        def write(tx: Transaction) -> dict[str, Any]:
            again = self._idempotency.replayed(tx, ctx, "RunTask", request)
            if again is not None:
                return _answer(tx, again, [])
            resolve.cluster(tx, ctx.scope, request.get("cluster"))
            where: Sequence[Start] = [Start(None)] * count
            failures: list[dict[str, str]] = []
            if chosen.strategy:
                wish = self._wish(definition, request, overridden, network, rules.constraints)
                where, failures = provider_placement.run(
                    tx, cluster, chosen.strategy, count, wish, rules, seed, self._clock.now()
                )
            elif chosen.launches_on == "EC2":
                instances = placement.instances(tx, cluster.arn)
                if not any(one.status == "ACTIVE" for one in instances):
                    raise _refuse(placement.NO_INSTANCES)
                wish = self._wish(definition, request, overridden, network, rules.constraints)
                hosts = placement.hosts(tx, instances)
                placed = place(hosts, wish, rules.strategies or RANDOM, count=count, seed=seed)
                where, failures = [Start(None, host) for host in placed.hosts], placement.failures(placed.refused)
            if network is not None:
                network.remember(tx)
            arns = [
                tx.put(TASKS, task).arn
                for task in self._new_tasks(ctx, cluster, definition, request, overridden, where, chosen, network, tags)
            ]
            self._idempotency.remember(tx, ctx, "RunTask", request, arns)
            return _answer(tx, arns, failures)

        return await self._store.update(write)

    @staticmethod
    def _wish(
        definition: TaskDefinition,
        request: dict[str, Any],
        overridden: dict[str, Any] | None,
        network: networking.CheckedNetwork | None,
        constraints: tuple[Constraint, ...] = (),
    ) -> Wish:
        return wish_of(
            definition,
            _group(definition, request),
            constraints,
            overrides=overridden,
            zones=frozenset(s.availability_zone for s in network.subnets) if network is not None else None,
        )

    def _new_tasks(
        self,
        ctx: RequestContext,
        cluster: Cluster,
        definition: TaskDefinition,
        request: dict[str, Any],
        overridden: dict[str, Any] | None,
        where: Sequence[Start],
        chosen: compute.Compute,
        network: networking.CheckedNetwork | None,
        tags: dict[str, str],
    ) -> list[Task]:
        """One task per item of `where`."""
        carried = dict(definition.tags) if request.get("propagateTags") == "TASK_DEFINITION" else {}
        if request.get("enableECSManagedTags"):
            carried["aws:ecs:clusterName"] = cluster.name
        zones: Counter[str] = Counter()
        subnets: Counter[str] = Counter()
        made: list[Task] = []
        for start in where:
            subnet, host = None, start.host
            elsewhere = "" if start.waits else f"{ctx.region}a"
            if network is not None and not start.waits:
                options = [
                    (s.subnet_id, s.availability_zone)
                    for s in network.subnets
                    if host is None or s.availability_zone == host.instance.availability_zone
                ]
                subnet_id = choose_subnet(options, zones, subnets)
                chosen_subnet = next(s for s in network.subnets if s.subnet_id == subnet_id)
                subnet = (subnet_id, chosen_subnet.vpc_id, chosen_subnet.availability_zone)
                zones[chosen_subnet.availability_zone] += 1
                subnets[subnet_id] += 1
            made.append(
                new_task(
                    arn=ctx.scope.arn("ecs", f"task/{cluster.name}/{self._ids.hex(32)}"),
                    cluster_arn=cluster.arn,
                    definition=definition,
                    group=_group(definition, request),
                    launch_type=chosen.launches_on,
                    now=self._clock.now(),
                    new_uuid=self._ids.uuid,
                    network=network.configuration if network is not None else None,
                    subnet=subnet,
                    security_groups=(network.configuration.security_groups or ()) if network is not None else (),
                    availability_zone=host.instance.availability_zone if host is not None else elsewhere,
                    capacity_provider=start.provider,
                    started_by=request.get("startedBy"),
                    overrides=overridden,
                    platform_version=chosen.platform_version,
                    tags=carried | tags,
                    enable_execute_command=bool(request.get("enableExecuteCommand")),
                    instance=placement.on(host.instance) if host is not None else None,
                    volume_configurations=request.get("volumeConfigurations") or (),
                    waiting=self._waiting(request, network) if start.waits else None,
                )
            )
        return made

    def _waiting(self, request: dict[str, Any], network: networking.CheckedNetwork | None) -> Waiting:
        subnets = network.subnets if network is not None else ()
        return Waiting(
            constraints=tuple(request.get("placementConstraints") or ()),
            strategy=tuple(request.get("placementStrategy") or ()),
            subnets=tuple((s.subnet_id, s.vpc_id, s.availability_zone) for s in subnets),
            security_groups=(network.configuration.security_groups or ()) if network is not None else (),
            attachment_id=self._ids.uuid() if network is not None else "",
        )

    def _definition(self, ctx: RequestContext, identifier: str) -> TaskDefinition:
        if identifier.startswith("arn:") and identifier.split(":")[4:5] != [ctx.account]:
            raise _refuse("AccountIDs mismatch")
        definition = resolve.task_definition(self._store, ctx.scope, identifier)
        if definition is None:
            raise AwsError("ClientException", "TaskDefinition not found.")
        if definition.status != "ACTIVE":
            raise _refuse("TaskDefinition is inactive")
        return definition

    @operation("StartTask")
    async def start_task(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        """One task on each of the instances named: no strategies, no placement constraints (ecs-tasks §9)."""
        cluster = resolve.cluster(self._store, ctx.scope, request.get("cluster"))
        definition = self._definition(ctx, request["taskDefinition"])
        wanted = request["containerInstances"]
        if not wanted:
            raise _refuse("Container instances cannot be empty.")
        if len(wanted) > MOST_AT_ONCE:
            raise _refuse(f"containerInstances can have at most {MOST_AT_ONCE} items.")
        chosen = compute.resolve(cluster, definition, {"launchType": "EC2"})
        overridden = _checked(definition, request, "EC2")
        tags = to_mapping(request.get("tags"))
        refuse_unsupported(definition.document, overridden)
        network = await networking.check(
            self._networks, ctx.scope, definition.document, "EC2", request.get("networkConfiguration")
        )

        def write(tx: Transaction) -> dict[str, Any]:
            resolve.cluster(tx, ctx.scope, request.get("cluster"))
            wish = replace(self._wish(definition, request, overridden, network), constraints=())
            where: list[Start] = []
            failures: list[dict[str, str]] = []
            for identifier in dict.fromkeys(arn_of(ctx.scope, cluster, one) for one in wanted):
                record = tx.get(CONTAINER_INSTANCES, identifier)
                if record is None or record.cluster_arn != cluster.arn:
                    failures.append({"arn": identifier, "reason": "MISSING"})
                    continue
                (host,) = placement.hosts(tx, (record,))
                refused = refusal(host, wish)
                if refused is None:
                    where.append(Start(None, host))
                else:
                    failures.append({"arn": identifier, "reason": refused.reason, "detail": refused.detail})
            if network is not None:
                network.remember(tx)
            made = self._new_tasks(ctx, cluster, definition, request, overridden, where, chosen, network, tags)
            return _answer(tx, [tx.put(TASKS, task).arn for task in made], failures)

        return await self._store.update(write)

    @operation("StopTask")
    async def stop_task(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        reason = request.get("reason") or sentences.STOPPED_BY_USER

        def write(tx: Transaction) -> Task:
            cluster = resolve.cluster(tx, ctx.scope, request.get("cluster"))
            task = resolve.task(tx, ctx.scope, cluster, request["task"])
            if task is None:
                raise _refuse("The referenced task was not found.")
            if task.desired_status == "STOPPED":
                return task
            return tx.put(
                TASKS,
                replace(
                    task,
                    desired_status="STOPPED",
                    stop_code="UserInitiated",
                    stopped_reason=sentences.clipped(reason),
                    stopping_at=self._clock.now(),
                    version=task.version + 1,
                    # A task that is stopped loses its tags (ecs-tasks §2).
                    tags={},
                ),
            )

        return {"task": present_task.task(self._store, await self._store.update(write))}

    @operation("DescribeTasks")
    async def describe_tasks(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        cluster = resolve.cluster(self._store, ctx.scope, request.get("cluster"))
        wanted = request["tasks"]
        if not wanted:
            raise _refuse("Tasks cannot be empty.")
        if len(wanted) > MOST_DESCRIBED:
            raise _refuse(f"Tasks can have at most {MOST_DESCRIBED} items.")
        tags = "TAGS" in (request.get("include") or ())
        found, failures = [], []
        for identifier in wanted:
            arn = resolve.task_arn(ctx.scope, cluster, identifier)
            task = resolve.task(self._store, ctx.scope, cluster, identifier)
            if task is None:
                failures.append({"arn": arn, "reason": "MISSING"})
            else:
                found.append(present_task.cached_task(self._store, task, tags=tags))
        return {"tasks": found, "failures": failures}

    @operation("ListTasks")
    async def list_tasks(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        cluster = resolve.cluster(self._store, ctx.scope, request.get("cluster"))
        desired = request.get("desiredStatus") or "RUNNING"
        service, family, started_by = (request.get(n) for n in ("serviceName", "family", "startedBy"))
        if started_by and (service or family):
            raise _refuse("The startedBy parameter can't be combined with other filters.")
        if service:
            arn = resolve.service_arn(ctx.scope, cluster, service)
            if resolve.service(self._store, ctx.scope, cluster, service) is None:
                raise AwsError("ServiceNotFoundException", "Service not found.")
            candidates = self._store.find(TASKS, "service_all", arn)
        elif family:
            candidates = self._store.find(TASKS, "family", (cluster.arn, family))
        elif started_by:
            candidates = self._store.find(TASKS, "started_by", (cluster.arn, started_by))
        else:
            candidates = self._store.find(TASKS, "cluster", (cluster.arn, desired))
        launch_type = request.get("launchType")
        instance = request.get("containerInstance") and arn_of(ctx.scope, cluster, request["containerInstance"])
        arns = sorted(
            t.arn
            for t in candidates
            if t.desired_status == desired
            and (not family or resolve_family(t) == family)
            and (not launch_type or t.launch_type == launch_type)
            and (not instance or (t.instance is not None and t.instance.arn == instance))
            and not request.get("daemonName")
        )
        chosen, token = page(arns, request)
        return {"taskArns": chosen, "nextToken": token}

    @operation("ExecuteCommand")
    async def execute_command(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        cluster = resolve.cluster(self._store, ctx.scope, request.get("cluster"))
        task = resolve.task(self._store, ctx.scope, cluster, request["task"])
        if task is None:
            raise _refuse("The referenced task was not found.")
        if not request["interactive"]:
            raise _refuse("Interactive is the only mode supported currently.")
        raise _refuse(
            "The execute command failed because execute command was not enabled when the task was run or the execute "
            "command agent isn’t running. Wait and try again or run a new task with execute command enabled and try "
            "again."
        )


def _answer(tx: Transaction, arns: Sequence[str], failures: list[dict[str, str]]) -> dict[str, Any]:
    """Tasks as they are when they are written (§2.2): what the control plane does with them comes later."""
    tasks = [present_task.task(tx, task, tags=True) for arn in arns if (task := tx.get(TASKS, arn)) is not None]
    return {"tasks": tasks, "failures": failures}


def _checked(definition: TaskDefinition, request: dict[str, Any], launches_on: str) -> dict[str, Any] | None:
    """What RunTask and StartTask have in common, checked; the overrides, read. Raises InvalidParameterException and
    ClientException."""
    overridden = overrides.read(definition.document, request.get("overrides"), launches_on)
    launch_volumes.check(definition.document, request.get("volumeConfigurations"))
    if request.get("startedBy") and not _STARTED_BY.fullmatch(request["startedBy"]):
        raise _refuse("startedBy must match ^[a-zA-Z0-9\\-_/]{1,128}$.")
    if request.get("clientToken") and not _CLIENT_TOKEN.fullmatch(request["clientToken"]):
        raise _refuse("clientToken must have at most 64 characters in the range of 33-126.")
    if request.get("propagateTags") == "SERVICE":
        raise _refuse("propagateTags SERVICE is not supported when running a task that is not part of a service.")
    return overridden


def _group(definition: TaskDefinition, request: dict[str, Any]) -> str:
    return str(request.get("group") or f"family:{definition.family}")


def resolve_family(task: Task) -> str:
    return task.task_definition_arn.rsplit("/", 1)[-1].rsplit(":", 1)[0]
