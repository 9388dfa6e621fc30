"""Service operations (semantics ecs-services §1–§3). They write what should be; the service controller makes it so."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import msgspec
from msgspec.structs import replace

from moorage.decide.placement import constraints
from moorage.decide.placement.place import wish_of
from moorage.domain.clock import Clock, Ids
from moorage.domain.cluster import Cluster
from moorage.domain.errors import AwsError
from moorage.domain.scope import Scope
from moorage.domain.service import (
    DeploymentConfiguration,
    Revision,
    Service,
)
from moorage.domain.task import LoadBalancerRef
from moorage.domain.task_definition import TaskDefinition
from moorage.services.base import Provider, RequestContext, operation
from moorage.services.ecs import (
    compute,
    launch_volumes,
    networking,
    placement,
    present_service,
    resolve,
    validate_controller,
)
from moorage.services.ecs.change_controller import to_ecs
from moorage.services.ecs.express_present import managed_by
from moorage.services.ecs.new_deployment import deploy
from moorage.services.ecs.new_service import made_before, new_service, with_own_story
from moorage.services.ecs.paging import page
from moorage.services.ecs.shapes import convert
from moorage.services.ecs.task_sets import make_primary, put_task_set, unsettled
from moorage.services.ecs.unsupported import refuse_unsupported
from moorage.services.ecs.validate_controller import DAEMON_CONFIGURATION
from moorage.services.ecs.validate_deployment import alarm_window, az_rebalancing
from moorage.services.ecs.validate_service import (
    check_load_balancers,
    check_members,
    check_role,
    check_unsupported,
    deployment_configuration,
    refuse,
)
from moorage.services.ecs.validate_strategy import check_strategy
from moorage.services.ecs.wanted_revision import launches_on, service_definition, wanted_revision
from moorage.services.lookups import AlarmLookup, NetworkLookup
from moorage.store.api import StoreApi, Transaction, View
from moorage.store.tables.ecs import REVISIONS, SERVICES, TASK_SETS

MOST_TASKS = 5000
"""Of one service: an AWS quota."""
_NAME = re.compile(r"[a-zA-Z0-9\-_]{1,255}")


class _First(msgspec.Struct, frozen=True):
    """What a new service runs: its first revision (whose ARN is still to be found) and what was found out on the way."""

    definition: TaskDefinition
    revision: Revision
    network: networking.CheckedNetwork | None

    @property
    def linked(self) -> bool:
        """Does it need the service-linked role?"""
        revision = self.revision
        return bool(revision.load_balancers or revision.network is not None or revision.service_registries)

    def check_load_balancers(self, view: View, scope: Scope) -> None:
        revision = self.revision
        check_load_balancers(view, scope, self.definition.document, revision.load_balancers, launches_on(revision))

    def daemons(self, view: View, service: Service) -> int:
        """On how many instances a DAEMON service belongs now."""
        zones = frozenset(s.availability_zone for s in self.network.subnets) if self.network is not None else None
        rules = constraints.read(service.placement_constraints)
        wish = wish_of(self.definition, f"service:{service.name}", rules, zones=zones)
        return placement.eligible(view, service.cluster_arn, wish)


class ServiceOperations(Provider):
    _store: StoreApi
    _clock: Clock
    _ids: Ids
    _networks: NetworkLookup
    _alarms: AlarmLookup

    @operation("CreateService")
    async def create_service(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        name = request["serviceName"]
        if not _NAME.fullmatch(name):
            raise refuse(rf"ServiceName must match ^[a-zA-Z0-9\-_]{{1,255}}$, but was {name}")
        cluster = resolve.cluster(self._store, ctx.scope, request.get("cluster"))
        validate_controller.check_create(request)
        check_unsupported(request)
        check_members(request)
        daemon = validate_controller.is_daemon(request)
        desired = 0 if daemon else _desired_count(request.get("desiredCount"))
        configuration = deployment_configuration(
            DAEMON_CONFIGURATION if daemon else DeploymentConfiguration(), request.get("deploymentConfiguration")
        )
        controller = validate_controller.controller_of(request)
        if controller == "EXTERNAL":
            return await self._create_bare(ctx, cluster, request, desired, configuration)
        first = await self._first_revision(ctx, cluster, request, configuration, daemon=daemon)
        now = first.revision.created_at
        service = new_service(
            ctx, cluster, request, desired=desired, configuration=configuration, linked=first.linked, now=now
        )
        window = await alarm_window(self._alarms, ctx.scope, configuration, given=True)

        # Shown as it is written: what the first pass does with it comes later, as on AWS (no event, no task yet).
        def write(tx: Transaction) -> dict[str, Any]:
            return present_service.service(tx, made(tx), tags=True)

        def made(tx: Transaction) -> Service:
            resolve.cluster(tx, ctx.scope, request.get("cluster"))
            existing = made_before(tx, service)
            if existing is not None:
                return existing
            first.check_load_balancers(tx, ctx.scope)
            if first.network is not None:
                first.network.remember(tx)
            found = with_own_story(tx, service)
            if daemon:
                found = replace(found, desired_count=first.daemons(tx, service))
            if controller == "CODE_DEPLOY":
                one = put_task_set(tx, tx.put(SERVICES, found), first.revision, self._ids.digits(19), now, scale=100.0)
                make_primary(tx, found, one, now)
                return replace(found, revision_arn=one.arn)
            return deploy(tx, self._ids, found, first.revision, now, alarm_window=window)

        return {"service": await self._store.update(write)}

    async def _first_revision(
        self,
        ctx: RequestContext,
        cluster: Cluster,
        request: dict[str, Any],
        configuration: DeploymentConfiguration,
        *,
        daemon: bool,
    ) -> _First:
        """What a new service runs, checked. Raises ClientException, InvalidParameterException, PlatformUnknownException."""
        if not request.get("taskDefinition"):
            raise refuse("TaskDefinition can not be blank.")
        definition = service_definition(self._store, ctx.scope, request["taskDefinition"])
        document = definition.document
        # The default strategy of the cluster is not for daemons: they run on instances.
        chosen = compute.resolve(cluster, definition, {**request, "launchType": "EC2"} if daemon else request)
        network = await networking.check(
            self._networks, ctx.scope, document, chosen.launches_on, request.get("networkConfiguration")
        )
        check_role(request, document)
        placement.check_number(request.get("placementConstraints") or (), document)
        refuse_unsupported(document)
        volumes = launch_volumes.check(document, request.get("volumeConfigurations"), of_service=True)
        revision = Revision(
            arn="",
            service_arn=ctx.scope.arn("ecs", f"service/{cluster.name}/{request['serviceName']}"),
            cluster_arn=cluster.arn,
            number="",
            created_at=self._clock.now(),
            task_definition_arn=definition.arn,
            launch_type=chosen.launch_type,
            strategy=chosen.strategy,
            platform_version=chosen.platform_version,
            network=network.configuration if network is not None else None,
            load_balancers=convert(request.get("loadBalancers") or [], tuple[LoadBalancerRef, ...]),
            service_registries=tuple(request.get("serviceRegistries") or ()),
            volume_configurations=volumes,
        )
        first = _First(definition, revision, network)
        first.check_load_balancers(self._store, ctx.scope)
        check_strategy(self._store, configuration, revision.load_balancers, attached=True)
        return first

    async def _create_bare(
        self,
        ctx: RequestContext,
        cluster: Cluster,
        request: dict[str, Any],
        desired: int,
        configuration: DeploymentConfiguration,
    ) -> dict[str, Any]:
        """Of the controller EXTERNAL: no tasks before the first task set."""
        service = new_service(
            ctx, cluster, request, desired=desired, configuration=configuration, linked=True, now=self._clock.now()
        )

        def write(tx: Transaction) -> Service:
            resolve.cluster(tx, ctx.scope, request.get("cluster"))
            return made_before(tx, service) or tx.put(SERVICES, with_own_story(tx, service))

        created = await self._store.update(write)
        return {"service": present_service.service(self._store, created, tags=True)}

    @operation("UpdateService")
    async def update_service(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        cluster = resolve.cluster(self._store, ctx.scope, request.get("cluster"))
        service = self._active_service(ctx, cluster, request["service"])
        validate_controller.check_update(service, request)
        check_unsupported(request)
        check_members(request)
        moves = validate_controller.moves_to_ecs(service, request)
        if service.controller != "ECS" and not moves:
            bare = await self._store.update(partial(self._update_bare, arn=service.arn, request=request))
            return {"service": present_service.service(self._store, bare)}
        updated = None
        while updated is None:
            revision = self._current(ctx, cluster, request["service"])
            wanted, network = await wanted_revision(self._store, self._networks, ctx.scope, cluster, revision, request)
            given = request.get("deploymentConfiguration")
            configuration = deployment_configuration(
                self._active_service(ctx, cluster, request["service"]).deployment_configuration, given
            )
            alarms_given = bool((given or {}).get("alarms"))
            window = await alarm_window(self._alarms, ctx.scope, configuration, given=alarms_given)
            write = partial(
                self._update,
                ctx=ctx,
                request=request,
                before=revision,
                wanted=wanted,
                network=network,
                window=window,
                moves=moves,
            )
            updated = await self._store.update(write)
        return {"service": updated}

    def _update_bare(self, tx: Transaction, *, arn: str, request: dict[str, Any]) -> Service:
        """What takes effect without new tasks is all that can be changed of a service with task sets (§3.2)."""
        current = tx.get(SERVICES, arn)
        if current is None or current.status != "ACTIVE":
            raise AwsError("ServiceNotActiveException", "Service was not ACTIVE.")
        changed = _changed(current, request)
        if changed.desired_count != current.desired_count:
            now = self._clock.now()
            for one in tx.find(TASK_SETS, "service", arn):
                tx.put(TASK_SETS, unsettled(one, now))
        return tx.put(SERVICES, changed)

    def _update(
        self,
        tx: Transaction,
        *,
        ctx: RequestContext,
        request: dict[str, Any],
        before: Revision,
        wanted: Revision,
        network: networking.CheckedNetwork | None,
        window: float,
        moves: bool,
    ) -> dict[str, Any] | None:
        """The service as it is shown. None when another update or a rollback came in between: `wanted` was made from a
        revision of the past. `moves`: from CodeDeploy to ECS."""
        current = tx.get(SERVICES, before.service_arn)
        if current is None or current.status != "ACTIVE":
            raise AwsError("ServiceNotActiveException", "Service was not ACTIVE.")
        if current.revision_arn != before.arn:
            return None
        if moves and current.controller != "ECS":
            current = to_ecs(tx, self._ids, current, self._clock.now())
        changed = _changed(current, request)
        attached = request.get("loadBalancers") is not None
        if attached or request.get("placementConstraints") or wanted.task_definition_arn != before.task_definition_arn:
            definition = service_definition(tx, ctx.scope, wanted.task_definition_arn, quiet=True)
            on, references = launches_on(wanted), wanted.load_balancers
            check_load_balancers(tx, ctx.scope, definition.document, references, on, attached=attached)
            placement.check_number(changed.placement_constraints, definition.document)
        check_strategy(tx, changed.deployment_configuration, wanted.load_balancers, attached=attached)
        if network is not None:
            network.remember(tx)
        if request.get("forceNewDeployment") or wanted != before:
            changed = deploy(tx, self._ids, changed, wanted, self._clock.now(), alarm_window=window)
        else:
            tx.put(SERVICES, changed)
        return present_service.service(tx, changed)

    @operation("DescribeServices")
    async def describe_services(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        cluster = resolve.cluster(self._store, ctx.scope, request.get("cluster"))
        wanted = request["services"]
        if not wanted:
            raise refuse("Services cannot be empty.")
        if len(wanted) > 10:
            raise refuse("Services can have at most 10 items.")
        tags = "TAGS" in (request.get("include") or ())
        found, failures = [], []
        for identifier in wanted:
            service = resolve.service(self._store, ctx.scope, cluster, identifier)
            if service is None:
                failures.append({"arn": resolve.service_arn(ctx.scope, cluster, identifier), "reason": "MISSING"})
            else:
                found.append(present_service.service(self._store, service, tags=tags))
        return {"services": found, "failures": failures}

    @operation("ListServices")
    async def list_services(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        cluster = resolve.cluster(self._store, ctx.scope, request.get("cluster"))
        launch_type, scheduling = request.get("launchType"), request.get("schedulingStrategy")
        managed = request.get("resourceManagementType")
        arns = []
        for status in ("ACTIVE", "DRAINING"):
            for service in self._store.find(SERVICES, "cluster", (cluster.arn, status)):
                revision = self._store.get(REVISIONS, service.revision_arn)
                # Without a task set (controller EXTERNAL) a service shows the launch type EC2.
                if launch_type and (revision.launch_type if revision is not None else "EC2") != launch_type:
                    continue
                if scheduling and service.scheduling_strategy != scheduling:
                    continue
                if managed and managed_by(self._store, service.arn) != managed:
                    continue
                arns.append(service.arn)
        chosen, token = page(sorted(arns), request, default=10)
        return {"serviceArns": chosen, "nextToken": token}

    @operation("DeleteService")
    async def delete_service(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        force = bool(request.get("force"))

        def write(tx: Transaction) -> Service:
            cluster = resolve.cluster(tx, ctx.scope, request.get("cluster"))
            service = resolve.service(tx, ctx.scope, cluster, request["service"])
            if service is None or service.status == "INACTIVE":
                raise AwsError("ServiceNotFoundException", "Service not found.")
            if service.status == "DRAINING":
                return service
            if service.desired_count > 0 and not force and service.scheduling_strategy != "DAEMON":
                raise refuse("The service cannot be stopped while it is scaled above 0.")
            if len(service.deployments) > 1 and not force:
                raise refuse("The service cannot be stopped while deployments are active.")
            return tx.put(SERVICES, replace(service, status="DRAINING", desired_count=0, steady_since=None))

        deleted = await self._store.update(write)
        return {"service": present_service.service(self._store, deleted)}

    def _active_service(self, ctx: RequestContext, cluster: Cluster, identifier: str) -> Service:
        service = resolve.service(self._store, ctx.scope, cluster, identifier)
        if service is None:
            raise AwsError("ServiceNotFoundException", "Service not found.")
        if service.status != "ACTIVE":
            raise AwsError("ServiceNotActiveException", "Service was not ACTIVE.")
        return service

    def _current(self, ctx: RequestContext, cluster: Cluster, identifier: str) -> Revision:
        service = self._active_service(ctx, cluster, identifier)
        revision = self._store.get(REVISIONS, service.revision_arn)
        assert revision is not None, "a service keeps the revision it was made of"
        return revision


def _changed(current: Service, request: dict[str, Any]) -> Service:
    """The service with everything that takes effect without new tasks."""
    desired = request.get("desiredCount")
    changed = replace(
        current,
        desired_count=current.desired_count if desired is None else _desired_count(desired),
        deployment_configuration=deployment_configuration(
            current.deployment_configuration, request.get("deploymentConfiguration")
        ),
        **_plain_changes(request),
    )
    changed = replace(changed, az_rebalancing=az_rebalancing(changed, request.get("availabilityZoneRebalancing")))
    return changed if changed.desired_count == current.desired_count else replace(changed, steady_since=None)


def _plain_changes(request: dict[str, Any]) -> dict[str, Any]:
    """Members of UpdateService that take effect at once, without new tasks (§3.2)."""
    names = {
        "healthCheckGracePeriodSeconds": "health_check_grace_period",
        "enableExecuteCommand": "enable_execute_command",
        "enableECSManagedTags": "managed_tags",
        "propagateTags": "propagate_tags",
    }
    changes = {ours: request[theirs] for theirs, ours in names.items() if request.get(theirs) is not None}
    for theirs, ours in (
        ("placementConstraints", "placement_constraints"),
        ("placementStrategy", "placement_strategy"),
    ):
        if request.get(theirs) is not None:
            changes[ours] = tuple(request[theirs])
    return changes


def _desired_count(value: Any) -> int:
    if value is None:
        raise refuse("desiredCount is required for services with the REPLICA scheduling strategy.")
    if value < 0:
        raise refuse("desiredCount cannot be a negative number.")
    if value > MOST_TASKS:
        raise refuse(f"desiredCount can be at most {MOST_TASKS}, the most tasks that a service can have.")
    return int(value)
