"""Random histories of API calls: what is derived stays in step with what it is derived from, refusals change nothing,
and every answer has the shape of the official model (the rig looks)."""

from __future__ import annotations

import random
from typing import Any

import pytest

from moorage.domain.errors import AwsError
from moorage.domain.load_balancer import forwarded_to, load_balancer_of
from moorage.store.elbv2_queries import load_balancers_of
from moorage.store.tables.elbv2 import LISTENERS, LOAD_BALANCERS, RULES, TABLES, TARGET_GROUP_USES, TARGET_GROUPS

from .rig import Rig, fixed, forward, path


class History:
    def __init__(self, elb: Rig, seed: int) -> None:
        self.elb = elb
        self.random = random.Random(seed)

    def any(self, table: Any) -> Any:
        records = self.elb.store.all(table)
        return self.random.choice(records) if records else None

    def actions(self) -> list[dict[str, Any]]:
        groups = [record.arn for record in self.elb.store.all(TARGET_GROUPS)]
        several = self.random.sample(groups, min(len(groups), self.random.randint(0, 2)))
        return [forward(*several)] if several else [fixed()]

    async def step(self) -> None:
        listener, rule, group = self.any(LISTENERS), self.any(RULES), self.any(TARGET_GROUPS)
        owner = self.any(LOAD_BALANCERS)
        name, number = self.random.choice("abcd"), self.random.randint(1, 4)
        event = self.random.choice(
            ["owner", "group", "listener", "listener", "rule", "rule", "rule", "modify", "priorities", "delete"]
        )
        if event == "owner":
            await self.elb.load_balancer(name)
        elif event == "group":
            await self.elb.target_group(name)
        elif event == "listener" and owner:
            await self.elb.listener(owner.arn, port=number, DefaultActions=self.actions())
        elif event == "rule" and listener:
            await self.elb.rule(listener.arn, number, Conditions=[path("/x")], Actions=self.actions())
        elif event == "modify" and rule:
            await self.elb.call("ModifyRule", RuleArn=rule.arn, Actions=self.actions())
        elif event == "modify" and listener:
            await self.elb.call("ModifyListener", ListenerArn=listener.arn, Port=number, DefaultActions=self.actions())
        elif event == "priorities" and rule:
            await self.elb.call("SetRulePriorities", RulePriorities=[{"RuleArn": rule.arn, "Priority": number}])
        elif event == "delete":
            await self.delete(owner, listener, rule, group)

    async def delete(self, owner: Any, listener: Any, rule: Any, group: Any) -> None:
        which = self.random.choice(["owner", "listener", "rule", "group"])
        if which == "owner" and owner and self.random.random() < 0.3:
            await self.elb.call("DeleteLoadBalancer", LoadBalancerArn=owner.arn)
        elif which == "listener" and listener:
            await self.elb.call("DeleteListener", ListenerArn=listener.arn)
        elif which == "rule" and rule:
            await self.elb.call("DeleteRule", RuleArn=rule.arn)
        elif which == "group" and group:
            await self.elb.call("DeleteTargetGroup", TargetGroupArn=group.arn)


def _everything(elb: Rig) -> dict[str, Any]:
    return {table.name: tuple(elb.store.all(table)) for table in TABLES}


def _check(elb: Rig) -> None:
    store = elb.store
    derived = set()
    for listener in store.all(LISTENERS):
        assert store.get(LOAD_BALANCERS, listener.load_balancer_arn) is not None
        derived |= {(arn, listener.arn, listener.load_balancer_arn) for arn in forwarded_to(listener.default_actions)}
    for rule in store.all(RULES):
        assert store.get(LISTENERS, rule.listener_arn) is not None
        derived |= {(arn, rule.arn, load_balancer_of(rule.listener_arn)) for arn in forwarded_to(rule.actions)}
    written = {(use.target_group_arn, use.user_arn, use.load_balancer_arn) for use in store.all(TARGET_GROUP_USES)}
    assert written == derived
    assert all(store.get(TARGET_GROUPS, arn) is not None for arn, _, _ in derived)
    assert all(len(load_balancers_of(store, group.arn)) <= 1 for group in store.all(TARGET_GROUPS))
    places = [(rule.listener_arn, rule.priority) for rule in store.all(RULES)]
    ports = [(listener.load_balancer_arn, listener.port) for listener in store.all(LISTENERS)]
    for unique in (places, ports, [record.loopback for record in store.all(LOAD_BALANCERS)]):
        assert len(set(unique)) == len(unique)


@pytest.mark.parametrize("seed", range(20))
async def test_histories(elb: Rig, seed: int) -> None:
    history = History(elb, seed)
    refused = 0
    for _ in range(120):
        before = _everything(elb)
        try:
            await history.step()
        except AwsError:
            refused += 1
            assert _everything(elb) == before
        _check(elb)
    for listener in elb.store.all(LISTENERS):
        shown = (await elb.call("DescribeRules", ListenerArn=listener.arn))["Rules"]
        assert [rule["IsDefault"] for rule in shown] == [False] * (len(shown) - 1) + [True]
    assert refused
