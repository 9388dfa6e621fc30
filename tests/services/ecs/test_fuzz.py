"""Whatever is sent, ECS answers with a result or with AWS's refusal, and what it accepted can be run and shown."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from multidict import CIMultiDict

from moorage.control.container_network import network_of, sandbox_spec
from moorage.control.container_output import container_log
from moorage.control.container_spec import container_spec, labels
from moorage.control.container_volumes import task_volumes
from moorage.control.task_resources import Resources, needs_resources
from moorage.decide.express import new_service, task_definition
from moorage.decide.task_lifecycle import decide_task, stop_timeout
from moorage.domain.clock import Ids
from moorage.domain.express import ExpressResources
from moorage.domain.network import Subnet
from moorage.domain.task import Task
from moorage.gateway import chain
from moorage.gateway.exchange import Exchange
from moorage.gateway.server import Gateway
from moorage.services.ecs import EcsProvider
from moorage.services.ecs.refused import refusals
from moorage.services.ecs.task_sets import put_task_set
from moorage.settings import Settings
from moorage.store.api import Transaction
from moorage.store.tables.ecs import (
    CONTAINER_INSTANCES,
    EXPRESS_SERVICES,
    REVISIONS,
    SERVICE_DEPLOYMENTS,
    SERVICES,
    TASK_DEFINITIONS,
    TASKS,
)
from moorage.wire.messages import WireRequest

from .rig import ACCOUNT, BASE, REGION, Rig, container, network_configuration, run_params, service_params
from .test_task_definitions import EVERYTHING

TARGET = "AmazonEC2ContainerServiceV20141113."
SCOPE = f"test/20260101/{REGION}/ecs/aws4_request"
SIGNED = {
    "Authorization": f"AWS4-HMAC-SHA256 Credential={SCOPE}, SignedHeaders=host, Signature=0",
    "Content-Type": "application/x-amz-json-1.1",
}
# Everything that a Fargate document may hold.
_APP = {
    name: value
    for name, value in EVERYTHING["containerDefinitions"][1].items()  # type: ignore[index]
    if name
    not in (
        "links", "hostname", "extraHosts", "dnsServers", "dnsSearchDomains", "dockerSecurityOptions", "environmentFiles",
        "resourceRequirements", "credentialSpecs",
    )
} | {
    "essential": True,
    "stopTimeout": 30,
    "portMappings": [{"containerPort": 80, "protocol": "tcp", "name": "web"}],
    "mountPoints": [{"sourceVolume": "data", "containerPath": "/x", "readOnly": True}],
    "volumesFrom": [{"sourceContainer": "side"}],
    "dependsOn": [{"containerName": "side", "condition": "START"}],
    "linuxParameters": {
        "capabilities": {"add": ["SYS_PTRACE"], "drop": ["ALL"]},
        "initProcessEnabled": True,
        "tmpfs": [{"containerPath": "/t", "size": 1, "mountOptions": ["noexec"]}],
    },
    "logConfiguration": {
        "logDriver": "awslogs",
        "options": {"awslogs-group": "g", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "p"},
    },
}  # fmt: skip
DOCUMENT = {
    "family": "web",
    "executionRoleArn": EVERYTHING["executionRoleArn"],
    "networkMode": "awsvpc",
    "requiresCompatibilities": ["FARGATE"],
    "cpu": "256",
    "memory": "512",
    "runtimePlatform": {"cpuArchitecture": "X86_64", "operatingSystemFamily": "LINUX"},
    "ephemeralStorage": {"sizeInGiB": 21},
    "volumes": [{"name": "data", "host": {}}],
    "tags": [{"key": "a", "value": "b"}],
    "containerDefinitions": [{"name": "side", "image": "s"}, _APP],
}
# Nearly everything that a document for container instances may hold.
ON_INSTANCE: dict[str, Any] = {
    name: value
    for name, value in EVERYTHING.items()
    if name not in ("placementConstraints", "requiresCompatibilities", "runtimePlatform")
} | {
    "volumes": [one for one in EVERYTHING["volumes"] if one["name"] in ("host", "anonymous", "docker", "efs")],  # type: ignore[index,attr-defined]
    "containerDefinitions": [
        EVERYTHING["containerDefinitions"][0],  # type: ignore[index]
        {
            name: value
            for name, value in EVERYTHING["containerDefinitions"][1].items()  # type: ignore[index]
            if name not in ("credentialSpecs", "resourceRequirements")
        }
        | {
            "mountPoints": [
                {"sourceVolume": name, "containerPath": f"/{name}", "readOnly": True}
                for name in ("host", "anonymous", "docker", "efs")
            ]
        },
    ],
}
OVERRIDES = {
    "cpu": "512",
    "memory": "1024",
    "ephemeralStorage": {"sizeInGiB": 30},
    "containerOverrides": [
        {
            "name": "app",
            "command": ["x"],
            "environment": [{"name": "A", "value": "1"}],
            "cpu": 1,
            "memory": 64,
            "memoryReservation": 32,
        }
    ],
}
SERVICE = {
    "deploymentConfiguration": {
        "maximumPercent": 200,
        "minimumHealthyPercent": 50,
        "deploymentCircuitBreaker": {
            "enable": True,
            "rollback": True,
            "thresholdConfiguration": {"type": "COUNT", "value": 3},
        },
        "alarms": {"alarmNames": [], "enable": False, "rollback": False},
    },
    "healthCheckGracePeriodSeconds": 5,
    "loadBalancers": [{"targetGroupArn": "arn:x", "containerName": "app", "containerPort": 80}],
}
EXPRESS = {
    "executionRoleArn": "arn:aws:iam::000000000000:role/x",
    "taskRoleArn": "arn:aws:iam::000000000000:role/y",
    "healthCheckPath": "/health",
    "cpu": "512",
    "memory": "1024",
    "cpuArchitecture": "X86_64",
    "networkConfiguration": {"subnets": ["subnet-a", "subnet-b"], "securityGroups": ["sg-1"]},
    "scalingTarget": {"minTaskCount": 1, "maxTaskCount": 3, "autoScalingMetric": "AVERAGE_CPU"},
    "primaryContainer": {
        "image": "web:1",
        "containerPort": 8000,
        "command": ["a"],
        "environment": [{"name": "A", "value": "b"}],
        "secrets": [{"name": "S", "valueFrom": "arn:aws:ssm:us-east-1:000000000000:parameter/s"}],
        "awsLogsConfiguration": {"logGroup": "g", "logStreamPrefix": "p"},
    },
}
NETWORK = network_configuration(assignPublicIp="ENABLED", securityGroups=["sg-1"])
TASK_ID = "0" * 32
TASK_SET = {"cluster": "main", "service": "outside", "taskSet": "ecs-svc/" + "1" * 19}
OTHERS: dict[str, dict[str, Any]] = {
    "daemon": {
        "cluster": "main",
        "serviceName": "new",
        "taskDefinition": "agent",
        "schedulingStrategy": "DAEMON",
        "placementConstraints": [{"type": "memberOf", "expression": "attribute:ecs.os-type == linux"}],
        "deploymentConfiguration": {"minimumHealthyPercent": 50, "maximumPercent": 100},
    },
    "external": {
        "cluster": "main",
        "serviceName": "new",
        "desiredCount": 1,
        "deploymentController": {"type": "EXTERNAL"},
        "schedulingStrategy": "REPLICA",
    },
}
GROUP = {
    "autoScalingGroupArn": "hosts",
    "managedScaling": {
        "status": "ENABLED",
        "targetCapacity": 90,
        "minimumScalingStepSize": 1,
        "maximumScalingStepSize": 10,
        "instanceWarmupPeriod": 30,
    },
    "managedTerminationProtection": "DISABLED",
    "managedDraining": "ENABLED",
}
# Deployments side by side; `@…` stands for what the world has (see `known`).
SIDE_BY_SIDE = {
    "strategy": "CANARY",
    "bakeTimeInMinutes": 1,
    "canaryConfiguration": {"canaryPercent": 10.0, "canaryBakeTimeInMinutes": 1},
    "linearConfiguration": {"stepPercent": 50.0, "stepBakeTimeInMinutes": 1},
    "lifecycleHooks": [
        {
            "targetType": "PAUSE",
            "lifecycleStages": ["POST_SCALE_UP", "PRE_SCALE_UP"],
            "hookDetails": {"a": 1},
            "timeoutConfiguration": {"timeoutInMinutes": 5, "action": "CONTINUE"},
        },
        {
            "hookTargetArn": "arn:aws:lambda:us-east-1:000000000000:function:f",
            "roleArn": "arn:aws:iam::000000000000:role/x",
            "lifecycleStages": ["PRODUCTION_TRAFFIC_SHIFT"],
        },
    ],
    "earlySuccessCriteria": {"enable": True, "healthyPercent": 50, "sourceServiceRevisionCleanup": "DEFERRED"},
    "alarms": {"alarmNames": ["a"], "enable": True, "rollback": True},
}
SEEDS: dict[str, dict[str, Any]] = {
    "CreateCluster": {
        "clusterName": "x",
        "tags": [{"key": "a", "value": "b"}],
        "settings": [{"name": "containerInsights", "value": "enabled"}],
        "configuration": {
            "executeCommandConfiguration": {
                "logging": "OVERRIDE",
                "logConfiguration": {"cloudWatchLogGroupName": "g"},
            }
        },
        "capacityProviders": ["FARGATE", "FARGATE_SPOT"],
        "defaultCapacityProviderStrategy": [{"capacityProvider": "FARGATE", "weight": 1, "base": 1}],
        "serviceConnectDefaults": {"namespace": "n"},
    },
    "DescribeClusters": {"clusters": ["main"], "include": ["TAGS"]},
    "UpdateCluster": {"cluster": "main", "settings": [{"name": "containerInsights", "value": "enabled"}]},
    "PutClusterCapacityProviders": {
        "cluster": "main",
        "capacityProviders": ["FARGATE"],
        "defaultCapacityProviderStrategy": [{"capacityProvider": "FARGATE", "weight": 1, "base": 1}],
    },
    "RegisterTaskDefinition": DOCUMENT,
    "DescribeTaskDefinition": {"taskDefinition": "web:1", "include": ["TAGS"]},
    "DeregisterTaskDefinition": {"taskDefinition": "web:1"},
    "DeleteTaskDefinitions": {"taskDefinitions": ["web:1"]},
    "ListTaskDefinitions": {"familyPrefix": "web", "status": "ACTIVE", "sort": "DESC", "maxResults": 1},
    "RunTask": run_params(
        count=2,
        overrides=OVERRIDES,
        networkConfiguration=NETWORK,
        tags=[{"key": "a", "value": "b"}],
        clientToken="t",
        startedBy="me",
        platformVersion="LATEST",
    ),
    "StopTask": {"cluster": "main", "task": TASK_ID, "reason": "r"},
    "DescribeTasks": {"cluster": "main", "tasks": [TASK_ID], "include": ["TAGS"]},
    "ListTasks": {"cluster": "main", "family": "web", "desiredStatus": "RUNNING", "maxResults": 2, "nextToken": "x"},
    "UpdateTaskProtection": {
        "cluster": "main",
        "tasks": [TASK_ID],
        "protectionEnabled": True,
        "expiresInMinutes": 1,
    },
    "CreateService": service_params("new", **SERVICE),
    "UpdateService": {
        "cluster": "main",
        "service": "web",
        "desiredCount": 1,
        "taskDefinition": "web",
        "networkConfiguration": NETWORK,
        "forceNewDeployment": True,
        "capacityProviderStrategy": [{"capacityProvider": "FARGATE", "weight": 1}],
        **SERVICE,
    },
    "DescribeServices": {"cluster": "main", "services": ["web", BASE + "service/main/web"]},
    "ListServices": {"cluster": "main", "maxResults": 1, "launchType": "FARGATE"},
    "DeleteService": {"cluster": "main", "service": "web", "force": True},
    "ListServiceDeployments": {"service": "web", "cluster": "main", "createdAt": {"after": 1.0}, "status": ["PENDING"]},
    "DescribeServiceDeployments": {"serviceDeploymentArns": [BASE + "service-deployment/main/web/x"]},
    "DescribeServiceRevisions": {"serviceRevisionArns": [BASE + "service-revision/main/web/1"]},
    "TagResource": {"resourceArn": BASE + "cluster/main", "tags": [{"key": "a", "value": "b"}]},
    "ListTagsForResource": {"resourceArn": BASE + "cluster/main"},
    "PutAccountSetting": {"name": "containerInsights", "value": "enabled", "principalArn": "arn:aws:iam::0:user/a"},
    "ListAccountSettings": {"name": "containerInsights", "effectiveSettings": True, "maxResults": 1, "nextToken": "x"},
    "ListServicesByNamespace": {"namespace": "here", "maxResults": 1, "nextToken": "x"},
    "CreateTaskSet": {
        "cluster": "main",
        "service": "outside",
        "taskDefinition": "web",
        "launchType": "FARGATE",
        "networkConfiguration": NETWORK,
        "loadBalancers": SERVICE["loadBalancers"],
        "platformVersion": "LATEST",
        "scale": {"value": 50.0, "unit": "PERCENT"},
        "externalId": "x",
        "clientToken": "t",
        "tags": [{"key": "a", "value": "b"}],
    },
    "UpdateTaskSet": TASK_SET | {"scale": {"value": 50.0, "unit": "PERCENT"}},
    "DeleteTaskSet": TASK_SET | {"force": True},
    "DescribeTaskSets": {
        "cluster": "main",
        "service": "outside",
        "taskSets": [TASK_SET["taskSet"]],
        "include": ["TAGS"],
    },
    "DeleteCluster": {"cluster": "main"},
    "ListClusters": {"maxResults": 1, "nextToken": "x"},
    "UpdateClusterSettings": {"cluster": "main", "settings": [{"name": "containerInsights", "value": "enabled"}]},
    "ListTaskDefinitionFamilies": {"familyPrefix": "w", "status": "ALL", "maxResults": 1, "nextToken": "x"},
    "StartTask": {
        "cluster": "main",
        "taskDefinition": "agent",
        "containerInstances": ["@instance"],
        "overrides": OVERRIDES,
        "startedBy": "me",
        "group": "g",
        "propagateTags": "TASK_DEFINITION",
        "tags": [{"key": "a", "value": "b"}],
    },
    "ExecuteCommand": {"cluster": "main", "task": "@task", "command": "sh", "interactive": True, "container": "app"},
    "GetTaskProtection": {"cluster": "main", "tasks": ["@task"]},
    "StopServiceDeployment": {"serviceDeploymentArn": "@deployment", "stopType": "ROLLBACK"},
    "ContinueServiceDeployment": {
        "serviceDeploymentArn": "@deployment",
        "hookId": "ecs-pause-00000000000000000000",
        "action": "CONTINUE",
    },
    "RegisterContainerInstance": {
        "cluster": "main",
        "instanceIdentityDocument": '{"instanceId": "i-1", "availabilityZone": "us-east-1a"}',
        "totalResources": [
            {"name": "CPU", "type": "INTEGER", "integerValue": 1024},
            {"name": "MEMORY", "type": "INTEGER", "integerValue": 1024},
            {"name": "PORTS", "type": "STRINGSET", "stringSetValue": ["22"]},
        ],
        "versionInfo": {"agentVersion": "1.90.0"},
        "attributes": [{"name": "rack", "value": "r1"}],
        "platformDevices": [],
        "tags": [{"key": "a", "value": "b"}],
    },
    "DeregisterContainerInstance": {"cluster": "main", "containerInstance": "@instance", "force": True},
    "DescribeContainerInstances": {"cluster": "main", "containerInstances": ["@instance"], "include": ["TAGS"]},
    "ListContainerInstances": {
        "cluster": "main",
        "filter": "attribute:ecs.os-type == linux and runningTasksCount < 3",
        "status": "ACTIVE",
        "maxResults": 1,
        "nextToken": "x",
    },
    "UpdateContainerInstancesState": {"cluster": "main", "containerInstances": ["@instance"], "status": "DRAINING"},
    "UpdateContainerAgent": {"cluster": "main", "containerInstance": "@instance"},
    "PutAttributes": {
        "cluster": "main",
        "attributes": [
            {"name": "a", "value": "b", "targetType": "container-instance", "targetId": "@instance"},
        ],
    },
    "DeleteAttributes": {"cluster": "main", "attributes": [{"name": "a", "targetId": "@instance"}]},
    "ListAttributes": {
        "cluster": "main",
        "targetType": "container-instance",
        "attributeName": "ecs.os-type",
        "attributeValue": "linux",
        "maxResults": 1,
        "nextToken": "x",
    },
    "CreateCapacityProvider": {
        "name": "hosts",
        "autoScalingGroupProvider": GROUP,
        "tags": [{"key": "a", "value": "b"}],
    },
    "UpdateCapacityProvider": {"name": "hosts", "autoScalingGroupProvider": GROUP},
    "DeleteCapacityProvider": {"capacityProvider": "hosts"},
    "DescribeCapacityProviders": {
        "capacityProviders": ["FARGATE"],
        "include": ["TAGS"],
        "maxResults": 1,
        "nextToken": "x",
    },
    "DeleteAccountSetting": {"name": "containerInsights", "principalArn": "arn:aws:iam::0:user/a"},
    "PutAccountSettingDefault": {"name": "containerInsights", "value": "enabled"},
    "UntagResource": {"resourceArn": "@task", "tagKeys": ["a"]},
    "DeleteExpressGatewayService": {"serviceArn": BASE + "service/main/express"},
    "DiscoverPollEndpoint": {"cluster": "main", "containerInstance": "@instance"},
    "SubmitAttachmentStateChanges": {
        "cluster": "main",
        "attachments": [{"attachmentArn": BASE + "attachment/x", "status": "ATTACHED"}],
    },
    "SubmitContainerStateChange": {
        "cluster": "main",
        "task": "@task",
        "containerName": "app",
        "status": "STOPPED",
        "exitCode": 1,
        "networkBindings": [{"bindIP": "0.0.0.0", "containerPort": 1, "hostPort": 1, "protocol": "tcp"}],
    },
    "UpdateServicePrimaryTaskSet": {"cluster": "main", "service": "outside", "primaryTaskSet": TASK_SET["taskSet"]},
    "SubmitTaskStateChange": {"cluster": "main", "task": TASK_ID, "status": "STOPPED"},
    "CreateExpressGatewayService": EXPRESS | {"cluster": "main", "serviceName": "new", "infrastructureRoleArn": "r"},
    "UpdateExpressGatewayService": EXPRESS | {"serviceArn": BASE + "service/main/express"},
    "DescribeExpressGatewayService": {"serviceArn": BASE + "service/main/express", "include": ["TAGS"]},
}


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from places(inner, (*path, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from places(inner, (*path, index))


ODD = [
    None, True, False, 0, -1, 1, 99, 2**31 - 1, 2**31, 2**63, -(2**40), 1.5, 1e308, "", " ", "0", "-1", "²", "1e3",
    "1 vCPU", "99999999999 GB", "x" * 300, "ü\n", "a:b", "arn:", "arn:aws:ecs:us-east-1:000000000000:task/main",
    ":", "/", "web:1", "LATEST", "NONE", [], {}, [None], [[]], {"x": 1}, ["a", "a"], [{}], "net.core.somaxconn",
]  # fmt: skip
odd = st.sampled_from(ODD) | st.text(max_size=20) | st.integers() | st.lists(st.text(max_size=5), max_size=3)
changes = st.lists(
    st.tuples(st.floats(0, 0.999), st.sampled_from(["set", "remove", "repeat"]), odd), min_size=1, max_size=3
)


def known(rig: Rig) -> dict[str, str]:
    """What a request may name of the world it is sent to."""
    task = next(iter(rig.store.all(TASKS)), None)
    return {
        "@instance": next(iter(rig.store.all(CONTAINER_INSTANCES))).arn,
        "@deployment": next(iter(rig.store.all(SERVICE_DEPLOYMENTS))).arn,
        "@task": task.arn if task is not None else TASK_ID,
    }


def with_names(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: with_names(inner, names) for name, inner in value.items()}
    if isinstance(value, list):
        return [with_names(inner, names) for inner in value]
    return names.get(value, value) if isinstance(value, str) else value


def mutated(seed: dict[str, Any], mutations: list[tuple[float, str, Any]]) -> dict[str, Any]:
    request = copy.deepcopy(seed)
    for where, how, value in mutations:
        found = list(places(request))
        if not found:
            continue
        *path, last = found[int(where * len(found))]
        parent: Any = request
        for step in path:
            parent = parent[step]
        if how == "set":
            parent[last] = copy.deepcopy(value)
        elif how == "remove":
            del parent[last]
        elif isinstance(parent, list):
            parent.append(copy.deepcopy(parent[last]))
    return request


async def world() -> tuple[Rig, Gateway]:
    rig = await Rig.make()
    await rig.cluster("main")
    await rig.definition("web")
    await rig.service("web")
    names = {"cluster": "main", "serviceName": "express", "infrastructureRoleArn": "r"}
    await rig.call("CreateExpressGatewayService", **EXPRESS, **names)
    await rig.call("RegisterTaskDefinition", family="agent", containerDefinitions=[container(memory=64)])
    await rig.call("RegisterContainerInstance", cluster="main")
    external = {"cluster": "main", "deploymentController": {"type": "EXTERNAL"}, "desiredCount": 2}
    await rig.call("CreateService", serviceName="outside", **external)

    def write(tx: Transaction) -> None:
        service, web = tx.get(SERVICES, BASE + "service/main/outside"), tx.get(SERVICES, BASE + "service/main/web")
        revision = tx.get(REVISIONS, web.revision_arn) if web is not None else None
        assert service is not None
        assert revision is not None
        put_task_set(tx, service, replace(revision, service_arn=service.arn), "1" * 19, 1.0, scale=50.0)

    await rig.store.update(write)
    gateway = Gateway(Settings(port=0, data_dir=Path("/nonexistent")), rig.clock, Ids(seed=1))
    gateway.add_provider(EcsProvider(rig.store, rig.clock, Ids(seed=2), rig.networks))
    return rig, gateway


async def sent(gateway: Gateway, operation: str, request: dict[str, Any]) -> Any:
    headers = CIMultiDict({**SIGNED, "X-Amz-Target": TARGET + operation})
    wire = WireRequest("POST", "/", "", headers, msgspec.json.encode(request))
    answer = await chain.answer(gateway, Exchange(wire, "id", "127.0.0.1"))
    assert answer.status in (200, 400), (operation, request, answer.status, answer.body)
    assert isinstance(answer.body, bytes)
    return msgspec.json.decode(answer.body) if answer.status == 200 else None


def can_be_run(rig: Rig, task: Task) -> None:
    """Everything that the control plane works out about a task."""
    definition = rig.store.get(TASK_DEFINITIONS, task.task_definition_arn)
    assert definition is not None
    document = definition.document
    decide_task(task, document, 0, 1.0)
    subnet = Subnet(ACCOUNT, REGION, "subnet-a", "vpc-1", "10.0.0.0/24", "us-east-1a")
    ready = task
    if task.interface is not None:
        ready = replace(task, interface=replace(task.interface, ipv4="10.0.0.4", mac="02:42:0a:00:00:04"))
    sandbox_spec(ready, document, subnet, labels(ready))
    network_of(subnet)
    task_volumes(ready, document)
    needs_resources(ready, document)
    resources = Resources(socket_folder="/sockets")
    for each in document.container_definitions:
        assert msgspec.json.encode(container_spec(ready, document, each, "image", resources))
        container_log(ready, each, "id")
        stop_timeout(each)


async def play(operation: str, request: dict[str, Any]) -> None:
    rig, gateway = await world()
    answer = await sent(gateway, operation, with_names(request, known(rig)))
    if answer is not None and operation == "RegisterTaskDefinition":
        arn = answer["taskDefinition"]["taskDefinitionArn"]
        assert await sent(gateway, "DescribeTaskDefinition", {"taskDefinition": arn, "include": ["TAGS"]})
        await sent(gateway, "RunTask", run_params(taskDefinition=arn))
        instance = known(rig)["@instance"]
        await sent(gateway, "StartTask", {"cluster": "main", "taskDefinition": arn, "containerInstances": [instance]})
    for task in rig.store.all(TASKS):
        can_be_run(rig, task)
        assert await sent(gateway, "DescribeTasks", {"cluster": "main", "tasks": [task.arn], "include": ["TAGS"]})
    for express in rig.store.all(EXPRESS_SERVICES):
        assert await sent(gateway, "DescribeExpressGatewayService", {"serviceArn": express.arn, "include": ["TAGS"]})
        await sent(gateway, "RegisterTaskDefinition", task_definition(express))
        made = ExpressResources(
            target_groups=("a", "b"), task_definition="web", rule="r", service_security_group="sg-1"
        )
        await sent(gateway, "CreateService", new_service(replace(express, made=made)))
    for service in rig.store.all(SERVICES):
        described = {"cluster": service.cluster_arn, "services": [service.arn], "include": ["TAGS"]}
        assert await sent(gateway, "DescribeServices", described)


@pytest.mark.parametrize("kind", OTHERS)
@settings(max_examples=60, deadline=None)
@given(mutations=changes)
def test_mutations_of_services_of_other_schedulers(kind: str, mutations: list[tuple[float, str, Any]]) -> None:
    asyncio.run(play("CreateService", mutated(OTHERS[kind], mutations)))


@pytest.mark.parametrize("operation", ["CreateService", "UpdateService"])
@settings(max_examples=60, deadline=None)
@given(mutations=changes, strategy=st.sampled_from(["ROLLING", "BLUE_GREEN", "LINEAR", "CANARY"]))
def test_mutations_of_deployment_configurations(
    operation: str, mutations: list[tuple[float, str, Any]], strategy: str
) -> None:
    request = SEEDS[operation] | {"deploymentConfiguration": {**SIDE_BY_SIDE, "strategy": strategy}}
    asyncio.run(play(operation, mutated(request, mutations)))


relaxed = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_every_operation_has_a_seed() -> None:
    done = {getattr(getattr(EcsProvider, name), "__aws_operation__", None) for name in dir(EcsProvider)} - {None}
    assert set(SEEDS) >= done - set(refusals())


@pytest.mark.parametrize("operation", SEEDS)
def test_the_seed_itself_is_answered(operation: str) -> None:
    asyncio.run(play(operation, SEEDS[operation]))


@pytest.mark.parametrize(
    "operation",
    ["RegisterTaskDefinition", "RunTask", "StartTask", "CreateService", "UpdateService", "CreateExpressGatewayService"],
)
@settings(max_examples=100, deadline=None)
@given(mutations=changes)
def test_mutations_of_what_makes_things_run(operation: str, mutations: list[tuple[float, str, Any]]) -> None:
    asyncio.run(play(operation, mutated(SEEDS[operation], mutations)))


@settings(max_examples=200, deadline=None)
@given(mutations=changes)
def test_mutations_of_what_runs_on_an_instance(mutations: list[tuple[float, str, Any]]) -> None:
    asyncio.run(play("RegisterTaskDefinition", mutated(ON_INSTANCE, mutations)))


def test_the_document_of_an_instance_runs() -> None:
    async def started() -> None:
        rig, gateway = await world()
        arn = (await sent(gateway, "RegisterTaskDefinition", ON_INSTANCE))["taskDefinition"]["taskDefinitionArn"]
        wanted = {"cluster": "main", "taskDefinition": arn, "containerInstances": [known(rig)["@instance"]]}
        assert (await sent(gateway, "StartTask", wanted))["failures"] == []

    asyncio.run(started())


@relaxed
@given(operation=st.sampled_from(sorted(SEEDS)), mutations=changes)
def test_mutations_of_everything_else(operation: str, mutations: list[tuple[float, str, Any]]) -> None:
    asyncio.run(play(operation, mutated(SEEDS[operation], mutations)))
