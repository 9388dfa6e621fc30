from __future__ import annotations

import msgspec
import pytest

from moorage.decide.elbv2_flow_log import flow_line
from moorage.domain.connection_record import ConnectionRecord

NET = "arn:aws:elasticloadbalancing:us-east-1:000000000000:loadbalancer/net/db/c6e77e28c25b2234"
FLOW = ConnectionRecord(
    listener=f"{NET}:443",
    protocol="TLS",
    event="end",
    at=1700000000.25,
    duration=0.005,
    client="72.21.218.154:51341",
    local="172.100.100.185:443",
    connection_id=9,
    handshake=0.002,
    tls_version="TLSv1.2",
    tls_cipher="ECDHE-RSA-AES128-SHA",
    server_name="db.example.com",
    received_bytes=98,
    sent_bytes=246,
)


def a_line(**changes: object) -> str:
    return flow_line(
        msgspec.structs.replace(FLOW, **changes),
        load_balancer="net/db/c6e77e28c25b2234",
        listener="g3d4b5e8bb8464cd",
        certificate="arn:cert",
    )


def test_a_connection_field_by_field() -> None:
    assert a_line() == (
        "tls 2.0 2023-11-14T22:13:20 net/db/c6e77e28c25b2234 g3d4b5e8bb8464cd 72.21.218.154:51341 172.100.100.185:443 "
        "5 2 98 246 - arn:cert - ECDHE-RSA-AES128-SHA tlsv12 - db.example.com - - - 2023-11-14T22:13:20"
    )


def test_a_handshake_that_failed() -> None:
    words = "TLS_error:|268436504:SSL_routines:OPENSSL_internal:TLSV1_ALERT_UNKNOWN_CA:TLS_error_end"
    fields = a_line(handshake=None, failure=words).split(" ")
    assert fields[8] == "-"
    assert fields[11] == "48"
    assert fields[14:16] == ["-", "-"]


@pytest.mark.parametrize(
    ("changes", "position", "value"),
    [
        ({"handshake": None, "tls_cipher": "", "server_name": ""}, 12, "-"),
        ({"server_name": ""}, 17, "-"),
        ({"tls_version": "TLSv1"}, 15, "tlsv10"),
        ({"tls_version": "TLSv1.3"}, 15, "tlsv13"),
        ({"failure": "TLS_error:…:WRONG_VERSION_NUMBER:TLS_error_end"}, 11, "-"),
    ],
)
def test_what_is_not_known(changes: dict[str, object], position: int, value: str) -> None:
    assert a_line(**changes).split(" ")[position] == value
