"""What a service does next: the replica scheduler of ECS as a pure function (semantics ecs-services §3, §4).

`decide_service(snapshot, now)` looks at one service, its deployments and its tasks and answers with a plan: the service
record as it should be written, how many tasks to start for which deployment, which tasks to stop and why, and the
events that tell it. It starts nothing, stops nothing and reads no clock.

The steps of a pass, in order:
1. account for tasks that stopped since the last pass (failures, launch throttle);
2. judge the living ones (healthy, unhealthy, waiting);
3. fail the deployment of its tasks, its alarms or a request, and roll back if that was asked for (`failing.py`);
4. one step of the rolling update (`rollout/rolling.py`);
5. move tasks between zones when nothing else is to be done (`rebalancing.py`);
6. close what is finished: old deployments without tasks, the deployment itself, steady state, the deleted service.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from msgspec.structs import replace

from moorage.decide.health import Verdict, judge
from moorage.decide.rebalancing import RebalancingPass
from moorage.decide.rollout import circuit_breaker
from moorage.decide.rollout.percent import early_success, maximum_running, minimum_healthy
from moorage.decide.rollout.rolling import Candidate, Step, Stop, hold, next_step
from moorage.decide.service_plan import (
    DeploymentOutcome,
    FreshIds,
    ServicePlan,
    ServiceSnapshot,
    StopOrder,
)
from moorage.domain import sentences
from moorage.domain.service import Service
from moorage.domain.task import Task

__all__ = [
    "DeploymentOutcome",
    "FreshIds",
    "SchedulerPass",
    "ServicePlan",
    "ServiceSnapshot",
    "StopOrder",
    "decide_service",
]

STEADY_REPEAT = 6 * 3600.0


def decide_service(snapshot: ServiceSnapshot, now: float) -> ServicePlan:
    if snapshot.service.status == "INACTIVE":
        return ServicePlan(snapshot.service, said="no action: the service is deleted")
    if snapshot.service.status == "DRAINING":
        return _drain(snapshot, now)
    return SchedulerPass(snapshot, now).plan()


class SchedulerPass(RebalancingPass):
    """One pass; every method is one of the steps above."""

    def plan(self) -> ServicePlan:
        accounted = self.account()
        verdicts = self.judge()
        newly = self.note_healthy(verdicts)
        self.trip()
        step = self.roll(verdicts)
        stops = self.order_stops(step)
        start = self.starts(step)
        self.close(verdicts, step)
        service = self.write(step)
        return ServicePlan(
            service=service,
            start=start,
            stop=stops,
            healthy=newly,
            accounted=accounted,
            events=tuple(self.events),
            outcomes=tuple(self.outcomes),
            said=self.sentence(step, verdicts),
            again_after=min(self.again) if self.again else None,
            verdicts=verdicts,
            moved=tuple(self.moved),
            start_in=self.start_in,
        )

    # 1 ---------------------------------------------------------------------------------------------------------------
    def account(self) -> tuple[str, ...]:
        for task in self.snapshot.ended:
            deployment = self.deployments.get(task.deployment_id or "")
            if task.stop_code == "TaskFailedToStart" and task.stopped_reason:
                self.events.append(sentences.not_placed(self.service.name, circuit_breaker.reason_of(task)))
            if deployment is None or not circuit_breaker.is_failure(task):
                continue
            failed = deployment.failed_tasks + 1
            pause = circuit_breaker.backoff(failed, reached_running=task.started_at is not None)
            self.deployments[deployment.id] = replace(
                deployment,
                failed_tasks=failed,
                failures=deployment.failures + 1,
                launches_blocked_until=self.now + pause if pause else None,
                updated_at=self.now,
            )
            if failed == 3 and task.started_at is None:
                self.events.append(sentences.inconsistent_start(self.service.name))
        return tuple(task.arn for task in self.snapshot.ended)

    # 2 ---------------------------------------------------------------------------------------------------------------
    def judge(self) -> dict[str, Verdict]:
        grace = float(self.service.health_check_grace_period or 0)
        verdicts: dict[str, Verdict] = {}
        held = self.snapshot.judged
        for task in self.living:
            if task.arn in held:
                verdicts[task.arn] = held[task.arn]
                continue
            document = self.snapshot.documents[task.task_definition_arn]
            verdict = judge(task, document, self.snapshot.targets.get(task.arn, {}), grace, self.now)
            verdicts[task.arn] = verdict
            if verdict.again_after is not None:
                self.again.append(verdict.again_after)
        return verdicts

    def note_healthy(self, verdicts: Mapping[str, Verdict]) -> tuple[str, ...]:
        """Tasks that count as healthy for the first time; they reset the failure counts of their deployment."""
        newly = [t for t in self.living if t.became_healthy_at is None and verdicts[t.arn].state == "healthy"]
        breaker = self.service.deployment_configuration.circuit_breaker
        for deployment_id in {t.deployment_id for t in newly}:
            deployment = self.deployments.get(deployment_id or "")
            if deployment is not None and (deployment.failed_tasks or deployment.launches_blocked_until):
                keep = breaker.reset_on_healthy_task is False
                self.deployments[deployment.id] = replace(
                    deployment,
                    failed_tasks=0,
                    failures=deployment.failures if keep else 0,
                    launches_blocked_until=None,
                    updated_at=self.now,
                )
        return tuple(t.arn for t in newly)

    # 4 ---------------------------------------------------------------------------------------------------------------
    def roll(self, verdicts: Mapping[str, Verdict]) -> Step:
        """One step towards `desired` tasks of the PRIMARY deployment and none of any other.

        3 desired at 100/150, new revision: minimum 3, maximum 4 → starts 1; when it is healthy stops 1 old one, and again.
        The last launches failed → starts nothing before `launches_blocked_until`, but goes on stopping what may go."""
        primary, configuration = self.primary, self.service.deployment_configuration
        blocked_for = (primary.launches_blocked_until or 0.0) - self.now
        desired = self.service.desired_count
        candidates = [
            Candidate(
                task,
                verdicts[task.arn],
                new=task.deployment_id == primary.id and task.arn not in self.snapshot.leaving,
                protected=(task.protected_until or 0.0) > self.now,
            )
            for task in self.living
        ]
        if primary.rollout_state == "FAILED":
            return hold(candidates, desired=desired)
        minimum = minimum_healthy(desired, configuration.minimum_healthy_percent)
        maximum = maximum_running(desired, configuration.maximum_percent)
        step = next_step(
            candidates,
            desired=self.with_newcomers(desired, verdicts),
            minimum=minimum,
            maximum=maximum,
            may_start=blocked_for <= 0,
        )
        self.rebalance(step, verdicts, room=maximum - desired)
        if blocked_for > 0:
            self.again.append(blocked_for)
        if step.blocked:
            self.events.append(sentences.blocked_percents(self.service.name))
        if step.protected and not step.stop:
            self.events.append(sentences.too_many_protected(self.service.name, primary.id))
            left = [(t.protected_until or 0.0) - self.now for t in self.living]
            self.again += [seconds for seconds in left if seconds > 0]
        return step

    def starts(self, step: Step) -> tuple[tuple[str, int], ...]:
        return ((self.primary_id, step.start),) if step.start else ()

    def order_stops(self, step: Step) -> tuple[StopOrder, ...]:
        orders = [StopOrder(stop.task.arn, self.stop_reason(stop)) for stop in step.stop]
        name = self.service.name
        for stop in step.stop:
            if stop.verdict.state == "unhealthy":
                self.events.append(self.unhealthy_event(stop))
        if orders:
            self.events += self.moved_out or [sentences.stopped(name, [stop.task.id for stop in step.stop])]
        self.events += _draining(name, [stop.task for stop in step.stop])
        return tuple(orders)

    def stop_reason(self, stop: Stop) -> str:
        if stop.why == "unhealthy":
            if stop.verdict.target is not None:
                return sentences.failed_elb_health(stop.verdict.target.target_group_arn)
            return sentences.FAILED_CONTAINER_HEALTH
        return sentences.scaling_activity(self.primary_id)

    def unhealthy_event(self, stop: Stop) -> str:
        target = stop.verdict.target
        if target is None:
            return sentences.unhealthy_containers(self.service.name, stop.task.id)
        instance = None
        if stop.task.interface is None:
            # A target on a container instance goes by the instance and its host port.
            places = [p for p in stop.task.target_places if p.target_group_arn == target.target_group_arn]
            instance = next(((place.id, place.port) for place in places), None)
        return sentences.unhealthy_target(
            self.service.name,
            stop.task.id,
            target.port if instance is None else instance[1],
            target.target_group_arn,
            target.description,
            instance[0] if instance is not None else None,
        )

    # 6 ---------------------------------------------------------------------------------------------------------------
    def close(self, verdicts: Mapping[str, Verdict], step: Step) -> None:
        """Old deployments without tasks leave the list; a deployment with all its tasks healthy is COMPLETED."""
        populated = {t.deployment_id for t in self.tasks}
        for deployment in list(self.deployments.values()):
            if deployment.id != self.primary_id and deployment.id not in populated:
                del self.deployments[deployment.id]
        mine = [t for t in self.living if t.deployment_id == self.primary_id]
        healthy = sum(1 for t in mine if verdicts[t.arn].state == "healthy")
        idle = not step.start and not step.stop
        whole = idle and len(self.deployments) == 1 and healthy == len(mine) == self.service.desired_count
        if self.primary.rollout_state == "IN_PROGRESS" and (whole or self.is_early_success(healthy)):
            self.complete()
        # Tasks that are still draining or stopping are not yet at rest.
        at_rest = len(self.living) == len(self.tasks)
        self.note_steady(steady=whole and at_rest and self.primary.rollout_state == "COMPLETED")

    def is_early_success(self, healthy: int) -> bool:
        """`earlySuccessCriteria` (§3.8): enough of the new tasks are healthy; the others follow in the background."""
        criteria, primary = self.service.deployment_configuration.early_success, self.primary
        if criteria is None or not criteria.enable or self.service.shift is not None or primary.rollback_of is not None:
            return False
        cleaned_up = criteria.source_service_revision_cleanup == "DEFERRED" or len(self.deployments) == 1
        percent = 100 if criteria.healthy_percent is None else criteria.healthy_percent
        return cleaned_up and healthy >= early_success(self.service.desired_count, percent)

    def complete(self) -> None:
        """Everything is done; a bake time must have passed since then."""
        primary = self.primary
        since = self.now if primary.baking_since is None else primary.baking_since
        left = since + self.bake_time() - self.now
        if left > 0:
            self.deployments[primary.id] = replace(primary, baking_since=since)
            self.again.append(left)
            return
        self.deployments[primary.id] = replace(
            primary,
            rollout_state="COMPLETED",
            rollout_reason=sentences.completed(primary.id),
            failures=0,
            updated_at=self.now,
        )
        self.service = replace(self.service, last_good_revision=primary.revision_arn)
        self.events.append(sentences.deployment_completed(self.service.name, primary.id))
        self.outcome(primary, "ROLLBACK_SUCCESSFUL" if primary.rollback_of else "SUCCESSFUL", None)

    def bake_time(self) -> float:
        """Seconds that a rolling deployment is watched after its last step: as configured, or as long as its alarms need
        to notice anything (§3.7). The other strategies have a stage for it, a rollback has none."""
        configuration = self.service.deployment_configuration
        if self.service.shift is not None or self.primary.rollback_of is not None:
            return 0.0
        if configuration.bake_time_minutes is not None:
            return configuration.bake_time_minutes * 60.0
        return self.primary.alarm_window if configuration.watched_alarms else 0.0

    def note_steady(self, *, steady: bool) -> None:
        if not steady:
            return
        said_at = self.service.steady_said_at
        if self.service.steady_since is None or said_at is None or self.now - said_at >= STEADY_REPEAT:
            self.events.append(sentences.steady(self.service.name))
            self.service = replace(
                self.service, steady_since=self.service.steady_since or self.now, steady_said_at=self.now
            )
        self.again.append(STEADY_REPEAT)

    def write(self, step: Step) -> Service:
        ordered = sorted(self.deployments.values(), key=lambda d: (d.id != self.primary_id, -d.created_at))
        deployments = tuple(
            d if d.id == self.primary_id or d.status != "PRIMARY" else replace(d, status="ACTIVE") for d in ordered
        )
        service = replace(self.service, deployments=deployments)
        at_rest = not step.start and not step.stop and len(self.living) == service.desired_count
        if service.steady_since is not None and not at_rest:
            service = replace(service, steady_since=None)
        return service

    # --- telling it --------------------------------------------------------------------------------------------------
    def sentence(self, step: Step, verdicts: Mapping[str, Verdict]) -> str:
        """The pass in one sentence: what it does, else what it waits for; then the deployment in numbers."""
        states = Counter(verdict.state for verdict in verdicts.values())
        what = ", ".join(self.doing(step)) or self.waits(verdicts)
        return (
            f"{what}. Deployment {self.primary_id} is {self.primary.rollout_state}: {self.service.desired_count} desired, "
            f"{states['healthy']} healthy, {states['waiting']} waiting, {states['unhealthy']} unhealthy, "
            f"{len(self.deployments) - 1} older deployments"
        )

    def doing(self, step: Step) -> Iterator[str]:
        primary, rebalance = self.primary, self.service.rebalance
        if step.start:
            yield f"starts {step.start}"
        if step.stop:
            yield f"stops {len(step.stop)} ({step.stop[0].why})"
        if primary.rollout_state == "FAILED":
            yield "launches nothing until the service is updated"
        wait = (primary.launches_blocked_until or 0.0) - self.now
        if wait > 0 and sum(1 for t in self.living if t.deployment_id == primary.id) < self.service.desired_count:
            yield f"launches again in {wait:.0f} s after {primary.failed_tasks} failed launches"
        if step.blocked:
            yield "blocked: the minimum and maximum healthy percent allow neither a start nor a stop"
        if primary.rollout_state == "IN_PROGRESS" and primary.baking_since is not None:
            left = primary.baking_since + self.bake_time() - self.now
            yield f"bakes: watched for {max(0.0, left):.0f} s more"
        if rebalance is not None and rebalance.zones:
            yield f"moves tasks to {', '.join(rebalance.zones)}"

    def waits(self, verdicts: Mapping[str, Verdict]) -> str:
        """For a task to become healthy, else for tasks that still drain and stop."""
        if (reason := next((v.reason for v in verdicts.values() if v.state == "waiting"), None)) is not None:
            return f"waits: a task {reason}"
        stopping = len(self.tasks) - len(self.living)
        if not stopping:
            return "no action"
        tasks = f"{stopping} tasks" if stopping > 1 else "1 task"
        older = " of older deployments" if len(self.deployments) > 1 else ""
        return f"waits: {tasks}{older} still stopping"


def _draining(service: str, stopping: Iterable[Task]) -> list[str]:
    """The events of tasks that stop and whose targets are draining from now on, deployment by deployment."""
    drained = Counter(t.deployment_id for t in stopping if t.targets_registered and t.deployment_id)
    return [sentences.draining(service, deployment, count) for deployment, count in drained.items()]


def _drain(snapshot: ServiceSnapshot, now: float) -> ServicePlan:
    """A deleted service stops all its tasks and is INACTIVE when the last one is gone."""
    service = snapshot.service
    living = [t for t in snapshot.tasks if t.desired_status == "RUNNING"]
    stops = tuple(
        StopOrder(t.arn, sentences.scaling_activity(t.deployment_id or service.deployments[0].id)) for t in living
    )
    accounted = tuple(t.arn for t in snapshot.ended)
    if snapshot.tasks:
        stopped = sentences.stopped(service.name, [t.id for t in living])
        events = (stopped, *_draining(service.name, living)) if living else ()
        return ServicePlan(
            service,
            stop=stops,
            accounted=accounted,
            events=events,
            said=f"the service is deleted: {len(snapshot.tasks)} tasks are still stopping",
        )
    outcomes = tuple(
        DeploymentOutcome(d.service_deployment_arn, "STOPPED", "The service was deleted.")
        for d in service.deployments
        if d.rollout_state == "IN_PROGRESS"
    )
    return ServicePlan(
        replace(service, status="INACTIVE", deployments=(), deleted_at=now, shift=None),
        accounted=accounted,
        outcomes=outcomes,
        said="the service is deleted and its last task has stopped",
    )
