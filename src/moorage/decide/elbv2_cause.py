"""Why a load balancer answered as it did: one cause code per request, from what the proxy recorded. Pure.

Sources: semantics elbv2 §8 for which situation gives which status; the proxy's response flags for the situation. The
first row that fits wins. An answer that is nobody's failure has no cause.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from moorage.domain.request_record import RequestRecord

NO_TARGETS = "NoRegisteredTargets"
REFUSED = "TargetConnectionRefused"
CONNECT_TIMEOUT = "TargetConnectionTimeout"
CONNECT_FAILED = "TargetConnectionFailed"
TLS_FAILED = "TargetTLSNegotiationFailed"
RESET = "TargetReset"
TIMEOUT = "TargetTimeout"
BAD_RESPONSE = "TargetBadResponse"
CUT = "TargetResponseCut"
STALLED = "TargetResponseStalled"
DRAINED = "DeregistrationDelayOver"
TARGET_ERROR = "TargetAnsweredError"
FIXED = "RuleFixedResponse"
NO_WEIGHT = "RuleWithoutWeight"
LONG_REDIRECT = "RedirectTooLong"
MISMATCH = "ProtocolMismatch"
NOT_COMPLIANT = "RequestNotCompliant"
NOT_AUTHENTICATED = "NotAuthenticated"
UNKNOWN_HOST = "UnknownHost"
CLIENT_CLOSED = "ClientClosed"
CLIENT_TIMEOUT = "ClientTimeout"
BAD_REQUEST = "BadRequest"
OTHER = "LoadBalancerError"

AT_THE_TARGET = frozenset(
    {
        REFUSED, CONNECT_TIMEOUT, CONNECT_FAILED, TLS_FAILED, RESET, TIMEOUT, BAD_RESPONSE, CUT, STALLED, DRAINED,
        TARGET_ERROR,
    }
)  # fmt: skip
"""Causes that concern the target which the record names."""

SENTENCES = {
    NO_TARGETS: "the target group has no registered targets",
    REFUSED: "the target refused the connection: nothing listens on its port",
    CONNECT_TIMEOUT: "the target did not accept a connection in time",
    CONNECT_FAILED: "no connection to the target could be made",
    TLS_FAILED: "the target accepted the connection, but the TLS handshake with it failed",
    RESET: "the target closed the connection before it answered",
    TIMEOUT: "the target did not answer within the idle timeout",
    BAD_RESPONSE: "the target sent something that is not a valid HTTP response",
    CUT: "the target closed the connection in the middle of its response",
    STALLED: "the target stopped in the middle of its response, for the idle timeout",
    DRAINED: "the target was deregistered, and its deregistration delay was over before it had answered",
    TARGET_ERROR: "the target itself answered with this status",
    FIXED: "a rule answers with this fixed response",
    NO_WEIGHT: "all target groups of the rule have weight 0",
    LONG_REDIRECT: "the address that a rule redirects to would have been longer than 8 KB",
    MISMATCH: "the request's protocol is not what the target group speaks (HTTP/1.1, HTTP/2 or gRPC)",
    NOT_COMPLIANT: "the request does not comply with HTTP, and desync mitigation is set to strictest",
    NOT_AUTHENTICATED: "the rule asks who sends the request, and that could not be settled",
    UNKNOWN_HOST: "no load balancer has this DNS name on this port",
    CLIENT_CLOSED: "the client closed the connection before the answer",
    CLIENT_TIMEOUT: "the client did not finish its request within the idle timeout",
    BAD_REQUEST: "the request was not valid HTTP or its headers were too large",
    OTHER: "the load balancer could not serve the request",
}


MOMENT = 0.1
"""Seconds by which the proxy's clock readings and ours may differ."""


class Cause(msgspec.Struct, frozen=True):
    code: str
    sentence: str


def cause_of(record: RequestRecord) -> Cause | None:
    """None for an answer that worked as configured (2xx to 4xx of a target, redirects, fixed responses below 500)."""
    flags = frozenset(record.flags.split(",")) if record.flags else frozenset()
    for code, fits in _ROWS:
        if fits(record, flags):
            return Cause(code, SENTENCES[code])
    return None


def cut_by_draining(cause: Cause, *, ended_at: float, drained_at: float | None) -> bool:
    """Was it the load balancer that broke a connection off, because the target's deregistration delay was over?
    `drained_at`: when it was, None for a target that is registered. Connections are cut a moment after that."""
    return cause.code in (RESET, CUT) and drained_at is not None and ended_at >= drained_at - MOMENT


def _flagged(*wanted: str) -> Callable[[RequestRecord, frozenset[str]], bool]:
    return lambda record, flags: not flags.isdisjoint(wanted)


_ROWS: tuple[tuple[str, Callable[[RequestRecord, frozenset[str]], bool]], ...] = (
    # a failure at the target is told before the client's reaction to it
    # a response that is shorter than its length is a protocol error to the proxy
    (CUT, lambda r, f: not f.isdisjoint({"UC", "UPE"}) and r.details.startswith("upstream_reset_after")),
    (CLIENT_TIMEOUT, lambda r, f: r.status == 408 and not r.from_target),
    (TLS_FAILED, lambda r, f: "UF" in f and "tls_error" in r.details.lower()),
    (REFUSED, lambda r, f: "UF" in f and "refused" in r.details.lower()),
    (CONNECT_TIMEOUT, lambda r, f: "UF" in f and "timeout" in r.details.lower()),
    (CONNECT_FAILED, _flagged("UF")),
    (RESET, _flagged("UC", "UR", "LR")),
    (BAD_RESPONSE, _flagged("UPE")),
    (STALLED, lambda r, f: "SI" in f and r.status < 400),
    (TIMEOUT, _flagged("UT", "SI", "DT")),
    (NO_TARGETS, _flagged("UH", "NC", "NFCF", "UO", "URX")),
    (UNKNOWN_HOST, _flagged("NR")),
    (CLIENT_CLOSED, lambda r, f: r.status == 460 or not f.isdisjoint({"DC", "DR"})),
    (BAD_REQUEST, _flagged("DPE")),
    (TARGET_ERROR, lambda r, f: r.status >= 500 and r.from_target),
    (NOT_COMPLIANT, lambda r, f: r.status == 400 and bool(r.desync) and not r.from_target),
    (MISMATCH, lambda r, f: r.status == 464 and not r.from_target),
    (BAD_REQUEST, lambda r, f: r.status in (400, 414, 463) and not r.from_target and r.priority is None),
    (LONG_REDIRECT, lambda r, f: r.status == 507 and bool(r.location) and not r.from_target),
    (NO_WEIGHT, lambda r, f: r.status == 503 and r.details == "direct_response" and bool(r.target_group_arn)),
    (NOT_AUTHENTICATED, lambda r, f: r.status >= 400 and r.stopped_by_authentication),
    (FIXED, lambda r, f: r.status >= 500 and r.details == "direct_response"),
    (BAD_REQUEST, lambda r, f: r.status in (400, 405, 414, 431, 463, 505) and not r.from_target
        and r.details != "direct_response"),
    (OTHER, lambda r, f: r.status >= 500),
)  # fmt: skip
