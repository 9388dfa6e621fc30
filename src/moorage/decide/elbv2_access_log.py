"""One request → one line of AWS's access log. Pure.

Source: semantics elbv2 §10, field by field.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

from moorage.decide.elbv2_cause import CLIENT_TIMEOUT, cause_of
from moorage.decide.elbv2_desync import classified
from moorage.domain.request_record import RequestRecord

LONGEST_USER_AGENT = 8192


def log_line(record: RequestRecord, *, load_balancer: str, scheme: str, port: int, certificate: str = "") -> str:
    """`load_balancer`: "app/web/50dc…"; `scheme`: "http" or "https"; `port`: of the listener; `certificate`: the ARN of
    the chosen certificate. Fields that do not apply are "-"; times that were not reached are -1."""
    dispatched = bool(record.target) and record.request_time is not None
    times = (record.request_time, record.target_time, record.response_time) if dispatched else (None, None, None)
    cause = cause_of(record)
    target_status = str(record.status) if record.from_target else "-"
    timed_out = cause is not None and cause.code == CLIENT_TIMEOUT
    fields = (
        _type(record, scheme),
        iso(record.at + record.duration),
        load_balancer or "-",
        record.client or "-",
        record.target or "-",
        *(_seconds(value) for value in times),
        str(record.status),
        target_status,
        str(record.received_bytes),
        str(record.sent_bytes),
        quoted(_request(record, scheme, port)),
        quoted(record.user_agent[:LONGEST_USER_AGENT]),
        record.tls_cipher or "-",
        record.tls_version or "-",
        record.target_group_arn or "-",
        quoted(record.trace_id),
        quoted(record.server_name),
        quoted(certificate),
        str(record.priority) if record.priority is not None else "-1",
        iso(record.at),
        quoted("-" if timed_out else _action(record)),
        quoted(record.location if _action(record) == "redirect" else ""),
        quoted(""),
        quoted(record.target),
        quoted(target_status),
        *(quoted(word) for word in classified(record)),
        connection_trace_id(record.client, record.connection_id),
        quoted(""),
        quoted(""),
        quoted(""),
    )
    return " ".join(fields)


def _type(record: RequestRecord, scheme: str) -> str:
    secure = scheme == "https"
    if record.status == 101:  # nothing but WebSocket is upgraded to
        return "wss" if secure else "ws"
    if record.protocol.startswith("HTTP/2"):
        return "grpcs" if record.grpc else "h2"
    return scheme


def _request(record: RequestRecord, scheme: str, port: int) -> str:
    """`GET http://host:80/path HTTP/1.1`; a request that could not be read is `- http://host:80- -`."""
    host = record.host.rpartition(":")[0] if record.host.rpartition(":")[2].isdigit() else record.host
    protocol = record.protocol.replace("HTTP/2", "HTTP/2.0") if record.protocol == "HTTP/2" else record.protocol
    return f"{record.method or '-'} {scheme}://{host}:{port}{record.path or '-'} {protocol or '-'}"


def _action(record: RequestRecord) -> str:
    if record.stopped_by_authentication:
        return "authenticate"
    if record.target_group_arn:
        return "forward"
    if record.location and record.status in (301, 302):
        return "redirect"
    return "fixed-response" if record.details == "direct_response" else "-"


def connection_trace_id(client: str, connection_id: int) -> str:
    """AWS's conn_trace_id, the same in the line of a connection and in those of the requests on it. `client`:
    "address:port"."""
    if not connection_id:
        return "-"
    return "TID_" + hashlib.blake2s(f"{client}|{connection_id}".encode(), digest_size=16).hexdigest()


def iso(at: float) -> str:
    """`at`: epoch seconds."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _seconds(value: float | None) -> str:
    return "-1" if value is None else f"{value:.3f}"


def quoted(text: str) -> str:
    """Quotes and what could forge another field or line are escaped as AWS does (`\\x22`)."""
    plain = "".join(c if " " <= c <= "~" and c not in '"\\' else _escaped(c) for c in text)
    return f'"{plain or "-"}"'


def _escaped(character: str) -> str:
    return "".join(f"\\x{byte:02X}" for byte in character.encode())
