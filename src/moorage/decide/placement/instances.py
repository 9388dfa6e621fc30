"""What a container instance looks like that comes with a machine of an Auto Scaling group (semantics ecs-services §8).

The same record is used for the machine that managed scaling thinks of before it asks for one.
"""

from __future__ import annotations

from moorage.decide.placement import capabilities
from moorage.domain.capacity_provider import HostGroup
from moorage.domain.container_instance import AGENT_PORTS, ContainerInstance, Resources
from moorage.domain.instance_types import DEFAULT, resources_of


def group_instance(
    group: HostGroup,
    *,
    arn: str,
    cluster_arn: str,
    ec2_instance_id: str,
    instance_type: str,
    zone: str,
    address: str,
    provider: str | None,
    now: float,
) -> ContainerInstance:
    """`provider`: the name of the capacity provider that it belongs to in its cluster."""
    kind = instance_type or group.instance_type or DEFAULT
    cpu, memory = resources_of(kind)
    return ContainerInstance(
        arn=arn,
        account=group.account,
        region=group.region,
        cluster_arn=cluster_arn,
        ec2_instance_id=ec2_instance_id,
        address=address,
        registered=Resources(cpu, memory, ports=frozenset(int(port) for port in AGENT_PORTS)),
        attributes=capabilities.complete({}, zone, {"instanceType": kind}),
        registered_at=now,
        version_info=dict(capabilities.VERSION_INFO),
        capacity_provider=provider,
        group_arn=group.arn,
    )
