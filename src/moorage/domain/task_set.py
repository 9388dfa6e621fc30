"""Task sets: what a service is made of whose deployment controller is EXTERNAL or CODE_DEPLOY. Source: semantics
ecs-services §6 and the ECS service model.

A task set has what a deployment of ECS has: a revision (stored under the ARN of the task set) and tasks that carry its
id. Who makes it, scales it and says which one is PRIMARY is somebody outside of ECS.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

MOST_TASK_SETS = 5


class TaskSet(msgspec.Struct, frozen=True):
    """`id` is "ecs-svc/<19 digits>". `scale`: percent of the service's desired count. `failed_tasks`, `failures`,
    `launches_blocked_until`: as of a deployment. `steady`: its stabilityStatus is STEADY_STATE, since `stability_at`.
    `started_by`, `external_id`: who made it."""

    arn: str
    id: str
    service_arn: str
    cluster_arn: str
    account: str
    region: str
    created_at: float
    updated_at: float
    stability_at: float
    scale: float = 0.0
    status: Literal["PRIMARY", "ACTIVE", "DRAINING"] = "ACTIVE"
    steady: bool = False
    started_by: str | None = None
    external_id: str | None = None
    failed_tasks: int = 0
    failures: int = 0
    launches_blocked_until: float | None = None
    tags: Mapping[str, str] = {}

    def desired(self, of_service: int) -> int:
        """computedDesiredCount, always rounded up: 3 at 40 % → 1.2 → 2; nothing of a task set that is DRAINING."""
        if self.status == "DRAINING":
            return 0
        # Percentages have at most a few decimals: binary fractions must not round 10 at 30 % up to 4.
        return -(-of_service * round(self.scale * 1000) // 100_000)


def arn_of(service_arn: str, id: str) -> str:
    """The ARN of the task set `id` of a service: …:task-set/<cluster>/<service>/ecs-svc/<digits>."""
    return f"{service_arn.replace(':service/', ':task-set/', 1)}/{id}"
