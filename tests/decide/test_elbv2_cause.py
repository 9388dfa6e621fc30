from __future__ import annotations

import pytest

from moorage.decide.elbv2_cause import CUT, RESET, TIMEOUT, Cause, cause_of, cut_by_draining
from moorage.domain.request_record import RequestRecord

BASE = RequestRecord(0.0, "127.0.0.1:1", 80, "HTTP/1.1", "GET", "h", "/", 200, 0.01)


def a_record(**changes: object) -> RequestRecord:
    return RequestRecord(**{**{name: getattr(BASE, name) for name in BASE.__struct_fields__}, **changes})  # type: ignore[arg-type]


BEFORE, AFTER = "upstream_reset_before_response_started", "upstream_reset_after_response_started"


@pytest.mark.parametrize(
    ("status", "flags", "details", "cause"),
    [
        (200, "", "via_upstream", None),
        (404, "", "via_upstream", None),
        (301, "", "direct_response", None),
        (404, "", "direct_response", None),
        (500, "", "via_upstream", "TargetAnsweredError"),
        (503, "", "direct_response", "RuleFixedResponse"),
        (503, "UH", "no_healthy_upstream", "NoRegisteredTargets"),
        (503, "NC", "cluster_not_found", "NoRegisteredTargets"),
        (
            502,
            "UF,URX",
            BEFORE + "{remote_connection_failure|delayed_connect_error:_Connection_refused}",
            "TargetConnectionRefused",
        ),
        (504, "UF", BEFORE + "{connection_timeout}", "TargetConnectionTimeout"),
        (502, "UF", BEFORE + "{remote_connection_failure}", "TargetConnectionFailed"),
        (
            502,
            "URX,UF",
            BEFORE + "{remote_connection_failure|TLS_error:…}",
            "TargetTLSNegotiationFailed",
        ),
        (502, "UC", BEFORE + "{connection_termination}", "TargetReset"),
        (200, "UC", AFTER + "{connection_termination}", "TargetResponseCut"),
        (200, "UPE", AFTER + "{protocol_error}", "TargetResponseCut"),
        (502, "UPE", BEFORE + "{protocol_error}", "TargetBadResponse"),
        (504, "SI", "stream_idle_timeout", "TargetTimeout"),
        (200, "SI", "stream_idle_timeout", "TargetResponseStalled"),
        (408, "SI", "stream_idle_timeout", "ClientTimeout"),
        (460, "DC", "downstream_remote_disconnect", "ClientClosed"),
        (404, "NR", "route_not_found", "UnknownHost"),
        (400, "DPE", "http1.codec_error", "BadRequest"),
        (464, "", "direct_response", "ProtocolMismatch"),
        (464, "", "lua_response", "ProtocolMismatch"),
        (500, "", "something_new", "LoadBalancerError"),
    ],
)
def test_cause(status: int, flags: str, details: str, cause: str | None) -> None:
    found = cause_of(a_record(status=status, flags=flags, details=details))
    assert (found.code if found else None) == cause
    assert found is None or found.sentence


def test_what_is_refused_before_any_rule_is_the_clients_doing() -> None:
    """Here: plain HTTP on an HTTPS port."""
    found = cause_of(a_record(status=400, details="direct_response"))
    assert found is not None
    assert found.code == "BadRequest"
    assert cause_of(a_record(status=400, details="direct_response", priority=3)) is None


def test_a_redirect_that_would_be_too_long() -> None:
    found = cause_of(a_record(status=507, details="direct_response", location="http://b.test/x", priority=3))
    assert found is not None
    assert found.code == "RedirectTooLong"


def test_what_desync_mitigation_refused() -> None:
    found = cause_of(a_record(status=400, details="lua_response", desync="EmptyHeader", priority=0))
    assert found is not None
    assert found.code == "RequestNotCompliant"
    passed = a_record(status=400, details="via_upstream", desync="EmptyHeader", priority=0)
    assert cause_of(passed) is None, "the target's own answer, in monitor mode"


@pytest.mark.parametrize(
    ("code", "drained_at", "cut"),
    [
        (RESET, 10.0, True),
        (RESET, 10.05, True),  # two clocks
        (RESET, 11.0, False),
        (RESET, None, False),
        (CUT, 9.0, True),
        (TIMEOUT, 9.0, False),
    ],
)
def test_what_the_load_balancer_broke_off(code: str, drained_at: float | None, cut: bool) -> None:
    assert cut_by_draining(Cause(code, ""), ended_at=10.0, drained_at=drained_at) is cut
