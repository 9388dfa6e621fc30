"""One connection to a load balancer, as the proxy saw it: of HTTPS listeners, and every flow of network load balancers.

Source: semantics elbv2 §7, §11, §13. Times are epoch seconds and seconds; None where a stage was not reached.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Event = Literal["begin", "during", "end"]


class ConnectionRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """`listener`: "<load balancer ARN>:<port of the API>". `event`: "begin" (a target has taken it) and "during" (once a
    minute) are told of flows of network load balancers only, those of UDP excepted. `at` is when it was accepted,
    `connection_id` the proxy's number for it (0: the proxy gives none). `handshake`: seconds until TLS was settled.
    `failure`: the proxy's words for what was wrong with TLS. `subject` to `not_after` are of the client's certificate.
    `flags` and the rest are known of flows of network load balancers; their bytes are those since the beginning."""

    listener: str
    protocol: Literal["HTTPS", "TCP", "TLS", "UDP"]
    event: Event
    at: float
    duration: float
    client: str
    local: str
    connection_id: int = 0
    handshake: float | None = None
    tls_version: str = ""
    tls_cipher: str = ""
    tls_group: str = ""
    server_name: str = ""
    failure: str = ""
    subject: str = ""
    serial: str = ""
    not_before: str = ""
    not_after: str = ""
    flags: str = ""
    received_bytes: int = 0
    sent_bytes: int = 0
    target_group_arn: str = ""
    target: str = ""
    target_failure: str = ""
    client_close: str = ""
    """How the client's side ended, in the proxy's words: "Normal", "RemoteReset", "LocalReset"."""
    target_close: str = ""

    @property
    def load_balancer_arn(self) -> str:
        return self.listener.rpartition(":")[0]

    @property
    def tls_is_settled(self) -> bool:
        """Of HTTPS and TLS: did the handshake succeed? A network load balancer looks for a target only then."""
        return self.handshake is not None or bool(self.target or self.flags)

    @property
    def port(self) -> int:
        """Of the listener, as the API names it."""
        port = self.listener.rpartition(":")[2]
        return int(port) if port.isdigit() else 0
