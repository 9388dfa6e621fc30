"""Placement as RunTask, StartTask and the service operations need it: parameters read, hosts taken from the store,
refusals turned into `failures[]` (semantics ecs-tasks §9, ecs-services §2.2, §7)."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any

import msgspec

from moorage.decide.placement import constraints, strategies
from moorage.decide.placement.filters import Refusal, Wish, outside
from moorage.decide.placement.hosts import Host, hosts_of
from moorage.domain.container_instance import ContainerInstance
from moorage.domain.errors import AwsError
from moorage.domain.task import OnInstance, Task
from moorage.domain.task_definition import Document
from moorage.store.api import View
from moorage.store.tables.ecs import CONTAINER_INSTANCES, TASK_DEFINITIONS, TASKS

NO_INSTANCES = "No Container Instances were found in your cluster."
NO_INSTANCES_OF_PROVIDER = "No Container Instances were found in your capacity provider."
MOST_STRATEGIES, MOST_CONSTRAINTS = 5, 10


class Rules(msgspec.Struct, frozen=True):
    constraints: tuple[constraints.Constraint, ...]
    strategies: tuple[strategies.Strategy, ...]


def read(request: dict[str, Any]) -> Rules:
    """placementConstraints and placementStrategy. Raises InvalidParameterException."""
    wanted, how = request.get("placementConstraints") or (), request.get("placementStrategy") or ()
    if len(how) > MOST_STRATEGIES:
        raise AwsError("InvalidParameterException", f"Maximum number of strategies is {MOST_STRATEGIES}")
    _check_number(len(wanted))
    try:
        return Rules(constraints.read(wanted), strategies.read(how))
    except ValueError as error:
        raise AwsError("InvalidParameterException", _sentence(str(error))) from error


def check_number(own: Sized, document: Document) -> None:
    """The constraints of a service and those of its task definition count together (ecs-services §7)."""
    _check_number(len(own) + len(document.placement_constraints))


def _check_number(constraints: int) -> None:
    if constraints > MOST_CONSTRAINTS:
        raise AwsError("InvalidParameterException", f"Maximum number of constraints is {MOST_CONSTRAINTS}")


def instances(view: View, cluster_arn: str) -> tuple[ContainerInstance, ...]:
    """Those that are registered, in the order of their registration."""
    found = [
        i for status in ("ACTIVE", "DRAINING") for i in view.find(CONTAINER_INSTANCES, "cluster", (cluster_arn, status))
    ]
    return tuple(sorted(found, key=lambda i: (i.registered_at, i.arn)))


def hosts(view: View, found: tuple[ContainerInstance, ...]) -> tuple[Host, ...]:
    def document(task: Task) -> Document:
        definition = view.get(TASK_DEFINITIONS, task.task_definition_arn)
        assert definition is not None, "a task definition outlives its tasks"
        return definition.document

    return hosts_of(found, lambda arn: view.find(TASKS, "container_instance", arn), document)


def eligible(view: View, cluster_arn: str, wish: Wish) -> int:
    """On how many instances a DAEMON service belongs (ecs-services §6)."""
    return sum(1 for host in hosts(view, instances(view, cluster_arn)) if outside(host, wish) is None)


def failures(refused: tuple[Refusal, ...]) -> list[dict[str, str]]:
    """One failure per instance considered (ecs-tasks §9.2)."""
    return [{"arn": r.host.instance.arn, "reason": r.reason, "detail": r.detail} for r in refused if r.shown]


def on(instance: ContainerInstance) -> OnInstance:
    return OnInstance(instance.arn, instance.ec2_instance_id, instance.address)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] if text.startswith("expected") else text
