"""Container instances and placement through the API, in an account with bridge tasks."""

from __future__ import annotations

import json
from typing import Any

import pytest

from moorage.store.tables.ecs import CONTAINER_INSTANCES

from .rig import BASE, REGION, Rig, container, network_configuration


def totals(cpu: int = 1024, memory: int = 1024) -> list[dict[str, Any]]:
    return [
        {"name": "CPU", "type": "INTEGER", "integerValue": cpu},
        {"name": "MEMORY", "type": "INTEGER", "integerValue": memory},
    ]


def resource(shape: dict[str, Any], which: str, name: str) -> Any:
    found = next(one for one in shape[which] if one["name"] == name)
    return found["stringSetValue"] if name.startswith("PORTS") else found["integerValue"]


async def register(rig: Rig, cpu: int = 1024, memory: int = 1024, **params: Any) -> dict[str, Any]:
    """One after the other: the order of registration is the order in which equals are taken."""
    rig.clock.time += 1
    answer = await rig.call(
        "RegisterContainerInstance", **{"cluster": "main", "totalResources": totals(cpu, memory), **params}
    )
    return answer["containerInstance"]


async def describe(rig: Rig, arn: str) -> dict[str, Any]:
    answer = await rig.call("DescribeContainerInstances", cluster="main", containerInstances=[arn])
    return answer["containerInstances"][0]


def bridge(*ports: int, cpu: int = 256, memory: int = 256, **params: Any) -> dict[str, Any]:
    mappings = [{"containerPort": 80 + n, "hostPort": port} for n, port in enumerate(ports)]
    one = container(cpu=cpu, memory=memory, portMappings=mappings)
    return {"family": "job", "containerDefinitions": [one], **params}


@pytest.fixture
async def rig(ecs: Rig) -> Rig:
    await ecs.cluster("main")
    await ecs.call("RegisterTaskDefinition", **bridge())
    return ecs


def run(**params: Any) -> dict[str, Any]:
    return {"cluster": "main", "taskDefinition": "job", "launchType": "EC2", **params}


async def test_an_instance_is_registered_with_its_share(rig):
    made = await register(rig, cpu=512, memory=700, tags=[{"key": "k", "value": "v"}])
    assert made["status"] == "ACTIVE"
    assert made["agentConnected"] is True
    assert made["containerInstanceArn"].startswith(BASE + "container-instance/main/")
    assert made["ec2InstanceId"].startswith("i-")
    assert made["tags"] == [{"key": "k", "value": "v"}]
    assert resource(made, "registeredResources", "CPU") == resource(made, "remainingResources", "CPU") == 512
    assert resource(made, "registeredResources", "MEMORY") == 700
    assert resource(made, "remainingResources", "PORTS") == ["22", "2375", "2376", "51678", "51679", "51680"]
    shown = (await rig.call("DescribeClusters", clusters=["main"]))["clusters"][0]
    assert shown["registeredContainerInstancesCount"] == 1
    refusal = await rig.refused("DeleteCluster", cluster="main")
    assert refusal.code == "ClusterContainsContainerInstancesException"


async def test_the_identity_document_says_what_and_where_it_is(rig):
    document = {"instanceId": "i-0abc", "availabilityZone": f"{REGION}c", "instanceType": "m5.large"}
    made = await register(rig, instanceIdentityDocument=json.dumps(document))
    again = await register(rig, cpu=2048, instanceIdentityDocument=json.dumps(document))
    assert again["containerInstanceArn"] == made["containerInstanceArn"]
    assert resource(again, "registeredResources", "CPU") == 2048
    attributes = {a["name"]: a.get("value") for a in made["attributes"]}
    assert attributes["ecs.availability-zone"] == f"{REGION}c"
    assert attributes["ecs.instance-type"] == "m5.large"
    assert "ecs.capability.task-eni" in attributes


async def test_instances_that_do_not_say_where_they_are_are_spread_over_zones_and_addresses(rig):
    for _ in range(4):
        await register(rig)
    records = rig.store.all(CONTAINER_INSTANCES)
    assert sorted(r.availability_zone[-1] for r in records) == ["a", "a", "b", "c"]
    assert [r.address for r in records] == [f"127.0.64.{n}" for n in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"totalResources": totals(cpu=0)}, "The resource CPU must be greater than zero."),
        ({"totalResources": [{"name": "GPU"}]}, "Moorage does not support the resource GPU"),
        ({"totalResources": [{"name": "PORTS", "stringSetValue": ["x"]}]}, "'x' is not a port."),
        ({"instanceIdentityDocument": "{"}, "The instance identity document is not valid."),
    ],
)
async def test_registrations_that_are_refused(rig, params, message):
    assert (await rig.refused("RegisterContainerInstance", cluster="main", **params)).message.startswith(message)


async def test_run_task_takes_from_the_instance_and_says_where(rig):
    made = await register(rig)
    answer = await rig.call("RunTask", **run(count=2))
    assert answer["failures"] == []
    for task in answer["tasks"]:
        assert task["containerInstanceArn"] == made["containerInstanceArn"]
        assert task["launchType"] == "EC2"
        assert task["lastStatus"] == "PENDING"
        assert task["containers"][0]["networkBindings"] == []
    shown = await describe(rig, made["containerInstanceArn"])
    assert resource(shown, "remainingResources", "CPU") == 512
    assert resource(shown, "remainingResources", "MEMORY") == 512
    assert shown["pendingTasksCount"] == 2
    listed = await rig.call("ListTasks", cluster="main", containerInstance=made["containerInstanceArn"])
    assert len(listed["taskArns"]) == 2
    for task in answer["tasks"]:
        await rig.write_task(task["taskArn"], desired_status="STOPPED", last_status="STOPPED")
    shown = await describe(rig, made["containerInstanceArn"])
    assert resource(shown, "remainingResources", "CPU") == 1024


async def test_run_task_places_all_it_can_and_says_why_not_for_each_instance(rig):
    first, second = await register(rig, cpu=300), await register(rig, cpu=600, memory=300)
    answer = await rig.call("RunTask", **run(count=5))
    assert len(answer["tasks"]) == 2
    assert {f["arn"]: f["reason"] for f in answer["failures"]} == {
        first["containerInstanceArn"]: "RESOURCE:CPU",
        second["containerInstanceArn"]: "RESOURCE:MEMORY",
    }
    assert answer["failures"][0]["detail"] == "wants 256 CPU units, 44 are free"


@pytest.mark.parametrize("mode", ["bridge", "host"])
async def test_a_fixed_host_port_is_there_once_per_instance(rig, mode):
    document = bridge(80, networkMode=mode)
    await rig.call("RegisterTaskDefinition", **document)
    made = [await register(rig), await register(rig)]
    answer = await rig.call("RunTask", **run(count=3))
    assert len({t["containerInstanceArn"] for t in answer["tasks"]}) == 2
    assert [f["reason"] for f in answer["failures"]] == ["RESOURCE:PORTS"] * 2
    shown = await describe(rig, made[0]["containerInstanceArn"])
    assert "80" in resource(shown, "remainingResources", "PORTS")


async def test_constraints_and_strategies_of_run_task(rig):
    plain, special = await register(rig, cpu=400), await register(rig)
    await rig.call(
        "PutAttributes",
        cluster="main",
        attributes=[{"name": "stack", "value": "prod", "targetId": special["containerInstanceArn"]}],
    )
    where = [{"type": "memberOf", "expression": "attribute:stack == prod"}]
    answer = await rig.call("RunTask", **run(placementConstraints=where, count=2))
    assert {t["containerInstanceArn"] for t in answer["tasks"]} == {special["containerInstanceArn"]}
    packed = await rig.call("RunTask", **run(placementStrategy=[{"type": "binpack", "field": "cpu"}]))
    assert packed["tasks"][0]["containerInstanceArn"] == plain["containerInstanceArn"]
    distinct = await rig.call(
        "RunTask", **run(placementConstraints=[{"type": "distinctInstance"}], group="one", count=3)
    )
    assert len(distinct["tasks"]) == 1
    assert {f["reason"] for f in distinct["failures"]} == {
        "RESOURCE:CPU",
        "DistinctInstance placement constraint unsatisfied",
    }
    refusal = await rig.refused(
        "RunTask", **run(placementConstraints=[{"type": "memberOf", "expression": "attribute:stack"}])
    )
    assert refusal.message == "Expected an operator after 'attribute:stack', found the end"


async def test_an_awsvpc_task_goes_where_its_subnet_is(rig):
    document = {"memory": 100, "portMappings": []}
    await rig.call(
        "RegisterTaskDefinition", family="eni", networkMode="awsvpc", containerDefinitions=[container(**document)]
    )
    other = await register(rig, attributes=[{"name": "ecs.availability-zone", "value": f"{REGION}c"}])
    asked = run(taskDefinition="eni", networkConfiguration=network_configuration("subnet-b"))
    answer = await rig.call("RunTask", **asked)
    assert answer["failures"][0]["reason"] == "LOCATION"
    near = await register(rig, attributes=[{"name": "ecs.availability-zone", "value": f"{REGION}b"}])
    (task,) = (await rig.call("RunTask", **asked))["tasks"]
    assert task["containerInstanceArn"] == near["containerInstanceArn"] != other["containerInstanceArn"]
    assert task["availabilityZone"] == f"{REGION}b"


async def test_start_task_goes_exactly_there_or_says_why_not(rig):
    full, free = await register(rig, cpu=100), await register(rig)
    drained = await register(rig)
    await rig.call(
        "UpdateContainerInstancesState",
        cluster="main",
        containerInstances=[drained["containerInstanceArn"]],
        status="DRAINING",
    )
    missing = BASE + "container-instance/main/" + "0" * 32
    arns = [full["containerInstanceArn"], free["containerInstanceArn"], drained["containerInstanceArn"], missing]
    answer = await rig.call("StartTask", cluster="main", taskDefinition="job", containerInstances=arns)
    assert [t["containerInstanceArn"] for t in answer["tasks"]] == [free["containerInstanceArn"]]
    assert {f["arn"]: f["reason"] for f in answer["failures"]} == {
        arns[0]: "RESOURCE:CPU",
        arns[2]: "INACTIVE",
        arns[3]: "MISSING",
    }


async def test_a_missing_capability_is_an_attribute_failure(rig):
    await register(rig, attributes=[{"name": "com.amazonaws.ecs.capability.docker-remote-api.1.18"}])
    one = container(cpu=1, memory=10, secrets=[{"name": "s", "valueFrom": "/parameter"}])
    await rig.call(
        "RegisterTaskDefinition",
        family="job",
        executionRoleArn="arn:aws:iam::000000000000:role/execution",
        containerDefinitions=[one],
    )
    (failure,) = (await rig.call("RunTask", **run()))["failures"]
    assert failure["reason"] == "ATTRIBUTE"
    assert failure["detail"] == "has no ecs.capability.secrets.ssm.environment-variables"


async def test_instances_are_listed_by_status_and_by_expression(rig):
    one, two = await register(rig), await register(rig)
    await rig.call("RunTask", **run(placementStrategy=[{"type": "spread", "field": "instanceId"}]))
    await rig.call(
        "UpdateContainerInstancesState",
        cluster="main",
        containerInstances=[two["containerInstanceArn"]],
        status="DRAINING",
    )

    async def listed(**params: Any) -> list[str]:
        answer = await rig.call("ListContainerInstances", cluster="main", **params)
        return sorted(answer["containerInstanceArns"])

    assert await listed() == sorted([one["containerInstanceArn"], two["containerInstanceArn"]])
    assert await listed(status="DRAINING") == [two["containerInstanceArn"]]
    assert await listed(filter="runningTasksCount > 0") == [one["containerInstanceArn"]]
    assert await listed(filter="task:group == family:job") == [one["containerInstanceArn"]]
    refusal = await rig.refused("ListContainerInstances", cluster="main", filter="x")
    assert refusal.message.startswith("Invalid filter: 'x' is not one of")


async def test_deregistering_needs_force_while_tasks_run(rig):
    made = await register(rig)
    (task,) = (await rig.call("RunTask", **run()))["tasks"]
    asked = {"cluster": "main", "containerInstance": made["containerInstanceArn"]}
    assert (await rig.refused("DeregisterContainerInstance", **asked)).message == "Found running tasks on the instance."
    gone = (await rig.call("DeregisterContainerInstance", **asked, force=True))["containerInstance"]
    assert (gone["status"], gone["agentConnected"]) == ("INACTIVE", False)
    shown = (await rig.call("DescribeTasks", cluster="main", tasks=[task["taskArn"]]))["tasks"][0]
    assert (shown["desiredStatus"], shown["stoppedReason"]) == (
        "STOPPED",
        "Container instance deregistration forced by user",
    )
    assert (await describe(rig, made["containerInstanceArn"]))["status"] == "INACTIVE"
    assert (await rig.call("ListContainerInstances", cluster="main"))["containerInstanceArns"] == []
    assert (await rig.refused("RunTask", **run())).message == "No Container Instances were found in your cluster."


async def test_custom_attributes(rig):
    made = (await register(rig))["containerInstanceArn"]

    def one(name: str, value: str | None = None, target: str = made) -> dict[str, Any]:
        return {"name": name, "targetId": target} | ({"value": value} if value else {})

    async def put(*attributes: dict[str, Any]) -> Any:
        return await rig.call("PutAttributes", cluster="main", attributes=list(attributes))

    async def listed(**params: Any) -> list[tuple[str, str | None]]:
        answer = await rig.call("ListAttributes", cluster="main", targetType="container-instance", **params)
        return [(a["name"], a.get("value")) for a in answer["attributes"]]

    await put(one("stack", "prod"), one("bare"))
    assert await listed(attributeName="stack") == [("stack", "prod")]
    assert await listed(attributeName="stack", attributeValue="test") == []
    assert ("bare", None) in await listed()
    await rig.call("DeleteAttributes", cluster="main", attributes=[one("stack")])
    assert await listed(attributeName="stack") == []
    many = [one(f"a{n}") for n in range(10)]
    refused = await rig.refused("PutAttributes", cluster="main", attributes=many)
    assert refused.code == "AttributeLimitExceededException"
    refused = await rig.refused("PutAttributes", cluster="main", attributes=[one("x", target="0" * 32)])
    assert refused.code == "TargetNotFoundException"
    refused = await rig.refused("DeleteAttributes", cluster="main", attributes=[one("ecs.os-type")])
    assert refused.message == "The attribute name 'ecs.os-type' is reserved."


async def test_an_instance_of_another_account_or_cluster_is_unknown(rig):
    made = (await register(rig))["containerInstanceArn"]
    await rig.cluster("other")
    shown = await rig.call("DescribeContainerInstances", cluster="other", containerInstances=[made])
    assert shown["failures"] == [{"arn": made, "reason": "MISSING"}]


async def test_a_fargate_service_is_not_given_placement_later(main):
    await main.service("web")
    refusal = await main.refused("UpdateService", cluster="main", service="web", placementStrategy=[{"type": "random"}])
    assert refusal.message == "Placement strategies are not supported with FARGATE launch type."


@pytest.mark.parametrize(
    ("constraint", "message"),
    [
        ({"type": "memberOf", "expression": "x"}, "Invalid placement constraint: 'x' is not one of attribute:NAME"),
        ({"type": "memberOf"}, "Invalid placement constraint: memberOf expression should be specified."),
        ({"type": "distinctInstance"}, "Task definitions support only placement constraints of type memberOf."),
    ],
)
async def test_constraints_of_task_definitions_are_read_when_registered(rig, constraint, message):
    refusal = await rig.refused("RegisterTaskDefinition", **bridge(placementConstraints=[constraint]))
    assert refusal.code == "ClientException"
    assert refusal.message.startswith(message)


async def test_constraints_of_the_task_definition_count_too(rig):
    await register(rig)
    where = [{"type": "memberOf", "expression": "attribute:stack exists"}]
    await rig.call("RegisterTaskDefinition", **bridge(placementConstraints=where))
    (failure,) = (await rig.call("RunTask", **run()))["failures"]
    assert failure["reason"] == "MemberOf placement constraint unsatisfied"


async def test_the_health_of_an_instance_is_shown_when_asked_for(rig: Rig) -> None:
    arn = (await rig.call("RegisterContainerInstance", cluster="main"))["containerInstance"]["containerInstanceArn"]
    asked = {"cluster": "main", "containerInstances": [arn], "include": ["CONTAINER_INSTANCE_HEALTH"]}
    [shown] = (await rig.call("DescribeContainerInstances", **asked))["containerInstances"]
    assert shown["healthStatus"]["overallStatus"] == "OK"
    assert [one["type"] for one in shown["healthStatus"]["details"]] == ["CONTAINER_RUNTIME"]
    assert "healthStatus" not in await describe(rig, arn)
