"""Where load balancers and targets may stand in a VPC: a way to the internet, room in the subnets, Availability Zones of
addresses (semantics elbv2 §3.1, §3.4). Pure; the facts come from EC2.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from moorage.domain.errors import AwsError
from moorage.domain.network import Subnet
from moorage.services.elbv2.validate import invalid

LEAST_FREE = 8
LOCAL = ipaddress.ip_network("127.0.0.0/8")


def check_room(subnet: Subnet, free: int) -> None:
    """`free`: addresses of the subnet that nobody has."""
    if free < LEAST_FREE:
        raise AwsError(
            "InvalidSubnet",
            f"Not enough IP space available in {subnet.subnet_id}. ELB requires at least {LEAST_FREE} free IP addresses in "
            "each subnet.",
        )


def zone_of_target(text: str, given: str | None, subnets: Sequence[Subnet]) -> str | None:
    """The Availability Zone of an `ip` target (valid IPv4), `given` by the caller or found by its address. `subnets`: those
    of the target group's VPC. Addresses of this machine belong to none."""
    address = ipaddress.ip_address(text)
    own = next((one for one in subnets if _holds(one, address)), None)
    if own is not None:
        if given not in (None, own.availability_zone):
            raise invalid(
                f"The IP address '{text}' is within the VPC, and cannot have its Availability Zone overridden to "
                f"'{given}' from '{own.availability_zone}'"
            )
        return own.availability_zone
    if given is None and address not in LOCAL:
        raise invalid(f"The Availability Zone is required for IP address '{text}' because it is not in the VPC")
    zones = sorted({one.availability_zone for one in subnets})
    if given not in (None, "all", *zones):
        raise invalid(
            f"The Availability Zone '{given}' of IP address '{text}' must be 'all' or one of the VPC's: {', '.join(zones)}"
        )
    return given


def _holds(subnet: Subnet, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return any(address in ipaddress.ip_network(cidr) for cidr in {subnet.cidr, subnet.range})
