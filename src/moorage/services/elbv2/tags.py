"""Tags of load balancers, target groups, listeners and rules; and what only describes (limits, SSL policies)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from moorage.domain.errors import AwsError
from moorage.domain.load_balancer import listener_of
from moorage.domain.ssl_policies import NETWORK_ONLY, SSL_POLICIES
from moorage.services.base import RequestContext, operation
from moorage.services.elbv2 import present, validate
from moorage.services.elbv2.common import (
    ElbV2Base,
    the_listener,
    the_load_balancer,
    the_rule,
    the_target_group,
    the_trust_store,
)
from moorage.services.elbv2.quotas import LIMITS
from moorage.store.api import Transaction, View
from moorage.store.tables.elbv2 import LISTENERS, LOAD_BALANCERS, RULES, TARGET_GROUPS, TRUST_STORES

Tagged = dict[str, str]


class Tags(ElbV2Base):
    @operation("AddTags")
    async def add_tags(self, ctx: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        added = validate.tags(params["Tags"])

        def change(tx: Transaction) -> None:
            for arn in params["ResourceArns"]:
                _retag(tx, ctx, arn, lambda before: validate.limited_tags({**before, **added}))

        await self.store.update(change)
        return {}

    @operation("RemoveTags")
    async def remove_tags(self, ctx: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        gone = set(params["TagKeys"])

        def change(tx: Transaction) -> None:
            for arn in params["ResourceArns"]:
                _retag(tx, ctx, arn, lambda before: {key: value for key, value in before.items() if key not in gone})

        await self.store.update(change)
        return {}

    @operation("DescribeTags")
    async def describe_tags(self, ctx: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        arns = params["ResourceArns"]
        validate.at_most_named(len(arns), "resources")
        return {
            "TagDescriptions": [
                {"ResourceArn": arn, "Tags": present.tags(_tags_of(self.store, ctx, arn))}
                for arn in dict.fromkeys(arns)
            ]
        }

    @operation("DescribeAccountLimits")
    async def describe_account_limits(self, ctx: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        shown, more = validate.page(params, enumerate(LIMITS), lambda item: f"{item[0]:03d}")
        return {"Limits": [{"Name": name, "Max": str(LIMITS[name])} for _, name in shown], **more}

    @operation("DescribeSSLPolicies")
    async def describe_ssl_policies(self, ctx: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        names = params.get("Names")
        for name in names or ():
            if name not in SSL_POLICIES:
                raise AwsError("SSLPolicyNotFound", f"SSL policy '{name}' not found")
        kind = params.get("LoadBalancerType")
        found = [name for name in names or SSL_POLICIES if kind is None or kind in _usable_by(name)]
        shown, more = validate.page(params, enumerate(dict.fromkeys(found)), lambda item: f"{item[0]:03d}")
        return {"SslPolicies": [_policy(name) for _, name in shown], **more}


def _policy(name: str) -> dict[str, Any]:
    protocols, ciphers = SSL_POLICIES[name]
    return {
        "Name": name,
        "SslProtocols": list(protocols),
        "Ciphers": [{"Name": cipher, "Priority": number} for number, cipher in enumerate(ciphers, start=1)],
        "SupportedLoadBalancerTypes": list(_usable_by(name)),
    }


def _usable_by(policy: str) -> tuple[str, ...]:
    return ("network",) if policy in NETWORK_ONLY else ("application", "network")


def _tags_of(view: View, ctx: RequestContext, arn: str) -> Mapping[str, str]:
    if validate.is_arn("load balancer", arn):
        return the_load_balancer(view, ctx, arn).tags
    if validate.is_arn("target group", arn):
        return the_target_group(view, ctx, arn).tags
    if validate.is_arn("listener", arn):
        return the_listener(view, ctx, arn).tags
    if validate.is_arn("trust store", arn):
        return the_trust_store(view, ctx, arn).tags
    if not validate.is_arn("listener rule", arn):
        raise validate.invalid(f"'{arn}' is not a valid ARN")
    listener = view.get(LISTENERS, listener_of(validate.own_arn(ctx.scope, "listener rule", arn)))
    if listener is not None and listener.default_rule_arn == arn:
        return listener.default_rule_tags
    return the_rule(view, ctx, arn).tags


def _retag(tx: Transaction, ctx: RequestContext, arn: str, change: Callable[[Tagged], Tagged]) -> None:
    after = change(dict(_tags_of(tx, ctx, arn)))
    replace = msgspec.structs.replace
    if validate.is_arn("load balancer", arn):
        tx.put(LOAD_BALANCERS, replace(the_load_balancer(tx, ctx, arn), tags=after))
    elif validate.is_arn("target group", arn):
        tx.put(TARGET_GROUPS, replace(the_target_group(tx, ctx, arn), tags=after))
    elif validate.is_arn("listener", arn):
        tx.put(LISTENERS, replace(the_listener(tx, ctx, arn), tags=after))
    elif validate.is_arn("trust store", arn):
        tx.put(TRUST_STORES, replace(the_trust_store(tx, ctx, arn), tags=after))
    elif (rule := tx.get(RULES, arn)) is not None:
        tx.put(RULES, replace(rule, tags=after))
    else:
        tx.put(LISTENERS, replace(the_listener(tx, ctx, listener_of(arn)), default_rule_tags=after))
