"""`MutualAuthentication` of HTTPS listeners: parameters → record and back (semantics elbv2 §3.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moorage.domain.trust_store import MutualAuthentication
from moorage.services.elbv2 import validate
from moorage.services.elbv2.validate import invalid

MODES = ("off", "passthrough", "verify")


def parse(given: Mapping[str, Any] | None, protocol: str) -> MutualAuthentication | None:
    """None: off. Whether the trust store exists is the caller's question."""
    if not given:
        return None
    mode = given.get("Mode") or "off"
    if mode not in MODES:
        raise invalid(f"Mutual authentication mode '{mode}' must be one of '{', '.join(MODES)}'")
    arn = given.get("TrustStoreArn")
    if mode != "off" and protocol != "HTTPS":
        raise invalid(f"Mutual authentication is not supported for listeners with protocol '{protocol}'")
    if mode != "verify":
        for name in ("TrustStoreArn", "IgnoreClientCertificateExpiry"):
            if given.get(name):
                raise invalid(f"{name} cannot be specified when mutual authentication mode is '{mode}'")
        return MutualAuthentication(mode) if mode != "off" else None
    if not arn:
        raise invalid("A trust store ARN must be specified when mutual authentication mode is 'verify'")
    return MutualAuthentication(
        mode="verify",
        trust_store_arn=validate.arn("trust store", arn),
        ignore_expiry=bool(given.get("IgnoreClientCertificateExpiry")),
        advertise_names=given.get("AdvertiseTrustStoreCaNames") == "on",
    )


def shown(record: MutualAuthentication | None) -> dict[str, Any]:
    """The member as DescribeListeners shows it for HTTPS listeners."""
    if record is None:
        return {"Mode": "off"}
    if record.trust_store_arn is None:
        return {"Mode": record.mode}
    return {
        "Mode": record.mode,
        "TrustStoreArn": record.trust_store_arn,
        "IgnoreClientCertificateExpiry": record.ignore_expiry,
        "TrustStoreAssociationStatus": "active",
        "AdvertiseTrustStoreCaNames": "on" if record.advertise_names else "off",
    }
