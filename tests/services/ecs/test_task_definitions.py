"""Task definitions: defaults written back, revisions, life, lists (semantics ecs-task-definitions §1–§3)."""

from __future__ import annotations

from typing import Any

import botocore.session
import pytest

from moorage.store.tables.ecs import TASK_DEFINITIONS

from .rig import ACCOUNT, BASE, ROLE, Rig, container, fargate, run_params

ARN = BASE + "task-definition/"
ISOLATION = (
    botocore.session.get_session()
    .get_service_model("ecs")
    .shape_for("TrustedExecutionConfiguration")
    .members["isolationMode"]
    .enum[0]
)


def revisions(arns: list[str]) -> list[str]:
    return [arn.removeprefix(ARN) for arn in arns]


async def test_defaults_are_written_back(ecs: Rig) -> None:
    made = await ecs.definition("web")
    assert made == {
        "taskDefinitionArn": ARN + "web:1",
        "family": "web",
        "revision": 1,
        "networkMode": "awsvpc",
        "requiresCompatibilities": ["FARGATE"],
        "cpu": "256",
        "memory": "512",
        "volumes": [],
        "placementConstraints": [],
        "status": "ACTIVE",
        "compatibilities": ["EC2", "FARGATE"],
        "requiresAttributes": made["requiresAttributes"],
        "registeredAt": 1_700_000_000.0,
        "registeredBy": f"arn:aws:iam::{ACCOUNT}:root",
        "containerDefinitions": [
            {
                "name": "app",
                "image": "app:1",
                "cpu": 0,
                "essential": True,
                "environment": [],
                "mountPoints": [],
                "volumesFrom": [],
                "systemControls": [],
                "portMappings": [{"containerPort": 80, "hostPort": 80, "protocol": "tcp"}],
            }
        ],
    }


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"healthCheck": {"command": ["CMD", "x"]}}, {"interval": 30, "timeout": 5, "retries": 3}),
        (
            {"healthCheck": {"command": ["CMD", "x"], "interval": 7, "startPeriod": 0}},
            {"interval": 7, "timeout": 5, "retries": 3, "startPeriod": 0},
        ),
    ],
)
async def test_a_health_check_is_completed(ecs: Rig, given: dict[str, Any], expected: dict[str, Any]) -> None:
    made = await ecs.definition(containerDefinitions=[container(**given)])
    assert made["containerDefinitions"][0]["healthCheck"] == {"command": ["CMD", "x"]} | expected


@pytest.mark.parametrize(
    ("mode", "mapping", "expected"),
    [
        ("awsvpc", {"containerPort": 80}, {"containerPort": 80, "hostPort": 80, "protocol": "tcp"}),
        ("host", {"containerPort": 80}, {"containerPort": 80, "hostPort": 80, "protocol": "tcp"}),
        ("bridge", {"containerPort": 80}, {"containerPort": 80, "hostPort": 0, "protocol": "tcp"}),
        (None, {"containerPort": 80}, {"containerPort": 80, "hostPort": 0, "protocol": "tcp"}),
        (None, {"containerPort": 80, "hostPort": 8080}, {"containerPort": 80, "hostPort": 8080, "protocol": "tcp"}),
        ("awsvpc", {"containerPortRange": "80-90"}, {"containerPortRange": "80-90", "protocol": "tcp"}),
        (None, {"containerPort": 53, "protocol": "udp"}, {"containerPort": 53, "hostPort": 0, "protocol": "udp"}),
    ],
)
async def test_host_ports_are_written_back(
    ecs: Rig, mode: str | None, mapping: dict[str, Any], expected: dict[str, Any]
) -> None:
    network = {"networkMode": mode} if mode else {}
    made = await ecs.call(
        "RegisterTaskDefinition",
        family="web",
        containerDefinitions=[container(memory=64, portMappings=[mapping])],
        **network,
    )
    assert made["taskDefinition"]["containerDefinitions"][0]["portMappings"] == [expected]
    assert ("networkMode" in made["taskDefinition"]) == (mode is not None)


@pytest.mark.parametrize(
    ("cpu", "memory", "expected"),
    [
        ("1 vCPU", "2 GB", ("1024", "2048")),
        (".25 vcpu", "0.5GB", ("256", "512")),
        ("0.5 vCPUs", "1GB", ("512", "1024")),
        ("256", "512", ("256", "512")),
    ],
)
async def test_sizes_become_plain_numbers(ecs: Rig, cpu: str, memory: str, expected: tuple[str, str]) -> None:
    made = await ecs.definition(cpu=cpu, memory=memory)
    assert (made["cpu"], made["memory"]) == expected


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, ["EC2", "FARGATE"]),
        ({"requiresCompatibilities": ["EC2"]}, ["EC2", "FARGATE"]),
        ({"requiresCompatibilities": ["EC2"], "cpu": "300"}, ["EC2"]),
        ({"requiresCompatibilities": ["EC2"], "networkMode": "bridge"}, ["EXTERNAL", "EC2"]),
        ({"requiresCompatibilities": ["EC2"], "networkMode": "host"}, ["EXTERNAL", "EC2"]),
        ({"requiresCompatibilities": ["EC2"], "networkMode": "none",
          "containerDefinitions": [{"name": "a", "image": "a"}]}, ["EXTERNAL", "EC2"]),
        ({"requiresCompatibilities": ["EC2"], "containerDefinitions": [container(privileged=True)]}, ["EC2"]),
    ],
)  # fmt: skip
async def test_compatibilities_are_computed(ecs: Rig, params: dict[str, Any], expected: list[str]) -> None:
    assert (await ecs.definition(**params))["compatibilities"] == expected


async def test_required_attributes(ecs: Rig) -> None:
    options = {"awslogs-group": "g", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "p"}
    made = await ecs.definition(
        executionRoleArn=ROLE,
        taskRoleArn=ROLE,
        containerDefinitions=[
            container(
                image=f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/web:1",
                logConfiguration={"logDriver": "awslogs", "options": options},
                healthCheck={"command": ["CMD", "x"]},
                stopTimeout=5,
                secrets=[{"name": "A", "valueFrom": "a"}],
            )
        ],
    )
    prefix = "com.amazonaws.ecs.capability."
    assert {one["name"] for one in made["requiresAttributes"]} == {
        "ecs.capability.task-eni",
        "ecs.capability.execution-role-awslogs",
        "ecs.capability.execution-role-ecr-pull",
        "ecs.capability.container-health-check",
        "ecs.capability.container-ordering",
        "ecs.capability.secrets.ssm.environment-variables",
        *(
            prefix + name
            for name in (
                "docker-remote-api.1.18",
                "docker-remote-api.1.19",
                "docker-remote-api.1.24",
                "docker-remote-api.1.25",
                "logging-driver.awslogs",
                "ecr-auth",
                "task-iam-role",
            )
        ),
    }


# Every member that the model has, with a value that means something: it must come back as it was sent.
EVERYTHING = {
    "family": "all",
    "taskRoleArn": ROLE,
    "executionRoleArn": ROLE,
    "networkMode": "bridge",
    "cpu": "1024",
    "memory": "2048",
    "pidMode": "task",
    "ipcMode": "task",
    "requiresCompatibilities": ["EC2"],
    "runtimePlatform": {"cpuArchitecture": "ARM64", "operatingSystemFamily": "LINUX"},
    "placementConstraints": [{"type": "memberOf", "expression": "attribute:x == y"}],
    "enableFaultInjection": False,
    "ephemeralStorage": {"sizeInGiB": 30},
    "volumes": [
        {"name": "host", "host": {"sourcePath": "/x"}},
        {"name": "anonymous", "host": {}},
        {
            "name": "docker",
            "dockerVolumeConfiguration": {
                "scope": "shared",
                "autoprovision": True,
                "driver": "local",
                "driverOpts": {"a": "b"},
                "labels": {"c": "d"},
            },
        },
        {
            "name": "efs",
            "efsVolumeConfiguration": {
                "fileSystemId": "fs-1",
                "rootDirectory": "/",
                "transitEncryption": "ENABLED",
                "transitEncryptionPort": 2049,
                "authorizationConfig": {"accessPointId": "fsap-1", "iam": "ENABLED"},
            },
        },
        {
            "name": "fsx",
            "fsxWindowsFileServerVolumeConfiguration": {
                "fileSystemId": "fs-2",
                "rootDirectory": "x",
                "authorizationConfig": {"credentialsParameter": "arn:x", "domain": "d"},
            },
        },
        {"name": "s3", "s3filesVolumeConfiguration": {"fileSystemArn": "arn:x"}},
        {"name": "ebs", "configuredAtLaunch": True},
    ],
    "containerDefinitions": [
        {
            "name": "router",
            "image": "r",
            "cpu": 0,
            "essential": True,
            "environment": [],
            "mountPoints": [],
            "volumesFrom": [],
            "systemControls": [],
            "portMappings": [],
            "firelensConfiguration": {"type": "fluentbit", "options": {"enable-ecs-log-metadata": "true"}},
        },
        {
            "name": "app",
            "image": "i@sha256:" + "0" * 64,
            "repositoryCredentials": {"credentialsParameter": "arn:aws:secretsmanager:us-east-1:000000000000:secret:x"},
            "cpu": 10,
            "memory": 128,
            "memoryReservation": 64,
            "links": ["router:r"],
            "portMappings": [
                {"containerPort": 80, "hostPort": 8080, "protocol": "tcp", "name": "web", "appProtocol": "http2"},
                {"containerPortRange": "90-99", "protocol": "udp"},
            ],
            "essential": False,
            "restartPolicy": {"enabled": True, "ignoredExitCodes": [0, 3], "restartAttemptPeriod": 180},
            "entryPoint": ["sh"],
            "command": ["-c", "x"],
            "environment": [{"name": "A", "value": "1"}, {"name": "B", "value": ""}],
            "environmentFiles": [{"type": "s3", "value": "arn:aws:s3:::b/x.env"}],
            "mountPoints": [
                {"sourceVolume": "host", "containerPath": "/h", "readOnly": True},
                {"sourceVolume": "ebs", "containerPath": "/e"},
            ],
            "volumesFrom": [{"sourceContainer": "router", "readOnly": False}],
            "linuxParameters": {
                "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]},
                "devices": [{"hostPath": "/dev/x", "containerPath": "/dev/y", "permissions": ["read"]}],
                "initProcessEnabled": True,
                "sharedMemorySize": 64,
                "tmpfs": [{"containerPath": "/t", "size": 1, "mountOptions": ["noexec"]}],
                "maxSwap": 0,
                "swappiness": 0,
            },
            "secrets": [{"name": "S", "valueFrom": "p"}],
            "dependsOn": [{"containerName": "router", "condition": "START"}],
            "startTimeout": 100,
            "stopTimeout": 200,
            "versionConsistency": "disabled",
            "hostname": "h",
            "user": "1:2",
            "workingDirectory": "/w",
            "disableNetworking": False,
            "privileged": False,
            "readonlyRootFilesystem": True,
            "dnsServers": ["1.1.1.1"],
            "dnsSearchDomains": ["x"],
            "extraHosts": [{"hostname": "h", "ipAddress": "10.0.0.1"}],
            "dockerSecurityOptions": [],
            "interactive": True,
            "pseudoTerminal": True,
            "dockerLabels": {"l": "m"},
            "ulimits": [{"name": "nofile", "softLimit": 1, "hardLimit": 2}],
            "logConfiguration": {
                "logDriver": "awsfirelens",
                "options": {"a": "b"},
                "secretOptions": [{"name": "s", "valueFrom": "p"}],
            },
            "healthCheck": {"command": ["CMD", "x"], "interval": 5, "timeout": 2, "retries": 1, "startPeriod": 0},
            "systemControls": [{"namespace": "net.core.somaxconn", "value": "1"}],
            "resourceRequirements": [{"type": "GPU", "value": "1"}],
            "credentialSpecs": ["credentialspec:arn:x"],
        },
    ],
}


async def test_everything_comes_back_as_it_was_sent(ecs: Rig) -> None:
    made = (await ecs.call("RegisterTaskDefinition", **EVERYTHING))["taskDefinition"]
    assert {name: made[name] for name in EVERYTHING} == EVERYTHING
    described = await ecs.call("DescribeTaskDefinition", taskDefinition="all")
    assert described["taskDefinition"] == made


def test_no_member_of_the_model_is_missing_above() -> None:
    model = botocore.session.get_session().get_service_model("ecs")
    register = set(model.operation_model("RegisterTaskDefinition").input_shape.members)
    # Ended, other network mode, tags beside the document, Managed Instances only.
    others = {"inferenceAccelerators", "proxyConfiguration", "tags", "trustedExecutionConfiguration"}
    assert register - others == set(EVERYTHING)
    assert set(model.shape_for("ContainerDefinition").members) - {"firelensConfiguration"} == set(
        EVERYTHING["containerDefinitions"][1]  # type: ignore[index]
    )
    assert set(model.shape_for("LinuxParameters").members) == set(
        EVERYTHING["containerDefinitions"][1]["linuxParameters"]  # type: ignore[index]
    )


async def test_what_only_managed_instances_know_is_refused(ecs: Rig) -> None:
    refusal = await ecs.refused(
        "RegisterTaskDefinition", **fargate(trustedExecutionConfiguration={"isolationMode": ISOLATION})
    )
    assert refusal.code == "ClientException"
    assert "trustedExecutionConfiguration" in refusal.message


async def test_revisions_are_never_used_twice(ecs: Rig) -> None:
    for revision in (1, 2):
        assert (await ecs.definition("web"))["revision"] == revision
    await ecs.call("DeregisterTaskDefinition", taskDefinition="web:2")
    await ecs.call("DeleteTaskDefinitions", taskDefinitions=["web:2"])
    assert (await ecs.definition("web"))["revision"] == 3


async def test_a_family_means_its_newest_active_revision(ecs: Rig) -> None:
    for _ in range(3):
        await ecs.definition("web")
    await ecs.call("DeregisterTaskDefinition", taskDefinition="web:3")
    for identifier in ("web", ARN + "web"):
        described = await ecs.call("DescribeTaskDefinition", taskDefinition=identifier)
        assert described["taskDefinition"]["revision"] == 2
    for identifier in ("web:3", ARN + "web:3"):
        described = await ecs.call("DescribeTaskDefinition", taskDefinition=identifier)
        assert described["taskDefinition"]["status"] == "INACTIVE"
        assert described["taskDefinition"]["deregisteredAt"] == 1_700_000_000.0
    for revision in (1, 2):
        await ecs.call("DeregisterTaskDefinition", taskDefinition=f"web:{revision}")
    refusal = await ecs.refused("DescribeTaskDefinition", taskDefinition="web")
    assert (refusal.code, refusal.message) == ("ClientException", "Unable to describe task definition.")


@pytest.mark.parametrize(
    "identifier",
    ["nothing", "web:2", "web:x", "web:01", ":", "", "web:1:1", "arn:aws:ecs:us-east-1:000000000000:cluster/web",
     "arn:aws:ecs:eu-west-1:000000000000:task-definition/web:1", "arn:", "arn:aws:iam::000000000000:role/web"],
)  # fmt: skip
async def test_an_unknown_one_cannot_be_described(ecs: Rig, identifier: str) -> None:
    await ecs.definition("web")
    refusal = await ecs.refused("DescribeTaskDefinition", taskDefinition=identifier)
    assert (refusal.code, refusal.message) == ("ClientException", "Unable to describe task definition.")


async def test_tags_are_beside_the_document(ecs: Rig) -> None:
    tags = [{"key": "a", "value": "1"}]
    made = await ecs.call("RegisterTaskDefinition", **fargate(tags=tags))
    assert made["tags"] == tags
    assert "tags" not in made["taskDefinition"]
    assert (await ecs.call("DescribeTaskDefinition", taskDefinition="web"))["tags"] == []
    assert (await ecs.call("DescribeTaskDefinition", taskDefinition="web", include=["TAGS"]))["tags"] == tags


@pytest.mark.parametrize(
    ("identifier", "code", "message"),
    [
        ("web", "ClientException", "Revision is missing."),
        (ARN + "web", "ClientException", "Revision is missing."),
        ("web:x", "InvalidParameterException", "Invalid revision number. Number: x"),
        ("web:²", "InvalidParameterException", "Invalid revision number. Number: ²"),
        ("web:9", "ClientException", "The specified task definition does not exist."),
        ("none:1", "ClientException", "The specified task definition does not exist."),
    ],
)
async def test_deregistering_what_is_not_there(ecs: Rig, identifier: str, code: str, message: str) -> None:
    await ecs.definition("web")
    refusal = await ecs.refused("DeregisterTaskDefinition", taskDefinition=identifier)
    assert (refusal.code, refusal.message) == (code, message)


async def test_the_life_of_a_revision(ecs: Rig) -> None:
    await ecs.definition("web")
    still = await ecs.call("DeleteTaskDefinitions", taskDefinitions=["web:1", "web:7", "web", "a b:1"])
    assert [(f["reason"], f["arn"]) for f in still["failures"]] == [
        ("ACTIVE", ARN + "web:1"),
        ("MISSING", ARN + "web:7"),
        ("INVALID", ARN + "web"),
        ("INVALID", ARN + "a b:1"),
    ]
    assert still["failures"][0]["detail"] == (
        "The specified task definition is still in ACTIVE status. Please deregister the target and try again."
    )
    for _ in range(2):
        gone = await ecs.call("DeregisterTaskDefinition", taskDefinition="web:1")
        assert gone["taskDefinition"]["status"] == "INACTIVE"
    ecs.clock.time += 10
    for _ in range(2):
        deleted = await ecs.call("DeleteTaskDefinitions", taskDefinitions=[ARN + "web:1"])
        assert deleted["taskDefinitions"][0]["status"] == "DELETE_IN_PROGRESS"
        assert deleted["taskDefinitions"][0]["deleteRequestedAt"] == 1_700_000_010.0
        ecs.clock.time += 10
    described = await ecs.call("DescribeTaskDefinition", taskDefinition="web:1")
    assert described["taskDefinition"]["status"] == "DELETE_IN_PROGRESS"
    refusal = await ecs.refused("DeregisterTaskDefinition", taskDefinition="web:1")
    assert refusal.code == "ClientException"
    assert "in the process of being deleted" in refusal.message
    await ecs.cluster("main")
    refusal = await ecs.refused("RunTask", **run_params(taskDefinition="web:1"))
    assert (refusal.code, refusal.message) == ("InvalidParameterException", "TaskDefinition is inactive")


async def test_at_most_ten_are_deleted_at_once(ecs: Rig) -> None:
    refusal = await ecs.refused("DeleteTaskDefinitions", taskDefinitions=[f"web:{n}" for n in range(11)])
    assert refusal.message == "Size of TaskDefinition references list cannot exceed 10"
    assert (await ecs.refused("DeleteTaskDefinitions", taskDefinitions=[])).code == "InvalidParameterException"


async def test_lists(ecs: Rig) -> None:
    for family, count in (("web", 11), ("api", 2), ("web-2", 1)):
        for _ in range(count):
            await ecs.definition(family)
    await ecs.call("DeregisterTaskDefinition", taskDefinition="web:2")
    await ecs.call("DeregisterTaskDefinition", taskDefinition="web-2:1")
    of_web = [f"web:{n}" for n in range(1, 12) if n != 2]

    async def listed(**params: Any) -> list[str]:
        return revisions((await ecs.call("ListTaskDefinitions", **params))["taskDefinitionArns"])

    assert await listed() == ["api:1", "api:2", *of_web]
    assert await listed(sort="DESC") == [*reversed(of_web), "api:2", "api:1"]
    assert await listed(familyPrefix="web") == of_web
    assert await listed(familyPrefix="we") == []
    assert await listed(status="INACTIVE") == ["web:2", "web-2:1"]
    assert await listed(status="DELETE_IN_PROGRESS") == []

    async def families(**params: Any) -> list[str]:
        return list((await ecs.call("ListTaskDefinitionFamilies", **params))["families"])

    assert await families() == ["api", "web", "web-2"]
    assert await families(status="ACTIVE") == ["api", "web"]
    assert await families(status="INACTIVE") == ["web-2"]
    assert await families(familyPrefix="we") == ["web", "web-2"]
    assert await families(familyPrefix="x") == []


async def test_pages(ecs: Rig) -> None:
    for _ in range(5):
        await ecs.definition("web")
    seen: list[str] = []
    params: dict[str, Any] = {"maxResults": 2}
    while True:
        answer = await ecs.call("ListTaskDefinitions", **params)
        seen += revisions(answer["taskDefinitionArns"])
        if "nextToken" not in answer:
            break
        params["nextToken"] = answer["nextToken"]
    assert seen == [f"web:{n}" for n in range(1, 6)]
    for bad in ({"nextToken": "nonsense"}, {"nextToken": "é"}, {"maxResults": 0}, {"maxResults": 101}):
        assert (await ecs.refused("ListTaskDefinitions", **bad)).code == "InvalidParameterException"


async def test_scopes_do_not_see_each_other(ecs: Rig) -> None:
    await ecs.definition("web")
    elsewhere: list[dict[str, Any]] = [{"region": "eu-west-1"}, {"account": "111111111111"}]
    for scope in elsewhere:
        assert (await ecs.call("ListTaskDefinitions", **scope))["taskDefinitionArns"] == []
        for identifier in ("web", "web:1", ARN + "web:1"):
            assert (await ecs.refused("DescribeTaskDefinition", taskDefinition=identifier, **scope)).code
        made = await ecs.call("RegisterTaskDefinition", **fargate(), **scope)
        assert made["taskDefinition"]["revision"] == 1
    assert len(ecs.store.all(TASK_DEFINITIONS)) == 3
