"""What task definitions can say, seen from inside the containers: few tasks, many settings each (semantics ecs-tasks
§10, §16, §18–§21)."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.images import build_images

from .server import REGION, Server, docker
from .waiting import until

pytestmark = pytest.mark.docker

CLUSTER = "settings"
ROLE = "arn:aws:iam::000000000000:role/execution"


@pytest.fixture(scope="module")
def images() -> dict[str, str]:
    return build_images()


@pytest.fixture
def ecs(server: Server) -> Iterator[Any]:
    found = server.client("ecs")
    found.create_cluster(clusterName=CLUSTER)
    yield found
    for task in found.list_tasks(cluster=CLUSTER)["taskArns"]:
        found.stop_task(cluster=CLUSTER, task=task)


def described(ecs: Any, arn: str) -> dict[str, Any]:
    task: dict[str, Any] = ecs.describe_tasks(cluster=CLUSTER, tasks=[arn])["tasks"][0]
    return task


def ended(ecs: Any, arn: str) -> dict[str, Any]:
    def stopped() -> dict[str, Any] | None:
        task = described(ecs, arn)
        return task if task["lastStatus"] == "STOPPED" else None

    return until(stopped, f"{arn} is STOPPED")


def on_fargate(ecs: Any, server: Server, family: str, *containers: dict[str, Any], **more: Any) -> str:
    launch = {"volumeConfigurations": more.pop("volumeConfigurations")} if "volumeConfigurations" in more else {}
    ecs.register_task_definition(
        family=family, networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256", memory="512",
        executionRoleArn=ROLE, containerDefinitions=list(containers), **more,
    )  # fmt: skip
    network = {"awsvpcConfiguration": {"subnets": server.network[1]}}
    answer = ecs.run_task(
        cluster=CLUSTER, taskDefinition=family, launchType="FARGATE", networkConfiguration=network, **launch
    )
    return str(answer["tasks"][0]["taskArn"])


def events_of(server: Server, group: str, stream: str) -> list[str]:
    found = server.client("logs").get_log_events(logGroupName=group, logStreamName=stream, startFromHead=True)
    return [event["message"] for event in found["events"]]


UNTIL_STOPPED = "trap 'exit 0' TERM; while true; do echo ticks; usleep 200000; done"
LOOK = """\
echo "hostname=$(hostname)"; echo "user=$(id -u):$(id -g)"; echo "directory=$(pwd)"; echo "arguments=$*"
echo "file=$FROM_FILE definition=$FROM_DEFINITION override=$FROM_OVERRIDE parameter=$PARAMETER secret=$SECRET"
echo "database=$(wget -qO- http://database/)"; echo "hosts=$(grep -c 192.0.2.1 /etc/hosts)"
echo "dns=$(grep -c 192.0.2.53 /etc/resolv.conf) search=$(grep -c corp.example /etc/resolv.conf)"
echo "files=$(ulimit -n)"; echo "somaxconn=$(cat /proc/sys/net/core/somaxconn)"
echo "shm=$(df -m /dev/shm | tail -1 | awk '{print $2}') tmpfs=$(df -m /scratch | tail -1 | awk '{print $2}')"
touch /rooted 2>/dev/null || echo "root=read-only"; touch /fixed/x 2>/dev/null || echo "mount=read-only"
echo "init=$(cat /proc/1/comm)"; echo "capabilities=$(grep CapBnd /proc/self/status | awk '{print $2}')"
echo kept > /shared/word && echo "shared=$(cat /shared/word) from=$(cat /from/word)"
until [ -e /fixed/seen ]; do usleep 50000; done
"""


def test_a_bridge_task_with_many_settings(ecs: Any, server: Server, images: dict[str, str], tmp_path: Path) -> None:
    s3, ssm, secrets = (server.client(name) for name in ("s3", "ssm", "secretsmanager"))
    s3.create_bucket(Bucket="settings", CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_object(Bucket="settings", Key="app/one.env", Body=b"# comment\nFROM_FILE=file\nFROM_DEFINITION=file\n")
    ssm.put_parameter(Name="/settings/parameter", Value="hidden", Type="SecureString")
    secret = secrets.create_secret(Name="settings", SecretString=json.dumps({"user": "u", "password": "s3cret"}))["ARN"]
    (tmp_path / "fixed").mkdir()
    database = {
        "name": "db", "image": images["web"], "memory": 32, "essential": False,
        "portMappings": [{"containerPort": 80, "hostPort": 0}],
        "mountPoints": [{"sourceVolume": "given", "containerPath": "/from"}],
        "command": ["sh", "-c", "echo other > /from/word; exec serve"],
        "healthCheck": {"command": ["CMD-SHELL", "test -s /from/word && wget -qO- http://127.0.0.1/"], "interval": 5},
    }  # fmt: skip
    app = {
        "name": "app", "image": images["busybox"], "memory": 64, "memoryReservation": 32, "cpu": 128, "essential": True,
        "entryPoint": ["sh", "-c", LOOK, "look"], "command": ["one", "two"],
        "environment": [{"name": "FROM_DEFINITION", "value": "definition"}, {"name": "FROM_OVERRIDE", "value": "x"}],
        "environmentFiles": [{"type": "s3", "value": "arn:aws:s3:::settings/app/one.env"}],
        "secrets": [
            {"name": "PARAMETER", "valueFrom": f"arn:aws:ssm:{REGION}:000000000000:parameter/settings/parameter"},
            {"name": "SECRET", "valueFrom": f"{secret}:password::"},
        ],
        "dependsOn": [{"containerName": "db", "condition": "HEALTHY"}],
        "links": ["db:database"], "hostname": "front", "user": "1000:1000", "workingDirectory": "/tmp",
        "extraHosts": [{"hostname": "old", "ipAddress": "192.0.2.1"}], "dnsServers": ["192.0.2.53"],
        "dnsSearchDomains": ["corp.example"], "dockerLabels": {"team": "blue"}, "readonlyRootFilesystem": True,
        "dockerSecurityOptions": ["no-new-privileges"], "pseudoTerminal": False, "interactive": True,
        "systemControls": [{"namespace": "net.core.somaxconn", "value": "77"}],
        "ulimits": [{"name": "nofile", "softLimit": 512, "hardLimit": 512}],
        "linuxParameters": {
            "initProcessEnabled": True, "sharedMemorySize": 17, "maxSwap": 0, "swappiness": 0,
            "tmpfs": [{"containerPath": "/scratch", "size": 9, "mountOptions": ["noexec", "mode=1777"]}],
            "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
        },
        "mountPoints": [
            {"sourceVolume": "shared", "containerPath": "/shared"},
            {"sourceVolume": "fixed", "containerPath": "/fixed", "readOnly": True},
        ],
        "volumesFrom": [{"sourceContainer": "db", "readOnly": True}],
        "portMappings": [{"containerPort": 80, "hostPort": 0}, {"containerPortRange": "7000-7004"}],
        "logConfiguration": {
            "logDriver": "awslogs",
            "options": {
                "awslogs-group": "/settings", "awslogs-create-group": "true", "awslogs-stream-prefix": "ecs",
                "awslogs-multiline-pattern": "^hostname=", "mode": "non-blocking", "max-buffer-size": "5m",
            },
        },
    }  # fmt: skip
    ecs.register_task_definition(
        family="many", executionRoleArn=ROLE, containerDefinitions=[app, database], pidMode="task",
        runtimePlatform={"operatingSystemFamily": "LINUX"},
        volumes=[
            {"name": "shared", "dockerVolumeConfiguration": {
                "scope": "task", "driver": "local", "labels": {"team": "blue"},
                "driverOpts": {"type": "tmpfs", "device": "tmpfs", "o": "size=8m,mode=1777"}}},
            {"name": "given", "dockerVolumeConfiguration": {"scope": "task"}},
            {"name": "fixed", "host": {"sourcePath": str(tmp_path / "fixed")}},
        ],
    )  # fmt: skip
    instance = ecs.register_container_instance(cluster=CLUSTER)["containerInstance"]["containerInstanceArn"]
    overrides = {
        "containerOverrides": [{"name": "app", "environment": [{"name": "FROM_OVERRIDE", "value": "override"}]}]
    }
    [task] = ecs.run_task(cluster=CLUSTER, taskDefinition="many", launchType="EC2", overrides=overrides)["tasks"]
    # It lives until its host ports have been seen: Docker knows none of a container that has ended.
    until(lambda: described(ecs, task["taskArn"])["lastStatus"] == "RUNNING", "the task is RUNNING")
    (tmp_path / "fixed/seen").touch()
    done = ended(ecs, task["taskArn"])
    assert (done["stopCode"], done["stoppedReason"]) == (
        "EssentialContainerExited",
        "Essential container in task exited",
    )
    events = events_of(server, "/settings", f"ecs/app/{task['taskArn'].rsplit('/', 1)[-1]}")
    assert len(events) == 1, events
    [text] = events
    lines = text.split("\n")
    assert lines == [
        "hostname=front", "user=1000:1000", "directory=/tmp", "arguments=one two",
        "file=file definition=definition override=override parameter=hidden secret=s3cret",
        "database=hello", "hosts=1", "dns=1 search=1", "files=512", "somaxconn=77", "shm=17 tmpfs=9",
        "root=read-only", "mount=read-only", "init=pause", "capabilities=0000000000000400", "shared=kept from=other",
    ]  # fmt: skip
    found = {container["name"]: container for container in done["containers"]}
    assert found["app"]["exitCode"] == 0
    ports = {tuple(sorted(b)): b for b in found["app"]["networkBindings"]}
    ranged = next(b for b in ports.values() if "containerPortRange" in b)
    first, last = map(int, ranged["hostPortRange"].split("-"))
    assert (ranged["containerPortRange"], last - first) == ("7000-7004", 4)
    assert f"moorage-{task['taskArn'].rsplit('/', 1)[-1]}" not in docker("volume", "ls", "-q")
    ecs.deregister_container_instance(cluster=CLUSTER, containerInstance=instance, force=True)


def test_what_is_written_to_a_file_system_is_there_for_the_next_task(
    ecs: Any, server: Server, images: dict[str, str]
) -> None:
    efs = server.client("efs")
    file_system = efs.create_file_system(CreationToken="settings")["FileSystemId"]
    point = efs.create_access_point(FileSystemId=file_system, RootDirectory={"Path": "/teams/blue"})["AccessPointId"]
    encrypted = {"fileSystemId": file_system, "transitEncryption": "ENABLED"}

    def run(family: str, script: str, configuration: dict[str, Any]) -> dict[str, Any]:
        one = {
            "name": "app", "image": images["busybox"], "command": ["sh", "-c", script],
            "mountPoints": [{"sourceVolume": "data", "containerPath": "/data"}],
        }  # fmt: skip
        volumes = [{"name": "data", "efsVolumeConfiguration": configuration}]
        return ended(ecs, on_fargate(ecs, server, family, one, volumes=volumes))

    written = run("writes", "echo blue > /data/word", encrypted | {"authorizationConfig": {"accessPointId": point}})
    assert written["containers"][0]["exitCode"] == 0, written
    read = run("reads", "test $(cat /data/teams/blue/word) = blue", {"fileSystemId": file_system, "rootDirectory": "/"})
    assert read["containers"][0]["exitCode"] == 0, read
    missing = run("misses", "true", {"fileSystemId": "fs-00000000000000000"})
    assert missing["stopCode"] == "TaskFailedToStart"
    assert missing["stoppedReason"].startswith("ResourceInitializationError: failed to invoke EFS utils")
    for name in docker("volume", "ls", "-q", "--filter", "label=io.moorage.kept-by").split():
        if file_system in name:
            docker("volume", "rm", name)


def test_output_reaches_the_socket_of_the_log_router(ecs: Any, server: Server, images: dict[str, str]) -> None:
    """The router is stood in for by this test, which listens where the router would."""
    router = {
        "name": "router", "image": images["busybox"], "essential": True, "stopTimeout": 2,
        "command": ["sh", "-c", f"cat /fluent-bit/etc/fluent-bit.conf > /config/seen; {UNTIL_STOPPED}"],
        "firelensConfiguration": {"type": "fluentbit", "options": {"enable-ecs-log-metadata": "true"}},
        "mountPoints": [{"sourceVolume": "config", "containerPath": "/config"}],
    }  # fmt: skip
    app = {
        "name": "app", "image": images["busybox"], "essential": True, "stopTimeout": 2,
        "command": ["sh", "-c", f"echo $FLUENT_HOST:$FLUENT_PORT; {UNTIL_STOPPED}"],
        "logConfiguration": {"logDriver": "awsfirelens", "options": {"Name": "stdout"}},
    }  # fmt: skip
    arn = on_fargate(ecs, server, "routed", app, router, volumes=[{"name": "config", "host": {}}])
    until(lambda: described(ecs, arn)["lastStatus"] == "RUNNING", "it runs")
    id = arn.rsplit("/", 1)[-1]
    folder = docker("volume", "inspect", "-f", "{{.Mountpoint}}", f"moorage-{id}-.firelens").strip()
    if not os.access(folder, os.W_OK):
        pytest.skip("the folders of the engine cannot be written from here")
    with socket.socket(socket.AF_UNIX) as door:
        door.settimeout(30)
        door.bind(f"{folder}/fluent.sock")
        door.listen()
        connection, _ = door.accept()
        with connection:
            connection.settimeout(30)
            received = b""
            while b"127.0.0.1:24224" not in received or b"ticks" not in received:
                received += connection.recv(65536)
    assert f"app-firelens-{id}".encode() in received
    ecs.stop_task(cluster=CLUSTER, task=arn)
    config = docker("volume", "inspect", "-f", "{{.Mountpoint}}", f"moorage-{id}-config").strip()
    text = Path(config, "seen").read_text()
    assert f"Record ecs_task_arn {arn}" in text
    assert "[OUTPUT]\n    Name stdout\n    Match app-firelens*\n" in text
    ended(ecs, arn)


def test_options_that_a_log_driver_does_not_have_and_images_of_other_machines(
    ecs: Any, server: Server, images: dict[str, str]
) -> None:
    def failed(family: str, platform: dict[str, str], **members: Any) -> str:
        one = {"name": "app", "image": images["busybox"], "command": ["true"], "memory": 32, **members}
        ecs.register_task_definition(family=family, containerDefinitions=[one], networkMode="none", **platform)
        [task] = ecs.run_task(cluster=CLUSTER, taskDefinition=family, launchType="EC2")["tasks"]
        done = ended(ecs, task["taskArn"])
        return f"{done['stoppedReason']} | {done['containers'][0].get('reason')}"

    instance = ecs.register_container_instance(cluster=CLUSTER)["containerInstance"]["containerInstanceArn"]
    odd = {"logDriver": "syslog", "options": {"nonsense": "1"}}
    assert failed("odd", {}, logConfiguration=odd) == (
        "Task failed to start | CannotCreateContainerError: Error response from daemon: unknown log opt 'nonsense' for "
        "syslog log driver"
    )
    native = subprocess.run(["uname", "-m"], capture_output=True, text=True, check=True).stdout.strip()
    other, name = ("X86_64", "amd64") if native in ("aarch64", "arm64") else ("ARM64", "arm64")
    platform = {"runtimePlatform": {"cpuArchitecture": other, "operatingSystemFamily": "LINUX"}}
    assert f"does not contain descriptor matching platform 'linux/{name}'" in failed("elsewhere", platform)
    ecs.deregister_container_instance(cluster=CLUSTER, containerInstance=instance, force=True)
