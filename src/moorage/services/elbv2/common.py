"""What all parts of the provider share: the things handed in, and look-ups that refuse in AWS's words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from moorage.domain.clock import Clock, Ids
from moorage.domain.errors import AwsError
from moorage.domain.load_balancer import LAYER_4, Action, Forward, Listener, LoadBalancer, Rule, forwarded_to
from moorage.domain.target_group import TargetGroup
from moorage.domain.trust_store import TrustStore
from moorage.services.base import Provider, RequestContext
from moorage.services.elbv2 import listener_protocols, validate
from moorage.services.elbv2.quotas import MAX_GROUPS_OF_ONE
from moorage.services.lookups import CertificateLookup, NetworkLookup, VpcLookup
from moorage.store.api import StoreApi, View
from moorage.store.elbv2_queries import load_balancers_of
from moorage.store.tables.elbv2 import LISTENERS, LOAD_BALANCERS, RULES, TARGET_GROUP_USES, TARGET_GROUPS, TRUST_STORES


class ElbV2Base(Provider):
    service: ClassVar[str] = "elbv2"
    vpcs: VpcLookup | None = None

    def __init__(
        self,
        store: StoreApi,
        clock: Clock,
        ids: Ids,
        networks: NetworkLookup,
        certificates: CertificateLookup | None = None,
    ) -> None:
        self.store = store
        self.clock = clock
        self.ids = ids
        self.networks = networks
        self.certificates = certificates


def the_load_balancer(view: View, ctx: RequestContext, arn: str) -> LoadBalancer:
    record = view.get(LOAD_BALANCERS, validate.own_arn(ctx.scope, "load balancer", arn))
    if record is None:
        raise load_balancers_missing([arn])
    return record


def the_target_group(view: View, ctx: RequestContext, arn: str) -> TargetGroup:
    record = view.get(TARGET_GROUPS, validate.own_arn(ctx.scope, "target group", arn))
    if record is None:
        raise AwsError("TargetGroupNotFound", f"Target groups '{arn}' not found")
    return record


def the_listener(view: View, ctx: RequestContext, arn: str) -> Listener:
    record = view.get(LISTENERS, validate.own_arn(ctx.scope, "listener", arn))
    if record is None:
        raise AwsError("ListenerNotFound", "One or more listeners not found")
    return record


def the_trust_store(view: View, ctx: RequestContext, arn: str) -> TrustStore:
    validate.arn("trust store", arn)  # those of other accounts are valid as well: they can be shared
    record = view.get(TRUST_STORES, arn) if validate.here(ctx.scope, arn) else None
    if record is None:
        raise AwsError("TrustStoreNotFound", f"Trust store '{arn}' not found")
    return record


def the_rule(view: View, ctx: RequestContext, arn: str) -> Rule:
    """Not a default rule: that one lives in its listener."""
    record = view.get(RULES, validate.own_arn(ctx.scope, "listener rule", arn))
    if record is None:
        raise rules_missing()
    return record


def load_balancers_missing(names: Iterable[str]) -> AwsError:
    return AwsError("LoadBalancerNotFound", f"Load balancers '[{', '.join(names)}]' not found")


def rules_missing() -> AwsError:
    return AwsError("RuleNotFound", "One or more rules not found")


def check_forwarding(
    view: View, ctx: RequestContext, load_balancer: LoadBalancer, protocol: str, actions: tuple[Action, ...]
) -> None:
    """May a listener (of this `protocol`) of this load balancer forward as these actions say?"""
    groups = [the_target_group(view, ctx, arn) for arn in forwarded_to(actions)]
    listener_protocols.check_compatible(protocol, groups)
    for group in groups:
        if protocol == "HTTP" and group.protocol_version in ("GRPC", "HTTP2"):
            raise AwsError(
                "InvalidLoadBalancerAction",
                f"Listener protocol 'HTTP' is not supported with a target group with the protocol-version "
                f"'{group.protocol_version}'",
            )
    if elsewhere := [group.arn for group in groups if group.vpc_id not in (None, load_balancer.vpc_id)]:
        raise validate.invalid(
            "The following target groups are not in the same VPC as the load balancer "
            f"'{load_balancer.arn}': {', '.join(elsewhere)}"
        )
    if taken := [group.arn for group in groups if set(load_balancers_of(view, group.arn)) - {load_balancer.arn}]:
        raise AwsError(
            "TargetGroupAssociationLimit",
            "The following target groups cannot be associated with more than one load balancer: " + ", ".join(taken),
        )
    _check_count(view, load_balancer, groups)
    for action in actions:
        if isinstance(action, Forward) and len(action.target_groups) > 1:
            _check_stickiness_together(action, groups)


def _check_count(view: View, load_balancer: LoadBalancer, groups: list[TargetGroup]) -> None:
    used = {use.target_group_arn for use in view.find(TARGET_GROUP_USES, "load_balancer", load_balancer.arn)}
    if len(used | {group.arn for group in groups}) > max(MAX_GROUPS_OF_ONE, len(used)):
        raise AwsError(
            "TooManyUniqueTargetGroupsPerLoadBalancer",
            f"The maximum number of unique target groups for load balancer '{load_balancer.arn}' has been reached",
        )


def _check_stickiness_together(action: Forward, groups: list[TargetGroup]) -> None:
    for group in groups:
        if group.protocol in LAYER_4:
            continue
        sticky = group.attributes.get("stickiness.enabled") == "true"
        if sticky and group.attributes.get("stickiness.type") == "app_cookie":
            raise AwsError(
                "InvalidLoadBalancerAction",
                "When configuring a rule with multiple target groups, none of them can have stickiness of type "
                "'app_cookie' enabled",
            )
        if sticky and action.stickiness_seconds is None:
            raise AwsError(
                "InvalidLoadBalancerAction",
                "You must enable group stickiness on a rule if you enabled target stickiness on one of its target groups",
            )
