from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.decide.capacity_strategy import distribute
from moorage.domain.cluster import StrategyItem


def item(name: str, weight: int = 0, base: int = 0) -> StrategyItem:
    return StrategyItem(name, weight, base)


F, S = "FARGATE", "FARGATE_SPOT"


@pytest.mark.parametrize(
    ("strategy", "count", "running", "expected"),
    [
        # One provider gets everything.
        ([item(F, 1)], 3, {}, [F, F, F]),
        # Equal weights alternate, the first one first.
        ([item(F, 1), item(S, 1)], 4, {}, [F, S, F, S]),
        # 1 : 4, AWS's example: of every five tasks four run on Spot.
        ([item(F, 1), item(S, 4)], 5, {}, [S, S, S, F, S]),
        # The base is filled before the weights count.
        ([item(F, 1, 2), item(S, 1)], 4, {}, [F, F, F, S]),
        ([item(F, 1, 1), item(S, 3)], 8, {}, [F, S, S, F, S, S, S, F]),
        # Weight 0: the base and nothing more.
        ([item(F, 0, 2), item(S, 1)], 5, {}, [F, F, S, S, S]),
        # Spot was interrupted: what is missing comes back there.
        ([item(F, 1), item(S, 1)], 2, {F: 2}, [S, S]),
        # The base was stopped: it comes back first.
        ([item(F, 0, 1), item(S, 1)], 2, {S: 3}, [F, S]),
        # The base may be named second.
        ([item(S, 1), item(F, 1, 1)], 3, {}, [F, S, F]),
        ([item(F, 1), item(S, 1)], 0, {}, []),
    ],
)
def test_tasks_are_given_out(
    strategy: list[StrategyItem], count: int, running: dict[str, int], expected: list[str]
) -> None:
    assert list(distribute(strategy, count, running)) == expected


@given(st.integers(0, 20), st.lists(st.integers(1, 10), min_size=1, max_size=4), st.integers(0, 100))
def test_nobody_gets_less_than_its_share_rounded_down(base: int, weights: list[int], count: int) -> None:
    strategy = [item(f"p{n}", weight, base if n == 0 else 0) for n, weight in enumerate(weights)]
    given_out = Counter(distribute(strategy, count, {}))
    assert sum(given_out.values()) == count
    shared = max(0, count - base)
    for n, weight in enumerate(weights):
        mine = given_out[f"p{n}"] - (min(base, count) if n == 0 else 0)
        assert mine >= shared * weight // sum(weights)
