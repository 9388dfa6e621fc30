"""EC2 Auto Scaling as ECS sees it: `services/lookups.HostGroupLookup` and `control/ports.HostGroups` over the embedded
Auto Scaling and EC2. Source: semantics around §14, ecs-services §8.

Nothing is polled: every call of Auto Scaling that passes the gateway, whoever made it, tells the watcher which account and
region to look at again. Machines that were started one by one and name a cluster in their user data are shown as a group
of that cluster.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

from moorage.domain.capacity_provider import GroupInstance, HostGroup
from moorage.domain.errors import AwsError
from moorage.domain.scope import Scope
from moorage.services.aws_backed.forward import AwsBacked
from moorage.services.aws_backed.frames import Call

_CLUSTER = re.compile(r"""ECS_CLUSTER=["']?([A-Za-z0-9_-]{1,255})""")
_MOST_REMEMBERED = 10_000


class MotoHostGroups:
    def __init__(self, backed: AwsBacked) -> None:
        self._backed = backed
        self._changed: Callable[[Scope], None] = lambda scope: None
        self._looked_at: set[Scope] = set()
        self._terminated: dict[str, None] = {}
        self._clusters: dict[str, str | None] = {}
        backed.on_answer.append(self._answered)

    def watch(self, changed: Callable[[Scope], None]) -> None:
        self._changed = changed

    def _answered(self, call: Call, status: int) -> None:
        scope = Scope(call.account, call.region)
        if call.service == "autoscaling":
            # What was done before the control plane last ended may not have been seen: the first read shows it, too.
            if call.mutates or scope not in self._looked_at:
                self._changed(scope)
        elif (call.service, call.operation) == ("ec2", "RunInstances"):
            if status == 200 and _may_join(call.body):
                self._changed(scope)
        elif (call.service, call.operation) == ("ec2", "TerminateInstances"):
            if status == 200:
                self._remember(call.body)
            self._changed(scope)
        elif call.service == "cloudformation" and call.mutates:
            self._changed(scope)

    def _remember(self, body: bytes) -> None:
        for name, value in parse_qsl(body.decode("utf-8", "replace")):
            if name.startswith("InstanceId"):
                self._terminated[value] = None
        while len(self._terminated) > _MOST_REMEMBERED:
            del self._terminated[next(iter(self._terminated))]

    # --- reads -------------------------------------------------------------------------------------------------------
    async def group(self, scope: Scope, identifier: str) -> HostGroup | None:
        name = identifier.rsplit(":autoScalingGroupName/", 1)[-1]
        try:
            answer = await self._call(scope, "DescribeAutoScalingGroups", AutoScalingGroupNames=[name])
        except AwsError as error:
            if error.status >= 500:
                raise
            return None
        found = [one for one in answer.get("AutoScalingGroups") or () if identifier in (name, _arn(one))]
        return await self._read(scope, found[0]) if found else None

    async def groups(self, scope: Scope) -> Sequence[HostGroup]:
        self._looked_at.add(scope)
        found: list[HostGroup] = []
        token: str | None = None
        while True:
            more = {"NextToken": token} if token else {}
            answer = await self._call(scope, "DescribeAutoScalingGroups", MaxRecords=100, **more)
            found += [await self._read(scope, one) for one in answer.get("AutoScalingGroups") or ()]
            token = answer.get("NextToken")
            if not token:
                return found + await self._single_instances(scope)

    async def lost(self, scope: Scope, instance_ids: Collection[str]) -> Collection[str]:
        return [one for one in instance_ids if one in self._terminated]

    async def _read(self, scope: Scope, shape: Mapping[str, Any]) -> HostGroup:
        instance_type, user_data = await self._template(scope, shape)
        zones = sorted(shape.get("AvailabilityZones") or ()) or [f"{scope.region}a"]
        return HostGroup(
            arn=_arn(shape),
            account=scope.account,
            region=scope.region,
            name=shape["AutoScalingGroupName"],
            min_size=int(shape.get("MinSize") or 0),
            max_size=int(shape.get("MaxSize") or 0),
            desired=int(shape.get("DesiredCapacity") or 0),
            instance_type=instance_type,
            instances=tuple(
                GroupInstance(
                    one["InstanceId"],
                    one.get("AvailabilityZone") or zones[0],
                    one.get("InstanceType") or instance_type,
                    bool(one.get("ProtectedFromScaleIn")),
                )
                for one in shape.get("Instances") or ()
                if one.get("LifecycleState") in ("InService", "Pending")
            ),
            zones=tuple(dict.fromkeys(zones)),
            cluster=cluster_in(user_data),
            protects_new=bool(shape.get("NewInstancesProtectedFromScaleIn")),
        )

    async def _template(self, scope: Scope, shape: Mapping[str, Any]) -> tuple[str, str]:
        """(instance type, user data in base64) of what the group starts; empty when it cannot be read."""
        policy = (shape.get("MixedInstancesPolicy") or {}).get("LaunchTemplate") or {}
        named = shape.get("LaunchTemplate") or policy.get("LaunchTemplateSpecification")
        try:
            if named:
                template = await self._launch_template(scope, named)
            elif shape.get("LaunchConfigurationName"):
                names = [shape["LaunchConfigurationName"]]
                answer = await self._call(scope, "DescribeLaunchConfigurations", LaunchConfigurationNames=names)
                template = next(iter(answer.get("LaunchConfigurations") or ()), {})
            else:
                return "", ""
        except AwsError as error:
            if error.status >= 500:
                raise
            return "", ""
        overrides = [one["InstanceType"] for one in policy.get("Overrides") or () if one.get("InstanceType")]
        return (overrides or [template.get("InstanceType") or ""])[0], template.get("UserData") or ""

    async def _launch_template(self, scope: Scope, named: Mapping[str, Any]) -> Mapping[str, Any]:
        which = {
            "LaunchTemplateId": named.get("LaunchTemplateId"),
            "LaunchTemplateName": named.get("LaunchTemplateName"),
        }
        given = next({name: value} for name, value in which.items() if value)
        answer = await self._backed.call(
            scope,
            "ec2",
            "DescribeLaunchTemplateVersions",
            {**given, "Versions": [named.get("Version") or "$Default"]},
        )
        versions = answer.get("LaunchTemplateVersions") or ()
        return next((one.get("LaunchTemplateData") or {} for one in versions), {})

    async def _single_instances(self, scope: Scope) -> list[HostGroup]:
        """One group per cluster that user data of machines outside of all groups names."""
        states = ["pending", "running", "stopping", "stopped"]
        filters = [{"Name": "instance-state-name", "Values": states}]
        answer = await self._backed.call(scope, "ec2", "DescribeInstances", {"Filters": filters})
        by_cluster: dict[str, list[GroupInstance]] = {}
        for shape in (one for reservation in answer.get("Reservations") or () for one in reservation["Instances"]):
            if any(tag["Key"] == "aws:autoscaling:groupName" for tag in shape.get("Tags") or ()):
                continue
            cluster = await self._cluster_of(scope, shape["InstanceId"])
            if cluster is not None:
                zone = (shape.get("Placement") or {}).get("AvailabilityZone") or f"{scope.region}a"
                machine = GroupInstance(shape["InstanceId"], zone, shape.get("InstanceType") or "")
                by_cluster.setdefault(cluster, []).append(machine)
        return [
            HostGroup(
                arn=scope.arn("ec2", f"instances-of/{cluster}"),
                account=scope.account,
                region=scope.region,
                name=f"instances of {cluster}",
                min_size=0,
                max_size=len(machines),
                desired=len(machines),
                instances=tuple(machines),
                cluster=cluster,
            )
            for cluster, machines in by_cluster.items()
        ]

    async def _cluster_of(self, scope: Scope, instance_id: str) -> str | None:
        """Asked once for each machine: only a stopped one can be given other user data."""
        if instance_id not in self._clusters:
            params = {"InstanceId": instance_id, "Attribute": "userData"}
            answer = await self._backed.call(scope, "ec2", "DescribeInstanceAttribute", params)
            self._clusters[instance_id] = cluster_in((answer.get("UserData") or {}).get("Value") or "")
        return self._clusters[instance_id]

    # --- changes -----------------------------------------------------------------------------------------------------
    async def set_desired(self, scope: Scope, name: str, desired: int) -> None:
        await self._call(scope, "SetDesiredCapacity", AutoScalingGroupName=name, DesiredCapacity=desired)

    async def terminate(self, scope: Scope, instance_id: str) -> None:
        try:
            await self._call(
                scope,
                "TerminateInstanceInAutoScalingGroup",
                InstanceId=instance_id,
                ShouldDecrementDesiredCapacity=True,
            )
        except AwsError as error:
            if "not found" not in error.message:
                raise

    async def _call(self, scope: Scope, operation: str, **params: Any) -> dict[str, Any]:
        return await self._backed.call(scope, "autoscaling", operation, params)


def _may_join(body: bytes) -> bool:
    """Does this RunInstances name a cluster, or a launch template that may?"""
    given = dict(parse_qsl(body.decode("utf-8", "replace")))
    return (
        any(name.startswith("LaunchTemplate.") for name in given) or cluster_in(given.get("UserData", "")) is not None
    )


def cluster_in(user_data: str) -> str | None:
    """The cluster that base64-encoded user data makes the ECS agent join: the last `ECS_CLUSTER=` in it."""
    try:
        text = base64.b64decode(user_data, validate=False).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return None
    names = _CLUSTER.findall(text)
    return names[-1] if names else None


def _arn(shape: Mapping[str, Any]) -> str:
    return str(shape["AutoScalingGroupARN"])
