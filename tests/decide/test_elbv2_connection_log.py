from __future__ import annotations

import shlex

import msgspec
import pytest

from moorage.decide.elbv2_access_log import connection_trace_id
from moorage.decide.elbv2_connection_log import connection_line, plain_connection_line, verify_status
from moorage.domain.connection_record import ConnectionRecord
from moorage.domain.request_record import RequestRecord

BALANCER = "arn:aws:elasticloadbalancing:us-east-1:000000000000:loadbalancer/app/web/50dc6c495c0c9188"
MUTUAL = ConnectionRecord(
    listener=f"{BALANCER}:443",
    protocol="HTTPS",
    event="end",
    at=1700000000.25,
    duration=9.0,
    client="192.0.2.7:36280",
    local="127.0.10.1:8443",
    connection_id=7,
    handshake=0.004,
    tls_version="TLSv1.2",
    tls_cipher="ECDHE-RSA-AES128-GCM-SHA256",
    tls_group="X25519",
    server_name="a.example.com",
    subject="CN=alice,O=end",
    serial="fef257372d5c14d4",
    not_before="2023-09-21T22:43:21Z",
    not_after="2026-06-17T22:43:21Z",
)
WHERE = {"load_balancer": "app/web/50dc6c495c0c9188", "address": "127.0.10.1"}
VERIFY = (
    "TLS_error:|268435581:SSL_routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify_cert_failed:_X509_verify_cert:"
    "_certificate_verification_error_at_depth_0:_{}:TLS_error_end"
)


def a_record(**changes: object) -> ConnectionRecord:
    return msgspec.structs.replace(MUTUAL, **changes)


def test_a_connection_with_a_client_certificate_field_by_field() -> None:
    assert connection_line(MUTUAL, **WHERE) == (
        "2023-11-14T22:13:20.254000Z 192.0.2.7 36280 443 TLSv1.2 ECDHE-RSA-AES128-GCM-SHA256 0.004 "
        '"CN=alice,O=end" NotBefore=2023-09-21T22:43:21Z;NotAfter=2026-06-17T22:43:21Z FEF257372D5C14D4 Success '
        f"{connection_trace_id('192.0.2.7:36280', 7)} x25519 app/web/50dc6c495c0c9188 127.0.10.1"
    )


def test_a_connection_that_failed_has_no_handshake_and_says_when_it_failed() -> None:
    failed = a_record(handshake=None, duration=0.5, failure=VERIFY.format("certificate_has_expired"))
    fields = shlex.split(connection_line(failed, **WHERE))
    assert fields[0] == "2023-11-14T22:13:20.750000Z"
    assert fields[6] == "-"
    assert fields[10] == "Failed:ClientCertExpired"


def test_what_was_never_settled_is_not_shown() -> None:
    probe = a_record(handshake=None, tls_cipher="", tls_group="", subject="", serial="", not_before="", not_after="")
    fields = shlex.split(connection_line(probe, **WHERE))
    assert fields[4:10] == ["-"] * 6
    assert fields[12] == "-"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (VERIFY.format("certificate_has_expired"), "ClientCertExpired"),
        (VERIFY.format("certificate_is_not_yet_valid"), "ClientCertNotYetValid"),
        (VERIFY.format("certificate_revoked"), "ClientCertCrlHit"),
        (VERIFY.format("unable_to_get_certificate_CRL"), "ClientCertCrlProcessingError"),
        (VERIFY.format("CRL_has_expired"), "ClientCertCrlProcessingError"),
        (VERIFY.format("certificate_chain_too_long"), "ClientCertMaxChainDepthExceeded"),
        (VERIFY.format("unsupported_certificate_purpose"), "ClientCertPurposeInvalid"),
        (VERIFY.format("unable_to_get_local_issuer_certificate"), "ClientCertUntrusted"),
        (VERIFY.format("self-signed_certificate"), "ClientCertUntrusted"),
        (VERIFY.format("self_signed_certificate_in_certificate_chain"), "ClientCertUntrusted"),
        (VERIFY.format("certificate_signature_failure"), "ClientCertUntrusted"),
        (VERIFY.format("something_else"), "ClientCertInvalid"),
        ("TLS_error:|268435648:SSL_routines:OPENSSL_internal:PEER_DID_NOT_RETURN_A_CERTIFICATE", "UnmappedConnectionError"),
        ("TLS_error:|268435612:SSL_routines:OPENSSL_internal:HTTP_REQUEST:TLS_error_end", "UnmappedConnectionError"),
        ("", "UnmappedConnectionError"),
    ],
)  # fmt: skip
def test_why_a_connection_failed(words: str, code: str) -> None:
    assert verify_status(a_record(handshake=None, failure=words)) == f"Failed:{code}"


def test_a_subject_cannot_forge_a_field() -> None:
    line = connection_line(a_record(subject='CN="x" y\n2'), **WHERE)
    assert '"CN=\\x22x\\x22 y\\x0A2"' in line
    assert "\n" not in line


def test_a_plain_connection_is_told_by_its_first_request() -> None:
    first = RequestRecord(
        1700000000.25, "[2001:db8::7]:61814", 8080, "HTTP/1.1", "GET", "h", "/", 200, 0.1, connection_id=3
    )
    assert plain_connection_line(first, **WHERE, port=80) == (
        '2023-11-14T22:13:20.250000Z 2001:db8::7 61814 80 - - - "-" - - - '
        f"{connection_trace_id('[2001:db8::7]:61814', 3)} - app/web/50dc6c495c0c9188 127.0.10.1"
    )


def test_trace_ids_tell_connections_apart() -> None:
    ids = {connection_trace_id(client, number) for client in ("192.0.2.7:1", "192.0.2.7:2") for number in (1, 2)}
    assert len(ids) == 4
    assert all(one.startswith("TID_") and len(one) == 36 for one in ids)
    assert connection_trace_id("192.0.2.7:1", 0) == "-"
