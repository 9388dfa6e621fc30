"""What Envoy writes about every request, and how it is read back. Pure.

One line per request, fields in a fixed order, absent values empty. The file lives in Envoy's own directory (its working
directory), so that its name is the same in every installation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from moorage.domain.request_record import RequestRecord
from moorage.proxy.envoy.desync import NOTED

FILE = "requests.log"
_FILE_LOG = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
CLIENT_CLOSED = 460
BROKEN_OFF = 400
GRPC = "grpc"

SEPARATOR = "\x1f"
"""Between the fields of a line: a character that neither a path nor a header value may hold (Envoy answers 400)."""

NOTES = "moorage.log"
"""Dynamic metadata with what programs have to say about a request: `anew`, `trace` (the header, if the client had one)."""

_ARN = "arn:aws:elasticloadbalancing:"
"""What ARNs begin with is left out: a byte that is written for every request costs about as much as ten instructions."""

FIELDS = {
    "at": "%START_TIME(%s.%6f)%",
    "duration": "%DURATION%",
    "request_time": "%COMMON_DURATION(DS_RX_BEG:US_TX_BEG:us)%",
    "target_time": "%COMMON_DURATION(US_TX_BEG:US_RX_BEG:us)%",
    "response_time": "%COMMON_DURATION(US_RX_BEG:DS_TX_END:us)%",
    "client": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%",
    "local_port": "%DOWNSTREAM_LOCAL_PORT%",
    "protocol": "%PROTOCOL%",
    "method": "%REQ(:METHOD)%",
    "host": "%REQ(:AUTHORITY)%",
    "path": "%REQ(:PATH)%",
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)%",
    "user_agent": "%REQ(USER-AGENT)%",
    "trace_id": "%TRACE_ID%",
    "route": "%ROUTE_NAME%",
    "target_group": "%UPSTREAM_CLUSTER%",
    "target": "%UPSTREAM_HOST%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "received": "%DOWNSTREAM_WIRE_BYTES_RECEIVED%",
    "sent": "%DOWNSTREAM_WIRE_BYTES_SENT%",
    "location": "%RESP(LOCATION)%",
    "connection": "%CONNECTION_ID%",
    "notes": f"%DYNAMIC_METADATA({NOTES})%",
}
TLS_FIELDS = {
    "tls_version": "%DOWNSTREAM_TLS_VERSION%",
    "tls_cipher": "%DOWNSTREAM_TLS_CIPHER%",
    "server_name": "%REQUESTED_SERVER_NAME%",
}
"""At the end of the lines of HTTPS listeners."""

WATCHED_FIELDS = {"desync": NOTED}
"""After all others, where requests are watched for desync."""

_NAMES = {
    len(names): names
    for tls in ({}, TLS_FIELDS)
    for watched in ({}, WATCHED_FIELDS)
    for names in ((*FIELDS, *tls, *watched),)
}


def access_log(*, tls: bool = False, watched: bool = False) -> list[dict[str, Any]]:
    """For a connection manager. Health checks do not pass through listeners and are not logged. Text and not JSON: it
    costs Envoy a third less, and the reader nothing but a split."""
    fields = [*FIELDS.values(), *(TLS_FIELDS.values() if tls else ()), *(WATCHED_FIELDS.values() if watched else ())]
    log_format = {
        "text_format_source": {"inline_string": SEPARATOR.join(fields) + "\n"},
        "omit_empty_values": True,
    }
    return [
        {
            "name": "envoy.access_loggers.file",
            "typed_config": {"@type": _FILE_LOG, "path": FILE, "log_format": log_format},
        }
    ]


def route_name(priority: int, rule_arn: str, remark: str = "") -> str:
    """How a rule tells the log that it was matched; the default rule has priority 0. `remark`: `GRPC`, when that is what
    its target groups speak, or the status with which the route refuses gRPC, because the client will not get to see it."""
    return f"{priority} {short(rule_arn)} {remark}".rstrip()


def refused_name(default_rule_arn: str) -> str:
    """For requests that are refused before any rule is looked at: the load balancer is known, the rule is not."""
    return f"- {short(default_rule_arn)}"


def short(arn: str) -> str:
    """How lines name a rule or a target group."""
    return arn.removeprefix(_ARN)


def parse(line: bytes) -> RequestRecord | None:
    """None for a line that is not one of ours (cut short when Envoy was killed)."""
    values = line.decode("latin-1").split(SEPARATOR)
    names = _NAMES.get(len(values))
    if names is None:
        return None
    seen = dict(zip(names, values, strict=True))
    priority, _, named = seen["route"].partition(" ")
    rule, _, remark = named.partition(" ")
    try:
        notes = msgspec.json.decode(seen["notes"], type=dict[str, str]) if seen["notes"] else {}
        return RequestRecord(
            at=float(seen["at"]),
            client=seen["client"],
            local_port=_whole(seen["local_port"]),
            protocol=seen["protocol"],
            method=seen["method"],
            host=seen["host"],
            path=seen["path"],
            status=_status(seen, remark if remark.isdigit() else ""),
            duration=float(seen["duration"] or 0) / 1000,
            flags="" if seen["flags"] == "-" else seen["flags"],
            details=seen["details"],
            user_agent=seen["user_agent"],
            trace_id=notes.get("trace") or (f"Root={made}" if (made := seen["trace_id"]) else ""),
            rule_arn=_long(rule),
            priority=int(priority) if priority.isdigit() else None,
            target_group_arn=_long(seen["target_group"]),
            target=seen["target"],
            attempts=_whole(seen["attempts"]),
            request_time=_seconds(seen["request_time"]),
            target_time=_seconds(seen["target_time"]),
            response_time=_seconds(seen["response_time"]),
            received_bytes=_whole(seen["received"]),
            sent_bytes=_whole(seen["sent"]),
            location=seen["location"],
            connection_id=_whole(seen["connection"]),
            chosen_anew="anew" in notes,
            tls_version=seen.get("tls_version", ""),
            tls_cipher=seen.get("tls_cipher", ""),
            server_name=seen.get("server_name", ""),
            desync=seen.get("desync", ""),
            grpc=remark == GRPC,
        )
    except (ValueError, msgspec.MsgspecError):
        return None


def _long(short: str) -> str:
    return f"{_ARN}{short}" if short and not short.startswith("arn:") else short


def _status(seen: Mapping[str, str], refusal: str) -> int:
    """What AWS would log. Two codes are only in its log, because the client that would have got them is gone: 460, and 400
    when not even the head of the request was complete. A gRPC client that Envoy answers itself gets 200 and the failure
    in `grpc-status`; what the failure is, the flags say (as in `pages.local_replies`)."""
    status, flags = _whole(seen["status"]), set(seen["flags"].split(","))
    if not status:
        return CLIENT_CLOSED if seen["route"] else BROKEN_OFF
    if status != 200 or seen["target_time"] not in ("", "-"):
        return status
    if refusal:
        return int(refusal)
    if flags & {"UT", "SI", "DT"} or ("UF" in flags and "timeout" in seen["details"]):
        return 504
    if flags & {"UF", "UC", "UR", "UPE", "LR"}:
        return 502
    return 503 if flags & {"UH", "NC", "UO", "URX", "NFCF"} else status


def _whole(number: str) -> int:
    return int(number) if number and number != "-" else 0


def _seconds(microseconds: str) -> float | None:
    return float(microseconds) / 1e6 if microseconds and microseconds != "-" else None
