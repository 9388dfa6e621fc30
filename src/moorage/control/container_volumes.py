"""What the volumes of a task are on the engine: pure translation (ecs-tasks §19).

host, no sourcePath       an engine volume of the task's own, shared by its containers, removed with it
host, sourcePath          that directory of the host
docker, scope task        a volume of the task's own with the driver and options given, removed with it
docker, scope shared      a volume by its own name; it stays, for whoever mounts it next
EFS                       one volume per file system that outlives everything; a root directory is a folder in it
configured at launch      a volume per task, removed with it unless the configuration keeps it
"""

from __future__ import annotations

from collections.abc import Mapping

from moorage.decide.firelens import router_of
from moorage.domain.task import Task
from moorage.domain.task_definition import ContainerDefinition, Document, Volume
from moorage.engine.driver import Mount, VolumeSpec


def volume_name(task: Task, volume: Volume) -> str:
    """The engine's name of a volume that is the task's own."""
    return f"moorage-{task.id}-{volume.name}"


def socket_volume(task: Task) -> VolumeSpec:
    """Where a FireLens router listens and the engine's log driver writes: one socket, reached from both sides."""
    return VolumeSpec(f"moorage-{task.id}-.firelens", task_arn=task.arn)


def mounted(document: Document) -> tuple[Volume, ...]:
    """The volumes that a container mounts; the others are never made."""
    names = {point.source_volume for c in document.container_definitions for point in c.mount_points or ()}
    return tuple(volume for volume in document.volumes if volume.name in names)


def file_system_of(volume: Volume) -> str | None:
    """The EFS file system's id ("fs-…"), None for other volumes."""
    configuration = volume.efs_volume_configuration
    return str(configuration["fileSystemId"]) if configuration is not None else None


def wanted_volume(task: Task, volume: Volume) -> VolumeSpec | None:
    """What must be on the engine before a container mounts it; None when the mount alone makes it."""
    docker = volume.docker_volume_configuration
    if docker is not None:
        shared = docker.get("scope") == "shared"
        return VolumeSpec(
            name=str(volume.name) if shared else volume_name(task, volume),
            driver=str(docker.get("driver") or "local"),
            options=docker.get("driverOpts") or {},
            labels=docker.get("labels") or {},
            create=not shared or bool(docker.get("autoprovision")),
            outlives=shared,
            task_arn=None if shared else task.arn,
        )
    file_system = file_system_of(volume)
    if file_system is not None:
        name = f"moorage-efs-{task.account}-{task.region}-{file_system}"
        return VolumeSpec(name, outlives=True, of_installation=True)
    attached = task.volume(volume.name or "")
    if attached is not None:
        kept = not attached.delete_on_termination
        labels = {"io.moorage.volume-id": attached.volume_id}
        task_arn = None if kept else task.arn
        return VolumeSpec(volume_name(task, volume), labels=labels, outlives=kept, task_arn=task_arn)
    return None


def task_volumes(task: Task, document: Document) -> tuple[str, ...]:
    """The engine's names of the volumes that end with the task."""
    found = [socket_volume(task).name] if router_of(document) is not None else []
    for volume in mounted(document):
        spec = wanted_volume(task, volume)
        own = spec is None and not (volume.host or {}).get("sourcePath")
        if own or (spec is not None and not spec.outlives):
            found.append(volume_name(task, volume))
    return tuple(found)


def mounts(
    document: Document, definition: ContainerDefinition, task: Task, sources: Mapping[str, str]
) -> tuple[Mount, ...]:
    """`sources`: by volume, the engine's volume or directory to mount instead of the one that the name says."""
    volumes = {v.name: v for v in document.volumes}
    found = []
    for point in definition.mount_points or ():
        volume = volumes.get(point.source_volume)
        if volume is None or not point.container_path:
            continue
        source = sources.get(volume.name or "") or (volume.host or {}).get("sourcePath") or volume_name(task, volume)
        found.append(Mount(point.container_path, source, bool(point.read_only)))
    return tuple(found)
