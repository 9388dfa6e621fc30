"""Tasks are placed on container instances and end, in any order: nothing is reserved twice, and what is kept of a host from
one look to the next is what a new look would find."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from msgspec.structs import replace

from decide.builders import a_document, a_task
from decide.placement.builders import DISTINCT, a_host, a_wish, member_of
from moorage.decide.placement import strategies
from moorage.decide.placement.hosts import Host, hosts_of
from moorage.decide.placement.place import place
from moorage.decide.placement.resources import demand_of
from moorage.domain.task import OnInstance, Task

CONSTRAINTS = ([], DISTINCT, member_of("attribute:disk == fast"), member_of("not(task:group == service:b)"))
STRATEGIES = ([], [{"type": "binpack", "field": "cpu"}], [{"type": "spread", "field": "instanceId"}])


def document(cpu: int, port: int) -> object:
    mapping = [{"containerPort": 80, "hostPort": port}]
    return a_document({"name": "app", "image": "app", "cpu": cpu, "memory": 100, "portMappings": mapping})


class Cluster(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.instances = {}
        for name, cpu, disk in (("i1", 512, "fast"), ("i2", 1024, "slow"), ("i3", 300, "fast")):
            host = a_host(name, cpu=cpu, attributes={"disk": disk})
            self.instances[host.instance.arn] = host.instance
        self.on: dict[str, tuple[Task, ...]] = dict.fromkeys(self.instances, ())
        self.documents: dict[str, object] = {}
        self.number = 0

    def hosts(self) -> tuple[Host, ...]:
        return hosts_of(self.instances.values(), self.on.__getitem__, lambda task: self.documents[task.arn])  # type: ignore[return-value,arg-type]

    @rule(
        group=st.sampled_from(("service:a", "service:b")),
        count=st.integers(1, 4),
        cpu=st.sampled_from((0, 100, 256)),
        port=st.sampled_from((0, 80, 443)),
        constraint=st.sampled_from(CONSTRAINTS),
        strategy=st.sampled_from(STRATEGIES),
    )
    def start(self, group: str, count: int, cpu: int, port: int, constraint: list, strategy: list) -> None:
        reserved = document(cpu, port)
        demand = demand_of(reserved)  # type: ignore[arg-type]
        wish = replace(a_wish(group, constraints=constraint), demand=demand)
        how = strategies.read(strategy)
        together = place(self.hosts(), wish, how, count=count, seed="s")
        left: tuple[Host, ...] = self.hosts()
        for number in range(count):
            alone = place(left, wish, how, seed=f"s/{number}")
            assert bool(alone.hosts) == (number < len(together.hosts))
            assert (alone.hosts or alone.refused) != ()
            if not how and alone.hosts:
                assert alone.hosts[0].instance is together.hosts[number].instance
            if not alone.hosts:
                break
            left = place(left, wish, how, seed=f"s/{number}").left
        for host in together.hosts:
            self.number += 1
            task = a_task(f"t{self.number}", group=group, instance=OnInstance(host.instance.arn, "i", "127.0.0.1"))
            self.documents[task.arn] = reserved
            self.on[host.instance.arn] = (*self.on[host.instance.arn], task)

    @rule(which=st.integers(0, 50), at_once=st.booleans())
    def end(self, which: int, at_once: bool) -> None:
        found = [(arn, task) for arn, tasks in self.on.items() for task in tasks]
        if found:
            arn, task = found[which % len(found)]
            rest = tuple(one for one in self.on[arn] if one is not task)
            self.on[arn] = rest if at_once else (*rest, replace(task, desired_status="STOPPED"))

    @rule(which=st.integers(0, 2), disk=st.sampled_from(("fast", "slow")))
    def change(self, which: int, disk: str) -> None:
        arn = list(self.instances)[which]
        self.instances[arn] = replace(self.instances[arn], attributes={"disk": disk})

    @invariant()
    def what_is_kept_is_what_a_new_look_finds(self) -> None:
        anew = hosts_of(self.instances.values(), lambda arn: list(self.on[arn]), lambda task: self.documents[task.arn])  # type: ignore[return-value,arg-type]
        assert self.hosts() == anew

    @invariant()
    def nothing_is_reserved_twice(self) -> None:
        for host in self.hosts():
            assert host.free.cpu >= 0
            assert host.free.memory >= 0
            ports = [port for task in self.on[host.instance.arn] for port in demand_of(self.documents[task.arn]).ports]  # type: ignore[arg-type]
            assert sorted(ports) == sorted(host.free.ports)


TestCluster = Cluster.TestCase
TestCluster.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
