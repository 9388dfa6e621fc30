"""Making the record of a service's new task: where it goes, what it is called, what it carries."""

from __future__ import annotations

from collections.abc import Mapping

from moorage.decide.capacity_placement import Start
from moorage.decide.new_task import new_task
from moorage.decide.placement.subnets import choose_subnet
from moorage.domain.capacity_provider import FARGATE_PROVIDERS
from moorage.domain.clock import Ids
from moorage.domain.container_instance import ContainerInstance
from moorage.domain.network import Subnet
from moorage.domain.scope import Scope
from moorage.domain.service import Revision, Service
from moorage.domain.task import OnInstance, Task, Waiting
from moorage.domain.task_definition import TaskDefinition
from moorage.store.api import View
from moorage.store.tables.network import SUBNETS


def new_service_task(
    view: View,
    ids: Ids,
    service: Service,
    deployment_id: str,
    revision: Revision,
    definition: TaskDefinition,
    now: float,
    by_zone: Mapping[str, int],
    by_subnet: Mapping[str, int],
    start: Start = Start(None),  # noqa: B008 immutable
    zone: str | None = None,
) -> Task:
    """`by_…`: how many living tasks of the service each zone and subnet has. `start`: its capacity provider and the
    container instance that placement chose. `zone`: it must go to this availability zone."""
    scope = Scope(service.account, service.region)
    cluster = service.cluster_arn.rsplit("/", 1)[-1]
    host, subnet, waiting = start.host, None, None
    if revision.network is not None:
        known = {id: view.get(SUBNETS, f"{scope.account}/{scope.region}/{id}") for id in revision.network.subnets}
        if start.waits:
            waiting = _waiting(service, revision, known, ids)
        zones = [(id, found.availability_zone if found else "") for id, found in known.items()]
        zones = [one for one in zones if one[1] == zone] or zones
        if host is not None:
            zones = [one for one in zones if one[1] == host.instance.availability_zone] or zones
        chosen = choose_subnet(zones, by_zone, by_subnet)
        found = known[chosen]
        subnet = (chosen, found.vpc_id if found else "", found.availability_zone if found else "")
    if start.waits:
        subnet, waiting = None, waiting or _waiting(service, revision, {}, ids)
    return new_task(
        arn=scope.arn("ecs", f"task/{cluster}/{ids.hex(32)}"),
        cluster_arn=service.cluster_arn,
        definition=definition,
        group=f"service:{service.name}",
        launch_type=_launch_type(revision, start),
        now=now,
        new_uuid=ids.uuid,
        network=revision.network,
        subnet=subnet,
        security_groups=(revision.network.security_groups or ()) if revision.network is not None else (),
        availability_zone=_zone(service, start),
        capacity_provider=start.provider,
        started_by=deployment_id,
        service_arn=service.arn,
        deployment_id=deployment_id,
        load_balancers=revision.registers_in,
        tags=_tags(service, definition, cluster),
        enable_execute_command=service.enable_execute_command,
        instance=None if host is None else _on(host.instance),
        volume_configurations=revision.volume_configurations,
        waiting=waiting,
        platform_version=revision.platform_version,
    )


def _on(instance: ContainerInstance) -> OnInstance:
    return OnInstance(instance.arn, instance.ec2_instance_id, instance.address)


def _tags(service: Service, definition: TaskDefinition, cluster: str) -> dict[str, str]:
    """propagateTags and the managed tags (ecs-tasks §11)."""
    found: dict[str, str] = {}
    if service.managed_tags:
        found |= {"aws:ecs:clusterName": cluster, "aws:ecs:serviceName": service.name}
    if service.propagate_tags == "SERVICE":
        found |= service.tags
    elif service.propagate_tags == "TASK_DEFINITION":
        found |= definition.tags
    return found


def _launch_type(revision: Revision, start: Start) -> str:
    if start.provider is None:
        return revision.launch_type or "FARGATE"
    return "FARGATE" if start.provider in FARGATE_PROVIDERS else "EC2"


def _zone(service: Service, start: Start) -> str:
    """Of a task without a subnet of its own."""
    if start.host is not None:
        return start.host.instance.availability_zone
    return "" if start.waits else f"{service.region}a"


def _waiting(service: Service, revision: Revision, subnets: Mapping[str, Subnet | None], ids: Ids) -> Waiting:
    known = [(id, one.vpc_id, one.availability_zone) for id, one in subnets.items() if one is not None]
    return Waiting(
        constraints=service.placement_constraints,
        strategy=service.placement_strategy,
        subnets=tuple(known),
        security_groups=(revision.network.security_groups or ()) if revision.network is not None else (),
        attachment_id=ids.uuid() if known else "",
    )
