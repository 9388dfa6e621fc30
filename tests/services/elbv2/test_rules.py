"""Rules and their conditions: shapes, order, refusals (semantics elbv2 §3.3)."""

from __future__ import annotations

from typing import Any

import pytest

from .rig import Rig, fixed, forward, path


@pytest.fixture
async def listener(elb: Rig) -> str:
    owner = (await elb.load_balancer())["LoadBalancerArn"]
    return str((await elb.listener(owner))["ListenerArn"])


async def test_a_new_one_shows_everything(elb: Rig, listener: str) -> None:
    made = await elb.rule(listener, 10)
    assert made["RuleArn"].startswith(listener.replace(":listener/", ":listener-rule/") + "/")
    assert (made["Priority"], made["IsDefault"]) == ("10", False)
    assert made["Conditions"] == [
        {"Field": "path-pattern", "Values": ["/api/*"], "PathPatternConfig": {"Values": ["/api/*"]}}
    ]


async def test_rules_come_in_order_and_the_default_last(elb: Rig, listener: str) -> None:
    for priority in (200, 3, 50000, 40):
        await elb.rule(listener, priority)
    shown = (await elb.call("DescribeRules", ListenerArn=listener))["Rules"]
    assert [rule["Priority"] for rule in shown] == ["3", "40", "200", "50000", "default"]
    assert shown[-1]["IsDefault"] is True
    assert shown[-1]["Conditions"] == []
    first = await elb.call("DescribeRules", ListenerArn=listener, PageSize=4)
    rest = await elb.call("DescribeRules", ListenerArn=listener, PageSize=4, Marker=first["NextMarker"])
    assert [rule["Priority"] for rule in rest["Rules"]] == ["default"]
    by_arn = await elb.call("DescribeRules", RuleArns=[shown[-1]["RuleArn"], shown[0]["RuleArn"]])
    assert [rule["Priority"] for rule in by_arn["Rules"]] == ["3", "default"]


@pytest.mark.parametrize(
    ("condition", "shown"),
    [
        (
            {"Field": "host-header", "HostHeaderConfig": {"Values": ["*.example.com"]}},
            {
                "Field": "host-header",
                "Values": ["*.example.com"],
                "HostHeaderConfig": {"Values": ["*.example.com"]},
            },
        ),
        (
            {"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "X-A", "Values": ["b*"]}},
            {"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "X-A", "Values": ["b*"]}},
        ),
        (
            {"Field": "http-request-method", "HttpRequestMethodConfig": {"Values": ["GET", "PUT"]}},
            {"Field": "http-request-method", "HttpRequestMethodConfig": {"Values": ["GET", "PUT"]}},
        ),
        (
            {"Field": "query-string", "QueryStringConfig": {"Values": [{"Key": "a", "Value": "1"}, {"Value": "2"}]}},
            {"Field": "query-string", "QueryStringConfig": {"Values": [{"Key": "a", "Value": "1"}, {"Value": "2"}]}},
        ),
        (
            {"Field": "source-ip", "SourceIpConfig": {"Values": ["10.0.0.0/8"]}},
            {"Field": "source-ip", "SourceIpConfig": {"Values": ["10.0.0.0/8"]}},
        ),
        (
            {"Field": "path-pattern", "RegexValues": ["^/a$"]},
            {"Field": "path-pattern", "RegexValues": ["^/a$"], "PathPatternConfig": {"RegexValues": ["^/a$"]}},
        ),
    ],
)
async def test_conditions(elb: Rig, listener: str, condition: dict[str, Any], shown: dict[str, Any]) -> None:
    made = await elb.rule(listener, Conditions=[condition])
    assert made["Conditions"] == [shown]


FIELDS = "[path-pattern,host-header,http-header,http-request-method,query-string,source-ip]"


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ([], "A condition must be specified"),
        ([{"Field": "path-pattern", "Values": []}], "A condition value must be specified"),
        ([{"Field": "path-pattern", "Values": [""]}], "A condition value must be specified"),
        ([{"Field": "path", "Values": ["/"]}], f"Condition field 'path' must be one of '{FIELDS}'"),
        (
            [{"Field": "host-header", "Values": ["a.b"]}, {"Field": "host-header", "Values": ["c.d"]}],
            "A rule can only have one 'host-header' condition",
        ),
        ([path(*(f"/{n}" for n in range(6)))], "A rule can only have '5' condition values and regex values"),
        ([path("/******")], "A rule can only have '5' condition wildcards"),
        ([path("/" + "a" * 128)], "Condition value for 'path-pattern' cannot contain more than 128 characters"),
        (
            [{"Field": "host-header", "Values": ["localhost"]}],
            "Condition value 'localhost' contains a character that is not valid",
        ),
        ([path("/a b")], "Condition value '/a b' contains a character that is not valid"),
        (
            [{"Field": "source-ip", "SourceIpConfig": {"Values": ["10.0.0.1"]}}],
            "The specified value '10.0.0.1' is not a valid CIDR block",
        ),
        (
            [{"Field": "source-ip", "RegexValues": ["x"]}],
            "'RegexValues' is not supported for a condition of type 'source-ip'",
        ),
        (
            [{"Field": "source-ip", "SourceIpConfig": {"Values": ["10.0.0.0/8"]}, "RegexValues": ["x"]}],
            "'RegexValues' is not supported for a condition of type 'source-ip'",
        ),
        (
            [{"Field": "query-string", "RegexValues": ["x"]}],
            "'RegexValues' is not supported for a condition of type 'query-string'",
        ),
        (
            [{**path("/"), "HostHeaderConfig": {"Values": ["a.b"]}}],
            "'HostHeaderConfig' is not supported for a condition of type 'path-pattern'",
        ),
        (
            [{"Field": "path-pattern", "PathPatternConfig": {"RegexValues": ["a"]}, "RegexValues": ["b"]}],
            "You must provide exactly one of the following: ['RegexValues' 'PathPatternConfig'] for 'path-pattern'",
        ),
        (
            [{"Field": "path-pattern", "PathPatternConfig": {"Values": ["/"], "RegexValues": ["x"]}}],
            "You must provide exactly one of the following: ['Values' 'RegexValues'] for config of type 'path-pattern'",
        ),
        (
            [{"Field": "path-pattern"}],
            "For conditions of type 'path-pattern', you must specify the following fields: "
            "'Values or RegexValues or PathPatternConfig'",
        ),
    ],
)
async def test_condition_refusals(elb: Rig, listener: str, conditions: list[dict[str, Any]], message: str) -> None:
    refusal = await elb.refused(
        "CreateRule", ListenerArn=listener, Priority=1, Conditions=conditions, Actions=[fixed()]
    )
    assert (refusal.code, refusal.message) == ("ValidationError", message)


async def test_what_is_shown_can_be_sent_back(elb: Rig, listener: str) -> None:
    """Values twice, in both members: as DescribeRules shows them."""
    given = [
        path("/a"),
        {"Field": "host-header", "HostHeaderConfig": {"RegexValues": ["^a$"]}},
        {"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "X-A", "Values": ["b"]}},
        {"Field": "query-string", "QueryStringConfig": {"Values": [{"Key": "a", "Value": "1"}]}},
    ]
    shown = (await elb.rule(listener, 1, Conditions=given))["Conditions"]
    assert (await elb.rule(listener, 2, Conditions=shown))["Conditions"] == shown


async def test_priorities_are_unique(elb: Rig, listener: str) -> None:
    first, second = await elb.rule(listener, 100), await elb.rule(listener, 200)
    refusal = await elb.refused(
        "CreateRule", ListenerArn=listener, Priority=100, Conditions=[path("/")], Actions=[fixed()]
    )
    assert (refusal.code, refusal.message) == ("PriorityInUse", "Priority '100' is currently in use")
    moved = await elb.refused("SetRulePriorities", RulePriorities=[{"RuleArn": first["RuleArn"], "Priority": 200}])
    assert moved.code == "PriorityInUse"
    twice = await elb.refused(
        "SetRulePriorities",
        RulePriorities=[{"RuleArn": rule["RuleArn"], "Priority": 5} for rule in (first, second)],
    )
    assert (twice.code, twice.message) == ("ValidationError", "Priority '5' was provided multiple times")
    both = [{"RuleArn": first["RuleArn"], "Priority": priority} for priority in (5, 6)]
    again = await elb.refused("SetRulePriorities", RulePriorities=both)
    assert (again.code, again.message) == (
        "ValidationError",
        f"Rule '{first['RuleArn']}' was provided multiple times",
    )
    swapped = await elb.call(
        "SetRulePriorities",
        RulePriorities=[
            {"RuleArn": first["RuleArn"], "Priority": 200},
            {"RuleArn": second["RuleArn"], "Priority": 100},
        ],
    )
    assert [rule["Priority"] for rule in swapped["Rules"]] == ["200", "100"]


async def test_the_default_rule_stays(elb: Rig, listener: str) -> None:
    default = (await elb.call("DescribeRules", ListenerArn=listener))["Rules"][0]["RuleArn"]
    deleted = await elb.refused("DeleteRule", RuleArn=default)
    assert (deleted.code, deleted.message) == ("OperationNotPermitted", f"Default rule '{default}' cannot be deleted")
    moved = await elb.refused("SetRulePriorities", RulePriorities=[{"RuleArn": default, "Priority": 1}])
    assert moved.message == "The priority of the default rule cannot be modified"
    assert (await elb.refused("ModifyRule", RuleArn=default, Actions=[fixed()])).code == "OperationNotPermitted"


async def test_modify_delete_and_use_of_target_groups(elb: Rig, listener: str) -> None:
    one, two = [(await elb.target_group(name))["TargetGroupArn"] for name in ("one", "two")]
    rule = (await elb.rule(listener, Actions=[forward(one)]))["RuleArn"]
    changed = await elb.call("ModifyRule", RuleArn=rule, Actions=[forward(two)])
    assert changed["Rules"][0]["Conditions"][0]["Values"] == ["/api/*"]
    await elb.call("DeleteTargetGroup", TargetGroupArn=one)
    assert (await elb.refused("DeleteTargetGroup", TargetGroupArn=two)).code == "ResourceInUse"
    await elb.call("DeleteRule", RuleArn=rule)
    await elb.call("DeleteTargetGroup", TargetGroupArn=two)
    gone = await elb.refused("DescribeRules", RuleArns=[rule])
    assert (gone.code, gone.message) == ("RuleNotFound", "One or more rules not found")
    neither = await elb.refused("DescribeRules")
    assert neither.message == "You must specify either listener rule ARNs or a listener ARN"


async def test_a_hundred_rules(elb: Rig, listener: str) -> None:
    for priority in range(1, 101):
        await elb.rule(listener, priority)
    refusal = await elb.refused(
        "CreateRule", ListenerArn=listener, Priority=101, Conditions=[path("/")], Actions=[fixed()]
    )
    assert refusal.code == "TooManyRules"


async def test_sticky_groups_and_several(elb: Rig, listener: str) -> None:
    arns = [(await elb.target_group(name))["TargetGroupArn"] for name in ("one", "two")]
    sticky = {
        "stickiness.enabled": "true",
        "stickiness.type": "app_cookie",
        "stickiness.app_cookie.cookie_name": "session",
    }
    await elb.call(
        "ModifyTargetGroupAttributes",
        TargetGroupArn=arns[0],
        Attributes=[{"Key": key, "Value": value} for key, value in sticky.items()],
    )
    refusal = await elb.refused(
        "CreateRule", ListenerArn=listener, Priority=1, Conditions=[path("/")], Actions=[forward(*arns)]
    )
    assert refusal.message == (
        "When configuring a rule with multiple target groups, none of them can have stickiness of type 'app_cookie' enabled"
    )
