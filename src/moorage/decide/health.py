"""Is a service's task healthy, as the scheduler sees it? (semantics ecs-services §3.5, ecs-tasks §7)"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from moorage.domain.task import Health, Task
from moorage.domain.task_definition import Document

# Without any health check a task counts as healthy after 40 s in RUNNING.
SECONDS_WITHOUT_CHECKS = 40.0
# With checks it must also have been RUNNING for this long. AWS has no such rule, but its checks take tens of seconds
# to pass; ours pass within one, and a task that dies after four seconds must not complete a deployment.
SECONDS_WITH_CHECKS = 10.0


class TargetFact(msgspec.Struct, frozen=True):
    """What DescribeTargetHealth says of one (target group, port) of the task."""

    target_group_arn: str
    port: int
    state: str
    description: str = ""


class Verdict(msgspec.Struct, frozen=True):
    """`state`: healthy counts towards minimumHealthyPercent; unhealthy wants replacing; waiting is neither yet.
    `reason`: why, for stopped reasons and for `moor explain`. `again_after`: seconds until time alone may change it.
    `serving`: it gets requests as far as we know, whether it counts already or not."""

    state: Literal["healthy", "unhealthy", "waiting"]
    reason: str
    target: TargetFact | None = None
    again_after: float | None = None
    serving: bool = False


def roll_up(task: Task, document: Document) -> Health:
    """Essential containers that have a health check decide; none of them: UNKNOWN (ecs-tasks §7)."""
    checked = [
        container.health
        for container in task.containers
        for definition in (document.container(container.name),)
        if definition is not None and definition.is_essential and definition.is_checked
    ]
    if not checked:
        return "UNKNOWN"
    if "UNHEALTHY" in checked:
        return "UNHEALTHY"
    return "UNKNOWN" if "UNKNOWN" in checked else "HEALTHY"


def has_check(document: Document) -> bool:
    return any(c.is_essential and c.is_checked for c in document.container_definitions)


def judge(
    task: Task, document: Document, targets: Mapping[str, TargetFact], grace_seconds: float, now: float
) -> Verdict:
    """The verdict over a task whose desired status is RUNNING. `targets` by target group ARN: one for every target
    group that the task belongs in (absent from the mapping: not registered yet)."""
    if task.last_status != "RUNNING" or task.started_at is None:
        return Verdict("waiting", f"is {task.last_status}")
    age = now - task.started_at
    in_grace = age < grace_seconds
    containers = roll_up(task, document) if has_check(document) else None
    wanted = [ref.target_group_arn for ref in task.load_balancers if ref.target_group_arn]

    if not in_grace:
        for arn in wanted:
            fact = targets.get(arn)
            if fact is not None and fact.state == "unhealthy":
                return Verdict("unhealthy", f"is unhealthy in {arn}: {fact.description}", fact)
        if containers == "UNHEALTHY":
            return Verdict("unhealthy", "failed container health checks")

    if containers is None and not wanted:
        left = SECONDS_WITHOUT_CHECKS - age
        if left > 0:
            return Verdict(
                "waiting", f"has no health check: counts as healthy in {left:.0f} s", again_after=left, serving=True
            )
        return Verdict("healthy", "has been running for 40 s", serving=True)

    missing = [arn for arn in wanted if arn not in targets or targets[arn].state != "healthy"]
    grace_left = grace_seconds - age if in_grace else None
    if missing:
        state = targets[missing[0]].state if missing[0] in targets else "not registered"
        return Verdict("waiting", f"is {state} in {missing[0]}", again_after=grace_left)
    if containers is not None and containers != "HEALTHY":
        return Verdict("waiting", f"is {containers} by its container health checks", again_after=grace_left)
    left = SECONDS_WITH_CHECKS - age
    if task.became_healthy_at is None and left > 0:
        return Verdict(
            "waiting", f"passes its checks, counts as healthy in {left:.0f} s", again_after=left, serving=True
        )
    return Verdict("healthy", "passes all its checks", serving=True)
