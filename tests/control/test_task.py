"""The life of tasks, in the simulated world: what `tests/simulation` does not tell (semantics ecs-tasks §2–§8)."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from moorage.domain.network import Subnet
from moorage.engine.simulated_container import SimulatedImage
from moorage.simulation.network import SCOPE, VPC
from moorage.store.tables.ecs import TASKS
from moorage.store.tables.network import NETWORK_INTERFACES

from .virtual_world import VIRTUAL, PortsWorld, a_world, quiet_log, virtual_time  # noqa: F401

pytestmark = VIRTUAL
CHECK = {"command": ["CMD", "true"], "interval": 5}


def waits(name: str, condition: str) -> dict[str, Any]:
    return {"dependsOn": [{"containerName": name, "condition": condition}]}


async def described(world: PortsWorld, arn: str) -> dict[str, Any]:
    answer = await world.ecs("DescribeTasks", cluster="main", tasks=[arn])
    [task] = msgspec.json.decode(msgspec.json.encode(answer))["tasks"]
    return dict(task)


async def test_the_whole_life(world: PortsWorld) -> None:
    seen: list[str] = []
    world.store.watch(lambda changes: seen.extend(c.after.last_status for c in changes if c.table is TASKS and c.after))
    [arn] = await world.run_task()
    await world.status(arn, "RUNNING")
    running = await described(world, arn)
    [attachment], [container] = running["attachments"], running["containers"]
    assert attachment["status"] == "ATTACHED"
    details = {one["name"]: one["value"] for one in attachment["details"]}
    assert set(details) == {
        "subnetId",
        "networkInterfaceId",
        "macAddress",
        "privateDnsName",
        "privateIPv4Address",
    }
    address = details["privateIPv4Address"]
    assert details["privateDnsName"] == f"ip-{address.replace('.', '-')}.us-east-1.compute.internal"
    assert container["networkInterfaces"] == [{"attachmentId": attachment["id"], "privateIpv4Address": address}]
    assert container["lastStatus"] == "RUNNING"
    assert running["healthStatus"] == container["healthStatus"] == "UNKNOWN"
    assert container["imageDigest"].startswith("sha256:")
    assert running["connectivity"] == "CONNECTED"
    await world.stop_task(arn)
    await world.status(arn, "STOPPED")
    stopped = await described(world, arn)
    [attachment], [container] = stopped["attachments"], stopped["containers"]
    assert attachment["status"] == "DELETED"
    assert (container["lastStatus"], container["exitCode"]) == ("STOPPED", 143)
    times = (
        "createdAt", "connectivityAt", "pullStartedAt", "pullStoppedAt", "startedAt", "stoppingAt", "executionStoppedAt",
        "stoppedAt",
    )  # fmt: skip
    assert sorted(times, key=lambda name: stopped[name]) == list(times)
    assert list(dict.fromkeys(seen)) == [
        "PROVISIONING", "PENDING", "ACTIVATING", "RUNNING", "DEACTIVATING", "STOPPING", "DEPROVISIONING", "STOPPED",
    ]  # fmt: skip
    await world.settled()


async def test_containers_start_in_the_order_of_their_dependencies_and_stop_in_reverse(world: PortsWorld) -> None:
    world.engine.images |= {
        "once": SimulatedImage(exits_after=2, exit_code=0),
        "slow": SimulatedImage(healthy_after=3),
        "stubborn": SimulatedImage(ignores_sigterm=True),
    }
    arn = await world.pair(
        {"image": "once", "essential": False},
        {"image": "slow", "healthCheck": CHECK, **waits("a", "SUCCESS")},
        {"image": "stubborn", "stopTimeout": 4, **waits("b", "HEALTHY")},
        {**waits("c", "START")},
    )
    await world.status(arn, "RUNNING")
    assert world.verbs("start") == ["start a", "start b", "start c", "start d"]
    task = world.task(arn)
    started = {c.name: c.started_at for c in task.containers}
    assert started["b"] - started["a"] >= 2
    assert started["c"] - started["b"] >= 3
    await world.stop_task(arn)
    await world.status(arn, "STOPPED")
    assert world.verbs("stop") == ["stop d", "stop c", "stop b"]
    task = world.task(arn)
    assert {c.name: c.exit_code for c in task.containers} == {"a": 0, "b": 143, "c": 137, "d": 143}
    ended = {c.name: c.finished_at for c in task.containers}
    assert ended["b"] > ended["c"] > ended["d"]
    await world.settled()


@pytest.mark.parametrize(
    ("first", "condition", "why"),
    [
        (SimulatedImage(exits_after=1, exit_code=3), "SUCCESS", "but it exited with 3"),
        (SimulatedImage(healthy_after=None), "HEALTHY", "but its startTimeout elapsed"),
        (SimulatedImage(exits_after=100), "COMPLETE", "but its startTimeout elapsed"),
    ],
)
async def test_a_dependency_that_is_never_met_ends_the_task(
    world: PortsWorld, first: SimulatedImage, condition: str, why: str
) -> None:
    world.engine.images["first"] = first
    health = {"healthCheck": CHECK} if condition == "HEALTHY" else {}
    arn = await world.pair(
        {"image": "first", "essential": False, "startTimeout": 10, **health}, {**waits("a", condition)}
    )
    await world.status(arn, "STOPPED", within=200)
    task = world.task(arn)
    assert task.stop_code == "TaskFailedToStart"
    assert (task.stopped_reason or "").startswith(f"TaskDependencyError: container b waits for a to be {condition}")
    assert (task.stopped_reason or "").endswith(why)
    assert "start b" not in world.verbs("start")
    await world.settled()


async def test_a_dependency_that_completes_may_exit_as_it_likes(world: PortsWorld) -> None:
    world.engine.images["first"] = SimulatedImage(exits_after=1, exit_code=3)
    arn = await world.pair({"image": "first", "essential": False}, {**waits("a", "COMPLETE")})
    await world.status(arn, "RUNNING")


async def test_a_sidecar_that_is_not_essential_may_end(world: PortsWorld) -> None:
    world.engine.images["short"] = SimulatedImage(exits_after=5, exit_code=9)
    arn = await world.pair({}, {"image": "short", "essential": False})
    await world.status(arn, "RUNNING")
    await world.run_for(30)
    task = world.task(arn)
    assert task.last_status == "RUNNING"
    assert {c.name: c.last_status for c in task.containers} == {"a": "RUNNING", "b": "STOPPED"}
    assert task.execution_stopped_at is None


@pytest.mark.parametrize(
    ("image", "code", "reason", "detail"),
    [
        (
            SimulatedImage(pull_failure="pull access denied"),
            "TaskFailedToStart",
            "CannotPullContainerError: pull access denied",
            "CannotPullContainerError: pull access denied",
        ),
        (
            SimulatedImage(start_failure="exec: no such file"),
            "TaskFailedToStart",
            "Task failed to start",
            "CannotStartContainerError: exec: no such file",
        ),
        (SimulatedImage(exits_after=0.0, exit_code=7), "EssentialContainerExited", None, None),
    ],
)
@pytest.mark.parametrize("essential", [True, False])
async def test_a_container_that_does_not_start(
    world: PortsWorld, image: SimulatedImage, code: str, reason: str | None, detail: str | None, essential: bool
) -> None:
    world.engine.images["bad"] = image
    arn = await world.pair({}, {"image": "bad", "essential": essential})
    if not essential and code == "EssentialContainerExited":
        await world.status(arn, "RUNNING")
        return
    await world.status(arn, "STOPPED")
    task = world.task(arn)
    bad = task.container("b")
    assert bad is not None
    assert task.stop_code == code
    assert bad.reason == detail
    if essential:
        assert task.stopped_reason == (reason or "Essential container in task exited")
    if code == "TaskFailedToStart":
        assert bad.exit_code is None
        assert task.started_at is None
    await world.settled()


@pytest.mark.parametrize("moment", [0.001, 0.01, 0.1, 0.2, 0.35, 0.5, 0.7, 0.8, 0.9, 1.0, 1.2, 2.5, 4.0])
async def test_a_task_can_be_stopped_at_any_moment(world: PortsWorld, moment: float) -> None:
    world.engine.images["slow"] = SimulatedImage(pull=0.4, start=0.4, healthy_after=1)
    arn = await world.pair({"image": "slow", "healthCheck": CHECK}, {"image": "slow", **waits("a", "HEALTHY")})
    await asyncio.sleep(moment)
    await world.stop_task(arn, reason="enough")
    await world.status(arn, "STOPPED", within=20)
    task = world.task(arn)
    assert (task.stop_code, task.stopped_reason) == ("UserInitiated", "enough")
    assert {c.last_status for c in task.containers} == {"STOPPED"}
    assert world.store.find(NETWORK_INTERFACES, "owner", arn) == ()
    await world.settled()


@pytest.mark.parametrize("verb", ["start_sandbox", "pull", "create", "start", "stop", "remove", "remove_sandbox"])
async def test_an_answer_that_is_lost_is_asked_for_again(world: PortsWorld, verb: str) -> None:
    world.engine.lose_answer(verb)
    [arn] = await world.run_task()
    await world.status(arn, "RUNNING")
    assert len(world.engine.of_task(arn)) == 1
    await world.stop_task(arn)
    await world.status(arn, "STOPPED")
    assert world.task(arn).containers[0].exit_code == 143
    await world.settled()


@pytest.mark.parametrize("moment", [0.001, 0.1, 0.3, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("stop", [False, True])
async def test_the_engine_may_be_away_at_any_moment(world: PortsWorld, moment: float, stop: bool) -> None:
    [arn] = await world.run_task()
    await asyncio.sleep(moment)
    away = asyncio.ensure_future(world.engine.outage(40))
    if stop:
        await asyncio.sleep(1)
        await world.stop_task(arn)
    await away
    await world.status(arn, "STOPPED" if stop else "RUNNING")
    if stop:
        await world.settled()
    else:
        assert len(world.engine.of_task(arn)) == 1


@pytest.mark.parametrize("moment", [0.1, 0.6, 1.2, 2.0, 4.5, 5.3, 6.0, 7.0])
async def test_a_task_of_several_containers_survives_a_kill_at_any_moment(world: PortsWorld, moment: float) -> None:
    world.engine.images |= {"once": SimulatedImage(exits_after=1), "slow": SimulatedImage(healthy_after=1, stop=1)}
    arn = await world.pair(
        {"image": "once", "essential": False},
        {"image": "slow", "healthCheck": CHECK, **waits("a", "SUCCESS")},
        {"image": "slow", **waits("b", "HEALTHY")},
    )
    stop = asyncio.get_running_loop().call_later(4, lambda: asyncio.ensure_future(stopping()))

    async def stopping() -> None:
        await world.stop_task(arn)

    await asyncio.sleep(moment)
    if moment > 3:
        stop.cancel()
        await asyncio.sleep(0)
        if world.task(arn).desired_status == "RUNNING":
            await world.stop_task(arn)
    await world.restart_control_plane(after=0.5)
    await world.until(lambda: world.task(arn).last_status in ("RUNNING", "STOPPED"))
    if world.task(arn).last_status == "RUNNING":
        stop.cancel()
        await world.stop_task(arn)
    await world.status(arn, "STOPPED")
    task = world.task(arn)
    assert {c.name: c.exit_code for c in task.containers} == {"a": 0, "b": 143, "c": 143}
    await world.settled()


# --- network ---------------------------------------------------------------------------------------------------------
async def test_a_full_subnet_refuses_and_serves_again(world: PortsWorld) -> None:
    world.networks.by_id = {
        "subnet-9": Subnet(SCOPE.account, SCOPE.region, "subnet-9", VPC, "10.9.0.0/28", "us-east-1a")
    }
    arns = [arn for _ in range(2) for arn in await world.run_task(count=6)]
    await world.until(lambda: {world.task(arn).last_status for arn in arns} <= {"RUNNING", "STOPPED"})
    running = [arn for arn in arns if world.task(arn).last_status == "RUNNING"]
    assert len(running) == 11, "a /28 has eleven addresses"
    [failed] = [world.task(arn) for arn in arns if arn not in running]
    assert failed.stop_code == "TaskFailedToStart"
    assert failed.stopped_reason == (
        "Unexpected EC2 error while attempting to Create Network Interface in subnet 'subnet-9': "
        "InsufficientFreeAddressesInSubnet"
    )
    public = {"awsvpcConfiguration": {"subnets": ["subnet-9"], "assignPublicIp": "ENABLED"}}
    one = {"cluster": "main", "taskDefinition": "web", "launchType": "FARGATE", "networkConfiguration": public}
    [told] = (await world.ecs("RunTask", **one))["tasks"]
    await world.status(told["taskArn"], "STOPPED")
    enabled = "Create Network Interface with public IP assignment enabled in subnet 'subnet-9': "
    assert enabled in (world.task(told["taskArn"]).stopped_reason or "")
    await world.stop_task(running[0])
    await world.status(running[0], "STOPPED")
    [again] = await world.run_task()
    await world.status(again, "RUNNING")
    assert len({world.task(arn).interface.ipv4 for arn in [*running[1:], again]}) == 11  # type: ignore[union-attr]


async def test_the_pause_container_of_a_starting_task_dies(world: PortsWorld) -> None:
    world.engine.images["web"] = SimulatedImage(pull=5)
    [arn] = await world.run_task()
    await world.until(lambda: world.task(arn).sandbox_id is not None)
    world.engine.kill_sandbox(arn)
    await world.status(arn, "STOPPED")
    task = world.task(arn)
    assert task.stop_code == "TaskFailedToStart"
    assert "network namespace went away" in (task.stopped_reason or "")
    await world.settled()


# --- secrets, registry credentials, logs -----------------------------------------------------------------------------
async def test_secrets_reach_the_environment(world: PortsWorld) -> None:
    world.secrets.values["/db"] = "s3cret"
    arn = await world.pair(
        {"secrets": [{"name": "DB", "valueFrom": "/db"}], "environment": [{"name": "A", "value": "1"}]}
    )
    await world.status(arn, "RUNNING")
    [container] = world.engine.of_task(arn)
    assert container.spec.environment | {"DB": "s3cret", "A": "1"} == container.spec.environment


@pytest.mark.parametrize(
    ("members", "why"),
    [
        (
            {"secrets": [{"name": "DB", "valueFrom": "/none"}]},
            "unable to retrieve secrets from ssm: service call has been retried 1 time(s): invalid ssm parameters: /none",
        ),
        (
            {"secrets": [{"name": "DB", "valueFrom": "arn:aws:ssm:us-east-1:000000000000:parameter/none"}]},
            "(s): invalid ssm parameters: none",
        ),
        (
            {"secrets": [{"name": "DB", "valueFrom": "arn:aws:ssm:us-east-1:000000000000:parameter/a/none"}]},
            "(s): invalid ssm parameters: /a/none",
        ),
        ({"repositoryCredentials": {"credentialsParameter": "/none"}}, "(s): invalid ssm parameters: /none"),
        ({"repositoryCredentials": {"credentialsParameter": "/odd"}}, "it does not hold a username and a password"),
    ],
)
async def test_a_secret_that_cannot_be_read_ends_the_task(world: PortsWorld, members: dict[str, Any], why: str) -> None:
    world.secrets.values["/odd"] = '{"user": "x"}'
    arn = await world.pair(members)
    await world.status(arn, "STOPPED")
    task = world.task(arn)
    assert task.stop_code == "TaskFailedToStart"
    assert (task.stopped_reason or "").startswith(
        "ResourceInitializationError: unable to pull secrets or registry auth"
    )
    assert why in (task.stopped_reason or "")
    assert world.verbs("start") == []
    assert "pullStartedAt" not in await described(world, arn)
    await world.settled()


async def test_registry_credentials_go_to_the_registry(world: PortsWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world.secrets.values["/registry"] = '{"username": "me", "password": "pw"}'
    given: list[Any] = []
    pull = world.engine.pull

    async def noting(image: str, auth: Any = None, **how: Any) -> Any:
        given.append(auth)
        return await pull(image, auth, **how)

    monkeypatch.setattr(world.engine, "pull", noting)
    arn = await world.pair({"repositoryCredentials": {"credentialsParameter": "/registry"}})
    await world.status(arn, "RUNNING")
    assert [(auth.username, auth.password) for auth in given] == [("me", "pw")]


def awslogs(group: str, **options: str) -> dict[str, Any]:
    given = {"awslogs-group": group, "awslogs-region": "us-east-1", "awslogs-stream-prefix": "p", **options}
    return {"logConfiguration": {"logDriver": "awslogs", "options": given}}


async def test_a_log_group_that_is_missing_ends_the_task(world: PortsWorld) -> None:
    arn = await world.pair(awslogs("nowhere"))
    await world.status(arn, "STOPPED")
    task = world.task(arn)
    assert task.stop_code == "TaskFailedToStart"
    assert "The specified log group does not exist." in (task.stopped_reason or "")
    assert world.engine.counts["start"] == 0
    await world.settled()


async def test_output_is_followed_and_drained_before_the_container_goes(world: PortsWorld) -> None:
    arn = await world.pair(awslogs("known"), awslogs("new", **{"awslogs-create-group": "true"}), {})
    await world.status(arn, "RUNNING")
    assert sorted(world.logs.said) == [("follow", "a"), ("follow", "b")]
    await world.restart_control_plane()
    await world.run_for(5)
    assert set(world.logs.said[2:]) == {("follow", "a"), ("follow", "b")}, "followed again after a restart"
    containers = {c.name: c.runtime_id for c in world.task(arn).containers}
    await world.stop_task(arn)
    await world.status(arn, "STOPPED")
    assert {("drain", containers["a"]), ("drain", containers["b"])} <= set(world.logs.said)


# --- volumes ---------------------------------------------------------------------------------------------------------
async def test_a_volume_is_shared_by_the_containers_of_a_task_and_ends_with_it(world: PortsWorld) -> None:
    mount = {"mountPoints": [{"sourceVolume": "data", "containerPath": "/data"}]}
    readable = {"mountPoints": [{"sourceVolume": "data", "containerPath": "/in", "readOnly": True}]}
    arn = await world.pair(mount, readable, volumes=[{"name": "data", "host": {}}, {"name": "unused"}])
    await world.status(arn, "RUNNING")
    mounts = {c.spec.name: c.spec.mounts for c in world.engine.of_task(arn)}
    name = f"moorage-{world.task(arn).id}-data"
    assert [(m.source, m.target, m.read_only) for m in mounts["a"]] == [(name, "/data", False)]
    assert [(m.source, m.target, m.read_only) for m in mounts["b"]] == [(name, "/in", True)]
    assert world.engine.leaks([]).count(f"volume {name}") == 1
    await world.stop_task(arn)
    await world.status(arn, "STOPPED")
    assert world.engine.leaks([]) == []


@pytest.mark.parametrize("moment", [0.6, 0.9, 1.0, 1.1, 1.2, 1.3, 1.5])
async def test_volumes_go_also_when_the_control_plane_is_killed_meanwhile(world: PortsWorld, moment: float) -> None:
    mount = {"mountPoints": [{"sourceVolume": "data", "containerPath": "/data"}]}
    arn = await world.pair(mount, volumes=[{"name": "data"}])
    await world.status(arn, "RUNNING")
    await world.stop_task(arn)
    await asyncio.sleep(moment)
    await world.restart_control_plane()
    await world.status(arn, "STOPPED")
    await world.settled()


async def test_network_settings_go_to_the_namespace_of_the_task(world: PortsWorld) -> None:
    arn = await world.pair({"systemControls": [{"namespace": "net.core.somaxconn", "value": "1024"}]})
    await world.status(arn, "RUNNING")
    [container] = world.engine.of_task(arn)
    assert container.spec.system_controls == {}


# --- restart policies (ecs-tasks §6) ---------------------------------------------------------------------------------
def policy(**members: Any) -> dict[str, Any]:
    return {"restartPolicy": {"enabled": True, "restartAttemptPeriod": 60, **members}}


async def test_a_container_is_started_again_and_the_task_goes_on(world: PortsWorld) -> None:
    world.engine.images["ends"] = SimulatedImage(exits_after=90, exit_code=1)
    arn = await world.pair({"image": "ends", **policy(), **awslogs("known")}, {})
    await world.status(arn, "RUNNING")
    before = world.task(arn).containers[0].runtime_id
    await world.run_for(300)
    task = world.task(arn)
    assert (task.last_status, task.desired_status) == ("RUNNING", "RUNNING")
    [first, _] = task.containers
    assert (first.restarts, first.restarted_after) == (3, 1)
    assert (first.runtime_id, first.exit_code) == (before, None)
    assert world.logs.said.count(("follow", "a")) == 4
    assert task.execution_stopped_at is None
    await world.stop_task(arn)
    await world.settled()
    assert {c.exit_code for c in world.task(arn).containers} == {143}


@pytest.mark.parametrize(
    ("image", "members"),
    [
        (SimulatedImage(exits_after=59, exit_code=1), {}),
        (SimulatedImage(exits_after=90, exit_code=5), {"ignoredExitCodes": [3, 5]}),
        (SimulatedImage(exits_after=90, exit_code=1), {"enabled": False}),
        (SimulatedImage(exits_after=90, exit_code=1), {"restartAttemptPeriod": 180}),
        (SimulatedImage(exits_after=250, exit_code=1), {"restartAttemptPeriod": None}),
    ],
)
async def test_a_container_that_is_not_started_again(
    world: PortsWorld, image: SimulatedImage, members: dict[str, Any]
) -> None:
    world.engine.images["ends"] = image
    given = policy(**members)
    given["restartPolicy"] = {k: v for k, v in given["restartPolicy"].items() if v is not None}
    arn = await world.pair({"image": "ends", **given})
    await world.status(arn, "STOPPED", within=400)
    task = world.task(arn)
    assert (task.stop_code, task.containers[0].restarts) == ("EssentialContainerExited", 0)
    assert task.containers[0].exit_code == image.exit_code
    await world.settled()


async def test_a_second_end_soon_after_the_restart_is_final(world: PortsWorld) -> None:
    world.engine.images["ends"] = SimulatedImage(exits_after=90, exit_code=1)
    arn = await world.pair({"image": "ends", **policy()})
    await world.status(arn, "RUNNING")
    await world.until(lambda: world.task(arn).containers[0].restarts == 1, within=200)
    await world.run_for(5)
    world.engine.kill(world.engine.of_task(arn)[0].id)
    await world.status(arn, "STOPPED")
    assert world.task(arn).containers[0].exit_code == 137
    await world.settled()


@pytest.mark.parametrize("moment", [89.9, 90.1, 90.3, 90.5, 91.0, 95.0])
async def test_a_restart_survives_a_kill_of_the_control_plane(world: PortsWorld, moment: float) -> None:
    world.engine.images["ends"] = SimulatedImage(exits_after=90, exit_code=1)
    arn = await world.pair({"image": "ends", **policy()})
    await world.until(lambda: world.task(arn).containers[0].known == "RUNNING")
    started = world.task(arn).containers[0].started_at
    await asyncio.sleep(started + moment - world.clock.now())
    await world.restart_control_plane(after=1)
    await world.run_for(30)
    task = world.task(arn)
    assert (task.last_status, task.containers[0].restarts, task.containers[0].known) == ("RUNNING", 1, "RUNNING")
    assert [c.state for c in world.engine.of_task(arn)] == ["running"]
    await world.stop_task(arn)
    await world.settled()
