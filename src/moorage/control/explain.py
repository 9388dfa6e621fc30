"""What services and their deployments are doing, and why: records and sentences in, an `Explanation` out.

Pure: no store, no clock, no I/O. It repeats no rule: what a pass would do now is decided by `decide/service`, whether a
stopped task counts against its deployment by `decide/rollout/circuit_breaker`; this module only tells it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from moorage.control.explain_placement import refusal_lines
from moorage.control.explain_rollout import image_lines, outcome_lines, shift_lines, watch_lines
from moorage.control.explain_schedulers import standing_lines, task_set_facts, task_set_lines
from moorage.control.explain_task import TaskRecords, counts, story_of, waits
from moorage.control.explain_words import Explanation, ago, count, id_of, left, name_of, sections, span
from moorage.decide.placement.daemons import Standing
from moorage.decide.placement.filters import Refusal
from moorage.decide.rollout import circuit_breaker
from moorage.decide.rollout.percent import maximum_running, minimum_healthy
from moorage.decide.service import ServicePlan
from moorage.domain.service import Deployment, Revision, Service, ServiceDeployment, ServiceEvent
from moorage.domain.task import Task
from moorage.domain.task_set import TaskSet

MOST_TASKS = 10
MOST_EVENTS = 5


class ServiceRecords(msgspec.Struct, frozen=True):
    """`plan`: what a pass would decide at this moment. `tasks`: not yet STOPPED. `ended`: those that stopped or are
    stopping, newest first. `events` newest first. `trouble`: why the controller could not do its last pass. `refused`: why
    the next task has no place (None: that is not what it waits for). `standings`: of a DAEMON service, how it stands with
    each instance of its cluster. `task_sets`: of a service that has no deployments of its own; `code_deploy`: what
    CodeDeploy does with it. `express`: what Express Mode made for it. `capacity`: what the providers of its strategy do."""

    service: Service
    plan: ServicePlan
    tasks: tuple[TaskRecords, ...] = ()
    ended: tuple[Task, ...] = ()
    revisions: Mapping[str, Revision] = {}
    events: tuple[ServiceEvent, ...] = ()
    trouble: str = ""
    refused: tuple[Refusal, ...] | None = None
    standings: tuple[Standing, ...] | None = None
    task_sets: tuple[TaskSet, ...] = ()
    code_deploy: tuple[str, ...] = ()
    express: tuple[str, ...] = ()
    capacity: tuple[str, ...] = ()


class DeploymentRecords(msgspec.Struct, frozen=True):
    """`deployment`: None when the service is done with it; then `record` and `revision` tell what it was."""

    id: str
    service: ServiceRecords
    deployment: Deployment | None = None
    record: ServiceDeployment | None = None
    revision: Revision | None = None


# --- services --------------------------------------------------------------------------------------------------------
def explain_service(records: ServiceRecords, now: float) -> Explanation:
    service, plan = records.service, records.plan
    cluster = name_of(service.cluster_arn)
    running = sum(1 for one in records.tasks if one.task.last_status == "RUNNING")
    pending = sum(1 for one in records.tasks if one.task.rank < 3 and one.task.desired_status == "RUNNING")
    failing = tuple(line for d in service.deployments for line in failures_of(d, records, now))
    return Explanation(
        kind="service",
        arn=service.arn,
        title=f"Service {service.name} in cluster {cluster} is {service.status}: {service.desired_count} desired, "
        f"{running} running, {pending} pending.",
        sections=sections(
            ("Now", (plan.said, *_drains(records), *_no_place(records), _trouble(records))),
            ("Express Mode", records.express),
            ("Instances", standing_lines(records.standings) if records.standings is not None else ()),
            ("Tasks", task_lines(records.tasks, now)),
            ("CodeDeploy", records.code_deploy),
            ("Task sets", task_set_lines(records.task_sets, service, records.tasks, records.revisions, now)),
            ("Deployments", (line for d in service.deployments for line in deployment_lines(d, records, now))),
            ("Failed tasks", failing),
            ("Not placed", (*refusal_lines(records.refused), *not_placed(records, now))),
            ("Capacity", records.capacity),
            ("Last events", (event_line(event, now) for event in records.events[:MOST_EVENTS])),
        ),
        facts={
            "cluster": cluster,
            "status": service.status,
            "desired": service.desired_count,
            "running": running,
            "pending": pending,
            "healthy": sum(1 for v in plan.verdicts.values() if v.state == "healthy"),
            "again_after": plan.again_after,
            "deployments": [deployment_facts(d, records) for d in service.deployments],
            "task_sets": [task_set_facts(o, service, records.tasks, records.revisions) for o in records.task_sets],
        },
        next=_next_of_service(records),
    )


def _drains(records: ServiceRecords) -> Iterator[str]:
    """How long the slowest of the tasks that stop still drains."""
    drains = [place.drain_left for one in records.tasks for place in one.places if place.drain_left is not None]
    if drains:
        yield f"{left(max(drains))} until the last of its targets has drained"


def _trouble(records: ServiceRecords) -> str:
    return records.trouble and f"the last pass failed: {records.trouble}"


def _no_place(records: ServiceRecords) -> Iterator[str]:
    if records.refused is not None:
        yield "nothing can be started: no container instance has a place for a task (see Not placed)"


def _next_of_service(records: ServiceRecords) -> str:
    ill = next((one.task for one in records.tasks if one.verdict is not None and one.verdict.state != "healthy"), None)
    failed = next((task for task in records.ended if circuit_breaker.is_failure(task)), None)
    primary = next(iter(records.service.deployments), None)
    if failed is not None and (primary is None or failed.deployment_id == primary.id or ill is None):
        return f"moor explain task {id_of(failed.id)}"
    if ill is not None:
        return f"moor explain task {id_of(ill.id)}"
    return f"moor events --service {records.service.name} --follow"


def task_lines(tasks: Sequence[TaskRecords], now: float) -> Iterator[str]:
    """The healthy ones as a number, every other one with what it waits for and for how long."""
    healthy = [one for one in tasks if one.verdict is not None and one.verdict.state == "healthy"]
    others = [one for one in tasks if one not in healthy]
    if healthy:
        yield f"{count(len(healthy), 'task')} healthy: {', '.join(id_of(one.task.id) for one in healthy[:MOST_TASKS])}"
    for one in others[:MOST_TASKS]:
        yield f"{id_of(one.task.id)} {'; '.join(waits(one, now))}"
    if len(others) > MOST_TASKS:
        yield f"and {len(others) - MOST_TASKS} more: moor tasks"
    protected = [one.task for one in tasks if (one.task.protected_until or 0.0) > now]
    if protected:
        ends = left(min(task.protected_until or now for task in protected) - now)
        names = ", ".join(id_of(task.id) for task in protected[:MOST_TASKS])
        yield f"{count(len(protected), 'task')} protected from scale-in and deployments: {names}; the first for {ends}"


def not_placed(records: ServiceRecords, now: float) -> Iterator[str]:
    """The last reasons for which no place was found for a task. ECS says that it was unable to place a task also when
    one could not be started: those are told as failed tasks already."""
    failed = {circuit_breaker.reason_of(task).rstrip(".") for task in records.ended} - {""}
    for event in [e for e in records.events if "unable to place a task" in e.message][:2]:
        if not any(text in event.message for text in failed):
            yield event_line(event, now)


def event_line(event: ServiceEvent, now: float) -> str:
    return f"{ago(event.created_at, now)}: {event.message}"


# --- deployments -----------------------------------------------------------------------------------------------------
def explain_deployment(records: DeploymentRecords, now: float) -> Explanation:
    service, deployment = records.service.service, records.deployment
    where = f"Deployment {records.id} of service {service.name}"
    mine = tuple(e for e in records.service.events if records.id in e.message)
    last = ("Its events", (event_line(event, now) for event in mine[:MOST_EVENTS]))
    if deployment is None:
        return Explanation(
            kind="deployment",
            arn=records.record.arn if records.record is not None else service.arn,
            title=f"{where} is over: {_ended_as(records.record)}.",
            sections=sections(
                ("How it ended", _outcome(records, now)),
                ("Failed tasks", failures_of(records, records.service, now)),
                last,
            ),
            facts={"id": records.id, "status": records.record.status if records.record is not None else None},
            next=f"moor explain service {service.name}",
        )
    tasks = tuple(one for one in records.service.tasks if one.task.deployment_id == deployment.id)
    ended = (one for one in records.service.ended if one.deployment_id == deployment.id)
    failed = next((one for one in ended if circuit_breaker.is_failure(one)), None)
    return Explanation(
        kind="deployment",
        arn=deployment.service_deployment_arn,
        title=f"{where} is {deployment.status}, {deployment.rollout_state}: {deployment.rollout_reason or 'no reason'}",
        sections=sections(
            ("Now", (records.service.plan.said if deployment.status == "PRIMARY" else _outgoing(tasks),)),
            ("Deployment", deployment_lines(deployment, records.service, now)),
            ("Tasks", task_lines(tasks, now)),
            ("Failed tasks", failures_of(deployment, records.service, now)),
            ("How it went", _outcome(records, now)),
            last,
        ),
        facts={"service": service.arn, **deployment_facts(deployment, records.service)},
        next=f"moor explain task {id_of(failed.id)}" if failed else f"moor explain service {service.name}",
    )


def _outgoing(tasks: Sequence[TaskRecords]) -> str:
    return f"it is being replaced: {count(len(tasks), 'task')} left" if tasks else "it has no tasks left"


def _ended_as(record: ServiceDeployment | None) -> str:
    return record.status if record is not None else "nothing of it is kept but its revision"


def _outcome(records: DeploymentRecords, now: float) -> Iterator[str]:
    record = records.record
    if records.revision is not None:
        yield f"it ran {name_of(records.revision.task_definition_arn)}"
    if record is None:
        return
    yield f"service deployment {record.status}, created {ago(record.created_at, now)}" + (
        f", took {span(record.finished_at - record.created_at)}" if record.finished_at is not None else ""
    )
    if record.status_reason:
        yield record.status_reason
    yield from outcome_lines(record)
    if record.rollback_revision is not None:
        yield f"rolled back {ago(record.rollback_started_at, now)}, to revision {name_of(record.rollback_revision)}"


def deployment_lines(deployment: Deployment, records: ServiceRecords, now: float) -> Iterator[str]:
    service = records.service
    facts = deployment_facts(deployment, records)
    yield (
        f"{deployment.id} {deployment.status} {deployment.rollout_state} ({facts['task_definition']}, "
        f"created {ago(deployment.created_at, now)}): {facts['running']} running, {facts['healthy']} healthy"
    )
    if deployment.rollback_of is not None:
        yield f"  it rolls back {deployment.rollback_of}"
    yield from shift_lines(deployment, records.service, now, records.revisions.get(deployment.revision_arn))
    if deployment.status != "PRIMARY":
        if deployment.rollout_reason:
            yield f"  {deployment.rollout_reason}"
        return
    configuration, desired = service.deployment_configuration, service.desired_count
    yield (
        f"  allowed: at least {minimum_healthy(desired, configuration.minimum_healthy_percent)} healthy "
        f"({configuration.minimum_healthy_percent} % of {desired}), at most "
        f"{maximum_running(desired, configuration.maximum_percent)} tasks ({configuration.maximum_percent} %)"
    )
    yield from watch_lines(deployment, service, now)
    yield from image_lines(records.revisions.get(deployment.revision_arn))


def deployment_facts(deployment: Deployment, records: ServiceRecords) -> dict[str, Any]:
    mine = [one for one in records.tasks if one.task.deployment_id == deployment.id]
    revision = records.revisions.get(deployment.revision_arn)
    breaker = records.service.deployment_configuration.circuit_breaker
    return {
        "id": deployment.id,
        "status": deployment.status,
        "rollout_state": deployment.rollout_state,
        "task_definition": name_of(revision.task_definition_arn) if revision is not None else "unknown",
        "running": sum(1 for one in mine if one.task.last_status == "RUNNING"),
        "healthy": sum(1 for one in mine if one.verdict is not None and one.verdict.state == "healthy"),
        "failures": deployment.failures,
        "threshold": circuit_breaker.threshold(breaker, records.service.desired_count) if breaker.enable else None,
        "launches_blocked_until": deployment.launches_blocked_until,
        "alarms": list(deployment.alarms),
        "baking_since": deployment.baking_since,
        "images": dict(revision.images) if revision is not None else {},
    }


# --- the circuit breaker ---------------------------------------------------------------------------------------------
def failures_of(deployment: Deployment | DeploymentRecords, records: ServiceRecords, now: float) -> Iterator[str]:
    """Every stopped task of the deployment that did not simply make room, and whether it counted."""
    breaker = records.service.deployment_configuration.circuit_breaker
    ended = [task for task in records.ended if task.deployment_id == deployment.id]
    sound = [one.task for one in records.tasks if one.task.deployment_id == deployment.id] + ended
    healthy_at = max((task.became_healthy_at for task in sound if task.became_healthy_at is not None), default=None)
    shown = [task for task in ended if circuit_breaker.is_failure(task) or task.stop_code == "EssentialContainerExited"]
    for task in shown[:MOST_TASKS]:
        stopped = task.stopping_at or task.stopped_at or task.created_at
        counted, why = counts(task)
        if counted and healthy_at is not None and stopped <= healthy_at and breaker.reset_on_healthy_task is not False:
            why = "counted until a task became healthy"
        elif counted and not task.accounted:
            why = "about to be counted"
        yield f"{id_of(task.id)} {ago(stopped, now)}, {why}: {story_of(task)}"
    if len(shown) > MOST_TASKS:
        yield f"and {len(shown) - MOST_TASKS} more: moor tasks --stopped --service {records.service.name}"
