from __future__ import annotations

import pytest

from moorage.decide.security_groups import allowed, lets, named_groups
from moorage.domain.network import GroupRule, SecurityGroup, Traffic


def group(*rules: GroupRule, id: str = "sg-1") -> SecurityGroup:
    return SecurityGroup("000000000000", "us-east-1", id, "vpc-1", "web", rules)


MEMBERS = {"sg-a": ["10.0.0.5", "10.0.0.4"], "sg-b": []}


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ([], ()),
        ([group()], ()),
        ([group(GroupRule("tcp", 80, 80, ("0.0.0.0/0",)))], (Traffic("tcp", 80, 80, ("0.0.0.0/0",)),)),
        # overlapping ranges become one
        (
            [group(GroupRule("tcp", 80, 80, ("10.0.0.0/8", "10.1.0.0/16", "192.0.2.1/32")))],
            (Traffic("tcp", 80, 80, ("10.0.0.0/8", "192.0.2.1/32")),),
        ),
        # a group means its members
        ([group(GroupRule("any", groups=("sg-a",)))], (Traffic("any", 0, 65535, ("10.0.0.4/31",)),)),
        ([group(GroupRule("tcp", 1, 2, groups=("sg-b",)))], ()),
        # several groups: what any of them lets in
        (
            [
                group(GroupRule("udp", 53, 53, ("10.0.0.0/24",))),
                group(GroupRule("tcp", 22, 22, ("10.0.0.9/32",)), GroupRule("udp", 53, 53, ("10.0.1.0/24",))),
            ],
            (Traffic("tcp", 22, 22, ("10.0.0.9/32",)), Traffic("udp", 53, 53, ("10.0.0.0/23",))),
        ),
    ],
)
def test_what_is_let_in(groups: list[SecurityGroup], expected: tuple[Traffic, ...]) -> None:
    assert allowed(groups, lambda group_id: MEMBERS[group_id]) == expected


def test_whose_members_matter() -> None:
    found = named_groups([group(GroupRule("any", groups=("sg-a",)), GroupRule("any", groups=("sg-b", "sg-a")))])
    assert found == {"sg-a", "sg-b"}


def test_what_is_let_out() -> None:
    out = SecurityGroup(
        "000000000000", "us-east-1", "sg-1", "vpc-1", "web", (), (GroupRule("tcp", 80, 81, groups=("sg-a",)),)
    )
    found = allowed([out], lambda group_id: MEMBERS[group_id], "egress")
    assert found == (Traffic("tcp", 80, 81, ("10.0.0.4/31",)),)
    assert named_groups([out]) == {"sg-a"}
    assert lets(found, "tcp", "10.0.0.5", 81)
    assert not lets(found, "tcp", "10.0.0.6", 81)
    assert not lets(found, "tcp", "10.0.0.5", 82)
    assert not lets(found, "udp", "10.0.0.5", 81)
    assert lets(allowed([group()], lambda group_id: MEMBERS[group_id], "egress"), "udp", "192.0.2.1", 53)
