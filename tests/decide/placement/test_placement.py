from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from decide.placement.builders import DISTINCT, a_host, a_wish, member_of
from moorage.decide.placement import constraints, strategies
from moorage.decide.placement.filters import closest, explain, refusal
from moorage.decide.placement.place import place
from moorage.decide.placement.strategies import RANDOM, SPREAD_ZONES, Strategy

INSTANCE = (Strategy("spread", "instanceId"),)


@pytest.mark.parametrize(
    ("host", "wish", "reason", "detail"),
    [
        (a_host(), a_wish(), None, None),
        (a_host(cpu=99), a_wish(), "RESOURCE:CPU", "wants 100 CPU units, 99 are free"),
        (a_host(cpu=100), a_wish(), None, None),
        (a_host(memory=99), a_wish(), "RESOURCE:MEMORY", "wants 100 MiB, 99 are free"),
        (
            a_host(ports=frozenset({22, 80})),
            a_wish(ports={80}),
            "RESOURCE:PORTS",
            "the host port 80/tcp is taken",
        ),
        (a_host(ports=frozenset({80})), a_wish(udp={80}), None, None),
        (a_host(udp=frozenset({53})), a_wish(udp={53}), "RESOURCE:PORTS", "the host port 53/udp is taken"),
        (a_host(), a_wish(attributes=("gpu",)), "ATTRIBUTE", "has no gpu"),
        (a_host(attributes={"gpu": None}), a_wish(attributes=("gpu",)), None, None),
        (a_host(agent_connected=False), a_wish(), "AGENT", "its agent is disconnected"),
        (a_host(status="DRAINING"), a_wish(), "INACTIVE", "is DRAINING"),
        (
            a_host(zone="c"),
            a_wish(zones=frozenset({"us-east-1a"})),
            "LOCATION",
            "is in us-east-1c, the subnets are in us-east-1a",
        ),
        (
            a_host(attributes={"stack": "test"}),
            a_wish(constraints=member_of("attribute:stack == prod")),
            "MemberOf placement constraint unsatisfied",
            "is not a member of 'attribute:stack == prod'",
        ),
        (
            a_host(groups={"service:web": 1}),
            a_wish(constraints=DISTINCT),
            "DistinctInstance placement constraint unsatisfied",
            "has a task of service:web already",
        ),
        (a_host(groups={"service:api": 1}), a_wish(constraints=DISTINCT), None, None),
        # The first filter that refuses names the reason.
        (a_host(cpu=0, memory=0, agent_connected=False), a_wish(), "AGENT", "its agent is disconnected"),
    ],
)
def test_a_host_is_refused(host, wish, reason, detail):
    refused = refusal(host, wish)
    assert (refused and (refused.reason, refused.detail)) == (reason and (reason, detail))


def test_the_closest_host_passed_the_most_filters():
    hosts = [a_host("a", agent_connected=False), a_host("b", cpu=10), a_host("c", cpu=20), a_host("d", memory=0)]
    placed = place(hosts, a_wish(), SPREAD_ZONES)
    assert [r.reason for r in placed.refused] == ["AGENT", "RESOURCE:CPU", "RESOURCE:CPU", "RESOURCE:MEMORY"]
    assert closest(placed.refused).host.instance.id == "d"
    assert closest(placed.refused[:3]).host.instance.id == "c", "the one with more of it left"


def test_draining_hosts_are_not_listed_among_the_failures_but_explained():
    placed = place([a_host(status="DRAINING")], a_wish(), SPREAD_ZONES)
    assert closest(placed.refused) is None
    assert not any(r.shown for r in placed.refused)
    assert explain(placed.refused) == "of 1 instances 1 INACTIVE (i-i1 is DRAINING)"


def test_refusals_are_told_in_one_sentence():
    hosts = [a_host("a", cpu=10), a_host("b", cpu=20), a_host("c", ports=frozenset({80}))]
    said = explain(place(hosts, a_wish(ports={80}), SPREAD_ZONES).refused)
    assert said == (
        "of 3 instances 2 RESOURCE:CPU (i-a wants 100 CPU units, 10 are free), "
        "1 RESOURCE:PORTS (i-c the host port 80/tcp is taken)"
    )
    assert explain(()) == "the cluster has no container instances"


def names(placed) -> list[str]:
    return [host.instance.id for host in placed.hosts]


ROW = [a_host("a1", zone="a", cpu=512), a_host("a2", zone="a", cpu=256), a_host("b1", zone="b", cpu=1024)]


@pytest.mark.parametrize(
    ("how", "count", "wanted"),
    [
        (SPREAD_ZONES, 4, ["a1", "b1", "a2", "b1"]),
        (INSTANCE, 4, ["a1", "a2", "b1", "a1"]),
        ((Strategy("binpack", "cpu"),), 4, ["a2", "a2", "a1", "a1"]),
        # In the emptiest zone, the fullest host that still has room.
        ((*SPREAD_ZONES, Strategy("binpack", "cpu")), 4, ["a2", "b1", "a2", "b1"]),
        ((), 4, ["a1", "a2", "b1", "a1"]),
    ],
)
def test_a_strategy_chooses(how, count, wanted):
    assert names(place(ROW, a_wish(), how, count=count)) == wanted


def test_spreading_counts_the_tasks_of_the_group_wherever_they_are():
    full = replace(a_host("a2", zone="a", cpu=0), groups={"service:web": 3})
    hosts = [a_host("a1", zone="a"), full, a_host("b1", zone="b", groups={"service:web": 2, "service:api": 5})]
    assert names(place(hosts, a_wish(), SPREAD_ZONES, count=2)) == ["b1", "a1"]


def test_a_zone_prefers_the_host_with_the_fewest_tasks_of_the_service() -> None:
    """The model of CreateService: "favoring container instances with the fewest number of running tasks for this
    service" (ecs-services §3.4)."""
    hosts = (a_host("i1", groups={"service:web": 1}), a_host("i2", groups={"service:other": 3}))
    assert names(place(hosts, a_wish("service:web"), SPREAD_ZONES)) == ["i2"]


def test_chance_is_a_seed():
    hosts = [a_host(f"h{n}") for n in range(6)]
    runs = [names(place(hosts, a_wish(), RANDOM, count=5, seed=seed)) for seed in ("x", "x", "y")]
    assert runs[0] == runs[1] != runs[2]


def test_as_many_as_fit_are_placed_and_the_next_one_says_why_not():
    placed = place([a_host(cpu=250)], a_wish(cpu=100), SPREAD_ZONES, count=5)
    assert len(placed.hosts) == 2
    assert [r.detail for r in placed.refused] == ["wants 100 CPU units, 50 are free"]


@pytest.mark.parametrize(
    ("read", "shapes", "message"),
    [
        (strategies.read, [{"type": "binpack", "field": "disk"}], "binpack field 'disk' is invalid"),
        (strategies.read, [{"type": "spread", "field": "rack"}], "spread field 'rack' is invalid"),
        (strategies.read, [{"type": "random", "field": "x"}], "random field should not be specified."),
        (
            constraints.read,
            [{"type": "distinctInstance", "expression": "x"}],
            "distinctInstance expression should not be specified.",
        ),
        (constraints.read, [{"type": "memberOf"}], "memberOf expression should be specified."),
        (constraints.read, member_of("attribute:x"), "expected an operator after 'attribute:x', found the end"),
    ],
)
def test_what_cannot_be_read_is_refused(read, shapes, message):
    with pytest.raises(ValueError, match=r".+") as error:
        read(shapes)
    assert str(error.value) == message


def test_strategies_are_read_as_the_api_has_them():
    shapes = [
        {"type": "spread", "field": "host"},
        {"type": "binpack", "field": "MEMORY"},
        {"type": "spread", "field": "attribute:rack"},
        {"type": "random"},
    ]
    assert strategies.read(shapes) == (
        Strategy("spread", "instanceId"),
        Strategy("binpack", "memory"),
        Strategy("spread", "attribute:rack"),
        Strategy("random"),
    )


# --- never ------------------------------------------------------------------------------------------------------------
_HOSTS = st.lists(
    st.builds(
        lambda cpu, memory, zone, ports: {"cpu": cpu, "memory": memory, "zone": zone, "ports": ports},
        st.integers(0, 600),
        st.integers(0, 600),
        st.sampled_from("abc"),
        st.frozensets(st.integers(80, 82)),
    ),
    max_size=6,
).map(lambda rows: [a_host(f"h{n}", **row) for n, row in enumerate(rows)])
_WISHES = st.builds(
    lambda cpu, memory, ports, distinct: a_wish(
        cpu=cpu, memory=memory, ports=ports, constraints=DISTINCT if distinct else ()
    ),
    st.integers(0, 200),
    st.integers(0, 200),
    st.frozensets(st.integers(80, 82), max_size=2),
    st.booleans(),
)
_STRATEGIES = st.lists(
    st.sampled_from([*SPREAD_ZONES, *INSTANCE, *RANDOM, Strategy("binpack", "cpu"), Strategy("binpack", "memory")]),
    max_size=3,
)


@given(_HOSTS, st.lists(_WISHES, min_size=1, max_size=3), _STRATEGIES, st.integers(1, 12), st.text(max_size=3))
def test_never_over_capacity_never_two_on_one_port_never_refused_while_there_is_room(hosts, wishes, how, count, seed):
    before = {h.instance.arn: h for h in hosts}
    taken: Counter[tuple[str, int]] = Counter()
    for wish in wishes:
        placed = place(hosts, wish, how, count=count, seed=seed)
        for host in placed.hosts:
            taken.update((host.instance.arn, port) for port in wish.demand.ports)
        for host in placed.left:
            assert host.free.cpu >= 0
            assert host.free.memory >= 0
            assert len(placed.refused) == (len(hosts) if len(placed.hosts) < count else 0)
        if wish.constraints:
            assert len(set(names(placed))) == len(placed.hosts), "distinct"
        if len(placed.hosts) < count:
            assert all(refusal(host, wish) is not None for host in placed.left)
        hosts = list(placed.left)
    assert all(n == 1 for n in taken.values())
    assert not any(port in before[arn].free.ports for arn, port in taken)


@given(st.integers(1, 6), st.integers(0, 30), st.sampled_from(["instanceId", "attribute:ecs.availability-zone"]))
def test_where_there_is_room_a_spread_differs_by_at_most_one(size, count, field):
    hosts = [a_host(f"h{n}", zone="abcdef"[n], cpu=100_000, memory=100_000) for n in range(size)]
    placed = place(hosts, a_wish(), (Strategy("spread", field),), count=count)
    counts = [host.tasks for host in placed.left]
    assert sum(counts) == count
    assert max(counts) - min(counts) <= 1


@given(_HOSTS, _WISHES, st.integers(1, 12))
def test_binpack_takes_the_fullest_host_that_still_has_room(hosts, wish, count):
    placed = place(hosts, wish, (Strategy("binpack", "cpu"),), count=count)
    state = {h.instance.arn: h for h in hosts}
    for host in placed.hosts:
        arn = host.instance.arn
        able = [a for a in state if refusal(state[a], wish) is None]
        assert state[arn].free.cpu == min(state[a].free.cpu for a in able)
        state[arn] = state[arn].with_task(wish.group, wish.demand)
