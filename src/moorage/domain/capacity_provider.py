"""Capacity providers, the host groups behind them, and what managed scaling decided. Source: semantics ecs-services §8.

`CapacityProvider` is what people ask for. `HostGroup` is what the Auto Scaling API says about a group, as far as ECS
looks at it (observed; written by the host group controller only). `ScalingNote` is the last thing that managed scaling
said of a provider; `SpotShortage` is an injected lack of Fargate Spot capacity.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

Switch = Literal["ENABLED", "DISABLED"]

FARGATE, FARGATE_SPOT = "FARGATE", "FARGATE_SPOT"
FARGATE_PROVIDERS = (FARGATE, FARGATE_SPOT)


class ManagedScaling(msgspec.Struct, frozen=True, rename="camel"):
    """`target_capacity`: percent of the instances that should be in use. `instance_warmup_period`: seconds."""

    status: Switch = "DISABLED"
    target_capacity: int = 100
    minimum_scaling_step_size: int = 1
    maximum_scaling_step_size: int = 10_000
    instance_warmup_period: int = 300


class CapacityProvider(msgspec.Struct, frozen=True):
    """One that stands for an Auto Scaling group (FARGATE and FARGATE_SPOT have no record). `group_arn` names the group;
    `clusters`: ARNs of the clusters that it is associated with, in that order; its instances join the first one unless
    their user data names another. `policy`: the name of the scaling policy that AWS would show."""

    arn: str
    account: str
    region: str
    name: str
    group_arn: str
    created_at: float
    managed_scaling: ManagedScaling = ManagedScaling()
    managed_termination_protection: Switch = "DISABLED"
    managed_draining: Switch = "ENABLED"
    update_status: str = "CREATE_COMPLETE"
    clusters: tuple[str, ...] = ()
    policy: str = ""
    tags: Mapping[str, str] = {}

    @property
    def is_managed(self) -> bool:
        return self.managed_scaling.status == "ENABLED"


class GroupInstance(msgspec.Struct, frozen=True):
    """An EC2 instance of a group. `protected`: from scale-in."""

    id: str
    availability_zone: str
    instance_type: str
    protected: bool = False


class HostGroup(msgspec.Struct, frozen=True):
    """`cluster`: the name after ECS_CLUSTER= in the user data of its instances. `protects_new`: new instances are
    protected from scale-in. `gone`: the group was deleted; kept until its last container instance has left."""

    arn: str
    account: str
    region: str
    name: str
    min_size: int
    max_size: int
    desired: int
    instance_type: str = ""
    instances: tuple[GroupInstance, ...] = ()
    zones: tuple[str, ...] = ()
    cluster: str | None = None
    protects_new: bool = False
    gone: bool = False


class ScalingNote(msgspec.Struct, frozen=True):
    """What managed scaling last made of a provider: M instances `needed` of N `running`, the reservation in percent, and
    `said`, the sentence. `below_since`: since when it has been below its target (None: it is not)."""

    provider_arn: str
    at: float
    needed: int
    running: int
    reservation: float
    desired: int
    said: str
    below_since: float | None = None
    refusal: str = ""


class SpotShortage(msgspec.Struct, frozen=True):
    """No FARGATE_SPOT task finds a place in this account and region before `until`."""

    account: str
    region: str
    until: float
