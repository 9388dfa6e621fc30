"""The rules that let the subnets of one installation reach each other stand before Docker's, at every moment."""

from __future__ import annotations

import asyncio
import subprocess

import pytest

from moorage.engine.docker.forwarding import Forwarding, places, rules, spelled

CHAIN = "POSTROUTING"
DOCKERS = ["-s", "10.250.0.0/24", "!", "-o", "nowhere", "-j", "MASQUERADE"]


def test_where_a_rule_stands() -> None:
    listing = """-P POSTROUTING ACCEPT
-A POSTROUTING -s 10.0.1.0/24 ! -o br-1 -j MASQUERADE
-A POSTROUTING -o mr1234+ -m comment --comment "moorage again" -j ACCEPT
-A POSTROUTING -o mr9999+ -m comment --comment moorage -j ACCEPT
-A POSTROUTING -o mr1234+ -m comment --comment moorage -j ACCEPT
"""
    assert places(listing, ["-o", "mr1234+"]) == {"moorage": [3], "moorage again": [1]}
    assert places("", ["-o", "mr1234+"]) == {"moorage": [], "moorage again": []}


def iptables(*words: str) -> str:
    return subprocess.run(["iptables", "-w", "-t", "nat", *words], check=True, capture_output=True, text=True).stdout


class Watched(Forwarding):
    """Looks after every command whether the rule is there."""

    absent = 0

    async def _iptables(self, table, action, chain, rule=()):  # type: ignore[no-untyped-def]
        answer = await super()._iptables(table, action, chain, rule)
        if chain == CHAIN and not any(standing()):
            self.absent += 1
        return answer


def standing() -> list[list[int]]:
    return list(places(iptables("-S", CHAIN), rules("a-test")[1][2]).values())


@pytest.mark.docker
async def test_it_comes_before_what_docker_adds_and_is_never_away() -> None:
    forwarding = Watched("a-test", local=True)
    try:
        await forwarding.allow()
        assert sorted(standing()) == [[], [0]]
        forwarding.absent = 0
        for _ in range(3):
            iptables("-I", CHAIN, *DOCKERS)
            assert sorted(standing()) == [[], [1]]
            await forwarding.allow()
            assert sorted(standing()) == [[], [0]]
            iptables("-D", CHAIN, *DOCKERS)
        await asyncio.gather(forwarding.allow(), Forwarding("a-test", local=True).allow())
        assert sorted(standing()) == [[], [0]]
        assert forwarding.absent == 0
    finally:
        await forwarding.forbid()
    assert not any(standing())


def test_a_rule_says_whose_it_is() -> None:
    assert spelled(["-o", "mr1+"], "moorage") == ["-o", "mr1+", "-m", "comment", "--comment", "moorage", "-j", "ACCEPT"]
