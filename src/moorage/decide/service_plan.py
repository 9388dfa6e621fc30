"""What a pass over a service looks at and what it answers: the records of `decide/service`, nothing else."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from moorage.decide.health import TargetFact, Verdict
from moorage.decide.placement.daemons import DaemonFacts
from moorage.decide.placement.hosts import Host
from moorage.decide.rollout.traffic_shift import Weights
from moorage.domain.load_balancer import Action
from moorage.domain.service import Revision, Service
from moorage.domain.task import Task
from moorage.domain.task_definition import Document
from moorage.domain.task_set import TaskSet


class FreshIds(msgspec.Struct, frozen=True):
    """Identifiers for a deployment that the decision may have to create (a rollback)."""

    deployment: str
    service_deployment_arn: str


class ServiceSnapshot(msgspec.Struct, frozen=True):
    """`tasks`: not yet STOPPED. `ended`: desired STOPPED and not accounted for (some may still be among `tasks`).
    `documents` by task definition ARN; `targets` by task ARN, then target group ARN. `revisions` and `rules` (actions by
    rule ARN) are only there while a deployment shifts traffic. `leaving`: tasks on container instances that are draining;
    they are replaced like those of an old revision. `zones`: where its tasks could go; only there while they may have to
    be moved between zones. `daemon`: for a DAEMON service, the instances of its cluster. `task_sets`, oldest
    first: of the controllers EXTERNAL and CODE_DEPLOY. `judged`: verdicts given earlier that still hold; the others are
    given now."""

    service: Service
    revisions: Mapping[str, Revision]
    documents: Mapping[str, Document]
    tasks: tuple[Task, ...]
    ended: tuple[Task, ...]
    targets: Mapping[str, Mapping[str, TargetFact]]
    fresh: FreshIds
    rules: Mapping[str, tuple[Action, ...]] = {}
    leaving: frozenset[str] = frozenset()
    zones: tuple[str, ...] = ()
    daemon: DaemonFacts | None = None
    task_sets: tuple[TaskSet, ...] = ()
    judged: Mapping[str, Verdict] = {}


class StopOrder(msgspec.Struct, frozen=True):
    task_arn: str
    reason: str


class DeploymentOutcome(msgspec.Struct, frozen=True):
    """A change of a service deployment record. `status` as ServiceDeployment.status (§5.6). `tripped`: what failed it,
    breaker or alarms; `alarms`: those that were in ALARM."""

    service_deployment_arn: str
    status: str
    reason: str | None = None
    rollback_revision: str | None = None
    failure_count: int | None = None
    tripped: str | None = None
    alarms: tuple[str, ...] = ()


class ServicePlan(msgspec.Struct, frozen=True):
    """`start`: (deployment id, count). `healthy`: tasks that count as healthy for the first time. `accounted`: stopped
    tasks that need no further notice. `said`: the pass in one sentence. `verdicts` by task ARN, for whoever asks why.
    `weights`: what listener rules should forward to from now on. `start_on`: (deployment id, hosts), a task on each of
    them; `start_in`: (deployment id, zone), one task in that zone. `waits_for_room`: look again when a task leaves an
    instance of the cluster. `moved`: (deployment id, id of the one that takes over its tasks), before anything else.
    `task_sets`: those that changed; `gone`: the ARNs of those that are over."""

    service: Service
    start: tuple[tuple[str, int], ...] = ()
    start_on: tuple[tuple[str, tuple[Host, ...]], ...] = ()
    waits_for_room: bool = False
    stop: tuple[StopOrder, ...] = ()
    healthy: tuple[str, ...] = ()
    accounted: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    outcomes: tuple[DeploymentOutcome, ...] = ()
    said: str = ""
    again_after: float | None = None
    verdicts: Mapping[str, Verdict] = {}
    weights: tuple[Weights, ...] = ()
    moved: tuple[tuple[str, str], ...] = ()
    start_in: tuple[tuple[str, str], ...] = ()
    task_sets: tuple[TaskSet, ...] = ()
    gone: tuple[str, ...] = ()
