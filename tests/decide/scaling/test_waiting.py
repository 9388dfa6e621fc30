from __future__ import annotations

from moorage.decide.placement.filters import Wish
from moorage.decide.placement.hosts import Host
from moorage.decide.placement.instances import group_instance
from moorage.decide.placement.resources import Demand
from moorage.decide.placement.strategies import RANDOM
from moorage.decide.scaling.waiting import EMPTY, GIVE_UP, Outlook, WaitingTask, outlook
from moorage.domain.capacity_provider import HostGroup
from moorage.domain.instance_types import resources_of

GROUP = HostGroup("arn:group", "0" * 12, "us-east-1", "hosts", 0, 10, 0, "t3.medium", zones=("a", "b"))
NOW = 10_000.0


def host(number: int = 0, zone: str = "a") -> Host:
    instance = group_instance(
        GROUP,
        arn=f"arn:aws:ecs:us-east-1:0:container-instance/main/{number}",
        cluster_arn="main",
        ec2_instance_id=f"i-{number}",
        instance_type="",
        zone=zone,
        address="",
        provider="hosts",
        now=0.0,
    )
    return Host(instance, instance.registered)


def task(
    name: str, cpu: int = 1024, *, port: int | None = None, zone: str | None = None, at: float = NOW
) -> WaitingTask:
    demand = Demand(cpu, 100, frozenset() if port is None else frozenset({port}))
    zones = None if zone is None else frozenset({zone})
    return WaitingTask(name, Wish("group", demand, zones=zones), RANDOM, at)


def look(*tasks: WaitingTask, hosts: tuple[Host, ...] = (), known: bool = True) -> Outlook:
    return outlook(tasks, hosts, host if known else None, GROUP.zones if known else (), NOW)


def test_waiting_tasks_are_packed_on_instances_that_are_thought_of() -> None:
    found = look(*(task(f"t{n}") for n in range(5)))
    assert (found.waiting, found.opened, found.assigned) == (5, 3, ())
    # Equal fixed ports want an instance each, however small the tasks are.
    assert look(*(task(f"t{n}", 1, port=80) for n in range(3))).opened == 3


def test_what_there_is_is_used_first() -> None:
    found = look(*(task(f"t{n}") for n in range(3)), hosts=(host(),))
    assert [one.task_arn for one in found.assigned] == ["t0", "t1"]
    assert (found.waiting, found.opened) == (1, 1)
    assert [one.reason for one in found.refused] == ["RESOURCE:CPU"]


def test_a_smaller_task_is_not_held_up_by_a_bigger_one() -> None:
    found = look(task("big", 2000), task("big2", 2000), task("small", 40), hosts=(host(),))
    assert [one.task_arn for one in found.assigned] == ["big", "small"]


def test_what_no_instance_could_take_is_given_up_at_once() -> None:
    found = look(task("huge", 5000), task("far", zone="c"))
    assert [(one.task_arn, one.reason) for one in found.given_up] == [("huge", "RESOURCE:CPU"), ("far", "LOCATION")]
    assert (found.waiting, found.opened) == (0, 0)


def test_zones_are_respected() -> None:
    found = look(task("a", zone="a"), task("b", zone="b"))
    assert found.opened == 2


def test_patience_ends() -> None:
    old = NOW - GIVE_UP
    assert look(task("t", at=old)).given_up[0].reason == EMPTY
    full = look(task("t0", 2048), task("t1", 2048, at=old), hosts=(host(),))
    assert [(one.task_arn, one.reason) for one in full.given_up] == [("t1", "RESOURCE:CPU")]
    assert look(task("t", at=old + 5)).again_after == 5.0
    # Nobody knows what the instances of the group would be like: it waits.
    unknown = look(task("t"), known=False)
    assert (unknown.waiting, unknown.opened, unknown.given_up) == (1, 0, ())


def test_instance_types() -> None:
    table = {
        "t3.medium": (2048, 3884),
        "t3.micro": (2048, 971),
        "c5.large": (2048, 3884),
        "m5.xlarge": (4096, 15538),
        "r6g.4xlarge": (16384, 124308),
        "m6g.medium": (1024, 3884),
        "p3.2xlarge": (8192, 31077),
        "nonsense": (2048, 3884),
        "": (2048, 3884),
        "m5.metal-24xl": (98304, 372926),
    }
    assert {name: resources_of(name) for name in table} == table
