"""The ground a task stands on, as far as the core needs it: subnets and security groups as values."""

from __future__ import annotations

import ipaddress
import re

import msgspec

_PRIVATE = re.compile(r"ip-(\d{1,3})-(\d{1,3})-(\d{1,3})-(\d{1,3})\.(ec2\.internal|[a-z0-9-]+\.compute\.internal)")


def address_of_private_name(name: str) -> str | None:
    """The IPv4 address that such a name (lower case, no final dot) says; None for any other name."""
    private = _PRIVATE.fullmatch(name)
    if private is None:
        return None
    try:
        return str(ipaddress.IPv4Address(".".join(private.groups()[:4])))
    except ValueError:
        return None


class Subnet(msgspec.Struct, frozen=True):
    """A subnet as EC2 describes it. `cidr` is IPv4 ("172.31.0.0/20"). `host_cidr`: the range that stands for it on the
    host, when its own was taken there."""

    account: str
    region: str
    subnet_id: str
    vpc_id: str
    cidr: str
    availability_zone: str
    map_public_ip: bool = False
    host_cidr: str | None = None

    @property
    def range(self) -> str:
        """Where its addresses really come from."""
        return self.host_cidr or self.cidr


EVERYWHERE = "0.0.0.0/0"


class Traffic(msgspec.Struct, frozen=True, order=True):
    """Packets of `protocol` ("any", "tcp", "udp", "icmp" or a number) from or to `peers` (CIDRs that do not overlap, in
    order), to the ports `low` … `high` (of no meaning to protocols without ports)."""

    protocol: str
    low: int
    high: int
    peers: tuple[str, ...]


ALL_TRAFFIC: tuple[Traffic, ...] = (Traffic("any", 0, 65535, (EVERYWHERE,)),)


class Guard(msgspec.Struct, frozen=True):
    """What a network namespace lets in and out, and the TCP ports to which it resets what it lets in."""

    ingress: tuple[Traffic, ...] = ALL_TRAFFIC
    egress: tuple[Traffic, ...] = ALL_TRAFFIC
    resets: tuple[int, ...] = ()


class GroupRule(msgspec.Struct, frozen=True):
    """A rule of a security group as EC2 has it: from or to these CIDRs, and the members of these groups."""

    protocol: str
    low: int = 0
    high: int = 65535
    cidrs: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


EVERY_WAY_OUT = (GroupRule("any", cidrs=(EVERYWHERE,)),)
"""What a new security group lets out."""


class SecurityGroup(msgspec.Struct, frozen=True):
    account: str
    region: str
    group_id: str
    vpc_id: str
    name: str
    ingress: tuple[GroupRule, ...] = ()
    egress: tuple[GroupRule, ...] = EVERY_WAY_OUT


class NetworkInterface(msgspec.Struct, frozen=True, gc=False):
    """An elastic network interface (`eni-…`) that we made: one per awsvpc task. Holds an address of its subnet for as
    long as the record exists; `decide/ipam` picks the address, so no two interfaces of a subnet ever share one."""

    account: str
    region: str
    interface_id: str
    subnet_id: str
    ipv4: str
    mac: str
    security_groups: tuple[str, ...]
    owner_arn: str
    description: str
    public_ipv4: str | None = None
