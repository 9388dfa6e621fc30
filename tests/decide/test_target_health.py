"""Target health as a pure state machine (semantics elbv2 §5)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.decide.target_health import (
    after_probe,
    begin,
    first_probe_at,
    matches,
    next_probe_at,
    parse_matcher,
    verdict,
    visibly_differs,
)
from moorage.domain.target_group import CHECKING, HealthCheck, ProbeResult, Target, TargetHealth, TargetState

T0 = 1_700_000_000.0
CHECK = HealthCheck(interval=10, timeout=5, healthy_threshold=3, unhealthy_threshold=2)
OK, BAD = ProbeResult("answered", 200), ProbeResult("answered", 502)
LATE, REFUSED = ProbeResult("timeout"), ProbeResult("failed", detail="refused")
TARGET = Target("arn:tg", "10.0.0.1", 80, None, registered_at=T0)


def run(*results: ProbeResult, check: HealthCheck = CHECK, every: float | None = None) -> TargetHealth:
    """A new target after these checks, `every` seconds apart (the interval if not said)."""
    health = begin(TARGET, check, T0)
    for number, result in enumerate(results):
        health = after_probe(health, result, check, T0 + number * (check.interval if every is None else every))
    return health


def state(health: TargetHealth) -> TargetState:
    return TargetState(health.state, health.reason, health.description)


def test_a_new_target_is_checked_first() -> None:
    assert state(run()) == CHECKING
    assert (CHECKING.reason, CHECKING.description) == ("Elb.InitialHealthChecking", "Initial health checks in progress")


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ([OK], ("healthy", None, None)),
        ([BAD], ("initial", "Elb.InitialHealthChecking", "Initial health checks in progress")),
        ([BAD, OK], ("healthy", None, None)),
        ([BAD, BAD], ("unhealthy", "Target.ResponseCodeMismatch", "Health checks failed with these codes: [502]")),
        ([LATE, LATE], ("unhealthy", "Target.Timeout", "Request timed out")),
        ([REFUSED, REFUSED], ("unhealthy", "Target.FailedHealthChecks", "Health checks failed")),
        ([OK, BAD], ("healthy", None, None)),
        ([OK, BAD, OK, BAD], ("healthy", None, None)),
        ([OK, BAD, LATE], ("unhealthy", "Target.Timeout", "Request timed out")),
        ([BAD, BAD, LATE], ("unhealthy", "Target.Timeout", "Request timed out")),
        ([BAD, BAD, OK], ("unhealthy", "Target.ResponseCodeMismatch", "Health checks failed with these codes: [502]")),
        ([BAD, BAD, OK, OK, BAD, OK, OK], ("unhealthy", "Target.ResponseCodeMismatch", None)),
        ([BAD, BAD, OK, OK, OK], ("healthy", None, None)),
    ],
)
def test_transitions(results: list[ProbeResult], expected: tuple[str, str | None, str | None]) -> None:
    found = run(*results)
    assert (found.state, found.reason) == expected[:2]
    if expected[2] is not None or expected[1] is None:
        assert found.description == expected[2]


def test_quick_tries_of_a_new_target_do_not_make_it_unhealthy_early() -> None:
    check = HealthCheck(interval=10, unhealthy_threshold=2)
    assert run(*[REFUSED] * 90, check=check, every=0.1).state == "initial"  # 9 s
    assert run(*[REFUSED] * 102, check=check, every=0.1).state == "unhealthy"  # 10 s
    three = HealthCheck(interval=10, unhealthy_threshold=3)
    assert run(*[REFUSED] * 199, check=three, every=0.1).state == "initial"
    assert run(*[REFUSED] * 203, check=three, every=0.1).state == "unhealthy"


def test_since_says_when_the_state_was_entered() -> None:
    healthy = run(BAD, OK, OK, OK)
    assert healthy.since == T0 + CHECK.interval


def test_when_the_next_check_is_due() -> None:
    fresh = begin(TARGET, CHECK, T0)
    assert first_probe_at(fresh, CHECK, T0) == T0
    assert next_probe_at(fresh, CHECK, T0, T0) == T0 + 0.05
    assert next_probe_at(fresh, CHECK, T0 + 2, T0 + 2) == T0 + 2.5
    assert next_probe_at(fresh, CHECK, T0 + 9, T0 + 9) == T0 + 10
    healthy = run(OK)
    first = next_probe_at(healthy, CHECK, T0, T0)
    assert first is not None
    assert T0 + 5 <= first <= T0 + 10
    assert next_probe_at(healthy, CHECK, T0, T0 + 3) == T0 + 10
    assert next_probe_at(healthy, CHECK, T0, T0 + 12) == T0 + 12
    assert T0 <= first_probe_at(healthy, CHECK, T0) <= T0 + 5
    assert next_probe_at(healthy, HealthCheck(enabled=False), T0, T0) is None


def test_disabled_checks() -> None:
    health = begin(TARGET, HealthCheck(enabled=False), T0)
    assert (health.state, health.reason) == ("unavailable", "Target.HealthCheckDisabled")


@pytest.mark.parametrize(
    ("matcher", "good", "bad"),
    [
        ("200", [200], [201, 199, 404]),
        ("200,202", [200, 202], [201]),
        ("200-299", [200, 250, 299], [300, 199]),
        ("200-210, 404", [205, 404], [211]),
    ],
)
def test_matchers(matcher: str, good: list[int], bad: list[int]) -> None:
    assert all(matches(matcher, status) for status in good)
    assert not any(matches(matcher, status) for status in bad)


@pytest.mark.parametrize("matcher", ["", "ok", "200-", "-200", "2xx", "200,,201"])
def test_matchers_that_are_none(matcher: str) -> None:
    with pytest.raises(ValueError):
        parse_matcher(matcher)


def test_a_tcp_check_only_connects() -> None:
    assert verdict(ProbeResult("answered"), HealthCheck(protocol="TCP", matcher="")) is None


results = st.sampled_from([OK, BAD, LATE, REFUSED])
checks = st.builds(
    HealthCheck,
    interval=st.integers(5, 300),
    healthy_threshold=st.integers(2, 10),
    unhealthy_threshold=st.integers(2, 10),
)


@given(checks, st.lists(results, max_size=60))
def test_healthy_comes_only_from_success_and_unhealthy_only_from_enough_failures(
    check: HealthCheck, outcomes: list[ProbeResult]
) -> None:
    health = begin(TARGET, check, T0)
    for number, outcome in enumerate(outcomes):
        before = health
        health = after_probe(health, outcome, check, T0 + number * check.interval)
        passed = verdict(outcome, check) is None
        if health.state == "healthy" and before.state != "healthy":
            assert passed
            row = outcomes[max(0, number + 1 - check.healthy_threshold) : number + 1]
            assert before.state == "initial" or all(verdict(one, check) is None for one in row)
        if health.state == "unhealthy" and before.state != "unhealthy":
            row = outcomes[number + 1 - check.unhealthy_threshold : number + 1]
            assert len(row) == check.unhealthy_threshold
            assert all(verdict(one, check) is not None for one in row)
        assert (health.reason is None) == (health.state == "healthy")
        assert visibly_differs(before, health) or (health.state, health.since) == (before.state, before.since)


@given(checks, st.lists(st.tuples(results, st.floats(0, 30)), max_size=60))
def test_a_new_target_is_never_unhealthy_before_its_configured_checks_would_say_so(
    check: HealthCheck, tries: list[tuple[ProbeResult, float]]
) -> None:
    health, now = begin(TARGET, check, T0), T0
    for outcome, pause in tries:
        if verdict(outcome, check) is None:
            break
        health = after_probe(health, outcome, check, now)
        if health.state == "unhealthy":
            assert now - T0 >= check.interval * (check.unhealthy_threshold - 1) - 1e-3
            break
        due = next_probe_at(health, check, now, now)
        assert due is not None
        assert now < due <= now + 1.0
        now += pause
