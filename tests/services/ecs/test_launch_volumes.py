"""Volumes that are configured at launch (semantics ecs-tasks §19)."""

from __future__ import annotations

from typing import Any

import pytest

from .rig import Rig, container, run_params

INVALID = "InvalidParameterException"
EBS = {"roleArn": "arn:aws:iam::000000000000:role/ebs", "sizeInGiB": 10}
LAUNCH_VOLUMES: list[tuple[Any, str]] = [
    (None, "The task definition configures the volume 'data' at launch: volumeConfigurations must be specified."),
    (
        [{"name": "other", "managedEBSVolume": EBS}],
        "The volume name 'other' in your request does not have a matching volume in your Task Definition",
    ),
    ([{"name": "data"}], "managedEBSVolume must be specified for the volume 'data'."),
    (
        [{"name": "data", "managedEBSVolume": {"roleArn": "r"}}],
        "Either sizeInGiB or snapshotId must be specified for the volume 'data'.",
    ),
    (
        [{"name": "data", "managedEBSVolume": EBS | {"snapshotId": "snap-1"}}],
        "Moorage does not support snapshots of volumes yet. Leave snapshotId out and give sizeInGiB.",
    ),
    (
        [{"name": "data", "managedEBSVolume": EBS | {"volumeType": "st1"}}],
        "sizeInGiB of a st1 volume must be between 125 and 16384.",
    ),
    (
        [{"name": "data", "managedEBSVolume": EBS | {"volumeType": "io2"}}],
        "iops must be specified for volumes of type io2.",
    ),
    (
        [{"name": "data", "managedEBSVolume": EBS | {"throughput": 1001}}],
        "throughput is only supported for gp3 volumes, between 125 and 1000.",
    ),
    (
        [{"name": "data", "managedEBSVolume": EBS | {"filesystemType": "zfs"}}],
        "filesystemType must be one of [ext3, ext4, xfs, ntfs].",
    ),
]


async def a_launch_volume(main: Rig) -> None:
    point = {"sourceVolume": "data", "containerPath": "/data"}
    await main.definition(
        "stateful",
        volumes=[{"name": "data", "configuredAtLaunch": True}],
        containerDefinitions=[container(mountPoints=[point])],
    )


@pytest.mark.parametrize(("given", "message"), LAUNCH_VOLUMES)
async def test_volumes_configured_at_launch_that_are_refused(main: Rig, given: Any, message: str) -> None:
    await a_launch_volume(main)
    params = run_params(taskDefinition="stateful") | ({} if given is None else {"volumeConfigurations": given})
    for operation, more in (("RunTask", {}), ("CreateService", {"serviceName": "s", "desiredCount": 1})):
        refusal = await main.refused(operation, **params, **more)
        assert (refusal.code, refusal.message) == (INVALID, message)


async def test_a_volume_configured_at_launch_is_an_attachment(main: Rig) -> None:
    await a_launch_volume(main)
    kept = EBS | {"terminationPolicy": {"deleteOnTermination": False}}
    for settings, deleted in ((EBS, "true"), (kept, "false")):
        given = [{"name": "data", "managedEBSVolume": settings}]
        answer = await main.call("RunTask", **run_params(taskDefinition="stateful", volumeConfigurations=given))
        [attachment] = [a for a in answer["tasks"][0]["attachments"] if a["type"] == "AmazonElasticBlockStorage"]
        details = {one["name"]: one["value"] for one in attachment["details"]}
        assert attachment["status"] == "ATTACHING"
        assert details.pop("volumeId").startswith("vol-")
        assert details == {"roleArn": EBS["roleArn"], "deleteOnTermination": deleted, "volumeName": "data"}


async def test_a_service_remembers_its_volumes_configured_at_launch(main: Rig) -> None:
    await a_launch_volume(main)
    given = [{"name": "data", "managedEBSVolume": EBS}]
    params = run_params(taskDefinition="stateful", serviceName="db", desiredCount=1, volumeConfigurations=given)
    made = (await main.call("CreateService", **params))["service"]
    assert made["deployments"][0]["volumeConfigurations"] == given
    bigger = [{"name": "data", "managedEBSVolume": EBS | {"sizeInGiB": 20}}]
    after = await main.call("UpdateService", cluster="main", service="db", volumeConfigurations=bigger)
    assert after["service"]["deployments"][0]["volumeConfigurations"] == bigger
