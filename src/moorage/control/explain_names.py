"""What a person means by a name: services, tasks, deployments, container instances, load balancers, target groups and
targets, by ARN, by name, by `cluster/name`, by the beginning of an id, by DNS name or by address.

It only looks in memory and never guesses: whoever asks gets every record that the words fit. What many of exist (tasks,
targets, revisions) is looked through only for words that look like one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from moorage.domain.load_balancer import load_balancer_of
from moorage.domain.scope import Scope, scope_of
from moorage.domain.service import Service
from moorage.domain.task import Task
from moorage.store.api import View
from moorage.store.tables.ecs import (
    CAPACITY_PROVIDERS,
    CONTAINER_INSTANCES,
    EXPRESS_SERVICES,
    REVISIONS,
    SERVICE_DEPLOYMENTS,
    SERVICES,
    TASKS,
)
from moorage.store.tables.elbv2 import LOAD_BALANCERS, TARGET_GROUPS, TARGETS

Kind = Literal[
    "service", "task", "deployment", "instance", "capacity-provider", "load-balancer", "target-group", "target"
]
KINDS: tuple[Kind, ...] = (
    "service",
    "task",
    "deployment",
    "instance",
    "capacity-provider",
    "load-balancer",
    "target-group",
    "target",
)
SHORTEST_ID = 4
"""Characters of an id of a task or container instance that are taken for one."""
_ID = re.compile(rf"[0-9a-f]{{{SHORTEST_ID},32}}")
_EC2_ID = re.compile(r"i-[0-9a-f]+")
_PLACE = re.compile(r"i-[0-9a-f]+(?::\d+)?|[0-9a-f]*[.:][0-9a-f.:]+|arn:.+")
"""The id of a target: an instance, an address, another load balancer; with or without a port."""


class Subject(msgspec.Struct, frozen=True):
    """`key`: the record's key; of a deployment "<service ARN> <deployment id>". `name`: how a command names it."""

    kind: Kind
    key: str
    name: str
    scope: Scope


def find(view: View, words: str, kind: Kind | None = None) -> tuple[Subject, ...]:
    """Everything that `words` may mean, in all accounts and regions."""
    searches = {
        "service": _services,
        "task": _tasks,
        "deployment": _deployments,
        "instance": _instances,
        "capacity-provider": _capacity_providers,
        "load-balancer": _load_balancers,
        "target-group": _target_groups,
        "target": _targets,
    }
    if not words:
        return ()
    found = [one for name in KINDS if kind in (None, name) for one in searches[name](view, words)]
    return tuple(found) or (tuple(_tasks_at(view, words)) if kind in (None, "task") else ())


def nearest(found: Iterable[Subject], scope: Scope) -> tuple[Subject, ...]:
    """Those of this account and region; only when there are none there, the others."""
    every = tuple(found)
    return tuple(one for one in every if one.scope == scope) or every


def within(found: Iterable[Subject], cluster: str) -> tuple[Subject, ...]:
    """Those of this cluster (name or ARN). What is in no cluster is only meant when nothing in this one is."""
    every = tuple(found)
    return tuple(one for one in every if _cluster(one) == cluster.rsplit("/", 1)[-1]) or tuple(
        one for one in every if _cluster(one) is None
    )


def _cluster(subject: Subject) -> str | None:
    """ "arn:aws:ecs:…:service/main/web" → "main"."""
    if subject.kind not in ("service", "task", "deployment", "instance"):
        return None
    return subject.key.split("/", 2)[1]


def services(view: View, words: str) -> tuple[Service, ...]:
    """By ARN, `cluster/name` or name; deleted ones only when no other is meant."""
    named = view.get(SERVICES, words)
    if named is not None:
        return (named,)
    cluster, _, name = words.rpartition("/")
    found = [
        one for one in view.find(SERVICES, "name", name) if not cluster or one.cluster_arn.rsplit("/", 1)[-1] == cluster
    ]
    return tuple(one for one in found if one.status != "INACTIVE") or tuple(found)


def _services(view: View, words: str) -> Iterator[Subject]:
    for one in services(view, words):
        cluster = one.cluster_arn.rsplit("/", 1)[-1]
        yield Subject("service", one.arn, f"{cluster}/{one.name}", Scope(one.account, one.region))
    yield from _express(view, words)


def _express(view: View, words: str) -> Iterator[Subject]:
    """Express services that have no ECS service yet."""
    cluster, _, name = words.rpartition("/")
    for one in view.all(EXPRESS_SERVICES):
        where = one.cluster_arn.rsplit("/", 1)[-1]
        meant = words == one.arn or (one.name == name and cluster in ("", where))
        if meant and view.get(SERVICES, one.arn) is None:
            yield Subject("service", one.arn, f"{where}/{one.name}", Scope(one.account, one.region))


def _instances(view: View, words: str) -> Iterator[Subject]:
    """By ARN, by its EC2 instance id, by the beginning of its own id."""
    named = view.get(CONTAINER_INSTANCES, words)
    if named is None and not (_ID.fullmatch(words) or _EC2_ID.fullmatch(words)):
        return
    for one in [named] if named is not None else view.all(CONTAINER_INSTANCES):
        if named is not None or one.ec2_instance_id == words or one.id.startswith(words):
            yield Subject("instance", one.arn, one.id, Scope(one.account, one.region))


def _tasks(view: View, words: str) -> Iterator[Subject]:
    named = view.get(TASKS, words)
    if named is not None:
        yield task_subject(named)
    elif is_id(words):
        yield from (task_subject(one) for one in view.all(TASKS) if one.id.startswith(words))


def _tasks_at(view: View, address: str) -> Iterator[Subject]:
    """The living task with this address; whoever names an address means its target first."""
    for one in view.find(TASKS, "live", True) if _PLACE.fullmatch(address) else ():
        if one.interface is not None and one.interface.ipv4 == address:
            yield task_subject(one)


def is_id(words: str) -> bool:
    """May it be the id of a task or container instance, or the beginning of one?"""
    return _ID.fullmatch(words) is not None


def task_subject(task: Task) -> Subject:
    return Subject("task", task.arn, task.id, Scope(task.account, task.region))


def _deployments(view: View, words: str) -> Iterator[Subject]:
    """By "ecs-svc/<digits>", the digits, or the ARN of the service deployment or service revision."""
    record = view.get(SERVICE_DEPLOYMENTS, words)
    revision = view.get(REVISIONS, words if record is None else record.target_revision)
    number = revision.number if revision is not None else words.removeprefix("ecs-svc/")
    if len(number) != 19 or not number.isdigit():
        return
    id = f"ecs-svc/{number}"
    owners = [r.service_arn for r in view.all(REVISIONS) if r.number == number] if revision is None else []
    if revision is not None:
        owners = [revision.service_arn]
    # A rollback has an id of its own, but shares the revision that it goes back to.
    owners += [s.arn for s in view.all(SERVICES) if any(d.id == id for d in s.deployments)]
    for arn in dict.fromkeys(owners):
        yield Subject("deployment", f"{arn} {id}", id, scope_of(arn))


def _capacity_providers(view: View, words: str) -> Iterator[Subject]:
    """Those of host groups, by name or ARN; Fargate's have nothing to tell."""
    for one in view.all(CAPACITY_PROVIDERS):
        if words in (one.name, one.arn):
            yield Subject("capacity-provider", one.arn, one.name, Scope(one.account, one.region))


def _load_balancers(view: View, words: str) -> Iterator[Subject]:
    """By ARN, name, DNS name, the tail of the ARN, or the ARN of a listener."""
    wanted = load_balancer_of(words) if ":listener/" in words else words
    for one in view.all(LOAD_BALANCERS):
        if wanted in (one.arn, one.name, one.full_name, one.loopback) or wanted.lower() == one.dns_name.lower():
            yield Subject("load-balancer", one.arn, one.name, Scope(one.account, one.region))


def _target_groups(view: View, words: str) -> Iterator[Subject]:
    for one in view.all(TARGET_GROUPS):
        if words in (one.arn, one.name, one.full_name):
            yield Subject("target-group", one.arn, one.name, Scope(one.account, one.region))


def _targets(view: View, words: str) -> Iterator[Subject]:
    """By id ("10.0.0.5"), "id:port", or "<target group>/id:port" as an ambiguous answer names it."""
    named = view.get(TARGETS, words)
    group, _, place = words.rpartition("/")
    if named is None and not _PLACE.fullmatch(place):
        return
    for target in [named] if named is not None else view.all(TARGETS):
        name = target.target_group_arn.split("/")[-2]
        fits = place in (target.id, f"{target.id}:{target.port}") and group in ("", name)
        if fits or named is not None:
            key, scope = target.key, scope_of(target.target_group_arn)
            yield Subject("target", key, f"{name}/{target.id}:{target.port}", scope)
