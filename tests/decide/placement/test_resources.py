from __future__ import annotations

import pytest

from decide.builders import a_document, a_task
from decide.placement.builders import a_host
from moorage.decide.placement.hosts import hosts_of
from moorage.decide.placement.resources import Demand, demand_of


def c(name: str = "app", **members: object) -> dict[str, object]:
    return {"name": name, "image": "x", **members}


def port(container: int, host: int = 0, protocol: str = "tcp") -> dict[str, object]:
    return {"containerPort": container, "hostPort": host, "protocol": protocol}


@pytest.mark.parametrize(
    ("document", "overrides", "wanted"),
    [
        (a_document(c(cpu=100, memory=300), c("b", cpu=50, memory=200)), None, Demand(150, 500)),
        (a_document(c(memory=300, memoryReservation=100), c("b", memory=200)), None, Demand(0, 300)),
        (a_document(c(cpu=100, memory=300), cpu="256", memory="512"), None, Demand(256, 512)),
        (a_document(c(cpu=100, memory=300), cpu="256", memory="512"), {"cpu": "512"}, Demand(512, 512)),
        (
            a_document(c(cpu=100, memory=300)),
            {"containerOverrides": [{"name": "app", "cpu": 10, "memory": 20}]},
            Demand(10, 20),
        ),
        (
            a_document(c(memory=300)),
            {"containerOverrides": [{"name": "app", "memoryReservation": 20}]},
            Demand(0, 20),
        ),
        (a_document(c(portMappings=[port(80, 8080), port(81)])), None, Demand(ports=frozenset({8080}))),
        (a_document(c(portMappings=[port(53, 53, "udp")])), None, Demand(ports_udp=frozenset({53}))),
        (a_document(c(portMappings=[port(80)]), networkMode="host"), None, Demand(ports=frozenset({80}))),
        (a_document(c(portMappings=[port(80, 80)]), networkMode="awsvpc"), None, Demand()),
    ],
)
def test_a_task_reserves(document, overrides, wanted):
    assert demand_of(document, overrides) == wanted


def test_a_task_holds_its_share_until_it_has_stopped_but_leaves_its_group_when_told_to_stop():
    document = a_document(c(cpu=100, memory=300, portMappings=[port(80, 8080)]))
    instance = a_host("i1").instance
    tasks = [a_task("t1"), a_task("t2", desired_status="STOPPED")]
    (host,) = hosts_of([instance], lambda arn: tasks if arn == instance.arn else [], lambda task: document)
    assert (host.free.cpu, host.free.memory, host.free.ports) == (824, 424, {8080})
    assert host.groups == {"service:web": 1}
