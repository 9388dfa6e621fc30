"""Auto Scaling groups as capacity providers see them, made by boto3 in the embedded EC2 Auto Scaling."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError
from front import Front

from moorage.domain.capacity_provider import HostGroup
from moorage.domain.errors import AwsError
from moorage.domain.scope import Scope
from moorage.services.aws_backed.host_groups import MotoHostGroups, cluster_in

SCOPE = Scope("000000000000", "us-east-1")


@pytest.fixture(scope="module")
def groups(front: Front) -> MotoHostGroups:
    return MotoHostGroups(front.backed)


class Maker:
    """Groups in the default VPC; a launch template or a launch configuration each."""

    def __init__(self, client: Callable[..., Any]) -> None:
        self.ec2, self.autoscaling = client("ec2"), client("autoscaling")
        # One per zone: other tests make subnets of their own, in zones that chance picks.
        defaults = self.ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"]
        subnets = sorted(defaults, key=lambda one: one["AvailabilityZone"])[:3]
        self.subnets = ",".join(one["SubnetId"] for one in subnets)
        self.zones = {one["AvailabilityZone"] for one in subnets}
        self.image = self.ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]

    def group(
        self, name: str, *, user_data: str = "", kind: str = "m5.large", template: bool = True, **more: Any
    ) -> None:
        encoded = base64.b64encode(user_data.encode()).decode()
        what: dict[str, Any] = {"LaunchTemplate": {"LaunchTemplateName": name, "Version": "$Latest"}}
        if template:
            data = {"ImageId": self.image, "InstanceType": kind, "UserData": encoded}
            self.ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data)
        else:
            self.autoscaling.create_launch_configuration(
                LaunchConfigurationName=name, ImageId=self.image, InstanceType=kind, UserData=user_data
            )
            what = {"LaunchConfigurationName": name}
        sizes = {"MinSize": 0, "MaxSize": 9, "DesiredCapacity": 0} | more
        self.autoscaling.create_auto_scaling_group(
            AutoScalingGroupName=name, VPCZoneIdentifier=self.subnets, **what, **sizes
        )

    def instances(self, name: str) -> list[str]:
        answer = self.autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])
        return [one["InstanceId"] for one in answer["AutoScalingGroups"][0]["Instances"]]


@pytest.fixture
def maker(client: Callable[..., Any]) -> Maker:
    return Maker(client)


def read(front: Front, groups: MotoHostGroups, name: str) -> HostGroup:
    found = front.run(groups.group(SCOPE, name))
    assert found is not None
    return found


def test_a_group_is_read(front: Front, groups: MotoHostGroups, maker: Maker) -> None:
    maker.group("read", user_data="#!/bin/sh\necho ECS_CLUSTER=main >> /etc/ecs/ecs.config\n", DesiredCapacity=3)
    found = read(front, groups, "read")
    assert (found.min_size, found.max_size, found.desired, found.instance_type) == (0, 9, 3, "m5.large")
    assert (found.cluster, set(found.zones), found.protects_new) == ("main", maker.zones, False)
    assert Counter(one.availability_zone for one in found.instances) == dict.fromkeys(maker.zones, 1)
    assert {one.instance_type for one in found.instances} == {"m5.large"}
    assert read(front, groups, found.arn) == found
    assert found in front.run(groups.groups(SCOPE))
    assert front.run(groups.group(SCOPE, "none")) is None
    assert front.run(groups.group(SCOPE, found.arn.replace("autoScalingGroup:", "autoScalingGroup:x"))) is None


def test_launch_configurations_and_protection(front: Front, groups: MotoHostGroups, maker: Maker) -> None:
    maker.group(
        "configured",
        user_data="ECS_CLUSTER='other'",
        kind="t3.small",
        template=False,
        DesiredCapacity=1,
        NewInstancesProtectedFromScaleIn=True,
    )
    found = read(front, groups, "configured")
    assert (found.cluster, found.instance_type, found.protects_new) == ("other", "t3.small", True)
    assert [one.protected for one in found.instances] == [True]


def test_out_and_in(front: Front, groups: MotoHostGroups, maker: Maker) -> None:
    maker.group("scaled", MinSize=1, DesiredCapacity=1)
    front.run(groups.set_desired(SCOPE, "scaled", 4))
    first, *others = maker.instances("scaled")
    assert len(others) == 3
    front.run(groups.terminate(SCOPE, others[1]))
    front.run(groups.terminate(SCOPE, others[1]))  # it is gone: fine
    assert maker.instances("scaled") == [first, others[0], others[2]]
    assert read(front, groups, "scaled").desired == 3
    with pytest.raises(AwsError, match="above max value 9"):
        front.run(groups.set_desired(SCOPE, "scaled", 10))
    for one in others[::2]:
        front.run(groups.terminate(SCOPE, one))
    with pytest.raises(AwsError, match="violate group's min size"):
        front.run(groups.terminate(SCOPE, first))


def test_bounds_are_told_to_users(maker: Maker) -> None:
    maker.group("bounded", MinSize=2, MaxSize=3, DesiredCapacity=2)
    for desired, words in ((4, "above max value 3"), (1, "below min value 2")):
        with pytest.raises(ClientError, match=words):
            maker.autoscaling.set_desired_capacity(AutoScalingGroupName="bounded", DesiredCapacity=desired)
    with pytest.raises(ClientError, match="No managed instance found"):
        maker.autoscaling.terminate_instance_in_auto_scaling_group(
            InstanceId="i-0", ShouldDecrementDesiredCapacity=False
        )
    maker.autoscaling.delete_auto_scaling_group(AutoScalingGroupName="bounded", ForceDelete=True)


def test_whoever_changes_a_group_is_noticed(front: Front, groups: MotoHostGroups, maker: Maker) -> None:
    maker.group("watched", DesiredCapacity=2)
    told: list[Scope] = []
    groups.watch(told.append)
    front.run(groups.groups(SCOPE))
    assert told == [], "our own reads are no news"
    maker.autoscaling.set_desired_capacity(AutoScalingGroupName="watched", DesiredCapacity=3)
    assert told == [SCOPE]
    gone = maker.instances("watched")[0]
    maker.ec2.terminate_instances(InstanceIds=[gone])
    assert told == [SCOPE, SCOPE]
    assert front.run(groups.lost(SCOPE, [gone, "i-other"])) == [gone]
    # The group started another one.
    assert len(maker.instances("watched")) == 3
    front.run(groups.terminate(SCOPE, maker.instances("watched")[0]))
    assert len(told) == 3
    groups.watch(lambda scope: None)


def test_machines_of_their_own_are_a_group_of_their_cluster(front: Front, groups: MotoHostGroups, maker: Maker) -> None:
    told: list[Scope] = []
    groups.watch(told.append)
    plain = maker.ec2.run_instances(ImageId=maker.image, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    assert told == []
    script = "#!/bin/sh\necho ECS_CLUSTER=alone >> /etc/ecs/ecs.config"
    started = maker.ec2.run_instances(
        ImageId=maker.image, MinCount=2, MaxCount=2, InstanceType="c5.large", UserData=script
    )["Instances"]
    assert told == [SCOPE]
    (found,) = [one for one in front.run(groups.groups(SCOPE)) if one.name == "instances of alone"]
    assert [one.id for one in found.instances] == [one["InstanceId"] for one in started]
    assert (found.cluster, found.instances[0].instance_type) == ("alone", "c5.large")
    maker.ec2.terminate_instances(InstanceIds=[plain, *(one["InstanceId"] for one in started)])
    assert len(told) == 2
    assert not [one for one in front.run(groups.groups(SCOPE)) if one.name == "instances of alone"]
    groups.watch(lambda scope: None)


@pytest.mark.parametrize(
    ("text", "cluster"),
    [
        ("ECS_CLUSTER=a", "a"),
        ('cat <<EOF >> /etc/ecs/ecs.config\nECS_CLUSTER="my-c_1"\nEOF', "my-c_1"),
        ("ECS_CLUSTER=first\nECS_CLUSTER=second", "second"),
        ("ECS_CLUSTER=${NAME}", None),
        ("nothing", None),
        ("", None),
    ],
)
def test_the_cluster_of_user_data(text: str, cluster: str | None) -> None:
    assert cluster_in(base64.b64encode(text.encode()).decode()) == cluster
    assert cluster_in("%%%") is None


def test_a_group_reads_back_equal_after_the_worker_was_killed(fronts: Callable[[], Front]) -> None:
    """Which instance a scale-in ended must not depend on anything but the calls."""
    front = fronts()
    maker, groups = Maker(front.client), MotoHostGroups(front.backed)
    maker.group("kept", DesiredCapacity=6)
    for desired in (4, 5, 2, 7, 3):
        maker.autoscaling.set_desired_capacity(AutoScalingGroupName="kept", DesiredCapacity=desired)
    front.run(groups.terminate(SCOPE, maker.instances("kept")[1]))
    before = read(front, groups, "kept")
    front.kill_worker()
    assert read(front, groups, "kept") == before
    assert front.backed.worker.ready is not None
    assert front.backed.worker.ready.failed == 0
