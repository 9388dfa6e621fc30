"""Trust stores: the certificate authorities whose client certificates a listener believes. Source: semantics elbv2 §3.

The contents are kept in the record: what was read from S3 at the time of the call is what counts, as in AWS.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Revocation(msgspec.Struct, frozen=True):
    """One revocation list. `content` in PEM; `entries` is how many certificates it revokes."""

    id: int
    content: bytes
    entries: int


class TrustStore(msgspec.Struct, frozen=True):
    """`bundle`: the authorities' certificates in PEM, `certificates` of them. `created_at` epoch seconds. `last_id`: of the
    newest revocation list that ever was; ids are not used again."""

    arn: str
    account: str
    region: str
    name: str
    bundle: bytes
    certificates: int
    created_at: float
    revocations: tuple[Revocation, ...] = ()
    last_id: int = 0
    tags: Mapping[str, str] = {}

    @property
    def revoked(self) -> int:
        return sum(one.entries for one in self.revocations)


class MutualAuthentication(msgspec.Struct, frozen=True):
    """How an HTTPS listener asks its clients for certificates. `passthrough`: whatever they show goes to the target;
    `verify`: only certificates of the trust store are let in."""

    mode: str = "off"
    trust_store_arn: str | None = None
    ignore_expiry: bool = False
    advertise_names: bool = False
