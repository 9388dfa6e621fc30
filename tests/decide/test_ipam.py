from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from moorage.decide.ipam import mac_of, next_address, private_dns_name, usable
from moorage.decide.placement.subnets import choose_subnet


def test_reserved_addresses_are_never_given() -> None:
    taken: set[str] = set()
    while (address := next_address("10.0.1.0/28", taken)) is not None:
        taken.add(address)
    assert len(taken) == usable("10.0.1.0/28") == 11
    assert {"10.0.1.0", "10.0.1.1", "10.0.1.2", "10.0.1.3", "10.0.1.15"}.isdisjoint(taken)


def test_a_released_address_comes_back_last() -> None:
    assert next_address("10.0.1.0/28", set(), after="10.0.1.5") == "10.0.1.6"
    assert next_address("10.0.1.0/28", set(), after="10.0.1.14") == "10.0.1.4"


@given(st.integers(20, 28), st.sets(st.integers(4, 14)), st.integers(4, 14))
def test_a_given_address_is_never_taken(bits: int, taken: set[int], after: int) -> None:
    used = {f"10.9.0.{n}" for n in taken}
    address = next_address(f"10.9.0.0/{bits}", used, f"10.9.0.{after}")
    assert address is None or address not in used


def test_names_follow_from_the_address() -> None:
    assert mac_of("10.0.1.20") == "02:42:0a:00:01:14"
    assert private_dns_name("10.0.1.20", "eu-west-1") == "ip-10-0-1-20.eu-west-1.compute.internal"


def test_tasks_spread_over_zones() -> None:
    subnets = [("s-a1", "a"), ("s-a2", "a"), ("s-b", "b")]
    assert choose_subnet(subnets, {}, {}) == "s-a1"
    assert choose_subnet(subnets, {"a": 1}, {"s-a1": 1}) == "s-b"
    assert choose_subnet(subnets, {"a": 1, "b": 1}, {"s-a1": 1, "s-b": 1}) == "s-a2"
