"""Moving tasks of a steady service between availability zones (semantics ecs-services §3.4, §4): when zones differ by two
tasks or more, tasks are started in the poorest zones first, and when they are healthy as many stop in the richest.

Only a service at rest is looked at: never during a deployment, never beyond maximumPercent. Which task of a rich zone
stops is the ordinary order of a scale-in (`rollout/rolling.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from moorage.decide.failing import FailingPass
from moorage.decide.health import Verdict
from moorage.decide.rollout.rolling import Step
from moorage.decide.service_plan import ServiceSnapshot
from moorage.domain import sentences
from moorage.domain.service import Rebalance

REST = 60.0
"""Seconds that a service has been steady before its tasks are moved."""
REST_AFTER_FAILURE = 300.0
LONGEST_MOVE = 900.0
"""Seconds after which tasks that are still not healthy in their new zone are given up."""


def in_zones(zones: Sequence[str], tasks_in: Mapping[str, int]) -> dict[str, int]:
    """Tasks by zone; zones that could have tasks are there even when they have none."""
    return {zone: tasks_in.get(zone, 0) for zone in {*zones, *tasks_in}}


def moves(
    zones: Sequence[str], tasks_in: Mapping[str, int], room: int, protected_in: Mapping[str, int] | None = None
) -> tuple[str, ...]:
    """The zones in which one more task should start; one task of the fullest zone makes way for each. `protected_in`: how
    many of its tasks may not stop.

    a 4, b 1, c 1 → b, c. a 3, b 2 → nothing: they differ by one only. a 4, b 0, room for one → b. No room → nothing.
    a 4, three of them protected, b 0 → b: only one can make way."""
    found: list[str] = []
    counts, fixed = in_zones(zones, tasks_in), protected_in or {}
    while len(found) < room and zones:
        poor = min(sorted(zones), key=lambda zone: counts[zone])
        rich = max(sorted(counts), key=lambda zone: counts[zone])
        if counts[rich] - counts[poor] < 2 or counts[rich] <= fixed.get(rich, 0):
            break
        counts[rich] -= 1
        counts[poor] += 1
        found.append(poor)
    return tuple(found)


def is_balanced(zones: Sequence[str], tasks_in: Mapping[str, int]) -> bool:
    return not moves(zones, tasks_in, 1)


class RebalancingPass(FailingPass):
    """`start_in`: (deployment, zone) of the tasks to start; `moved_out`: the events of the tasks that make way."""

    def __init__(self, snapshot: ServiceSnapshot, now: float) -> None:
        super().__init__(snapshot, now)
        self.start_in: tuple[tuple[str, str], ...] = ()
        self.moved_out: list[str] = []

    def with_newcomers(self, desired: int, verdicts: Mapping[str, Verdict]) -> int:
        """What to keep: while tasks that were started for another zone are not healthy, nobody makes way for them."""
        state = self.service.rebalance
        if state is None or not state.zones or all(verdict.state != "waiting" for verdict in verdicts.values()):
            return desired
        left = state.since + LONGEST_MOVE - self.now
        if left <= 0:
            return desired
        self.again.append(left)
        return max(desired, len(self.living))

    def rebalance(self, step: Step, verdicts: Mapping[str, Verdict], *, room: int) -> None:
        """The next move, after the rolling scheduler has had its say. `room`: tasks beyond desired that may run."""
        state = self.service.rebalance
        if self.service.az_rebalancing != "ENABLED":
            if state is not None:
                self.service = replace(self.service, rebalance=None)
        elif state is not None and state.zones:
            self._go_on(state, step, verdicts)
        elif not step.start and not step.stop:
            self._begin(verdicts, room)

    def _begin(self, verdicts: Mapping[str, Verdict], room: int) -> None:
        service, state = self.service, self.service.rebalance
        tasks_in = Counter(t.availability_zone for t in self.living)
        sound = len(self.living) == service.desired_count and all(v.state == "healthy" for v in verdicts.values())
        at_rest = self.primary.rollout_state == "COMPLETED" and len(self.deployments) == 1
        if service.steady_since is None or not sound or not at_rest:
            return
        protected = [t for t in self.living if (t.protected_until or 0.0) > self.now]
        zones = moves(self.snapshot.zones, tasks_in, room, Counter(t.availability_zone for t in protected))
        if not zones:
            return
        wait = service.steady_since + REST - self.now
        if state is not None and state.failed_at is not None:
            wait = max(wait, state.failed_at + REST_AFTER_FAILURE - self.now)
        if wait > 0:
            self.again.append(wait)
            return
        self.events.append(sentences.not_balanced(service.name, in_zones(self.snapshot.zones, tasks_in)))
        self.service = replace(service, rebalance=Rebalance(self.now, zones))
        self.start_in = tuple((self.primary_id, zone) for zone in zones)

    def _go_on(self, state: Rebalance, step: Step, verdicts: Mapping[str, Verdict]) -> None:
        service, zones = self.service, self.snapshot.zones
        leaving = [stop.task for stop in step.stop if stop.why == "scale-in"]
        if self.now - state.since >= LONGEST_MOVE:
            self.service = replace(service, rebalance=Rebalance(self.now, failed_at=self.now))
        elif leaving:
            for zone in sorted({task.availability_zone for task in leaving}):
                ids = [task.id for task in leaving if task.availability_zone == zone]
                self.moved_out.append(sentences.rebalance_stopped(service.name, zone, ids))
            left = Counter(t.availability_zone for t in self.living if t not in leaving)
            if is_balanced(zones, left):
                self.moved_out.append(sentences.balanced(service.name, in_zones(zones, left)))
            self.service = replace(service, rebalance=None)
        elif len(self.living) <= service.desired_count and all(v.state != "waiting" for v in verdicts.values()):
            # The newcomers did not live, or found no place.
            self.service = replace(service, rebalance=Rebalance(self.now, failed_at=self.now))
