"""What the security policies allow (ELB user guides, "Security policies")."""

from __future__ import annotations

import pytest

from moorage.domain.ssl_policies import DEFAULT_POLICY, SSL_POLICIES, is_fips


def test_the_default_is_one_of_them() -> None:
    protocols, ciphers = SSL_POLICIES[DEFAULT_POLICY]
    assert (protocols, len(ciphers)) == (("TLSv1", "TLSv1.1", "TLSv1.2"), 18)


@pytest.mark.parametrize(
    ("name", "oldest", "newest", "count"),
    [
        ("TLS13-1-3-2021-06", "TLSv1.3", "TLSv1.3", 3),
        ("TLS13-1-3-FIPS-2023-04", "TLSv1.3", "TLSv1.3", 2),
        ("TLS13-1-2-2021-06", "TLSv1.2", "TLSv1.3", 11),
        ("TLS13-1-2-PQ-2025-09", "TLSv1.2", "TLSv1.3", 11),
        ("TLS13-1-2-Res-PQ-2025-09", "TLSv1.2", "TLSv1.3", 7),
        ("TLS13-1-2-Ext1-2021-06", "TLSv1.2", "TLSv1.3", 15),
        ("TLS13-1-2-Ext2-2021-06", "TLSv1.2", "TLSv1.3", 21),
        ("TLS13-1-2-Ext0-FIPS-2023-04", "TLSv1.2", "TLSv1.3", 14),
        ("TLS13-1-1-2021-06", "TLSv1.1", "TLSv1.3", 21),
        ("TLS13-1-0-FIPS-PQ-2025-09", "TLSv1", "TLSv1.3", 20),
        ("TLS13-1-2-RFC9151-FIPS-2023-07", "TLSv1.2", "TLSv1.3", 3),
        ("TLS-1-2-2017-01", "TLSv1.2", "TLSv1.2", 12),
        ("TLS-1-2-Ext-2018-06", "TLSv1.2", "TLSv1.2", 18),
        ("TLS-1-0-2015-04", "TLSv1", "TLSv1.2", 19),
        ("FS-1-2-Res-2020-10", "TLSv1.2", "TLSv1.2", 4),
        ("FS-1-2-Res-2019-08", "TLSv1.2", "TLSv1.2", 8),
        ("FS-2018-06", "TLSv1", "TLSv1.2", 12),
    ],
)
def test_protocols_and_ciphers(name: str, oldest: str, newest: str, count: int) -> None:
    protocols, ciphers = SSL_POLICIES[f"ELBSecurityPolicy-{name}"]
    assert (protocols[0], protocols[-1], len(ciphers)) == (oldest, newest, count)
    assert len(set(ciphers)) == len(ciphers)


def test_forward_secrecy_and_fips_are_what_their_names_say() -> None:
    for name, (_, ciphers) in SSL_POLICIES.items():
        if "-FS-" in name:
            assert all(cipher.startswith("ECDHE-") for cipher in ciphers)
        if is_fips(name):
            assert "TLS_CHACHA20_POLY1305_SHA256" not in ciphers
