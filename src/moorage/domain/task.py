"""ECS tasks and their containers. Source: semantics ecs-tasks §1–§3, §8.

`desired_status`, `stop_code` and `stopped_reason` are written by the API and the service scheduler (what should be);
`last_status`, `containers` and the dates by the task controller (what is). `last_status` only moves forward.

There are many of these records and none can be part of a cycle: `gc=False` spares the garbage collector the look.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

LastStatus = Literal[
    "PROVISIONING",
    "PENDING",
    "ACTIVATING",
    "RUNNING",
    "DEACTIVATING",
    "STOPPING",
    "DEPROVISIONING",
    "STOPPED",
]
ORDER: Mapping[str, int] = {
    status: rank
    for rank, status in enumerate(
        (
            "PROVISIONING",
            "PENDING",
            "ACTIVATING",
            "RUNNING",
            "DEACTIVATING",
            "STOPPING",
            "DEPROVISIONING",
            "STOPPED",
        )
    )
}
StopCode = Literal[
    "TaskFailedToStart",
    "EssentialContainerExited",
    "UserInitiated",
    "ServiceSchedulerInitiated",
    "SpotInterruption",
    "TerminationNotice",
    "InfrastructureHealth",
]
Health = Literal["HEALTHY", "UNHEALTHY", "UNKNOWN"]
KnownStatus = Literal["NONE", "PULLED", "CREATED", "RUNNING", "STOPPED"]


class NetworkBinding(msgspec.Struct, frozen=True, gc=False):
    """A container port of a bridge or host task on its container instance: what `networkBindings` shows. Of a range
    ("8000-8010") the ports are the first ones."""

    bind_ip: str
    container_port: int
    host_port: int
    protocol: str = "tcp"
    container_port_range: str | None = None
    host_port_range: str | None = None


class AttachedVolume(msgspec.Struct, frozen=True, gc=False):
    """A volume configured at launch: the Amazon EBS attachment of one task. `settings`: as the caller gave them."""

    name: str
    attachment_id: str
    volume_id: str
    role_arn: str
    delete_on_termination: bool = True
    settings: dict[str, Any] = {}


class OnInstance(msgspec.Struct, frozen=True, gc=False):
    """Where a task of the EC2 launch type was placed. `address`: where this machine reaches its published ports."""

    arn: str
    ec2_instance_id: str
    address: str


class Waiting(msgspec.Struct, frozen=True):
    """What a task that waits for an instance of its capacity provider wants of it: the placement parameters as the API
    has them, and for its interface the subnets to choose from, as (subnet id, VPC id, availability zone)."""

    constraints: tuple[dict[str, Any], ...] = ()
    strategy: tuple[dict[str, Any], ...] = ()
    subnets: tuple[tuple[str, str, str], ...] = ()
    security_groups: tuple[str, ...] = ()
    attachment_id: str = ""


class TargetPlace(msgspec.Struct, frozen=True, gc=False):
    """What a task is called in one of its target groups: by its own address, or by its instance and host port (then
    `reaches` is the address that answers)."""

    target_group_arn: str
    id: str
    port: int
    container_port: int
    reaches: str | None = None


class Container(msgspec.Struct, frozen=True, gc=False):
    """`known`: how far the engine got (finer than the API's PENDING/RUNNING/STOPPED); `runtime_id`: the engine's id.
    `image` is the reference of the task definition, `pulled` what containers are created from. `restarts`: how often
    its restart policy had it started again; `finished_at` is then when it last ended, `restarted_after` with which exit
    code. `stop_sent_at`: when it got its stop
    signal from us (SIGKILL follows after its stopTimeout)."""

    name: str
    id: str
    image: str
    known: KnownStatus = "NONE"
    pulled: str | None = None
    image_digest: str | None = None
    runtime_id: str | None = None
    exit_code: int | None = None
    reason: str | None = None
    health: Health = "UNKNOWN"
    started_at: float | None = None
    finished_at: float | None = None
    bindings: tuple[NetworkBinding, ...] = ()
    restarts: int = 0
    restarted_after: int | None = None
    stop_sent_at: float | None = None

    @property
    def last_status(self) -> str:
        """What the API shows (ecs-tasks §2)."""
        return self.known if self.known in ("RUNNING", "STOPPED") else "PENDING"


class Interface(msgspec.Struct, frozen=True, gc=False):
    """The task's elastic network interface attachment; address fields are set when it is allocated."""

    attachment_id: str
    subnet_id: str
    vpc_id: str
    security_groups: tuple[str, ...]
    assign_public_ip: bool = False
    interface_id: str | None = None
    ipv4: str | None = None
    mac: str | None = None
    released: bool = False


class LoadBalancerRef(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """`loadBalancers[]` of a service: this container and port belong in that target group."""

    target_group_arn: str | None = None
    load_balancer_name: str | None = None
    container_name: str | None = None
    container_port: int | None = None
    advanced_configuration: dict[str, Any] | None = None


class Task(msgspec.Struct, frozen=True, gc=False):
    """Times are epoch seconds. `deployment_id` ("ecs-svc/…") and `service_arn` are set for a service's tasks;
    `became_healthy_at` is when the service scheduler first counted it as healthy; `accounted`: the scheduler has taken
    note that it stopped. `protected_until`: task scale-in protection. `waiting`: it has no instance yet; managed scaling is
    to bring one (it stays PROVISIONING)."""

    arn: str
    account: str
    region: str
    cluster_arn: str
    task_definition_arn: str
    group: str
    launch_type: str
    availability_zone: str
    desired_status: Literal["RUNNING", "STOPPED"]
    last_status: LastStatus
    containers: tuple[Container, ...]
    created_at: float
    cpu: str | None = None
    memory: str | None = None
    capacity_provider: str | None = None
    platform_version: str | None = None
    platform_family: str | None = None
    started_by: str | None = None
    service_arn: str | None = None
    deployment_id: str | None = None
    interface: Interface | None = None
    load_balancers: tuple[LoadBalancerRef, ...] = ()
    overrides: dict[str, Any] | None = None
    sandbox_id: str | None = None
    version: int = 1
    enable_execute_command: bool = False
    ephemeral_storage_gib: int | None = None
    tags: Mapping[str, str] = {}
    connectivity_at: float | None = None
    pull_started_at: float | None = None
    pull_stopped_at: float | None = None
    started_at: float | None = None
    stopping_at: float | None = None
    execution_stopped_at: float | None = None
    stopped_at: float | None = None
    stop_code: StopCode | None = None
    stopped_reason: str | None = None
    targets_registered: bool = False
    became_healthy_at: float | None = None
    accounted: bool = False
    protected_until: float | None = None
    instance: OnInstance | None = None
    volumes: tuple[AttachedVolume, ...] = ()
    waiting: Waiting | None = None

    @property
    def id(self) -> str:
        return self.arn.rsplit("/", 1)[-1]

    @property
    def rank(self) -> int:
        return ORDER[self.last_status]

    def container(self, name: str) -> Container | None:
        return next((c for c in self.containers if c.name == name), None)

    def volume(self, name: str) -> AttachedVolume | None:
        return next((v for v in self.volumes if v.name == name), None)

    @property
    def target_places(self) -> tuple[TargetPlace, ...]:
        """Its names in its target groups; none before it has an address, or its host ports."""
        found = []
        for ref in self.load_balancers:
            arn, port = ref.target_group_arn, ref.container_port
            if arn is None or port is None:
                continue
            if self.interface is not None:
                if self.interface.ipv4 is not None:
                    found.append(TargetPlace(arn, self.interface.ipv4, port, port))
            elif self.instance is not None:
                container = self.container(ref.container_name or "")
                here, bindings = self.instance, container.bindings if container is not None else ()
                fitting = [binding for binding in bindings if binding.container_port == port]
                # of a port that is mapped for both, TCP's; one that is UDP's alone serves network load balancers
                found += [
                    TargetPlace(arn, here.ec2_instance_id, binding.host_port, port, here.address)
                    for binding in sorted(fitting, key=lambda one: one.protocol != "tcp")[:1]
                ]
        return tuple(found)
