"""One TLS connection of a network load balancer → one line of its access log. Pure.

Source: AWS's guide, "Access log entries" of network load balancers: version 2.0, 22 fields. Only TLS listeners have access
logs. What is reserved ("-") there is reserved here; the protocols of ALPN are not known to the proxy's log.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from urllib.parse import quote

from moorage.domain.connection_record import ConnectionRecord

_ALERTS = {
    "CLOSE_NOTIFY": 0,
    "UNEXPECTED_MESSAGE": 10,
    "BAD_RECORD_MAC": 20,
    "HANDSHAKE_FAILURE": 40,
    "BAD_CERTIFICATE": 42,
    "UNSUPPORTED_CERTIFICATE": 43,
    "CERTIFICATE_REVOKED": 44,
    "CERTIFICATE_EXPIRED": 45,
    "CERTIFICATE_UNKNOWN": 46,
    "ILLEGAL_PARAMETER": 47,
    "UNKNOWN_CA": 48,
    "ACCESS_DENIED": 49,
    "DECODE_ERROR": 50,
    "DECRYPT_ERROR": 51,
    "PROTOCOL_VERSION": 70,
    "INSUFFICIENT_SECURITY": 71,
    "INTERNAL_ERROR": 80,
    "USER_CANCELLED": 90,
    "NO_RENEGOTIATION": 100,
    "UNSUPPORTED_EXTENSION": 110,
    "UNRECOGNIZED_NAME": 112,
}
"""The numbers of RFC 8446 §6 by the names that the proxy prints."""


def flow_line(record: ConnectionRecord, *, load_balancer: str, listener: str, certificate: str) -> str:
    """`load_balancer`: "net/db/50dc…"; `listener`: the last part of its ARN; `certificate`: the ARN of its only
    one, or "-"."""
    settled = record.handshake is not None
    hello = bool(record.tls_cipher or settled or record.server_name)
    version = record.tls_version.lower().replace(".", "") if settled else ""
    fields = (
        "tls",
        "2.0",
        _time(record.at + record.duration),
        load_balancer,
        listener,
        record.client or "-",
        record.local or "-",
        str(round(record.duration * 1000)),
        str(round((record.handshake or 0.0) * 1000)) if settled else "-",
        str(record.received_bytes),
        str(record.sent_bytes),
        _alert(record.failure),
        certificate if hello else "-",
        "-",
        record.tls_cipher if settled and record.tls_cipher else "-",
        {"tlsv1": "tlsv10"}.get(version, version) or "-",
        "-",
        quote(record.server_name) or "-",
        "-",
        "-",
        "-",
        _time(record.at),
    )
    return " ".join(fields)


def _alert(failure: str) -> str:
    """`…:TLSV1_ALERT_UNKNOWN_CA:…` → 48"""
    found = re.search(r"ALERT_([A-Z_]+?)(?::|_?$)", failure)
    return str(_ALERTS[found[1]]) if found is not None and found[1] in _ALERTS else "-"


def _time(at: float) -> str:
    """Without a zone, in whole seconds, as AWS writes it."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S")
