"""Operations on listener rules (semantics elbv2 §3.3). The default rule of a listener lives in the listener record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from moorage.domain.errors import AwsError
from moorage.domain.load_balancer import Listener, LoadBalancer, Rule, listener_of
from moorage.services.base import RequestContext, operation
from moorage.services.elbv2 import actions, conditions, listener_protocols, present, transforms, validate
from moorage.services.elbv2.common import (
    ElbV2Base,
    check_forwarding,
    rules_missing,
    the_listener,
    the_load_balancer,
    the_rule,
)
from moorage.services.elbv2.quotas import MAX_RULES
from moorage.services.elbv2.validate import invalid
from moorage.store.api import Transaction, View
from moorage.store.elbv2_queries import delete_rule, put_rule
from moorage.store.tables.elbv2 import LISTENERS, RULES


class Rules(ElbV2Base):
    @operation("CreateRule")
    async def create_rule(self, ctx: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        listener = the_listener(self.store, ctx, params["ListenerArn"])
        listener_protocols.check_rules(listener)
        priority = validate.between("Rule priority", params["Priority"], 1, 50000)
        wanted = Rule(
            arn=f"{listener.arn.replace(':listener/', ':listener-rule/', 1)}/{self.ids.hex(16)}",
            listener_arn=listener.arn,
            priority=priority,
            conditions=conditions.parse(params["Conditions"]),
            actions=actions.parse(params["Actions"], protocol=listener.protocol, port=listener.port),
            tags=validate.tags(params.get("Tags")),
            transforms=transforms.parse(params.get("Transforms")),
        )
        transforms.check(wanted.transforms, wanted.actions)

        def change(tx: Transaction) -> Rule:
            current = the_listener(tx, ctx, listener.arn)
            owner = the_load_balancer(tx, ctx, current.load_balancer_arn)
            if any(rule.priority == priority for rule in tx.find(RULES, "listener", current.arn)):
                raise _in_use(priority)
            _check_room(tx, owner)
            check_forwarding(tx, ctx, owner, current.protocol, wanted.actions)
            return put_rule(tx, wanted)

        return {"Rules": [present.rule(await self.store.update(change))]}

    @operation("DescribeRules")
    async def describe_rules(self, ctx: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        arn, arns = params.get("ListenerArn"), params.get("RuleArns")
        if not arn and not arns:
            raise invalid("You must specify either listener rule ARNs or a listener ARN")
        if arn and arns:
            raise invalid("Listener rule ARNs and a listener ARN cannot be specified at the same time")
        if arns:
            validate.at_most_named(len(arns), "rules")
            found = [_rule_or_default(self.store, ctx, one) for one in dict.fromkeys(arns)]
        else:
            listener = the_listener(self.store, ctx, str(arn))
            found = [*self.store.find(RULES, "listener", listener.arn), listener]
        shown, more = validate.page(params, found, _position)
        return {"Rules": [_show(record) for record in shown], **more}

    @operation("ModifyRule")
    async def modify_rule(self, ctx: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        if params.get("Transforms") and params.get("ResetTransforms"):
            raise invalid("Transforms and ResetTransforms cannot be specified at the same time")
        asked = transforms.parse(params.get("Transforms"))

        def change(tx: Transaction) -> Rule:
            record = _rule_or_default(tx, ctx, params["RuleArn"])
            if isinstance(record, Listener):
                raise AwsError("OperationNotPermitted", f"Default rule '{params['RuleArn']}' cannot be modified")
            listener = the_listener(tx, ctx, record.listener_arn)
            owner = the_load_balancer(tx, ctx, listener.load_balancer_arn)
            after = record
            if params.get("Conditions") is not None:
                after = msgspec.structs.replace(after, conditions=conditions.parse(params["Conditions"]))
            if params.get("Actions") is not None:
                wanted = actions.parse(
                    params["Actions"], protocol=listener.protocol, port=listener.port, before=record.actions
                )
                check_forwarding(tx, ctx, owner, listener.protocol, wanted)
                after = msgspec.structs.replace(after, actions=wanted)
            if asked or params.get("ResetTransforms"):
                after = msgspec.structs.replace(after, transforms=asked)
            transforms.check(after.transforms, after.actions)
            return put_rule(tx, after)

        return {"Rules": [present.rule(await self.store.update(change))]}

    @operation("DeleteRule")
    async def delete_rule(self, ctx: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        def change(tx: Transaction) -> None:
            record = _rule_or_default(tx, ctx, params["RuleArn"])
            if isinstance(record, Listener):
                raise AwsError("OperationNotPermitted", f"Default rule '{params['RuleArn']}' cannot be deleted")
            delete_rule(tx, record.arn)

        await self.store.update(change)
        return {}

    @operation("SetRulePriorities")
    async def set_rule_priorities(self, ctx: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        pairs = params["RulePriorities"]

        def change(tx: Transaction) -> list[Rule]:
            wanted = _new_priorities(tx, ctx, pairs)
            moved = {rule.arn: rule for rule in wanted}
            for listener_arn in {rule.listener_arn for rule in wanted}:
                _check_distinct(moved.get(rule.arn, rule) for rule in tx.find(RULES, "listener", listener_arn))
            return [put_rule(tx, rule) for rule in wanted]

        changed = await self.store.update(change)
        return {"Rules": [present.rule(rule) for rule in changed]}


def _new_priorities(view: View, ctx: RequestContext, pairs: Iterable[Mapping[str, Any]]) -> list[Rule]:
    wanted: list[Rule] = []
    given: set[tuple[str, int]] = set()
    for pair in pairs:
        if not pair.get("RuleArn") or pair.get("Priority") is None:
            raise invalid("A rule ARN and a priority must be specified for every rule")
        record = _rule_or_default(view, ctx, pair["RuleArn"])
        if isinstance(record, Listener):
            raise AwsError("OperationNotPermitted", "The priority of the default rule cannot be modified")
        priority = validate.between("Rule priority", pair["Priority"], 1, 50000)
        if (record.listener_arn, priority) in given:
            raise invalid(f"Priority '{priority}' was provided multiple times")
        if any(other.arn == record.arn for other in wanted):
            raise invalid(f"Rule '{record.arn}' was provided multiple times")
        given.add((record.listener_arn, priority))
        wanted.append(msgspec.structs.replace(record, priority=priority))
    return wanted


def _check_distinct(rules: Iterable[Rule]) -> None:
    for priority, count in Counter(rule.priority for rule in rules).items():
        if count > 1:
            raise _in_use(priority)


def _check_room(view: View, owner: LoadBalancer) -> None:
    listeners = view.find(LISTENERS, "load_balancer", owner.arn)
    if sum(len(view.find(RULES, "listener", listener.arn)) for listener in listeners) >= MAX_RULES:
        raise AwsError("TooManyRules", f"The maximum number of rules on load balancer '{owner.arn}' has been reached")


def _rule_or_default(view: View, ctx: RequestContext, arn: str) -> Rule | Listener:
    """The rule with this ARN; its listener when it is a default rule."""
    listener = view.get(LISTENERS, listener_of(validate.own_arn(ctx.scope, "listener rule", arn)))
    if listener is None:
        raise rules_missing()
    return listener if listener.default_rule_arn == arn else the_rule(view, ctx, arn)


def _position(record: Rule | Listener) -> str:
    if isinstance(record, Listener):
        return f"{record.arn}|default"
    return f"{record.listener_arn}|{record.priority:05d}"


def _show(record: Rule | Listener) -> dict[str, Any]:
    return present.default_rule(record) if isinstance(record, Listener) else present.rule(record)


def _in_use(priority: int) -> AwsError:
    return AwsError("PriorityInUse", f"Priority '{priority}' is currently in use")
