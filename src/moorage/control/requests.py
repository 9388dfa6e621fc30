"""What the load balancers answered lately, and why: a bounded memory of requests, each failure tied to its rule, target
group, target, task and deployment *as they were when it happened*.

Decides nothing: causes come from `decide/elbv2_cause`. Takes records from whoever reads the proxy's log; is asked by the
door `/_moorage/requests`.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

import msgspec

from moorage.decide.elbv2_cause import (
    AT_THE_TARGET,
    DRAINED,
    FIXED,
    NO_TARGETS,
    NO_WEIGHT,
    NOT_AUTHENTICATED,
    RESET,
    SENTENCES,
    Cause,
    cause_of,
    cut_by_draining,
)
from moorage.domain.clock import Clock
from moorage.domain.load_balancer import Forward, LoadBalancer, listener_of
from moorage.domain.request_record import RequestRecord
from moorage.domain.target_group import Target, TargetHealth, deregistration_delay
from moorage.domain.task import Task
from moorage.proxy.driver import AuthRequest
from moorage.store.api import Change, StoreApi
from moorage.store.elbv2_queries import actions_of, current_health
from moorage.store.tables.ecs import TASKS
from moorage.store.tables.elbv2 import LISTENERS, LOAD_BALANCERS, TARGET_GROUPS, TARGET_HEALTH, TARGETS

REMEMBERED = 10_000
FAILURES = 5_000
"""Failures are remembered longer than what went well."""
ADDRESSES = 20_000
GONE = 1_000
"""Targets that are remembered after their registration has ended."""


class Evidence(msgspec.Struct, frozen=True, omit_defaults=True):
    """A request and what is known of its cause. `cursor` grows. `healthy` of `registered` targets when it happened;
    `task_said`: the state of the task that had the target's address, with the reason when it was stopping. `last_target`:
    whose registration was the last to end, where there was none left."""

    cursor: int
    record: RequestRecord
    cause: str = ""
    sentence: str = ""
    registered: int | None = None
    healthy: int | None = None
    task_arn: str = ""
    task_said: str = ""
    deployment_id: str = ""
    last_target: str = ""


class RequestLog:
    """`take` is cheap for requests that went well; look-ups are made for failures only."""

    def __init__(self, store: StoreApi, clock: Clock, *, remembered: int = REMEMBERED) -> None:
        self._store = store
        self._clock = clock
        # grows over restarts, so that a client that follows goes on where it was
        self._cursor = int(clock.now() * 1_000_000)
        self._ring: deque[Evidence] = deque(maxlen=remembered)
        self._failures: deque[Evidence] = deque(maxlen=FAILURES)
        self._tasks: OrderedDict[str, str] = OrderedDict()
        self._gone: OrderedDict[str, tuple[Target, TargetHealth | None, float]] = OrderedDict()
        """Target key → (registration, its last health, when it went): the log is read a moment after the fact."""
        self._notes: OrderedDict[tuple[str, str], str] = OrderedDict()
        """(client, path) → why a request was not let through."""
        self._unwatch: Callable[[], None] = lambda: None
        self.on_request: Callable[[LoadBalancer, RequestRecord], None] | None = None
        """Gets every request that reached a load balancer."""

    def start(self) -> None:
        self._unwatch = self._store.watch(self._changed)
        for task in sorted(self._store.all(TASKS), key=lambda one: one.created_at):
            self._remember(task)

    def close(self) -> None:
        self._unwatch()

    def take(self, records: Sequence[RequestRecord], *, again: bool = False) -> None:
        """`again`: somebody counted and logged them before, they are only to be remembered."""
        for record in records:
            self._cursor += 1
            cause = cause_of(record)
            plain = Evidence(self._cursor, record)
            seen = plain if cause is None else self._explained(plain, cause)
            self._ring.append(seen)
            if cause is not None:
                self._failures.append(seen)
            if not again:
                self._tell(record)

    def note(self, request: AuthRequest, why: str) -> None:
        """Whoever refuses a request says why, before the proxy tells of it."""
        key = (request.client, request.path)
        self._notes[key] = why
        self._notes.move_to_end(key)
        if len(self._notes) > GONE:
            self._notes.popitem(last=False)

    def after(
        self, cursor: int = 0, *, load_balancer: str = "", failed: bool = False, limit: int = 1000
    ) -> tuple[list[Evidence], int]:
        """The oldest `limit` requests after `cursor` and the cursor to go on from. `load_balancer`: name, ARN, DNS name
        or "app/name/id"; empty: all, those that reached none included."""
        wanted = self._names(load_balancer) if load_balancer else None
        newer = (one for one in self._newer(cursor))
        chosen = (
            one for one in newer if (wanted is None or one.record.load_balancer in wanted) and (not failed or one.cause)
        )
        found = list(islice(chosen, limit))
        return found, found[-1].cursor if len(found) == limit else max(cursor, self._cursor)

    def latest(self, count: int, *, load_balancer: str = "", failed: bool = False) -> tuple[list[Evidence], int]:
        """The newest `count` requests, oldest first."""
        found, cursor = self.after(0, load_balancer=load_balancer, failed=failed, limit=len(self._ring) + 1)
        return found[-count:] if count else [], cursor

    def answered(
        self, status: int, *, load_balancer: str = "", since: float = 0.0, until: float = float("inf")
    ) -> list[Evidence]:
        """The remembered requests that got this status, oldest first; `since` and `until` in epoch seconds."""
        wanted = self._names(load_balancer) if load_balancer else None
        known = {one.cursor: one for one in (*self._failures, *self._ring) if one.record.status == status}
        return [
            one
            for _, one in sorted(known.items())
            if since <= one.record.at <= until and (wanted is None or one.record.load_balancer in wanted)
        ]

    def __len__(self) -> int:
        return len(self._ring)

    def balancer(self, record: RequestRecord) -> LoadBalancer | None:
        arn = record.rule_arn.replace(":listener-rule/", ":loadbalancer/").rsplit("/", 2)[0]
        return self._store.get(LOAD_BALANCERS, arn) if arn else None

    def certificate(self, record: RequestRecord) -> str:
        """The ARN of the certificate that was shown, where the listener has no other; "" where it is not known."""
        if not record.tls_version or not record.rule_arn:
            return ""
        listener = self._store.get(LISTENERS, listener_of(record.rule_arn))
        return listener.certificates[0] if listener is not None and len(listener.certificates) == 1 else ""

    # --- inside ------------------------------------------------------------------------------------------------------

    def _tell(self, record: RequestRecord) -> None:
        balancer = self.balancer(record) if self.on_request is not None else None
        if self.on_request is not None and balancer is not None:
            self.on_request(balancer, record)

    def _newer(self, cursor: int) -> Iterable[Evidence]:
        if not self._ring or cursor >= self._cursor:
            return ()
        first = self._ring[0].cursor
        return islice(self._ring, max(0, cursor + 1 - first), None) if cursor >= first else self._ring

    def _names(self, load_balancer: str) -> set[str]:
        return {
            one.full_name
            for one in self._store.all(LOAD_BALANCERS)
            if load_balancer.lower() in (one.name.lower(), one.arn.lower(), one.dns_name.lower(), one.full_name.lower())
        }

    def _explained(self, plain: Evidence, cause: Cause) -> Evidence:
        record = plain.record
        cause = self._seen_closer(record, cause)
        facts: dict[str, Any] = {"cause": cause.code, "sentence": cause.sentence}
        if record.target_group_arn:
            states = [health for one, health in self._targets(record) if _was_registered(one, record.at)]
            facts["registered"] = len(states)
            facts["healthy"] = sum(one is not None and one.state in ("healthy", "unavailable") for one in states)
        if cause.code in AT_THE_TARGET:
            facts |= self._task(record.target)
            if cause.code == RESET and ", stopping: " in facts.get("task_said", ""):
                facts["sentence"] += ", while its task was being stopped"
            if facts.get("registered") and not facts["healthy"]:
                facts["sentence"] += "; no target of the group is healthy, so requests go to all of them"
        if cause.code == NO_TARGETS and (last := self._last_target(record)):
            facts |= {"last_target": last, **self._task(last)}
        return msgspec.structs.replace(plain, **facts)

    def _seen_closer(self, record: RequestRecord, cause: Cause) -> Cause:
        """What the proxy cannot know: that it was told to cut, and that a rule has target groups but no weights."""
        if cause.code == FIXED and isinstance((actions_of(self._store, record.rule_arn) or (None,))[-1], Forward):
            return Cause(NO_WEIGHT, SENTENCES[NO_WEIGHT])
        if cause.code == NOT_AUTHENTICATED and (why := self._notes.get((record.client, record.path))):
            return Cause(cause.code, f"{cause.sentence}: {why}")
        if cut_by_draining(cause, ended_at=record.at + record.duration, drained_at=self._drained_at(record)):
            return Cause(DRAINED, SENTENCES[DRAINED])
        return cause

    def _drained_at(self, record: RequestRecord) -> float | None:
        group = self._store.get(TARGET_GROUPS, record.target_group_arn)
        ends = [
            one.deregistered_at + (deregistration_delay(group) if group is not None else 0.0)
            for one, _ in self._targets(record)
            if one.deregistered_at is not None and f"{one.reaches or one.id}:{one.port}" == record.target
        ]
        return min(ends, default=None)

    def _last_target(self, record: RequestRecord) -> str:
        """The one that was tried before it went, or else the one that went last."""
        if record.target:
            return record.target
        ended = [
            (one.deregistered_at, f"{one.reaches or one.id}:{one.port}")
            for one in (
                *self._store.find(TARGETS, "target_group", record.target_group_arn),
                *(one for one, _, _ in self._gone.values() if one.target_group_arn == record.target_group_arn),
            )
            if one.deregistered_at is not None and one.deregistered_at <= record.at + record.duration
        ]
        return max(ended, default=(0.0, ""))[1]

    def _targets(self, record: RequestRecord) -> list[tuple[Target, TargetHealth | None]]:
        """Those of the target group that there are, and those that went since the request began."""
        there = self._store.find(TARGETS, "target_group", record.target_group_arn)
        gone = [
            (one, health)
            for one, health, at in self._gone.values()
            if one.target_group_arn == record.target_group_arn and at >= record.at
        ]
        return [*((one, current_health(self._store, one)) for one in there), *gone]

    def _task(self, target: str) -> dict[str, str]:
        arn = self._tasks.get(target.rpartition(":")[0].strip("[]"))
        task = self._store.get(TASKS, arn) if arn else None
        if task is None:
            return {"task_arn": arn} if arn else {}
        said: str = task.last_status
        if task.desired_status == "STOPPED":
            said += f", stopping: {task.stopped_reason or task.stop_code or 'no reason given'}"
        return {"task_arn": task.arn, "task_said": said, "deployment_id": task.deployment_id or ""}

    def _changed(self, changes: Sequence[Change[Any]]) -> None:
        for change in changes:
            if change.table is TASKS and change.after is not None:
                self._remember(change.after)
            elif change.table is TARGETS and change.after is None and change.before is not None:
                health = next(
                    (one.before for one in changes if one.table is TARGET_HEALTH and one.key == change.key), None
                )
                self._gone[change.key] = (change.before, health, self._clock.now())
                self._gone.move_to_end(change.key)
                if len(self._gone) > GONE:
                    self._gone.popitem(last=False)

    def _remember(self, task: Task) -> None:
        """An address belongs to the last task that had it, also after that task is gone."""
        address = task.interface.ipv4 if task.interface is not None else None
        if address is None or task.interface is None or (task.interface.released and address in self._tasks):
            return
        self._tasks[address] = task.arn
        self._tasks.move_to_end(address)
        if len(self._tasks) > ADDRESSES:
            self._tasks.popitem(last=False)


def _was_registered(target: Target, at: float) -> bool:
    """The log is read a moment after the fact: what came or went since does not count."""
    return target.registered_at <= at and (target.deregistered_at is None or target.deregistered_at > at)
