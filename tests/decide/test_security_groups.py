from __future__ import annotations

import pytest

from moorage.decide.security_groups import allowed, named_groups
from moorage.domain.network import Ingress, IngressRule, SecurityGroup


def group(*rules: IngressRule, id: str = "sg-1") -> SecurityGroup:
    return SecurityGroup("000000000000", "us-east-1", id, "vpc-1", "web", rules)


MEMBERS = {"sg-a": ["10.0.0.5", "10.0.0.4"], "sg-b": []}


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ([], ()),
        ([group()], ()),
        ([group(IngressRule("tcp", 80, 80, ("0.0.0.0/0",)))], (Ingress("tcp", 80, 80, ("0.0.0.0/0",)),)),
        # overlapping ranges become one
        (
            [group(IngressRule("tcp", 80, 80, ("10.0.0.0/8", "10.1.0.0/16", "192.0.2.1/32")))],
            (Ingress("tcp", 80, 80, ("10.0.0.0/8", "192.0.2.1/32")),),
        ),
        # a group means its members
        ([group(IngressRule("any", groups=("sg-a",)))], (Ingress("any", 0, 65535, ("10.0.0.4/31",)),)),
        ([group(IngressRule("tcp", 1, 2, groups=("sg-b",)))], ()),
        # several groups: what any of them lets in
        (
            [
                group(IngressRule("udp", 53, 53, ("10.0.0.0/24",))),
                group(IngressRule("tcp", 22, 22, ("10.0.0.9/32",)), IngressRule("udp", 53, 53, ("10.0.1.0/24",))),
            ],
            (Ingress("tcp", 22, 22, ("10.0.0.9/32",)), Ingress("udp", 53, 53, ("10.0.0.0/23",))),
        ),
    ],
)
def test_what_is_let_in(groups: list[SecurityGroup], expected: tuple[Ingress, ...]) -> None:
    assert allowed(groups, lambda group_id: MEMBERS[group_id]) == expected


def test_whose_members_matter() -> None:
    found = named_groups([group(IngressRule("any", groups=("sg-a",)), IngressRule("any", groups=("sg-b", "sg-a")))])
    assert found == {"sg-a", "sg-b"}
