"""What tasks need from elsewhere, and what they show of it, in the simulated world (semantics ecs-tasks §10, §18–§20)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from moorage.engine.simulated_container import SimulatedImage

from .virtual_world import VIRTUAL, PortsWorld, a_world, quiet_log, virtual_time  # noqa: F401

pytestmark = VIRTUAL


async def described(world: PortsWorld, arn: str) -> dict[str, Any]:
    answer = await world.ecs("DescribeTasks", cluster="main", tasks=[arn])
    [task] = msgspec.json.decode(msgspec.json.encode(answer))["tasks"]
    return dict(task)


def environment_of(world: PortsWorld, arn: str, name: str = "a") -> dict[str, str]:
    [container] = [c for c in world.engine.of_task(arn) if c.spec.name == name]
    return dict(container.spec.environment)


def env_file(key: str) -> dict[str, str]:
    return {"type": "s3", "value": f"arn:aws:s3:::bucket/{key}"}


async def test_environment_files_are_below_the_definition_and_the_first_of_them_counts(world: PortsWorld) -> None:
    world.objects.content |= {
        "bucket/one.env": b"A=one\nB=one\nC=one\n# D=comment\n",
        "bucket/two.env": b"B=two\nE=two\n",
        "bucket/other.env": b"F=other\n",
    }
    definition = {
        "environmentFiles": [env_file("one.env"), env_file("two.env")],
        "environment": [{"name": "A", "value": "definition"}],
    }
    arn = await world.pair(definition)
    await world.status(arn, "RUNNING")
    found = environment_of(world, arn)
    assert {name: found.get(name) for name in "ABCDE"} == {
        "A": "definition", "B": "one", "C": "one", "D": None, "E": "two",
    }  # fmt: skip
    override = {"containerOverrides": [{"name": "a", "environmentFiles": [env_file("other.env")]}]}
    [arn] = await world.run_task("pair", overrides=override)
    await world.status(arn, "RUNNING")
    found = environment_of(world, arn)
    assert {name: found.get(name) for name in "ABF"} == {"A": "definition", "B": None, "F": "other"}


async def test_an_environment_file_that_is_not_there_ends_the_task_before_anything_starts(world: PortsWorld) -> None:
    arn = await world.pair({"environmentFiles": [env_file("none.env")]})
    await world.status(arn, "STOPPED")
    task = world.task(arn)
    assert (task.stop_code, task.stopped_reason) == (
        "TaskFailedToStart",
        "ResourceInitializationError: failed to download env files: file download command: non empty error stream: "
        "service call has been retried 1 time(s): failed to download arn:aws:s3:::bucket/none.env: NoSuchKey: The "
        "specified key does not exist.",
    )
    assert world.verbs("start") == []
    await world.settled()


async def test_a_secret_is_read_once_for_all_steps_and_again_for_the_next_task(world: PortsWorld) -> None:
    world.secrets.values["/db"] = "old"
    members = {"secrets": [{"name": "DB", "valueFrom": "/db"}]}
    first = await world.pair(members, members)
    await world.status(first, "RUNNING")
    world.secrets.values["/db"] = "new"
    [second] = await world.run_task("pair")
    await world.status(second, "RUNNING")
    assert [environment_of(world, arn, name)["DB"] for arn in (first, second) for name in "ab"] == [
        "old", "old", "new", "new",
    ]  # fmt: skip
    steps = world.process.plane.tasks.steps if world.process is not None else None
    assert steps is not None
    assert steps._resources._kept == {}


async def test_a_router_starts_first_stops_last_and_everybody_knows_where_it_is(world: PortsWorld) -> None:
    world.secrets.values["/token"] = "t0ken"
    log = {
        "logDriver": "awsfirelens",
        "options": {"Name": "http"},
        "secretOptions": [{"name": "key", "valueFrom": "/token"}],
    }
    arn = await world.pair(
        {"logConfiguration": log}, {"firelensConfiguration": {"type": "fluentbit"}, "essential": False}
    )
    await world.status(arn, "RUNNING")
    assert world.verbs("start") == ["start b", "start a"]
    app, router = sorted(world.engine.of_task(arn), key=lambda one: one.spec.name)
    assert app.spec.log_driver is not None
    folder = app.spec.log_driver.options["fluentd-address"].removeprefix("unix://").removesuffix("/fluent.sock")
    assert folder == f"/volumes/{router.spec.mounts[0].source}"
    assert (app.spec.environment["FLUENT_HOST"], app.spec.environment["FLUENT_PORT"]) == ("127.0.0.1", "24224")
    assert router.spec.environment["key_0"] == "t0ken"
    assert b"key ${key_0}" in router.spec.files["/fluent-bit/etc/fluent-bit.conf"]
    await world.stop_task(arn)
    await world.status(arn, "STOPPED")
    assert world.verbs("stop") == ["stop a", "stop b"]
    await world.settled()


async def test_a_file_system_is_one_volume_and_an_access_point_a_folder_in_it(world: PortsWorld) -> None:
    world.file_systems.points["fs-1"] = {"fsap-1": "/teams/blue"}
    authorization = {"accessPointId": "fsap-1", "iam": "DISABLED"}
    volumes = [
        {"name": "all", "efsVolumeConfiguration": {"fileSystemId": "fs-1", "rootDirectory": "/data/../../data/"}},
        {
            "name": "mine",
            "efsVolumeConfiguration": {
                "fileSystemId": "fs-1",
                "transitEncryption": "ENABLED",
                "authorizationConfig": authorization,
            },
        },
    ]
    points = [{"sourceVolume": one, "containerPath": f"/{one}"} for one in ("all", "mine")]
    arn = await world.pair({"mountPoints": points}, volumes=volumes)
    await world.status(arn, "RUNNING")
    [container] = world.engine.of_task(arn)
    base = "/volumes/moorage-efs-000000000000-us-east-1-fs-1"
    assert {m.target: m.source for m in container.spec.mounts} == {
        "/all": f"{base}/data",
        "/mine": f"{base}/teams/blue",
    }
    await world.stop_task(arn)
    await world.status(arn, "STOPPED")
    assert list(world.engine._volumes) == ["moorage-efs-000000000000-us-east-1-fs-1"]
    await world.settled()


async def test_a_file_system_that_is_not_there_ends_the_task(world: PortsWorld) -> None:
    volumes = [{"name": "data", "efsVolumeConfiguration": {"fileSystemId": "fs-9"}}]
    arn = await world.pair({"mountPoints": [{"sourceVolume": "data", "containerPath": "/d"}]}, volumes=volumes)
    await world.status(arn, "STOPPED")
    reason = world.task(arn).stopped_reason or ""
    assert reason.startswith("ResourceInitializationError: failed to invoke EFS utils commands to set up EFS volumes")
    assert reason.endswith(
        'stderr: Failed to resolve "fs-9.efs.us-east-1.amazonaws.com" - check that your file system ID is correct, and '
        "ensure that the VPC has an EFS mount target for this file system ID. See "
        "https://docs.aws.amazon.com/console/efs/mount-dns-name for more detail."
    )


@pytest.mark.parametrize("kept", [False, True])
async def test_a_volume_configured_at_launch_ends_with_the_task_unless_it_is_to_be_kept(
    world: PortsWorld, kept: bool
) -> None:
    point = {"sourceVolume": "data", "containerPath": "/data"}
    one = {"name": "a", "image": "web", "mountPoints": [point]}
    await world.ecs(
        "RegisterTaskDefinition", family="stateful", networkMode="awsvpc", requiresCompatibilities=["FARGATE"],
        cpu="256", memory="512", containerDefinitions=[one], volumes=[{"name": "data", "configuredAtLaunch": True}],
    )  # fmt: skip
    settings = {"roleArn": "r", "sizeInGiB": 1, "terminationPolicy": {"deleteOnTermination": not kept}}
    given = [{"name": "data", "managedEBSVolume": settings}]
    [arn] = await world.run_task("stateful", volumeConfigurations=given)
    await world.status(arn, "RUNNING")
    [attachment] = [a for a in (await described(world, arn))["attachments"] if a["type"] == "AmazonElasticBlockStorage"]
    assert attachment["status"] == "ATTACHED"
    await world.stop_task(arn)
    await world.status(arn, "STOPPED")
    assert len(world.engine._volumes) == int(kept)
    await world.settled()


# --- versions --------------------------------------------------------------------------------------------------------
async def test_versions_are_counted_as_aws_counts_them(world: PortsWorld) -> None:
    world.engine.images |= {
        "short": SimulatedImage(exits_after=5, exit_code=0),
        "missing": SimulatedImage(pull_failure="gone"),
    }
    finished = await world.pair({"image": "short"})
    await world.status(finished, "STOPPED")
    assert (await described(world, finished))["version"] == 5
    failed = await world.pair({"image": "missing"})
    await world.status(failed, "STOPPED")
    shown = await described(world, failed)
    assert shown["version"] == 4
    assert not {"pullStartedAt", "pullStoppedAt", "startedAt"} & set(shown)
    assert shown["executionStoppedAt"]


async def test_reasons_are_cut_at_1024_characters(world: PortsWorld) -> None:
    world.engine.images["missing"] = SimulatedImage(pull_failure="x" * 5000)
    arn = await world.pair({"image": "missing"})
    await world.status(arn, "STOPPED")
    shown = await described(world, arn)
    assert len(shown["stoppedReason"]) == len(shown["containers"][0]["reason"]) == 1024


async def test_an_image_for_another_processor_ends_the_task_with_its_reason(world: PortsWorld) -> None:
    arn = await world.pair({}, runtimePlatform={"cpuArchitecture": "ARM64", "operatingSystemFamily": "LINUX"})
    await world.status(arn, "STOPPED")
    assert "does not contain descriptor matching platform 'linux/arm64'" in (world.task(arn).stopped_reason or "")


@pytest.mark.parametrize("verbs", range(1, 12))
async def test_the_control_plane_may_die_anywhere_between_the_resources_and_the_end(
    world: PortsWorld, verbs: int
) -> None:
    """After so many calls to the engine; the task comes up all the same, and nothing of it stays."""
    world.objects.content["bucket/one.env"] = b"A=1\n"
    world.secrets.values["/db"] = "s3cret"
    log = {"logDriver": "awsfirelens", "options": {"Name": "http"}}
    secret = [{"name": "DB", "valueFrom": "/db"}]
    point = {"sourceVolume": "scratch", "containerPath": "/scratch"}
    before = len(world.engine.history)
    arn = await world.pair(
        {
            "logConfiguration": log,
            "secrets": secret,
            "environmentFiles": [env_file("one.env")],
            "mountPoints": [point],
        },
        {"firelensConfiguration": {"type": "fluentd"}},
        volumes=[{"name": "scratch", "host": {}}],
    )
    await world.until(lambda: len(world.engine.history) - before >= verbs)
    await world.kill_control_plane()
    await world.start_control_plane()
    await world.status(arn, "RUNNING")
    found = environment_of(world, arn)
    assert (found["A"], found["DB"]) == ("1", "s3cret")
    await world.stop_task(arn)
    await world.status(arn, "STOPPED")
    assert world.engine._volumes == {}
    await world.settled()


async def test_fargate_tasks_may_open_65535_files_unless_they_say_otherwise(world: PortsWorld) -> None:
    limits = [{"name": "nofile", "softLimit": 10, "hardLimit": 20}]
    arn = await world.pair({}, {"ulimits": limits})
    await world.status(arn, "RUNNING")
    one, two = sorted((c.spec for c in world.engine.of_task(arn)), key=lambda spec: spec.name)
    assert [(u.name, u.soft, u.hard) for u in one.default_ulimits] == [("nofile", 65535, 65535)]
    assert (two.default_ulimits, [(u.soft, u.hard) for u in two.ulimits]) == ((), [(10, 20)])


async def test_what_is_started_again_needs_nothing_from_elsewhere(world: PortsWorld) -> None:
    world.engine.images["mortal"] = SimulatedImage(exits_after=70, exit_code=1)
    world.secrets.values["/db"] = "s3cret"
    policy = {"enabled": True, "restartAttemptPeriod": 60}
    members = {"image": "mortal", "restartPolicy": policy, "secrets": [{"name": "DB", "valueFrom": "/db"}]}
    arn = await world.pair(members)
    await world.status(arn, "RUNNING")
    world.secrets.values.clear()
    await world.kill_control_plane()
    await world.start_control_plane()
    await world.until(lambda: world.task(arn).containers[0].restarts == 1, within=100)
    await world.until(lambda: world.task(arn).containers[0].known == "RUNNING")
    assert world.task(arn).last_status == "RUNNING"
    assert environment_of(world, arn)["DB"] == "s3cret"
