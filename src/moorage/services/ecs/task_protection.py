"""Task scale-in protection (semantics ecs-tasks §12)."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from moorage.domain.clock import Clock
from moorage.domain.errors import AwsError
from moorage.domain.task import Task
from moorage.services.base import Provider, RequestContext, operation
from moorage.services.ecs import resolve
from moorage.store.api import StoreApi, Transaction
from moorage.store.tables.ecs import TASKS

MOST_PROTECTED, MOST_SHOWN = 10, 100
MINUTES, MOST_MINUTES = 120, 2880


def _refuse(message: str) -> AwsError:
    return AwsError("InvalidParameterException", message)


class TaskProtectionOperations(Provider):
    _store: StoreApi
    _clock: Clock

    @operation("UpdateTaskProtection")
    async def update_task_protection(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        given = request.get("expiresInMinutes")
        minutes = MINUTES if given is None else given
        if not 1 <= minutes <= MOST_MINUTES:
            raise _refuse(f"expiresInMinutes must be between 1 and {MOST_MINUTES}.")
        if not request["tasks"]:
            raise _refuse("Tasks cannot be empty.")
        if len(request["tasks"]) > MOST_PROTECTED:
            raise _refuse(f"tasks can have at most {MOST_PROTECTED} items.")
        until = self._clock.now() + minutes * 60 if request["protectionEnabled"] else None

        def write(tx: Transaction) -> tuple[list[Task], list[dict[str, str]]]:
            cluster = resolve.cluster(tx, ctx.scope, request["cluster"])
            done: list[Task] = []
            failures: list[dict[str, str]] = []
            for identifier in request["tasks"]:
                arn = resolve.task_arn(ctx.scope, cluster, identifier)
                task = resolve.task(tx, ctx.scope, cluster, identifier)
                if task is None or task.last_status == "STOPPED":
                    failures.append({"arn": arn, "reason": "MISSING"})
                elif task.service_arn is None:
                    failures.append({"arn": arn, "reason": "TASK_NOT_VALID"})
                else:
                    done.append(tx.put(TASKS, replace(task, protected_until=until)))
            return done, failures

        done, failures = await self._store.update(write)
        return {"protectedTasks": [self._protection(t) for t in done], "failures": failures}

    @operation("GetTaskProtection")
    async def get_task_protection(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        cluster = resolve.cluster(self._store, ctx.scope, request["cluster"])
        found, failures = [], []
        wanted = request.get("tasks")
        if wanted is None:
            now = self._clock.now()
            running = self._store.find(TASKS, "cluster", (cluster.arn, "RUNNING"))
            wanted = [task.arn for task in running if (task.protected_until or 0.0) > now]
        if len(wanted) > MOST_SHOWN:
            raise _refuse(f"tasks can have at most {MOST_SHOWN} items.")
        for identifier in wanted:
            arn = resolve.task_arn(ctx.scope, cluster, identifier)
            task = resolve.task(self._store, ctx.scope, cluster, identifier)
            if task is None or task.last_status == "STOPPED":
                failures.append({"arn": arn, "reason": "MISSING"})
            elif task.service_arn is None:
                failures.append({"arn": arn, "reason": "TASK_NOT_VALID"})
            else:
                found.append(self._protection(task))
        return {"protectedTasks": found, "failures": failures}

    def _protection(self, task: Task) -> dict[str, Any]:
        protected = task.protected_until is not None and task.protected_until > self._clock.now()
        shape: dict[str, Any] = {"taskArn": task.arn, "protectionEnabled": protected}
        return shape | ({"expirationDate": task.protected_until} if protected else {})
