from __future__ import annotations

import pytest

from moorage.decide.elbv2_capacity_units import of_application, of_flows, rules_evaluated

NOTHING = {"new_connections": 0, "active_connections": 0, "processed_bytes": 0, "charged_rules": 0}


@pytest.mark.parametrize(
    ("used", "units"),
    [
        ({}, 0),
        ({"new_connections": 3_000}, 2),
        ({"active_connections": 6_000}, 2),
        ({"processed_bytes": 2 * 2**30 / 60}, 2),
        ({"charged_rules": 120_000}, 2),
        ({"new_connections": 3_000, "active_connections": 9_000}, 3),
    ],
)
def test_the_dimension_that_is_used_most_counts(used: dict[str, float], units: float) -> None:
    """For an hour of such minutes."""
    assert of_application(**{**NOTHING, **used}) * 60 == pytest.approx(units)


@pytest.mark.parametrize(
    ("protocol", "new", "active"), [("TCP", 48_000, 100_000), ("TLS", 3_000, 3_000), ("UDP", 24_000, 50_000)]
)
def test_flows(protocol: str, new: int, active: int) -> None:
    plain = {"new_flows": 0, "active_flows": 0, "processed_bytes": 0}
    for used in ({"new_flows": new}, {"active_flows": active}, {"processed_bytes": 2**30 / 60}):
        assert of_flows(protocol, **{**plain, **used}) * 60 == pytest.approx(1)  # type: ignore[arg-type]


@pytest.mark.parametrize(("matched", "count"), [(10, 1), (20, 2), (30, 3), (0, 3), (25, 2)])
def test_rules(matched: int, count: int) -> None:
    assert rules_evaluated(matched, [30, 10, 20]) == count
