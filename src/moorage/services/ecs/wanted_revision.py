"""The revision that UpdateService asks for: what it names is changed and checked as CreateService checks it, the rest stays
(semantics ecs-services §3.2). A revision equal to the one before needs no deployment.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from moorage.domain.cluster import Cluster
from moorage.domain.errors import AwsError
from moorage.domain.scope import Scope
from moorage.domain.service import Revision
from moorage.domain.task import LoadBalancerRef
from moorage.domain.task_definition import TaskDefinition
from moorage.services.ecs import compute, launch_volumes, networking, present_revision, resolve
from moorage.services.ecs import strategy as strategies
from moorage.services.ecs.shapes import convert
from moorage.services.ecs.unsupported import refuse_unsupported
from moorage.services.ecs.validate_service import refuse
from moorage.services.lookups import NetworkLookup
from moorage.store.api import View
from moorage.store.tables.ecs import REVISIONS

Request = dict[str, Any]


async def wanted_revision(
    view: View, networks: NetworkLookup, scope: Scope, cluster: Cluster, before: Revision, request: Request
) -> tuple[Revision, networking.CheckedNetwork | None]:
    """The network is there when the request names one. Raises ClientException, InvalidParameterException,
    PlatformUnknownException."""
    identifier = request.get("taskDefinition")
    definition = service_definition(view, scope, identifier or before.task_definition_arn, quiet=not identifier)
    if identifier:
        refuse_unsupported(definition.document)
    wanted = replace(before, task_definition_arn=definition.arn)
    wanted = _launched(view, cluster, definition, wanted, request)
    wanted, network = await _networked(networks, scope, definition, wanted, request)
    if request.get("loadBalancers") is not None:
        wanted = replace(wanted, load_balancers=convert(request["loadBalancers"], tuple[LoadBalancerRef, ...]))
    if request.get("serviceRegistries") is not None:
        wanted = replace(wanted, service_registries=tuple(request["serviceRegistries"]))
    given = request.get("volumeConfigurations")
    if given is not None or identifier:
        asked = list(wanted.volume_configurations) if given is None else given
        volumes = launch_volumes.check(definition.document, asked, of_service=True)
        wanted = replace(wanted, volume_configurations=volumes)
    return wanted, network


def service_definition(view: View, scope: Scope, identifier: str, *, quiet: bool = False) -> TaskDefinition:
    """`quiet`: the service has it already, so an INACTIVE revision is fine. Raises ClientException."""
    definition = resolve.task_definition(view, scope, identifier)
    if definition is None:
        raise AwsError("ClientException", "TaskDefinition not found.")
    if definition.status != "ACTIVE" and not quiet:
        raise AwsError("ClientException", "TaskDefinition is inactive")
    return definition


def launches_on(revision: Revision) -> str:
    """What its tasks run on: FARGATE or EC2."""
    return strategies.launches_on(revision.strategy) if revision.strategy else revision.launch_type or "EC2"


# --- launch type, strategy, platform version -------------------------------------------------------------------------
def _launched(view: View, cluster: Cluster, definition: TaskDefinition, before: Revision, request: Request) -> Revision:
    strategy = request.get("capacityProviderStrategy")
    wanted = _back_to_launch_type(view, cluster, before) if strategy == [] and before.strategy else before
    if strategy or request.get("platformVersion"):
        chosen = compute.resolve(cluster, definition, _asked(wanted, request))
        wanted = replace(
            wanted,
            launch_type=chosen.launch_type,
            strategy=chosen.strategy,
            platform_version=chosen.platform_version,
        )
    if wanted.strategy != before.strategy and not request.get("forceNewDeployment"):
        raise refuse(
            "When switching from launch type to capacity provider strategy on an existing service, or making a "
            "change to a capacity provider strategy on a service that is already using one, you must force a new "
            "deployment."
        )
    on = launches_on(wanted)
    if on == "FARGATE":
        compute.check_placement(request)
    if on not in definition.compatibilities:
        raise refuse(f"Task definition does not support launch_type {on}.")
    return wanted


def _asked(before: Revision, request: Request) -> Request:
    """What CreateService would have been asked for. Whoever leaves Fargate leaves its platform version."""
    strategy = request.get("capacityProviderStrategy") or ()
    leaves_fargate = strategy and not any(strategies.is_fargate(item["capacityProvider"]) for item in strategy)
    version = request.get("platformVersion") or (None if leaves_fargate else before.platform_version)
    if strategy:
        return {"platformVersion": version, "capacityProviderStrategy": strategy}
    if before.strategy:
        return {"platformVersion": version, "capacityProviderStrategy": present_revision.strategy(before.strategy)}
    return {"platformVersion": version, "launchType": before.launch_type}


def _back_to_launch_type(view: View, cluster: Cluster, before: Revision) -> Revision:
    """An empty strategy: the launch type that the service had before, else the default strategy of the cluster."""
    earlier = view.find(REVISIONS, "service", before.service_arn)
    had = max((r for r in earlier if r.launch_type), key=lambda r: r.created_at, default=None)
    if had is not None:
        fargate = had.launch_type == "FARGATE"
        version = (before.platform_version or "LATEST") if fargate else None
        return replace(before, launch_type=had.launch_type, strategy=(), platform_version=version)
    if not cluster.default_strategy:
        raise refuse(
            "No launch type to fall back to for empty capacity provider strategy. Your service was not created "
            "with a launch type."
        )
    return replace(before, strategy=cluster.default_strategy)


# --- network ---------------------------------------------------------------------------------------------------------
async def _networked(
    networks: NetworkLookup, scope: Scope, definition: TaskDefinition, before: Revision, request: Request
) -> tuple[Revision, networking.CheckedNetwork | None]:
    document = definition.document
    if request.get("networkConfiguration") is not None:
        given = request["networkConfiguration"]
        network = await networking.check(networks, scope, document, launches_on(before), given)
        return replace(before, network=network.configuration if network is not None else None), network
    if document.network_mode == "awsvpc" and before.network is None:
        raise refuse("Network Configuration must be provided when networkMode 'awsvpc' is specified.")
    if document.network_mode != "awsvpc" and before.network is not None:
        raise refuse("Network Configuration is not valid for the given networkMode of this task definition.")
    return before, None
