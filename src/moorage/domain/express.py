"""Express Mode services: one call, and ECS itself makes everything that a web service needs (ecs-services §14).

The record says what the caller wants and what was made so far; the ECS service, the load balancer and the rest are real
resources of their own, made through the same API that people use.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

Json = dict[str, Any]
CONTAINER = "Main"
"""The container that gets the traffic, in ECS's task definitions and in those that a caller brings."""


class ExpressContainer(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """`primaryContainer`, as the API has it."""

    image: str
    container_port: int | None = None
    aws_logs_configuration: Json | None = None
    repository_credentials: Json | None = None
    command: tuple[str, ...] | None = None
    environment: tuple[Json, ...] | None = None
    secrets: tuple[Json, ...] | None = None


class ExpressScaling(msgspec.Struct, frozen=True, rename="camel"):
    """`scalingTarget`, with AWS's defaults; the number of tasks at most is not published (docs/services/ecs-express.md)."""

    min_task_count: int = 1
    max_task_count: int = 20
    auto_scaling_metric: str = "AVERAGE_CPU"
    auto_scaling_target_value: int = 60


class ExpressConfiguration(msgspec.Struct, frozen=True, kw_only=True):
    """What one revision is made of. `task_definition_arn`: one that the caller brought; then `container`, roles, cpu and
    memory are its own. `security_groups` of the caller; none: ECS makes one. `container_port`: where the traffic goes,
    `port_name` its name in the task definition."""

    subnets: tuple[str, ...]
    security_groups: tuple[str, ...] = ()
    container: ExpressContainer | None = None
    container_port: int = 80
    task_definition_arn: str | None = None
    execution_role_arn: str | None = None
    task_role_arn: str | None = None
    cpu: str = "256"
    memory: str = "512"
    cpu_architecture: str = "X86_64"
    health_check_path: str = "/ping"
    scaling: ExpressScaling = ExpressScaling()


class ExpressResources(msgspec.Struct, frozen=True, kw_only=True):
    """What was made so far, in the order in which it is made; None: not yet. `target_groups`: the pair between which
    traffic is shifted; `health_check_path` is theirs now. `task_definition`: of generation `defined`. `log_group`: only one
    that ECS made."""

    log_group: str | None = None
    load_balancer_security_group: str | None = None
    service_security_group: str | None = None
    certificate: str | None = None
    load_balancer: str | None = None
    listener: str | None = None
    target_groups: tuple[str, ...] = ()
    health_check_path: str | None = None
    rule: str | None = None
    task_definition: str | None = None
    defined: int = 0


class ExpressService(msgspec.Struct, frozen=True, kw_only=True):
    """`arn` is the ARN of the ECS service as well. `wanted` is generation `generation`; `applied` is the last one that the
    ECS service was made of, `revisions` tells which service revision is made of what. `host`: the name that answers.
    `balancer_name`: the load balancer that several Express services of one VPC share. `problem`: why the last attempt
    ended before everything was there."""

    arn: str
    account: str
    region: str
    cluster_arn: str
    name: str
    infrastructure_role_arn: str
    host: str
    access_type: Literal["PUBLIC", "PRIVATE"]
    vpc_id: str
    balancer_name: str
    created_at: float
    updated_at: float
    wanted: ExpressConfiguration
    status: Literal["ACTIVE", "DRAINING", "INACTIVE"] = "ACTIVE"
    problem: str | None = None
    generation: int = 1
    applied: int = 0
    made: ExpressResources = ExpressResources()
    revisions: Mapping[str, ExpressConfiguration] = {}
    log_group: str = ""
    token: str = ""
    tags: Mapping[str, str] = {}

    @property
    def short(self) -> str:
        """Eight characters that tell this service's resources from others'."""
        return self.token[:8]
