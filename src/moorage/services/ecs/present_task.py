"""A task record → what RunTask, StopTask and DescribeTasks show (semantics ecs-tasks §2.2, §8)."""

from __future__ import annotations

from typing import Any

import msgspec

from moorage.decide.health import roll_up
from moorage.decide.ipam import private_dns_name
from moorage.domain.task import AttachedVolume, Container, Interface, NetworkBinding, Task
from moorage.domain.task_definition import Document
from moorage.services.ecs.tags import to_list
from moorage.store.api import View
from moorage.store.tables.ecs import TASK_DEFINITIONS

Shape = dict[str, Any]
_ATTACHED = ("PENDING", "ACTIVATING", "RUNNING", "DEACTIVATING", "STOPPING")


def task(view: View, record: Task, *, tags: bool = False) -> Shape:
    definition = view.get(TASK_DEFINITIONS, record.task_definition_arn)
    document = definition.document if definition is not None else None
    shape: Shape = {
        "taskArn": record.arn,
        "clusterArn": record.cluster_arn,
        "taskDefinitionArn": record.task_definition_arn,
        "attachments": [
            *([_attachment(record, record.interface)] if record.interface is not None else []),
            *(_volume_attachment(record, volume) for volume in record.volumes),
        ],
        "attributes": [{"name": "ecs.cpu-architecture", "value": _architecture(document)}],
        # A task that waits for an instance has none yet: so the answer of RunTask in boto3's issue 4160.
        "containers": [
            _container(record, c, document.container(c.name) if document is not None else None)
            for c in (record.containers if record.waiting is None else ())
        ],
        "createdAt": record.created_at,
        "desiredStatus": record.desired_status,
        "enableExecuteCommand": record.enable_execute_command,
        "group": record.group,
        "lastStatus": record.last_status,
        "launchType": record.launch_type,
        "overrides": _overrides(record),
        "tags": to_list(record.tags) if tags else [],
        "version": record.version,
    }
    if _is_reported(record):
        shape["healthStatus"] = roll_up(record, document) if document is not None else "UNKNOWN"
    if record.availability_zone:
        shape["availabilityZone"] = record.availability_zone
    if record.connectivity_at is not None:
        shape["connectivity"] = "CONNECTED"
        shape["connectivityAt"] = record.connectivity_at
    if record.ephemeral_storage_gib is not None:
        shape["ephemeralStorage"] = {"sizeInGiB": record.ephemeral_storage_gib}
        if record.launch_type == "FARGATE":
            shape["fargateEphemeralStorage"] = {"sizeInGiB": record.ephemeral_storage_gib}
    optional = {
        "capacityProviderName": record.capacity_provider,
        "containerInstanceArn": record.instance.arn if record.instance is not None else None,
        "cpu": record.cpu,
        "memory": record.memory,
        "platformVersion": record.platform_version,
        "platformFamily": record.platform_family,
        "startedBy": record.started_by,
        # A pull that failed has no times (§2.2).
        "pullStartedAt": record.pull_started_at if record.last_status != "STOPPED" or record.pull_stopped_at else None,
        "pullStoppedAt": record.pull_stopped_at,
        "startedAt": record.started_at,
        "stoppingAt": record.stopping_at,
        "executionStoppedAt": record.execution_stopped_at,
        "stoppedAt": record.stopped_at,
        "stopCode": record.stop_code,
        "stoppedReason": record.stopped_reason,
    }
    shape |= {name: value for name, value in optional.items() if value is not None}
    return shape


# Task records are immutable: what one looks like is worked out once, until a newer record takes its place.
_shapes: dict[tuple[str, bool], tuple[Task, msgspec.Raw]] = {}
_SHAPES_KEPT = 4096


def cached_task(view: View, record: Task, *, tags: bool = False) -> msgspec.Raw:
    """`task` as JSON, encoded once per record."""
    key = (record.arn, tags)
    hit = _shapes.get(key)
    if hit is not None and hit[0] is record:
        return hit[1]
    raw = msgspec.Raw(msgspec.json.encode(task(view, record, tags=tags)))
    if len(_shapes) >= _SHAPES_KEPT:
        _shapes.clear()
    _shapes[key] = (record, raw)
    return raw


def _is_reported(record: Task) -> bool:
    """Has anybody told of its containers yet? Before, nothing is said of their health (§2.2)."""
    return record.last_status not in ("PROVISIONING", "PENDING")


def _architecture(document: Document | None) -> str:
    asked = (document.runtime_platform or {}).get("cpuArchitecture") if document is not None else None
    return "arm64" if asked == "ARM64" else "x86_64"


def _attachment(record: Task, interface: Interface) -> Shape:
    details = [{"name": "subnetId", "value": interface.subnet_id}]
    if interface.ipv4 is not None:
        details += [
            {"name": "networkInterfaceId", "value": interface.interface_id or ""},
            {"name": "macAddress", "value": interface.mac or ""},
            {"name": "privateDnsName", "value": private_dns_name(interface.ipv4, record.region)},
            {"name": "privateIPv4Address", "value": interface.ipv4},
        ]
    status = "PRECREATED" if interface.ipv4 is None else "ATTACHED" if record.last_status in _ATTACHED else "DETACHING"
    if record.last_status == "STOPPED":
        status = "DELETED"
    return {"id": interface.attachment_id, "type": "ElasticNetworkInterface", "status": status, "details": details}


def _volume_attachment(record: Task, volume: AttachedVolume) -> Shape:
    details = {
        "roleArn": volume.role_arn,
        "deleteOnTermination": "true" if volume.delete_on_termination else "false",
        "volumeName": volume.name,
        "volumeId": volume.volume_id,
    }
    waits = record.last_status in ("PROVISIONING", "PENDING") and record.sandbox_id is None
    status = "ATTACHING" if waits else "ATTACHED" if record.last_status in _ATTACHED else "DETACHING"
    if record.last_status == "STOPPED":
        status = "DELETED"
    return {
        "id": volume.attachment_id,
        "type": "AmazonElasticBlockStorage",
        "status": status,
        "details": [{"name": name, "value": value} for name, value in details.items()],
    }


def _container(record: Task, container: Container, definition: Any) -> Shape:
    interface = record.interface
    overrides = (record.overrides or {}).get("containerOverrides") or ()
    override: Shape = next((o for o in overrides if o.get("name") == container.name), {})
    shape: Shape = {
        "containerArn": container.id,
        "taskArn": record.arn,
        "name": container.name,
        "image": container.image,
        "lastStatus": container.last_status,
        "networkInterfaces": [],
        "cpu": str(override.get("cpu") or (definition.cpu if definition is not None else None) or 0),
    }
    if _is_reported(record):
        shape["healthStatus"] = container.health if definition is not None and definition.is_checked else "UNKNOWN"
    if interface is not None and interface.ipv4 is not None:
        shape["networkInterfaces"] = [{"attachmentId": interface.attachment_id, "privateIpv4Address": interface.ipv4}]
    if record.instance is not None and interface is None:
        shape["networkBindings"] = [_binding(b) for b in container.bindings]
    for name, defined in (
        ("memory", definition.memory if definition is not None else None),
        ("memoryReservation", definition.memory_reservation if definition is not None else None),
    ):
        value = defined if override.get(name) is None else override[name]
        if value is not None:
            shape[name] = str(value)
    if record.enable_execute_command:
        running = container.known == "RUNNING"
        shape["managedAgents"] = [
            {"name": "ExecuteCommandAgent", "lastStatus": "PENDING" if not running else "STOPPED"}
        ]
    optional = {
        "imageDigest": container.image_digest,
        "runtimeId": container.runtime_id,
        "exitCode": container.exit_code,
        "reason": container.reason,
    }
    return shape | {name: value for name, value in optional.items() if value is not None}


def _binding(binding: NetworkBinding) -> Shape:
    shape: Shape = {"bindIP": binding.bind_ip, "protocol": binding.protocol}
    if binding.container_port_range is not None:
        return shape | {
            "containerPortRange": binding.container_port_range,
            "hostPortRange": binding.host_port_range or "",
        }
    return shape | {"containerPort": binding.container_port, "hostPort": binding.host_port}


def _overrides(record: Task) -> Shape:
    given = record.overrides or {}
    named = {o.get("name"): o for o in given.get("containerOverrides") or ()}
    shape = {key: value for key, value in given.items() if key != "containerOverrides"}
    every = [named.get(c.name) or {"name": c.name} for c in record.containers]
    shape["containerOverrides"] = every if record.waiting is None else list(named.values())
    shape.setdefault("inferenceAcceleratorOverrides", [])
    return shape
