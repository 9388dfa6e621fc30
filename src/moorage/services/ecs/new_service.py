"""The record of a new service, and what becomes of an older one of its name (semantics ecs-services §1, §2.1)."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from moorage.domain.cluster import Cluster
from moorage.domain.service import DeploymentConfiguration, Service
from moorage.services.base import RequestContext
from moorage.services.ecs.tags import to_mapping
from moorage.services.ecs.validate_controller import controller_of, is_daemon
from moorage.services.ecs.validate_deployment import az_rebalancing
from moorage.services.ecs.validate_service import refuse
from moorage.store.api import Transaction
from moorage.store.tables.ecs import SERVICE_EVENTS, SERVICES


def new_service(
    ctx: RequestContext,
    cluster: Cluster,
    request: dict[str, Any],
    *,
    desired: int,
    configuration: DeploymentConfiguration,
    linked: bool,
    now: float,
) -> Service:
    """Without deployments. `linked`: it has a role, the service-linked one unless another was given."""
    grace = request.get("healthCheckGracePeriodSeconds")
    service = Service(
        arn=ctx.scope.arn("ecs", f"service/{cluster.name}/{request['serviceName']}"),
        account=ctx.account,
        region=ctx.region,
        cluster_arn=cluster.arn,
        name=request["serviceName"],
        status="ACTIVE",
        desired_count=desired,
        revision_arn="",
        created_at=now,
        created_by=ctx.principal_arn,
        deployments=(),
        deployment_configuration=configuration,
        controller=controller_of(request),
        scheduling_strategy="DAEMON" if is_daemon(request) else "REPLICA",
        health_check_grace_period=grace if grace is not None else (0 if request.get("loadBalancers") else None),
        propagate_tags=request.get("propagateTags") or "NONE",
        managed_tags=bool(request.get("enableECSManagedTags")),
        enable_execute_command=bool(request.get("enableExecuteCommand")),
        az_rebalancing="",
        placement_constraints=tuple(request.get("placementConstraints") or ()),
        placement_strategy=tuple(request.get("placementStrategy") or ()),
        role_arn=_role(ctx, request.get("role")) if linked else None,
        client_token=_fingerprint(request),
        tags=to_mapping(request.get("tags")),
    )
    return replace(service, az_rebalancing=az_rebalancing(service, request.get("availabilityZoneRebalancing")))


def made_before(tx: Transaction, service: Service) -> Service | None:
    """The ACTIVE service that the same call has made already. Raises InvalidParameterException when the name is taken."""
    existing = tx.get(SERVICES, service.arn)
    if existing is None or existing.status == "INACTIVE":
        return None
    if existing.status == "DRAINING":
        raise refuse("Unable to Start a service that is still Draining.")
    if existing.client_token != service.client_token:
        raise refuse("Creation of service was not idempotent.")
    return existing


def with_own_story(tx: Transaction, service: Service) -> Service:
    """A new service of an old name tells its own story: numbering goes on, so that no event id comes twice."""
    existing = tx.get(SERVICES, service.arn)
    for event in tx.find(SERVICE_EVENTS, "service", service.arn):
        tx.delete(SERVICE_EVENTS, event.id)
    return replace(service, event_count=existing.event_count if existing is not None else 0)


def _role(ctx: RequestContext, given: str | None) -> str:
    """The role that the service shows: the one that was given, by ARN or by name, else the service-linked role."""
    if given and given.startswith("arn:"):
        return given
    name = given.lstrip("/") if given else "aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS"
    return f"arn:aws:iam::{ctx.account}:role/{name}"


def _fingerprint(request: dict[str, Any]) -> str:
    """What makes two CreateService calls identical."""
    relevant = {k: v for k, v in request.items() if k != "clientToken"}
    return str(msgspec.json.encode(relevant, order="sorted"), "utf-8")
