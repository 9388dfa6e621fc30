"""Why did the load balancers answer 502 (or 503, 504, 460 …)? The requests that got this status, grouped by cause, rule,
target group and target, each with what was true when it happened and what has become of the task since.

Pure: no store, no clock, no I/O. Causes come from `decide/elbv2_cause` and were recorded when the request was read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from moorage.control.explain_words import Explanation, Section, ago, count, id_of, name_of
from moorage.control.requests import Evidence
from moorage.decide.elbv2_cause import AT_THE_TARGET, NO_TARGETS
from moorage.domain.task import Task

MOST_GROUPS = 8


class AnswerRecords(msgspec.Struct, frozen=True):
    """`evidence`: the requests that got the status, oldest first. `tasks` by ARN, as they are now. `listeners`: rule ARN
    → "HTTP:80". `healthy`: target group ARN → (healthy, registered) now. `asked`: the load balancer asked for, if any;
    `remembered`: how many requests are remembered at all, since `since`."""

    status: int
    evidence: Sequence[Evidence] = ()
    tasks: Mapping[str, Task] = {}
    listeners: Mapping[str, str] = {}
    healthy: Mapping[str, tuple[int, int]] = {}
    asked: str = ""
    remembered: int = 0
    since: float | None = None


def explain_answers(records: AnswerRecords, now: float) -> Explanation:
    by = f" by load balancer {records.asked}" if records.asked else ""
    if not records.evidence:
        known = f" ({count(records.remembered, 'request')} remembered)" if records.remembered else ""
        return Explanation(
            "requests", "", f"{records.status} was not answered{by} lately{known}.", next="moor requests"
        )
    groups = sorted(_grouped(records.evidence).values(), key=lambda one: -one[-1].record.at)
    newest = groups[0][-1]
    times = count(len(records.evidence), "time")
    title = f"{records.status} was answered {times}{by}, last {ago(newest.record.at, now)}: {_sentence(newest)}."
    return Explanation(
        kind="requests",
        arn="",
        title=title,
        sections=tuple(Section(_heading(one, now), tuple(_lines(one, records, now))) for one in groups[:MOST_GROUPS]),
        facts={
            "status": records.status,
            "count": len(records.evidence),
            "causes": [
                {
                    "cause": one[-1].cause,
                    "count": len(one),
                    "load_balancer": one[-1].record.load_balancer,
                    "rule": one[-1].record.rule_arn,
                    "target_group": one[-1].record.target_group_arn,
                    "target": one[-1].record.target,
                    "task": one[-1].task_arn,
                    "deployment": one[-1].deployment_id,
                    "last": one[-1].record.at,
                }
                for one in groups
            ],
        },
        next=_next(newest),
    )


def _grouped(evidence: Sequence[Evidence]) -> dict[tuple[str, ...], list[Evidence]]:
    groups: dict[tuple[str, ...], list[Evidence]] = {}
    for one in evidence:
        record = one.record
        key = (one.cause, record.rule_arn, record.target_group_arn, record.target if one.cause in AT_THE_TARGET else "")
        groups.setdefault(key, []).append(one)
    return groups


def _heading(group: Sequence[Evidence], now: float) -> str:
    record = group[-1].record
    asked = f"{record.method or '-'} {record.host}{record.path}"
    shown = "".join(c if c.isprintable() else "?" for c in asked)
    shown = shown if len(shown) <= 80 else shown[:79] + "…"
    cause = group[-1].cause or "as configured"
    return f"{len(group)} × {cause}, last {ago(record.at, now)}: {shown}"


def _sentence(one: Evidence) -> str:
    if one.sentence:
        return one.sentence
    if one.record.from_target:
        return "the target itself answered with this status"
    return "a rule answers with this fixed response" if one.record.details == "direct_response" else "as configured"


def _lines(group: Sequence[Evidence], records: AnswerRecords, now: float) -> Iterator[str]:
    one = group[-1]
    record = one.record
    yield _sentence(one)
    if record.rule_arn:
        where = records.listeners.get(record.rule_arn, "")
        of = f" of listener {where}" if where else ""
        if record.priority == 0:
            yield f"no rule{of} matched, so its default action was taken"
        elif record.priority is not None:
            yield f"the rule with priority {record.priority}{of} matched"
    if record.target_group_arn:
        yield _group_line(one, records)
    if record.target and one.cause in AT_THE_TARGET:
        tried = f" after {record.attempts} attempts" if record.attempts > 1 else ""
        yield f"target {record.target}{tried}" + ("" if one.task_arn else ", which is no task of a service")
    if one.last_target:
        yield f"its last target was {one.last_target}" + ("" if one.task_arn else ", which is no task of a service")
    if one.task_arn:
        yield from _task_lines(one, records.tasks.get(one.task_arn), now)


def _group_line(one: Evidence, records: AnswerRecords) -> str:
    arn = one.record.target_group_arn
    line = f"target group {name_of(arn)}"
    if one.registered is not None:
        line += f": {one.healthy or 0} of {count(one.registered, 'target')} healthy when it happened"
    current = records.healthy.get(arn)
    return line if current is None else f"{line}, {current[0]} of {current[1]} now"


def _task_lines(one: Evidence, task: Task | None, now: float) -> Iterator[str]:
    if task is None:
        said = one.task_said or "nothing is known of it any more"
        yield f"  it was task {id_of(one.task_arn.rsplit('/', 1)[-1])}: {said}"
        return
    owner = f" of service {name_of(task.service_arn)}" if task.service_arn else ""
    deployment = f", deployment {task.deployment_id}" if task.deployment_id else ""
    yield f"  it is task {id_of(task.id)}{owner}{deployment}: {one.task_said} when it happened"
    if task.desired_status != "STOPPED":
        return
    when = ago(task.stopping_at or task.stopped_at, now)
    yield f"  it was stopped {when}: {task.stopped_reason or task.stop_code or 'no reason was given'}"
    for container in task.containers:
        if container.exit_code is not None or container.reason:
            code = "" if container.exit_code is None else f"exit code {container.exit_code}"
            yield f"    container {container.name}: {', '.join(part for part in (code, container.reason) if part)}"


def _next(one: Evidence) -> str:
    if one.task_arn:
        return f"moor explain task {id_of(one.task_arn.rsplit('/', 1)[-1])}"
    if one.record.target_group_arn and (one.cause == NO_TARGETS or one.cause in AT_THE_TARGET):
        return f"moor explain target-group {name_of(one.record.target_group_arn)}"
    if one.record.load_balancer:
        return f"moor explain load-balancer {one.record.load_balancer.split('/')[1]}"
    return "moor status"
