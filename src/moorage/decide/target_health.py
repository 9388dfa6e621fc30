"""Decides the health of one target from the outcome of its checks, and when to check again. Pure: no I/O, no clock.

Source: semantics elbv2 §5. A new target needs one success, an unhealthy one `healthy_threshold` in a row, and a healthy
(or new) one becomes unhealthy after `unhealthy_threshold` failures in a row.

One addition to AWS's rules: a new target is checked often (first at once, then after 0.05 s, slowing down to once a
second) until its first success, so that a service is in rotation as soon as it listens. These extra checks never make a
target unhealthy earlier than checks at the configured interval would: failure k of a new target counts only when
(k - 1) intervals have gone by since its checks began.
"""

from __future__ import annotations

import zlib

import msgspec

from moorage.domain.target_group import (
    CHECKING,
    CHECKS_DISABLED,
    FAILED_CHECKS,
    HEALTHY,
    TIMED_OUT,
    HealthCheck,
    ProbeResult,
    Target,
    TargetHealth,
    TargetState,
    mismatched,
)

SHORTEST_RETRY = 0.05
LONGEST_RETRY = 1.0
"""Seconds between checks of a target that has not answered once yet."""


def begin(target: Target, check: HealthCheck, now: float) -> TargetHealth:
    """The health of a target whose checks begin now."""
    state = CHECKING if check.enabled else CHECKS_DISABLED
    assert state.state != "draining"
    assert state.state != "unhealthy.draining"
    return TargetHealth(
        target_group_arn=target.target_group_arn,
        id=target.id,
        port=target.port,
        state=state.state,
        since=now,
        registered_at=target.registered_at,
        reason=state.reason,
        description=state.description,
    )


def after_probe(health: TargetHealth, result: ProbeResult, check: HealthCheck, now: float) -> TargetHealth:
    """The health after one more check."""
    if now < health.since:  # the clock of this machine was set back
        health = msgspec.structs.replace(health, since=now)
    if verdict(result, check) is None:
        return _succeeded(health, check, now)
    return _failed(health, result, check, now)


def _succeeded(health: TargetHealth, check: HealthCheck, now: float) -> TargetHealth:
    needed = check.healthy_threshold if health.state == "unhealthy" else 1
    # A settled target need not count on: 1 is as good as 1000.
    successes = min(health.successes + 1, needed)
    if health.state == "healthy" or successes < needed:
        return msgspec.structs.replace(health, successes=successes, failures=0)
    return enter(health, HEALTHY, now)


def _failed(health: TargetHealth, result: ProbeResult, check: HealthCheck, now: float) -> TargetHealth:
    found = verdict(result, check)
    assert found is not None
    if health.state == "unhealthy":
        return msgspec.structs.replace(
            health, successes=0, failures=check.unhealthy_threshold, reason=found.reason, description=found.description
        )
    if health.state == "initial" and now - health.since < health.failures * check.interval:
        # 30 s interval, threshold 2: tries at 0, 0.05, 0.1 … count once, the next that counts is at 30 s or later.
        return msgspec.structs.replace(health, successes=0)
    failures = health.failures + 1
    if failures < check.unhealthy_threshold:
        return msgspec.structs.replace(health, successes=0, failures=failures)
    return msgspec.structs.replace(enter(health, found, now), failures=failures)


def enter(health: TargetHealth, state: TargetState, now: float) -> TargetHealth:
    """`health` moved to `state`, with its counts at zero."""
    # matters of the registration and of time, not of health
    assert state.state != "draining"
    assert state.state != "unhealthy.draining"
    return msgspec.structs.replace(
        health,
        state=state.state,
        since=now,
        reason=state.reason,
        description=state.description,
        successes=0,
        failures=0,
    )


def verdict(result: ProbeResult, check: HealthCheck) -> TargetState | None:
    """What a failed check says of the target; None when the check passed."""
    if result.outcome == "timeout":
        return TIMED_OUT
    if result.outcome == "failed":
        return FAILED_CHECKS
    if result.status is None or matches(check.matcher, result.status):
        return None
    return mismatched(result.status)


def matches(matcher: str, status: int) -> bool:
    """Is `status` among "200", "200,202" or "200-399" (or a mix of these)?"""
    return any(low <= status <= high for low, high in parse_matcher(matcher))


def parse_matcher(matcher: str) -> tuple[tuple[int, int], ...]:
    """The ranges of a matcher, both ends included. Raises ValueError for anything else than numbers, commas, dashes."""
    ranges = []
    for part in matcher.split(","):
        low, dash, high = part.strip().partition("-")
        if not (low + high).isascii() or not (low + high).isdigit():
            raise ValueError(part)
        ranges.append((int(low), int(high) if dash else int(low)))
    return tuple(ranges)


def next_probe_at(health: TargetHealth, check: HealthCheck, started: float, now: float) -> float | None:
    """When to check again (epoch seconds), after a check that was started at `started`; None: not at all.

    Checks are `interval` apart from start to start (the first after a change of state comes earlier). A new target is
    retried after a quarter of the time it has been tried already: 0 s → 0.05, 2 s → 0.5, from 4 s on once a second (and
    never less often than `interval`)."""
    if not check.enabled:
        return None
    if health.state == "initial":
        wait = min(max((now - health.since) / 4, SHORTEST_RETRY), LONGEST_RETRY, check.interval)
        return now + wait
    if health.since == now:
        # Just settled: targets that were registered together go on at moments of their own, half an interval wide.
        return max(started + check.interval * (0.5 + _phase(health) / 2), now)
    return max(started + check.interval, now)


def first_probe_at(health: TargetHealth, check: HealthCheck, now: float) -> float:
    """When to check first: a new target at once; one whose health is known from before a restart of the control plane
    within its interval (5 s at most), at its own moment, so that hundreds of targets are not all checked at once."""
    if health.state == "initial":
        return now
    return now + _phase(health) * min(check.interval, 5.0)


def _phase(health: TargetHealth) -> float:
    """A number of the target's own, 0 to 1, the same after every restart."""
    return (zlib.crc32(health.key.encode()) % 1000) / 1000


def as_shown(state: TargetState, health: TargetHealth | None, draining: float, now: float) -> TargetState:
    """An unhealthy target of a network load balancer is shown as draining for its first `draining` seconds."""
    if state.state != "unhealthy" or health is None or now - health.since >= draining:
        return state
    return msgspec.structs.replace(state, state="unhealthy.draining")


def visibly_differs(before: TargetHealth | None, after: TargetHealth) -> bool:
    """Does anything change that DescribeTargetHealth shows? Counts alone are not worth a write."""
    return before is None or (before.state, before.reason, before.description) != (
        after.state,
        after.reason,
        after.description,
    )
