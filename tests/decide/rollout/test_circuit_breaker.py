from __future__ import annotations

import pytest

from decide.builders import NOW, a_task
from moorage.decide.rollout.circuit_breaker import backoff, is_failure, threshold
from moorage.domain import sentences
from moorage.domain.service import CircuitBreaker


@pytest.mark.parametrize(("desired", "expected"), [(0, 3), (1, 3), (6, 3), (7, 4), (25, 13), (400, 200), (800, 200)])
def test_bounded_percent_is_the_default(desired: int, expected: int) -> None:
    assert threshold(CircuitBreaker(enable=True), desired) == expected


@pytest.mark.parametrize(
    ("configuration", "expected"),
    [
        ({"type": "COUNT", "value": 5}, 5),
        ({"type": "UNBOUNDED_PERCENT", "value": 10}, 10),
        ({"type": "COUNT", "value": 0}, 1),
    ],
)
def test_other_threshold_types(configuration: dict[str, object], expected: int) -> None:
    assert threshold(CircuitBreaker(enable=True, threshold_configuration=configuration), 100) == expected


@pytest.mark.parametrize(
    ("changes", "counts"),
    [
        ({"stop_code": "TaskFailedToStart"}, True),
        ({"stop_code": "EssentialContainerExited", "became_healthy_at": None}, True),
        ({"stop_code": "EssentialContainerExited", "became_healthy_at": NOW}, False),
        ({"stop_code": "ServiceSchedulerInitiated", "stopped_reason": sentences.failed_elb_health("tg")}, True),
        ({"stop_code": "ServiceSchedulerInitiated", "stopped_reason": sentences.FAILED_CONTAINER_HEALTH}, True),
        ({"stop_code": "ServiceSchedulerInitiated", "stopped_reason": sentences.scaling_activity("ecs-svc/1")}, False),
        ({"stop_code": "UserInitiated", "became_healthy_at": None}, False),
    ],
)
def test_which_stopped_tasks_count(changes: dict[str, object], counts: bool) -> None:
    assert is_failure(a_task(**changes)) is counts


def test_launches_back_off() -> None:
    assert [backoff(n, reached_running=False) for n in (0, 1, 2, 3, 4, 5)] == [0, 0, 1, 2, 4, 8]
    assert [backoff(n, reached_running=True) for n in (1, 2, 3, 4, 5)] == [0, 0, 0, 1, 2]
    assert backoff(40, reached_running=False) == 27 * 60
    assert backoff(40, reached_running=True) == 60
