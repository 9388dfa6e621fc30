"""What Envoy writes about connections, and how it is read back. Pure.

The lines stand in the same file as those of requests, so that what happened first is read first; they begin with `MARK`.
Connections of HTTPS listeners are told when they end, also those whose handshake failed; flows of network load balancers
when they begin, once a minute and when they end. Connections of HTTP listeners have no lines: the requests on
them say all there is.
"""

from __future__ import annotations

from typing import Any, cast

from moorage.domain.connection_record import ConnectionRecord, Event
from moorage.proxy.envoy.request_log import FILE, SEPARATOR

_NETWORK = ":loadbalancer/net/"
MARK = b"c" + SEPARATOR.encode()
_FILE_LOG = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"

_FIELDS = {
    "at": "%START_TIME(%s.%6f)%",
    "duration": "%DURATION%",
    "client": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%",
    "local": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "connection_id": "%CONNECTION_ID%",
    "event": "%ACCESS_LOG_TYPE%",
}
_TLS = {
    "handshake": "%DOWNSTREAM_HANDSHAKE_DURATION%",
    "tls_version": "%DOWNSTREAM_TLS_VERSION%",
    "tls_cipher": "%DOWNSTREAM_TLS_CIPHER%",
    "tls_group": "%DOWNSTREAM_TLS_GROUP%",
    "server_name": "%REQUESTED_SERVER_NAME%",
    "failure": "%DOWNSTREAM_TRANSPORT_FAILURE_REASON%",
}
_CLIENT = {
    "subject": "%DOWNSTREAM_PEER_SUBJECT%",
    "serial": "%DOWNSTREAM_PEER_SERIAL%",
    "not_before": "%DOWNSTREAM_PEER_CERT_V_START(%Y-%m-%dT%H:%M:%SZ)%",
    "not_after": "%DOWNSTREAM_PEER_CERT_V_END(%Y-%m-%dT%H:%M:%SZ)%",
}
_FLOW = {
    "flags": "%RESPONSE_FLAGS%",
    "received_bytes": "%BYTES_RECEIVED%",
    "sent_bytes": "%BYTES_SENT%",
    "target_group_arn": "%UPSTREAM_CLUSTER_RAW%",
    "target": "%UPSTREAM_HOST%",
    "target_failure": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "client_close": "%DOWNSTREAM_DETECTED_CLOSE_TYPE%",
    "target_close": "%UPSTREAM_DETECTED_CLOSE_TYPE%",
}
_OF = {
    "HTTPS": {**_FIELDS, **_TLS, **_CLIENT},
    "TCP": {**_FIELDS, **_FLOW},
    "TLS": {**_FIELDS, **_TLS, **_FLOW},
    "UDP": {
        **_FIELDS,
        **_FLOW,
        "received_bytes": "%DYNAMIC_METADATA(udp.proxy.session:bytes_received)%",
        "sent_bytes": "%DYNAMIC_METADATA(udp.proxy.session:bytes_sent)%",
        "target_group_arn": "%DYNAMIC_METADATA(udp.proxy.session:cluster_name)%",
    },
}
"""The fields of a line by the protocol of the listener, after the mark, the protocol and the listener."""


def tls_connections() -> list[dict[str, Any]]:
    """The access log of a listener with HTTPS: whose connection it was is the name of the filter chain."""
    return [_log("HTTPS", "%FILTER_CHAIN_NAME%")]


def flows(protocol: str, listener: str) -> list[dict[str, Any]]:
    """The access log of a TCP or UDP proxy. `protocol`: TCP, TLS or UDP; `listener`: its name."""
    return [_log(protocol, listener.replace("%", "%%"))]


def parse_connection(line: bytes) -> ConnectionRecord | None:
    """Of a line that begins with `MARK`. None for one that is not whole, of a connection that nobody's listener took (a
    name in the TLS handshake that no load balancer has), or of a flow that a shared door saw (it has its own lines)."""
    values = line.decode("latin-1").split(SEPARATOR)
    if len(values) < 3 or not values[2].startswith("arn:"):
        return None
    protocol, listener, names = values[1], values[2], _OF.get(values[1], {})
    if len(values) - 3 != len(names) or (protocol == "HTTPS" and _NETWORK in listener):
        return None
    seen = {name: "" if value == "-" else value for name, value in zip(names, values[3:], strict=True)}
    text = {name: seen.get(name, "") for name in _TEXTS}
    try:
        return ConnectionRecord(
            listener=listener,
            protocol=cast("Any", protocol),
            event=_EVENTS.get(seen["event"], "end"),
            at=float(seen["at"]),
            duration=float(seen["duration"] or 0) / 1000,
            connection_id=int(seen["connection_id"] or 0),
            handshake=float(seen["handshake"]) / 1000 if seen.get("handshake") else None,
            received_bytes=int(float(seen.get("received_bytes") or 0)),
            sent_bytes=int(float(seen.get("sent_bytes") or 0)),
            **text,
        )
    except ValueError:
        return None


_EVENTS: dict[str, Event] = {"TcpUpstreamConnected": "begin", "TcpPeriodic": "during"}
_TEXTS = (
    "client", "local", "tls_version", "tls_cipher", "tls_group", "server_name", "failure", "subject", "serial",
    "not_before", "not_after", "flags", "target_group_arn", "target", "target_failure", "client_close", "target_close",
)  # fmt: skip


def _log(protocol: str, listener: str) -> dict[str, Any]:
    line = SEPARATOR.join(["c", protocol, listener, *_OF[protocol].values()]) + "\n"
    log_format = {"text_format_source": {"inline_string": line}, "omit_empty_values": True}
    return {
        "name": "envoy.access_loggers.file",
        "typed_config": {"@type": _FILE_LOG, "path": FILE, "log_format": log_format},
    }
