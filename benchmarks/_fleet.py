"""Fleets of any size without waiting for them: one task that really was started in the simulated world, copied.

A template service is brought up by the real control plane; its records (service, revision, tasks, interfaces, targets) and
what stands on the simulated host are then copied under other names and addresses. What comes out is what a control plane
that started all of it would have left on disk and on the host.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from moorage.decide.ipam import mac_of
from moorage.domain.network import NetworkInterface, Subnet
from moorage.domain.service import Revision, Service, ServiceDeployment
from moorage.domain.task import Task
from moorage.engine.simulated_container import SimulatedImage
from moorage.simulation import loop
from moorage.simulation.network import SCOPE, VPC
from moorage.simulation.process import TABLES
from moorage.simulation.world import World
from moorage.store.api import Table
from moorage.store.log import Write
from moorage.store.tables.ecs import REVISIONS, SERVICE_DEPLOYMENTS, SERVICES, TASKS
from moorage.store.tables.network import NETWORK_INTERFACES, SUBNETS

IMAGES = {"web": SimulatedImage(pull=0.1, listens_after=0.05, healthy_after=0.1)}
SUBNETS_OF_FLEET = 4
encode = msgspec.msgpack.Encoder().encode


class Fleet(NamedTuple):
    """`records` in the order in which they would have been written; `tasks` those among them that run."""

    records: list[tuple[Table[Any], Any]]
    tasks: list[Task]
    services: list[Service]

    def writes(self) -> Iterator[Write]:
        for order, (table, record) in enumerate(self.records, start=1):
            yield Write(table.name, table.key(record), order, encode(record))


def networks() -> dict[str, Subnet]:
    """Room for 260,000 addresses."""
    return {
        f"subnet-{number}": Subnet(
            SCOPE.account,
            SCOPE.region,
            f"subnet-{number}",
            VPC,
            f"10.{number}.0.0/16",
            f"{SCOPE.region}{'abcd'[number]}",
        )
        for number in range(SUBNETS_OF_FLEET)
    }


def fleet(services: int, tasks: int) -> Fleet:
    """`tasks` tasks of `services` services, all running, settled for an hour."""
    logging.getLogger("moorage").setLevel(logging.CRITICAL)
    template = loop.run(_template())
    return _copied(template, services, tasks // services)


async def _template() -> dict[str, list[Any]]:
    async with World(images=IMAGES) as world:
        world.networks.by_id = networks()
        await world.create_cluster()
        await world.register("web")
        await world.create_service(desired=1)
        await world.stable()
        await world.run_for(3600)
        store = world.store
        return {table.name: list(store.all(table)) for table in TABLES}


def _copied(template: dict[str, list[Any]], services: int, each: int) -> Fleet:
    shared = [*template["clusters"], *template["families"], *template["task_definitions"]]
    tables = {table.record: table for table in TABLES}
    records: list[tuple[Table[Any], Any]] = [(tables[type(one)], one) for one in shared]
    records += [(SUBNETS, subnet) for subnet in networks().values()]
    [service], [revision], [deployment] = (template[t.name] for t in (SERVICES, REVISIONS, SERVICE_DEPLOYMENTS))
    [task] = [one for one in template["tasks"] if one.last_status == "RUNNING"]
    [interface] = [one for one in template["network_interfaces"] if one.owner_arn == task.arn]
    hosts = [ipaddress.ip_network(subnet.cidr) for subnet in networks().values()]
    made: list[Service] = []
    running: list[Task] = []
    for number in range(services):
        mine = _service(service, revision, deployment, f"s{number:05}", number, each)
        made.append(mine[0])
        records += [(SERVICES, mine[0]), (REVISIONS, mine[1]), (SERVICE_DEPLOYMENTS, mine[2])]
        for _ in range(each):
            place = len(running)
            at = hosts[place % SUBNETS_OF_FLEET]
            copy, its = _task(task, interface, mine[0], place, str(at[10 + place // SUBNETS_OF_FLEET]))
            running.append(copy)
            records += [(TASKS, copy), (NETWORK_INTERFACES, its)]
    return Fleet(records, running, made)


def _service(
    service: Service, revision: Revision, deployment: ServiceDeployment, name: str, number: int, desired: int
) -> tuple[Service, Revision, ServiceDeployment]:
    arn = SCOPE.arn("ecs", f"service/main/{name}")
    revision_arn = SCOPE.arn("ecs", f"service-revision/main/{name}/{number:019}")
    deployment_arn = SCOPE.arn("ecs", f"service-deployment/main/{name}/{number:021}")
    primary = replace(
        service.deployments[0],
        id=f"ecs-svc/{number:019}",
        revision_arn=revision_arn,
        service_deployment_arn=deployment_arn,
    )
    return (
        replace(
            service,
            arn=arn,
            name=name,
            desired_count=desired,
            revision_arn=revision_arn,
            last_good_revision=revision_arn,
            deployments=(primary,),
        ),
        replace(revision, arn=revision_arn, service_arn=arn, number=f"{number:019}"),
        replace(deployment, arn=deployment_arn, service_arn=arn, target_revision=revision_arn),
    )


def _task(
    task: Task, interface: NetworkInterface, service: Service, place: int, ipv4: str
) -> tuple[Task, NetworkInterface]:
    assert task.interface is not None
    arn = SCOPE.arn("ecs", f"task/main/{place:032x}")
    subnet = list(networks().values())[place % SUBNETS_OF_FLEET]
    mine = replace(
        task.interface,
        attachment_id=f"{place:08x}-aaaa-4aaa-8aaa-{place:012x}",
        subnet_id=subnet.subnet_id,
        interface_id=f"eni-{place:017x}",
        ipv4=ipv4,
        mac=mac_of(ipv4),
    )
    container = replace(task.containers[0], id=f"{place:08x}-bbbb-4bbb-8bbb-{place:012x}", runtime_id=f"{place:064x}")
    return (
        replace(
            task,
            arn=arn,
            service_arn=service.arn,
            group=f"service:{service.name}",
            deployment_id=service.deployments[0].id,
            started_by=service.deployments[0].id,
            availability_zone=subnet.availability_zone,
            interface=mine,
            containers=(container,),
            sandbox_id=f"{place:063x}f",
        ),
        replace(
            interface,
            interface_id=f"eni-{place:017x}",
            subnet_id=subnet.subnet_id,
            ipv4=ipv4,
            mac=mac_of(ipv4),
            owner_arn=arn,
            description=SCOPE.arn("ecs", f"attachment/{mine.attachment_id}"),
        ),
    )
