"""The query service behind its own load balancer, made with boto3: what most of these tests start from."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from typing import Any

from .load import Answer, Load, get
from .server import Server, docker
from .waiting import until

# Listeners of these tests: high ports, so that nothing else of this machine is in the way; port 80 has the story.
PORT = 8400 + os.getpid() % 500
_numbers = itertools.count(1)
HEALTH_CHECK = {
    "HealthCheckPath": "/health", "HealthCheckIntervalSeconds": 5, "HealthCheckTimeoutSeconds": 2,
    "HealthyThresholdCount": 2, "UnhealthyThresholdCount": 2,
}  # fmt: skip


class Stack:
    """A cluster, a load balancer with a listener and an `ip` target group; services and tasks on demand. `image` is an
    image of this machine (the engine falls back to those when no registry knows the name)."""

    def __init__(self, server: Server, image: str, *, deregistration_delay: int = 2) -> None:
        self.server = server
        self.image = image
        self.name = f"t{os.getpid()}-{next(_numbers)}"
        self.ecs = server.client("ecs")
        self.elbv2 = server.client("elbv2")
        self.ecs.create_cluster(clusterName=self.name)
        self.vpc, self.subnets = server.network
        balancer = self.elbv2.create_load_balancer(Name=self.name, Subnets=self.subnets, Scheme="internal")
        self.balancer = balancer["LoadBalancers"][0]["LoadBalancerArn"]
        self.host = balancer["LoadBalancers"][0]["DNSName"]
        self.port = PORT
        self.target_group = self.new_target_group(self.name, deregistration_delay)
        self.listener = self.elbv2.create_listener(
            LoadBalancerArn=self.balancer, Protocol="HTTP", Port=self.port,
            DefaultActions=[{"Type": "forward", "TargetGroupArn": self.target_group}],
        )["Listeners"][0]["ListenerArn"]  # fmt: skip
        self.services: list[str] = []

    # --- making things ---------------------------------------------------------------------------------------------

    def new_target_group(self, name: str, deregistration_delay: int = 2) -> str:
        arn: str = self.elbv2.create_target_group(
            Name=name, Protocol="HTTP", Port=8000, VpcId=self.vpc, TargetType="ip", **HEALTH_CHECK
        )["TargetGroups"][0]["TargetGroupArn"]
        self.elbv2.modify_target_group_attributes(
            TargetGroupArn=arn,
            Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": str(deregistration_delay)}],
        )
        return arn

    def container(self, name: str = "app", **settings: Any) -> dict[str, Any]:
        """A container definition of the query service; `environment` as a plain mapping."""
        environment: Mapping[str, Any] = settings.pop("environment", {})
        return {
            "name": name, "image": self.image, "essential": True, "portMappings": [{"containerPort": 8000}],
            "environment": [{"name": key, "value": str(value)} for key, value in environment.items()], **settings,
        }  # fmt: skip

    def register(self, *containers: dict[str, Any], family: str = "", role: str = "", **environment: Any) -> str:
        """A revision of one container with this environment, or of the given containers; its ARN. `role`: the
        execution role's ARN."""
        arn: str = self.ecs.register_task_definition(
            family=family or self.name, networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256",
            memory="512", containerDefinitions=list(containers) or [self.container(environment=environment)],
            **({"executionRoleArn": role} if role else {}),
        )["taskDefinition"]["taskDefinitionArn"]  # fmt: skip
        return arn

    @property
    def network(self) -> dict[str, Any]:
        return {"awsvpcConfiguration": {"subnets": self.subnets, "assignPublicIp": "ENABLED"}}

    def create_service(self, revision: str, desired: int = 2, *, name: str = "app", **settings: Any) -> None:
        self.services.append(name)
        self.ecs.create_service(
            cluster=self.name, serviceName=name, taskDefinition=revision, desiredCount=desired, launchType="FARGATE",
            networkConfiguration=self.network,
            **{
                "loadBalancers": [
                    {"targetGroupArn": self.target_group, "containerName": "app", "containerPort": 8000}
                ],
                "deploymentConfiguration": {
                    "deploymentCircuitBreaker": {"enable": True, "rollback": True},
                    "maximumPercent": 200, "minimumHealthyPercent": 100,
                },
                **settings,
            },
        )  # fmt: skip

    def update(self, **settings: Any) -> None:
        self.ecs.update_service(cluster=self.name, service="app", **settings)

    def run_task(self, revision: str, **settings: Any) -> str:
        answer = self.ecs.run_task(
            cluster=self.name,
            taskDefinition=revision,
            launchType="FARGATE",
            networkConfiguration=self.network,
            **settings,
        )
        assert answer["failures"] == []
        arn: str = answer["tasks"][0]["taskArn"]
        return arn

    # --- looking ---------------------------------------------------------------------------------------------------

    def service(self, name: str = "app") -> dict[str, Any]:
        found: dict[str, Any] = self.ecs.describe_services(cluster=self.name, services=[name])["services"][0]
        return found

    def events(self) -> list[str]:
        """Oldest first."""
        return [event["message"] for event in reversed(self.service()["events"])]

    def tasks(self, desired: str = "RUNNING", name: str = "app") -> list[dict[str, Any]]:
        arns = self.ecs.list_tasks(cluster=self.name, serviceName=name, desiredStatus=desired)["taskArns"]
        return self.ecs.describe_tasks(cluster=self.name, tasks=arns)["tasks"] if arns else []

    def task(self, arn: str) -> dict[str, Any]:
        found: dict[str, Any] = self.ecs.describe_tasks(cluster=self.name, tasks=[arn])["tasks"][0]
        return found

    def health(self) -> dict[str, str]:
        """Target address → state."""
        found = self.elbv2.describe_target_health(TargetGroupArn=self.target_group)["TargetHealthDescriptions"]
        return {entry["Target"]["Id"]: entry["TargetHealth"]["State"] for entry in found}

    def get(self, path: str = "/whoami", **settings: Any) -> Answer:
        return get(self.host, self.port, path, **settings)

    def load(self, per_second: float = 50) -> Load:
        return Load(self.get, per_second)

    def docker_id(self, task: str, container: str = "app") -> str:
        return docker(
            "ps", "--all", "--quiet", "--no-trunc",
            "--filter", f"label=com.amazonaws.ecs.task-arn={task}",
            "--filter", f"label=com.amazonaws.ecs.container-name={container}",
        )  # fmt: skip

    def control(self, task: str, door: str, container: str = "app") -> str:
        """Knocks at one of the application's control doors, inside the container."""
        url = f"http://localhost:8000/control/{door}"
        return docker("exec", self.docker_id(task, container), "wget", "-q", "-O", "-", "--post-data=", url)

    # --- waiting ---------------------------------------------------------------------------------------------------

    def is_stable(self) -> bool:
        service = self.service()
        deployments = service["deployments"]
        return (
            len(deployments) == 1
            and deployments[0]["rolloutState"] == "COMPLETED"
            and service["runningCount"] == service["desiredCount"]
        )

    def wait_stable(self, seconds: float = 90) -> None:
        until(self.is_stable, "the service is stable", seconds)

    def wait_healthy(self, count: int, seconds: float = 60) -> None:
        until(
            lambda: list(self.health().values()).count("healthy") == count or (not self.health() and count == 0),
            f"{count} healthy targets", seconds,
        )  # fmt: skip

    def wait_stopped(self, task: str, seconds: float = 60) -> dict[str, Any]:
        return until(
            lambda: found if (found := self.task(task))["lastStatus"] == "STOPPED" else None, "stopped", seconds
        )

    def wait_status(self, task: str, status: str, seconds: float = 30) -> dict[str, Any]:
        return until(lambda: found if (found := self.task(task))["lastStatus"] == status else None, status, seconds)

    # --- taking down -----------------------------------------------------------------------------------------------

    def remove(self) -> None:
        """Everything that costs something; revisions and the empty cluster may stay until the server goes."""
        for name in self.services:
            self.ecs.delete_service(cluster=self.name, service=name, force=True)
        for arn in self.ecs.list_tasks(cluster=self.name)["taskArns"]:
            self.ecs.stop_task(cluster=self.name, task=arn)
        self.elbv2.delete_load_balancer(LoadBalancerArn=self.balancer)
