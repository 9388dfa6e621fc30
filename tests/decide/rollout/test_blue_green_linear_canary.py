"""Which share of the traffic goes to green, step by step, and the weights that say so."""

from __future__ import annotations

import pytest

from moorage.decide.rollout import traffic_shift
from moorage.decide.rollout.traffic_shift import Route, Weights
from moorage.domain.load_balancer import FixedResponse, Forward, WeightedTargetGroup
from moorage.domain.service import Canary, DeploymentConfiguration, Linear

BLUE, GREEN, OTHER = "tg/blue", "tg/green", "tg/other"
ROUTE = Route("rule/production", "rule/test", BLUE, GREEN)


def forward(*groups: tuple[str, int], stickiness: int | None = None) -> tuple[Forward, ...]:
    return (Forward(tuple(WeightedTargetGroup(arn, weight) for arn, weight in groups), stickiness),)


@pytest.mark.parametrize(
    ("configuration", "percents", "bakes"),
    [
        (DeploymentConfiguration(strategy="BLUE_GREEN"), [100], [0]),
        (DeploymentConfiguration(strategy="LINEAR"), [10, 20, 30, 40, 50, 60, 70, 80, 90, 100], [360] * 9 + [0]),
        (DeploymentConfiguration(strategy="LINEAR", linear=Linear(25, 1)), [25, 50, 75, 100], [60, 60, 60, 0]),
        (DeploymentConfiguration(strategy="LINEAR", linear=Linear(30, 1)), [30, 60, 90, 100], [60, 60, 60, 0]),
        (DeploymentConfiguration(strategy="LINEAR", linear=Linear(33.3, 0)), [33.3, 66.6, 99.9, 100], [0] * 4),
        (DeploymentConfiguration(strategy="LINEAR", linear=Linear(100, 9)), [100], [0]),
        (DeploymentConfiguration(strategy="CANARY"), [5, 100], [600, 0]),
        (DeploymentConfiguration(strategy="CANARY", canary=Canary(0.1, 2)), [0.1, 100], [120, 0]),
        (DeploymentConfiguration(strategy="CANARY", canary=Canary(100, 2)), [100], [0]),
    ],
)
def test_steps(configuration: DeploymentConfiguration, percents: list[float], bakes: list[float]) -> None:
    steps = traffic_shift.steps(configuration)
    assert [s.percent for s in steps] == percents
    assert [s.bake for s in steps] == bakes


@pytest.mark.parametrize("tenths", range(30, 1001))
def test_every_linear_stride_ends_at_100_and_never_goes_back(tenths: int) -> None:
    percents = [
        s.percent for s in traffic_shift.steps(DeploymentConfiguration(strategy="LINEAR", linear=Linear(tenths / 10)))
    ]
    assert percents == sorted(set(percents))
    assert percents[-1] == 100


@pytest.mark.parametrize(
    ("percent", "expected"),
    [(0, (100, 0)), (25, (75, 25)), (100, (0, 100)), (0.1, (999, 1)), (33.3, (667, 333)), (99.9, (1, 999))],
)
def test_weights(percent: float, expected: tuple[int, int]) -> None:
    assert traffic_shift.weights(percent) == expected


def test_weights_are_what_a_rule_takes() -> None:
    for tenths in range(1001):
        blue, green = traffic_shift.weights(tenths / 10)
        assert 0 <= blue <= 999
        assert 0 <= green <= 999
        assert green / (blue + green) == pytest.approx(tenths / 1000)


def test_a_shift_names_both_target_groups_and_keeps_the_rest_of_the_action() -> None:
    before = forward((BLUE, 1), (OTHER, 0), stickiness=60)
    [wanted] = traffic_shift.production((ROUTE,), 10)
    assert wanted == Weights("rule/production", ((BLUE, 90), (GREEN, 10)))
    assert traffic_shift.with_weights(before, wanted) == forward((BLUE, 90), (GREEN, 10), (OTHER, 0), stickiness=60)


def test_no_test_rule_no_test_traffic() -> None:
    assert traffic_shift.test((Route("rule/production", None, BLUE, GREEN),), 100) == ()
    assert traffic_shift.test((ROUTE,), 100) == (Weights("rule/test", ((BLUE, 0), (GREEN, 100))),)


@pytest.mark.parametrize(
    ("production", "test", "words"),
    [
        (forward((BLUE, 100), (GREEN, 0)), None, None),
        (forward((BLUE, 0)), forward((GREEN, 1)), None),
        (
            forward((BLUE, 1)),
            None,
            "Target group tg/green is not associated with either productionListenerRule or test",
        ),
        (forward((BLUE, 1)), forward((BLUE, 1)), "Target group tg/green is not associated with either"),
        (forward((BLUE, 1), (GREEN, 1)), None, "exactly one target group serving traffic but found 2 target groups"),
        (forward((BLUE, 0), (GREEN, 0)), None, "exactly one target group serving traffic but found 0 target groups"),
        (forward((OTHER, 1)), forward((GREEN, 1)), "forwarding traffic to unexpected target group tg/other. Expected"),
        ((FixedResponse("200"),), None, "found 0 target groups which are serving traffic"),
        (None, None, "The listener rule rule/production does not exist"),
    ],
)
def test_whether_traffic_can_be_shifted(production: object, test: object, words: str | None) -> None:
    rules = {"rule/production": production, "rule/test": test}
    found = traffic_shift.problem((ROUTE,), {k: v for k, v in rules.items() if v is not None})  # type: ignore[misc]
    if words is None:
        assert found is None
    else:
        assert found is not None
        assert words in found
        assert found.startswith("Service deployment rolled back because of invalid networking configuration")
