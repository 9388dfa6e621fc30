"""API calls of the simulated world as sentences: what a test says instead of a page of parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from moorage.simulation.network import VPC, Networks

CLUSTER = "main"


class Front(msgspec.Struct, frozen=True):
    """A load balancer with one listener on port 80 that forwards everything to one target group."""

    load_balancer: str
    listener: str
    target_group: str


class Calls:
    """What `World` can ask of its control plane. `cluster` is always `main` unless a call says otherwise."""

    networks: Networks

    async def call(self, service: str, operation: str, /, **request: Any) -> dict[str, Any]:
        raise NotImplementedError

    async def ecs(self, operation: str, /, **request: Any) -> dict[str, Any]:
        return await self.call("ecs", operation, **request)

    async def elbv2(self, operation: str, /, **request: Any) -> dict[str, Any]:
        return await self.call("elbv2", operation, **request)

    async def create_cluster(self, name: str = CLUSTER) -> None:
        await self.ecs("CreateCluster", clusterName=name)

    async def register(
        self,
        family: str = "web",
        *,
        image: str = "web",
        port: int = 80,
        health_check: bool = False,
        stop_timeout: int | None = None,
        containers: Sequence[Mapping[str, Any]] = (),
    ) -> str:
        """A Fargate task definition: one container, or those given; its ARN."""
        app: dict[str, Any] = {
            "name": "app",
            "image": image,
            "essential": True,
            "portMappings": [{"containerPort": port}],
        }
        if health_check:
            app["healthCheck"] = {"command": ["CMD-SHELL", "true"], "interval": 5, "retries": 2}
        if stop_timeout is not None:
            app["stopTimeout"] = stop_timeout
        answer = await self.ecs(
            "RegisterTaskDefinition",
            family=family,
            networkMode="awsvpc",
            requiresCompatibilities=["FARGATE"],
            cpu="256",
            memory="512",
            containerDefinitions=[dict(one) for one in containers] or [app],
        )
        return str(answer["taskDefinition"]["taskDefinitionArn"])

    async def create_load_balancer(
        self,
        name: str = "web",
        *,
        deregistration_delay: int = 10,
        interval: int = 5,
        healthy: int = 2,
        unhealthy: int = 2,
        path: str = "/health",
        target_type: str = "ip",
        network: bool = False,
    ) -> Front:
        """A load balancer, its listener on port 80 and a target group with short times. `network`: one that forwards
        connections and knows no HTTP."""
        protocol = "TCP" if network else "HTTP"
        balancer = await self.elbv2(
            "CreateLoadBalancer", Name=name, Subnets=list(self.networks.by_id), Type="network" if network else None
        )
        balancer_arn = balancer["LoadBalancers"][0]["LoadBalancerArn"]
        group = await self.create_target_group(
            name,
            deregistration_delay=deregistration_delay,
            interval=interval,
            healthy=healthy,
            unhealthy=unhealthy,
            path=path,
            target_type=target_type,
            protocol=protocol,
        )
        return Front(balancer_arn, await self.create_listener(balancer_arn, group, protocol=protocol), group)

    async def create_listener(
        self, load_balancer: str, target_group: str, *, port: int = 80, protocol: str = "HTTP"
    ) -> str:
        """Everything that comes to `port` goes to the target group; the listener's ARN."""
        listener = await self.elbv2(
            "CreateListener",
            LoadBalancerArn=load_balancer,
            Protocol=protocol,
            Port=port,
            DefaultActions=[{"Type": "forward", "TargetGroupArn": target_group}],
        )
        return str(listener["Listeners"][0]["ListenerArn"])

    async def create_target_group(
        self,
        name: str,
        *,
        deregistration_delay: int = 10,
        interval: int = 5,
        healthy: int = 2,
        unhealthy: int = 2,
        path: str = "/health",
        target_type: str = "ip",
        protocol: str = "HTTP",
    ) -> str:
        group = await self.elbv2(
            "CreateTargetGroup",
            Name=name,
            Protocol=protocol,
            Port=80,
            VpcId=VPC,
            TargetType=target_type,
            HealthCheckPath=path if protocol == "HTTP" else None,
            HealthCheckIntervalSeconds=interval,
            HealthCheckTimeoutSeconds=2,
            HealthyThresholdCount=healthy,
            UnhealthyThresholdCount=unhealthy,
        )
        arn = str(group["TargetGroups"][0]["TargetGroupArn"])
        await self.elbv2(
            "ModifyTargetGroupAttributes",
            TargetGroupArn=arn,
            Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": str(deregistration_delay)}],
        )
        return arn

    async def create_service(
        self,
        name: str = "web",
        *,
        task_definition: str = "web",
        desired: int = 1,
        front: Front | None = None,
        port: int = 80,
        minimum: int = 100,
        maximum: int = 200,
        breaker: bool = False,
        rollback: bool = False,
        grace: int | None = None,
        cluster: str = CLUSTER,
    ) -> None:
        balancers = None
        if front is not None:
            balancers = [{"targetGroupArn": front.target_group, "containerName": "app", "containerPort": port}]
        await self.ecs(
            "CreateService",
            cluster=cluster,
            serviceName=name,
            taskDefinition=task_definition,
            desiredCount=desired,
            launchType="FARGATE",
            networkConfiguration=self.network_configuration(),
            loadBalancers=balancers,
            healthCheckGracePeriodSeconds=grace,
            deploymentConfiguration={
                "minimumHealthyPercent": minimum,
                "maximumPercent": maximum,
                "deploymentCircuitBreaker": {"enable": breaker, "rollback": rollback},
            },
        )

    async def update_service(self, name: str = "web", *, cluster: str = CLUSTER, **request: Any) -> None:
        """`desiredCount=…`, `taskDefinition=…`, `forceNewDeployment=True` …"""
        await self.ecs("UpdateService", cluster=cluster, service=name, **request)

    async def delete_service(self, name: str = "web", *, cluster: str = CLUSTER) -> None:
        await self.ecs("DeleteService", cluster=cluster, service=name, force=True)

    async def run_task(
        self, task_definition: str = "web", *, count: int = 1, cluster: str = CLUSTER, **more: Any
    ) -> list[str]:
        """The ARNs of the new tasks."""
        answer = await self.ecs(
            "RunTask",
            cluster=cluster,
            taskDefinition=task_definition,
            count=count,
            launchType="FARGATE",
            networkConfiguration=self.network_configuration(),
            **more,
        )
        return [str(task["taskArn"]) for task in answer["tasks"]]

    async def stop_task(self, arn: str, *, cluster: str = CLUSTER, reason: str | None = None) -> None:
        await self.ecs("StopTask", cluster=cluster, task=arn, reason=reason)

    async def describe_service(self, name: str = "web", *, cluster: str = CLUSTER) -> dict[str, Any]:
        answer = await self.ecs("DescribeServices", cluster=cluster, services=[name])
        found: dict[str, Any] = answer["services"][0]
        return found

    async def target_health(self, front: Front) -> dict[str, str]:
        """State by address."""
        answer = await self.elbv2("DescribeTargetHealth", TargetGroupArn=front.target_group)
        return {d["Target"]["Id"]: d["TargetHealth"]["State"] for d in answer["TargetHealthDescriptions"]}

    def network_configuration(self) -> dict[str, Any]:
        return {"awsvpcConfiguration": {"subnets": list(self.networks.by_id), "securityGroups": ["sg-1"]}}
