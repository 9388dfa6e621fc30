"""One connection → one line of AWS's connection log. Pure.

Source: AWS's guide, "Connection log entries": fifteen fields, the reason codes of failed connections. The words that a
reason is read from are the proxy's (BoringSSL's); the first row that fits wins.
"""

from __future__ import annotations

from moorage.decide.elbv2_access_log import connection_trace_id, iso, quoted
from moorage.domain.connection_record import ConnectionRecord
from moorage.domain.request_record import RequestRecord

SUCCESS = "Success"
UNMAPPED = "UnmappedConnectionError"

_REASONS = (
    ("certificate has expired", "ClientCertExpired"),
    ("certificate is not yet valid", "ClientCertNotYetValid"),
    ("certificate revoked", "ClientCertCrlHit"),
    ("crl", "ClientCertCrlProcessingError"),
    ("certificate chain too long", "ClientCertMaxChainDepthExceeded"),
    ("path length constraint exceeded", "ClientCertMaxChainDepthExceeded"),
    ("excessive message size", "ClientCertMaxSizeExceeded"),
    ("unsupported certificate purpose", "ClientCertPurposeInvalid"),
    ("unknown certificate type", "ClientCertTypeUnsupported"),
    ("wrong certificate type", "ClientCertTypeUnsupported"),
    ("wrong signature type", "ClientCertIncompatible"),
    # an authority that is not in the trust store, or one with the name of a known one and another key
    ("unable to get", "ClientCertUntrusted"),
    ("self signed", "ClientCertUntrusted"),
    ("self-signed", "ClientCertUntrusted"),
    ("certificate signature failure", "ClientCertUntrusted"),
    ("certificate not trusted", "ClientCertUntrusted"),
    ("unable to verify", "ClientCertUntrusted"),
    ("certificate verify failed", "ClientCertInvalid"),
)


def verify_status(record: ConnectionRecord) -> str:
    """`Success`, or `Failed:` and a reason code."""
    if record.tls_is_settled:
        return SUCCESS
    words = record.failure.lower().replace("_", " ")
    return "Failed:" + next((code for wanted, code in _REASONS if wanted in words), UNMAPPED)


def connection_line(record: ConnectionRecord, *, load_balancer: str, address: str) -> str:
    """`load_balancer`: "app/web/50dc…"; `address`: of the node."""
    client, _, port = record.client.rpartition(":")
    validity = f"NotBefore={record.not_before};NotAfter={record.not_after}" if record.not_before else "-"
    handshake = record.handshake
    fields = (
        iso(record.at + (record.duration if handshake is None else handshake)),
        client.strip("[]") or "-",
        port or "-",
        str(record.port),
        (record.tls_version if record.tls_cipher else "") or "-",
        record.tls_cipher or "-",
        "-" if handshake is None else f"{handshake:.3f}",
        quoted(record.subject),
        validity,
        record.serial.upper() or "-",
        verify_status(record),
        connection_trace_id(record.client, record.connection_id),
        record.tls_group.lower() or "-",
        load_balancer,
        address,
    )
    return " ".join(fields)


def plain_connection_line(first: RequestRecord, *, load_balancer: str, address: str, port: int) -> str:
    """Of a connection to an HTTP listener. `first`: the first request on it; `port`: of the listener."""
    client, _, client_port = first.client.rpartition(":")
    trace = connection_trace_id(first.client, first.connection_id)
    who = f"{iso(first.at)} {client.strip('[]') or '-'} {client_port or '-'} {port}"
    return f'{who} - - - "-" - - - {trace} - {load_balancer} {address}'
