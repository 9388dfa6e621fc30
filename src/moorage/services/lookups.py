"""What one service asks of another, as narrow Protocols, so that services do not import each other.

The real answers come from the embedded EC2 and IAM (`services/aws_backed`); the simulated world and unit tests hand in
dictionaries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from moorage.domain.alarm import Alarm
from moorage.domain.capacity_provider import HostGroup
from moorage.domain.network import SecurityGroup, Subnet
from moorage.domain.scope import Scope


class NetworkLookup(Protocol):
    """Reads of EC2 networking. Unknown ids are simply missing from the answer; the caller words its own refusal."""

    async def subnets(self, scope: Scope, subnet_ids: Sequence[str]) -> dict[str, Subnet]: ...

    async def security_groups(self, scope: Scope, group_ids: Sequence[str]) -> dict[str, SecurityGroup]: ...

    async def default_security_group(self, scope: Scope, vpc_id: str) -> SecurityGroup | None: ...

    async def vpc_exists(self, scope: Scope, vpc_id: str) -> bool: ...

    async def elastic_addresses(self, scope: Scope, allocation_ids: Sequence[str]) -> dict[str, str]:
        """Allocation id → the address."""
        ...


class VpcLookup(Protocol):
    """Reads of EC2 about whole VPCs."""

    async def has_internet_gateway(self, scope: Scope, vpc_id: str) -> bool: ...

    async def subnets_of(self, scope: Scope, vpc_id: str) -> Sequence[Subnet]: ...

    def free_addresses(self, subnet: Subnet) -> int:
        """How many of its addresses nobody has."""
        ...


class DefaultNetwork(Protocol):
    """The network that is used when nobody names one."""

    async def default_subnets(self, scope: Scope) -> Sequence[Subnet]:
        """The subnets of the default VPC, one in each Availability Zone; empty when there is no default VPC."""
        ...


class RoleLookup(Protocol):
    """Reads of IAM."""

    async def role_exists(self, scope: Scope, role_arn: str) -> bool: ...


class NamespaceLookup(Protocol):
    """Reads of Cloud Map."""

    async def namespace(self, scope: Scope, identifier: str) -> frozenset[str] | None:
        """Every way to write the namespace (name, id, ARN) that `identifier` means; None when there is none."""
        ...


class HostGroupLookup(Protocol):
    """Reads of EC2 Auto Scaling."""

    async def group(self, scope: Scope, identifier: str) -> HostGroup | None:
        """The group of this name or ARN."""
        ...


class NoHostGroups:
    """There is no EC2 Auto Scaling."""

    async def group(self, scope: Scope, identifier: str) -> HostGroup | None:
        return None


class AlarmLookup(Protocol):
    """Reads of CloudWatch alarms."""

    async def alarms(self, scope: Scope, names: Sequence[str]) -> Mapping[str, Alarm]:
        """Those that exist, by name."""
        ...


class NoAlarms:
    """There is no CloudWatch."""

    async def alarms(self, scope: Scope, names: Sequence[str]) -> Mapping[str, Alarm]:
        return {}


class ImageLookup(Protocol):
    """Reads of the image registry: `None` when this is not an image of ours."""

    def digest(self, scope: Scope, image: str) -> str | None: ...


class ObjectLookup(Protocol):
    """Reads of S3."""

    async def read(self, scope: Scope, bucket: str, key: str, version: str | None = None) -> bytes | None:
        """The content of an object; None when there is no such bucket, object or version."""
        ...


class BucketLookup(Protocol):
    """Reads of S3 about buckets."""

    async def bucket_policy(self, scope: Scope, bucket: str) -> str | None:
        """In JSON; empty when it has none; None when there is no such bucket."""
        ...


class CertificatePem(msgspec.Struct, frozen=True):
    """PEM: `chain` begins with the server's own certificate. The key is never shown."""

    arn: str
    chain: bytes
    key: bytes

    def __repr__(self) -> str:
        return f"CertificatePem({self.arn!r})"


class CertificateLookup(Protocol):
    """Reads of ACM."""

    async def exists(self, scope: Scope, arn: str) -> bool: ...

    async def certificate(self, arn: str) -> CertificatePem | None:
        """What serves TLS for a certificate; None when there is none of this ARN."""
        ...
