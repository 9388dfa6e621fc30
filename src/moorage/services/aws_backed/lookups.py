"""What Moorage's own services ask of EC2 and IAM (`services/lookups`), answered by the embedded ones.

Subnets are copied into the store when first used: whoever runs tasks after a restart needs no EC2 for it. Everything
else is remembered only until anything in the embedded services changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from moorage.decide.ipam import usable
from moorage.domain.errors import AwsError
from moorage.domain.network import GroupRule, SecurityGroup, Subnet
from moorage.domain.scope import Scope
from moorage.services.aws_backed.forward import AwsBacked
from moorage.store.api import StoreApi, Transaction
from moorage.store.tables.network import NETWORK_INTERFACES, SUBNETS


def subnet_key(scope: Scope, subnet_id: str) -> str:
    return f"{scope.account}/{scope.region}/{subnet_id}"


class _Remembered:
    """Answers of the embedded services, forgotten together as soon as one of them changes anything."""

    def __init__(self, backed: AwsBacked) -> None:
        self._backed = backed
        self._version = -1
        self._answers: dict[tuple[Any, ...], Mapping[str, Any] | None] = {}

    async def ask(
        self, scope: Scope, service: str, operation: str, name: str, values: Sequence[str]
    ) -> Mapping[str, Any] | None:
        """`operation` with `name` as a filter (EC2) or as the one parameter (IAM). None: refused as unknown."""
        if self._version != self._backed.version:
            self._answers.clear()
            self._version = self._backed.version
        key = (scope, operation, name, *values)
        if key in self._answers:
            return self._answers[key]
        version = self._version
        params = {"Filters": [{"Name": name, "Values": list(values)}]} if service == "ec2" else {name: values[0]}
        try:
            answer: Mapping[str, Any] | None = await self._backed.call(scope, service, operation, params)
        except AwsError as error:
            if error.status >= 500:
                raise
            answer = None
        if version == self._backed.version:
            self._answers[key] = answer
        return answer


class MotoNetworks:
    """`services/lookups.NetworkLookup` and `VpcLookup`."""

    def __init__(self, backed: AwsBacked, store: StoreApi) -> None:
        self._remembered = _Remembered(backed)
        self._store = store

    async def subnets(self, scope: Scope, subnet_ids: Sequence[str]) -> dict[str, Subnet]:
        found: dict[str, Subnet] = {}
        missing: list[str] = []
        for subnet_id in dict.fromkeys(subnet_ids):
            subnet = self._store.get(SUBNETS, subnet_key(scope, subnet_id))
            if subnet is None:
                missing.append(subnet_id)
            else:
                found[subnet_id] = subnet
        if missing:
            fresh = await self._described(scope, missing)
            if fresh:
                found.update(await self._store.update(lambda transaction: _copy_new(transaction, fresh)))
        return found

    async def _described(self, scope: Scope, subnet_ids: Sequence[str]) -> list[Subnet]:
        answer = await self._remembered.ask(scope, "ec2", "DescribeSubnets", "subnet-id", subnet_ids)
        return [_subnet(scope, item) for item in (answer or {}).get("Subnets", ())]

    async def security_groups(self, scope: Scope, group_ids: Sequence[str]) -> dict[str, SecurityGroup]:
        if not group_ids:
            return {}
        wanted = tuple(dict.fromkeys(group_ids))
        answer = await self._remembered.ask(scope, "ec2", "DescribeSecurityGroups", "group-id", wanted)
        groups = (_group(scope, item) for item in (answer or {}).get("SecurityGroups", ()))
        return {group.group_id: group for group in groups}

    async def default_security_group(self, scope: Scope, vpc_id: str) -> SecurityGroup | None:
        answer = await self._remembered.ask(scope, "ec2", "DescribeSecurityGroups", "vpc-id", (vpc_id,))
        groups = (_group(scope, item) for item in (answer or {}).get("SecurityGroups", ()))
        return next((group for group in groups if group.name == "default"), None)

    async def vpc_exists(self, scope: Scope, vpc_id: str) -> bool:
        answer = await self._remembered.ask(scope, "ec2", "DescribeVpcs", "vpc-id", (vpc_id,))
        return bool((answer or {}).get("Vpcs"))

    async def has_internet_gateway(self, scope: Scope, vpc_id: str) -> bool:
        answer = await self._remembered.ask(scope, "ec2", "DescribeInternetGateways", "attachment.vpc-id", (vpc_id,))
        return bool((answer or {}).get("InternetGateways"))

    async def subnets_of(self, scope: Scope, vpc_id: str) -> Sequence[Subnet]:
        """Those in use as the store has them, which knows the ranges that they really have."""
        answer = await self._remembered.ask(scope, "ec2", "DescribeSubnets", "vpc-id", (vpc_id,))
        found = (_subnet(scope, item) for item in (answer or {}).get("Subnets", ()))
        return [self._store.get(SUBNETS, subnet_key(scope, one.subnet_id)) or one for one in found]

    def free_addresses(self, subnet: Subnet) -> int:
        place = (subnet.account, subnet.region, subnet.subnet_id)
        return usable(subnet.cidr) - len(self._store.find(NETWORK_INTERFACES, "subnet", place))

    async def default_subnets(self, scope: Scope) -> Sequence[Subnet]:
        answer = await self._remembered.ask(scope, "ec2", "DescribeSubnets", "default-for-az", ("true",))
        found = sorted((_subnet(scope, item) for item in (answer or {}).get("Subnets", ())), key=lambda s: s.cidr)
        return list({subnet.availability_zone: subnet for subnet in found}.values())

    async def elastic_addresses(self, scope: Scope, allocation_ids: Sequence[str]) -> dict[str, str]:
        if not allocation_ids:
            return {}
        wanted = tuple(dict.fromkeys(allocation_ids))
        answer = await self._remembered.ask(scope, "ec2", "DescribeAddresses", "allocation-id", wanted)
        return {item["AllocationId"]: item["PublicIp"] for item in (answer or {}).get("Addresses", ())}

    async def refresh_subnet(self, scope: Scope, subnet_id: str) -> None:
        """The copy of a subnet that was changed or deleted; a subnet that was never used has none."""
        key = subnet_key(scope, subnet_id)
        if self._store.get(SUBNETS, key) is None:
            return
        described = await self._described(scope, [subnet_id])

        def follow(transaction: Transaction) -> None:
            known = transaction.get(SUBNETS, key)
            if not described:
                transaction.delete(SUBNETS, key)
            elif known is not None:
                transaction.put(SUBNETS, msgspec.structs.replace(described[0], host_cidr=known.host_cidr))

        await self._store.update(follow)


class MotoRoles:
    """`services/lookups.RoleLookup`."""

    def __init__(self, backed: AwsBacked) -> None:
        self._remembered = _Remembered(backed)

    async def role_exists(self, scope: Scope, role_arn: str) -> bool:
        """`arn:aws:iam::<account>:role[/path]/<name>`; the account may be another than the caller's."""
        head, _, path = role_arn.partition(":role/")
        account = head.rpartition(":")[2]
        if not path or len(account) != 12:
            return False
        owner = Scope(account, scope.region)
        answer = await self._remembered.ask(owner, "iam", "GetRole", "RoleName", (path.rpartition("/")[2],))
        return answer is not None and answer["Role"]["Arn"] == role_arn


class MotoNamespaces:
    """`services/lookups.NamespaceLookup`."""

    def __init__(self, backed: AwsBacked) -> None:
        self._backed = backed

    async def namespace(self, scope: Scope, identifier: str) -> frozenset[str] | None:
        answer = await self._backed.call(scope, "servicediscovery", "ListNamespaces", {})
        for one in answer.get("Namespaces", ()):
            names = frozenset((one["Id"], one["Arn"], one["Name"]))
            if identifier in names:
                return names
        return None


def _copy_new(transaction: Transaction, fresh: Sequence[Subnet]) -> dict[str, Subnet]:
    """A copy that somebody else made meanwhile stays: it may know more (where its addresses come from on the host)."""
    copies = (transaction.get(SUBNETS, SUBNETS.key(subnet)) or transaction.put(SUBNETS, subnet) for subnet in fresh)
    return {subnet.subnet_id: subnet for subnet in copies}


def _subnet(scope: Scope, item: Mapping[str, Any]) -> Subnet:
    return Subnet(
        account=scope.account,
        region=scope.region,
        subnet_id=item["SubnetId"],
        vpc_id=item["VpcId"],
        cidr=item["CidrBlock"],
        availability_zone=item["AvailabilityZone"],
        map_public_ip=bool(item.get("MapPublicIpOnLaunch")),
    )


def _group(scope: Scope, item: Mapping[str, Any]) -> SecurityGroup:
    return SecurityGroup(
        account=scope.account,
        region=scope.region,
        group_id=item["GroupId"],
        vpc_id=item.get("VpcId", ""),
        name=item["GroupName"],
        ingress=tuple(_rule(permission) for permission in item.get("IpPermissions") or ()),
        egress=tuple(_rule(permission) for permission in item.get("IpPermissionsEgress") or ()),
    )


def _rule(permission: Mapping[str, Any]) -> GroupRule:
    """Source: semantics around §3; protocol -1 is all of them, ports -1 are all of ICMP's types."""
    protocol = str(permission.get("IpProtocol", "-1"))
    named = {"-1": "any", "6": "tcp", "17": "udp", "1": "icmp"}.get(protocol, protocol)
    has_ports = named in ("tcp", "udp") and int(permission.get("FromPort", -1)) >= 0
    return GroupRule(
        protocol=named,
        low=int(permission["FromPort"]) if has_ports else 0,
        high=int(permission["ToPort"]) if has_ports else 65535,
        cidrs=tuple(one["CidrIp"] for one in permission.get("IpRanges") or ()),
        groups=tuple(one["GroupId"] for one in permission.get("UserIdGroupPairs") or () if one.get("GroupId")),
    )
