"""Loopback addresses of load balancers: the lowest free one."""

from __future__ import annotations

from moorage.decide.elbv2_addresses import lowest_free_loopback


def test_upwards_without_network_and_broadcast_addresses() -> None:
    taken: list[str] = []
    for _ in range(300):
        found = lowest_free_loopback(taken.__contains__)
        assert found is not None
        taken.append(found)
    assert taken[:2] == ["127.0.10.1", "127.0.10.2"]
    assert taken[253:256] == ["127.0.10.254", "127.0.11.1", "127.0.11.2"]


def test_a_gap_is_filled_first() -> None:
    taken = {"127.0.10.1", "127.0.10.3"}
    assert lowest_free_loopback(taken.__contains__) == "127.0.10.2"


def test_none_is_left() -> None:
    assert lowest_free_loopback(lambda _: True) is None
