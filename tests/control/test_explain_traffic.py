"""Load balancers, target groups and targets explained: why 502, why 503, how long until a target is in rotation."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from decide.builders import a_task
from moorage.control.explain_traffic import (
    BalancerRecords,
    GroupRecords,
    TargetRecords,
    explain_load_balancer,
    explain_target,
    explain_target_group,
    trouble_of,
)
from moorage.domain.load_balancer import FixedResponse, Redirect
from moorage.domain.target_group import (
    CHECKING,
    DRAINING,
    FAILED_CHECKS,
    HEALTHY,
    NOT_IN_USE,
    HealthCheck,
    Target,
    TargetHealth,
    TargetState,
)
from proxy.builders import a_listener, a_load_balancer, a_rule, a_target_group, path, tg_arn, to

NOW = 1_000_000.0
LB = a_load_balancer()
CHECK = HealthCheck(interval=30, healthy_threshold=5, unhealthy_threshold=2)


def a_target(
    state: TargetState, address: str = "10.0.0.1", *, for_seconds: float = 5.0, said: str = ""
) -> TargetRecords:
    draining = NOW - for_seconds if state == DRAINING else None
    target = Target(tg_arn("web"), address, 80, "us-east-1a", NOW - 60, deregistered_at=draining)
    known = state.state if state.state in ("initial", "healthy", "unhealthy") else "unused"
    health = TargetHealth(target.target_group_arn, address, 80, known, NOW - for_seconds, NOW - 60)  # type: ignore[arg-type]
    return TargetRecords(target, state, health if state != DRAINING else None, said)


def a_group(*targets: TargetRecords, name: str = "web") -> GroupRecords:
    return GroupRecords(replace(a_target_group(name), health_check=CHECK), targets, (LB.arn,), "2 in the proxy; more")


def a_balancer(*groups: GroupRecords, **changes) -> BalancerRecords:
    fields = {"listeners": (a_listener(LB),), "groups": {one.group.arn: one for one in groups}, "said": "active"}
    return BalancerRecords(LB, **(fields | changes))


@pytest.mark.parametrize(
    ("targets", "trouble"),
    [
        ([], "503, nothing is registered"),
        ([DRAINING], "503, all its targets are draining"),
        ([NOT_IN_USE], f"503, its targets are unused: {NOT_IN_USE.description}"),
        ([HEALTHY], ""),
        ([FAILED_CHECKS, HEALTHY], ""),
        (
            [FAILED_CHECKS, DRAINING],
            "none of 1 target is healthy, so requests go to all of them (fail-open) and may end in 502 or 504: "
            "10.0.0.1:80 is unhealthy (Health checks failed)",
        ),
    ],
)
def test_why_a_group_does_not_answer(targets: list[TargetState], trouble: str) -> None:
    assert trouble_of(a_group(*(a_target(state) for state in targets))) == trouble


def test_a_load_balancer_that_works() -> None:
    told = explain_load_balancer(a_balancer(a_group(a_target(HEALTHY)), urls=("http://x/",)), NOW)
    assert told.title == "Load balancer web is active: every rule leads to somebody who answers."
    assert told.section("What a client gets") == ("HTTP:80 default → target group web: 1 healthy",)
    assert told.section("Where it answers") == ("http://x/", "address 127.83.0.1")


def test_what_every_rule_leads_to() -> None:
    listener = a_listener(LB)
    rules = (
        a_rule(1, path("/a", "/b"), action=to(("web", 3), ("gone", 1))),
        a_rule(2, path("/off"), action=to(("web", 0))),
        a_rule(3, path("/old"), action=Redirect("HTTP_301")),
        a_rule(4, path("/no"), action=FixedResponse("404")),
    )
    told = explain_load_balancer(a_balancer(a_group(a_target(HEALTHY)), rules={listener.arn: rules}), NOW)
    assert told.section("What a client gets") == (
        "HTTP:80 rule 1 (path-pattern /a or /b) → 75 % target group web: 1 healthy; "
        "25 % target group gone: 503, it does not exist",
        "HTTP:80 rule 2 (path-pattern /off) → 503: every target group has weight 0",
        "HTTP:80 rule 3 (path-pattern /old) → redirect 301",
        "HTTP:80 rule 4 (path-pattern /no) → fixed response 404",
        "HTTP:80 default → target group web: 1 healthy",
    )


@pytest.mark.parametrize(
    ("changes", "trouble"),
    [
        ({"listeners": ()}, "it has no listener: connections to it are refused"),
        (
            {"load_balancer": replace(LB, state="failed", state_reason="port 80 is taken")},
            "the proxy refused it: port 80 is taken",
        ),
        (
            {"proxy": {"connected": False, "log": "/x/envoy.log"}},
            "the proxy is not connected, what it knows is old; its log: /x/envoy.log",
        ),
        ({"load_balancer": replace(LB, state="provisioning")}, "the proxy has not taken it yet"),
    ],
)
def test_what_is_wrong_with_the_whole(changes: dict, trouble: str) -> None:
    told = explain_load_balancer(replace(a_balancer(a_group(a_target(HEALTHY))), **changes), NOW)
    assert told.title.endswith(f": {trouble}.")
    assert trouble in told.section("Now")


def test_a_503_leads_to_the_empty_group() -> None:
    told = explain_load_balancer(a_balancer(a_group()), NOW)
    assert told.title.endswith("HTTP:80 default → target group web: 503, nothing is registered.")
    assert told.next == "moor explain target-group web"


def test_a_target_group_with_every_kind_of_target() -> None:
    ill = a_target(FAILED_CHECKS, "10.0.0.2", said="unhealthy: Health checks failed (last check: connection refused)")
    ill = replace(ill, task=a_task("0123456789"))
    new, old = a_target(CHECKING, "10.0.0.3"), a_target(DRAINING, "10.0.0.4", for_seconds=240)
    told = explain_target_group(a_group(a_target(HEALTHY), ill, new, old), NOW)
    assert told.title == "Target group web: 1 draining, 1 healthy, 1 initial, 1 unhealthy."
    assert told.section("Now") == ("2 in the proxy",)
    assert told.section("Traffic") == ("from load balancer web",)
    assert told.section("Targets") == (
        "10.0.0.2:80 (task 01234567) unhealthy: Health checks failed (last check: connection refused); healthy again "
        "after 5 passed checks in a row, 30 s apart (about 2 min 30 s)",
        "10.0.0.3:80 initial: Initial health checks in progress; one passed check makes it healthy; without one it is "
        "unhealthy in 25 s",
        "10.0.0.4:80 draining: Target deregistration is in progress; 1 min drain left",
        "10.0.0.1:80 healthy for 5 s",
    )
    assert told.next == "moor explain task 01234567"


def test_a_target_group_that_nobody_forwards_to() -> None:
    told = explain_target_group(replace(a_group(a_target(NOT_IN_USE)), load_balancers=()), NOW)
    assert told.section("Traffic") == ("none: no listener or rule forwards to it (Target.NotInUse)",)


def test_a_target() -> None:
    target = a_target(HEALTHY)
    told = explain_target(target, a_group(target), NOW)
    assert told.title == "Target 10.0.0.1:80 of target group web is healthy."
    assert told.section("Who answers there") == ("nobody that Moorage runs",)
    assert told.section("Health check")[0] == "HTTP / on port traffic-port, expects 200, every 30 s, 5 s to answer"


@pytest.mark.parametrize(
    ("targets", "trouble"),
    [
        ([], "connections are closed, nothing is registered"),
        ([HEALTHY], ""),
        (
            [FAILED_CHECKS],
            "none of 1 target is healthy, so connections go to all of them (fail-open) and may be refused: 10.0.0.1:80 is "
            "unhealthy (Health checks failed)",
        ),
    ],
)
def test_groups_of_network_load_balancers_close_connections(targets: list[TargetState], trouble: str) -> None:
    group = a_group(*(a_target(state) for state in targets))
    assert trouble_of(replace(group, group=replace(group.group, protocol="TCP"))) == trouble
