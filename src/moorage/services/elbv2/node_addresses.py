"""The addresses that `SubnetMappings` choose for the nodes of a network load balancer (semantics elbv2 §3.1, §13)."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

from moorage.decide.ipam import FIRST
from moorage.domain.errors import AwsError
from moorage.domain.load_balancer import LoadBalancer, NodeAddress
from moorage.domain.network import Subnet
from moorage.services.elbv2.validate import invalid, unsupported
from moorage.store.api import View
from moorage.store.tables.elbv2 import LOAD_BALANCERS
from moorage.store.tables.network import NETWORK_INTERFACES


def node_address(mapping: Mapping[str, Any], subnet: Subnet, scheme: str, elastic: Mapping[str, str]) -> NodeAddress:
    """`elastic`: allocation id → address, those that there are."""
    if mapping.get("IPv6Address") or mapping.get("SourceNatIpv6Prefix"):
        raise unsupported("Moorage load balancers answer on IPv4 only; IPv6 addresses are not supported")
    allocation, private = mapping.get("AllocationId") or "", mapping.get("PrivateIPv4Address")
    if allocation and private:
        raise invalid("You can specify either an allocation ID or a private IPv4 address for a subnet, but not both")
    if private:
        if scheme != "internal":
            raise invalid("Private IPv4 addresses can be specified only for load balancers with scheme 'internal'")
        _check_inside(private, subnet)
        return NodeAddress(subnet.subnet_id, private_ipv4=private)
    if scheme == "internal":
        raise invalid("Elastic IP addresses cannot be specified for load balancers with scheme 'internal'")
    if allocation not in elastic:
        raise AwsError("AllocationIdNotFound", f"The allocation ID '{allocation}' does not exist")
    return NodeAddress(subnet.subnet_id, allocation_id=allocation, ip_address=elastic[allocation])


def _check_inside(text: str, subnet: Subnet) -> None:
    block = ipaddress.IPv4Network(subnet.cidr)
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError:
        raise invalid(f"The IP address '{text}' is not a valid IPv4 address") from None
    if address not in block:
        raise invalid(f"The IP address '{text}' is not within the CIDR '{subnet.cidr}' of subnet '{subnet.subnet_id}'")
    if int(address) - int(block.network_address) < FIRST or address == block.broadcast_address:
        raise invalid(f"The IP address '{text}' is reserved in subnet '{subnet.subnet_id}'")


def addresses_after(
    record: LoadBalancer, subnet_ids: Sequence[str], given: Sequence[NodeAddress]
) -> tuple[NodeAddress, ...]:
    """Those of a load balancer that is told to be in these subnets: subnets that it keeps keep their addresses, which
    cannot be exchanged for others."""
    kept = {one.subnet_id: one for one in record.addresses if one.subnet_id in subnet_ids}
    enabled = {subnet_id for subnet_id, _ in record.subnets}
    for one in given:
        if one.subnet_id in enabled and kept.get(one.subnet_id) != one:
            raise AwsError(
                "InvalidConfigurationRequest",
                f"The address of the load balancer in subnet '{one.subnet_id}' cannot be changed",
            )
    return tuple({**kept, **{one.subnet_id: one for one in given}}.values())


def check_addresses_free(view: View, record: LoadBalancer, wanted: Sequence[NodeAddress]) -> None:
    """Nobody else has them."""
    for one in wanted:
        if one in record.addresses and view.get(LOAD_BALANCERS, record.arn) is not None:
            continue  # its own
        taken = one.allocation_id is not None and any(
            one.allocation_id == other.allocation_id
            for balancer in view.find(LOAD_BALANCERS, "scope", (record.account, record.region))
            for other in balancer.addresses
        )
        if taken:
            raise AwsError("ResourceInUse", f"The allocation ID '{one.allocation_id}' is already in use")
        if one.private_ipv4 is not None and _is_taken(view, record, one):
            raise AwsError("ResourceInUse", f"The IP address '{one.private_ipv4}' is already in use")


def _is_taken(view: View, record: LoadBalancer, wanted: NodeAddress) -> bool:
    of_others = any(
        wanted == other
        for balancer in view.find(LOAD_BALANCERS, "scope", (record.account, record.region))
        for other in balancer.addresses
    )
    where = (record.account, record.region, wanted.subnet_id)
    return of_others or any(
        (one.account, one.region, one.subnet_id) == where and one.owner_arn.startswith("arn:")
        for one in view.find(NETWORK_INTERFACES, "address", wanted.private_ipv4)
    )
