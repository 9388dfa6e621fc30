"""What a load balancer's minute costs on AWS, in load balancer capacity units. Pure.

Source: AWS's pricing page of Elastic Load Balancing. The dimension that is used most counts. A value per minute is a
sixtieth of the units, so that the sum over an hour is what an hour costs: 3,000 new connections in a minute are 50 a
second, two units; two units for an hour are 120 minutes of 1/30 each.
"""

from __future__ import annotations

from typing import Literal

_GIGABYTE = 2**30
_MINUTES = 60
FREE_RULES = 10
"""Rules of a request whose evaluation costs nothing."""

_FLOWS = {"TCP": (800, 100_000), "TLS": (50, 3_000), "UDP": (400, 50_000)}
"""Protocol → (new flows a second, active flows) of one unit."""


def of_application(
    *, new_connections: float, active_connections: float, processed_bytes: float, charged_rules: float
) -> float:
    """Of one minute. `charged_rules`: rules that were evaluated beyond the free ones of their requests."""
    return (
        max(
            new_connections / 60 / 25,
            active_connections / 3_000,
            processed_bytes * _MINUTES / _GIGABYTE,
            charged_rules / 60 / 1_000,
        )
        / _MINUTES
    )


def of_flows(
    protocol: Literal["TCP", "TLS", "UDP"], *, new_flows: float, active_flows: float, processed_bytes: float
) -> float:
    """Of one minute of a network load balancer's flows of one protocol."""
    new, active = _FLOWS[protocol]
    return max(new_flows / 60 / new, active_flows / active, processed_bytes * _MINUTES / _GIGABYTE) / _MINUTES


def rules_evaluated(matched: int, priorities: list[int]) -> int:
    """How many rules a request went through until one matched; the default rule is not counted. `matched`: its priority,
    0 for the default rule; `priorities`: of the listener's rules. [10, 20, 30]: 20 → 2, 0 → 3."""
    return sum(not matched or priority <= matched for priority in priorities)
