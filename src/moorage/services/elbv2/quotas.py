"""The default quotas (semantics elbv2 §12): enforced where they protect from a run-away script, and described."""

from __future__ import annotations

MAX_LOAD_BALANCERS = 50
MAX_LISTENERS = 50
MAX_RULES = 100
MAX_TARGET_GROUPS = 3000
MAX_TARGETS = 1000
MAX_GROUPS_OF_ONE = 100
"""Target groups that the listeners and rules of one load balancer forward to."""
MAX_CERTIFICATES = 25
"""Of one load balancer, the default certificates of its listeners not counted."""
MAX_TRUST_STORES = 20
MAX_REVOCATION_ENTRIES = 500_000

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
    "target-groups-per-application-load-balancer": MAX_GROUPS_OF_ONE,
    "target-groups-per-action-on-application-load-balancer": 5,
    "target-groups-per-action-on-network-load-balancer": 5,
    "certificates-per-application-load-balancer": MAX_CERTIFICATES,
    "certificates-per-network-load-balancer": 25,
    "targets-per-target-group": MAX_TARGETS,
    "target-id-registrations-per-application-load-balancer": 1000,
    "network-load-balancer-enis-per-vpc": 1200,
    "application-load-balancers": MAX_LOAD_BALANCERS,
    "gateway-load-balancers": 100,
    "gateway-load-balancers-per-vpc": 100,
    "geneve-target-groups": 100,
    "targets-per-availability-zone-per-gateway-load-balancer": 300,
}
"""In the order in which AWS tells them."""
