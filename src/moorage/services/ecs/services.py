"""Service operations (semantics ecs-services §1–§3). They write what should be; the service controller makes it so."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import msgspec
from msgspec.structs import replace

from moorage.decide.placement import constraints
from moorage.decide.placement.place import wish_of
from moorage.decide.rollout.circuit_breaker import threshold
from moorage.decide.rollout.stages import first_stage
from moorage.domain import sentences
from moorage.domain.clock import Clock, Ids
from moorage.domain.cluster import Cluster
from moorage.domain.errors import AwsError
from moorage.domain.service import (
    ENDED,
    Deployment,
    DeploymentConfiguration,
    Revision,
    Service,
    ServiceDeployment,
    Shift,
)
from moorage.domain.task import LoadBalancerRef
from moorage.domain.task_definition import TaskDefinition
from moorage.services.base import Provider, RequestContext, operation
from moorage.services.ecs import compute, networking, placement, present, resolve, validate_controller
from moorage.services.ecs import strategy as strategies
from moorage.services.ecs.paging import page
from moorage.services.ecs.shapes import convert
from moorage.services.ecs.tags import to_mapping
from moorage.services.ecs.unsupported import refuse_unsupported
from moorage.services.ecs.validate_controller import DAEMON_CONFIGURATION
from moorage.services.ecs.validate_service import (
    check_load_balancers,
    check_members,
    check_role,
    check_unsupported,
    deployment_configuration,
    refuse,
)
from moorage.services.ecs.validate_strategy import check_strategy, resolve_target_groups
from moorage.services.lookups import NetworkLookup
from moorage.store.api import StoreApi, Transaction
from moorage.store.tables.ecs import REVISIONS, SERVICE_DEPLOYMENTS, SERVICE_EVENTS, SERVICES

_NAME = re.compile(r"[a-zA-Z0-9\-_]{1,255}")


class ServiceOperations(Provider):
    _store: StoreApi
    _clock: Clock
    _ids: Ids
    _networks: NetworkLookup

    @operation("CreateService")
    async def create_service(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        name = request["serviceName"]
        if not _NAME.fullmatch(name):
            raise refuse(rf"ServiceName must match ^[a-zA-Z0-9\-_]{{1,255}}$, but was {name}")
        cluster = resolve.cluster(self._store, ctx.scope, request.get("cluster"))
        validate_controller.check_create(request)
        if validate_controller.controller_of(request) != "ECS":
            raise refuse("Moorage does not support deployment controllers other than ECS yet.")
        check_unsupported(request)
        check_members(request)
        daemon = validate_controller.is_daemon(request)
        desired = 0 if daemon else _desired_count(request.get("desiredCount"))
        configuration = deployment_configuration(
            DAEMON_CONFIGURATION if daemon else DeploymentConfiguration(), request.get("deploymentConfiguration")
        )
        if not request.get("taskDefinition"):
            raise refuse("TaskDefinition can not be blank.")
        definition = self._service_definition(ctx, request["taskDefinition"])
        # The default strategy of the cluster is not for daemons: they run on instances.
        chosen = compute.resolve(cluster, definition, {**request, "launchType": "EC2"} if daemon else request)
        network = await networking.check(
            self._networks, ctx.scope, definition.document, chosen.launches_on, request.get("networkConfiguration")
        )
        check_role(request, definition.document)
        refuse_unsupported(definition.document)
        load_balancers = convert(request.get("loadBalancers") or [], tuple[LoadBalancerRef, ...])
        check_load_balancers(self._store, ctx.scope, definition.document, load_balancers)
        check_strategy(self._store, configuration, load_balancers, attached=True)
        now = self._clock.now()
        arn = ctx.scope.arn("ecs", f"service/{cluster.name}/{name}")
        revision = Revision(
            arn="",
            service_arn=arn,
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
        linked = bool(load_balancers or network is not None or revision.service_registries)
        grace = request.get("healthCheckGracePeriodSeconds")
        service = Service(
            arn=arn,
            account=ctx.account,
            region=ctx.region,
            cluster_arn=cluster.arn,
            name=name,
            status="ACTIVE",
            desired_count=desired,
            revision_arn="",
            created_at=now,
            created_by=ctx.principal_arn,
            deployments=(),
            deployment_configuration=configuration,
            scheduling_strategy="DAEMON" if daemon else "REPLICA",
            health_check_grace_period=grace if grace is not None else (0 if load_balancers else None),
            propagate_tags=request.get("propagateTags") or "NONE",
            managed_tags=bool(request.get("enableECSManagedTags")),
            enable_execute_command=bool(request.get("enableExecuteCommand")),
            az_rebalancing=request.get("availabilityZoneRebalancing") or "DISABLED",
            placement_constraints=tuple(request.get("placementConstraints") or ()),
            placement_strategy=tuple(request.get("placementStrategy") or ()),
            role_arn=_service_linked_role(ctx) if linked else None,
            client_token=_fingerprint(request),
            tags=to_mapping(request.get("tags")),
        )

        def write(tx: Transaction) -> Service:
            resolve.cluster(tx, ctx.scope, request.get("cluster"))
            existing = tx.get(SERVICES, arn)
            if existing is not None and existing.status == "DRAINING":
                raise refuse("Unable to Start a service that is still Draining.")
            if existing is not None and existing.status == "ACTIVE":
                if existing.client_token == service.client_token:
                    return existing
                raise refuse("Creation of service was not idempotent.")
            check_load_balancers(tx, ctx.scope, definition.document, load_balancers)
            if network is not None:
                network.remember(tx)
            # A new service of an old name tells its own story: numbering goes on, so that no event id comes twice.
            count = existing.event_count if existing is not None else 0
            for event in tx.find(SERVICE_EVENTS, "service", arn):
                tx.delete(SERVICE_EVENTS, event.id)
            found = replace(service, event_count=count)
            if daemon:
                zones = frozenset(s.availability_zone for s in network.subnets) if network is not None else None
                rules = constraints.read(service.placement_constraints)
                wish = wish_of(definition, f"service:{name}", rules, zones=zones)
                found = replace(found, desired_count=placement.eligible(tx, cluster.arn, wish))
            return self._deploy(tx, found, revision, now)

        created = await self._store.update(write)
        return {"service": present.service(self._store, created, tags=True)}

    def _deploy(self, tx: Transaction, service: Service, revision: Revision, now: float) -> Service:
        """A new PRIMARY deployment of `revision`; what was PRIMARY becomes ACTIVE and drains (§3.1, §3.2)."""
        number = self._ids.digits(19)
        cluster = resolve.cluster_name(service.cluster_arn)
        blue, shown = self._blue(tx, service)
        revision = replace(
            revision,
            resolved=resolve_target_groups(tx, revision.load_balancers, blue, service.deployment_configuration),
        )
        scope_path = f"{cluster}/{service.name}"
        base = service.arn.split(":service/", 1)[0]
        revision = replace(
            revision, arn=f"{base}:service-revision/{scope_path}/{number}", number=number, created_at=now
        )
        tx.put(REVISIONS, revision)
        breaker = service.deployment_configuration.circuit_breaker
        record = ServiceDeployment(
            arn=f"{base}:service-deployment/{scope_path}/{self._ids.url_safe(21)}",
            service_arn=service.arn,
            cluster_arn=service.cluster_arn,
            target_revision=revision.arn,
            source_revisions=tuple(dict.fromkeys(d.revision_arn for d in service.deployments)),
            created_at=now,
            status="IN_PROGRESS",
            started_at=now,
            updated_at=now,
            strategy=service.deployment_configuration.strategy,
            threshold=threshold(breaker, service.desired_count),
            breaker_status="MONITORING" if breaker.enable else "DISABLED",
        )
        tx.put(SERVICE_DEPLOYMENTS, record)
        for old in service.deployments:
            superseded = tx.get(SERVICE_DEPLOYMENTS, old.service_deployment_arn)
            if superseded is not None and superseded.status not in ENDED:
                tx.put(
                    SERVICE_DEPLOYMENTS,
                    replace(
                        superseded,
                        status="STOPPED",
                        finished_at=now,
                        updated_at=now,
                        status_reason="A newer deployment of the service superseded this one.",
                    ),
                )
        deployment = Deployment(
            id=f"ecs-svc/{number}",
            status="PRIMARY",
            revision_arn=revision.arn,
            service_deployment_arn=record.arn,
            created_at=now,
            updated_at=now,
            rollout_reason=sentences.in_progress(f"ecs-svc/{number}"),
        )
        older = tuple(replace(d, status="ACTIVE", updated_at=now) for d in service.deployments)
        shift = None
        if service.deployment_configuration.strategy != "ROLLING":
            others = any(d.id != shown for d in service.deployments)
            shift = Shift(
                service_deployment_arn=record.arn,
                green=deployment.id,
                blue=shown,
                configuration=service.deployment_configuration,
                stage=first_stage(blue=shown is not None, others=others),
                since=now,
            )
        return tx.put(
            SERVICES,
            replace(
                service,
                revision_arn=revision.arn,
                deployments=(deployment, *older),
                steady_since=None,
                shift=shift,
                stop_requested=None,
            ),
        )

    @staticmethod
    def _blue(tx: Transaction, service: Service) -> tuple[Revision | None, str | None]:
        """The revision, and the deployment of it, that a new one replaces: the last one that was completed."""
        good = service.last_good_revision
        found = next((d.id for d in service.deployments if d.revision_arn == good), None)
        return (tx.get(REVISIONS, good) if found is not None and good is not None else None), found

    @operation("UpdateService")
    async def update_service(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        cluster = resolve.cluster(self._store, ctx.scope, request.get("cluster"))
        validate_controller.check_update(self._active(ctx, cluster, request["service"]), request)
        check_unsupported(request)
        check_members(request)
        updated = None
        while updated is None:
            revision = self._current(ctx, cluster, request["service"])
            wanted, network = await self._wanted_revision(ctx, cluster, revision, request)
            write = partial(self._update, ctx=ctx, request=request, before=revision, wanted=wanted, network=network)
            updated = await self._store.update(write)
        return {"service": present.service(self._store, updated, tags=True)}

    def _update(
        self,
        tx: Transaction,
        *,
        ctx: RequestContext,
        request: dict[str, Any],
        before: Revision,
        wanted: Revision,
        network: networking.CheckedNetwork | None,
    ) -> Service | None:
        """None when another update or a rollback came in between: `wanted` was made from a revision of the past."""
        current = tx.get(SERVICES, before.service_arn)
        if current is None or current.status != "ACTIVE":
            raise AwsError("ServiceNotActiveException", "Service was not ACTIVE.")
        if current.revision_arn != before.arn:
            return None
        desired = request.get("desiredCount")
        changed = replace(
            current,
            desired_count=current.desired_count if desired is None else _desired_count(desired),
            deployment_configuration=deployment_configuration(
                current.deployment_configuration, request.get("deploymentConfiguration")
            ),
            **_plain_changes(request),
        )
        if changed.desired_count != current.desired_count:
            changed = replace(changed, steady_since=None)
        attached = request.get("loadBalancers") is not None
        if attached or wanted.task_definition_arn != before.task_definition_arn:
            definition = self._service_definition(ctx, wanted.task_definition_arn, quiet=True)
            check_load_balancers(tx, ctx.scope, definition.document, wanted.load_balancers, attached=attached)
        check_strategy(tx, changed.deployment_configuration, wanted.load_balancers, attached=attached)
        if network is not None:
            network.remember(tx)
        if request.get("forceNewDeployment") or wanted != before:
            return self._deploy(tx, changed, wanted, self._clock.now())
        return tx.put(SERVICES, changed)

    async def _wanted_revision(
        self, ctx: RequestContext, cluster: Cluster, revision: Revision, request: dict[str, Any]
    ) -> tuple[Revision, networking.CheckedNetwork | None]:
        """The revision that the service should have after the update; checked as CreateService checks."""
        identifier = request.get("taskDefinition")
        definition = self._service_definition(ctx, identifier or revision.task_definition_arn, quiet=identifier is None)
        changed = replace(revision, task_definition_arn=definition.arn)
        if identifier is not None:
            refuse_unsupported(definition.document)
        if request.get("capacityProviderStrategy") == [] and changed.strategy:
            changed = self._back_to_launch_type(cluster, changed)
        if request.get("capacityProviderStrategy") or request.get("platformVersion"):
            asked = {"platformVersion": request.get("platformVersion") or revision.platform_version}
            if request.get("capacityProviderStrategy"):
                asked["capacityProviderStrategy"] = request["capacityProviderStrategy"]
            elif revision.strategy:
                asked["capacityProviderStrategy"] = present.strategy(revision.strategy)
            else:
                asked["launchType"] = revision.launch_type
            chosen = compute.resolve(cluster, definition, asked)
            changed = replace(
                changed,
                launch_type=chosen.launch_type,
                strategy=chosen.strategy,
                platform_version=chosen.platform_version,
            )
        launches_on = strategies.launches_on(changed.strategy) if changed.strategy else changed.launch_type or "EC2"
        if changed.strategy != revision.strategy and not request.get("forceNewDeployment"):
            raise refuse(
                "When switching from launch type to capacity provider strategy on an existing service, or making a "
                "change to a capacity provider strategy on a service that is already using one, you must force a new "
                "deployment."
            )
        if launches_on == "FARGATE":
            compute.check_placement(request)
        if launches_on not in definition.compatibilities:
            raise refuse(f"Task definition does not support launch_type {launches_on}.")
        network = None
        if request.get("networkConfiguration") is not None:
            network = await networking.check(
                self._networks, ctx.scope, definition.document, launches_on, request["networkConfiguration"]
            )
            changed = replace(changed, network=network.configuration if network is not None else None)
        elif definition.document.network_mode == "awsvpc" and changed.network is None:
            raise refuse("Network Configuration must be provided when networkMode 'awsvpc' is specified.")
        elif definition.document.network_mode != "awsvpc" and changed.network is not None:
            raise refuse("Network Configuration is not valid for the given networkMode of this task definition.")
        if request.get("loadBalancers") is not None:
            changed = replace(changed, load_balancers=convert(request["loadBalancers"], tuple[LoadBalancerRef, ...]))
        if request.get("serviceRegistries") is not None:
            changed = replace(changed, service_registries=tuple(request["serviceRegistries"]))
        return changed, network

    def _back_to_launch_type(self, cluster: Cluster, revision: Revision) -> Revision:
        """An empty strategy: the launch type that the service had before, else the default strategy of the cluster."""
        earlier = self._store.find(REVISIONS, "service", revision.service_arn)
        had = max((r for r in earlier if r.launch_type), key=lambda r: r.created_at, default=None)
        if had is not None:
            fargate = had.launch_type == "FARGATE"
            version = (revision.platform_version or "LATEST") if fargate else None
            return replace(revision, launch_type=had.launch_type, strategy=(), platform_version=version)
        if not cluster.default_strategy:
            raise refuse(
                "No launch type to fall back to for empty capacity provider strategy. Your service was not created "
                "with a launch type."
            )
        return replace(revision, strategy=cluster.default_strategy)

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
                found.append(present.service(self._store, service, tags=tags))
        return {"services": found, "failures": failures}

    @operation("ListServices")
    async def list_services(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        cluster = resolve.cluster(self._store, ctx.scope, request.get("cluster"))
        launch_type, scheduling = request.get("launchType"), request.get("schedulingStrategy")
        arns = []
        if request.get("resourceManagementType") == "ECS":
            # Services that ECS itself manages (Express Mode): there are none.
            return {"serviceArns": [], "nextToken": None}
        for status in ("ACTIVE", "DRAINING"):
            for service in self._store.find(SERVICES, "cluster", (cluster.arn, status)):
                revision = self._store.get(REVISIONS, service.revision_arn)
                if launch_type and (revision is None or revision.launch_type != launch_type):
                    continue
                if scheduling and service.scheduling_strategy != scheduling:
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
        return {"service": present.service(self._store, deleted)}

    def _active(self, ctx: RequestContext, cluster: Cluster, identifier: str) -> Service:
        service = resolve.service(self._store, ctx.scope, cluster, identifier)
        if service is None:
            raise AwsError("ServiceNotFoundException", "Service not found.")
        if service.status != "ACTIVE":
            raise AwsError("ServiceNotActiveException", "Service was not ACTIVE.")
        return service

    def _current(self, ctx: RequestContext, cluster: Cluster, identifier: str) -> Revision:
        service = self._active(ctx, cluster, identifier)
        revision = self._store.get(REVISIONS, service.revision_arn)
        assert revision is not None, "a service keeps the revision it was made of"
        return revision

    def _service_definition(self, ctx: RequestContext, identifier: str, *, quiet: bool = False) -> TaskDefinition:
        """`quiet`: the service has it already, so an INACTIVE revision is fine."""
        definition = resolve.task_definition(self._store, ctx.scope, identifier)
        if definition is None:
            raise AwsError("ClientException", "TaskDefinition not found.")
        if definition.status != "ACTIVE" and not quiet:
            raise AwsError("ClientException", "TaskDefinition is inactive")
        return definition


def _plain_changes(request: dict[str, Any]) -> dict[str, Any]:
    """Members of UpdateService that take effect at once, without new tasks (§3.2)."""
    names = {
        "healthCheckGracePeriodSeconds": "health_check_grace_period",
        "enableExecuteCommand": "enable_execute_command",
        "enableECSManagedTags": "managed_tags",
        "propagateTags": "propagate_tags",
        "availabilityZoneRebalancing": "az_rebalancing",
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
    return int(value)


def _service_linked_role(ctx: RequestContext) -> str:
    return f"arn:aws:iam::{ctx.account}:role/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS"


def _fingerprint(request: dict[str, Any]) -> str:
    """What makes two CreateService calls identical."""
    relevant = {k: v for k, v in request.items() if k != "clientToken"}
    return str(msgspec.json.encode(relevant, order="sorted"), "utf-8")
