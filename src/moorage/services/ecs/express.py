"""Express Mode: CreateExpressGatewayService and its brothers (semantics ecs-services §14).

The calls check and write what is wanted; `control/express.py` makes it. A call waits until the controller has looked at
the record once, so that on a good day the ECS service exists when the caller gets the answer.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable
from typing import Any, Literal, Protocol

import msgspec
from msgspec.structs import replace

from moorage.decide import express as naming
from moorage.domain.clock import Clock, Ids
from moorage.domain.cluster import Cluster
from moorage.domain.errors import AwsError
from moorage.domain.express import ExpressService
from moorage.services.base import Provider, RequestContext, operation
from moorage.services.ecs import resolve
from moorage.services.ecs.express_present import express_service, updated_service
from moorage.services.ecs.express_validate import changed_configuration, new_configuration, refuse
from moorage.services.ecs.tags import to_mapping
from moorage.services.lookups import DefaultNetwork, NetworkLookup
from moorage.store.api import StoreApi, Transaction
from moorage.store.tables.ecs import CLUSTERS, EXPRESS_SERVICES, SERVICES

_NAME = re.compile(r"[a-zA-Z0-9\-_]{1,255}")
_ARN = re.compile(r"arn:aws:ecs:[a-z0-9-]+:\d{12}:service/[^/]+/[^/]+")


class Placed(msgspec.Struct, frozen=True):
    """`public`: the subnets give public addresses."""

    vpc_id: str
    subnets: tuple[str, ...]
    public: bool

    @property
    def access_type(self) -> Literal["PUBLIC", "PRIVATE"]:
        return "PUBLIC" if self.public else "PRIVATE"


class ExpressBuilder(Protocol):
    """Who makes what a record asks for."""

    async def settle(self, arn: str) -> None:
        """Returns when it was looked at (or that takes too long): whatever happened is in the record."""
        ...


class ExpressOperations(Provider):
    """`_port_of`: the port of this machine on which a port of load balancers answers (another when it was not to be had).
    `_express`: without it, what is wanted is only written down."""

    _store: StoreApi
    _clock: Clock
    _ids: Ids
    _networks: NetworkLookup
    _default_network: DefaultNetwork | None
    _express: ExpressBuilder | None
    _port_of: Callable[[int], int]

    def _https_port(self) -> int:
        return self._port_of(naming.HTTPS_PORT)

    @operation("CreateExpressGatewayService")
    async def create_express_gateway_service(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        name = request.get("serviceName") or f"express-{self._ids.hex(8)}"
        if not _NAME.fullmatch(name):
            raise refuse(rf"ServiceName must match ^[a-zA-Z0-9\-_]{{1,255}}$, but was {name}")
        tags = to_mapping(request.get("tags"))
        if request.get("cluster"):
            resolve.cluster(self._store, ctx.scope, request["cluster"])
        placed = await self._place(ctx, request)
        wanted = new_configuration(self._store, ctx.scope, request, placed.subnets)
        now, token = self._clock.now(), self._ids.hex(32)

        def write(tx: Transaction) -> ExpressService:
            cluster = self._cluster(tx, ctx, request.get("cluster"), now)
            arn = ctx.scope.arn("ecs", f"service/{cluster.name}/{name}")
            role = request["infrastructureRoleArn"]
            existing = tx.get(EXPRESS_SERVICES, arn)
            if existing is not None and existing.status == "ACTIVE":
                if (existing.wanted, existing.tags, existing.infrastructure_role_arn) == (wanted, tags, role):
                    return existing
                raise refuse("Creation of service was not idempotent.")
            service = tx.get(SERVICES, arn)
            if (existing is not None and existing.status == "DRAINING") or (
                service is not None and service.status == "DRAINING"
            ):
                raise refuse("Unable to Start a service that is still Draining.")
            if service is not None and service.status == "ACTIVE":
                raise refuse("Creation of service was not idempotent.")
            return tx.put(
                EXPRESS_SERVICES,
                ExpressService(
                    arn=arn,
                    account=ctx.account,
                    region=ctx.region,
                    cluster_arn=cluster.arn,
                    name=name,
                    infrastructure_role_arn=role,
                    host=naming.host_name(token, ctx.region),
                    access_type=placed.access_type,
                    vpc_id=placed.vpc_id,
                    balancer_name=_shared_balancer(tx, ctx, placed.vpc_id, placed.access_type),
                    created_at=now,
                    updated_at=now,
                    wanted=wanted,
                    log_group=f"/aws/ecs/{cluster.name}/{name}-{token[:4]}",
                    token=token,
                    tags=tags,
                ),
            )

        made = await self._store.update(write)
        return {"service": express_service(self._store, await self._settled(made), self._https_port(), tags=True)}

    @operation("DescribeExpressGatewayService")
    async def describe_express_gateway_service(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        record = self._found(ctx, request["serviceArn"])
        if record is None:
            raise AwsError("ResourceNotFoundException", "The specified Express service was not found.")
        tags = "TAGS" in (request.get("include") or ())
        return {"service": express_service(self._store, record, self._https_port(), tags=tags)}

    @operation("UpdateExpressGatewayService")
    async def update_express_gateway_service(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        before = self._active(ctx, request)
        network = request.get("networkConfiguration") or {}
        if network.get("subnets") or network.get("securityGroups"):
            asked = {"networkConfiguration": {"subnets": list(before.wanted.subnets), **network}}
            if (await self._place(ctx, asked)).vpc_id != before.vpc_id:
                raise refuse("The subnets of an Express service must stay in its VPC.")

        def write(tx: Transaction) -> ExpressService:
            current = tx.get(EXPRESS_SERVICES, before.arn)
            if current is None or current.status != "ACTIVE":
                raise AwsError("ServiceNotActiveException", "Service was not ACTIVE.")
            wanted = changed_configuration(tx, ctx.scope, current.wanted, request)
            if wanted == current.wanted:
                return current
            changed = replace(
                current, wanted=wanted, generation=current.generation + 1, updated_at=self._clock.now(), problem=None
            )
            return tx.put(EXPRESS_SERVICES, changed)

        record = await self._store.update(write)
        return {"service": updated_service(self._store, await self._settled(record), self._https_port())}

    @operation("DeleteExpressGatewayService")
    async def delete_express_gateway_service(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        arn = self._active(ctx, request, draining=True).arn

        def write(tx: Transaction) -> ExpressService:
            current = tx.get(EXPRESS_SERVICES, arn)
            if current is None or current.status == "INACTIVE":
                raise AwsError("ServiceNotFoundException", "Service not found.")
            if current.status == "DRAINING":
                return current
            return tx.put(
                EXPRESS_SERVICES, replace(current, status="DRAINING", updated_at=self._clock.now(), problem=None)
            )

        record = await self._store.update(write)
        return {"service": express_service(self._store, await self._settled(record), self._https_port(), tags=True)}

    # --- finding -----------------------------------------------------------------------------------------------------
    def _found(self, ctx: RequestContext, arn: str) -> ExpressService | None:
        if not _ARN.fullmatch(arn):
            raise refuse(f"The service ARN '{arn}' is not valid.")
        record = self._store.get(EXPRESS_SERVICES, arn)
        return record if record is not None and (record.account, record.region) == (ctx.account, ctx.region) else None

    def _active(self, ctx: RequestContext, request: dict[str, Any], *, draining: bool = False) -> ExpressService:
        record = self._found(ctx, request["serviceArn"])
        if record is None:
            raise AwsError("ServiceNotFoundException", "Service not found.")
        if record.status != "ACTIVE" and not (draining and record.status == "DRAINING"):
            raise AwsError("ServiceNotActiveException", "Service was not ACTIVE.")
        return record

    async def _settled(self, record: ExpressService) -> ExpressService:
        if self._express is not None:
            await self._express.settle(record.arn)
        return self._store.get(EXPRESS_SERVICES, record.arn) or record

    def _cluster(self, tx: Transaction, ctx: RequestContext, identifier: str | None, now: float) -> Cluster:
        """The cluster that is named; when none is, `default`, which is made when there is none."""
        arn = resolve.cluster_arn(ctx.scope, identifier)
        existing = tx.get(CLUSTERS, arn)
        if identifier or (existing is not None and existing.status == "ACTIVE"):
            return resolve.cluster(tx, ctx.scope, identifier)
        return tx.put(
            CLUSTERS,
            Cluster(
                arn=arn,
                account=ctx.account,
                region=ctx.region,
                name=resolve.DEFAULT_CLUSTER,
                status="ACTIVE",
                created_at=now,
            ),
        )

    async def _place(self, ctx: RequestContext, request: dict[str, Any]) -> Placed:
        """Where the service is: the subnets that are named, or those of the default VPC."""
        network = request.get("networkConfiguration") or {}
        ids, groups = list(dict.fromkeys(network.get("subnets") or ())), network.get("securityGroups") or ()
        if ids:
            known = await self._networks.subnets(ctx.scope, ids)
            for one in ids:
                if one not in known:
                    raise refuse(
                        f"Error retrieving subnet information for [{one}]: The subnet ID '{one}' does not exist "
                        "(ErrorCode: InvalidSubnetID.NotFound)"
                    )
            subnets = [known[one] for one in ids]
        else:
            default = self._default_network
            subnets = list(await default.default_subnets(ctx.scope)) if default is not None else []
            if not subnets:
                raise refuse("There is no default VPC. Specify subnets in networkConfiguration and try again.")
        vpc = subnets[0].vpc_id
        if any(one.vpc_id != vpc for one in subnets):
            raise refuse("All subnets must be in the same VPC.")
        if len({one.availability_zone for one in subnets}) < 2:
            raise refuse("At least two subnets in two different Availability Zones must be specified")
        found = await self._networks.security_groups(ctx.scope, groups)
        for group in groups:
            if group not in found or found[group].vpc_id != vpc:
                raise refuse(
                    f"Error retrieving security group information for [{group}]: The security group '{group}' does "
                    "not exist (ErrorCode: InvalidGroup.NotFound)"
                )
        return Placed(vpc, tuple(one.subnet_id for one in subnets), any(one.map_public_ip for one in subnets))


def _shared_balancer(tx: Transaction, ctx: RequestContext, vpc_id: str, access_type: str) -> str:
    """The name of the first load balancer of this VPC and scheme with room for one more service."""
    users = Counter(one.balancer_name for one in tx.find(EXPRESS_SERVICES, "vpc", (*_where(ctx), vpc_id, access_type)))
    for number in itertools.count():
        name = naming.balancer_name(ctx.account, ctx.region, vpc_id, access_type, number)
        if users[name] < naming.SERVICES_PER_BALANCER:
            return name
    raise AssertionError("one of them has room")


def _where(ctx: RequestContext) -> tuple[str, str]:
    return ctx.account, ctx.region
