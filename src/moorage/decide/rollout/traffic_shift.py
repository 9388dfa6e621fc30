"""Weights on listener rules: what a rule forwards to, what it should forward to, and whether a shift can begin at all
(semantics ecs-services §5.3, §5.5). Knows actions, not stages; writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from moorage.decide.rollout import blue_green, canary, linear
from moorage.decide.rollout.blue_green import ShiftStep
from moorage.domain import sentences
from moorage.domain.load_balancer import Action, Forward, WeightedTargetGroup, forwarded_to
from moorage.domain.service import Canary, DeploymentConfiguration, Linear, Revision

Actions = tuple[Action, ...]


class Route(msgspec.Struct, frozen=True):
    """One load balancer reference of a service: the rules to shift, and which target group is whose."""

    production_rule: str
    test_rule: str | None
    blue: str
    green: str


class Weights(msgspec.Struct, frozen=True):
    """What one listener rule should forward to: (target group ARN, weight), blue first."""

    rule_arn: str
    target_groups: tuple[tuple[str, int], ...]


def steps(configuration: DeploymentConfiguration) -> tuple[ShiftStep, ...]:
    """The production shifts of a deployment, in order."""
    match configuration.strategy:
        case "LINEAR":
            return linear.steps(configuration.linear or Linear())
        case "CANARY":
            return canary.steps(configuration.canary or Canary())
        case _:
            return blue_green.steps()


def routes(blue: Revision, green: Revision) -> tuple[Route, ...]:
    """One per load balancer reference of green. Blue's target group is the one of the pair that green does not use."""
    found = []
    for ref, resolved in zip(green.load_balancers, green.registers_in, strict=True):
        advanced = ref.advanced_configuration or {}
        pair = (ref.target_group_arn or "", str(advanced.get("alternateTargetGroupArn")))
        mine = resolved.target_group_arn or ""
        other = pair[1] if mine == pair[0] else pair[0]
        found.append(Route(str(advanced.get("productionListenerRule")), advanced.get("testListenerRule"), other, mine))
    return tuple(found)


def weights(percent: float) -> tuple[int, int]:
    """(blue, green) as the integers from 0 to 999 that a listener rule takes.

    0 → 100, 0. 25 → 75, 25. 100 → 0, 100. Tenths need finer weights: 0.1 → 999, 1; 33.3 → 667, 333."""
    tenths = round(percent * 10)
    if tenths % 10:
        return 1000 - tenths, tenths
    return 100 - tenths // 10, tenths // 10


def production(routes: tuple[Route, ...], percent: float) -> tuple[Weights, ...]:
    blue, green = weights(percent)
    return tuple(Weights(r.production_rule, ((r.blue, blue), (r.green, green))) for r in routes)


def test(routes: tuple[Route, ...], percent: float) -> tuple[Weights, ...]:
    blue, green = weights(percent)
    return tuple(Weights(r.test_rule, ((r.blue, blue), (r.green, green))) for r in routes if r.test_rule)


def with_weights(actions: Actions, wanted: Weights) -> Actions:
    """The same actions, forwarding as wanted. Stickiness, order and target groups that are none of the pair (they have
    no traffic, or the deployment would not have begun) stay."""
    pair = {arn for arn, _ in wanted.target_groups}
    return tuple(
        replace(
            action,
            target_groups=(
                *(WeightedTargetGroup(arn, weight) for arn, weight in wanted.target_groups),
                *(group for group in action.target_groups if group.arn not in pair),
            ),
        )
        if isinstance(action, Forward)
        else action
        for action in actions
    )


def serving(actions: Actions) -> tuple[str, ...]:
    """The target groups that get requests: the weight of an only one does not matter to a load balancer."""
    groups = [group for action in actions if isinstance(action, Forward) for group in action.target_groups]
    return tuple(group.arn for group in groups if group.weight > 0 or len(groups) == 1)


def problem(routes: tuple[Route, ...], rules: Mapping[str, Actions]) -> str | None:
    """Why traffic cannot be shifted, in AWS's words (§5.5); None when it can. `rules`: actions by rule ARN."""
    for route in routes:
        actions = rules.get(route.production_rule)
        if actions is None:
            return sentences.no_such_rule(route.production_rule)
        named = {*forwarded_to(actions), *forwarded_to(rules.get(route.test_rule or "", ()))}
        found = serving(actions)
        if len(found) != 1:
            return sentences.serving_target_groups(route.production_rule, len(found))
        if found[0] not in (route.blue, route.green):
            return sentences.unexpected_target_group(found[0], route.blue, route.green)
        if route.green not in named:
            return sentences.not_associated(route.green)
    return None
