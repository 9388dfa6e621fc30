"""Two container instances carved out of this machine's Docker, each with its own port space."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from .load import get
from .server import Server
from .stack import HEALTH_CHECK
from .waiting import until

pytestmark = pytest.mark.docker

CLUSTER = "machines"
HOST_PORT = 20_000 + os.getpid() % 5_000
LISTENER = 9_000 + os.getpid() % 500


@pytest.fixture
def instances(own_server: Server) -> Iterator[list[str]]:
    ecs = own_server.client("ecs")
    ecs.create_cluster(clusterName=CLUSTER)
    share = [{"name": name, "type": "INTEGER", "integerValue": 512} for name in ("CPU", "MEMORY")]
    yield [
        ecs.register_container_instance(cluster=CLUSTER, totalResources=share)["containerInstance"][
            "containerInstanceArn"
        ]
        for _ in range(2)
    ]
    for service in ecs.list_services(cluster=CLUSTER)["serviceArns"]:
        ecs.delete_service(cluster=CLUSTER, service=service, force=True)
    for task in ecs.list_tasks(cluster=CLUSTER)["taskArns"]:
        ecs.stop_task(cluster=CLUSTER, task=task)
    until(lambda: not living(ecs), "the tasks have stopped")


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{address}:{HOST_PORT}/health", timeout=10) as page:
            return bool(page.status == 200)
    except OSError:
        return False


def living(ecs: Any) -> list[dict[str, Any]]:
    arns = ecs.list_tasks(cluster=CLUSTER, desiredStatus="RUNNING")["taskArns"]
    arns += ecs.list_tasks(cluster=CLUSTER, desiredStatus="STOPPED")["taskArns"]
    tasks = ecs.describe_tasks(cluster=CLUSTER, tasks=arns)["tasks"] if arns else []
    return [task for task in tasks if task["lastStatus"] != "STOPPED"]


def test_one_fixed_port_on_two_instances_and_dynamic_ports_behind_a_load_balancer(own_server, instances, image):
    ecs, elbv2 = own_server.client("ecs"), own_server.client("elbv2")
    mapping = [{"containerPort": 8000, "hostPort": HOST_PORT}]
    app = {"name": "app", "image": image, "memory": 64, "cpu": 64, "stopTimeout": 2, "portMappings": mapping}
    ecs.register_task_definition(family="fixed", containerDefinitions=[app])
    answer = ecs.run_task(cluster=CLUSTER, taskDefinition="fixed", launchType="EC2", count=3)
    assert [failure["reason"] for failure in answer["failures"]] == ["RESOURCE:PORTS"] * 2
    until(lambda: [t["lastStatus"] for t in living(ecs)] == ["RUNNING"] * 2, "both run")
    bindings = [task["containers"][0]["networkBindings"][0] for task in living(ecs)]
    assert {b["hostPort"] for b in bindings} == {HOST_PORT}
    assert len({b["bindIP"] for b in bindings}) == 2
    for binding in bindings:
        until(lambda where=binding["bindIP"]: answers(where), "the app listens there")

    vpc, subnets = own_server.network
    balancer = elbv2.create_load_balancer(Name="web", Subnets=subnets, Scheme="internal")["LoadBalancers"][0]
    group = elbv2.create_target_group(
        Name="web", Protocol="HTTP", Port=80, VpcId=vpc, TargetType="instance", **HEALTH_CHECK
    )["TargetGroups"][0]["TargetGroupArn"]
    delay = {"Key": "deregistration_delay.timeout_seconds", "Value": "2"}
    elbv2.modify_target_group_attributes(TargetGroupArn=group, Attributes=[delay])
    elbv2.create_listener(
        LoadBalancerArn=balancer["LoadBalancerArn"],
        Protocol="HTTP",
        Port=LISTENER,
        DefaultActions=[{"Type": "forward", "TargetGroupArn": group}],
    )
    ecs.register_task_definition(
        family="dynamic", containerDefinitions=[app | {"portMappings": [{"containerPort": 8000}]}]
    )
    ecs.create_service(
        cluster=CLUSTER,
        serviceName="web",
        taskDefinition="dynamic",
        launchType="EC2",
        desiredCount=2,
        loadBalancers=[{"targetGroupArn": group, "containerName": "app", "containerPort": 8000}],
    )

    def healthy() -> bool:
        found = elbv2.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
        return [d["TargetHealth"]["State"] for d in found] == ["healthy"] * 2

    until(healthy, "both targets are healthy")
    assert get(balancer["DNSName"], LISTENER, "/health").status == 200
    shown = ecs.describe_container_instances(cluster=CLUSTER, containerInstances=instances)["containerInstances"]
    assert [i["runningTasksCount"] for i in shown] == [2, 2]
