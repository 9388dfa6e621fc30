"""Rule transforms through the provider."""

from __future__ import annotations

from typing import Any

import pytest

from .rig import Rig, fixed, forward, path


def url(regex: str, replace: str) -> dict[str, Any]:
    return {"Type": "url-rewrite", "UrlRewriteConfig": {"Rewrites": [{"Regex": regex, "Replace": replace}]}}


HOST = {
    "Type": "host-header-rewrite",
    "HostHeaderRewriteConfig": {"Rewrites": [{"Regex": r"^(.+)\.example\.com$", "Replace": "$1.internal"}]},
}


@pytest.fixture
async def listener(elb: Rig) -> str:
    owner = (await elb.load_balancer())["LoadBalancerArn"]
    return str((await elb.listener(owner))["ListenerArn"])


async def test_transforms_are_kept_changed_and_reset(elb: Rig, listener: str) -> None:
    group = (await elb.target_group())["TargetGroupArn"]
    first = [url("^/api/(.*)", "/$1"), HOST]
    rule = await elb.rule(listener, Actions=[forward(group)], Transforms=first)
    assert rule["Transforms"] == first
    arn = rule["RuleArn"]
    other = await elb.call("ModifyRule", RuleArn=arn, Conditions=[path("/v2/*")])
    assert other["Rules"][0]["Transforms"] == first, "what is not named stays"
    changed = await elb.call("ModifyRule", RuleArn=arn, Transforms=[HOST])
    assert changed["Rules"][0]["Transforms"] == [HOST]
    reset = await elb.call("ModifyRule", RuleArn=arn, ResetTransforms=True)
    assert reset["Rules"][0]["Transforms"] == []


@pytest.mark.parametrize(
    ("transforms", "message"),
    [
        ([url("^/a", "/b"), url("^/c", "/d")], "A rule can only have one 'url-rewrite' transform"),
        ([url("^/(?=a)", "/b")], "'^/(?=a)' is not a valid regular expression"),
        ([url("^/a", "/$1")], "names the group '$1', which the regex does not have"),
        ([url("a" * 1025, "b")], "cannot be longer than '1024' characters"),
        ([{"Type": "url-rewrite"}], "must have exactly one rewrite"),
        ([{**HOST, "Type": "url-rewrite"}], "HostHeaderRewriteConfig cannot be specified"),
    ],
)
async def test_refusals(elb: Rig, listener: str, transforms: list[dict[str, Any]], message: str) -> None:
    group = (await elb.target_group())["TargetGroupArn"]
    refusal = await elb.refused(
        "CreateRule",
        ListenerArn=listener,
        Priority=1,
        Conditions=[path("/a")],
        Actions=[forward(group)],
        Transforms=transforms,
    )
    assert refusal.code == "ValidationError"
    assert message in refusal.message


async def test_there_must_be_something_to_forward(elb: Rig, listener: str) -> None:
    given = {"Conditions": [path("/a")], "Actions": [fixed()], "Transforms": [HOST]}
    refusal = await elb.refused("CreateRule", ListenerArn=listener, Priority=1, **given)
    assert "action of type 'forward'" in refusal.message
