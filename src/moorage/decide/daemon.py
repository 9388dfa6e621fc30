"""What a DAEMON service does next: one task on every container instance that it belongs on (semantics ecs-services §3.4
step 4, §6).

Accounting, judging, circuit breaker and closing are those of the replica scheduler (`decide/service.py`); this module
decides where tasks are missing and which must go. Desired is the number of instances that the service belongs on.

| on this instance there is …             | then                                                           |
|------------------------------------------|----------------------------------------------------------------|
| nothing, and it belongs to the service   | a task is placed there when there is room                      |
| a task that is stopping                  | wait: stop before start, never two                             |
| a sound task of the PRIMARY deployment   | nothing                                                        |
| an unhealthy task                        | it stops; its successor follows on the same instance           |
| a task of an older deployment            | it stops as far as minimumHealthyPercent of desired allows     |
| a task, but it belongs no more           | it stops; on a DRAINING one after the tasks of replica services |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from moorage.decide.health import Verdict
from moorage.decide.placement.daemons import DaemonFacts, vacant
from moorage.decide.placement.filters import Refusal, closest, explain
from moorage.decide.placement.hosts import Host
from moorage.decide.rollout.percent import maximum_running, minimum_healthy
from moorage.decide.rollout.rolling import Candidate, Step, Stop, next_step
from moorage.decide.service import SchedulerPass
from moorage.decide.service_plan import ServicePlan, ServiceSnapshot
from moorage.domain import sentences
from moorage.domain.task import Task

LOOK_AGAIN = 60.0
"""Seconds until constraints that look at other tasks are asked again."""


class DaemonPass(SchedulerPass):
    """One pass over a DAEMON service; the snapshot has its `daemon` facts."""

    def __init__(self, snapshot: ServiceSnapshot, now: float) -> None:
        super().__init__(snapshot, now)
        assert snapshot.daemon is not None
        self.facts: DaemonFacts = snapshot.daemon
        self.members = self.facts.members()
        self.service = replace(self.service, desired_count=len(self.members))
        self._free: Sequence[Host] = ()
        self._refused: Sequence[Refusal] = ()
        self._staying = 0

    def plan(self) -> ServicePlan:
        plan = super().plan()
        start_on = ((self.primary_id, tuple(self._free)),) if self._free else ()
        waits = bool(self._refused) or self._staying > 0
        return replace(plan, start_on=start_on, waits_for_room=waits)

    def roll(self, verdicts: Mapping[str, Verdict]) -> Step:
        """By the table above. 4 instances at 50/100, new revision: minimum 2 → stops 2, and when they have gone starts 2 in
        their places, and again."""
        primary, configuration, desired = self.primary, self.service.deployment_configuration, len(self.members)
        blocked_for = (primary.launches_blocked_until or 0.0) - self.now
        may_start = primary.rollout_state != "FAILED" and blocked_for <= 0
        if blocked_for > 0 and primary.rollout_state != "FAILED":
            self.again.append(blocked_for)
        if self.facts.volatile:
            self.again.append(LOOK_AGAIN)
        inside = [t for t in self.living if _where(t) in self.members]
        step = next_step(
            [self._candidate(t, verdicts) for t in inside],
            desired=desired,
            minimum=minimum_healthy(desired, configuration.minimum_healthy_percent),
            maximum=maximum_running(desired, configuration.maximum_percent),
            may_start=may_start,
        )
        # A deployment that cannot launch takes nothing down: on every instance the old task has to go first.
        stops = [stop for stop in step.stop if may_start or stop.why != "replaced"]
        ordered = {stop.task.arn for stop in stops}
        stops += [stop for stop in self._leaving(verdicts) if stop.task.arn not in ordered]
        free, self._refused = vacant(self.members, self.snapshot.tasks, self.facts.wish)
        # After a rollback in this pass the wish is that of the revision that failed: place in the next one.
        changed = primary.revision_arn != self.snapshot.service.revision_arn
        self._free = free if may_start and not changed else ()
        if may_start and (nearest := closest(self._refused)) is not None:
            name, instance = self.service.name, nearest.host.instance
            self.events.append(sentences.closest_matching(name, instance.id, nearest.reason))
        blocked = step.blocked and not self._free and not stops and len(self.living) == len(self.snapshot.tasks)
        if blocked:
            self.events.append(sentences.blocked_percents(self.service.name))
        return Step(len(self._free), tuple(stops), blocked, step.protected)

    def _candidate(self, task: Task, verdicts: Mapping[str, Verdict]) -> Candidate:
        protected = (task.protected_until or 0.0) > self.now
        return Candidate(task, verdicts[task.arn], new=task.deployment_id == self.primary_id, protected=protected)

    def _leaving(self, verdicts: Mapping[str, Verdict]) -> list[Stop]:
        """Tasks on instances that the service belongs on no more, and what is there twice."""
        active = {host.instance.arn for host in self.facts.hosts if host.instance.status == "ACTIVE"}
        gone, violating, seen = [], [], set()
        for task in sorted(self.living, key=lambda t: (t.deployment_id != self.primary_id, t.created_at, t.arn)):
            where = _where(task)
            if where in self.facts.occupied and where not in seen:
                self._staying += 1
            elif where not in self.members or where in seen:
                gone.append(Stop(task, "scale-in", verdicts[task.arn]))
                if where in active and where not in self.members:
                    violating.append(task.id)
            seen.add(where)
        if violating:
            self.events.append(sentences.daemon_constraint_violated(self.service.name, violating))
        return gone

    def starts(self, step: Step) -> tuple[tuple[str, int], ...]:
        return ()

    def sentence(self, step: Step, verdicts: Mapping[str, Verdict]) -> str:
        said = super().sentence(step, verdicts)
        if self._refused:
            said += f". Not placed: {explain(self._refused)}"
        if self._staying:
            said += f". {self._staying} stay on draining instances until the tasks of replica services have left"
        return said


def _where(task: Task) -> str:
    return task.instance.arn if task.instance is not None else ""
