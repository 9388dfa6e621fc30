"""What a service does next while a blue/green, linear or canary deployment runs (semantics ecs-services §5).

The accounting of failures, the judging of tasks and the writing are those of the rolling scheduler; this module says which
revision has how many tasks in which stage, and turns the moves of `rollout/stages.py` into weights, events and outcomes.

| stage                        | blue                | green              | others                        |
|------------------------------|---------------------|--------------------|-------------------------------|
| RECONCILE_SERVICE            | kept at desired     | none               | go when traffic has left them |
| PRE_SCALE_UP                 | kept at desired     | none               | none                          |
| SCALE_UP … BAKE_TIME         | kept at desired     | kept at desired    | none                          |
| CLEAN_UP                     | goes, as in rolling | kept, as in rolling| none                          |
| on the way back, or halted   | kept at desired     | left as it is      | none                          |
| CLEAN_UP on the way back     | kept, as in rolling | goes, as in rolling| none                          |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from moorage.decide.failing import Failure
from moorage.decide.health import Verdict
from moorage.decide.rollout import stages, traffic_shift
from moorage.decide.rollout.percent import maximum_running, minimum_healthy
from moorage.decide.rollout.rolling import Candidate, Step, Stop, next_step
from moorage.decide.service import SchedulerPass, ServicePlan
from moorage.domain import sentences
from moorage.domain.service import Shift
from moorage.domain.task import Task

# So many launches in a row that failed: nothing more is expected of the old revision.
LOST = 3


class ShiftingPass(SchedulerPass):
    """One pass over a service whose `shift` is set."""

    _turn: stages.Turn | None = None
    _starts: tuple[tuple[str, int], ...] = ()

    @property
    def shift(self) -> Shift:
        assert self.service.shift is not None
        return self.service.shift

    def plan(self) -> ServicePlan:
        plan = super().plan()
        return replace(plan, weights=self._weights())

    # --- failing and stopping ----------------------------------------------------------------------------------------
    def failure(self) -> Failure | None:
        """As in rolling; the alarms are watched until the end of the bake time."""
        failure = super().failure()
        over = self.shift.stage == "CLEAN_UP" and failure is not None and failure.what == "alarms"
        return None if over else failure

    def trip(self) -> None:
        """The circuit breaker, and what users asked for. In CLEAN_UP there is nothing left to go back to."""
        if self.shift.stage == "CLEAN_UP":
            super().trip()
            return
        if self.shift.direction != "forward":
            return
        failure = self.failure()
        if self.shift.requested == "ABORT":
            self._halt(sentences.STOPPED_BY_REQUEST, "STOPPED")
        elif self.shift.requested == "ROLLBACK":
            self._turn_back(stages.turn_back(self.shift, sentences.STOP_REQUESTED, self.now))
        elif failure is not None and failure.rollback:
            self._turn_back(stages.turn_back(self.shift, failure.rolled_back, self.now), failure)
        elif failure is not None:
            self.events.append(failure.event)
            self._halt(failure.stopped, "STOPPED", failure)

    def _turn_back(self, turn: stages.Turn, failure: Failure | None = None) -> None:
        assert turn.failed is not None
        green, shift = self.deployments[self.shift.green], self.shift
        self.service = replace(self.service, shift=turn.shift)
        self._turn = turn
        self.events.append(sentences.native_failed(self.service.name, green.id, turn.failed))
        if shift.blue is None:
            self.events.append(sentences.no_rollback_candidate(self.service.name, green.id))
            self._halt(turn.failed, "ROLLBACK_FAILED", failure)
            return
        blue = self.deployments[shift.blue]
        self.roll_back(green, blue.revision_arn, turn.failed, failure)

    def _halt(self, reason: str, status: str, failure: Failure | None = None) -> None:
        green = self.deployments[self.shift.green]
        self.deployments[green.id] = replace(
            green,
            rollout_state="FAILED",
            rollout_reason=reason if failure is None else failure.state_reason,
            updated_at=self.now,
        )
        self.service = replace(self.service, shift=stages.halt(self.shift))
        self.outcome(green, status, reason, failure)

    # --- a move, and the tasks it needs ------------------------------------------------------------------------------
    def roll(self, verdicts: Mapping[str, Verdict]) -> Step:
        if self._turn is None:
            turn = stages.advance(self.shift, self._facts(verdicts), self.now, self.snapshot.fresh.deployment[8:])
            if turn.failed is not None:
                self._turn_back(turn)
            else:
                self._turn = turn
                self.service = replace(self.service, shift=turn.shift)
        assert self._turn is not None
        if self._turn.again_after is not None:
            self.again.append(self._turn.again_after)
        if self.shift.stage == "CLEAN_UP" and self.shift.direction == "forward":
            # From here on the new revision is the one to return to.
            self.service = replace(self.service, last_good_revision=self.primary.revision_arn)
        return self._step(verdicts)

    def _facts(self, verdicts: Mapping[str, Verdict]) -> stages.Facts:
        shift = self.shift

        def healthy(deployment: str | None) -> int:
            return sum(1 for t in self._of(deployment) if verdicts[t.arn].state == "healthy")

        return stages.Facts(
            desired=self.service.desired_count,
            green_healthy=healthy(shift.green),
            blue_healthy=healthy(shift.blue),
            others=0 if self._blue_is_lost() else len(self._interrupted()),
            problem=traffic_shift.problem(self._routes(), self.snapshot.rules),
            routed=bool(self._routes()),
        )

    def _interrupted(self) -> list[Task]:
        """Tasks of deployments that were superseded before they had ended."""
        return [t for t in self.tasks if t.deployment_id not in (self.shift.green, self.shift.blue)]

    def _blue_is_lost(self) -> bool:
        """Its tasks do not start any more (the image is gone, say): nobody waits for them to take over. What still runs
        of interrupted deployments then stays until the new revision takes over."""
        blue = self.deployments.get(self.shift.blue or "")
        return blue is not None and blue.failed_tasks >= LOST

    def _step(self, verdicts: Mapping[str, Verdict]) -> Step:
        """The tasks that this stage needs, by the table above. 3 desired in SCALE_UP → blue keeps 3, green starts 3."""
        shift = self.shift
        if shift.stage == "CLEAN_UP" and shift.direction != "halted":
            return super().roll(verdicts)
        if shift.blue is None:
            # A first deployment has no traffic to shift: it scales up as any other does.
            waits = shift.stage == "PRE_SCALE_UP" and shift.direction == "forward"
            return Step(0, ()) if waits else super().roll(verdicts)
        if shift.stage == "RECONCILE_SERVICE" and shift.direction == "forward" and stages.settled(shift, self.now):
            step = self._blue_takes_over(verdicts)
            self._starts = ((shift.blue, step.start),) if step.start else ()
            return step
        kept = [shift.blue]
        if shift.direction == "forward" and shift.stage not in ("RECONCILE_SERVICE", "PRE_SCALE_UP"):
            kept.append(shift.green)
        steps = {deployment: self._keep(deployment, verdicts) for deployment in kept}
        if self._interrupted() and not self._blue_is_lost() and shift.stage != "RECONCILE_SERVICE":
            # It was lost and has come back: what stayed meanwhile would leave green no room.
            steps[shift.blue] = self._blue_takes_over(verdicts)
        elif self._interrupted() and self._blue_is_lost():
            # Its sick tasks serve nobody; beside those of interrupted deployments they leave green no room.
            steps[shift.blue] = Step(
                0,
                tuple(
                    Stop(t, "unhealthy", verdicts[t.arn])
                    for t in self._of(shift.blue)
                    if verdicts[t.arn].state == "unhealthy"
                ),
            )
        # A replacement of blue that is there already takes the place of a task of green, until the sick one has gone.
        # 3 desired, blue has 4 (one is sick) → green starts 2. Green goes first: it may be what mends the service.
        desired, percent = self.service.desired_count, self.service.deployment_configuration.maximum_percent
        room = max(0, maximum_running(desired, max(200, percent)) - len(self.living))
        for deployment in reversed(kept):
            steps[deployment] = replace(steps[deployment], start=min(steps[deployment].start, room))
            room -= steps[deployment].start
        self._starts = tuple((deployment, step.start) for deployment, step in steps.items() if step.start)
        return self._merged(steps.values())

    def _blue_takes_over(self, verdicts: Mapping[str, Verdict]) -> Step:
        """Blue takes over from what still runs of interrupted deployments, as in a rolling update."""
        assert self.shift.blue is not None
        desired, configuration = self.service.desired_count, self.service.deployment_configuration
        return next_step(
            [
                self._candidate(t, verdicts, new=t.deployment_id == self.shift.blue)
                for t in self.living
                if t.deployment_id != self.shift.green
            ],
            desired=desired,
            minimum=minimum_healthy(desired, configuration.minimum_healthy_percent),
            maximum=maximum_running(desired, max(200, configuration.maximum_percent)),
            may_start=self._may_start(self.shift.blue),
        )

    def _keep(self, deployment: str, verdicts: Mapping[str, Verdict]) -> Step:
        """As many tasks of this deployment as are desired. A replacement is started first when the maximum has room."""
        desired, configuration = self.service.desired_count, self.service.deployment_configuration
        mine = self._of(deployment)
        taken = max(
            len(self.living), desired if self.shift.stage in ("RECONCILE_SERVICE", "PRE_SCALE_UP") else 2 * desired
        )
        spare = max(0, maximum_running(desired, configuration.maximum_percent) - taken)
        return next_step(
            [self._candidate(t, verdicts, new=True) for t in mine],
            desired=desired,
            minimum=minimum_healthy(desired, configuration.minimum_healthy_percent),
            maximum=desired + spare,
            may_start=self._may_start(deployment),
        )

    def _may_start(self, deployment: str) -> bool:
        record = self.deployments[deployment]
        blocked_for = (record.launches_blocked_until or 0.0) - self.now
        if blocked_for > 0:
            self.again.append(blocked_for)
        return blocked_for <= 0 and record.rollout_state != "FAILED"

    def _candidate(self, task: Task, verdicts: Mapping[str, Verdict], *, new: bool) -> Candidate:
        stays = task.arn not in self.snapshot.leaving
        return Candidate(
            task, verdicts[task.arn], new=new and stays, protected=(task.protected_until or 0.0) > self.now
        )

    def _of(self, deployment: str | None) -> list[Task]:
        return [t for t in self.living if t.deployment_id == deployment]

    @staticmethod
    def _merged(steps: Iterable[Step]) -> Step:
        found = list(steps)
        return Step(sum(s.start for s in found), tuple(stop for s in found for stop in s.stop))

    def starts(self, step: Step) -> tuple[tuple[str, int], ...]:
        return self._starts or super().starts(step)

    # --- the end -----------------------------------------------------------------------------------------------------
    def close(self, verdicts: Mapping[str, Verdict], step: Step) -> None:
        if self.shift.stage == "CLEAN_UP" and self.shift.direction != "halted":
            super().close(verdicts, step)
            if self.primary.rollout_state == "COMPLETED":
                self.service = replace(self.service, shift=None)
                self.again.append(0.0)
            return
        populated = {t.deployment_id for t in self.tasks} | {self.shift.green, self.shift.blue}
        for id in [id for id in self.deployments if id not in populated]:
            del self.deployments[id]

    def _routes(self) -> tuple[traffic_shift.Route, ...]:
        shift = self.snapshot.service.shift
        assert shift is not None
        arns = {d.id: d.revision_arn for d in self.snapshot.service.deployments}
        if shift.blue not in arns or shift.green not in arns:
            # A first deployment, or one of the two has left the list in CLEAN_UP: there is nothing to shift.
            return ()
        revisions = self.snapshot.revisions
        return traffic_shift.routes(revisions[arns[shift.blue]], revisions[arns[shift.green]])

    def _weights(self) -> tuple[traffic_shift.Weights, ...]:
        turn = self._turn
        if turn is None:
            return ()
        routes = self._routes()
        production = traffic_shift.production(routes, turn.production) if turn.production is not None else ()
        test = traffic_shift.test(routes, turn.test) if turn.test is not None else ()
        return (*production, *test)

    def sentence(self, step: Step, verdicts: Mapping[str, Verdict]) -> str:
        what = f"{self._turn.said}. " if self._turn is not None and self._turn.said else ""
        rest = super().sentence(step, verdicts)
        return what + (rest.removeprefix("no action. ") if what else rest)
