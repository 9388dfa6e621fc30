"""volumeConfigurations: the Amazon EBS volumes that RunTask, StartTask and services configure at launch (ecs-tasks §19)."""

from __future__ import annotations

from typing import Any

from moorage.domain.errors import AwsError
from moorage.domain.task_definition import Document

TYPES = ("gp2", "gp3", "io1", "io2", "st1", "sc1", "standard")
FILE_SYSTEMS = ("ext3", "ext4", "xfs", "ntfs")
# GiB, by volume type; the others hold 1 to 16,384.
_SIZES = {
    "io1": (4, 16384),
    "io2": (4, 16384),
    "st1": (125, 16384),
    "sc1": (125, 16384),
    "standard": (1, 1024),
}
MOST_THROUGHPUT = 1000


def _refuse(message: str) -> AwsError:
    return AwsError("InvalidParameterException", message)


def check(
    document: Document, given: list[dict[str, Any]] | None, *, of_service: bool = False
) -> tuple[dict[str, Any], ...]:
    """The configurations, checked against the volumes of the task definition. Raises InvalidParameterException."""
    configurations = tuple(given or ())
    wanted = [volume.name for volume in document.volumes if volume.configured_at_launch]
    for configuration in configurations:
        name = configuration.get("name")
        if name not in wanted:
            raise _refuse(
                f"The volume name '{name}' in your request does not have a matching volume in your Task Definition"
                if all(volume.name != name for volume in document.volumes)
                else f"The volume '{name}' is not configured at launch by the task definition."
            )
        _check_one(name or "", configuration.get("managedEBSVolume"), of_service)
    if len(configurations) > 1:
        raise _refuse("volumeConfigurations can have at most 1 items.")
    if wanted and not configurations:
        raise _refuse(
            f"The task definition configures the volume '{wanted[0]}' at launch: volumeConfigurations must be specified."
        )
    return configurations


def _check_one(name: str, ebs: dict[str, Any] | None, of_service: bool) -> None:
    if ebs is None:
        raise _refuse(f"managedEBSVolume must be specified for the volume '{name}'.")
    if ebs.get("snapshotId"):
        raise _refuse("Moorage does not support snapshots of volumes yet. Leave snapshotId out and give sizeInGiB.")
    size, kind = ebs.get("sizeInGiB"), ebs.get("volumeType") or "gp3"
    if size is None:
        raise _refuse(f"Either sizeInGiB or snapshotId must be specified for the volume '{name}'.")
    if kind not in TYPES:
        raise _refuse(f"The volume type '{kind}' is not valid. Must be one of [{', '.join(TYPES)}]")
    least, most = _SIZES.get(kind, (1, 16384))
    if not least <= size <= most:
        raise _refuse(f"sizeInGiB of a {kind} volume must be between {least} and {most}.")
    if kind in ("io1", "io2") and not ebs.get("iops"):
        raise _refuse(f"iops must be specified for volumes of type {kind}.")
    if ebs.get("iops") and kind not in ("io1", "io2", "gp3"):
        raise _refuse(f"iops is not supported for volumes of type {kind}.")
    throughput = ebs.get("throughput")
    if throughput is not None and (kind != "gp3" or not 125 <= throughput <= MOST_THROUGHPUT):
        raise _refuse(f"throughput is only supported for gp3 volumes, between 125 and {MOST_THROUGHPUT}.")
    if ebs.get("filesystemType") not in (None, *FILE_SYSTEMS):
        raise _refuse(f"filesystemType must be one of [{', '.join(FILE_SYSTEMS)}].")
    if of_service and ebs.get("terminationPolicy") is not None:
        raise _refuse("terminationPolicy is not supported for services: their volumes are deleted with the task.")
