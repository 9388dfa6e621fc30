"""What a container instance has, what runs on it, and why it takes no task of the services that wait for a place.

Pure: records in, an `Explanation` out. Why it refuses is said by the placement filters (`decide/placement`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from moorage.control.explain_words import Explanation, ago, count, id_of, name_of, sections
from moorage.decide.placement.filters import FILTERS, Refusal
from moorage.decide.placement.hosts import Host
from moorage.decide.placement.resources import demand_of
from moorage.domain.container_instance import AGENT_PORTS
from moorage.domain.task import Task
from moorage.domain.task_definition import Document

MOST_TASKS = 20
_OURS = ("ecs.", "com.amazonaws.")


class InstanceRecords(msgspec.Struct, frozen=True):
    """`tasks`: not yet STOPPED, each with its definition. `waiting`: services of the cluster that wait for a place, and why
    this instance is none."""

    host: Host
    tasks: tuple[tuple[Task, Document], ...] = ()
    waiting: tuple[tuple[str, Refusal], ...] = ()


def explain_instance(records: InstanceRecords, now: float) -> Explanation:
    instance, free = records.host.instance, records.host.free
    cluster = name_of(instance.cluster_arn)
    return Explanation(
        kind="instance",
        arn=instance.arn,
        title=f"Container instance {instance.ec2_instance_id} ({id_of(instance.id)}) in cluster {cluster} is "
        f"{instance.status}: {count(len(records.tasks), 'task')}, {free.cpu} of {instance.registered.cpu} CPU units and "
        f"{free.memory} of {instance.registered.memory} MiB free.",
        sections=sections(
            ("Now", _now(records)),
            ("Tasks", _tasks(records)),
            ("Waiting for a place, and not here", _waiting(records.waiting)),
            ("Instance", _facts(records, now)),
        ),
        facts={
            "cluster": cluster,
            "status": instance.status,
            "agent_connected": instance.agent_connected,
            "free": {"cpu": free.cpu, "memory": free.memory},
            "registered": {"cpu": instance.registered.cpu, "memory": instance.registered.memory},
            "tasks": [task.arn for task, _ in records.tasks],
        },
        next=f"moor explain task {id_of(records.tasks[0][0].id)}" if records.tasks else "moor services",
    )


def _now(records: InstanceRecords) -> Iterator[str]:
    instance = records.host.instance
    if instance.status == "DRAINING":
        left = sum(1 for task, _ in records.tasks if task.service_arn is not None)
        yield f"it is being drained: it takes no tasks; {count(left, 'service task')} left to be replaced elsewhere"
    elif instance.status != "ACTIVE":
        yield "it takes no tasks: it is not a member of the cluster any more"
    elif not instance.agent_connected:
        yield "it takes no tasks: its agent is not connected"
    else:
        yield "it takes tasks, as far as there is room and constraints allow"


def _tasks(records: InstanceRecords) -> Iterator[str]:
    for task, document in records.tasks[:MOST_TASKS]:
        need = demand_of(document, task.overrides)
        ports = sorted(binding.host_port for container in task.containers for binding in container.bindings)
        yield (
            f"{id_of(task.id)} {task.group} {task.last_status}: {need.cpu} CPU units, {need.memory} MiB"
            + (f", host ports {', '.join(map(str, ports))}" if ports else "")
            + (", is being stopped and holds its share until then" if task.desired_status == "STOPPED" else "")
        )
    if len(records.tasks) > MOST_TASKS:
        yield f"and {len(records.tasks) - MOST_TASKS} more: moor tasks"


def _waiting(waiting: Sequence[tuple[str, Refusal]]) -> Iterator[str]:
    for name, refusal in waiting:
        yield f"{name}: {refusal.reason}, {refusal.detail} (passed {refusal.passed} of {len(FILTERS)} filters)"


def _facts(records: InstanceRecords, now: float) -> Iterator[str]:
    instance = records.host.instance
    taken = sorted(port for port in records.host.free.ports if str(port) not in AGENT_PORTS)
    where = f"{instance.availability_zone}; its ports are on {instance.address}"
    yield f"registered {ago(instance.registered_at, now)} in {where}"
    if taken:
        yield f"taken host ports: {', '.join(map(str, taken))}"
    own = {name: value for name, value in instance.attributes.items() if not name.startswith(_OURS)}
    if own:
        yield "attributes: " + ", ".join(f"{name}={value}" if value else name for name, value in sorted(own.items()))
