"""What a service of the controllers EXTERNAL and CODE_DEPLOY does next: every task set has as many tasks as its scale says
(semantics ecs-services §6).

Somebody outside makes task sets, scales them and says which is PRIMARY; here is decided only how each of them gets to its
computed desired count and stays there. To the steps that are shared with the replica scheduler (accounting for stopped
tasks, the launch throttle, judging) a task set looks like a deployment.

| a task set that …                   | then                                                                           |
|-------------------------------------|--------------------------------------------------------------------------------|
| has fewer tasks than computed       | starts the rest                                                                |
| has more                            | stops the rest, those that serve nobody first, protected ones never            |
| has an unhealthy task               | its successor starts first if maximumPercent of computed has room, else after  |
| has a task on a draining instance   | the same, within minimumHealthyPercent                                          |
| is DRAINING (it was deleted)        | stops all its tasks; with the last one it is gone                              |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from moorage.decide.health import Verdict
from moorage.decide.rollout.percent import maximum_running, minimum_healthy
from moorage.decide.rollout.rolling import Candidate, Step, Stop, next_step
from moorage.decide.service import SchedulerPass, decide_service
from moorage.decide.service_plan import ServicePlan, ServiceSnapshot, StopOrder
from moorage.domain import sentences
from moorage.domain.service import Deployment
from moorage.domain.task import Task
from moorage.domain.task_set import TaskSet


def decide_task_sets(snapshot: ServiceSnapshot, now: float) -> ServicePlan:
    service, all_of_them = snapshot.service, tuple(one.arn for one in snapshot.task_sets)
    if service.status != "ACTIVE":
        plan = decide_service(snapshot, now)
        return replace(plan, gone=all_of_them) if plan.service.status == "INACTIVE" else plan
    if not snapshot.task_sets:
        accounted = tuple(task.arn for task in snapshot.ended)
        return ServicePlan(service, accounted=accounted, said="no action: the service has no task set")
    as_deployments = tuple(_deployment(one) for one in snapshot.task_sets)
    return TaskSetsPass(replace(snapshot, service=replace(service, deployments=as_deployments)), now).plan()


def _deployment(one: TaskSet) -> Deployment:
    return Deployment(
        id=one.id,
        status="PRIMARY" if one.status == "PRIMARY" else "ACTIVE",
        revision_arn=one.arn,
        service_deployment_arn="",
        created_at=one.created_at,
        updated_at=one.updated_at,
        failed_tasks=one.failed_tasks,
        failures=one.failures,
        launches_blocked_until=one.launches_blocked_until,
    )


class TaskSetsPass(SchedulerPass):
    """One pass over a service with task sets; `snapshot.service.deployments` are its task sets."""

    def plan(self) -> ServicePlan:
        accounted = self.account()
        verdicts = self.judge()
        newly = self.note_healthy(verdicts)
        steps = {one.id: self._step(one, verdicts) for one in self.snapshot.task_sets}
        stops = tuple(order for id, step in steps.items() for order in self._order(id, step))
        after = tuple(self._after(one, steps[one.id], verdicts) for one in self.snapshot.task_sets)
        gone = tuple(one.arn for one in after if one.status == "DRAINING" and not self._tasks_of(one.id))
        kept = tuple(one for one in after if one.arn not in gone)
        self.note_steady(steady=bool(kept) and all(one.steady for one in kept))
        service = self.service if all(one.steady for one in kept) else replace(self.service, steady_since=None)
        if service.revision_arn in gone:
            service = replace(service, revision_arn="")
        return ServicePlan(
            service=replace(service, deployments=()),
            start=tuple((id, step.start) for id, step in steps.items() if step.start),
            stop=stops,
            healthy=newly,
            accounted=accounted,
            events=tuple(self.events),
            said=" ".join(self._sentence(one, steps[one.id], verdicts) for one in after),
            again_after=min(self.again) if self.again else None,
            verdicts=verdicts,
            task_sets=tuple(one for one in kept if one not in self.snapshot.task_sets),
            gone=gone,
        )

    # --- how many ----------------------------------------------------------------------------------------------------
    def _tasks_of(self, id: str) -> list[Task]:
        """Those that are stopping as well."""
        return [task for task in self.snapshot.tasks if task.deployment_id == id]

    def _living_of(self, id: str) -> list[Task]:
        return [task for task in self.living if task.deployment_id == id]

    def _step(self, one: TaskSet, verdicts: Mapping[str, Verdict]) -> Step:
        """By the table above. 3 desired, scale 40 % → 2; the minimum and the maximum are percentages of those 2."""
        mine = self._living_of(one.id)
        if one.status == "DRAINING":
            return Step(0, tuple(Stop(task, "scale-in", verdicts[task.arn]) for task in mine))
        desired, configuration = one.desired(self.service.desired_count), self.service.deployment_configuration
        blocked_for = (self.deployments[one.id].launches_blocked_until or 0.0) - self.now
        step = next_step(
            [
                Candidate(
                    task,
                    verdicts[task.arn],
                    new=task.arn not in self.snapshot.leaving,
                    protected=(task.protected_until or 0.0) > self.now,
                )
                for task in mine
            ],
            desired=desired,
            minimum=minimum_healthy(desired, configuration.minimum_healthy_percent),
            maximum=maximum_running(desired, configuration.maximum_percent),
            may_start=blocked_for <= 0,
        )
        if blocked_for > 0:
            self.again.append(blocked_for)
        if step.protected and not step.stop:
            self.events.append(sentences.too_many_protected(self.service.name, one.id))
            left = [(task.protected_until or 0.0) - self.now for task in mine]
            self.again += [seconds for seconds in left if seconds > 0]
        return step

    def _order(self, id: str, step: Step) -> Sequence[StopOrder]:
        """Stops one task set's tasks, and tells it in its name."""
        name = sentences.task_set(self.service.name, id)
        self.events += [self.unhealthy_event(stop) for stop in step.stop if stop.verdict.state == "unhealthy"]
        if step.stop:
            self.events.append(sentences.stopped(name, [stop.task.id for stop in step.stop]))
        drained = sum(1 for stop in step.stop if stop.task.targets_registered)
        if drained:
            self.events.append(sentences.draining(self.service.name, id, drained))
        return [StopOrder(stop.task.arn, self.stop_reason(stop)) for stop in step.stop]

    def stop_reason(self, stop: Stop) -> str:
        if stop.why == "unhealthy":
            return super().stop_reason(stop)
        return sentences.scaling_activity(stop.task.deployment_id or "")

    # --- how it stands -----------------------------------------------------------------------------------------------
    def _after(self, one: TaskSet, step: Step, verdicts: Mapping[str, Verdict]) -> TaskSet:
        counted = self.deployments[one.id]
        changed = replace(
            one,
            failed_tasks=counted.failed_tasks,
            failures=counted.failures,
            launches_blocked_until=counted.launches_blocked_until,
        )
        steady = one.status != "DRAINING" and not step.start and self._is_steady(one, verdicts)
        if steady == one.steady:
            return changed
        if steady:
            self.events.append(sentences.steady(sentences.task_set(self.service.name, one.id)))
        return replace(changed, steady=steady, stability_at=self.now)

    def _is_steady(self, one: TaskSet, verdicts: Mapping[str, Verdict]) -> bool:
        """STEADY_STATE: exactly the computed number runs, nothing starts or stops, nothing is on a draining instance, and
        every check there is reports healthy. Without any check, running is enough."""
        tasks = self._tasks_of(one.id)
        return len(tasks) == one.desired(self.service.desired_count) and all(
            task.arn in verdicts and verdicts[task.arn].serving and task.arn not in self.snapshot.leaving
            for task in tasks
        )

    def _sentence(self, one: TaskSet, step: Step, verdicts: Mapping[str, Verdict]) -> str:
        desired, tasks = one.desired(self.service.desired_count), self._tasks_of(one.id)
        doing = []
        if step.start:
            doing.append(f"starts {step.start}")
        if step.stop:
            doing.append(f"stops {len(step.stop)} ({step.stop[0].why})")
        stopping = sum(1 for task in tasks if task.desired_status == "STOPPED")
        wait = (one.launches_blocked_until or 0.0) - self.now
        if wait > 0 and len(tasks) - stopping < desired:
            doing.append(f"launches again in {wait:.0f} s after {one.failed_tasks} failed launches")
        waiting = [verdicts[t.arn].reason for t in tasks if t.arn in verdicts and not verdicts[t.arn].serving]
        if not doing and waiting:
            doing.append(f"waits: a task {waiting[0]}")
        if not doing and stopping:
            doing.append(f"waits: {stopping} still stopping")
        state = "STEADY_STATE" if one.steady else "STABILIZING"
        return (
            f"Task set {one.id} ({one.status}, {one.scale:g} % of {self.service.desired_count}) is {state}: "
            f"{desired} desired, {len(tasks) - stopping} there; {', '.join(doing) or 'no action'}."
        )
