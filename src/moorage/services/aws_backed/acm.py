"""The few ACM operations that must have an effect: certificates that load balancers serve.

moto keeps the records; the private keys of imported certificates and the certificates that the local authority signed are
kept here, one file per certificate, readable by their owner only. Everything else of ACM goes to moto as it came.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from moorage.domain.clock import Clock
from moorage.domain.errors import AwsError
from moorage.domain.scope import Scope, scope_of
from moorage.services.aws_backed.forward import AwsBacked
from moorage.services.aws_backed.private_files import write_private
from moorage.services.base import Provider, RequestContext, operation
from moorage.services.lookups import CertificatePem

if TYPE_CHECKING:
    from moorage.services.aws_backed.authority import LocalAuthority

RENEW_BEFORE = datetime.timedelta(days=60)


class _Kept(msgspec.Struct, frozen=True):
    chain: bytes
    key: bytes


class Certificates:
    """`services/lookups.CertificateLookup`. `in_use`: ARNs of the load balancers that serve a certificate."""

    def __init__(
        self,
        backed: AwsBacked,
        directory: Path,
        clock: Clock,
        *,
        in_use: Callable[[str], Sequence[str]] = lambda arn: (),
    ) -> None:
        self.backed = backed
        self.in_use = in_use
        self.on_change: Callable[[str], None] = lambda arn: None
        """Called with the ARN of a certificate that was imported again."""
        self._authority_directory = directory / "authority"
        self._directory = directory / "certificates"
        self._clock = clock

    @cached_property
    def authority(self) -> LocalAuthority:
        """Loaded when first needed: `cryptography` would cost every start a tenth of a second."""
        from moorage.services.aws_backed.authority import LocalAuthority

        return LocalAuthority(self._authority_directory)

    async def exists(self, scope: Scope, arn: str) -> bool:
        return await self._described(arn) is not None and arn.split(":")[3:5] == [scope.region, scope.account]

    async def certificate(self, arn: str) -> CertificatePem | None:
        """Chain and key, signed by the local authority when ACM was asked to issue it. None: there is no such one."""
        described = await self._described(arn)
        if described is None:
            return None
        kept = self._read(arn)
        if described["Type"] != "IMPORTED" and (kept is None or self._is_old(kept)):
            names = [described["DomainName"], *described.get("SubjectAlternativeNames", ())]
            kept = _Kept(*self.authority.issue(tuple(dict.fromkeys(names)), self._clock.now()))
            self.keep(arn, kept.chain, kept.key)
        return CertificatePem(arn, kept.chain, kept.key) if kept is not None else None

    def keep(self, arn: str, chain: bytes, key: bytes) -> None:
        write_private(self._file(arn), msgspec.json.encode(_Kept(chain, key)))

    def drop(self, arn: str) -> None:
        self._file(arn).unlink(missing_ok=True)

    def clear(self) -> None:
        """Everything but the authority, which users may have installed."""
        if self._directory.exists():
            for file in self._directory.iterdir():
                file.unlink(missing_ok=True)

    async def _described(self, arn: str) -> dict[str, Any] | None:
        scope = scope_of(arn) if arn.startswith("arn:") and arn.count(":") >= 5 else None
        if scope is None or ":acm:" not in arn:
            return None
        try:
            answer = await self.backed.call(scope, "acm", "DescribeCertificate", {"CertificateArn": arn})
        except AwsError as error:
            if error.status >= 500:
                raise
            return None
        found: dict[str, Any] = answer["Certificate"]
        return found

    def _read(self, arn: str) -> _Kept | None:
        try:
            return msgspec.json.decode(self._file(arn).read_bytes(), type=_Kept)
        except (OSError, msgspec.DecodeError):
            return None

    def _is_old(self, kept: _Kept) -> bool:
        from moorage.services.aws_backed.authority import ends_at

        return ends_at(kept.chain) - RENEW_BEFORE < datetime.datetime.fromtimestamp(self._clock.now(), datetime.UTC)

    def _file(self, arn: str) -> Path:
        return self._directory / f"{hashlib.sha256(arn.encode()).hexdigest()[:32]}.json"


class AcmProvider(Provider):
    """Register it beside the fallback, with "acm" as a mixed service."""

    service: ClassVar[str] = "acm"

    def __init__(self, certificates: Certificates) -> None:
        self._certificates = certificates

    @operation("ImportCertificate")
    async def import_certificate(self, context: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        answer = await self._certificates.backed.call(context.scope, "acm", "ImportCertificate", params)
        chain = _bytes(params["Certificate"]).strip() + b"\n" + _bytes(params.get("CertificateChain") or b"")
        self._certificates.keep(answer["CertificateArn"], chain, _bytes(params["PrivateKey"]))
        self._certificates.on_change(answer["CertificateArn"])
        return answer

    @operation("GetCertificate")
    async def get_certificate(self, context: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        """An issued certificate is the one that load balancers serve, not moto's own."""
        arn = params["CertificateArn"]
        answer = await self._certificates.backed.call(context.scope, "acm", "GetCertificate", params)
        served = await self._certificates.certificate(arn)
        if served is None:
            return answer
        first, mark, rest = served.chain.decode().partition("-----END CERTIFICATE-----\n")
        return (
            {"Certificate": first + mark, "CertificateChain": rest} if rest.strip() else {"Certificate": first + mark}
        )

    @operation("DeleteCertificate")
    async def delete_certificate(self, context: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        arn = params["CertificateArn"]
        if self._certificates.in_use(arn):
            raise AwsError(
                "ResourceInUseException", f"Certificate {arn} in account {context.account} is in use.", status=400
            )
        answer = await self._certificates.backed.call(context.scope, "acm", "DeleteCertificate", params)
        self._certificates.drop(arn)
        return answer


def _bytes(value: bytes | str) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)
