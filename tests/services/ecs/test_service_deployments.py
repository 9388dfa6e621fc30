"""What service deployments and service revisions show, and how they are listed (semantics ecs-services §5.6)."""

from __future__ import annotations

from moorage.store.tables.ecs import REVISIONS, SERVICE_DEPLOYMENTS

from .rig import BASE, Rig
from .test_services import ARN, INVALID, behind, update


async def test_service_deployments(main: Rig) -> None:
    made = await main.service(deploymentConfiguration={"deploymentCircuitBreaker": {"enable": True, "rollback": False}})
    changed = await update(main, forceNewDeployment=True)
    first, second = made["currentServiceDeployment"], changed["currentServiceDeployment"]
    listed = await main.call("ListServiceDeployments", cluster="main", service="web")
    assert [(d["serviceDeploymentArn"], d["status"]) for d in listed["serviceDeployments"]] == [
        (second, "PENDING"),
        (first, "STOPPED"),
    ]
    number = changed["deployments"][0]["id"].removeprefix("ecs-svc/")
    assert number in listed["serviceDeployments"][0]["targetServiceRevisionArn"], "Terraform looks for it"
    by_arn = await main.call("ListServiceDeployments", service=ARN, status=["STOPPED"])
    assert [d["serviceDeploymentArn"] for d in by_arn["serviceDeployments"]] == [first]
    later = await main.call(
        "ListServiceDeployments", cluster="main", service="web", createdAt={"after": 1_700_000_000.5}
    )
    assert [d["serviceDeploymentArn"] for d in later["serviceDeployments"]] == [second]
    missing = BASE + "service-deployment/main/web/none"
    described = await main.call("DescribeServiceDeployments", serviceDeploymentArns=[second, missing])
    assert described["failures"] == [{"arn": missing, "reason": "MISSING"}]
    [shown] = described["serviceDeployments"]
    assert shown["sourceServiceRevisions"][0]["arn"] == made["currentServiceRevisions"][0]["arn"]
    assert shown["targetServiceRevision"]["requestedTaskCount"] == 2
    assert shown["deploymentCircuitBreaker"] == {"status": "MONITORING", "failureCount": 0, "threshold": 3}
    [before] = (await main.call("DescribeServiceDeployments", serviceDeploymentArns=[first]))["serviceDeployments"]
    assert before["sourceServiceRevisions"] == []
    assert before["statusReason"] == "A newer deployment of the service superseded this one."
    refusal = await main.refused("ListServiceDeployments", cluster="main", service="none")
    assert refusal.code == "ServiceNotFoundException"
    assert len(main.store.all(SERVICE_DEPLOYMENTS)) == 2


async def test_service_revisions(main: Rig) -> None:
    group = await main.target_group()
    made = await main.service(loadBalancers=behind(group))
    arn = made["currentServiceRevisions"][0]["arn"]
    missing = BASE + "service-revision/main/web/1"
    described = await main.call("DescribeServiceRevisions", serviceRevisionArns=[arn, missing])
    assert described["failures"] == [{"arn": missing, "reason": "MISSING"}]
    [shown] = described["serviceRevisions"]
    assert shown["taskDefinition"].endswith("web:1")
    assert shown["loadBalancers"] == behind(group)
    assert shown["containerImages"] == [{"containerName": "app", "image": "app:1"}]
    assert (made["platformVersion"], shown["platformVersion"]) == ("LATEST", "1.4.0"), "a revision knows which it is"
    assert shown["serviceConnectConfiguration"] == {"enabled": False}
    other = await main.call("DescribeServiceRevisions", serviceRevisionArns=[arn], region="eu-west-1")
    assert other["failures"] == [{"arn": arn, "reason": "MISSING"}]
    assert (await main.refused("DescribeServiceRevisions", serviceRevisionArns=[])).code == INVALID
    assert len(main.store.all(REVISIONS)) == 1


async def test_a_service_deployment_shows_what_aws_shows(main: Rig) -> None:
    made = await main.service()
    arn, revision = made["currentServiceDeployment"], made["currentServiceRevisions"][0]["arn"]
    described = await main.call("DescribeServiceDeployments", serviceDeploymentArns=[arn])
    assert described["serviceDeployments"] == [
        {
            "serviceDeploymentArn": arn,
            "serviceArn": ARN,
            "clusterArn": BASE + "cluster/main",
            "createdAt": 1_700_000_000.0,
            "updatedAt": 1_700_000_000.0,
            "status": "PENDING",
            "sourceServiceRevisions": [],
            "targetServiceRevision": {
                "arn": revision,
                "requestedTaskCount": 2,
                "runningTaskCount": 0,
                "pendingTaskCount": 0,
            },
            "deploymentConfiguration": made["deploymentConfiguration"],
            "deploymentCircuitBreaker": {"status": "DISABLED", "failureCount": 0, "threshold": 3},
            "alarms": {"status": "DISABLED"},
        }
    ]
    [listed] = (await main.call("ListServiceDeployments", service=ARN))["serviceDeployments"]
    assert listed == {
        "serviceDeploymentArn": arn,
        "serviceArn": ARN,
        "clusterArn": BASE + "cluster/main",
        "createdAt": 1_700_000_000.0,
        "targetServiceRevisionArn": revision,
        "status": "PENDING",
    }


async def test_a_service_deployment_keeps_the_configuration_it_ran_with(main: Rig) -> None:
    """A rolling one follows its service while it runs: new percentages are used at once (§3.2)."""

    async def shown(arn: str) -> int:
        described = await main.call("DescribeServiceDeployments", serviceDeploymentArns=[arn])
        percent: int = described["serviceDeployments"][0]["deploymentConfiguration"]["maximumPercent"]
        return percent

    first = (await main.service(deploymentConfiguration={"maximumPercent": 150}))["currentServiceDeployment"]
    assert await shown(first) == 150
    await update(main, deploymentConfiguration={"maximumPercent": 175})
    assert await shown(first) == 175
    second = await update(main, forceNewDeployment=True, deploymentConfiguration={"maximumPercent": 200})
    assert (await shown(first), await shown(second["currentServiceDeployment"])) == (150, 200)


async def test_a_revision_without_load_balancers_shows_none(main: Rig) -> None:
    made = await main.service()
    arn = made["currentServiceRevisions"][0]["arn"]
    [shown] = (await main.call("DescribeServiceRevisions", serviceRevisionArns=[arn]))["serviceRevisions"]
    assert shown == {
        "serviceRevisionArn": arn,
        "serviceArn": ARN,
        "clusterArn": BASE + "cluster/main",
        "taskDefinition": made["taskDefinition"],
        "launchType": "FARGATE",
        "platformVersion": "1.4.0",
        "platformFamily": "Linux",
        "networkConfiguration": made["networkConfiguration"],
        "containerImages": [{"containerName": "app", "image": "app:1"}],
        "guardDutyEnabled": False,
        "serviceConnectConfiguration": {"enabled": False},
        "createdAt": 1_700_000_000.0,
    }


async def test_an_older_deployment_wants_the_tasks_that_nobody_has_stopped_yet(main: Rig) -> None:
    """As `aws ecs update-service` shows: PRIMARY first, ACTIVE with what it still keeps (§3.3)."""
    made = await main.service()
    old = made["deployments"][0]["id"]
    arns = [(await main.task())["taskArn"] for _ in range(2)]
    for arn in arns:
        await main.write_task(arn, service_arn=ARN, deployment_id=old, last_status="RUNNING")
    changed = await update(main, forceNewDeployment=True)
    assert [(d["status"], d["desiredCount"], d["runningCount"]) for d in changed["deployments"]] == [
        ("PRIMARY", 2, 0),
        ("ACTIVE", 2, 2),
    ]
    assert [r["requestedTaskCount"] for r in changed["currentServiceRevisions"]] == [2, 2]
    await main.write_task(arns[0], desired_status="STOPPED")
    [shown] = (await main.call("DescribeServices", cluster="main", services=["web"]))["services"]
    assert [(d["desiredCount"], d["runningCount"]) for d in shown["deployments"]] == [(2, 0), (1, 2)]
