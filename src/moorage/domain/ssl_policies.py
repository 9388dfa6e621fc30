"""The security policies of HTTPS and TLS listeners: which TLS versions and ciphers each allows (AWS's names and tables,
ELB user guides, "Security policies"). Those for RFC 9151 interoperability are not there: AWS does not say in one place
what they are."""

from __future__ import annotations

DEFAULT_POLICY = "ELBSecurityPolicy-2016-08"
"""What a listener gets when the API's caller names none (semantics elbv2 §3.2)."""

Policy = tuple[tuple[str, ...], tuple[str, ...]]
"""(protocols, ciphers in the order in which they are preferred)"""

_VERSIONS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
_TLS13 = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
_TLS13_FIPS = _TLS13[:2]
_OLDER = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES128-SHA256",
    "ECDHE-RSA-AES128-SHA256",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES256-SHA384",
    "ECDHE-RSA-AES256-SHA384",
    "ECDHE-RSA-AES256-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "AES128-GCM-SHA256",
    "AES128-SHA256",
    "AES128-SHA",
    "AES256-GCM-SHA384",
    "AES256-SHA256",
    "AES256-SHA",
)
"""Of TLS 1.2 and before. Without ECDHE there is no forward secrecy; plain SHA is SHA-1."""


def _some(*, sha1: bool = False, cbc: bool = True, rsa: bool = False) -> tuple[str, ...]:
    return tuple(
        name
        for name in _OLDER
        if (sha1 or not name.endswith("-SHA")) and (cbc or "-GCM-" in name) and (rsa or name.startswith("ECDHE-"))
    )


_BY_STRENGTH = {
    "": _some(),
    "-Res": _some(cbc=False),
    "-Ext0": _some(sha1=True),
    "-Ext1": _some(rsa=True),
    "-Ext2": _OLDER,
}
"""Ciphers of TLS 1.2 by the suffix of `TLS13-1-2`."""
_CNSA = tuple(name for name in _some(cbc=False) if "AES256" in name)


def _with_tls13(
    family: str, newest: tuple[str, ...], strengths: tuple[str, ...], lower: dict[str, int]
) -> dict[str, Policy]:
    """One generation of policies with TLS 1.3. `lower`: those that allow every cipher → the index of the oldest version."""
    found: dict[str, Policy] = {f"TLS13-1-3-{family}": (_VERSIONS[3:], newest)}
    for suffix in strengths:
        found[f"TLS13-1-2{suffix}-{family}"] = (_VERSIONS[2:], newest + _BY_STRENGTH[suffix])
    for name, oldest in lower.items():
        found[f"{name}-{family}"] = (_VERSIONS[oldest:], newest + _OLDER)
    return found


_PLAIN, _FIPS = ("", "-Res", "-Ext2", "-Ext1"), ("", "-Res", "-Ext2", "-Ext1", "-Ext0")
_BOTH, _ONE = {"TLS13-1-1": 1, "TLS13-1-0": 0}, {"TLS13-1-0": 0}
_NAMED: dict[str, Policy] = {
    "2016-08": (_VERSIONS[:3], _OLDER),
    **_with_tls13("2021-06", _TLS13, _PLAIN, _BOTH),
    **_with_tls13("PQ-2025-09", _TLS13, _PLAIN, _ONE),
    **_with_tls13("FIPS-2023-04", _TLS13_FIPS, _FIPS, _BOTH),
    **_with_tls13("FIPS-PQ-2025-09", _TLS13_FIPS, _FIPS, _ONE),
    "TLS13-1-3-RFC9151-FIPS-2023-07": (_VERSIONS[3:], _TLS13[1:2]),
    "TLS13-1-2-RFC9151-FIPS-2023-07": (_VERSIONS[2:], _TLS13[1:2] + _CNSA),
    "TLS13-1-2-Ext0-RFC9151-FIPS-2023-07": (_VERSIONS[2:], (*_TLS13[1:2], *_CNSA, "AES256-GCM-SHA384")),
    "TLS-1-2-Ext-2018-06": (_VERSIONS[2:3], _OLDER),
    "TLS-1-2-2017-01": (_VERSIONS[2:3], _some(rsa=True)),
    "TLS-1-1-2017-01": (_VERSIONS[1:3], _OLDER),
    "TLS-1-0-2015-04": (_VERSIONS[:3], (*_OLDER, "DES-CBC3-SHA")),
    "2015-05": (_VERSIONS[:3], _OLDER),
    "FS-1-2-Res-2020-10": (_VERSIONS[2:3], _some(cbc=False)),
    "FS-1-2-Res-2019-08": (_VERSIONS[2:3], _some()),
    "FS-1-2-2019-08": (_VERSIONS[2:3], _some(sha1=True)),
    "FS-1-1-2019-08": (_VERSIONS[1:3], _some(sha1=True)),
    "FS-2018-06": (_VERSIONS[:3], _some(sha1=True)),
}
SSL_POLICIES: dict[str, Policy] = {f"ELBSecurityPolicy-{name}": policy for name, policy in _NAMED.items()}
NETWORK_ONLY = frozenset({"ELBSecurityPolicy-2015-05"})
"""Not for HTTPS listeners of application load balancers."""


def is_fips(policy: str) -> bool:
    """Policies whose ciphers a FIPS-validated module does. They never stand beside others on one load balancer."""
    return "-FIPS-" in policy
