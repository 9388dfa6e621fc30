"""networkConfiguration: checked against EC2, and the subnets copied into the store so that tasks start without EC2
(semantics ecs-tasks §9.1, §16; ecs-services §2.2)."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from moorage.domain.errors import AwsError
from moorage.domain.network import Subnet
from moorage.domain.scope import Scope
from moorage.domain.service import AwsvpcConfiguration
from moorage.domain.task_definition import Document
from moorage.services.ecs.shapes import convert
from moorage.services.lookups import NetworkLookup
from moorage.store.api import Transaction
from moorage.store.tables.network import SUBNETS

MOST_SUBNETS, MOST_GROUPS = 16, 5


class CheckedNetwork(msgspec.Struct, frozen=True):
    """`configuration` has its security groups filled in; `subnets` in the order given."""

    configuration: AwsvpcConfiguration
    subnets: tuple[Subnet, ...]

    def remember(self, tx: Transaction) -> None:
        for subnet in self.subnets:
            known = tx.get(SUBNETS, f"{subnet.account}/{subnet.region}/{subnet.subnet_id}")
            tx.put(SUBNETS, replace(subnet, host_cidr=known.host_cidr if known is not None else None))


def _refuse(message: str) -> AwsError:
    return AwsError("InvalidParameterException", message)


async def check(
    networks: NetworkLookup, scope: Scope, document: Document, launch_type: str, given: dict[str, Any] | None
) -> CheckedNetwork | None:
    """None when the task definition has no network of its own. Raises InvalidParameterException."""
    configuration = (given or {}).get("awsvpcConfiguration")
    if document.network_mode != "awsvpc":
        if configuration is not None:
            raise _refuse("Network Configuration is not valid for the given networkMode of this task definition.")
        return None
    if configuration is None:
        raise _refuse("Network Configuration must be provided when networkMode 'awsvpc' is specified.")
    wanted = convert(configuration, AwsvpcConfiguration)
    if not wanted.subnets:
        raise _refuse("subnets can not be empty.")
    if len(wanted.subnets) > MOST_SUBNETS:
        raise _refuse(f"subnets can have at most {MOST_SUBNETS} items.")
    groups = wanted.security_groups or ()
    if len(groups) > MOST_GROUPS:
        raise _refuse(f"securityGroups can have at most {MOST_GROUPS} items.")
    if launch_type == "EC2" and wanted.assign_public_ip == "ENABLED":
        raise _refuse("Assign public IP is not supported for this launch type.")
    subnets = await networks.subnets(scope, wanted.subnets)
    for subnet_id in wanted.subnets:
        if subnet_id not in subnets:
            raise _refuse(
                f"Error retrieving subnet information for [{subnet_id}]: The subnet ID '{subnet_id}' does not exist "
                "(ErrorCode: InvalidSubnetID.NotFound)"
            )
    vpcs = {subnet.vpc_id for subnet in subnets.values()}
    if len(vpcs) > 1:
        raise _refuse("subnets must belong to the same VPC.")
    vpc_id = next(iter(vpcs))
    if groups:
        found = await networks.security_groups(scope, groups)
        for group_id in groups:
            if group_id not in found:
                raise _refuse(
                    f"Error retrieving security group information for [{group_id}]: The security group '{group_id}' "
                    "does not exist (ErrorCode: InvalidGroup.NotFound)"
                )
            if found[group_id].vpc_id != vpc_id:
                raise _refuse(
                    f"Security group {group_id} does not appear to belong to the same VPC as the input subnets."
                )
    else:
        default = await networks.default_security_group(scope, vpc_id)
        groups = (default.group_id,) if default is not None else ()
    return CheckedNetwork(
        replace(wanted, security_groups=tuple(groups)), tuple(subnets[subnet_id] for subnet_id in wanted.subnets)
    )
