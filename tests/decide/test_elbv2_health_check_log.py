from __future__ import annotations

import msgspec
import pytest

from moorage.decide.elbv2_health_check_log import health_check_line
from moorage.domain.target_group import HealthCheck, ProbeResult, Target, TargetGroup
from proxy.builders import a_target_group, tg_arn

TARGET = Target(tg_arn("web"), "172.31.20.97", 80, "us-east-1a", registered_at=1.0)


def a_line(result: ProbeResult, group: TargetGroup | None = None, target: Target = TARGET) -> str:
    return health_check_line(
        target,
        group or a_target_group("web"),
        result,
        started=1700000000.25,
        seconds=0.019584,
        load_balancer="app/web/1",
        address="127.0.10.1",
    )


def test_a_passed_check_field_by_field() -> None:
    assert a_line(ProbeResult("answered", 200)) == (
        "http 2023-11-14T22:13:20.250000Z 0.019584000 172.31.20.97:80 web PASS 200 - app/web/1 127.0.10.1"
    )


@pytest.mark.parametrize(
    ("result", "status", "reason"),
    [
        (ProbeResult("timeout"), "-", "TimedOut"),
        (ProbeResult("failed", detail="refused"), "-", "ConnectionReset"),
        (ProbeResult("answered", 404), "404", "ResponseCodeMismatch"),
        (ProbeResult("answered", 502), "502", "TargetError"),
    ],
)
def test_why_a_check_failed(result: ProbeResult, status: str, reason: str) -> None:
    assert a_line(result).split(" ")[5:8] == ["FAIL", status, reason]


def test_a_status_that_the_group_wants_passes_whatever_it_is() -> None:
    group = msgspec.structs.replace(a_target_group("web"), health_check=HealthCheck(matcher="500-599"))
    assert a_line(ProbeResult("answered", 502), group).split(" ")[5:8] == ["PASS", "502", "-"]


@pytest.mark.parametrize(
    ("changes", "check", "kind", "where"),
    [
        ({}, {"protocol": "HTTPS", "port": "8443"}, "https", "172.31.20.97:8443"),
        ({"protocol_version": "HTTP2"}, {}, "h2", "172.31.20.97:80"),
        ({"protocol_version": "GRPC"}, {"matcher": "0"}, "grpc", "172.31.20.97:80"),
        ({"target_type": "lambda"}, {}, "lambda", "172.31.20.97"),
    ],
)
def test_types(changes: dict[str, object], check: dict[str, str], kind: str, where: str) -> None:
    plain = a_target_group("web")
    group = msgspec.structs.replace(plain, health_check=HealthCheck(**check), **changes)  # type: ignore[arg-type]
    fields = a_line(ProbeResult("answered", 12), group).split(" ")
    assert (fields[0], fields[3]) == (kind, where)
    if kind == "grpc":
        assert fields[7] == "GRPCUnexpectedStatus"


def test_a_target_is_named_by_the_address_that_answers() -> None:
    instance = msgspec.structs.replace(TARGET, id="i-1", reaches="10.0.0.9")
    assert a_line(ProbeResult("answered", 200), target=instance).split(" ")[3] == "10.0.0.9:80"
