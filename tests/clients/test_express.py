"""Express Mode with real containers: one call, an address that answers curl over HTTPS, an update, and nothing left."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from .server import Server, docker
from .waiting import until

pytestmark = pytest.mark.docker
ROLES = {
    "infrastructureRoleArn": "arn:aws:iam::000000000000:role/ecsInfrastructure",
    "executionRoleArn": "arn:aws:iam::000000000000:role/ecsTaskExecution",
}
SOON = {
    "strategy": "CANARY",
    "canaryConfiguration": {"canaryPercent": 50.0, "canaryBakeTimeInMinutes": 0},
    "bakeTimeInMinutes": 0,
}


def curl(server: Server, url: str) -> Any:
    """The answer of an endpoint as a user asks for it; None while there is none."""
    root = server.data_dir / "authority/root.pem"
    words = ["curl", "--silent", "--fail", "--max-time", "5", "--cacert", str(root), url]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else None


def test_one_call_and_it_answers(own_server: Server, image: str) -> None:
    server = own_server
    ecs, elbv2 = server.client("ecs"), server.client("elbv2")
    _, subnets = server.network
    container = {"image": image, "containerPort": 8000, "environment": [{"name": "VERSION", "value": "one"}]}
    made = ecs.create_express_gateway_service(
        serviceName="web", primaryContainer=container, healthCheckPath="/health",
        networkConfiguration={"subnets": subnets}, **ROLES,
    )["service"]  # fmt: skip
    assert made["status"] == {"statusCode": "ACTIVE"}, made["status"]
    arn = made["serviceArn"]
    endpoint = made["activeConfigurations"][0]["ingressPaths"][0]["endpoint"]
    assert until(lambda: curl(server, f"{endpoint}/whoami"), "the endpoint answers")["version"] == "one"
    plain = ["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code} %{redirect_url}"]
    redirected = subprocess.run([*plain, endpoint.replace("https", "http")], capture_output=True, text=True, check=True)
    assert redirected.stdout.startswith(f"301 {endpoint}"), redirected.stdout

    service = ecs.describe_services(services=["web"])["services"][0]
    assert service["resourceManagementType"] == "ECS"
    assert service["deploymentConfiguration"]["strategy"] == "CANARY"
    assert ecs.list_services(resourceManagementType="ECS")["serviceArns"] == [arn]
    revision = ecs.describe_service_revisions(serviceRevisionArns=[service["currentServiceRevisions"][0]["arn"]])
    managed = revision["serviceRevisions"][0]["ecsManagedResources"]
    assert managed["ingressPaths"][0]["endpoint"] == endpoint
    assert {one["status"] for one in managed["ingressPaths"][0]["targetGroups"]} == {"ACTIVE"}

    until(lambda: is_stable(ecs), "the first deployment is over")
    ecs.update_service(service="web", deploymentConfiguration=SOON)
    changed = ecs.update_express_gateway_service(
        serviceArn=arn, primaryContainer={"image": image, "environment": [{"name": "VERSION", "value": "two"}]}
    )["service"]
    assert changed["targetConfiguration"]["primaryContainer"]["containerPort"] == 8000
    until(lambda: (curl(server, f"{endpoint}/whoami") or {}).get("version") == "two", "the new version answers", 90)

    for group in elbv2.describe_target_groups()["TargetGroups"]:
        elbv2.modify_target_group_attributes(
            TargetGroupArn=group["TargetGroupArn"],
            Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "1"}],
        )
    ecs.delete_express_gateway_service(serviceArn=arn)
    until(
        lambda: ecs.describe_express_gateway_service(serviceArn=arn)["service"]["status"]["statusCode"] == "INACTIVE",
        "everything is removed", 90,
    )  # fmt: skip
    assert elbv2.describe_load_balancers()["LoadBalancers"] == []
    assert elbv2.describe_target_groups()["TargetGroups"] == []
    assert server.client("acm").list_certificates()["CertificateSummaryList"] == []
    assert server.client("logs").describe_log_groups()["logGroups"] == []
    groups = server.client("ec2").describe_security_groups()["SecurityGroups"]
    assert [group["GroupName"] for group in groups if group["GroupName"] != "default"] == []
    autoscaling = server.client("application-autoscaling")
    assert autoscaling.describe_scalable_targets(ServiceNamespace="ecs")["ScalableTargets"] == []
    assert ecs.list_task_definitions(status="ACTIVE")["taskDefinitionArns"] == []
    assert docker("ps", "--quiet", "--filter", "label=com.amazonaws.ecs.task-definition-family=default-web") == ""


def is_stable(ecs: Any) -> bool:
    deployments = ecs.describe_services(services=["web"])["services"][0]["deployments"]
    return len(deployments) == 1 and deployments[0]["rolloutState"] == "COMPLETED"
