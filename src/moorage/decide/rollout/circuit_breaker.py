"""When a deployment has failed: the circuit breaker's threshold and which stopped tasks count (ecs-services §3.6), and
how long the scheduler waits before it launches again after failures (§3.9)."""

from __future__ import annotations

from moorage.domain import sentences
from moorage.domain.service import CircuitBreaker
from moorage.domain.task import Task

LONGEST_BACKOFF = 27 * 60.0
LONGEST_BACKOFF_AFTER_RUNNING = 60.0


def threshold(breaker: CircuitBreaker, desired: int) -> int:
    """Failures at which the deployment fails. `desired` is the latest desired count.

    BOUNDED_PERCENT (default, 50): clamp(ceil(50 % of desired), 3, 200): 1 → 3, 25 → 13, 400 → 200, 800 → 200.
    UNBOUNDED_PERCENT: ceil(value % of desired). COUNT: value. Never below 1."""
    configuration = breaker.threshold_configuration or {}
    value = int(configuration.get("value", 50))
    match configuration.get("type", "BOUNDED_PERCENT"):
        case "COUNT":
            return max(1, value)
        case "UNBOUNDED_PERCENT":
            return max(1, -(-desired * value // 100))
        case _:
            return min(200, max(3, -(-desired * value // 100)))


def is_failure(task: Task) -> bool:
    """Does this stopped task count against its deployment?

    | the task …                                                        | counts |
    |--------------------------------------------------------------------|--------|
    | failed to start (pull, create, start, network)                      | yes    |
    | exited by itself before it ever counted as healthy                  | yes    |
    | was stopped by the scheduler for failed health checks               | yes    |
    | exited after it had been healthy (an accident, not a bad revision)  | no     |
    | was stopped by a user, by scaling or by a newer deployment          | no     |
    """
    match task.stop_code:
        case "TaskFailedToStart":
            return True
        case "EssentialContainerExited":
            return task.became_healthy_at is None
        case "ServiceSchedulerInitiated":
            reason = task.stopped_reason or ""
            return reason.startswith("Task failed ")
        case _:
            return False


def reason_of(task: Task) -> str:
    """Why it stopped, in detail: "Task failed to start" alone explains nothing."""
    if task.stopped_reason == sentences.FAILED_TO_START:
        return next((c.reason for c in task.containers if c.reason), task.stopped_reason)
    return task.stopped_reason or ""


def backoff(failures: int, *, reached_running: bool) -> float:
    """Seconds to wait before the next launch after `failures` failures in a row.

    The first failure is replaced at once; then 1, 2, 4 … s. AWS does not publish its schedule; its longest delay is
    27 minutes, and tasks that reached RUNNING are not throttled by AWS at all: here they are, from the fourth on and up
    to one minute, because a crash loop on one's own machine is noticed by the fan.

    Never ran: 1 → 0, 2 → 1, 3 → 2, 4 → 4, 12 → 1024, 13 → 1620. Ran: 3 → 0, 4 → 1, 5 → 2, 10 → 60."""
    if reached_running:
        failures -= 2
    if failures <= 1:
        return 0.0
    longest = LONGEST_BACKOFF_AFTER_RUNNING if reached_running else LONGEST_BACKOFF
    return min(longest, 2.0 ** min(failures - 2, 16))
