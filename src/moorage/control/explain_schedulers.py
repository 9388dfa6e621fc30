"""What DAEMON services and task sets are doing, and why: per container instance, per task set. Pure.

Repeats no rule: why an instance has no daemon is told by `decide/placement/daemons`, what a task set should have by the
task set, what its tasks wait for by `explain_task`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from moorage.control.explain_task import TaskRecords, waits
from moorage.control.explain_words import Explanation, ago, count, id_of, left, name_of, sections
from moorage.decide.placement.daemons import Standing
from moorage.domain.service import Revision, Service, ServiceEvent
from moorage.domain.task_set import TaskSet

MOST_INSTANCES = 20
MOST_TASKS = 10
MOST_EVENTS = 5


# --- daemons ---------------------------------------------------------------------------------------------------------
def standing_lines(standings: Sequence[Standing]) -> Iterator[str]:
    """Those without a task first, each with the reason; the others as a number."""
    missing = [one for one in standings if one.desired and one.task is None]
    leaving = [one for one in standings if not one.desired and one.task is not None]
    outside = [one for one in standings if not one.desired and one.task is None]
    served = [one for one in standings if one.desired and one.task is not None]
    told = [*missing, *leaving, *outside]
    for one in told[:MOST_INSTANCES]:
        yield f"{_instance(one)}: {_why(one)}"
    if len(told) > MOST_INSTANCES:
        yield f"and {len(told) - MOST_INSTANCES} more"
    if served:
        yield f"{count(len(served), 'instance')} with its task"
    if not standings:
        yield "the cluster has no container instances"


def _instance(one: Standing) -> str:
    instance = one.host.instance
    return f"{instance.ec2_instance_id} in {instance.availability_zone}"


def _why(one: Standing) -> str:
    if one.desired:
        return "no task yet, it is about to get one" if one.problem is None else f"no task: {_reason(one)}"
    why = _reason(one)
    return (
        f"its task {id_of(one.task.id)} leaves: {why}" if one.task is not None else f"not one of its instances: {why}"
    )


def _reason(one: Standing) -> str:
    reason, detail = one.problem or ("", "")
    return detail if reason == "INACTIVE" else f"{reason}, {detail}"


# --- task sets -------------------------------------------------------------------------------------------------------
def task_set_lines(
    found: Iterable[TaskSet],
    service: Service,
    tasks: Sequence[TaskRecords],
    revisions: Mapping[str, Revision],
    now: float,
) -> Iterator[str]:
    for one in found:
        facts = task_set_facts(one, service, tasks, revisions)
        yield (
            f"{one.id} {one.status} {facts['stability']} ({facts['task_definition']}, {one.scale:g} % of "
            f"{service.desired_count} = {facts['desired']}): {facts['running']} running"
        )
        yield from (f"  {line}" for line in _waiting(one, service, tasks, now))


def _waiting(one: TaskSet, service: Service, tasks: Sequence[TaskRecords], now: float) -> Iterator[str]:
    """What keeps it from its steady state."""
    mine = [record for record in tasks if record.task.deployment_id == one.id]
    desired = one.desired(service.desired_count)
    wanted = sum(1 for record in mine if record.task.desired_status == "RUNNING")
    blocked = (one.launches_blocked_until or 0.0) - now
    if one.status == "DRAINING":
        yield f"it was deleted and is gone when its last {count(len(mine), 'task')} has stopped"
    elif wanted < desired and blocked > 0:
        yield f"launches again in {left(blocked)} after {one.failed_tasks} failed launches"
    elif wanted < desired:
        yield f"waits for {count(desired - wanted, 'task')} that could not be started yet"
    waiting = [record for record in mine if record.verdict is None or not record.verdict.serving]
    for record in waiting[:MOST_TASKS]:
        yield f"waits for {id_of(record.task.id)}, which {'; '.join(waits(record, now))}"
    if len(waiting) > MOST_TASKS:
        yield f"and {len(waiting) - MOST_TASKS} more: moor tasks"


def task_set_facts(
    one: TaskSet, service: Service, tasks: Sequence[TaskRecords], revisions: Mapping[str, Revision]
) -> dict[str, Any]:
    mine = [record for record in tasks if record.task.deployment_id == one.id]
    revision = revisions.get(one.arn)
    return {
        "id": one.id,
        "status": one.status,
        "stability": "STEADY_STATE" if one.steady else "STABILIZING",
        "scale": one.scale,
        "desired": one.desired(service.desired_count),
        "running": sum(1 for record in mine if record.task.last_status == "RUNNING"),
        "task_definition": name_of(revision.task_definition_arn) if revision is not None else "unknown",
        "failed_tasks": one.failed_tasks,
    }


def explain_task_set(
    one: TaskSet,
    service: Service,
    tasks: Sequence[TaskRecords],
    revisions: Mapping[str, Revision],
    events: Sequence[ServiceEvent],
    now: float,
) -> Explanation:
    facts = task_set_facts(one, service, tasks, revisions)
    mine = [event for event in events if one.id in event.message]
    return Explanation(
        kind="task set",
        arn=one.arn,
        title=(
            f"Task set {one.id} of service {service.name} is {one.status}, {facts['stability']} since "
            f"{ago(one.stability_at, now)}: {facts['desired']} desired, {facts['running']} running."
        ),
        sections=sections(
            ("Now", tuple(task_set_lines((one,), service, tasks, revisions, now))),
            ("Its events", (f"{ago(event.created_at, now)}: {event.message}" for event in mine[:MOST_EVENTS])),
        ),
        facts={"service": service.arn, **facts},
        next=f"moor explain service {service.name}",
    )
