"""Deployments with real images and the real aws CLI: pinned images, and an alarm that ends a deployment."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from support.images import busybox_tar

from .server import Server, docker
from .waiting import until

pytestmark = pytest.mark.docker
TAG = f"moorage-clients-{os.getpid()}/deployed:latest"


def build(words: str) -> str:
    """Gives the tag another image; its id."""
    subprocess.run(
        ["docker", "import", "-", TAG], input=busybox_tar({"/www/words": words}), check=True, capture_output=True
    )
    return docker("inspect", "--format", "{{.Id}}", TAG)


@pytest.fixture
def images() -> Iterator[None]:
    yield
    docker("rmi", "--force", TAG)


@pytest.fixture
def service(server: Server, images: None) -> Iterator[Any]:
    """A service of one container that sleeps: (ECS client, id of the image that its tag means)."""
    id = build("first")
    ecs = server.client("ecs")
    ecs.create_cluster(clusterName="deployed")
    app = {"name": "app", "image": TAG, "command": ["sleep", "600"], "stopTimeout": 2}
    ecs.register_task_definition(
        family="deployed",
        networkMode="awsvpc",
        requiresCompatibilities=["FARGATE"],
        cpu="256",
        memory="512",
        containerDefinitions=[app],
    )
    ecs.create_service(
        cluster="deployed",
        serviceName="web",
        taskDefinition="deployed",
        desiredCount=1,
        launchType="FARGATE",
        networkConfiguration={"awsvpcConfiguration": {"subnets": server.network[1]}},
    )
    yield ecs, id
    ecs.delete_service(cluster="deployed", service="web", force=True)
    ecs.get_waiter("services_inactive").wait(
        cluster="deployed", services=["web"], WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )


def running(ecs: Any) -> list[dict[str, Any]]:
    arns = ecs.list_tasks(cluster="deployed")["taskArns"]
    found = ecs.describe_tasks(cluster="deployed", tasks=arns)["tasks"] if arns else []
    return [task for task in found if (task["lastStatus"], task["desiredStatus"]) == ("RUNNING", "RUNNING")]


def test_a_revision_stays_with_its_image_when_the_tag_moves(service: Any) -> None:
    ecs, first = service
    until(lambda: bool(running(ecs)), "the first task runs")
    [task] = running(ecs)
    second = build("second")
    assert second != first
    ecs.stop_task(cluster="deployed", task=task["taskArn"])
    until(lambda: [one for one in running(ecs) if one["taskArn"] != task["taskArn"]], "its replacement runs")
    [replacement] = running(ecs)
    [container] = replacement["containers"]
    assert container["imageDigest"] == task["containers"][0]["imageDigest"] == first
    assert docker("inspect", "--format", "{{.Image}}", container["runtimeId"]) == first
    assert docker("exec", container["runtimeId"], "cat", "/www/words") == "first"
    [shown] = ecs.describe_services(cluster="deployed", services=["web"])["services"]
    arn = shown["currentServiceRevisions"][0]["arn"]
    [revision] = ecs.describe_service_revisions(serviceRevisionArns=[arn])["serviceRevisions"]
    assert revision["containerImages"] == [{"containerName": "app", "image": TAG, "imageDigest": first}]


def test_an_alarm_fails_a_deployment_as_soon_as_it_is_set(service: Any, server: Server) -> None:
    ecs, _ = service
    cloudwatch = server.client("cloudwatch")
    cloudwatch.put_metric_alarm(
        AlarmName="errors",
        Namespace="Web",
        MetricName="Errors",
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanThreshold",
    )
    configuration = "alarms={alarmNames=[errors],enable=true,rollback=false}"
    words = ("update-service", "--cluster", "deployed", "--service", "web", "--force-new-deployment")
    updated = server.aws("ecs", *words, "--deployment-configuration", configuration)["service"]
    deployment = updated["deployments"][0]
    assert deployment["rolloutState"] == "IN_PROGRESS"
    server.aws(
        "cloudwatch", "set-alarm-state", "--alarm-name", "errors", "--state-value", "ALARM", "--state-reason", "a test"
    )

    def state() -> dict[str, Any]:
        return dict(ecs.describe_services(cluster="deployed", services=["web"])["services"][0]["deployments"][0])

    until(lambda: state()["rolloutState"] == "FAILED", "the deployment fails")
    assert state()["rolloutStateReason"] == "ECS deployment failed: alarm detected."
    [shown] = ecs.describe_services(cluster="deployed", services=["web"])["services"]
    arn = shown["currentServiceDeployment"]
    [record] = ecs.describe_service_deployments(serviceDeploymentArns=[arn])["serviceDeployments"]
    assert record["status"] == "STOPPED"
    assert record["alarms"] == {"status": "TRIGGERED", "alarmNames": ["errors"], "triggeredAlarmNames": ["errors"]}
    told = server.moor("explain", "service", "web")
    assert "in ALARM while it ran: errors" in told
