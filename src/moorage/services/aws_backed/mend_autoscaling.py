"""What moto's Auto Scaling does differently from AWS and capacity providers would stumble over.

Each function names what is wrong without it. Only the worker imports this module.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from moorage.services.aws_backed.moto_modules import moto_module


def autoscaling() -> None:
    models, exceptions = moto_module("autoscaling.models"), moto_module("autoscaling.exceptions")
    _keep_order(models.FakeAutoScalingGroup)
    _spread(models.FakeAutoScalingGroup)
    _check(models.AutoScalingBackend, exceptions.ValidationError)


def _keep_order(group: Any) -> None:
    """After a scale-in moto keeps the instances in the order of a set of objects: which one goes next would then depend
    on memory addresses, and a replay of the journal would end another one."""
    scale = group.set_desired_capacity

    def set_desired_capacity(self: Any, new_capacity: int | None) -> None:
        before = list(self.instance_states)
        scale(self, new_capacity)
        known = {id(state) for state in before}
        left = {id(state) for state in self.instance_states}
        fresh = [state for state in self.instance_states if id(state) not in known]
        self.instance_states = [state for state in before if id(state) in left] + fresh

    group.set_desired_capacity = set_desired_capacity


def _spread(group: Any) -> None:
    """moto starts all instances in the first subnet; AWS keeps the zones of a group balanced."""
    launch = group.replace_autoscaling_group_instances

    def replace_autoscaling_group_instances(self: Any, count_needed: int, propagated_tags: dict[str, str]) -> None:
        zones, subnets = self.availability_zones, self.vpc_zone_identifier
        options = [(zone, None) for zone in zones]
        if subnets:
            found = self.autoscaling_backend.ec2_backend.describe_subnets(subnet_ids=subnets.split(","))
            options = [(subnet.availability_zone, subnet.id) for subnet in found]
        try:
            for _ in range(count_needed):
                counts = Counter(state.availability_zone for state in self.instance_states)
                zone, subnet = min(options, key=lambda option: counts[option[0]])
                self.availability_zones, self.vpc_zone_identifier = [zone], subnet
                launch(self, 1, dict(propagated_tags))
        finally:
            self.availability_zones, self.vpc_zone_identifier = zones, subnets

    group.replace_autoscaling_group_instances = replace_autoscaling_group_instances


def _check(backend: Any, refuse: Any) -> None:
    """moto lets a group grow beyond its bounds, and falls over an instance that is in no group."""
    scale, terminate = backend.set_desired_capacity, backend.terminate_instance

    def set_desired_capacity(self: Any, group_name: str, desired_capacity: int | None) -> None:
        group = self.autoscaling_groups.get(group_name)
        if group is None:
            raise refuse("AutoScalingGroup name not found - null")
        least, most = int(group.min_size or 0), int(group.max_size or 0)
        if desired_capacity is not None and desired_capacity > most:
            raise refuse(
                f"New SetDesiredCapacity value {desired_capacity} is above max value {most} for the AutoScalingGroup."
            )
        # A group that is deleted goes to zero whatever its minimum.
        if desired_capacity is not None and 0 < desired_capacity < least:
            raise refuse(
                f"New SetDesiredCapacity value {desired_capacity} is below min value {least} for the AutoScalingGroup."
            )
        scale(self, group_name, desired_capacity)

    def terminate_instance(self: Any, instance_id: str, should_decrement: bool) -> Any:
        groups = self.autoscaling_groups.values()
        group = next((g for g in groups if any(s.instance.id == instance_id for s in g.instance_states)), None)
        if group is None:
            raise refuse(f"Instance Id not found - No managed instance found for instance ID: {instance_id}")
        if should_decrement and int(group.desired_capacity or 0) <= int(group.min_size or 0):
            raise refuse(
                f"Currently, desiredSize equals minSize ({group.min_size}). Terminating instance without replacement "
                "will violate group's min size constraint. Either set shouldDecrementDesiredCapacity flag to false or "
                "lower group's min size."
            )
        return terminate(self, instance_id, should_decrement)

    backend.set_desired_capacity = set_desired_capacity
    backend.terminate_instance = terminate_instance
