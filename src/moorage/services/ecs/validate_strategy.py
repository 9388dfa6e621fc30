"""Deployment strategies other than ROLLING: what is accepted, and what is refused in AWS's words (semantics ecs-services
§5.1, §5.5). Whether the listener rules fit is found out when the deployment begins, as in AWS.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from moorage.domain.errors import AwsError
from moorage.domain.load_balancer import forwarded_to, listener_of
from moorage.domain.service import Canary, DeploymentConfiguration, Hook, Linear, Revision
from moorage.domain.task import LoadBalancerRef
from moorage.services.ecs.shapes import convert
from moorage.store.api import View
from moorage.store.tables.elbv2 import LISTENERS, RULES

LONGEST_BAKE = 1440
LONGEST_PAUSE = 20_160
MOST_TARGET_GROUPS = 10
_RULE = re.compile(r"arn:[^:]+:elasticloadbalancing:[^:]+:\d{12}:listener-rule/app/.+")
_NETWORK_LISTENER = re.compile(r"arn:[^:]+:elasticloadbalancing:[^:]+:\d{12}:listener/net/.+")
_PAUSES = (
    "RECONCILE_SERVICE",
    "PRE_SCALE_UP",
    "POST_SCALE_UP",
    "POST_TEST_TRAFFIC_SHIFT",
    "PRE_PRODUCTION_TRAFFIC_SHIFT",
    "POST_PRODUCTION_TRAFFIC_SHIFT",
)


def _refuse(message: str) -> AwsError:
    return AwsError("InvalidParameterException", message)


def with_strategy(current: DeploymentConfiguration, given: dict[str, Any]) -> DeploymentConfiguration:
    """The configuration after the change; members that are not given stay."""
    strategy = given.get("strategy") or current.strategy
    changed = replace(current, strategy=strategy)
    if given.get("bakeTimeInMinutes") is not None:
        _within("bakeTimeInMinutes", given["bakeTimeInMinutes"], 0, LONGEST_BAKE)
        changed = replace(changed, bake_time_minutes=given["bakeTimeInMinutes"])
    if given.get("linearConfiguration") is not None:
        linear = convert(given["linearConfiguration"], Linear)
        _within("stepPercent", linear.step_percent, 3.0, 100.0)
        _tenths("stepPercent", linear.step_percent)
        _within("stepBakeTimeInMinutes", linear.step_bake_time_in_minutes, 0, LONGEST_BAKE)
        changed = replace(changed, linear=linear)
    if given.get("canaryConfiguration") is not None:
        canary = convert(given["canaryConfiguration"], Canary)
        _within("canaryPercent", canary.canary_percent, 0.1, 100.0)
        _tenths("canaryPercent", canary.canary_percent)
        _within("canaryBakeTimeInMinutes", canary.canary_bake_time_in_minutes, 0, LONGEST_BAKE)
        changed = replace(changed, canary=canary)
    if given.get("lifecycleHooks") is not None:
        changed = replace(changed, hooks=_hooks(given["lifecycleHooks"]))
    if strategy == "ROLLING":
        for member, what in (
            ("lifecycleHooks", "deployment lifecycle hooks"),
            ("linearConfiguration", "linear deployments"),
            ("canaryConfiguration", "canary deployments"),
        ):
            if given.get(member):
                raise _refuse(f"Moorage does not support {what} with the deployment strategy ROLLING yet.")
    if strategy == "BLUE_GREEN" and changed.bake_time_minutes is None:
        raise _refuse("bakeTimeInMinutes is required for the BLUE_GREEN deployment strategy.")
    if strategy != "LINEAR" and given.get("linearConfiguration") is not None:
        raise _refuse("linearConfiguration is only allowed with the LINEAR deployment strategy.")
    if strategy != "CANARY" and given.get("canaryConfiguration") is not None:
        raise _refuse("canaryConfiguration is only allowed with the CANARY deployment strategy.")
    return changed


def _within(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise _refuse(f"{name} must be between {least:g} and {most:g}.")


def _tenths(name: str, value: float) -> None:
    if abs(value * 10 - round(value * 10)) > 1e-6:
        raise _refuse(f"{name} must be a multiple of 0.1.")


def _hooks(given: Iterable[dict[str, Any]]) -> tuple[Hook, ...]:
    found = []
    for one in given:
        kind = one.get("targetType") or "AWS_LAMBDA"
        if kind not in ("AWS_LAMBDA", "PAUSE"):
            raise _refuse("Invalid targetType. Valid values are: AWS_LAMBDA, PAUSE")
        stages = one.get("lifecycleStages") or ()
        if not stages:
            raise _refuse("lifecycleStages can not be empty.")
        if kind == "PAUSE" and any(stage not in _PAUSES for stage in stages):
            raise _refuse("Invalid lifecycle stage provided for Pause Hook")
        if kind == "AWS_LAMBDA" and not one.get("hookTargetArn"):
            raise _refuse("hookTargetArn is required for lifecycle hooks with the target type AWS_LAMBDA.")
        if kind == "AWS_LAMBDA" and not one.get("roleArn"):
            raise _refuse("roleArn is required for lifecycle hooks with the target type AWS_LAMBDA.")
        if kind == "AWS_LAMBDA" and one.get("timeoutConfiguration"):
            raise _refuse("timeoutConfiguration is only supported for lifecycle hooks with the target type PAUSE.")
        hook = convert({**one, "targetType": kind}, Hook)
        if hook.timeout_configuration is not None:
            _within("timeoutInMinutes", hook.timeout_configuration.timeout_in_minutes, 1, LONGEST_PAUSE)
            if hook.timeout_configuration.action not in ("ROLLBACK", "CONTINUE"):
                raise _refuse("Invalid timeout action. Valid values are: ROLLBACK, CONTINUE")
        found.append(hook)
    return tuple(found)


def check_strategy(
    view: View, configuration: DeploymentConfiguration, references: tuple[LoadBalancerRef, ...], *, attached: bool
) -> None:
    """Do strategy and load balancers fit together? Not `attached`: the references were given earlier, which is fine for
    a service that goes back to ROLLING."""
    advanced = [ref.advanced_configuration for ref in references if ref.advanced_configuration]
    if advanced and len(advanced) < len(references):
        raise _refuse("Either all or none of the provided loadBalancers must have advancedConfiguration defined")
    if configuration.strategy == "ROLLING":
        if advanced and attached:
            raise _refuse("advancedConfiguration is only allowed with a deployment strategy other than ROLLING.")
        return
    if references and not advanced:
        raise _refuse(
            "advancedConfiguration field is required for all loadBalancers when using a non-ROLLING deployment strategy"
        )
    if not references and configuration.strategy in ("LINEAR", "CANARY"):
        raise _needs_rules(configuration.strategy)
    if references:
        _check_rules(view, references, configuration.strategy)


def _check_rules(view: View, references: tuple[LoadBalancerRef, ...], strategy: str) -> None:
    production, tested, groups = set(), set(), []
    for ref in references:
        advanced = ref.advanced_configuration or {}
        for member in ("alternateTargetGroupArn", "productionListenerRule", "roleArn"):
            if not advanced.get(member):
                raise _refuse(f"{member} is required in advancedConfiguration.")
        rule, test = advanced["productionListenerRule"], advanced.get("testListenerRule")
        _check_arn("productionListenerRule", rule, strategy)
        if test:
            _check_arn("testListenerRule", test, strategy)
            tested.add(test)
        production.add(rule)
        groups += [ref.target_group_arn or "", advanced["alternateTargetGroupArn"]]
        pair = {ref.target_group_arn, advanced["alternateTargetGroupArn"]}
        if _RULE.fullmatch(rule) and not test and not pair <= set(forwarded_to(_actions(view, rule))):
            raise _refuse(
                "For Application LoadBalancer, testListenerRule is required when productionListenerRule is not "
                "associated with both targetGroup and alternateTargetGroup"
            )
    if both := sorted(production & tested):
        raise _refuse(
            f"The following rules cannot be used as both production and test listener rules: {', '.join(both)}"
        )
    if twice := sorted({arn for arn in groups if groups.count(arn) > 1}):
        raise _refuse(f"Duplicate targetGroupArn found: {', '.join(twice)}")
    if len(groups) > MOST_TARGET_GROUPS:
        raise _refuse(f"load balancers can have at most {MOST_TARGET_GROUPS} target groups.")


def _check_arn(member: str, arn: str, strategy: str) -> None:
    if _NETWORK_LISTENER.fullmatch(arn):
        if strategy != "BLUE_GREEN":
            raise _needs_rules(strategy)
    elif not _RULE.fullmatch(arn):
        raise _refuse(f"{member} has an invalid ARN format. Must be RuleArn for ALB or ListenerArn for NLB. Got: {arn}")


def _needs_rules(strategy: str) -> AwsError:
    return _refuse(f"The {strategy} deployment strategy requires an Application Load Balancer or Service Connect.")


def _actions(view: View, rule_arn: str) -> Any:
    """Of a rule, or of a listener of a network load balancer."""
    rule = view.get(RULES, rule_arn)
    if rule is not None:
        return rule.actions
    itself = view.get(LISTENERS, rule_arn)
    if itself is not None:
        return itself.default_actions
    listener = view.get(LISTENERS, listener_of(rule_arn))
    return listener.default_actions if listener is not None and listener.default_rule_arn == rule_arn else ()


def resolve_target_groups(
    view: View,
    references: tuple[LoadBalancerRef, ...],
    blue: Revision | None,
    configuration: DeploymentConfiguration,
) -> tuple[str, ...]:
    """The target group that tasks of a new revision belong in, for every reference: the one of the pair that blue does
    not use; when nothing is shifted (no blue, or ROLLING) the one that gets the traffic (§5.3). Empty: as configured."""
    if not any(ref.advanced_configuration for ref in references):
        return ()
    taken = {ref.target_group_arn for ref in blue.registers_in} if blue is not None else set()
    shifts = blue is not None and configuration.strategy != "ROLLING"
    found = []
    for ref in references:
        advanced = ref.advanced_configuration or {}
        first = ref.target_group_arn or ""
        second = str(advanced.get("alternateTargetGroupArn") or first)
        weights = {
            group.arn: group.weight
            for action in _actions(view, str(advanced.get("productionListenerRule")))
            for group in getattr(action, "target_groups", ())
        }
        in_use = taken if blue is not None else {second if weights.get(second, 0) > weights.get(first, 0) else first}
        found.append(second if (first in in_use) == shifts else first)
    return tuple(found)
