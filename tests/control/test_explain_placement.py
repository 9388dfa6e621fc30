"""Why a task has no place: per filter and per host."""

from __future__ import annotations

from decide.placement.builders import a_host, a_wish
from moorage.control.explain_placement import refusal_lines
from moorage.decide.placement.filters import FILTERS, Refusal, refusal


def refused(*hosts, **wish) -> tuple[Refusal, ...]:
    found = [refusal(host, a_wish(**wish)) for host in hosts]
    return tuple(one for one in found if one is not None)


def test_nothing_is_refused_where_nothing_waits() -> None:
    assert list(refusal_lines(None)) == []


def test_a_cluster_without_instances() -> None:
    assert list(refusal_lines(())) == ["the cluster has no container instances"]


def test_every_host_with_its_filter_the_nearest_first() -> None:
    hosts = (a_host("i1", cpu=50), a_host("i2", cpu=60), a_host("i3", memory=10))
    first, *lines = refusal_lines(refused(*hosts))
    assert first == "now: none of 3 container instances can take a task: 2 RESOURCE:CPU, 1 RESOURCE:MEMORY"
    ids = [host.instance.ec2_instance_id for host in hosts]
    assert lines == [
        f"  {ids[2]} in us-east-1a: RESOURCE:MEMORY, wants 100 MiB, 10 are free (passed 3 of {len(FILTERS)} filters)",
        f"  {ids[0]} in us-east-1a: RESOURCE:CPU, wants 100 CPU units, 50 are free (passed 2 of {len(FILTERS)} filters)",
        f"  {ids[1]} in us-east-1a: RESOURCE:CPU, wants 100 CPU units, 60 are free (passed 2 of {len(FILTERS)} filters)",
    ]


def test_many_hosts_are_not_all_listed() -> None:
    hosts = [a_host(f"i{number}", cpu=1) for number in range(15)]
    lines = list(refusal_lines(refused(*hosts)))
    assert (len(lines), lines[-1]) == (12, "  and 5 more")
