"""Why a load balancer answers as it does: what every listener and rule leads to, why that is a 502 or 503, why a target
is not in rotation and how long it may take until it is (semantics elbv2 §5, §8).

Pure: no store, no clock, no I/O.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from moorage.control.explain_words import Explanation, count, id_of, left, name_of, sections, span
from moorage.domain.load_balancer import (
    LAYER_4,
    Action,
    Condition,
    FixedResponse,
    Forward,
    Listener,
    LoadBalancer,
    Redirect,
    Rule,
)
from moorage.domain.target_group import (
    HealthCheck,
    Target,
    TargetGroup,
    TargetHealth,
    TargetState,
    deregistration_delay,
)
from moorage.domain.task import Task

MOST_TARGETS = 12
CLOSED = "connections are closed"
"""What a network load balancer does where an application load balancer answers 503."""


class TargetRecords(msgspec.Struct, frozen=True):
    """A registered target. `state` as DescribeTargetHealth says; `said`: the last check; `task`: who answers there."""

    target: Target
    state: TargetState
    health: TargetHealth | None = None
    said: str = ""
    task: Task | None = None


class GroupRecords(msgspec.Struct, frozen=True):
    """`load_balancers`: ARNs of those that forward to it. `said`: what its controller last did."""

    group: TargetGroup
    targets: tuple[TargetRecords, ...] = ()
    load_balancers: tuple[str, ...] = ()
    said: str = ""


class BalancerRecords(msgspec.Struct, frozen=True):
    """`groups`: by ARN, every target group that a rule names (absent: it does not exist). `rules` by listener ARN, in
    order of priority. `proxy`: its own status (`connected`, `last_refusal`, `log`; empty: not known). `urls`: where it
    answers."""

    load_balancer: LoadBalancer
    listeners: tuple[Listener, ...] = ()
    rules: Mapping[str, tuple[Rule, ...]] = {}
    groups: Mapping[str, GroupRecords] = {}
    said: str = ""
    proxy: Mapping[str, Any] = {}
    urls: tuple[str, ...] = ()


# --- load balancers --------------------------------------------------------------------------------------------------
def explain_load_balancer(records: BalancerRecords, now: float) -> Explanation:
    balancer = records.load_balancer
    troubles = tuple(_troubles(records))
    answers = tuple(_answers(records))
    ill = next((arn for arn, group in records.groups.items() if trouble_of(group)), None)
    missing = [line for line in answers if ": 503" in line or "502" in line or CLOSED in line]
    verdict = troubles[0] if troubles else (missing[0] if missing else "every rule leads to somebody who answers")
    return Explanation(
        kind="load-balancer",
        arn=balancer.arn,
        title=f"Load balancer {balancer.name} is {balancer.state}: {verdict}.",
        sections=sections(
            ("Now", (records.said, *troubles)),
            ("What a client gets", answers),
            ("Target groups", (f"{g.group.name}: {summary(g)}" for g in records.groups.values())),
            ("Where it answers", (*records.urls, f"address {balancer.loopback}")),
        ),
        facts={
            "state": balancer.state,
            "reason": balancer.state_reason,
            "listeners": [f"{one.protocol}:{one.port}" for one in records.listeners],
            "target_groups": {g.group.name: tally(g) for g in records.groups.values()},
            "proxy_connected": records.proxy.get("connected"),
        },
        next=f"moor explain target-group {name_of(ill)}"
        if ill is not None
        else f"moor aws elbv2 describe-listeners --load-balancer-arn {balancer.arn}",
    )


def _troubles(records: BalancerRecords) -> Iterator[str]:
    """What is wrong with the load balancer as a whole."""
    balancer, proxy = records.load_balancer, records.proxy
    if balancer.state == "failed":
        yield f"the proxy refused it: {balancer.state_reason or proxy.get('last_refusal') or 'without a word'}"
    elif balancer.state == "provisioning":
        yield "the proxy has not taken it yet"
    if proxy and not proxy.get("connected"):
        yield f"the proxy is not connected, what it knows is old; its log: {proxy.get('log', 'moor logs')}"
    if not records.listeners:
        yield "it has no listener: connections to it are refused"


def _answers(records: BalancerRecords) -> Iterator[str]:
    for listener in records.listeners:
        place = f"{listener.protocol}:{listener.port}"
        for rule in records.rules.get(listener.arn, ()):
            yield f"{place} rule {rule.priority} ({_conditions(rule)}) → {_answer(rule.actions, records.groups)}"
        yield f"{place} default → {_answer(listener.default_actions, records.groups)}"


def _conditions(rule: Rule) -> str:
    return " and ".join(f"{c.header or c.field} {' or '.join(_values(c))}" for c in rule.conditions)


def _values(condition: Condition) -> tuple[str, ...]:
    pairs = tuple(f"{key}={value}" if key else value for key, value in condition.pairs)
    return condition.values or condition.regex or pairs


def _answer(actions: Sequence[Action], groups: Mapping[str, GroupRecords]) -> str:
    for action in actions:
        match action:
            case FixedResponse():
                return f"fixed response {action.status_code}"
            case Redirect():
                return f"redirect {action.status_code.removeprefix('HTTP_')}"
            case Forward():
                weights = [one for one in action.target_groups if one.weight > 0]
                if not weights and all(_by_flow(one.arn, groups) for one in action.target_groups):
                    return f"{CLOSED}: every target group has weight 0"
                if not weights:
                    return "503: every target group has weight 0"
                shares = sum(one.weight for one in weights)
                return "; ".join(
                    (f"{one.weight * 100 // shares} % " if len(weights) > 1 else "") + _forwarded(one.arn, groups)
                    for one in weights
                )
    return "503: it has no action"


def _by_flow(arn: str, groups: Mapping[str, GroupRecords]) -> bool:
    return arn in groups and groups[arn].group.protocol in LAYER_4


def _forwarded(arn: str, groups: Mapping[str, GroupRecords]) -> str:
    group = groups.get(arn)
    if group is None:
        return f"target group {name_of(arn)}: 503, it does not exist"
    return f"target group {group.group.name}: {trouble_of(group) or summary(group)}"


# --- target groups ---------------------------------------------------------------------------------------------------
def explain_target_group(records: GroupRecords, now: float) -> Explanation:
    group = records.group
    users = ", ".join(name_of(arn) for arn in records.load_balancers)
    ill = next((one for one in records.targets if one.state.state not in ("healthy", "draining")), None)
    return Explanation(
        kind="target-group",
        arn=group.arn,
        title=f"Target group {group.name}: {trouble_of(records) or summary(records)}.",
        sections=sections(
            ("Now", (records.said.partition("; ")[0],)),
            (
                "Traffic",
                (
                    f"from load balancer {users}"
                    if users
                    else "none: no listener or rule forwards to it (Target.NotInUse)",
                ),
            ),
            ("Targets", _target_lines(records, now)),
            ("Health check", (_check_line(group.health_check), _times(group))),
        ),
        facts={
            "load_balancers": list(records.load_balancers),
            "targets": {f"{t.target.id}:{t.target.port}": t.state.state for t in records.targets},
            **tally(records),
        },
        next=_next_of_target(ill)
        if ill is not None
        else f"moor aws elbv2 describe-target-health --target-group-arn {group.arn}",
    )


def tally(records: GroupRecords) -> dict[str, int]:
    """How many targets are in which state (those that occur)."""
    found: dict[str, int] = {}
    for one in records.targets:
        found[one.state.state] = found.get(one.state.state, 0) + 1
    return found


def summary(records: GroupRecords) -> str:
    """ "2 healthy, 1 draining"."""
    return ", ".join(f"{number} {state}" for state, number in sorted(tally(records).items())) or "no targets"


def trouble_of(records: GroupRecords) -> str:
    """Why requests to this group do not get an answer of the application; "" when they should."""
    by_flow = records.group.protocol in LAYER_4
    usable = [one for one in records.targets if one.state.state not in ("draining", "unused")]
    if not usable:
        return f"{CLOSED if by_flow else '503'}, {_why_nothing(records.targets)}"
    if any(one.state.state in ("healthy", "unavailable") for one in usable):
        return ""
    first = usable[0]
    why = first.state.description or first.state.state
    what, end = ("connections", "be refused") if by_flow else ("requests", "end in 502 or 504")
    return (
        f"none of {count(len(usable), 'target')} is healthy, so {what} go to all of them (fail-open) and may {end}: "
        f"{first.target.id}:{first.target.port} is {first.state.state} ({why})"
    )


def _why_nothing(targets: Sequence[TargetRecords]) -> str:
    if not targets:
        return "nothing is registered"
    if any(one.state.state == "draining" for one in targets):
        return "all its targets are draining"
    return f"its targets are unused: {targets[0].state.description}"


def _target_lines(records: GroupRecords, now: float) -> Iterator[str]:
    ordered = sorted(records.targets, key=lambda one: one.state.state == "healthy")
    for one in ordered[:MOST_TARGETS]:
        owner = f" (task {id_of(one.task.id)})" if one.task is not None else ""
        yield f"{one.target.id}:{one.target.port}{owner} {'; '.join(target_words(one, records.group, now))}"
    if len(ordered) > MOST_TARGETS:
        yield f"and {len(ordered) - MOST_TARGETS} more"


# --- targets ---------------------------------------------------------------------------------------------------------
def explain_target(records: TargetRecords, group: GroupRecords, now: float) -> Explanation:
    target = records.target
    owner = f"task {records.task.id}" if records.task is not None else "nobody that Moorage runs"
    return Explanation(
        kind="target",
        arn=target.target_group_arn,
        title=f"Target {target.id}:{target.port} of target group {group.group.name} is {records.state.state}.",
        sections=sections(
            ("Now", target_words(records, group.group, now)),
            ("Who answers there", (owner,)),
            ("Registered", (f"{span(now - target.registered_at)} ago, zone {target.availability_zone or 'any'}",)),
            ("Health check", (_check_line(group.group.health_check), _times(group.group))),
        ),
        facts={"id": target.id, "port": target.port, "state": records.state.state, "reason": records.state.reason},
        next=_next_of_target(records),
    )


def _next_of_target(records: TargetRecords) -> str:
    if records.task is not None:
        return f"moor explain task {id_of(records.task.id)}"
    return f"moor explain target-group {name_of(records.target.target_group_arn)}"


def target_words(records: TargetRecords, group: TargetGroup, now: float) -> Iterator[str]:
    """Its state, what the last check saw, and how long it may take until that changes."""
    state = records.state
    seen = records.said if records.said.startswith(state.state) else ""
    since = (
        f" for {span(now - records.health.since)}" if state.state == "healthy" and records.health is not None else ""
    )
    yield (seen or state.state + (f": {state.description}" if state.description else "")) + since
    if records.target.deregistered_at is not None:
        rest = records.target.deregistered_at + deregistration_delay(group) - now
        yield f"{left(rest)} drain left"
    elif records.health is not None:
        yield from time_budget(records.health, group.health_check, now)


def time_budget(health: TargetHealth, check: HealthCheck, now: float) -> Iterator[str]:
    """What has to happen until the state of a target changes, and how long that may take."""
    match health.state:
        case "initial":
            # Failure k counts only when (k - 1) intervals have gone by since its checks began.
            rest = health.since + (check.unhealthy_threshold - 1) * check.interval - now
            if rest > 0:
                yield f"one passed check makes it healthy; without one it is unhealthy in {left(rest)}"
        case "unhealthy":
            whole = span(check.healthy_threshold * check.interval)
            yield (
                f"healthy again after {check.healthy_threshold} passed checks in a row, {check.interval} s apart "
                f"(about {whole})"
            )


def _check_line(check: HealthCheck) -> str:
    if not check.enabled:
        return "switched off: every target counts as healthy"
    path = f" {check.path}" if check.protocol != "TCP" else ""
    expected = f", expects {check.matcher}" if check.protocol != "TCP" else ""
    return (
        f"{check.protocol}{path} on port {check.port}{expected}, every {check.interval} s, {check.timeout} s to answer"
    )


def _times(group: TargetGroup) -> str:
    check = group.health_check
    return (
        f"{check.healthy_threshold} passed make healthy, {check.unhealthy_threshold} failed make unhealthy; "
        f"drain {span(deregistration_delay(group))}"
    )
