"""The default quotas (semantics elbv2 §12): enforced where they protect from a run-away script, and described."""

from __future__ import annotations

MAX_LOAD_BALANCERS = 50
MAX_LISTENERS = 50
MAX_RULES = 100
MAX_TARGET_GROUPS = 3000
MAX_TARGETS = 1000

LIMITS = {
    "target-groups": MAX_TARGET_GROUPS,
    "targets-per-application-load-balancer": MAX_TARGETS,
    "listeners-per-application-load-balancer": MAX_LISTENERS,
    "rules-per-application-load-balancer": MAX_RULES,
    "network-load-balancers": 50,
    "targets-per-network-load-balancer": 3000,
    "targets-per-availability-zone-per-network-load-balancer": 500,
    "listeners-per-network-load-balancer": 50,
    "condition-values-per-alb-rule": 5,
    "condition-wildcards-per-alb-rule": 5,
    "target-groups-per-action-on-application-load-balancer": 5,
    "target-groups-per-action-on-network-load-balancer": 1,
    "target-groups-per-application-load-balancer": 100,
    "certificates-per-application-load-balancer": 25,
    "certificates-per-network-load-balancer": 25,
    "targets-per-target-group": MAX_TARGETS,
    "target-id-registrations-per-application-load-balancer": 1000,
    "application-load-balancers": MAX_LOAD_BALANCERS,
    "gateway-load-balancers": 100,
    "gateway-load-balancers-per-vpc": 100,
    "geneve-target-groups": 100,
    "targets-per-availability-zone-per-gateway-load-balancer": 300,
}

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
