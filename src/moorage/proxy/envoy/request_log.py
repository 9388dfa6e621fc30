"""What Envoy writes about every request, and how it is read back. Pure.

One JSON object per line, short keys, absent values left out. The file lives in Envoy's own directory (its working
directory), so that its name is the same in every installation.
"""

from __future__ import annotations

from typing import Any

import msgspec

from moorage.domain.request_record import RequestRecord

FILE = "requests.log"
_FILE_LOG = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
CLIENT_CLOSED = 460

FORMAT = {
    "t": "%START_TIME(%s.%6f)%",
    "ms": "%DURATION%",
    "rq": "%COMMON_DURATION(DS_RX_BEG:US_TX_BEG:us)%",
    "tg": "%COMMON_DURATION(US_TX_BEG:US_RX_BEG:us)%",
    "rs": "%COMMON_DURATION(US_RX_BEG:DS_TX_END:us)%",
    "c": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%",
    "lp": "%DOWNSTREAM_LOCAL_PORT%",
    "v": "%PROTOCOL%",
    "m": "%REQ(:METHOD)%",
    "h": "%REQ(:AUTHORITY)%",
    "p": "%REQ(:PATH)%",
    "s": "%RESPONSE_CODE%",
    "f": "%RESPONSE_FLAGS%",
    "d": "%RESPONSE_CODE_DETAILS%",
    "e": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "ua": "%REQ(USER-AGENT)%",
    "tr": "%REQ(X-AMZN-TRACE-ID)%",
    "ro": "%ROUTE_NAME%",
    "g": "%UPSTREAM_CLUSTER_RAW%",
    "to": "%UPSTREAM_HOST%",
    "n": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "bi": "%DOWNSTREAM_WIRE_BYTES_RECEIVED%",
    "bo": "%DOWNSTREAM_WIRE_BYTES_SENT%",
    "lo": "%RESP(LOCATION)%",
    "up": "%REQ(UPGRADE)%",
    "tv": "%DOWNSTREAM_TLS_VERSION%",
    "tc": "%DOWNSTREAM_TLS_CIPHER%",
    "sn": "%REQUESTED_SERVER_NAME%",
}


class _Line(msgspec.Struct):
    t: str
    ms: float = 0
    rq: float | None = None
    tg: float | None = None
    rs: float | None = None
    c: str | None = None
    lp: int | None = None
    v: str | None = None
    m: str | None = None
    h: str | None = None
    p: str | None = None
    s: int | None = None
    f: str | None = None
    d: str | None = None
    e: str | None = None
    ua: str | None = None
    tr: str | None = None
    ro: str | None = None
    g: str | None = None
    to: str | None = None
    n: int | None = None
    bi: int | None = None
    bo: int | None = None
    lo: str | None = None
    up: str | None = None
    tv: str | None = None
    tc: str | None = None
    sn: str | None = None


_DECODER = msgspec.json.Decoder(_Line)


def access_log() -> list[dict[str, Any]]:
    """For a connection manager. Health checks do not pass through listeners and are not logged."""
    log_format = {"json_format": FORMAT, "omit_empty_values": True}
    return [
        {
            "name": "envoy.access_loggers.file",
            "typed_config": {"@type": _FILE_LOG, "path": FILE, "log_format": log_format},
        }
    ]


def route_name(priority: int, rule_arn: str) -> str:
    """How a rule tells the log that it was matched; the default rule has priority 0."""
    return f"{priority} {rule_arn}"


def refused_name(default_rule_arn: str) -> str:
    """For requests that are refused before any rule is looked at: the load balancer is known, the rule is not."""
    return f"- {default_rule_arn}"


def parse(line: bytes) -> RequestRecord | None:
    """None for a line that is not one of ours (cut short when Envoy was killed)."""
    try:
        seen = _DECODER.decode(line)
        at = float(seen.t)
    except (msgspec.DecodeError, ValueError):
        return None
    priority, _, rule = (seen.ro or "").partition(" ")
    status = seen.s or 0
    flags = seen.f or ""
    return RequestRecord(
        at=at,
        client=seen.c or "",
        local_port=seen.lp or 0,
        protocol=seen.v or "",
        method=seen.m or "",
        host=seen.h or "",
        path=seen.p or "",
        # AWS knows 460 only in its log: the client that would have got it is gone
        status=status or CLIENT_CLOSED,
        duration=seen.ms / 1000,
        flags=flags,
        details=seen.d or "",
        failure=seen.e or "",
        user_agent=seen.ua or "",
        trace_id=seen.tr or "",
        rule_arn=rule,
        priority=int(priority) if priority.isdigit() else None,
        target_group_arn=seen.g or "",
        target=seen.to or "",
        attempts=seen.n or 0,
        request_time=_seconds(seen.rq),
        target_time=_seconds(seen.tg),
        response_time=_seconds(seen.rs),
        received_bytes=seen.bi or 0,
        sent_bytes=seen.bo or 0,
        location=seen.lo or "",
        upgrade=seen.up or "",
        tls_version=seen.tv or "",
        tls_cipher=seen.tc or "",
        server_name=seen.sn or "",
    )


def _seconds(microseconds: float | None) -> float | None:
    return None if microseconds is None else microseconds / 1e6
