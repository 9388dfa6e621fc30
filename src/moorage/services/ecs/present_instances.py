"""Container instances → API shapes (semantics ecs-tasks §15)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from moorage.decide.placement.hosts import Host
from moorage.domain.container_instance import ContainerInstance, Resources
from moorage.domain.task import Task
from moorage.services.ecs.present_task_definition import Shape
from moorage.services.ecs.tags import to_list


def container_instance(host: Host, tasks: Iterable[Task], *, tags: bool = False) -> Shape:
    """`tasks`: those of the instance that have not stopped."""
    record, states = host.instance, Counter(t.last_status for t in tasks)
    of_provider = {"capacityProviderName": record.capacity_provider} if record.capacity_provider else {}
    return of_provider | {
        "containerInstanceArn": record.arn,
        "ec2InstanceId": record.ec2_instance_id,
        "version": record.changes,
        "versionInfo": record.version_info,
        "remainingResources": _resources(host.free),
        "registeredResources": _resources(record.registered),
        "status": record.status,
        "agentConnected": record.agent_connected,
        "runningTasksCount": states["RUNNING"],
        "pendingTasksCount": states["PROVISIONING"] + states["PENDING"] + states["ACTIVATING"],
        "attributes": [
            {"name": name} | ({"value": value} if value else {}) for name, value in sorted(record.attributes.items())
        ],
        "registeredAt": record.registered_at,
        "attachments": [],
        "tags": to_list(record.tags) if tags else [],
    }


def health(record: ContainerInstance) -> Shape:
    """One container engine serves all instances: while it does not, nothing is answered at all."""
    runtime = {"type": "CONTAINER_RUNTIME", "status": "OK", "lastStatusChange": record.registered_at}
    details = [runtime | {"lastUpdated": record.registered_at}]
    return {"healthStatus": {"overallStatus": "OK", "details": details}}


def _resources(record: Resources) -> list[Shape]:
    def number(name: str, value: int) -> Shape:
        return {"name": name, "type": "INTEGER", "doubleValue": 0.0, "longValue": 0, "integerValue": value}

    def ports(name: str, taken: frozenset[int]) -> Shape:
        shape = number(name, 0) | {"type": "STRINGSET"}
        return shape | {"stringSetValue": [str(port) for port in sorted(taken)]}

    return [
        number("CPU", record.cpu),
        number("MEMORY", record.memory),
        ports("PORTS", record.ports),
        ports("PORTS_UDP", record.ports_udp),
    ]
