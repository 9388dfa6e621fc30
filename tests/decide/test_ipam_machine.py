"""Addresses of a small subnet, given out and taken back: never two at once, never a reserved one, none while one is free
refused."""

from __future__ import annotations

import ipaddress

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from moorage.decide.ipam import mac_of, next_address, usable

CIDR = "10.1.2.0/28"


class Subnet(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.taken: list[str] = []
        self.last: str | None = None

    @rule()
    def give(self) -> None:
        address = next_address(CIDR, set(self.taken), self.last)
        if address is None:
            assert len(self.taken) == usable(CIDR)
            return
        assert address not in self.taken
        self.taken.append(address)
        self.last = address

    @rule(which=st.integers(0, 20))
    def take_back(self, which: int) -> None:
        if self.taken:
            released = self.taken.pop(which % len(self.taken))
            others = usable(CIDR) - len(self.taken) > 1
            again = next_address(CIDR, set(self.taken), self.last)
            assert again is not None
            assert again != released or not others or self.last is None or again != self.last

    @rule()
    def restart(self) -> None:
        """The newest interface tells where the walk goes on."""
        self.last = self.taken[-1] if self.taken else None

    @invariant()
    def sound(self) -> None:
        network = ipaddress.IPv4Network(CIDR)
        assert len(set(self.taken)) == len(self.taken)
        for address in self.taken:
            number = int(ipaddress.IPv4Address(address)) - int(network.network_address)
            assert 4 <= number < network.num_addresses - 1, "the first four and the last one are AWS's"
        assert len({mac_of(address) for address in self.taken}) == len(self.taken)


TestSubnet = Subnet.TestCase
TestSubnet.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
