"""minimumHealthyPercent and maximumPercent as numbers of tasks (semantics ecs-services §3.4)."""

from __future__ import annotations


def minimum_healthy(desired: int, percent: int) -> int:
    """Rounded up: 4 at 50 % → 2, 3 at 67 % → ceil(2.01) = 3, 3 at 66 % → 2."""
    return -(-desired * percent // 100)


def maximum_running(desired: int, percent: int) -> int:
    """Rounded down: 3 at 150 % → 4, 1 at 200 % → 2. Pending tasks count as running."""
    return desired * percent // 100


def early_success(desired: int, percent: int) -> int:
    """Healthy tasks that make a deployment successful early (§3.8), rounded up: 3 at 50 % → 2, 10 at 75 % → 8."""
    return -(-desired * percent // 100)
