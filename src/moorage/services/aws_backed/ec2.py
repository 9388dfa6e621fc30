"""The few EC2 operations that must know what Moorage itself made: network interfaces of tasks, what they stand on.

Everything else of EC2 goes to moto as it came. Source: semantics around §3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, ClassVar

from moorage.domain.errors import AwsError
from moorage.domain.network import NetworkInterface, SecurityGroup, Subnet
from moorage.domain.scope import Scope
from moorage.services.aws_backed.forward import AwsBacked
from moorage.services.aws_backed.lookups import MotoNetworks
from moorage.services.base import Provider, RequestContext, operation
from moorage.store.api import StoreApi
from moorage.store.tables.elbv2 import LOAD_BALANCERS
from moorage.store.tables.network import NETWORK_INTERFACES

Params = dict[str, Any]


class Ec2Provider(Provider):
    """Register it beside the fallback, with "ec2" as a mixed service."""

    service: ClassVar[str] = "ec2"

    def __init__(self, backed: AwsBacked, store: StoreApi, networks: MotoNetworks | None = None) -> None:
        self._backed = backed
        self._store = store
        self._networks = networks or MotoNetworks(backed, store)
        self.on_groups: Callable[[Scope], None] = lambda scope: None
        """Called when the rules of a security group of that scope have changed."""

    @operation("DescribeNetworkInterfaces")
    async def describe_network_interfaces(self, context: RequestContext, params: Params) -> Mapping[str, Any]:
        """Interfaces of tasks first, then moto's."""
        ids = params.get("NetworkInterfaceIds") or []
        filters = params.get("Filters") or []
        ours = {interface.interface_id: interface for interface in self._interfaces(context.scope)}
        theirs = [interface_id for interface_id in ids if interface_id not in ours]
        answer: dict[str, Any] = {"NetworkInterfaces": []}
        if theirs or not ids:
            # moto knows fewer filters than we do: it gets only those we do not know.
            unknown = [each for each in filters if each.get("Name") not in _FILTERS]
            asked = {**params, "NetworkInterfaceIds": theirs, "Filters": unknown}
            kept_params = {name: value for name, value in asked.items() if value}
            answer = await self._backed.call(context.scope, "ec2", "DescribeNetworkInterfaces", kept_params)
            known = [each for each in filters if each.get("Name") in _FILTERS]
            answer["NetworkInterfaces"] = _filtered(answer["NetworkInterfaces"], known)
        chosen = [interface for interface in ours.values() if not ids or interface.interface_id in ids]
        if params.get("NextToken") or not chosen:
            return answer
        subnets = await self._networks.subnets(context.scope, [interface.subnet_id for interface in chosen])
        group_ids = [group for interface in chosen for group in interface.security_groups]
        groups = await self._networks.security_groups(context.scope, group_ids)
        shown = [_shown(interface, subnets.get(interface.subnet_id), groups) for interface in chosen]
        return {**answer, "NetworkInterfaces": _filtered(shown, filters) + answer["NetworkInterfaces"]}

    @operation("DeleteNetworkInterface")
    async def delete_network_interface(self, context: RequestContext, params: Params) -> Mapping[str, Any]:
        interface_id = params["NetworkInterfaceId"]
        if any(interface.interface_id == interface_id for interface in self._interfaces(context.scope)):
            raise AwsError("InvalidParameterValue", f"Network interface '{interface_id}' is currently in use.")
        return await self._backed.call(context.scope, "ec2", "DeleteNetworkInterface", params)

    @operation("DeleteSecurityGroup")
    async def delete_security_group(self, context: RequestContext, params: Params) -> Mapping[str, Any]:
        group_id = params.get("GroupId")
        if group_id and group_id in self._groups_in_use(context.scope):
            raise AwsError("DependencyViolation", f"resource {group_id} has a dependent object")
        group = (await self._networks.security_groups(context.scope, [group_id])).get(group_id) if group_id else None
        if group is not None and group.name == "default":
            sentence = f'the specified group: "{group_id}" name: "default" cannot be deleted by a user'
            raise AwsError("CannotDelete", sentence)
        return await self._backed.call(context.scope, "ec2", "DeleteSecurityGroup", params)

    @operation("AuthorizeSecurityGroupIngress")
    async def authorize_security_group_ingress(self, context: RequestContext, params: Params) -> Mapping[str, Any]:
        return await self._changing_groups(context, params)

    @operation("RevokeSecurityGroupIngress")
    async def revoke_security_group_ingress(self, context: RequestContext, params: Params) -> Mapping[str, Any]:
        return await self._changing_groups(context, params)

    @operation("AuthorizeSecurityGroupEgress")
    async def authorize_security_group_egress(self, context: RequestContext, params: Params) -> Mapping[str, Any]:
        return await self._changing_groups(context, params)

    @operation("RevokeSecurityGroupEgress")
    async def revoke_security_group_egress(self, context: RequestContext, params: Params) -> Mapping[str, Any]:
        return await self._changing_groups(context, params)

    @operation("ModifySecurityGroupRules")
    async def modify_security_group_rules(self, context: RequestContext, params: Params) -> Mapping[str, Any]:
        return await self._changing_groups(context, params)

    async def _changing_groups(self, context: RequestContext, params: Params) -> Mapping[str, Any]:
        """moto keeps the rules; whoever enforces them looks again."""
        answer = await self._backed.call(context.scope, "ec2", context.operation, params)
        self.on_groups(context.scope)
        return answer

    @operation("DeleteSubnet")
    async def delete_subnet(self, context: RequestContext, params: Params) -> Mapping[str, Any]:
        subnet_id = params["SubnetId"]
        if self._subnet_in_use(context.scope, subnet_id):
            sentence = f"The subnet '{subnet_id}' has dependencies and cannot be deleted."
            raise AwsError("DependencyViolation", sentence)
        answer = await self._backed.call(context.scope, "ec2", "DeleteSubnet", params)
        await self._networks.refresh_subnet(context.scope, subnet_id)
        return answer

    @operation("ModifySubnetAttribute")
    async def modify_subnet_attribute(self, context: RequestContext, params: Params) -> Mapping[str, Any]:
        answer = await self._backed.call(context.scope, "ec2", "ModifySubnetAttribute", params)
        await self._networks.refresh_subnet(context.scope, params["SubnetId"])
        return answer

    def _interfaces(self, scope: Scope) -> Sequence[NetworkInterface]:
        everywhere = self._store.all(NETWORK_INTERFACES)
        return [each for each in everywhere if (each.account, each.region) == (scope.account, scope.region)]

    def _groups_in_use(self, scope: Scope) -> set[str]:
        used = {group for interface in self._interfaces(scope) for group in interface.security_groups}
        for load_balancer in self._store.find(LOAD_BALANCERS, "scope", (scope.account, scope.region)):
            used.update(load_balancer.security_groups)
        return used

    def _subnet_in_use(self, scope: Scope, subnet_id: str) -> bool:
        if self._store.find(NETWORK_INTERFACES, "subnet", (scope.account, scope.region, subnet_id)):
            return True
        load_balancers = self._store.find(LOAD_BALANCERS, "scope", (scope.account, scope.region))
        return any(subnet_id == used for each in load_balancers for used, _ in each.subnets)


def _shown(interface: NetworkInterface, subnet: Subnet | None, groups: Mapping[str, SecurityGroup]) -> dict[str, Any]:
    """The interface of a task or load balancer as EC2 describes it: made by a service (`requesterManaged`), in use."""
    of_elb = ":loadbalancer/" in interface.owner_arn
    item: dict[str, Any] = {
        "Attachment": {
            "AttachmentId": ("ela-attach-" if of_elb else "eni-attach-") + interface.interface_id.removeprefix("eni-"),
            "DeleteOnTermination": False,
            "DeviceIndex": 1,
            "InstanceOwnerId": "amazon-elb" if of_elb else "amazon-aws",
            "Status": "attached",
        },
        "AvailabilityZone": subnet.availability_zone if subnet else "",
        "Description": interface.description,
        "Groups": [
            {"GroupId": group_id, "GroupName": groups[group_id].name if group_id in groups else ""}
            for group_id in interface.security_groups
        ],
        "InterfaceType": "interface",
        "Ipv6Addresses": [],
        "MacAddress": interface.mac,
        "NetworkInterfaceId": interface.interface_id,
        "OwnerId": interface.account,
        "PrivateIpAddress": interface.ipv4,
        "PrivateIpAddresses": [{"Primary": True, "PrivateIpAddress": interface.ipv4}],
        **({"RequesterId": "amazon-elb"} if of_elb else {}),
        "RequesterManaged": True,
        "SourceDestCheck": True,
        "Status": "in-use",
        "SubnetId": interface.subnet_id,
        "TagSet": [],
        "VpcId": subnet.vpc_id if subnet else "",
    }
    if interface.public_ipv4:
        association = {"IpOwnerId": "amazon", "PublicDnsName": "", "PublicIp": interface.public_ipv4}
        item["Association"] = association
        item["PrivateIpAddresses"][0]["Association"] = association
    return item


_Item = Mapping[str, Any]

_FILTERS: dict[str, Callable[[_Item], Sequence[str]]] = {
    "addresses.private-ip-address": lambda item: [each["PrivateIpAddress"] for each in item["PrivateIpAddresses"]],
    "association.public-ip": lambda item: [item.get("Association", {}).get("PublicIp", "")],
    "attachment.attachment-id": lambda item: [item.get("Attachment", {}).get("AttachmentId", "")],
    "attachment.instance-owner-id": lambda item: [item.get("Attachment", {}).get("InstanceOwnerId", "")],
    "attachment.status": lambda item: [item.get("Attachment", {}).get("Status", "")],
    "availability-zone": lambda item: [item.get("AvailabilityZone", "")],
    "description": lambda item: [item.get("Description", "")],
    "group-id": lambda item: [group["GroupId"] for group in item["Groups"]],
    "group-name": lambda item: [group["GroupName"] for group in item["Groups"]],
    "interface-type": lambda item: [item.get("InterfaceType", "interface")],
    "mac-address": lambda item: [item.get("MacAddress", "")],
    "network-interface-id": lambda item: [item["NetworkInterfaceId"]],
    "owner-id": lambda item: [item["OwnerId"]],
    "private-ip-address": lambda item: [item.get("PrivateIpAddress", "")],
    "requester-id": lambda item: [item.get("RequesterId", "")],
    "requester-managed": lambda item: ["true" if item.get("RequesterManaged") else "false"],
    "status": lambda item: [item["Status"]],
    "subnet-id": lambda item: [item["SubnetId"]],
    "vpc-id": lambda item: [item["VpcId"]],
}


def _filtered(items: Sequence[_Item], filters: Sequence[Mapping[str, Any]]) -> list[_Item]:
    return [item for item in items if all(_matches(item, each) for each in filters)]


def _matches(item: _Item, condition: Mapping[str, Any]) -> bool:
    """Values of one filter are alternatives and may hold `*` and `?`. A filter we do not know matches nothing of ours."""
    read = _FILTERS.get(condition.get("Name", ""))
    if read is None:
        return False
    return any(fnmatchcase(value, wanted) for value in read(item) for wanted in condition.get("Values") or ())
