"""How AWS would classify a request in its access log: by what a watching load balancer noticed, or by why it was refused
as no valid HTTP. Pure. Source: semantics elbv2 §7, §10.
"""

from __future__ import annotations

from moorage.domain.desync import TIERS
from moorage.domain.request_record import RequestRecord

_REFUSED = {
    "http1.content_length_and_chunked_not_allowed": "BothTeClPresent",
    "http1.invalid_characters": "BadHeader",
    "http1.invalid_transfer_encoding": "BadTransferEncoding",
}
"""The proxy's words for a request that it could not accept → AWS's reason."""
_UNREADABLE = ("http1.codec_error", "http1.invalid_url")


def classified(record: RequestRecord) -> tuple[str, str]:
    """(classification, reason); empty for what complies. What could not be read at all is Severe, for no reason that can be
    told."""
    reason = record.desync or _REFUSED.get(record.details, "")
    if not reason and record.details in _UNREADABLE:
        return "Severe", ""
    return TIERS.get(reason, ""), reason if reason in TIERS else ""
