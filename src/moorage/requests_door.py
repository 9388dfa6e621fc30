"""The door behind `moor requests`: what the load balancers answered lately, and why.

    GET /_moorage/requests   after=<cursor> | last=<count>, load_balancer=<name, ARN or DNS name>, failed=true

`next` of an answer is the cursor to go on from. Nothing here changes anything. `AnswersExplained` is what
`moor explain 502` asks.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec
from aiohttp import web

from moorage.control.explain_requests import AnswerRecords, explain_answers
from moorage.control.explain_words import Explanation
from moorage.control.requests import Evidence, RequestLog
from moorage.decide.elbv2_access_log import log_line
from moorage.domain.clock import Clock
from moorage.domain.request_record import RequestRecord
from moorage.domain.task import Task
from moorage.store.elbv2_queries import current_health
from moorage.store.memory import Store
from moorage.store.tables.ecs import TASKS
from moorage.store.tables.elbv2 import LISTENERS, TARGETS

ALWAYS = ("status", "method", "host", "path", "duration", "at", "client")
"""Fields of a record that are told even when they are empty."""


class RequestSource(Protocol):
    """The proxy, as far as this door needs it."""

    async def read_requests(self) -> None: ...

    def api_port(self, port: int) -> int: ...


class RequestsDoor:
    path = "/_moorage/requests"

    def __init__(self, log: RequestLog, source: RequestSource) -> None:
        self._log = log
        self._source = source

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        query = request.query
        cursor, last = query.get("after", "0"), query.get("last")
        if not cursor.isdigit() or not (last or "0").isdigit():
            return web.json_response({"message": "`after` and `last` are whole numbers."}, status=400)
        await self._source.read_requests()
        balancer, failed = query.get("load_balancer", ""), query.get("failed") == "true"
        if last is not None:
            found, following = self._log.latest(int(last), load_balancer=balancer, failed=failed)
        else:
            found, following = self._log.after(int(cursor), load_balancer=balancer, failed=failed)
        return web.json_response({"requests": [self._shown(one) for one in found], "next": following})

    def _shown(self, one: Evidence) -> dict[str, Any]:
        record = one.record
        balancer = self._log.balancer(record)
        shown: dict[str, Any] = msgspec.to_builtins(one)
        for name in ALWAYS:
            shown["record"][name] = getattr(record, name)
        shown["load_balancer"] = balancer.name if balancer is not None else ""
        shown["line"] = self.line(record)
        return shown

    def line(self, record: RequestRecord) -> str:
        """AWS's access log line of a request."""
        return log_line(
            record,
            load_balancer=record.load_balancer,
            scheme="https" if record.tls_version else "http",
            port=self._source.api_port(record.local_port),
            certificate=self._log.certificate(record),
        )


class AnswersExplained:
    """Gathers what `explain_answers` tells about a status."""

    def __init__(self, log: RequestLog, source: RequestSource, store: Store, clock: Clock) -> None:
        self._log = log
        self._source = source
        self._store = store
        self._clock = clock

    async def explain(
        self, status: int, *, load_balancer: str = "", since: float = 0.0, until: float = float("inf")
    ) -> Explanation:
        """`load_balancer`: name, ARN or DNS name; empty: all. `since`, `until`: epoch seconds."""
        await self._source.read_requests()
        evidence = self._log.answered(status, load_balancer=load_balancer, since=since, until=until)
        records = AnswerRecords(
            status=status,
            evidence=evidence,
            tasks=await self._tasks({one.task_arn for one in evidence if one.task_arn}),
            listeners={one.record.rule_arn: self._listener(one.record.rule_arn) for one in evidence},
            healthy={arn: self._healthy(arn) for arn in {one.record.target_group_arn for one in evidence} if arn},
            asked=load_balancer,
            remembered=len(self._log),
        )
        return explain_answers(records, self._clock.now())

    async def _tasks(self, arns: set[str]) -> dict[str, Task]:
        found = {arn: self._store.get(TASKS, arn) for arn in arns}
        for arn in [arn for arn, task in found.items() if task is None]:
            found[arn] = next(iter(await self._store.history(TASKS, "key", arn, 1)), None)
        return {arn: task for arn, task in found.items() if task is not None}

    def _listener(self, rule_arn: str) -> str:
        arn = rule_arn.replace(":listener-rule/", ":listener/").rpartition("/")[0]
        listener = self._store.get(LISTENERS, arn) if arn else None
        return "" if listener is None else f"{listener.protocol}:{listener.port}"

    def _healthy(self, target_group_arn: str) -> tuple[int, int]:
        targets = self._store.find(TARGETS, "target_group", target_group_arn)
        registered = [one for one in targets if one.deregistered_at is None]
        states = [current_health(self._store, one) for one in registered]
        return sum(one is not None and one.state in ("healthy", "unavailable") for one in states), len(registered)
