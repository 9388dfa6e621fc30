"""What one task is doing, why it waits and for how long, and how it ended: its record and the sentences of those who
look after it in, an `Explanation` out. Pure: no store, no clock, no I/O.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from moorage.control.explain_words import Explanation, ago, left, name_of, sections, span
from moorage.decide.health import Verdict
from moorage.decide.rollout import circuit_breaker
from moorage.decide.task_lifecycle import stop_timeout
from moorage.domain.service import Service
from moorage.domain.target_group import TargetState
from moorage.domain.task import Container, Task
from moorage.domain.task_definition import ContainerHealthCheck, Document
from moorage.engine.driver import ObservedContainer


class Place(msgspec.Struct, frozen=True):
    """A task in one target group. `drain_left`: seconds of its deregistration delay. `said`: the health checker. `budget`:
    what has to happen until its state changes, and how long that may take."""

    target_group_arn: str
    port: int
    state: TargetState
    drain_left: float | None = None
    said: str = ""
    budget: str = ""


class TaskRecords(msgspec.Struct, frozen=True):
    """`said`: the task controller. `verdict`: the service scheduler's, on a task that should run. `places`: one for
    every target group it belongs in. `observed`: what the engine says of its running containers at this moment.
    `capacity`: what its capacity provider does, while it waits for an instance."""

    task: Task
    document: Document | None = None
    said: str = ""
    verdict: Verdict | None = None
    places: tuple[Place, ...] = ()
    service: Service | None = None
    observed: Mapping[str, ObservedContainer] = {}
    capacity: tuple[str, ...] = ()


def explain_task(records: TaskRecords, now: float) -> Explanation:
    task = records.task
    owner = f" of service {task.service_arn.rsplit('/', 1)[-1]}" if task.service_arn else f" ({task.group})"
    return Explanation(
        kind="task",
        arn=task.arn,
        title=f"Task {task.id}{owner} is {task.last_status}{_since(task, now)}.",
        sections=sections(
            ("Now", waits(records, now) if task.last_status != "STOPPED" else ()),
            ("Why it stopped" if task.last_status == "STOPPED" else "Why it stops", _why_stopped(task)),
            ("Capacity", records.capacity),
            ("Containers", (_container_line(c, records, now) for c in task.containers)),
            ("Target groups", (_place_line(place) for place in records.places)),
            ("What happened", _what_happened(task, now)),
            ("It is", _what_it_is(task)),
        ),
        facts={
            "cluster": name_of(task.cluster_arn),
            "service": task.service_arn,
            "deployment": task.deployment_id,
            "task_definition": name_of(task.task_definition_arn),
            "last_status": task.last_status,
            "desired_status": task.desired_status,
            "verdict": records.verdict.state if records.verdict is not None else None,
            "again_after": records.verdict.again_after if records.verdict is not None else None,
            "stop_code": task.stop_code,
            "stopped_reason": task.stopped_reason,
            "counted": circuit_breaker.is_failure(task) if task.service_arn and task.stop_code else None,
            "exit_codes": {c.name: c.exit_code for c in task.containers},
            "address": task.interface.ipv4 if task.interface is not None else None,
        },
        next=_next_of_task(records),
    )


def _since(task: Task, now: float) -> str:
    then = {"RUNNING": task.started_at, "STOPPED": task.stopped_at}.get(task.last_status)
    if then is None:
        return f", created {ago(task.created_at, now)}"
    return f" ({ago(then, now)})" if task.last_status == "STOPPED" else f" (for {span(now - then)})"


def waits(records: TaskRecords, now: float) -> Iterator[str]:
    """What the task is doing and what it waits for, with the time that is left."""
    task, verdict = records.task, records.verdict
    drains = [place for place in records.places if place.drain_left is not None]
    if task.desired_status == "STOPPED":
        yield f"is {task.last_status}" + (f": {records.said}" if records.said else "")
        for place in drains:
            yield f"{left(place.drain_left or 0.0)} drain left of target group {name_of(place.target_group_arn)}"
        if task.last_status == "STOPPING" or drains:
            yield from _until_killed(records, now)
        return
    if task.last_status != "RUNNING":
        yield f"is {task.last_status}, created {ago(task.created_at, now)}" + (
            f": {records.said}" if records.said else ""
        )
        pulling = [c.name for c in task.containers if c.known == "NONE"]
        if task.pull_started_at is not None and pulling:
            yield f"pulling the image of {', '.join(pulling)} for {span(now - task.pull_started_at)}"
        yield from _start_timeouts(records, now)
        return
    if records.said and not records.said.startswith("no action"):
        yield records.said
    if verdict is None:
        yield "runs as it should" if not records.said or records.said.startswith("no action") else ""
        return
    passed, of = checks(records)
    told = f"{passed} of {of} health checks passed, " if of else ""
    if verdict.again_after is not None and verdict.serving:
        yield f"is waiting: {told}counts as healthy in {left(verdict.again_after)}"
    elif verdict.state == "healthy" and of:
        yield f"is healthy: {told.rstrip(', ')}"
    else:
        yield f"is {verdict.state}: {told}{verdict.reason}"
        yield from (place.budget for place in records.places if place.budget)
    yield from _grace(records, now)


def _start_timeouts(records: TaskRecords, now: float) -> Iterator[str]:
    """How long others still wait for a container to complete or to become healthy."""
    document = records.document
    if document is None:
        return
    waiting = [c.name for c in records.task.containers if c.known in ("PULLED", "CREATED")]
    wanted = {
        dependency.container_name
        for definition in document.container_definitions
        if definition.name in waiting
        for dependency in definition.depends_on or ()
        if dependency.condition != "START"
    }
    for name in sorted(wanted):
        definition, container = document.container(name), records.task.container(name)
        if definition is None or definition.start_timeout is None or container is None:
            continue
        if container.started_at is not None and container.known == "RUNNING":
            rest = container.started_at + definition.start_timeout - now
            yield f"{left(rest)} left of the startTimeout of container {name}: then the task stops"


def checks(records: TaskRecords) -> tuple[int, int]:
    """(passed, all) health checks of a task: those of its containers and one per target group."""
    checked = []
    for container in records.task.containers:
        definition = records.document.container(container.name) if records.document is not None else None
        if definition is not None and definition.is_checked:
            checked.append(container.health == "HEALTHY")
    checked += [place.state.state == "healthy" for place in records.places]
    return sum(checked), len(checked)


def _grace(records: TaskRecords, now: float) -> Iterator[str]:
    grace = float(records.service.health_check_grace_period or 0) if records.service is not None else 0.0
    started = records.task.started_at
    if started is None or records.verdict is None or records.verdict.state == "healthy":
        return
    if (rest := started + grace - now) > 0:
        yield f"{left(rest)} of its health check grace period ({span(grace)}) left: it is not replaced before"


def _stop_grace(container: Container, document: Document | None) -> float:
    return stop_timeout(document.container(container.name) if document is not None else None)


def _why_stopped(task: Task) -> Iterator[str]:
    if task.stop_code is None:
        return
    yield f"{task.stop_code}: {task.stopped_reason or 'no reason'}"
    if task.service_arn is not None:
        yield f"by the circuit breaker it is {counts(task)[1]}"


def _until_killed(records: TaskRecords, now: float) -> Iterator[str]:
    """When SIGKILL comes for those that got their stop signal, and how long the others will have."""
    running = [c for c in records.task.containers if c.known == "RUNNING"]
    for container in running:
        if container.stop_sent_at is not None:
            rest = container.stop_sent_at + _stop_grace(container, records.document) - now
            since = ago(container.stop_sent_at, now)
            yield f"container {container.name} got its stop signal {since}, SIGKILL in {left(rest)}"
    grace = max((_stop_grace(c, records.document) for c in running if c.stop_sent_at is None), default=0.0)
    if grace:
        yield f"its containers then have {span(grace)} between the stop signal and SIGKILL"


def _health(container: Container, check: ContainerHealthCheck, observed: ObservedContainer | None) -> str:
    failed = observed.failed_checks if observed is not None else 0
    if not failed:
        return container.health
    output = " ".join(observed.check_output.split()) if observed is not None else ""
    told = f"{container.health}, {min(failed, check.retries or 3)} of {check.retries or 3} health checks failed"
    return told + (f" (the last one said: {output})" if output else "")


def _container_line(container: Container, records: TaskRecords, now: float) -> str:
    definition = records.document.container(container.name) if records.document is not None else None
    told = [container.last_status]
    if definition is not None and definition.health_check is not None and definition.is_checked:
        told.append(_health(container, definition.health_check, records.observed.get(container.name)))
    if container.known == "RUNNING" and container.started_at is not None:
        told.append(f"for {span(now - container.started_at)}")
    if container.restarts:
        times = "once" if container.restarts == 1 else f"{container.restarts} times"
        code = container.restarted_after
        told.append(f"started again {times}" + (f" (last after {_exit_code(code)})" if code is not None else ""))
    if container.known == "STOPPED" and container.started_at is not None and container.finished_at is not None:
        told.append(f"ran {span(container.finished_at - container.started_at)}")
    elif container.known == "STOPPED":
        told.append("never started")
    if container.exit_code is not None:
        told.append(_exit_code(container.exit_code))
    if container.reason:
        told.append(container.reason)
    role = "" if definition is None or definition.is_essential else " (not essential)"
    return f"{container.name}{role} [{container.image}]: {', '.join(told)}"


_SIGNALS = {137: " (SIGKILL)", 143: " (SIGTERM)", 139: " (SIGSEGV)", 134: " (SIGABRT)", 130: " (SIGINT)"}


def _exit_code(code: int) -> str:
    return f"exit code {code}{_SIGNALS.get(code, '')}"


def _place_line(place: Place) -> str:
    words = place.state.state + (f": {place.state.description}" if place.state.description else "")
    if place.drain_left is not None:
        words += f", {left(place.drain_left)} left"
    elif place.said and place.said != words:
        words = place.said
    return f"{name_of(place.target_group_arn)} (port {place.port}): {words}"


_MOMENTS = (
    ("created_at", "created"),
    ("pull_started_at", "began to pull its images"),
    ("pull_stopped_at", "had its images"),
    ("started_at", "RUNNING"),
    ("became_healthy_at", "counted as healthy"),
    ("stopping_at", "was to stop"),
    ("execution_stopped_at", "its essential container had ended"),
    ("stopped_at", "STOPPED"),
)


def _what_happened(task: Task, now: float) -> Iterator[str]:
    """The moments that the record knows, in order, counted from the creation of the task."""
    known = [(at, what) for field, what in _MOMENTS if (at := getattr(task, field)) is not None]
    known += [
        (container.finished_at, _how_it_ended(container)) for container in task.containers if container.finished_at
    ]
    for at, what in sorted(known, key=lambda moment: moment[0]):
        yield f"{what} {ago(at, now)}" if at == task.created_at else f"+{span(at - task.created_at)} {what}"


def _how_it_ended(container: Container) -> str:
    """Its last end: for good, or before its restart policy had it started again."""
    if container.known == "STOPPED":
        return f"container {container.name} ended ({_end_of(container) or 'no code'})"
    code = "" if container.restarted_after is None else f" ({_exit_code(container.restarted_after)})"
    return f"container {container.name} ended{code}, its restart policy starts it again"


def _what_it_is(task: Task) -> Iterator[str]:
    had = "had the address" if task.last_status == "STOPPED" else "address"
    address = f", {had} {task.interface.ipv4}" if task.interface is not None and task.interface.ipv4 else ""
    yield f"{name_of(task.task_definition_arn)} on {task.launch_type} in {task.availability_zone}{address}"
    if task.deployment_id is not None:
        yield f"of deployment {task.deployment_id}"
    elif task.started_by is not None:
        yield f"started by {task.started_by}"


def _next_of_task(records: TaskRecords) -> str:
    """Its logs when it has any, else whoever decides over it."""
    task = records.task
    for container in records.document.container_definitions if records.document is not None else ():
        log = container.log_configuration
        options = (log.options if log is not None and log.log_driver == "awslogs" else None) or {}
        mine = task.container(container.name or "")
        if "awslogs-group" in options and mine is not None and mine.started_at is not None:
            prefix = options.get("awslogs-stream-prefix")
            stream = f" --log-stream-names {prefix}/{container.name}/{task.id}" if prefix else ""
            return f"moor aws logs tail {options['awslogs-group']}{stream}"
    if task.service_arn is not None:
        return f"moor explain service {task.service_arn.rsplit('/', 1)[-1]}"
    return f"moor aws ecs describe-tasks --cluster {name_of(task.cluster_arn)} --tasks {task.id}"


# --- how it ended ----
def counts(task: Task) -> tuple[bool, str]:
    """Whether the circuit breaker counts this stopped task, and why in a few words (the rule is `is_failure`)."""
    if circuit_breaker.is_failure(task):
        return True, {
            "TaskFailedToStart": "counted (it failed to start)",
            "EssentialContainerExited": "counted (it exited before it ever counted as healthy)",
        }.get(task.stop_code or "", "counted (it failed its health checks)")
    return False, {
        "EssentialContainerExited": "not counted (it had been healthy before)",
        "UserInitiated": "not counted (a user stopped it)",
        "ServiceSchedulerInitiated": "not counted (scaling or a newer deployment stopped it)",
    }.get(task.stop_code or "", "not counted")


def story_of(task: Task) -> str:
    """Stop code, reason and what the containers ended with, in one line."""
    ends = [f"{c.name}: {_end_of(c)}" for c in task.containers if c.exit_code is not None or c.reason]
    reason = task.stopped_reason or ""
    told = [end for end in ends if not reason or not end.endswith(reason)]
    return f"{task.stop_code}: {reason}" + (f" ({'; '.join(told)})" if told else "")


def _end_of(container: Container) -> str:
    code = f"exit code {container.exit_code}" if container.exit_code is not None else ""
    return ", ".join(part for part in (code, container.reason) if part)
