"""Making the record of a service's new task: where it goes, what it is called, what it carries."""

from __future__ import annotations

from collections.abc import Mapping

from moorage.decide.capacity_strategy import choose_provider
from moorage.decide.new_task import new_task
from moorage.decide.placement.hosts import Host
from moorage.decide.placement.subnets import choose_subnet
from moorage.domain.clock import Ids
from moorage.domain.container_instance import ContainerInstance
from moorage.domain.scope import Scope
from moorage.domain.service import Revision, Service
from moorage.domain.task import OnInstance, Task
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
    by_provider: Mapping[str, int],
    host: Host | None = None,
    zone: str | None = None,
) -> Task:
    """`by_…`: how many living tasks of the service each zone, subnet and capacity provider has. `host`: the container
    instance that placement chose; None on Fargate. `zone`: it must go to this availability zone."""
    scope = Scope(service.account, service.region)
    cluster = service.cluster_arn.rsplit("/", 1)[-1]
    provider = choose_provider(revision.strategy, by_provider) if revision.strategy else None
    subnet = None
    if revision.network is not None:
        known = {id: view.get(SUBNETS, f"{scope.account}/{scope.region}/{id}") for id in revision.network.subnets}
        zones = [(id, found.availability_zone if found else "") for id, found in known.items()]
        zones = [one for one in zones if one[1] == zone] or zones
        if host is not None:
            zones = [one for one in zones if one[1] == host.instance.availability_zone] or zones
        chosen = choose_subnet(zones, by_zone, by_subnet)
        found = known[chosen]
        subnet = (chosen, found.vpc_id if found else "", found.availability_zone if found else "")
    return new_task(
        arn=scope.arn("ecs", f"task/{cluster}/{ids.hex(32)}"),
        cluster_arn=service.cluster_arn,
        definition=definition,
        group=f"service:{service.name}",
        launch_type="FARGATE" if provider in ("FARGATE", "FARGATE_SPOT") else revision.launch_type or "FARGATE",
        now=now,
        new_uuid=ids.uuid,
        network=revision.network,
        subnet=subnet,
        security_groups=(revision.network.security_groups or ()) if revision.network is not None else (),
        availability_zone=f"{service.region}a" if host is None else host.instance.availability_zone,
        capacity_provider=provider,
        started_by=deployment_id,
        service_arn=service.arn,
        deployment_id=deployment_id,
        load_balancers=revision.registers_in,
        tags=_tags(service, definition, cluster),
        enable_execute_command=service.enable_execute_command,
        instance=None if host is None else _on(host.instance),
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
