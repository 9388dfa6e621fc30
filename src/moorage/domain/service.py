"""ECS services, their deployments, revisions and events. Source: semantics ecs-services §1, §3, §5.6."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from moorage.domain.cluster import StrategyItem
from moorage.domain.task import LoadBalancerRef

Json = dict[str, Any]
ENDED = ("SUCCESSFUL", "STOPPED", "ROLLBACK_SUCCESSFUL", "ROLLBACK_FAILED")
"""The states in which a service deployment stays (§5.6)."""


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


class Linear(msgspec.Struct, frozen=True, rename="camel"):
    """Every step shifts `step_percent` more; the bake time is not kept after the last one (§5.1)."""

    step_percent: float = 10.0
    step_bake_time_in_minutes: int = 6


class Canary(msgspec.Struct, frozen=True, rename="camel"):
    """`canary_percent` first, everything else after the bake time (§5.1)."""

    canary_percent: float = 5.0
    canary_bake_time_in_minutes: int = 10


class HookTimeout(msgspec.Struct, frozen=True, rename="camel"):
    timeout_in_minutes: int = 1440
    action: str = "ROLLBACK"


class Hook(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One entry of `lifecycleHooks` (§5.1): a Lambda function to call or a pause to wait for."""

    target_type: str = msgspec.field(default="AWS_LAMBDA")
    hook_target_arn: str | None = None
    role_arn: str | None = None
    lifecycle_stages: tuple[str, ...] = ()
    hook_details: Any = None
    timeout_configuration: HookTimeout | None = None


class EarlySuccess(msgspec.Struct, frozen=True, rename="camel"):
    """`earlySuccessCriteria` (§3.8): successful once `healthy_percent` of the desired count is healthy; `cleanup` says
    whether the tasks of older revisions must have gone before (BLOCKING) or go in the background (DEFERRED)."""

    enable: bool
    healthy_percent: int | None = None
    source_service_revision_cleanup: str | None = None


class DeploymentConfiguration(msgspec.Struct, frozen=True):
    """`alarms`: as given, {"alarmNames": […], "enable": …, "rollback": …} (§3.7)."""

    maximum_percent: int = 200
    minimum_healthy_percent: int = 100
    circuit_breaker: CircuitBreaker = CircuitBreaker()
    alarms: Json | None = None
    strategy: Literal["ROLLING", "BLUE_GREEN", "LINEAR", "CANARY"] = "ROLLING"
    bake_time_minutes: int | None = None
    linear: Linear | None = None
    canary: Canary | None = None
    hooks: tuple[Hook, ...] = ()
    early_success: EarlySuccess | None = None

    @property
    def watched_alarms(self) -> tuple[str, ...]:
        """The names of the alarms that fail a deployment; none when they are not enabled."""
        alarms = self.alarms or {}
        return tuple(alarms.get("alarmNames") or ()) if alarms.get("enable") else ()


class Revision(msgspec.Struct, frozen=True):
    """An immutable service revision: everything that, when changed, needs new tasks (§3.2). `number` is the 19 digits
    shared with the deployment that it was made for; `images` maps container names to pinned digests (§5.6), found out when
    its first task starts: those named in `local_images` are of no registry, and the digest is the engine's image id.
    `resolved` names the target group that each of `load_balancers` means now, the configured one or its alternate
    (§5.3)."""

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
    resolved: tuple[str, ...] = ()
    local_images: tuple[str, ...] = ()
    volume_configurations: tuple[Json, ...] = ()

    @property
    def registers_in(self) -> tuple[LoadBalancerRef, ...]:
        """`load_balancers` with the target groups that tasks of this revision really belong in (§5.3)."""
        if not self.resolved:
            return self.load_balancers
        return tuple(
            replace(ref, target_group_arn=arn) for ref, arn in zip(self.load_balancers, self.resolved, strict=True)
        )


class Deployment(msgspec.Struct, frozen=True, gc=False):
    """One entry of `deployments[]`; `id` is "ecs-svc/<19 digits>". `failed_tasks`: launches that failed since the last
    task that became healthy; `failures`: those that the circuit breaker counts. `launches_blocked_until`: the launch
    throttle (§3.9). `rollback_of`: the failed deployment that this one rolls back. `alarms`: those that were seen in ALARM
    while it ran; `alarm_window`: seconds that the alarms need to notice anything (§3.7). `baking_since`: when everything
    else was done."""

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
    alarms: tuple[str, ...] = ()
    alarm_window: float = 0.0
    baking_since: float | None = None


class HookRun(msgspec.Struct, frozen=True):
    """One hook in one stage. `execution_id` stays the same however often the function is asked; `again_at` is when it is
    asked next, None while nothing is to be asked; `details` what the next call gets (§5.4); `attempts` that brought no
    answer."""

    hook_id: str
    hook: Hook
    stage: str
    execution_id: str
    status: Literal["AWAITING_ACTION", "IN_PROGRESS", "SUCCEEDED", "FAILED", "TIMED_OUT"]
    again_at: float | None = None
    expires_at: float | None = None
    details: Any = None
    attempts: int = 0


class Shift(msgspec.Struct, frozen=True):
    """How far a blue/green, linear or canary deployment is (§5.2). `green` and `blue` are deployment ids; no `blue`:
    there is nothing to shift from. `configuration` is what it was started with. `percent` and `test_percent`: the share
    of requests that green should get. `step`: shifts done. `entered`: what the stage does on entry was done.
    `requested`: what StopServiceDeployment or ContinueServiceDeployment asked for. `failure`: why it goes back. `began`:
    when its first stage did."""

    service_deployment_arn: str
    green: str
    blue: str | None
    configuration: DeploymentConfiguration
    stage: str
    since: float
    direction: Literal["forward", "back", "halted"] = "forward"
    step: int = 0
    percent: float = 0.0
    test_percent: float = 0.0
    entered: bool = False
    hooks: tuple[HookRun, ...] = ()
    requested: Literal["ROLLBACK", "ABORT"] | None = None
    failure: str | None = None
    began: float = 0.0


class Rebalance(msgspec.Struct, frozen=True):
    """Tasks on their way between availability zones: one was started in each of `zones`, and as many stop in the fullest
    zones when those are healthy. No `zones`: nothing is under way, the last attempt failed at `failed_at`."""

    since: float
    zones: tuple[str, ...] = ()
    failed_at: float | None = None


class Service(msgspec.Struct, frozen=True):
    """`deployments` newest first, the first is PRIMARY. `revision_arn`: what UpdateService changes start from.
    `last_good_revision`: the revision of the most recent COMPLETED deployment (rollback candidate). `steady_since`: set
    while the service is in steady state. `shift`: the stage machine of a deployment that is not ROLLING, while it runs.
    `stop_requested`: a rolling deployment shall be stopped (ROLLBACK | ABORT). `rebalance`: tasks are moved between
    availability zones."""

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
    shift: Shift | None = None
    stop_requested: str | None = None
    rebalance: Rebalance | None = None


class ServiceEvent(msgspec.Struct, frozen=True, gc=False):
    """`sequence` orders the events of one service; `uuid` is the id that the API shows."""

    id: str
    uuid: str
    service_arn: str
    created_at: float
    sequence: int
    message: str


class ServiceDeployment(msgspec.Struct, frozen=True):
    """What DescribeServiceDeployments shows (§5.6). `breaker_status`, `alarms_status`: MONITORING | MONITORING_COMPLETE |
    TRIGGERED | DISABLED; `failure_count` and `threshold` as of its end (the deployment itself knows them before).
    `configuration`: what it was started with."""

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
    strategy: str = "ROLLING"
    stopped_at: float | None = None
    lifecycle_stage: str | None = None
    test_percent: float | None = None
    production_percent: float | None = None
    hooks: tuple[HookRun, ...] = ()
    alarms_status: str = "DISABLED"
    alarm_names: tuple[str, ...] = ()
    triggered_alarms: tuple[str, ...] = ()
    configuration: DeploymentConfiguration | None = None
