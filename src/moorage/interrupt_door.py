"""The door behind `moor interrupt`: Fargate Spot capacity is taken away, or lacks for a while.

    POST /_moorage/interrupt   task=<id, beginning of an id or ARN> …, service=<name>, all_spot=1,
                               no_capacity=<seconds>, account=, region=

Only tasks of the capacity provider FARGATE_SPOT can be interrupted; others are named in the answer and left alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from moorage.control.explain_names import find, nearest, services
from moorage.control.interruptions import all_spot, interrupt, is_interruptible, set_shortage
from moorage.domain.clock import Clock
from moorage.domain.scope import Scope
from moorage.domain.task import Task
from moorage.store.api import StoreApi
from moorage.store.tables.ecs import TASKS

LONGEST_SHORTAGE = 7 * 86_400.0


class Refused(Exception):
    """`status`: of the answer."""

    def __init__(self, message: str, status: int = 400, next: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.next = next


class InterruptDoor:
    path = "/_moorage/interrupt"

    def __init__(self, store: StoreApi, clock: Clock, home: Scope) -> None:
        """`home`: the account and region that are meant when none are named."""
        self._store = store
        self._clock = clock
        self._home = home

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method != "POST":
            return web.json_response({"message": "Send a POST."}, status=405)
        query = request.query
        asked = {name: query.getall(name) for name in query}
        try:
            return web.json_response(await self.interrupt(asked))
        except Refused as error:
            return web.json_response({"message": str(error), "next": error.next}, status=error.status)

    async def interrupt(self, asked: Mapping[str, list[str]]) -> dict[str, Any]:
        """`asked`: the parameters above, each with all its values. Raises Refused, having changed nothing."""

        def one(name: str, default: str = "") -> str:
            return (asked.get(name) or [default])[0]

        scope = Scope(one("account", self._home.account), one("region", self._home.region))
        shortage = _seconds(one("no_capacity")) if "no_capacity" in asked else None
        tasks = [task for words in asked.get("task") or () for task in self._tasks(words, scope)]
        for words in asked.get("service") or ():
            tasks += self._of_service(words, scope)
        if one("all_spot") in ("1", "true"):
            tasks += all_spot(self._store, scope)
        elif shortage is None and not asked.get("task") and not asked.get("service"):
            raise Refused("Say what to interrupt: a task, a service, or all of Fargate Spot.")
        # Capacity first: what is interrupted is not to come back on Spot while there is none.
        if shortage is not None:
            await set_shortage(self._store, self._clock, scope, shortage)
        named = {task.arn: task for task in tasks}
        done = await interrupt(self._store, self._clock, named)
        left = [_shown(task) for arn, task in named.items() if arn not in done]
        return {
            "interrupted": [_shown(named[arn]) for arn in done],
            "left": left,
            "no_capacity": shortage,
            "account": scope.account,
            "region": scope.region,
        }

    def _tasks(self, words: str, scope: Scope) -> list[Task]:
        found = nearest(find(self._store, words, "task"), scope)
        tasks = [task for one in found if (task := self._store.get(TASKS, one.key)) is not None]
        if not tasks:
            raise Refused(f"There is no task '{words}'.", 404, "See them: moor tasks")
        if len(tasks) > 1:
            raise Refused(f"'{words}' may mean {len(tasks)} tasks: {', '.join(task.id for task in tasks)}.", 409)
        return tasks

    def _of_service(self, words: str, scope: Scope) -> list[Task]:
        found = [one for one in services(self._store, words) if Scope(one.account, one.region) == scope]
        if not found:
            raise Refused(f"There is no service '{words}'.", 404, "See them: moor services")
        tasks = [task for service in found for task in self._store.find(TASKS, "service", service.arn)]
        if not any(is_interruptible(task) for task in tasks):
            raise Refused(
                f"No task of service {found[0].name} runs on Fargate Spot.",
                409,
                "Give it a strategy with FARGATE_SPOT: aws ecs update-service --capacity-provider-strategy … "
                "--force-new-deployment",
            )
        return [task for task in tasks if is_interruptible(task)]


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= LONGEST_SHORTAGE:
        raise Refused(f"'{text}' is not a number of seconds from 0 to {LONGEST_SHORTAGE:.0f}.")
    return seconds


def _shown(task: Task) -> dict[str, Any]:
    return {
        "arn": task.arn,
        "id": task.id,
        "group": task.group,
        "capacity_provider": task.capacity_provider,
        "last_status": task.last_status,
    }
