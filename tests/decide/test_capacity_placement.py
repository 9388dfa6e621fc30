from __future__ import annotations

from typing import Any

import pytest

from moorage.decide.capacity_placement import Starts, starts_of
from moorage.decide.placement.filters import Wish
from moorage.decide.placement.hosts import Host
from moorage.decide.placement.instances import group_instance
from moorage.decide.placement.resources import Demand
from moorage.decide.placement.strategies import RANDOM
from moorage.domain.capacity_provider import HostGroup
from moorage.domain.cluster import StrategyItem

GROUP = HostGroup("arn:group", "0" * 12, "us-east-1", "hosts", 0, 10, 0, "t3.medium")


def host(name: str) -> Host:
    """Room for two of the tasks below."""
    instance = group_instance(
        GROUP,
        arn=f"arn:{name}",
        cluster_arn="main",
        ec2_instance_id=name,
        instance_type="",
        zone="a",
        address="",
        provider="p",
        now=0.0,
    )
    return Host(instance, instance.registered)


HOSTS: dict[str, tuple[Host, ...]] = {"big": (host("b1"), host("b2")), "small": (host("s1"),), "none": ()}


def starts(count: int, *names: str, **more: Any) -> Starts:
    strategy = [StrategyItem(name, 1) for name in names]
    wish = Wish("group", Demand(1024, 100))
    return starts_of(strategy, count, {}, hosts=lambda name: HOSTS[name], wish=wish, how=RANDOM, **more)


def shown(found: Starts) -> list[str]:
    return [
        f"{one.provider}:{'waits' if one.waits else one.host.instance.arn[4:] if one.host else 'fargate'}"
        for one in found.starts
    ]


def test_every_provider_has_its_own_instances() -> None:
    found = starts(4, "big", "small")
    assert [one.split(":")[0] for one in shown(found)] == ["big", "small", "big", "small"]
    assert {one for one in shown(found) if one.startswith("small")} == {"small:s1"}
    assert (found.refused, found.refused_providers, found.lacking) == ((), (), 0)


def test_what_does_not_fit_waits_or_is_refused_but_goes_nowhere_else() -> None:
    waiting = starts(8, "big", "small", managed={"small"})
    assert shown(waiting).count("small:waits") == 2
    assert len(waiting.starts) == 8
    refused = starts(8, "big", "small")
    assert len(refused.starts) == 6
    assert refused.refused_providers == ("small", "small")
    assert [one.reason for one in refused.refused] == ["RESOURCE:CPU"]


@pytest.mark.parametrize(("may_wait", "waits", "too_many"), [(9, 3, 0), (2, 2, 1), (0, 0, 3)])
def test_not_everybody_may_wait(may_wait: int, waits: int, too_many: int) -> None:
    found = starts(3, "none", managed={"none"}, may_wait=may_wait)
    assert (shown(found), found.too_many) == (["none:waits"] * waits, too_many)


def test_a_provider_without_instances_names_no_instance() -> None:
    found = starts(2, "none")
    assert (found.starts, found.refused, found.refused_providers) == ((), (), ("none", "none"))


def test_fargate_needs_no_host_and_spot_may_lack() -> None:
    assert shown(starts(3, "FARGATE", "FARGATE_SPOT")) == [
        "FARGATE:fargate",
        "FARGATE_SPOT:fargate",
        "FARGATE:fargate",
    ]
    found = starts(4, "FARGATE", "FARGATE_SPOT", lacking={"FARGATE_SPOT"})
    assert (shown(found), found.lacking) == (["FARGATE:fargate"] * 2, 2)
