"""What an operator does to Fargate Spot: takes running tasks away as AWS does, and lets capacity lack for a while.

It only writes what should be; the task and service controllers do the rest: the target is deregistered, the stop signal
comes with the warning, and the service asks for a new task (semantics ecs-services §8, ecs-tasks §3).
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from moorage.domain import sentences
from moorage.domain.capacity_provider import FARGATE_SPOT, SpotShortage
from moorage.domain.clock import Clock
from moorage.domain.scope import Scope
from moorage.domain.task import Task
from moorage.store.api import StoreApi, Transaction, View
from moorage.store.tables.ecs import SPOT_SHORTAGES, TASKS


def is_interruptible(task: Task) -> bool:
    return task.capacity_provider == FARGATE_SPOT and task.desired_status == "RUNNING"


def all_spot(view: View, scope: Scope) -> list[Task]:
    """The Spot tasks of the account and region that can be interrupted, oldest first."""
    here = (t for t in view.find(TASKS, "live", True) if (t.account, t.region) == (scope.account, scope.region))
    return sorted((t for t in here if is_interruptible(t)), key=lambda t: (t.created_at, t.arn))


async def interrupt(store: StoreApi, clock: Clock, arns: Iterable[str]) -> list[str]:
    """Interrupts those of the tasks that run on Fargate Spot; answers their ARNs."""

    def write(tx: Transaction) -> list[str]:
        now, done = clock.now(), []
        for arn in arns:
            task = tx.get(TASKS, arn)
            if task is None or not is_interruptible(task):
                continue
            interrupted = replace(
                task,
                desired_status="STOPPED",
                stop_code="SpotInterruption",
                stopped_reason=sentences.SPOT_INTERRUPTED,
                stopping_at=now,
                version=task.version + 1,
            )
            tx.put(TASKS, interrupted)
            done.append(arn)
        return done

    return await store.update(write)


async def set_shortage(store: StoreApi, clock: Clock, scope: Scope, seconds: float) -> None:
    """No Fargate Spot capacity for so many seconds from now; 0: there is some again."""
    until = clock.now() + seconds

    def write(tx: Transaction) -> None:
        if seconds > 0:
            tx.put(SPOT_SHORTAGES, SpotShortage(scope.account, scope.region, until))
        else:
            tx.delete(SPOT_SHORTAGES, f"{scope.account}/{scope.region}")

    await store.update(write)
