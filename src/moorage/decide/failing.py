"""When a deployment has failed, and what becomes of it: circuit breaker, alarms, StopServiceDeployment, rollback
(semantics ecs-services §3.6, §3.7, §5.6).

The working state of a pass over a service begins here; `decide/service` adds the steps of the rolling scheduler and
`decide/shifting` those of a deployment that shifts traffic.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from moorage.decide.rollout import circuit_breaker
from moorage.decide.service_plan import DeploymentOutcome, ServiceSnapshot
from moorage.domain import sentences
from moorage.domain.service import Deployment
from moorage.domain.task import Task


class Failure(msgspec.Struct, frozen=True):
    """Why the PRIMARY deployment has failed. `what`: breaker | alarms. `event`: the service event; `state_reason`: its
    rolloutStateReason when nothing is rolled back; `rolled_back`/`stopped`: statusReason of the service deployment."""

    what: str
    rollback: bool
    event: str
    state_reason: str
    rolled_back: str
    stopped: str
    alarms: tuple[str, ...] = ()


class FailingPass:
    """What a pass knows and has decided so far."""

    def __init__(self, snapshot: ServiceSnapshot, now: float) -> None:
        self.snapshot = snapshot
        self.now = now
        self.service = snapshot.service
        self.deployments = {d.id: d for d in snapshot.service.deployments}
        self.primary_id = snapshot.service.deployments[0].id
        self.events: list[str] = []
        self.outcomes: list[DeploymentOutcome] = []
        self.again: list[float] = []
        self.moved: list[tuple[str, str]] = []
        self.tasks: Sequence[Task] = snapshot.tasks
        self.living = [t for t in snapshot.tasks if t.desired_status == "RUNNING"]

    @property
    def primary(self) -> Deployment:
        return self.deployments[self.primary_id]

    # --- why ---------------------------------------------------------------------------------------------------------
    def failure(self) -> Failure | None:
        """Why the PRIMARY deployment has failed; None: it has not. A rollback fails of its tasks only: the alarm that
        caused it may well be in ALARM still."""
        primary, configuration = self.primary, self.service.deployment_configuration
        if primary.rollout_state != "IN_PROGRESS":
            return None
        breaker, name = configuration.circuit_breaker, self.service.name
        if breaker.enable and primary.failures >= circuit_breaker.threshold(breaker, self.service.desired_count):
            return Failure(
                "breaker",
                breaker.rollback,
                sentences.deployment_failed(name, primary.id),
                sentences.BREAKER_TRIPPED,
                sentences.ROLLED_BACK,
                sentences.BREAKER_TRIPPED,
            )
        alarms = tuple(alarm for alarm in primary.alarms if alarm in configuration.watched_alarms)
        if alarms and primary.rollback_of is None:
            return Failure(
                "alarms",
                bool((configuration.alarms or {}).get("rollback")),
                sentences.alarm_detected(name, primary.id),
                sentences.ALARM_DETECTED,
                sentences.alarms_rolled_back(alarms),
                sentences.alarms_stopped(alarms),
                alarms,
            )
        return None

    # --- what then ---------------------------------------------------------------------------------------------------
    def trip(self) -> None:
        self.stop()
        failure, primary = self.failure(), self.primary
        if failure is None:
            return
        self.events.append(failure.event)
        candidate = self.service.last_good_revision if failure.rollback and primary.rollback_of is None else None
        if candidate is not None and candidate != primary.revision_arn:
            self.roll_back(primary, candidate, failure.rolled_back, failure)
            return
        self.deployments[primary.id] = replace(
            primary, rollout_state="FAILED", rollout_reason=failure.state_reason, updated_at=self.now
        )
        if failure.rollback:
            self.events.append(sentences.no_rollback_candidate(self.service.name, primary.id))
        self.outcome(primary, "ROLLBACK_FAILED" if failure.rollback else "STOPPED", failure.stopped, failure)

    def stop(self) -> None:
        """What StopServiceDeployment asked for: back to the last good revision, or (ABORT) nothing more of this one."""
        asked, primary = self.service.stop_requested, self.primary
        if asked is None:
            return
        self.service = replace(self.service, stop_requested=None)
        if primary.rollout_state != "IN_PROGRESS" or primary.rollback_of is not None:
            return
        candidate = self.service.last_good_revision
        if asked == "ROLLBACK" and candidate not in (None, primary.revision_arn):
            self.roll_back(primary, candidate, sentences.STOP_REQUESTED)
            return
        reason = sentences.STOPPED_BY_REQUEST
        self.deployments[primary.id] = replace(
            primary, rollout_state="FAILED", rollout_reason=reason, updated_at=self.now
        )
        self.outcome(primary, "STOPPED", reason)

    def roll_back(self, failed: Deployment, revision: str, reason: str, failure: Failure | None = None) -> None:
        """A new PRIMARY deployment of the last good revision, as part of the service deployment that failed (§3.1). It
        takes over the tasks of that revision that still run: they are never touched."""
        back = Deployment(
            id=self.snapshot.fresh.deployment,
            status="PRIMARY",
            revision_arn=revision,
            service_deployment_arn=failed.service_deployment_arn,
            created_at=self.now,
            updated_at=self.now,
            rollback_of=failed.id,
            rollout_reason=sentences.in_progress(self.snapshot.fresh.deployment),
        )
        for good in [d for d in self.deployments.values() if d.revision_arn == revision]:
            self._take_over(good.id, back.id)
        self.deployments[back.id] = back
        self.deployments[failed.id] = replace(
            failed,
            status="ACTIVE",
            rollout_state="FAILED",
            rollout_reason=_rolling_back(failure, reason, back.id),
            updated_at=self.now,
        )
        self.primary_id = back.id
        self.service = replace(self.service, revision_arn=revision)
        self.events.append(sentences.rolling_back(self.service.name, back.id))
        self.outcomes.append(
            DeploymentOutcome(
                failed.service_deployment_arn,
                "ROLLBACK_IN_PROGRESS",
                reason,
                rollback_revision=revision,
                failure_count=failed.failures,
                tripped=failure.what if failure is not None else None,
                alarms=failure.alarms if failure is not None else (),
            )
        )

    def _take_over(self, old: str, new: str) -> None:
        """The tasks of one deployment belong to another from now on."""
        del self.deployments[old]
        self.moved.append((old, new))

        def moved(task: Task) -> Task:
            return replace(task, deployment_id=new) if task.deployment_id == old else task

        self.tasks = [moved(task) for task in self.tasks]
        self.living = [moved(task) for task in self.living]
        shift = self.service.shift
        if shift is not None and shift.blue == old:
            self.service = replace(self.service, shift=replace(shift, blue=new))

    def outcome(self, deployment: Deployment, status: str, reason: str | None, failure: Failure | None = None) -> None:
        # A rollback's record goes on telling how often the failed deployment failed.
        failures = deployment.failures if deployment.rollback_of is None else None
        self.outcomes.append(
            DeploymentOutcome(
                deployment.service_deployment_arn,
                status,
                reason,
                failure_count=failures,
                tripped=failure.what if failure is not None else None,
                alarms=failure.alarms if failure is not None else (),
            )
        )


def _rolling_back(failure: Failure | None, reason: str, back: str) -> str:
    """The rolloutStateReason of a deployment that is rolled back (§3.3)."""
    if failure is None:
        return reason
    return sentences.breaker_rolling_back(back) if failure.what == "breaker" else failure.state_reason
