"""Services: what is shown, refused, updated, deleted; deployments and revisions (semantics ecs-services §1–§3, §5.6)."""

from __future__ import annotations

from typing import Any

import pytest

from moorage.domain.service import ServiceEvent
from moorage.store.tables.ecs import SERVICE_EVENTS

from .rig import ACCOUNT, BASE, Rig, network_configuration, service_params

ARN = BASE + "service/main/web"
LINKED = f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS"
INVALID = "InvalidParameterException"


def behind(target_group: str, name: str = "app", port: int = 80) -> list[dict[str, Any]]:
    return [{"targetGroupArn": target_group, "containerName": name, "containerPort": port}]


async def test_a_new_one_shows_what_aws_shows(main: Rig) -> None:
    made = await main.service("web", tags=[{"key": "a", "value": "b"}])
    [deployment] = made["deployments"]
    number = deployment["id"].removeprefix("ecs-svc/")
    assert len(number) == 19
    network = network_configuration(securityGroups=["sg-1"], assignPublicIp="DISABLED")
    assert made == {
        "serviceArn": ARN,
        "serviceName": "web",
        "clusterArn": BASE + "cluster/main",
        "status": "ACTIVE",
        "desiredCount": 2,
        "runningCount": 0,
        "pendingCount": 0,
        "launchType": "FARGATE",
        "platformVersion": "LATEST",
        "platformFamily": "Linux",
        "taskDefinition": BASE + "task-definition/web:1",
        "deploymentConfiguration": {
            "deploymentCircuitBreaker": {"enable": False, "rollback": False},
            "maximumPercent": 200,
            "minimumHealthyPercent": 100,
            "strategy": "ROLLING",
            "bakeTimeInMinutes": 0,
        },
        "deployments": [
            {
                "id": deployment["id"],
                "status": "PRIMARY",
                "taskDefinition": BASE + "task-definition/web:1",
                "desiredCount": 2,
                "pendingCount": 0,
                "runningCount": 0,
                "failedTasks": 0,
                "createdAt": 1_700_000_000.0,
                "updatedAt": 1_700_000_000.0,
                "launchType": "FARGATE",
                "platformVersion": "1.4.0",
                "platformFamily": "Linux",
                "networkConfiguration": network,
                "rolloutState": "IN_PROGRESS",
                "rolloutStateReason": f"ECS deployment ecs-svc/{number} in progress.",
            }
        ],
        "roleArn": LINKED,
        "events": [],
        "createdAt": 1_700_000_000.0,
        "createdBy": f"arn:aws:iam::{ACCOUNT}:root",
        "currentServiceDeployment": made["currentServiceDeployment"],
        "currentServiceRevisions": [
            {
                "arn": f"{BASE}service-revision/main/web/{number}",
                "requestedTaskCount": 2,
                "runningTaskCount": 0,
                "pendingTaskCount": 0,
            }
        ],
        "loadBalancers": [],
        "serviceRegistries": [],
        "placementConstraints": [],
        "placementStrategy": [],
        "networkConfiguration": network,
        "schedulingStrategy": "REPLICA",
        "deploymentController": {"type": "ECS"},
        "tags": [{"key": "a", "value": "b"}],
        "enableECSManagedTags": False,
        "propagateTags": "NONE",
        "enableExecuteCommand": False,
        "availabilityZoneRebalancing": "ENABLED",
        "resourceManagementType": "CUSTOMER",
    }
    prefix = BASE + "service-deployment/main/web/"
    assert made["currentServiceDeployment"].startswith(prefix)
    assert len(made["currentServiceDeployment"]) == len(prefix) + 21
    plain = await main.call("DescribeServices", cluster="main", services=[ARN])
    del made["tags"]
    assert plain == {"services": [made], "failures": []}


async def test_behind_a_load_balancer(main: Rig) -> None:
    group = await main.target_group()
    made = await main.service(loadBalancers=behind(group))
    assert made["loadBalancers"] == behind(group)
    assert made["healthCheckGracePeriodSeconds"] == 0
    other = await main.service("other", loadBalancers=behind(group), healthCheckGracePeriodSeconds=60)
    assert other["healthCheckGracePeriodSeconds"] == 60


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (None, LINKED),
        ("ecsServiceRole", f"arn:aws:iam::{ACCOUNT}:role/ecsServiceRole"),
        (f"arn:aws:iam::{ACCOUNT}:role/mine", f"arn:aws:iam::{ACCOUNT}:role/mine"),
    ],
)
async def test_the_role_that_was_given_is_shown(main: Rig, given: str | None, shown: str) -> None:
    """It belongs to services behind a load balancer without networks of their own (§2.3)."""
    app = {"name": "app", "image": "a", "memory": 64, "portMappings": [{"containerPort": 80}]}
    await main.call("RegisterTaskDefinition", family="behind", containerDefinitions=[app])
    made = await main.call(
        "CreateService",
        cluster="main",
        serviceName="web",
        taskDefinition="behind",
        desiredCount=1,
        loadBalancers=behind(await main.target_group("front", kind="instance")),
        **({"role": given} if given else {}),
    )
    assert made["service"]["roleArn"] == shown


async def test_one_on_ec2_without_network(main: Rig) -> None:
    """It waits for instances that are not there; the service scheduler says so."""
    await main.call(
        "RegisterTaskDefinition", family="bridge", containerDefinitions=[{"name": "app", "image": "a", "memory": 64}]
    )
    made = (await main.call("CreateService", cluster="main", serviceName="b", taskDefinition="bridge", desiredCount=1))[
        "service"
    ]
    assert made["launchType"] == "EC2"
    assert not {"platformVersion", "networkConfiguration", "roleArn"} & set(made)


PERCENT = "deploymentConfiguration"
STRATEGY = [{"capacityProvider": "FARGATE"}]
REFUSALS: list[tuple[dict[str, Any], str, str]] = [
    ({"serviceName": "a b"}, INVALID, r"ServiceName must match ^[a-zA-Z0-9\-_]{1,255}$, but was a b"),
    ({"serviceName": ""}, INVALID, r"ServiceName must match ^[a-zA-Z0-9\-_]{1,255}$, but was "),
    ({"cluster": "nowhere"}, "ClusterNotFoundException", "Cluster not found."),
    ({"taskDefinition": "none"}, "ClientException", "TaskDefinition not found."),
    ({"taskDefinition": "old:1"}, "ClientException", "TaskDefinition is inactive"),
    ({"taskDefinition": None}, INVALID, "TaskDefinition can not be blank."),
    ({"desiredCount": -1}, INVALID, "desiredCount cannot be a negative number."),
    (
        {"desiredCount": 5001},
        INVALID,
        "desiredCount can be at most 5000, the most tasks that a service can have.",
    ),
    (
        {"desiredCount": None},
        INVALID,
        "desiredCount is required for services with the REPLICA scheduling strategy.",
    ),
    ({PERCENT: {"minimumHealthyPercent": 101}}, INVALID, "minimumHealthyPercent must be at most 100"),
    ({PERCENT: {"minimumHealthyPercent": -1}}, INVALID, "minimumHealthyPercent cannot be a negative number."),
    ({PERCENT: {"maximumPercent": 99}}, INVALID, "maximumPercent must be at least 100"),
    (
        {PERCENT: {"maximumPercent": 100}},
        INVALID,
        "Both maximumPercent and minimumHealthyPercent cannot be 100 as this will block deployments.",
    ),
    (
        {"schedulingStrategy": "DAEMON", "desiredCount": 0},
        INVALID,
        "The daemon scheduling strategy does not support a desired count for services",
    ),
    (
        {"schedulingStrategy": "DAEMON", "desiredCount": None},
        INVALID,
        "The daemon scheduling strategy does not support the FARGATE launch type",
    ),
    (
        {
            "schedulingStrategy": "DAEMON",
            "desiredCount": None,
            "placementStrategy": [{"type": "random"}],
        },
        INVALID,
        "The daemon scheduling strategy does not support placement strategies",
    ),
    (
        {"schedulingStrategy": "DAEMON", "desiredCount": None, PERCENT: {"maximumPercent": 101}},
        INVALID,
        "The daemon scheduling strategy does not support values above 100 for maximumPercent",
    ),
    (
        {"schedulingStrategy": "DAEMON", "desiredCount": None, "availabilityZoneRebalancing": "ENABLED"},
        INVALID,
        "The service couldn't be created because Availability Zone Rebalancing does not support DAEMON as scheduling "
        "strategy. Update scheduling strategy and try again.",
    ),
    (
        {"availabilityZoneRebalancing": "ENABLED", PERCENT: {"maximumPercent": 100, "minimumHealthyPercent": 50}},
        INVALID,
        "Availability Zone Rebalancing requires a maximumPercent greater than 100.",
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
    ({"placementStrategy": [{"type": "random"}] * 6}, INVALID, "Maximum number of strategies is 5"),
    (
        {"launchType": "EC2", "placementStrategy": [{"type": "binpack", "field": "disk"}]},
        INVALID,
        "binpack field 'disk' is invalid",
    ),
    (
        {"launchType": "EC2", "placementConstraints": [{"type": "distinctInstance", "expression": "x"}]},
        INVALID,
        "distinctInstance expression should not be specified.",
    ),
    (
        {"launchType": "EC2", "platformVersion": "1.4.0"},
        INVALID,
        "The platform version must be null when specifying an EC2 launch type.",
    ),
    (
        {"capacityProviderStrategy": STRATEGY},
        INVALID,
        "Specifying both a launch type and capacity provider strategy is not supported. Remove one and try again.",
    ),
    (
        {"networkConfiguration": None},
        INVALID,
        "Network Configuration must be provided when networkMode 'awsvpc' is specified.",
    ),
    (
        {"taskDefinition": "bridge", "launchType": "EC2"},
        INVALID,
        "Network Configuration is not valid for the given networkMode of this task definition.",
    ),
    (
        {"launchType": "EC2", "networkConfiguration": network_configuration(assignPublicIp="ENABLED")},
        INVALID,
        "Assign public IP is not supported for this launch type.",
    ),
    (
        {"taskDefinition": "bridge", "networkConfiguration": None},
        INVALID,
        "Task definition does not support launch_type FARGATE.",
    ),
    (
        {"loadBalancers": [{"loadBalancerName": "x", "targetGroupArn": "y"}]},
        INVALID,
        "loadBalancerName and targetGroupArn cannot both be specified",
    ),
    ({"loadBalancers": [{"loadBalancerName": "x"}]}, INVALID, "Classic Load Balancers are not supported with Fargate."),
    (
        {"loadBalancers": [{"loadBalancerName": "x", "advancedConfiguration": {"alternateTargetGroupArn": "y"}}]},
        INVALID,
        "advancedConfiguration field is not allowed with ELBv1 loadBalancers",
    ),
    (
        {"loadBalancers": [{"loadBalancerName": "x"}, {"targetGroupArn": "y"}]},
        INVALID,
        "All loadBalancers must be strictly either ELBv1 (defining loadBalancerName) or ELBv2 (defining targetGroupArn)",
    ),
    (
        {"launchType": "EC2", "loadBalancers": [{"loadBalancerName": "x"}]},
        INVALID,
        "Moorage does not support Classic Load Balancers yet.",
    ),
    ({"loadBalancers": [{"containerName": "app"}]}, INVALID, "Target group ARN can not be blank."),
    (
        {"loadBalancers": behind("free", "nope")},
        INVALID,
        "The container nope does not exist in the task definition.",
    ),
    (
        {"loadBalancers": behind("free", port=8080)},
        INVALID,
        "The container app did not have a container port 8080 defined.",
    ),
    (
        {"loadBalancers": behind("free")},
        INVALID,
        "The target group with targetGroupArn {free} does not have an associated load balancer.",
    ),
    ({"loadBalancers": behind("arn:none")}, INVALID, "The target group with targetGroupArn arn:none does not exist."),
    (
        {"loadBalancers": behind("instance")},
        INVALID,
        "The provided target group {instance} has target type instance, which is incompatible with the awsvpc network "
        "mode specified in the task definition.",
    ),
    ({"loadBalancers": behind("web") * 6}, INVALID, "load balancers can have at most 5 items."),
    (
        {"serviceRegistries": [{"registryArn": "a"}, {"registryArn": "b"}]},
        INVALID,
        "service registries can have at most 1 items.",
    ),
    (
        {"deploymentController": {"type": "CODE_DEPLOY"}},
        INVALID,
        "When specifying the CODE_DEPLOY deployment controller type, the service requires an Application Load Balancer "
        "or Network Load Balancer.",
    ),
    (
        {"deploymentController": {"type": "EXTERNAL"}},
        INVALID,
        "TaskDefinition must be blank.",
    ),
    ({"healthCheckGracePeriodSeconds": -1}, INVALID, "healthCheckGracePeriodSeconds must be between 0 and 2147483647."),
    (
        {"role": "ecsServiceRole"},
        INVALID,
        "You cannot specify an IAM role for services that require a service linked role. Leave role out: the service "
        "linked role for ECS is used.",
    ),
    (
        {"volumeConfigurations": [{"name": "data", "managedEBSVolume": {"roleArn": "r", "sizeInGiB": 1}}]},
        INVALID,
        "The volume name 'data' in your request does not have a matching volume in your Task Definition",
    ),
    ({"tags": [{"key": "aws:x"}]}, INVALID, "aws: prefixed tag key names are not allowed for external use."),
]
NOT_YET = [
    ({"serviceConnectConfiguration": {"enabled": True}}, "Service Connect"),
    ({"serviceRegistries": [{"registryArn": "a"}]}, "service registries (Cloud Map)"),
    (
        {"vpcLatticeConfigurations": [{"roleArn": "a", "targetGroupArn": "b", "portName": "c"}]},
        "VPC Lattice",
    ),
]


async def prepare(main: Rig) -> dict[str, str]:
    await main.call(
        "RegisterTaskDefinition", family="bridge", containerDefinitions=[{"name": "app", "image": "a", "memory": 64}]
    )
    await main.definition("old")
    await main.call("DeregisterTaskDefinition", taskDefinition="old:1")
    return {
        "free": await main.target_group("free", attached=False),
        "instance": await main.target_group("instance", kind="instance"),
        "web": await main.target_group("web"),
    }


@pytest.mark.parametrize(
    ("params", "code", "message"), REFUSALS, ids=[f"{n}: {row[2][:50]}" for n, row in enumerate(REFUSALS)]
)
async def test_refusals(main: Rig, params: dict[str, Any], code: str, message: str) -> None:
    groups = await prepare(main)
    given = {name: value for name, value in service_params(**params).items() if value is not None}
    if "loadBalancers" in given:
        given["loadBalancers"] = [
            one | ({"targetGroupArn": groups.get(one["targetGroupArn"], one["targetGroupArn"])}
                   if "targetGroupArn" in one else {})
            for one in given["loadBalancers"]
        ]  # fmt: skip
    refusal = await main.refused("CreateService", **given)
    expected = message.replace("{free}", groups["free"]).replace("{instance}", groups["instance"])
    assert (refusal.code, refusal.message) == (code, expected)


@pytest.mark.parametrize(("params", "what"), NOT_YET, ids=[row[1] for row in NOT_YET])
async def test_what_moorage_does_not_do_yet(main: Rig, params: dict[str, Any], what: str) -> None:
    await main.service("there")
    what, _, instead = what.partition(". ")
    message = f"Moorage does not support {what} yet." + (f" {instead}." if instead else "")
    refusal = await main.refused("CreateService", **service_params(**params))
    assert (refusal.code, refusal.message) == (INVALID, message)
    refusal = await main.refused("UpdateService", cluster="main", service="there", **params)
    assert (refusal.code, refusal.message) == (INVALID, message)


async def test_creating_twice(main: Rig) -> None:
    made = await main.service()
    assert await main.service() == made
    assert await main.service(clientToken="t") == made
    refusal = await main.refused("CreateService", **service_params(desiredCount=3))
    assert (refusal.code, refusal.message) == (INVALID, "Creation of service was not idempotent.")
    await main.write_service(ARN, status="DRAINING")
    refusal = await main.refused("CreateService", **service_params())
    assert refusal.message == "Unable to Start a service that is still Draining."


async def test_an_old_name_begins_a_new_story(main: Rig) -> None:
    await main.service()
    event = ServiceEvent(f"{ARN}#0", "u", ARN, 1.0, 0, "(service web) has reached a steady state.")
    await main.store.update(lambda tx: tx.put(SERVICE_EVENTS, event))
    await main.write_service(ARN, status="INACTIVE", deployments=(), desired_count=0, event_count=1)
    [shown] = (await main.call("DescribeServices", cluster="main", services=["web"]))["services"]
    assert (shown["status"], shown["deployments"], len(shown["events"])) == ("INACTIVE", [], 1)
    made = await main.service(desiredCount=3)
    assert (made["status"], made["desiredCount"], made["events"]) == ("ACTIVE", 3, [])


async def update(main: Rig, **params: Any) -> dict[str, Any]:
    main.clock.time += 1
    return (await main.call("UpdateService", cluster="main", service="web", **params))["service"]


async def test_delete(main: Rig) -> None:
    refusal = await main.refused("DeleteService", cluster="main", service="web")
    assert (refusal.code, refusal.message) == ("ServiceNotFoundException", "Service not found.")
    await main.service()
    refusal = await main.refused("DeleteService", cluster="main", service="web")
    assert (refusal.code, refusal.message) == (INVALID, "The service cannot be stopped while it is scaled above 0.")
    await update(main, desiredCount=0, forceNewDeployment=True)
    refusal = await main.refused("DeleteService", cluster="main", service="web")
    assert refusal.message == "The service cannot be stopped while deployments are active."
    for _ in range(2):
        gone = (await main.call("DeleteService", cluster="main", service=ARN, force=True))["service"]
        assert (gone["status"], gone["desiredCount"]) == ("DRAINING", 0)
    assert (await main.call("ListServices", cluster="main"))["serviceArns"] == [ARN]
    await main.write_service(ARN, status="INACTIVE", deployments=())
    assert (await main.call("ListServices", cluster="main"))["serviceArns"] == []
    refusal = await main.refused("DeleteService", cluster="main", service="web")
    assert refusal.code == "ServiceNotFoundException"


async def test_reads(main: Rig) -> None:
    await main.cluster("other")
    await main.service("web")
    await main.service("web", cluster="other")
    missing = BASE + "service/main/none"
    described = await main.call("DescribeServices", cluster="main", services=["none", "web", BASE + "service/web"])
    assert [one["serviceArn"] for one in described["services"]] == [ARN, ARN]
    assert described["failures"] == [{"arn": missing, "reason": "MISSING"}]
    wrong = BASE + "service/other/web"
    described = await main.call("DescribeServices", cluster="main", services=[wrong])
    assert described["failures"] == [{"arn": wrong, "reason": "MISSING"}]
    assert (await main.refused("DescribeServices", cluster="main", services=[])).message == "Services cannot be empty."
    too_many = ["x"] * 11
    assert (await main.refused("DescribeServices", cluster="main", services=too_many)).code == INVALID


async def test_lists(main: Rig) -> None:
    for number in range(12):
        await main.service(f"s{number:02}", desiredCount=0)
    await main.call(
        "RegisterTaskDefinition", family="bridge", containerDefinitions=[{"name": "app", "image": "a", "memory": 64}]
    )
    await main.call("CreateService", cluster="main", serviceName="b", taskDefinition="bridge", desiredCount=0)
    first = await main.call("ListServices", cluster="main")
    assert [arn.rsplit("/", 1)[-1] for arn in first["serviceArns"]] == ["b", *(f"s{n:02}" for n in range(9))]
    second = await main.call("ListServices", cluster="main", nextToken=first["nextToken"])
    assert [arn.rsplit("/", 1)[-1] for arn in second["serviceArns"]] == ["s09", "s10", "s11"]
    assert "nextToken" not in second
    for params, count in (
        ({"launchType": "EC2"}, 1),
        ({"launchType": "FARGATE"}, 12),
        ({"schedulingStrategy": "DAEMON"}, 0),
        ({"schedulingStrategy": "REPLICA"}, 13),
        ({"resourceManagementType": "ECS"}, 0),
        ({"resourceManagementType": "CUSTOMER"}, 13),
    ):
        answer = await main.call("ListServices", cluster="main", maxResults=100, **params)
        assert len(answer["serviceArns"]) == count
    for bad in ({"nextToken": "x"}, {"maxResults": 101}, {"maxResults": 0}):
        assert (await main.refused("ListServices", cluster="main", **bad)).code == INVALID


async def test_scopes_do_not_see_each_other(main: Rig) -> None:
    await main.service()
    for scope in ({"region": "eu-west-1"}, {"account": "111111111111"}):
        await main.call("CreateCluster", clusterName="main", **scope)
        described = await main.call("DescribeServices", cluster="main", services=["web", ARN], **scope)
        assert described["services"] == []
        for operation in ("UpdateService", "DeleteService"):
            assert (await main.refused(operation, cluster="main", service=ARN, **scope)).code == (
                "ServiceNotFoundException"
            )


async def test_counts_follow_the_tasks(main: Rig) -> None:
    made = await main.service()
    deployment = made["deployments"][0]["id"]
    states = ("PROVISIONING", "PENDING", "ACTIVATING", "RUNNING", "RUNNING", "DEACTIVATING", "STOPPED")
    for status in states:
        arn = (await main.task())["taskArn"]
        await main.write_task(arn, service_arn=ARN, deployment_id=deployment, last_status=status)
    [shown] = (await main.call("DescribeServices", cluster="main", services=["web"]))["services"]
    [mine], [revision] = shown["deployments"], shown["currentServiceRevisions"]
    assert (shown["runningCount"], shown["pendingCount"]) == (2, 3)
    assert (mine["runningCount"], mine["pendingCount"]) == (2, 3)
    assert (revision["runningTaskCount"], revision["pendingTaskCount"]) == (2, 3)
    [cluster] = (await main.call("DescribeClusters", clusters=["main"]))["clusters"]
    assert (cluster["runningTasksCount"], cluster["pendingTasksCount"], cluster["activeServicesCount"]) == (2, 3, 1)
