"""Several services and load balancers beside each other."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .load import get
from .server import Server
from .stack import PORT, Stack
from .waiting import until

pytestmark = pytest.mark.docker


def test_two_services_on_one_container_port_behind_two_load_balancers_on_one_port(
    server: Server, stack_of: Callable[..., Stack]
):
    first, second = stack_of(server), stack_of(server)
    for stack, version in ((first, "first"), (second, "second")):
        stack.create_service(stack.register(VERSION=version), 1)
    for stack in (first, second):
        stack.wait_stable()
    assert first.host != second.host
    assert {first.get().json()["version"] for _ in range(5)} == {"first"}
    assert {second.get().json()["version"] for _ in range(5)} == {"second"}


def test_a_host_that_no_load_balancer_knows_is_told_so(stack: Stack):
    until(lambda: stack.get().status == 503, "the listener answers (no targets yet)")
    answer = get("nobody.example", PORT, "/")
    assert answer.status == 404, answer
    assert answer.body


def test_path_rules_carve_out_a_service(stack: Stack):
    stack.create_service(stack.register(VERSION="main"), 1)
    group = stack.new_target_group(f"{stack.name}-b")
    stack.elbv2.create_rule(
        ListenerArn=stack.listener, Priority=10, Conditions=[{"Field": "path-pattern", "Values": ["/query/*"]}],
        Actions=[{"Type": "forward", "TargetGroupArn": group}],
    )  # fmt: skip
    stack.create_service(
        stack.register(family=f"{stack.name}-b", VERSION="carved"), 1, name="carved",
        loadBalancers=[{"targetGroupArn": group, "containerName": "app", "containerPort": 8000}],
    )  # fmt: skip
    stack.wait_stable()
    body = b'{"user_id": "u-1002"}'
    until(lambda: stack.get("/query/user", method="POST", body=body).status == 200, "the rule leads somewhere")
    stack.elbv2.modify_rule(
        RuleArn=stack.elbv2.describe_rules(ListenerArn=stack.listener)["Rules"][0]["RuleArn"],
        Conditions=[{"Field": "path-pattern", "Values": ["/whoami"]}],
    )
    until(lambda: stack.get("/whoami").json()["version"] == "carved", "the rule is changed")
    assert stack.get("/health").json()["version"] == "main"
