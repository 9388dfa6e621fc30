"""The addresses that `SubnetMappings` choose for the nodes of a network load balancer (semantics elbv2 §3.1, §13)."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from moorage.domain.errors import AwsError
from moorage.domain.load_balancer import NodeAddress
from moorage.domain.network import Subnet
from moorage.services.elbv2.validate import invalid, unsupported


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
    try:
        inside = ipaddress.ip_address(text) in ipaddress.ip_network(subnet.cidr)
    except ValueError:
        raise invalid(f"The IP address '{text}' is not a valid IPv4 address") from None
    if not inside:
        raise invalid(f"The IP address '{text}' is not within the CIDR '{subnet.cidr}' of subnet '{subnet.subnet_id}'")
