"""ECS services, their deployments, revisions and events. Source: semantics ecs-services §1, §3, §5.6."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from moorage.domain.cluster import StrategyItem
from moorage.domain.task import LoadBalancerRef

Json = dict[str, Any]


class AwsvpcConfiguration(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    subnets: tuple[str, ...]
    security_groups: tuple[str, ...] | None = None
    assign_public_ip: str | None = None


class CircuitBreaker(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """`threshold_configuration`: {"type": BOUNDED_PERCENT | UNBOUNDED_PERCENT | COUNT, "value": n} (§3.6)."""

    enable: bool = msgspec.field(default=False)
    rollback: bool = msgspec.field(default=False)
    threshold_configuration: Json | None = None
    reset_on_healthy_task: bool | None = None


class DeploymentConfiguration(msgspec.Struct, frozen=True):
    maximum_percent: int = 200
    minimum_healthy_percent: int = 100
    circuit_breaker: CircuitBreaker = CircuitBreaker()
    alarms: Json | None = None


class Revision(msgspec.Struct, frozen=True):
    """An immutable service revision: everything that, when changed, needs new tasks (§3.2). `number` is the 19 digits
    shared with the deployment that it was made for; `images` maps container names to pinned digests."""

    arn: str
    service_arn: str
    cluster_arn: str
    number: str
    created_at: float
    task_definition_arn: str
    launch_type: str | None = None
    strategy: tuple[StrategyItem, ...] = ()
    platform_version: str | None = None
    network: AwsvpcConfiguration | None = None
    load_balancers: tuple[LoadBalancerRef, ...] = ()
    service_registries: tuple[Json, ...] = ()
    images: Mapping[str, str] = {}


class Deployment(msgspec.Struct, frozen=True):
    """One entry of `deployments[]`; `id` is "ecs-svc/<19 digits>". `failed_tasks`: launches that failed since the last
    task that became healthy. `launches_blocked_until`: the launch throttle (§3.9). `rollback_of`: the failed deployment
    that this one rolls back."""

    id: str
    status: Literal["PRIMARY", "ACTIVE", "INACTIVE"]
    revision_arn: str
    service_deployment_arn: str
    created_at: float
    updated_at: float
    rollout_state: Literal["IN_PROGRESS", "COMPLETED", "FAILED"] = "IN_PROGRESS"
    rollout_reason: str = ""
    failed_tasks: int = 0
    failures: int = 0
    launches_blocked_until: float | None = None
    rollback_of: str | None = None


class Service(msgspec.Struct, frozen=True):
    """`deployments` newest first, the first is PRIMARY. `revision_arn`: what UpdateService changes start from.
    `last_good_revision`: the revision of the most recent COMPLETED deployment (rollback candidate). `steady_since`: set
    while the service is in steady state."""

    arn: str
    account: str
    region: str
    cluster_arn: str
    name: str
    status: Literal["ACTIVE", "DRAINING", "INACTIVE"]
    desired_count: int
    revision_arn: str
    created_at: float
    created_by: str
    deployments: tuple[Deployment, ...]
    deployment_configuration: DeploymentConfiguration = DeploymentConfiguration()
    controller: str = "ECS"
    scheduling_strategy: str = "REPLICA"
    health_check_grace_period: int | None = None
    propagate_tags: str = "NONE"
    managed_tags: bool = False
    enable_execute_command: bool = False
    az_rebalancing: str = "DISABLED"
    placement_constraints: tuple[Json, ...] = ()
    placement_strategy: tuple[Json, ...] = ()
    role_arn: str | None = None
    service_connect: Json | None = None
    client_token: str | None = None
    last_good_revision: str | None = None
    steady_since: float | None = None
    steady_said_at: float | None = None
    last_event: str | None = None
    last_event_at: float | None = None
    event_count: int = 0
    tags: Mapping[str, str] = {}
    deleted_at: float | None = None


class ServiceEvent(msgspec.Struct, frozen=True):
    """`sequence` orders the events of one service; `uuid` is the id that the API shows."""

    id: str
    uuid: str
    service_arn: str
    created_at: float
    sequence: int
    message: str


class ServiceDeployment(msgspec.Struct, frozen=True):
    """What DescribeServiceDeployments shows (§5.6)."""

    arn: str
    service_arn: str
    cluster_arn: str
    target_revision: str
    source_revisions: tuple[str, ...]
    created_at: float
    status: str = "PENDING"
    status_reason: str | None = None
    started_at: float | None = None
    finished_at: float | None = None
    updated_at: float | None = None
    rollback_reason: str | None = None
    rollback_started_at: float | None = None
    rollback_revision: str | None = None
    failure_count: int = 0
    threshold: int = 0
    breaker_status: str = "DISABLED"
