"""The service controller: asks `decide/service` what each service does next and writes the answer in one transaction.

Starting a task is writing its record; stopping one is writing that it should stop: the task controller does the rest.
A pass over a service reads that service, its tasks and their targets, never anything else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from moorage.control.daemons import WaitingDaemons, daemon_facts
from moorage.control.deployment_records import came_up, note_outcome, note_started, take_over, to_rebalance, zones_for
from moorage.control.held_verdicts import HeldVerdicts
from moorage.control.instance_placement import Unplaced, event_of, is_ec2, on_leaving_instances, place_tasks
from moorage.control.loop import Loop, Pass
from moorage.control.ports import HookCaller, NoFunctions
from moorage.control.provider_starts import Lacking, event_of_starts, provider_starts
from moorage.control.service_events import add_event
from moorage.control.task_factory import new_service_task
from moorage.control.task_sets import name_in_events, revision_of, task_sets_of, write_task_sets
from moorage.control.traffic_shift import HookCalls, note_shift, revisions_of, rules_of, write_weights
from moorage.decide.capacity_placement import Start, Starts
from moorage.decide.health import TargetFact, Verdict
from moorage.decide.placement.hosts import Host
from moorage.decide.placement.place import Placed
from moorage.decide.scheduler import decide
from moorage.decide.service import (
    FreshIds,
    ServicePlan,
    ServiceSnapshot,
)
from moorage.domain import sentences
from moorage.domain.capacity_provider import SpotShortage
from moorage.domain.clock import Clock, Ids
from moorage.domain.container_instance import ContainerInstance
from moorage.domain.scope import Scope
from moorage.domain.service import Service
from moorage.domain.target_group import Target, TargetHealth
from moorage.domain.task import Task
from moorage.domain.task_set import TaskSet
from moorage.store.api import Change, StoreApi, Transaction, View
from moorage.store.capacity_queries import spot_shortage
from moorage.store.elbv2_queries import target_state
from moorage.store.tables.ecs import (
    SERVICES,
    TASK_DEFINITIONS,
    TASKS,
)

# Services with so many tasks are looked at once for all that happens within so many seconds per task.
LARGE, REST_PER_TASK = 100, 0.0001
_NOTHING_JUDGED: Mapping[str, Verdict] = {}


class ServiceController:
    """`hooks`: who runs the functions of lifecycle hooks; by default nobody does, and a stage that has one fails."""

    def __init__(self, store: StoreApi, clock: Clock, ids: Ids, hooks: HookCaller | None = None) -> None:
        self._hooks = HookCalls(store, clock, hooks or NoFunctions())
        self._store = store
        self._clock = clock
        self._ids = ids
        self.loop = Loop("service", self._reconcile, workers=32)
        self._verdicts = HeldVerdicts()
        self._unplaced = Unplaced()
        self._waiting_daemons = WaitingDaemons()
        self._lacking = Lacking()
        self._by_target: dict[tuple[str, int], tuple[str, str]] = {}
        """The service and the task (ARNs) that a target is."""
        self._end_watch: Callable[[], None] = lambda: None

    def start(self) -> None:
        self._end_watch = self._store.watch(self._changed)
        for task in self._store.find(TASKS, "live", True):
            self._remember(task)
        for service in self._store.all(SERVICES):
            if service.status != "INACTIVE":
                self.loop.wake(service.arn)

    async def close(self) -> None:
        self._end_watch()
        await self.loop.close()
        await self._hooks.close()

    def explain(self, service_arn: str) -> str | None:
        return self.loop.said(service_arn)

    def verdicts(self, service_arn: str) -> Mapping[str, Verdict]:
        """The last verdict over each living task, by task ARN."""
        return self._verdicts.of(service_arn)

    def owner_of(self, target_id: str, port: int) -> str | None:
        """The service whose living task is that target."""
        return self._by_target.get((target_id, port), (None, None))[0]

    # --- being woken -------------------------------------------------------------------------------------------------
    def _changed(self, changes: Sequence[Change[Any]]) -> None:
        for change in changes:
            record = change.after if change.after is not None else change.before
            if isinstance(record, Task):
                if record.service_arn is not None:
                    self._task_changed(change, record)
            elif isinstance(record, Service):
                if change.after is None or record.status == "INACTIVE":
                    self.loop.forget(record.arn)
                    self._verdicts.forget(record.arn)
                    self._unplaced.settle(record.arn)
                    self._waiting_daemons.note(record, waits=False)
                else:
                    self.loop.wake(record.arn)
            elif isinstance(record, SpotShortage):
                for service_arn in self._lacking.concerned(record):
                    self.loop.wake(service_arn)
            elif isinstance(record, TaskSet):
                self.loop.wake(record.service_arn)
            elif isinstance(record, Target | TargetHealth):
                owner = self._by_target.get((record.id, record.port))
                if owner is not None:
                    self._verdicts.doubt(*owner)
                    self.loop.wake(owner[0])
            if isinstance(record, ContainerInstance) or (isinstance(record, Task) and _left_its_instance(change)):
                # Daemons first: what they need is not for others to take.
                for service_arn in self._waiting_daemons.concerned(self._store, record):
                    self.loop.wake(service_arn)
                for service_arn in self._unplaced.concerned(self._store, record):
                    self.loop.wake(service_arn)
            if isinstance(record, ContainerInstance) and came_up(change):
                for service_arn in to_rebalance(self._store, record.cluster_arn):
                    self.loop.wake(service_arn)

    def _task_changed(self, change: Change[Any], task: Task) -> None:
        assert task.service_arn is not None
        if change.after is None or task.last_status == "STOPPED":
            for place in task.target_places:
                self._by_target.pop((place.id, place.port), None)
        else:
            self._remember(task)
        self.loop.wake(task.service_arn)

    def _remember(self, task: Task) -> None:
        if task.service_arn is not None:
            for place in task.target_places:
                self._by_target[(place.id, place.port)] = (task.service_arn, task.arn)

    # --- a pass ------------------------------------------------------------------------------------------------------
    async def _reconcile(self, arn: str) -> Pass:
        service = self._store.get(SERVICES, arn)
        if service is None or service.status == "INACTIVE":
            return Pass("no action: the service is deleted")
        now = self._clock.now()
        scope = Scope(service.account, service.region)
        cluster, name = arn.rsplit("/", 2)[-2:]
        fresh = FreshIds(
            deployment=f"ecs-svc/{self._ids.digits(19)}",
            service_deployment_arn=scope.arn("ecs", f"service-deployment/{cluster}/{name}/{self._ids.url_safe(21)}"),
        )
        plan = await self._store.update(lambda tx: self._write(tx, arn, fresh, now))
        self._hooks.make(plan.service)
        why = self._unplaced.why(arn)
        said = plan.said if why is None else f"{plan.said}. Not placed: {why}"
        return Pass(said, plan.again_after, rest=_rest(len(plan.verdicts)))

    def _write(self, tx: Transaction, arn: str, fresh: FreshIds, now: float) -> ServicePlan:
        """Decides on the newest records and writes the plan: one transaction, so nothing can slip in between."""
        service = tx.get(SERVICES, arn)
        if service is None:
            raise RuntimeError(f"{arn} vanished between two lines")
        held = self._verdicts.holding(service, tx.find(TASKS, "service", arn))
        snapshot = snapshot_of(tx, service, fresh, held)
        plan = decide(snapshot, now)
        self._verdicts.note(service, snapshot.tasks, plan.verdicts)
        tx.put(SERVICES, plan.service)
        note_started(tx, plan.service, now)
        write_task_sets(tx, plan)
        for old, new in plan.moved:
            take_over(tx, arn, old, new)
        for wanted in plan.weights:
            write_weights(tx, wanted)
        note_shift(tx, service.shift, plan.service, now)
        for task_arn in plan.healthy:
            task = tx.get(TASKS, task_arn)
            if task is not None:
                tx.put(TASKS, replace(task, became_healthy_at=now))
        for task_arn in plan.accounted:
            task = tx.get(TASKS, task_arn)
            if task is not None:
                tx.put(TASKS, replace(task, accounted=True))
        for message in plan.events:
            add_event(tx, arn, message, now)
        for order in plan.stop:
            task = tx.get(TASKS, order.task_arn)
            if task is not None and task.desired_status != "STOPPED":
                tx.put(
                    TASKS,
                    replace(
                        task,
                        desired_status="STOPPED",
                        stop_code="ServiceSchedulerInitiated",
                        stopped_reason=order.reason,
                        stopping_at=now,
                        version=task.version + 1,
                    ),
                )
        self._unplaced.settle(arn)
        self._lacking.note(plan.service, lacks=False)
        self._waiting_daemons.note(plan.service, waits=plan.waits_for_room)
        for deployment_id, count in plan.start:
            self._start(tx, plan.service, deployment_id, count, now)
        for deployment_id, hosts in plan.start_on:
            self._start(tx, plan.service, deployment_id, len(hosts), now, hosts)
        for deployment_id, zone in plan.start_in:
            self._start(tx, plan.service, deployment_id, 1, now, zone=zone)
        for outcome in plan.outcomes:
            note_outcome(tx, outcome, now)
        return plan

    def _start(
        self,
        tx: Transaction,
        service: Service,
        deployment_id: str,
        count: int,
        now: float,
        chosen: Sequence[Host] | None = None,
        zone: str | None = None,
    ) -> None:
        """`chosen`: where to, when that is decided already. `zone`: they are moved to this availability zone."""
        revision = revision_of(tx, service, deployment_id)
        definition = tx.get(TASK_DEFINITIONS, revision.task_definition_arn) if revision is not None else None
        assert revision is not None
        assert definition is not None
        living = [t for t in tx.find(TASKS, "service", service.arn) if t.desired_status == "RUNNING"]
        zones = Counter(t.availability_zone for t in living)
        subnets = Counter(t.interface.subnet_id for t in living if t.interface is not None)
        providers = Counter(t.capacity_provider for t in living if t.capacity_provider is not None)
        where: Sequence[Start] = [Start(None)] * count
        placed = None
        seed = f"{deployment_id}/{now}"
        if chosen is not None:
            where = [Start(None, host) for host in chosen]
        elif revision.strategy:
            found = provider_starts(tx, service, revision, definition, count, providers, now, seed=seed, zone=zone)
            where = found.starts
            self._note_missing(tx, service, found, now)
        elif is_ec2(revision):
            placed = place_tasks(tx, service, revision, definition, count, seed, zone)
            where = [Start(None, host) for host in placed.hosts]
        started: list[str] = []
        for start in where:
            task = new_service_task(
                tx, self._ids, service, deployment_id, revision, definition, now, zones, subnets, start, zone
            )
            tx.put(TASKS, task)
            started.append(task.id)
            zones[task.availability_zone] += 1
            if task.interface is not None:
                subnets[task.interface.subnet_id] += 1
        if started and zone is not None:
            add_event(tx, service.arn, sentences.rebalance_started(service.name, zone, started), now)
        elif started:
            add_event(tx, service.arn, sentences.started(name_in_events(service, deployment_id), started), now)
        if placed is not None and len(started) < count and zone is not None:
            add_event(tx, service.arn, sentences.rebalance_no_place(service.name, zone), now)
        elif placed is not None and len(started) < count:
            self._unplaced.note(service, placed)
            add_event(tx, service.arn, event_of(service, placed), now)

    def _note_missing(self, tx: Transaction, service: Service, found: Starts, now: float) -> None:
        """Tasks that their capacity providers have no room for: the event, and when to look again."""
        event = event_of_starts(service, found)
        if event is not None:
            add_event(tx, service.arn, event, now)
        if found.refused_providers:
            self._unplaced.note(service, Placed((), found.refused, ()))
        if found.lacking:
            self._lacking.note(service, lacks=True)
            left = spot_shortage(tx, Scope(service.account, service.region), now)
            self.loop.wake_after(service.arn, left or 0.0)


def _rest(tasks: int) -> float:
    """A pass costs some microseconds for each task: that of a large service waits until there is something to it.
    50 tasks → none, 500 → 0.05 s, 5,000 → 0.5 s."""
    return tasks * REST_PER_TASK if tasks >= LARGE else 0.0


def _left_its_instance(change: Change[Any]) -> bool:
    """A task stopped for good: what it reserved on its instance is free."""
    after, before = change.after, change.before
    gone = after is None or after.last_status == "STOPPED"
    return gone and before is not None and before.instance is not None and before.last_status != "STOPPED"


def snapshot_of(
    view: View, service: Service, fresh: FreshIds, judged: Mapping[str, Verdict] = _NOTHING_JUDGED
) -> ServiceSnapshot:
    """Everything that the decision over one service looks at. `judged`: verdicts that still hold."""
    tasks = tuple(view.find(TASKS, "service", service.arn))
    documents = {}
    for task in tasks:
        if task.task_definition_arn not in documents:
            definition = view.get(TASK_DEFINITIONS, task.task_definition_arn)
            assert definition is not None, "a task definition outlives its tasks"
            documents[task.task_definition_arn] = definition.document
    revisions = revisions_of(view, service) if service.shift is not None else {}
    return ServiceSnapshot(
        service=service,
        revisions=revisions,
        rules=rules_of(view, revisions),
        documents=documents,
        tasks=tasks,
        ended=tuple(view.find(TASKS, "service_unaccounted", service.arn)),
        targets={t.arn: facts for t in tasks if t.arn not in judged and (facts := _targets_of(view, t))},
        fresh=fresh,
        leaving=on_leaving_instances(view, tasks),
        zones=zones_for(view, service),
        daemon=daemon_facts(view, service, tasks) if _is_daemon(service) else None,
        task_sets=task_sets_of(view, service),
        judged=judged,
    )


def _is_daemon(service: Service) -> bool:
    return service.scheduling_strategy == "DAEMON" and service.status == "ACTIVE"


def _targets_of(view: View, task: Task) -> dict[str, TargetFact]:
    if not task.targets_registered:
        return {}
    facts = {}
    for place in task.target_places:
        arn = place.target_group_arn
        state = target_state(view, arn, place.id, place.port)
        facts[arn] = TargetFact(arn, place.container_port, state.state, state.description or "")
    return facts
