"""The security policies of HTTPS listeners: which TLS versions and ciphers each allows (AWS's names)."""

from __future__ import annotations

DEFAULT_POLICY = "ELBSecurityPolicy-2016-08"
"""What a listener gets when the API's caller names none (semantics elbv2 §3.2)."""

_TLS12 = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES128-SHA256",
    "ECDHE-RSA-AES128-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES256-SHA384",
    "ECDHE-RSA-AES256-SHA384",
)
_TLS13 = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
_LEGACY = (
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-RSA-AES256-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "AES128-GCM-SHA256",
    "AES128-SHA256",
    "AES128-SHA",
    "AES256-GCM-SHA384",
    "AES256-SHA256",
    "AES256-SHA",
)

SSL_POLICIES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "ELBSecurityPolicy-2016-08": (("TLSv1", "TLSv1.1", "TLSv1.2"), _TLS12 + _LEGACY),
    "ELBSecurityPolicy-TLS-1-1-2017-01": (("TLSv1.1", "TLSv1.2"), _TLS12 + _LEGACY),
    "ELBSecurityPolicy-TLS-1-2-2017-01": (
        ("TLSv1.2",),
        (*_TLS12, "AES128-GCM-SHA256", "AES128-SHA256", "AES256-GCM-SHA384", "AES256-SHA256"),
    ),
    "ELBSecurityPolicy-FS-1-2-Res-2020-10": (("TLSv1.2",), tuple(name for name in _TLS12 if "GCM" in name)),
    "ELBSecurityPolicy-TLS13-1-2-2021-06": (("TLSv1.2", "TLSv1.3"), _TLS13 + _TLS12),
    "ELBSecurityPolicy-TLS13-1-2-Res-2021-06": (
        ("TLSv1.2", "TLSv1.3"),
        (*_TLS13, *(name for name in _TLS12 if "GCM" in name)),
    ),
    "ELBSecurityPolicy-TLS13-1-3-2021-06": (("TLSv1.3",), _TLS13),
}
"""Name → (protocols, ciphers)."""
