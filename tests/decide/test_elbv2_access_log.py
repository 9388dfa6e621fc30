from __future__ import annotations

import shlex

from moorage.decide.elbv2_access_log import connection_trace_id, log_line
from moorage.domain.request_record import RequestRecord

ARN = "arn:aws:elasticloadbalancing:us-east-1:000000000000:"
GROUP = f"{ARN}targetgroup/web/73e2d6bc24d8a067"
SERVED = RequestRecord(
    at=1700000000.25,
    client="192.0.2.7:2817",
    local_port=8080,
    protocol="HTTP/1.1",
    method="GET",
    host="www.example.com",
    path="/a?b=c",
    status=200,
    duration=0.5,
    details="via_upstream",
    user_agent="curl/8",
    trace_id="Root=1-65555-1",
    rule_arn=f"{ARN}listener-rule/app/web/50dc6c495c0c9188/1/2",
    priority=7,
    target_group_arn=GROUP,
    target="10.0.0.1:80",
    attempts=1,
    request_time=0.001,
    target_time=0.048,
    response_time=0.037,
    received_bytes=34,
    sent_bytes=366,
)


def a_line(record: RequestRecord = SERVED, **changes: object) -> list[str]:
    values = {name: getattr(record, name) for name in record.__struct_fields__}
    made = RequestRecord(**{**values, **changes})  # type: ignore[arg-type]
    return shlex.split(log_line(made, load_balancer=made.load_balancer, scheme="http", port=80))


def test_a_served_request_field_by_field() -> None:
    assert log_line(SERVED, load_balancer=SERVED.load_balancer, scheme="http", port=80) == (
        "http 2023-11-14T22:13:20.750000Z app/web/50dc6c495c0c9188 192.0.2.7:2817 10.0.0.1:80 0.001 0.048 0.037 200 200 "
        '34 366 "GET http://www.example.com:80/a?b=c HTTP/1.1" "curl/8" - - '
        f'{GROUP} "Root=1-65555-1" "-" "-" 7 2023-11-14T22:13:20.250000Z "forward" "-" "-" "10.0.0.1:80" "200" "-" "-" '
        '- "-" "-" "-"'
    )


def test_the_default_rule_is_priority_0_and_no_rule_is_minus_1() -> None:
    assert a_line(priority=0)[20] == "0"
    assert a_line(priority=None)[20] == "-1"


def test_what_never_reached_a_target_has_no_times_and_no_target_status() -> None:
    fields = a_line(status=503, details="no_healthy_upstream", flags="UH", target="", request_time=None)
    assert fields[4:10] == ["-", "-1", "-1", "-1", "503", "-"]


def test_a_redirect_shows_where_to() -> None:
    fields = a_line(status=301, details="direct_response", target_group_arn="", target="", location="https://h:443/")
    assert fields[22:24] == ["redirect", "https://h:443/"]


def test_types() -> None:
    assert a_line(status=101)[0] == "ws"
    assert a_line(protocol="HTTP/2")[0] == "h2"


def test_nobody_forges_fields_or_lines() -> None:
    fields = a_line(user_agent='a" "b\n\\x')
    assert len(fields) == len(a_line())
    assert "\n" not in log_line(SERVED, load_balancer="", scheme="http", port=80)


def test_what_does_not_comply_is_classified() -> None:
    assert a_line(desync="EmptyHeader")[-6:-4] == ["Ambiguous", "EmptyHeader"]
    assert a_line(desync="NonCompliantHeader")[-6:-4] == ["Acceptable", "NonCompliantHeader"]
    refused = {"status": 400, "flags": "DPE", "target": "", "request_time": None}
    details = "http1.content_length_and_chunked_not_allowed"
    assert a_line(**refused, details=details)[-6:-4] == ["Ambiguous", "BothTeClPresent"]
    assert a_line(**refused, details="http1.codec_error")[-6:-4] == ["Severe", "-"]
    assert a_line()[-6:-4] == ["-", "-"]


def test_the_type_tells_the_protocol() -> None:
    assert a_line(protocol="HTTP/2")[0] == "h2"
    assert a_line(protocol="HTTP/2", grpc=True)[0] == "grpcs"


def test_a_request_names_its_connection() -> None:
    assert a_line(connection_id=5)[29] == connection_trace_id(SERVED.client, 5)
