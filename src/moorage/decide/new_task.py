"""What a new task looks like before anything happened to it (semantics ecs-tasks §2.2, §9, §11)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from moorage.domain.container_instance import ContainerInstance
from moorage.domain.scope import Scope
from moorage.domain.service import AwsvpcConfiguration
from moorage.domain.task import AttachedVolume, Container, Interface, LoadBalancerRef, OnInstance, Task, Waiting
from moorage.domain.task_definition import TaskDefinition

# What LATEST means (ecs-tasks §14).
PLATFORM_VERSION = "1.4.0"
EPHEMERAL_GIB = 20


def override_of(task: Task, container: str) -> dict[str, Any]:
    """What RunTask said about one container, {} when nothing."""
    overrides = (task.overrides or {}).get("containerOverrides") or []
    return next((o for o in overrides if o.get("name") == container), {})


def new_task(
    *,
    arn: str,
    cluster_arn: str,
    definition: TaskDefinition,
    group: str,
    launch_type: str,
    now: float,
    new_uuid: Callable[[], str],
    network: AwsvpcConfiguration | None = None,
    subnet: tuple[str, str, str] | None = None,
    security_groups: tuple[str, ...] = (),
    availability_zone: str = "",
    capacity_provider: str | None = None,
    started_by: str | None = None,
    service_arn: str | None = None,
    deployment_id: str | None = None,
    load_balancers: tuple[LoadBalancerRef, ...] = (),
    overrides: dict[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
    enable_execute_command: bool = False,
    instance: OnInstance | None = None,
    volume_configurations: Sequence[dict[str, Any]] = (),
    waiting: Waiting | None = None,
    platform_version: str | None = None,
) -> Task:
    """`subnet`: (subnet id, VPC id, availability zone) chosen for an awsvpc task. `instance`: where a task of
    the EC2 launch type was placed; `waiting`: it shall be placed when its capacity provider has an instance.
    `platform_version`: of Fargate; None and LATEST are the newest."""
    account, region = arn.split(":")[4], arn.split(":")[3]
    document = definition.document
    fargate = launch_type == "FARGATE"
    task_overrides = overrides or {}
    interface = None
    if subnet is not None:
        interface = Interface(
            attachment_id=new_uuid(),
            subnet_id=subnet[0],
            vpc_id=subnet[1],
            security_groups=security_groups,
            assign_public_ip=network is not None and network.assign_public_ip == "ENABLED",
        )
    ephemeral = (task_overrides.get("ephemeralStorage") or document.ephemeral_storage or {}).get("sizeInGiB")
    cluster_and_id = arn.split(":task/", 1)[1]
    return Task(
        arn=arn,
        account=account,
        region=region,
        cluster_arn=cluster_arn,
        task_definition_arn=definition.arn,
        group=group,
        launch_type=launch_type,
        availability_zone=subnet[2] if subnet is not None else availability_zone,
        desired_status="RUNNING",
        last_status="PROVISIONING" if interface is not None or waiting is not None else "PENDING",
        containers=tuple(
            Container(
                name=c.name or "",
                id=Scope(account, region).arn("ecs", f"container/{cluster_and_id}/{new_uuid()}"),
                image=c.image or "",
            )
            for c in document.container_definitions
        ),
        created_at=now,
        cpu=task_overrides.get("cpu") or document.cpu,
        memory=task_overrides.get("memory") or document.memory,
        capacity_provider=capacity_provider,
        platform_version=_platform(platform_version) if fargate else None,
        platform_family="Linux" if fargate else None,
        started_by=started_by,
        service_arn=service_arn,
        deployment_id=deployment_id,
        interface=interface,
        load_balancers=load_balancers,
        overrides=overrides or None,
        enable_execute_command=enable_execute_command,
        ephemeral_storage_gib=ephemeral or (EPHEMERAL_GIB if fargate else None),
        tags=dict(tags or {}),
        instance=instance,
        volumes=tuple(_attached(configuration, new_uuid) for configuration in volume_configurations),
        waiting=waiting,
    )


def _platform(asked: str | None) -> str:
    return PLATFORM_VERSION if asked in (None, "LATEST") else asked


def _attached(configuration: dict[str, Any], new_uuid: Callable[[], str]) -> AttachedVolume:
    """The volume that one item of volumeConfigurations gives the task; it ends with the task unless it is to be kept."""
    settings = configuration.get("managedEBSVolume") or {}
    policy = settings.get("terminationPolicy") or {}
    return AttachedVolume(
        name=str(configuration.get("name")),
        attachment_id=new_uuid(),
        volume_id=f"vol-{new_uuid().replace('-', '')[:17]}",
        role_arn=str(settings.get("roleArn")),
        delete_on_termination=policy.get("deleteOnTermination") is not False,
        settings=settings,
    )


def on_instance(task: Task, instance: ContainerInstance) -> Task:
    """The waiting task, placed: with an interface in a subnet of the instance's zone when it is to have one."""
    interface, waiting = None, task.waiting or Waiting()
    if waiting.subnets:
        near = [subnet for subnet in waiting.subnets if subnet[2] == instance.availability_zone]
        subnet_id, vpc_id, _ = (near or waiting.subnets)[0]
        interface = Interface(waiting.attachment_id, subnet_id, vpc_id, waiting.security_groups)
    return replace(
        task,
        instance=OnInstance(instance.arn, instance.ec2_instance_id, instance.address),
        availability_zone=instance.availability_zone,
        interface=interface,
        waiting=None,
    )
