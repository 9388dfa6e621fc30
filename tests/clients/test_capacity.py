"""An Auto Scaling group of nothing becomes machines because tasks wait, and nothing again; Fargate Spot is taken away."""

from __future__ import annotations

from typing import Any

import pytest

from .server import Server
from .waiting import until

pytestmark = pytest.mark.docker

CLUSTER = "elastic"


def a_group(server: Server, name: str, **sizes: int) -> str:
    """Its ARN."""
    ec2, autoscaling = server.client("ec2"), server.client("autoscaling")
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    ec2.create_launch_template(
        LaunchTemplateName=name, LaunchTemplateData={"ImageId": image, "InstanceType": "t3.micro"}
    )
    autoscaling.create_auto_scaling_group(
        AutoScalingGroupName=name,
        LaunchTemplate={"LaunchTemplateName": name},
        VPCZoneIdentifier=",".join(server.network[1]),
        **sizes,
    )
    found = autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
    return str(found[0]["AutoScalingGroupARN"])


def described(ecs: Any, arns: list[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ecs.describe_tasks(cluster=CLUSTER, tasks=arns)["tasks"]
    return found


def test_a_group_of_nothing_grows_for_tasks_and_goes_again(own_server: Server, image: str) -> None:
    ecs, autoscaling = own_server.client("ecs"), own_server.client("autoscaling")
    group = a_group(own_server, "hosts", MinSize=0, MaxSize=3, DesiredCapacity=0)
    ecs.create_capacity_provider(
        name="hosts",
        autoScalingGroupProvider={
            "autoScalingGroupArn": group,
            "managedScaling": {"status": "ENABLED", "instanceWarmupPeriod": 1},
        },
    )
    ecs.create_cluster(
        clusterName=CLUSTER,
        capacityProviders=["hosts"],
        defaultCapacityProviderStrategy=[{"capacityProvider": "hosts", "weight": 1}],
    )
    app = {"name": "app", "image": image, "memory": 600, "stopTimeout": 2}
    ecs.register_task_definition(family="job", containerDefinitions=[app])
    tasks = [t["taskArn"] for t in ecs.run_task(cluster=CLUSTER, taskDefinition="job", count=2)["tasks"]]
    until(lambda: {t["lastStatus"] for t in described(ecs, tasks)} == {"RUNNING"}, "both run on machines of their own")

    arns = ecs.list_container_instances(cluster=CLUSTER)["containerInstanceArns"]
    instances = ecs.describe_container_instances(cluster=CLUSTER, containerInstances=arns)["containerInstances"]
    found = autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"][0]
    assert found["DesiredCapacity"] == 2
    assert {i["ec2InstanceId"] for i in instances} == {i["InstanceId"] for i in found["Instances"]}
    assert {i["capacityProviderName"] for i in instances} == {"hosts"}
    kinds = [a["value"] for i in instances for a in i["attributes"] if a["name"] == "ecs.instance-type"]
    assert kinds == ["t3.micro"] * 2

    own_server.kill()
    own_server.up()
    assert {t["lastStatus"] for t in described(ecs, tasks)} == {"RUNNING"}
    for arn in tasks:
        ecs.stop_task(cluster=CLUSTER, task=arn)
    until(
        lambda: (
            not ecs.list_container_instances(cluster=CLUSTER)["containerInstanceArns"]
            and not autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"][0]["Instances"]
        ),
        "the machines have left",
    )


def test_spot_capacity_is_taken_away(own_server: Server, image: str) -> None:
    ecs = own_server.client("ecs")
    ecs.create_cluster(clusterName=CLUSTER, capacityProviders=["FARGATE", "FARGATE_SPOT"])
    ecs.register_task_definition(
        family="web",
        networkMode="awsvpc",
        requiresCompatibilities=["FARGATE"],
        cpu="256",
        memory="512",
        containerDefinitions=[{"name": "app", "image": image, "stopTimeout": 2}],
    )
    ecs.create_service(
        cluster=CLUSTER,
        serviceName="web",
        taskDefinition="web",
        desiredCount=1,
        capacityProviderStrategy=[{"capacityProvider": "FARGATE_SPOT", "weight": 1}],
        networkConfiguration={"awsvpcConfiguration": {"subnets": own_server.network[1]}},
    )

    def running() -> list[str]:
        arns: list[str] = ecs.list_tasks(cluster=CLUSTER, serviceName="web")["taskArns"]
        return [t["taskArn"] for t in (described(ecs, arns) if arns else []) if t["lastStatus"] == "RUNNING"]

    (first,) = until(running, "the task runs")
    said = own_server.moor("interrupt", "--service", "web", "--no-capacity", "3600")
    assert "No Fargate Spot capacity for 3600 s" in said
    assert f"Interrupted {first.rsplit('/', 1)[-1]} (service:web, was RUNNING)" in said
    until(lambda: described(ecs, [first])[0]["lastStatus"] == "STOPPED", "it ended")
    ended = described(ecs, [first])[0]
    assert (ended["stopCode"], ended["stoppedReason"]) == ("SpotInterruption", "Your Spot Task was interrupted.")
    events = until(
        lambda: [
            event["message"]
            for event in ecs.describe_services(cluster=CLUSTER, services=["web"])["services"][0]["events"]
            if "unable to place" in event["message"]
        ],
        "the service says why there is no other",
    )
    assert "Capacity is unavailable at this time." in events[0]
    assert "There is Fargate Spot capacity" in own_server.moor("interrupt", "--no-capacity", "0")
    assert until(running, "another one runs") != [first]
    ecs.delete_service(cluster=CLUSTER, service="web", force=True)
    until(lambda: not running(), "it stopped")
