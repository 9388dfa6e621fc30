"""RunTask, StartTask, StopTask and the reads (semantics ecs-tasks §2, §5, §9–§11)."""

from __future__ import annotations

from typing import Any

import pytest

from moorage.store.tables.ecs import TASKS
from moorage.store.tables.network import SUBNETS

from .rig import ACCOUNT, BASE, INVALID_MEMORY, ROLE, Rig, container, network_configuration, run_params

TASK = BASE + "task/main/"


async def test_a_new_fargate_task_shows_what_aws_shows(main: Rig) -> None:
    answer = await main.call("RunTask", **run_params())
    assert answer["failures"] == []
    [task] = answer["tasks"]
    identifier = task["taskArn"].removeprefix(TASK)
    assert len(identifier) == 32
    [attachment], [shown] = task["attachments"], task["containers"]
    assert task == {
        "taskArn": TASK + identifier,
        "clusterArn": BASE + "cluster/main",
        "taskDefinitionArn": BASE + "task-definition/web:1",
        "attachments": [
            {
                "id": attachment["id"],
                "type": "ElasticNetworkInterface",
                "status": "PRECREATED",
                "details": [{"name": "subnetId", "value": "subnet-a"}],
            }
        ],
        "attributes": [{"name": "ecs.cpu-architecture", "value": "x86_64"}],
        "availabilityZone": "us-east-1a",
        "containers": [
            {
                "containerArn": shown["containerArn"],
                "taskArn": TASK + identifier,
                "name": "app",
                "image": "app:1",
                "lastStatus": "PENDING",
                "networkInterfaces": [],
                "cpu": "0",
            }
        ],
        "cpu": "256",
        "memory": "512",
        "createdAt": 1_700_000_000.0,
        "desiredStatus": "RUNNING",
        "enableExecuteCommand": False,
        "group": "family:web",
        "lastStatus": "PROVISIONING",
        "launchType": "FARGATE",
        "overrides": {"containerOverrides": [{"name": "app"}], "inferenceAcceleratorOverrides": []},
        "platformVersion": "1.4.0",
        "platformFamily": "Linux",
        "tags": [],
        "version": 1,
        "ephemeralStorage": {"sizeInGiB": 20},
        "fargateEphemeralStorage": {"sizeInGiB": 20},
    }
    assert shown["containerArn"].startswith(f"{BASE}container/main/{identifier}/")
    assert main.store.get(SUBNETS, f"{ACCOUNT}/us-east-1/subnet-b") is not None, "tasks start without asking EC2 again"


async def test_ten_tasks_are_spread_over_the_zones(main: Rig) -> None:
    tasks = (await main.call("RunTask", **run_params(count=10)))["tasks"]
    assert sorted(task["availabilityZone"] for task in tasks) == ["us-east-1a"] * 5 + ["us-east-1b"] * 5
    assert len({task["taskArn"] for task in tasks}) == 10


async def test_what_is_asked_for_is_shown(main: Rig) -> None:
    overrides = {
        "cpu": "512",
        "memory": "1024",
        "taskRoleArn": ROLE,
        "ephemeralStorage": {"sizeInGiB": 40},
        "containerOverrides": [
            {"name": "app", "command": ["x"], "environment": [{"name": "A", "value": "1"}], "cpu": 7, "memory": 64}
        ],
    }
    task = await main.task(
        overrides=overrides,
        group="mine",
        startedBy="me/you_1-2",
        enableExecuteCommand=True,
        networkConfiguration=network_configuration("subnet-b", assignPublicIp="ENABLED", securityGroups=["sg-2"]),
    )
    assert (task["cpu"], task["memory"], task["ephemeralStorage"]) == ("512", "1024", {"sizeInGiB": 40})
    assert (task["group"], task["startedBy"], task["enableExecuteCommand"]) == ("mine", "me/you_1-2", True)
    assert task["overrides"] == overrides | {"inferenceAcceleratorOverrides": []}
    [shown] = task["containers"]
    assert (shown["cpu"], shown["memory"]) == ("7", "64")
    assert shown["managedAgents"] == [{"name": "ExecuteCommandAgent", "lastStatus": "PENDING"}]
    record = main.store.get(TASKS, task["taskArn"])
    assert record is not None
    assert record.interface is not None
    assert record.interface.security_groups == ("sg-2",)
    default = main.store.get(TASKS, (await main.task())["taskArn"])
    assert default is not None
    assert default.interface is not None
    assert default.interface.security_groups == ("sg-1",), "the default group of the VPC"


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, {}),
        ({"tags": [{"key": "a", "value": "mine"}]}, {"a": "mine"}),
        ({"propagateTags": "TASK_DEFINITION"}, {"a": "definition", "b": "definition"}),
        (
            {"propagateTags": "TASK_DEFINITION", "tags": [{"key": "a", "value": "mine"}]},
            {"a": "mine", "b": "definition"},
        ),
        ({"enableECSManagedTags": True}, {"aws:ecs:clusterName": "main"}),
    ],
)
async def test_tags(main: Rig, params: dict[str, Any], expected: dict[str, str]) -> None:
    await main.definition("tagged", tags=[{"key": key, "value": "definition"} for key in "ab"])
    task = await main.task(taskDefinition="tagged", **params)
    assert {tag["key"]: tag["value"] for tag in task["tags"]} == expected
    plain = await main.call("DescribeTasks", cluster="main", tasks=[task["taskArn"]])
    assert plain["tasks"][0]["tags"] == []
    shown = await main.call("DescribeTasks", cluster="main", tasks=[task["taskArn"]], include=["TAGS"])
    assert {tag["key"]: tag["value"] for tag in shown["tasks"][0]["tags"]} == expected
    await main.call("StopTask", cluster="main", task=task["taskArn"])
    shown = await main.call("DescribeTasks", cluster="main", tasks=[task["taskArn"]], include=["TAGS"])
    assert shown["tasks"][0]["tags"] == [], "a task that is stopped loses its tags"


NOT_FOUND = "The subnet ID 'subnet-x' does not exist (ErrorCode: InvalidSubnetID.NotFound)"
NO_GROUP = "The security group 'sg-x' does not exist (ErrorCode: InvalidGroup.NotFound)"
STRATEGY = [{"capacityProvider": "FARGATE"}]
INVALID = "InvalidParameterException"
REFUSALS: list[tuple[dict[str, Any], str, str]] = [
    ({"cluster": "nowhere"}, "ClusterNotFoundException", "Cluster not found."),
    ({"cluster": None}, "ClusterNotFoundException", "Cluster not found."),
    ({"taskDefinition": "nothing"}, "ClientException", "TaskDefinition not found."),
    ({"taskDefinition": "web:9"}, "ClientException", "TaskDefinition not found."),
    (
        {"taskDefinition": "arn:aws:ecs:us-east-1:111111111111:task-definition/web:1"},
        INVALID,
        "AccountIDs mismatch",
    ),
    ({"taskDefinition": "old:1"}, INVALID, "TaskDefinition is inactive"),
    ({"launchType": "EC2"}, INVALID, "No Container Instances were found in your cluster."),
    ({"launchType": None}, INVALID, "No Container Instances were found in your cluster."),
    ({"launchType": "EXTERNAL"}, INVALID, "Moorage does not run the launch type EXTERNAL yet. Use FARGATE or EC2."),
    (
        {"networkConfiguration": None},
        INVALID,
        "Network Configuration must be provided when networkMode 'awsvpc' is specified.",
    ),
    (
        {"taskDefinition": "bridge", "launchType": "EC2", "networkConfiguration": None},
        INVALID,
        "No Container Instances were found in your cluster.",
    ),
    ({"networkConfiguration": {"awsvpcConfiguration": {"subnets": []}}}, INVALID, "subnets can not be empty."),
    (
        {"networkConfiguration": network_configuration("subnet-x")},
        INVALID,
        f"Error retrieving subnet information for [subnet-x]: {NOT_FOUND}",
    ),
    (
        {"networkConfiguration": network_configuration(securityGroups=["sg-x"])},
        INVALID,
        f"Error retrieving security group information for [sg-x]: {NO_GROUP}",
    ),
    (
        {"networkConfiguration": network_configuration(*[f"subnet-{n}" for n in range(17)])},
        INVALID,
        "subnets can have at most 16 items.",
    ),
    (
        {"networkConfiguration": network_configuration(securityGroups=["sg-1"] * 6)},
        INVALID,
        "securityGroups can have at most 5 items.",
    ),
    (
        {"networkConfiguration": network_configuration("subnet-a", "subnet-c")},
        INVALID,
        "subnets must belong to the same VPC.",
    ),
    (
        {"networkConfiguration": network_configuration(securityGroups=["sg-3"])},
        INVALID,
        "Security group sg-3 does not appear to belong to the same VPC as the input subnets.",
    ),
    ({"taskDefinition": "bridge"}, INVALID, "Task definition does not support launch_type FARGATE."),
    (
        {"launchType": "EC2", "platformVersion": "LATEST"},
        INVALID,
        "The platform version must be null when specifying an EC2 launch type.",
    ),
    ({"platformVersion": "9.9"}, "PlatformUnknownException", "The specified platform does not exist."),
    (
        {"capacityProviderStrategy": STRATEGY},
        INVALID,
        "Specifying both a launch type and capacity provider strategy is not supported. Remove one and try again.",
    ),
    (
        {"launchType": None, "capacityProviderStrategy": STRATEGY},
        INVALID,
        "The specified capacity provider strategy cannot contain a capacity provider that is not associated with the "
        "cluster. Associate the capacity provider with the cluster or specify a valid capacity provider and try again.",
    ),
    (
        {"overrides": {"containerOverrides": [{"name": "X"}]}},
        INVALID,
        "Override for container named X is not a container in the TaskDefinition.",
    ),
    (
        {"overrides": {"containerOverrides": [{"command": ["x"]}]}},
        INVALID,
        "Container override must name a container.",
    ),
    (
        {"overrides": {"containerOverrides": [{"name": "app", "command": ["x" * 8192]}]}},
        INVALID,
        "Container Overrides length must be at most 8192",
    ),
    (
        {"overrides": {"cpu": "300"}},
        "ClientException",
        "No Fargate configuration exists for given values: 300 CPU, 512 memory. See the Amazon ECS documentation for "
        "the valid values.",
    ),
    (
        {"overrides": {"cpu": "2 vCPU"}},
        "ClientException",
        "No Fargate configuration exists for given values: 2048 CPU, 512 memory. See the Amazon ECS documentation for "
        "the valid values.",
    ),
    ({"overrides": {"memory": "²"}}, "ClientException", INVALID_MEMORY),
    (
        {"overrides": {"ephemeralStorage": {"sizeInGiB": 20}}},
        "ClientException",
        "EphemeralStorage size should be at least 21",
    ),
    (
        {"overrides": {"ephemeralStorage": {"sizeInGiB": 201}}},
        "ClientException",
        "EphemeralStorage size should be at most 200",
    ),
    *(
        (
            {"platformVersion": "1.3.0", **params},
            "PlatformTaskDefinitionIncompatibilityException",
            "One or more of the requested capabilities are not supported.",
        )
        for params in (
            {"taskDefinition": "efs"},
            {"overrides": {"ephemeralStorage": {"sizeInGiB": 30}}},
            {"overrides": {"containerOverrides": [{"name": "app", "environmentFiles": []}]}}
            | {"taskDefinition": "files"},
        )
    ),
    *(
        ({"clientToken": token}, INVALID, "clientToken must have at most 64 characters in the range of 33-126.")
        for token in ("x" * 65, "a b")
    ),
    (
        {"propagateTags": "SERVICE"},
        INVALID,
        "propagateTags SERVICE is not supported when running a task that is not part of a service.",
    ),
    (
        {"placementConstraints": [{"type": "distinctInstance"}]},
        INVALID,
        "Placement constraints are not supported with FARGATE launch type.",
    ),
    (
        {"placementStrategy": [{"type": "random"}]},
        INVALID,
        "Placement strategies are not supported with FARGATE launch type.",
    ),
    ({"count": 11}, INVALID, "count must be between 1 and 10."),
    ({"count": 0}, INVALID, "count must be between 1 and 10."),
    ({"startedBy": "x" * 129}, INVALID, r"startedBy must match ^[a-zA-Z0-9\-_/]{1,128}$."),
    ({"startedBy": "a b"}, INVALID, r"startedBy must match ^[a-zA-Z0-9\-_/]{1,128}$."),
    (
        {"tags": [{"key": "aws:x", "value": ""}]},
        INVALID,
        "aws: prefixed tag key names are not allowed for external use.",
    ),
]


async def prepare(main: Rig) -> None:
    await main.call(
        "RegisterTaskDefinition", family="bridge", containerDefinitions=[{"name": "app", "image": "a", "memory": 64}]
    )
    await main.definition("efs", volumes=[{"name": "data", "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}])
    await main.definition(
        "files", containerDefinitions=[container(environmentFiles=[{"type": "s3", "value": "arn:aws:s3:::b/a.env"}])]
    )
    await main.definition("old")
    await main.call("DeregisterTaskDefinition", taskDefinition="old:1")


@pytest.mark.parametrize(
    ("params", "code", "message"), REFUSALS, ids=[f"{n}: {row[2][:50]}" for n, row in enumerate(REFUSALS)]
)
async def test_refusals(main: Rig, params: dict[str, Any], code: str, message: str) -> None:
    await prepare(main)
    given = {name: value for name, value in run_params(**params).items() if value is not None}
    refusal = await main.refused("RunTask", **given)
    assert (refusal.code, refusal.message) == (code, message)


UNSUPPORTED: list[tuple[str, dict[str, Any], str]] = [
    (
        "Windows",
        {"cpu": "1024", "memory": "2048", "runtimePlatform": {"operatingSystemFamily": "WINDOWS_SERVER_2022_CORE"}},
        "the operating system family WINDOWS_SERVER_2022_CORE",
    ),
    (
        "App Mesh",
        {
            "proxyConfiguration": {
                "containerName": "app",
                "properties": [
                    {"name": name, "value": "1"}
                    for name in ("ProxyIngressPort", "ProxyEgressPort", "AppPorts", "IgnoredUID")
                ],
            }
        },
        "proxy configurations (App Mesh)",
    ),
    (
        "S3 Files",
        {"volumes": [{"name": "data", "s3filesVolumeConfiguration": {"fileSystemArn": "arn:x"}}]},
        "S3 Files volumes (volume 'data')",
    ),
    (
        "gMSA",
        {"containerDefinitions": [container(credentialSpecs=["credentialspec:arn:aws:s3:::b/x"])]},
        "credential specs (gMSA) (container 'app')",
    ),
    (
        "Neuron",
        {"containerDefinitions": [container(resourceRequirements=[{"type": "NeuronDevice", "value": "1"}])]},
        "Neuron devices (container 'app')",
    ),
]


@pytest.mark.parametrize(("document", "what"), [row[1:] for row in UNSUPPORTED], ids=[row[0] for row in UNSUPPORTED])
async def test_what_moorage_does_not_run_is_registered_and_then_refused(
    main: Rig, document: dict[str, Any], what: str
) -> None:
    await main.definition("new", **document)
    for operation, params in (
        ("RunTask", run_params(taskDefinition="new")),
        ("CreateService", run_params(taskDefinition="new", serviceName="new", desiredCount=1)),
    ):
        refusal = await main.refused(operation, **params)
        assert (refusal.code, refusal.message) == (INVALID, f"Moorage does not support {what} yet.")


@pytest.mark.parametrize(("asked", "shown"), [(None, "1.4.0"), ("LATEST", "1.4.0"), ("1.3.0", "1.3.0")])
async def test_the_platform_version_is_the_one_that_was_asked_for(main: Rig, asked: str | None, shown: str) -> None:
    task = await main.task(**({"platformVersion": asked} if asked else {}))
    assert task["platformVersion"] == shown


async def test_start_task_takes_no_tags_from_a_service(main: Rig) -> None:
    await prepare(main)
    instance = (await main.call("RegisterContainerInstance", cluster="main"))["containerInstance"]
    refusal = await main.refused(
        "StartTask",
        cluster="main",
        taskDefinition="bridge",
        containerInstances=[instance["containerInstanceArn"]],
        propagateTags="SERVICE",
    )
    assert refusal.code == "InvalidParameterException"
    assert "propagateTags SERVICE is not supported" in refusal.message


async def test_the_default_strategy_of_the_cluster(ecs: Rig) -> None:
    await ecs.cluster(
        "main",
        capacityProviders=["FARGATE", "FARGATE_SPOT"],
        defaultCapacityProviderStrategy=[
            {"capacityProvider": "FARGATE", "base": 1, "weight": 1},
            {"capacityProvider": "FARGATE_SPOT", "weight": 3},
        ],
    )
    await ecs.definition("web")
    params = run_params(count=9)
    del params["launchType"]
    tasks = (await ecs.call("RunTask", **params))["tasks"]
    assert {task["launchType"] for task in tasks} == {"FARGATE"}
    names = [task["capacityProviderName"] for task in tasks]
    assert (names[0], names.count("FARGATE"), names.count("FARGATE_SPOT")) == ("FARGATE", 3, 6)


async def test_a_client_token(main: Rig) -> None:
    first = await main.call("RunTask", **run_params(clientToken="t", count=2))
    again = await main.call("RunTask", **run_params(clientToken="t", count=2))
    assert again["tasks"] == first["tasks"]
    refusal = await main.refused("RunTask", **run_params(clientToken="t", count=3))
    assert refusal.code == "ConflictException"
    assert refusal.fields["resourceIds"] == [task["taskArn"] for task in first["tasks"]]
    other = await main.call("RunTask", **run_params(clientToken="u", count=2))
    assert other["tasks"] != first["tasks"]
    main.clock.time += 24 * 3600 + 1
    assert (await main.call("RunTask", **run_params(clientToken="t", count=3)))["tasks"]


async def test_stop(main: Rig) -> None:
    arn = (await main.task())["taskArn"]
    main.clock.time += 5
    stopped = (await main.call("StopTask", cluster="main", task=arn.rsplit("/", 1)[-1]))["task"]
    assert (stopped["desiredStatus"], stopped["lastStatus"]) == ("STOPPED", "PROVISIONING")
    assert (stopped["stopCode"], stopped["stoppedReason"]) == ("UserInitiated", "Task stopped by user")
    assert stopped["stoppingAt"] == 1_700_000_005.0
    assert stopped["version"] == 2
    again = (await main.call("StopTask", cluster="main", task=arn, reason="other"))["task"]
    assert again == stopped, "it is stopping already"
    other = (await main.task())["taskArn"]
    reason = "r" * 2000
    stopped = (await main.call("StopTask", cluster="main", task=other, reason=reason))["task"]
    assert stopped["stoppedReason"] == "r" * 1024


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"task": "0" * 32}, "The referenced task was not found."),
        ({"task": "x"}, "taskId length should be one of [32,36]"),
        ({"task": TASK + "x"}, "The referenced task was not found."),
        ({"task": BASE + "task/other/" + "0" * 32}, "Identifier is for other. Your cluster is main"),
        ({"task": "arn:aws:ecs:eu-west-1:000000000000:task/main/" + "0" * 32}, "The referenced task was not found."),
    ],
)
async def test_stopping_what_is_not_there(main: Rig, params: dict[str, Any], message: str) -> None:
    refusal = await main.refused("StopTask", cluster="main", **params)
    assert (refusal.code, refusal.message) == (INVALID, message)


async def test_a_task_of_another_cluster_is_not_there(main: Rig) -> None:
    await main.cluster("other")
    arn = (await main.task())["taskArn"]
    identifier = arn.rsplit("/", 1)[-1]
    for operation, params in (
        ("StopTask", {"task": arn}),
        ("DescribeTasks", {"tasks": [arn]}),
        ("UpdateTaskProtection", {"tasks": [arn], "protectionEnabled": True}),
        ("ExecuteCommand", {"task": arn, "command": "sh", "interactive": True}),
    ):
        refusal = await main.refused(operation, cluster="other", **params)
        assert refusal.message == "Identifier is for main. Your cluster is other"
    assert (await main.refused("StopTask", cluster="other", task=identifier)).message == (
        "The referenced task was not found."
    )
    described = await main.call("DescribeTasks", cluster="other", tasks=[identifier])
    assert described["failures"] == [{"arn": f"{BASE}task/other/{identifier}", "reason": "MISSING"}]
    short = await main.call("DescribeTasks", cluster="main", tasks=[BASE + "task/" + identifier])
    assert short["tasks"][0]["taskArn"] == arn, "the old form of the ARN"


async def test_scopes_do_not_see_each_other(main: Rig) -> None:
    arn = (await main.task())["taskArn"]
    for scope in ({"region": "eu-west-1"}, {"account": "111111111111"}):
        await main.call("CreateCluster", clusterName="main", **scope)
        assert (await main.call("ListTasks", cluster="main", **scope))["taskArns"] == []
        described = await main.call("DescribeTasks", cluster="main", tasks=[arn], **scope)
        assert described["failures"] == [{"arn": arn, "reason": "MISSING"}]
        refusal = await main.refused("StopTask", cluster="main", task=arn, **scope)
        assert refusal.message == "The referenced task was not found."
        refusal = await main.refused("ListTasks", cluster=BASE + "cluster/main", **scope)
        assert refusal.code == "ClusterNotFoundException"


async def test_describe(main: Rig) -> None:
    arns = [task["taskArn"] for task in (await main.call("RunTask", **run_params(count=3)))["tasks"]]
    missing = "0" * 32
    described = await main.call("DescribeTasks", cluster="main", tasks=[arns[2], missing, arns[0].rsplit("/", 1)[-1]])
    assert [task["taskArn"] for task in described["tasks"]] == [arns[2], arns[0]]
    assert described["failures"] == [{"arn": TASK + missing, "reason": "MISSING"}]
    assert (await main.refused("DescribeTasks", cluster="main", tasks=[])).message == "Tasks cannot be empty."
    too_many = ["0" * 32] * 101
    assert (await main.refused("DescribeTasks", cluster="main", tasks=too_many)).code == INVALID


async def test_lists_and_their_filters(main: Rig) -> None:
    await main.definition("api")
    web = (await main.task(startedBy="me"))["taskArn"]
    api = (await main.task(taskDefinition="api"))["taskArn"]
    gone = (await main.task(startedBy="me"))["taskArn"]
    await main.call("StopTask", cluster="main", task=gone)
    await main.service("web", desiredCount=0)

    async def listed(**params: Any) -> list[str]:
        return list((await main.call("ListTasks", cluster="main", **params))["taskArns"])

    assert await listed() == sorted([web, api])
    assert await listed(desiredStatus="STOPPED") == [gone]
    assert await listed(desiredStatus="PENDING") == []
    assert await listed(family="web") == [web]
    assert await listed(family="web", desiredStatus="STOPPED") == [gone]
    assert await listed(startedBy="me") == [web]
    assert await listed(launchType="FARGATE") == sorted([web, api])
    assert await listed(launchType="EC2") == []
    assert await listed(serviceName="web") == []
    assert await listed(containerInstance="x") == []
    assert await listed(daemonName="x") == []
    refusal = await main.refused("ListTasks", cluster="main", serviceName="none")
    assert (refusal.code, refusal.message) == ("ServiceNotFoundException", "Service not found.")
    for other in ({"family": "web"}, {"serviceName": "web"}):
        refusal = await main.refused("ListTasks", cluster="main", startedBy="me", **other)
        assert refusal.code == INVALID
    first = await main.call("ListTasks", cluster="main", maxResults=1)
    second = await main.call("ListTasks", cluster="main", maxResults=1, nextToken=first["nextToken"])
    assert first["taskArns"] + second["taskArns"] == sorted([web, api])
    assert "nextToken" not in second
    for bad in ({"nextToken": "x"}, {"nextToken": "ü"}, {"maxResults": 101}, {"maxResults": 0}):
        assert (await main.refused("ListTasks", cluster="main", **bad)).code == INVALID


async def test_commands_are_not_executed_yet(main: Rig) -> None:
    arn = (await main.task(enableExecuteCommand=True))["taskArn"]
    refusal = await main.refused("ExecuteCommand", cluster="main", task=arn, command="sh", interactive=True)
    assert refusal.code == INVALID
    assert refusal.message.startswith("The execute command failed because execute command was not enabled")
    refusal = await main.refused("ExecuteCommand", cluster="main", task=arn, command="sh", interactive=False)
    assert (refusal.code, refusal.message) == (INVALID, "Interactive is the only mode supported currently.")
