"""Reads over the load balancing tables that several parts need, and the writes that keep the derived table in step.

Listeners and rules are written only through `put_listener`, `put_rule` and the `delete_…` functions here: they keep
`TARGET_GROUP_USES` true, so that "which load balancers use this target group?" costs as much as its answer.
"""

from __future__ import annotations

from moorage.domain.load_balancer import (
    LAYER_4,
    Action,
    Listener,
    Rule,
    TargetGroupUse,
    forwarded_to,
    listener_of,
    load_balancer_of,
)
from moorage.domain.target_group import (
    DRAINING,
    IP_UNUSABLE,
    NOT_IN_USE,
    NOT_REGISTERED,
    REGISTERING,
    ZONE_NOT_ENABLED,
    Target,
    TargetHealth,
    TargetState,
    target_key,
)
from moorage.store.api import Transaction, View
from moorage.store.tables.elbv2 import (
    LISTENERS,
    LOAD_BALANCER_NODES,
    LOAD_BALANCERS,
    RULES,
    TARGET_GROUP_USES,
    TARGET_GROUPS,
    TARGET_HEALTH,
    TARGETS,
)


def put_listener(tx: Transaction, listener: Listener) -> Listener:
    _keep_uses(tx, listener.arn, listener.load_balancer_arn, listener.default_actions)
    return tx.put(LISTENERS, listener)


def put_rule(tx: Transaction, rule: Rule) -> Rule:
    _keep_uses(tx, rule.arn, load_balancer_of(rule.listener_arn), rule.actions)
    return tx.put(RULES, rule)


def delete_rule(tx: Transaction, arn: str) -> None:
    _keep_uses(tx, arn, load_balancer_of(listener_of(arn)), ())
    tx.delete(RULES, arn)


def delete_listener(tx: Transaction, arn: str) -> None:
    """With its rules."""
    for rule in list(tx.find(RULES, "listener", arn)):
        delete_rule(tx, rule.arn)
    _keep_uses(tx, arn, load_balancer_of(arn), ())
    tx.delete(LISTENERS, arn)


def delete_load_balancer(tx: Transaction, arn: str) -> None:
    """With its listeners and their rules; target groups and targets stay (semantics elbv2 §3.1)."""
    for listener in list(tx.find(LISTENERS, "load_balancer", arn)):
        delete_listener(tx, listener.arn)
    tx.delete(LOAD_BALANCERS, arn)


def rule_of(view: View, arn: str) -> Rule | Listener | None:
    """The record that holds the actions of a rule: the rule, or the listener whose default rule it is."""
    if ":listener-rule/" not in arn:
        return view.get(LISTENERS, arn)
    rule = view.get(RULES, arn)
    if rule is not None:
        return rule
    listener = view.get(LISTENERS, listener_of(arn))
    return listener if listener is not None and listener.default_rule_arn == arn else None


def actions_of(view: View, rule_arn: str) -> tuple[Action, ...]:
    """What a rule, or a listener by default, does now; nothing for one that is gone."""
    found = rule_of(view, rule_arn) if ":listener-rule/" in rule_arn else None
    if found is None:
        return ()
    return found.default_actions if isinstance(found, Listener) else found.actions


def load_balancers_of(view: View, target_group_arn: str) -> tuple[str, ...]:
    """The load balancers (ARNs, sorted) of which a listener or a rule forwards to this target group."""
    return tuple(
        sorted({use.load_balancer_arn for use in view.find(TARGET_GROUP_USES, "target_group", target_group_arn)})
    )


def in_use(view: View, target_group_arn: str) -> bool:
    """Does any listener or rule forward to this target group?"""
    return bool(view.find(TARGET_GROUP_USES, "target_group", target_group_arn))


def idle_state(view: View, target: Target) -> TargetState | None:
    """Why this registered target gets no traffic and no health checks now (draining, unused), or None: it is in
    service as far as its health allows."""
    if target.deregistered_at is not None:
        return DRAINING
    load_balancers = load_balancers_of(view, target.target_group_arn)
    if not load_balancers:
        return NOT_IN_USE
    if _is_load_balancer(view, target):
        return IP_UNUSABLE
    if target.availability_zone in (None, "all"):
        return None
    for arn in load_balancers:
        load_balancer = view.get(LOAD_BALANCERS, arn)
        if load_balancer is None or any(zone == target.availability_zone for _, zone in load_balancer.subnets):
            return None
    return ZONE_NOT_ENABLED


def _is_load_balancer(view: View, target: Target) -> bool:
    """Does a load balancer stand at the address of this target? One of layer 4 may pass on to application load balancers,
    which is how these get static addresses; anything else could go round in circles."""
    nodes = view.find(LOAD_BALANCER_NODES, "address", target.id)
    group = view.get(TARGET_GROUPS, target.target_group_arn) if nodes else None
    if group is None:
        return False
    owners = [owner for node in nodes if (owner := view.get(LOAD_BALANCERS, node.load_balancer_arn)) is not None]
    same_vpc = [owner for owner in owners if owner.vpc_id == group.vpc_id]
    return any(owner.type == "network" or group.protocol not in LAYER_4 for owner in same_vpc)


def current_health(view: View, target: Target) -> TargetHealth | None:
    """What the checker found of this registration (a record about an earlier one says nothing)."""
    health = view.get(TARGET_HEALTH, target.key)
    return health if health is not None and health.registered_at == target.registered_at else None


def target_state(view: View, target_group_arn: str, id: str, port: int) -> TargetState:
    """What DescribeTargetHealth says of a target, registered or not (semantics elbv2 §5)."""
    target = view.get(TARGETS, target_key(target_group_arn, id, port))
    if target is None:
        return NOT_REGISTERED
    idle = idle_state(view, target)
    if idle is not None:
        return idle
    health = current_health(view, target)
    if health is None:
        return REGISTERING
    return TargetState(health.state, health.reason, health.description)


def _keep_uses(tx: Transaction, user: str, load_balancer: str, actions: tuple[Action, ...]) -> None:
    wanted = {arn: TargetGroupUse(arn, user, load_balancer) for arn in forwarded_to(actions)}
    for use in list(tx.find(TARGET_GROUP_USES, "user", user)):
        if use.target_group_arn not in wanted:
            tx.delete(TARGET_GROUP_USES, use.key)
    for use in wanted.values():
        if tx.get(TARGET_GROUP_USES, use.key) is None:
            tx.put(TARGET_GROUP_USES, use)
