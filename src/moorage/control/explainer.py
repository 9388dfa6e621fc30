"""Answers "what is it doing, and why?" about anything that has a name: finds what is meant, gathers its records and the
sentences of the controllers, and lets the pure part (`explain.py`, `explain_task.py`, `explain_traffic.py`) tell it.

Writes nothing and wakes nobody. What a pass over a service would decide now is asked of `decide/service` itself, so that
times that are left are those of this moment and not of the last pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from moorage.control import explain_capacity
from moorage.control.daemons import daemon_facts
from moorage.control.explain import DeploymentRecords, ServiceRecords, explain_deployment, explain_service
from moorage.control.explain_express import explain_unmade, express_lines
from moorage.control.explain_instance import InstanceRecords, explain_instance
from moorage.control.explain_names import Kind, Subject, find, is_id, nearest, task_subject, within
from moorage.control.explain_placement import refusals_of
from moorage.control.explain_schedulers import explain_task_set
from moorage.control.explain_task import Place, TaskRecords, explain_task
from moorage.control.explain_traffic import (
    BalancerRecords,
    GroupRecords,
    TargetRecords,
    explain_load_balancer,
    explain_target,
    explain_target_group,
    time_budget,
)
from moorage.control.explain_words import Explanation
from moorage.control.instance_placement import document_of
from moorage.control.plane import ControlPlane
from moorage.control.service import snapshot_of
from moorage.control.task_sets import task_sets_of
from moorage.decide.health import TargetFact, Verdict, judge
from moorage.decide.placement.daemons import standings
from moorage.decide.placement.hosts import hosts_of
from moorage.decide.scheduler import decide
from moorage.decide.service import FreshIds, ServicePlan
from moorage.domain.clock import Clock
from moorage.domain.errors import Permanent
from moorage.domain.express import ExpressService
from moorage.domain.load_balancer import LoadBalancer, forwarded_to
from moorage.domain.scope import Scope
from moorage.domain.service import Deployment, Service
from moorage.domain.target_group import NOT_REGISTERED, Target, TargetGroup, deregistration_delay, target_key
from moorage.domain.task import Task
from moorage.domain.task_set import TaskSet, arn_of
from moorage.store.elbv2_queries import current_health, load_balancers_of, target_state
from moorage.store.memory import Store
from moorage.store.tables.codedeploy import CODE_DEPLOYMENTS
from moorage.store.tables.ecs import (
    CAPACITY_PROVIDERS,
    CLUSTERS,
    CONTAINER_INSTANCES,
    EXPRESS_SERVICES,
    REVISIONS,
    SERVICE_DEPLOYMENTS,
    SERVICE_EVENTS,
    SERVICES,
    TASK_DEFINITIONS,
    TASK_SETS,
    TASKS,
)
from moorage.store.tables.elbv2 import LISTENERS, LOAD_BALANCERS, RULES, TARGET_GROUPS, TARGETS

HISTORY = 50
"""Stopped tasks of a service that are read back from disk."""
LISTED, MOST_LISTED = 200, 5_000
"""Stopped tasks that are listed: unless more are asked for, and at most."""
MOST_NAMES = 8

Urls = Callable[[LoadBalancer], tuple[str, ...]]


class Unknown(Permanent):
    """Nothing has that name."""


class Ambiguous(Permanent):
    """Several things have that name; `candidates` are the commands that name one each."""

    def __init__(self, what: str, candidates: Sequence[str]) -> None:
        super().__init__(what, "", f"Say which: {candidates[0]}")
        self.candidates = tuple(candidates)


def _no_urls(_balancer: LoadBalancer) -> tuple[str, ...]:
    return ()


class Explainer:
    """`proxy`: the proxy's own status. `urls`: where a load balancer answers on this machine."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        plane: ControlPlane,
        *,
        proxy: Callable[[], Mapping[str, Any]] = dict,
        urls: Urls = _no_urls,
    ) -> None:
        self._store = store
        self._clock = clock
        self._plane = plane
        self._proxy = proxy
        self._urls = urls

    async def explain(self, words: str, kind: Kind | None, scope: Scope, cluster: str = "") -> Explanation:
        """`words`: an ARN or a name, looked up in `scope` first, and only in `cluster` if one is named. Raises `Unknown`
        and `Ambiguous`."""
        found = nearest(find(self._store, words, kind), scope)
        if cluster:
            found = within(found, cluster)
        if not found and kind in (None, "task"):
            forgotten = await self._stopped_long_ago(words, scope, cluster)
            if len(forgotten) > 1:
                raise _ambiguous(words, tuple(task_subject(one) for one in forgotten))
            if forgotten:
                return explain_task(self.records(forgotten[0]), self._clock.now())
        if not found:
            raise self._unknown(words, kind, scope)
        if len(found) > 1:
            raise _ambiguous(words, found)
        subject, now = found[0], self._clock.now()
        match subject.kind:
            case "service":
                service = self._store.get(SERVICES, subject.key)
                if service is None:
                    return self._unmade(subject)
                return explain_service(await self._service(service), now)
            case "instance":
                return explain_instance(self._instance(subject), now)
            case "capacity-provider":
                provider = self._store.get(CAPACITY_PROVIDERS, subject.key)
                assert provider is not None
                return explain_capacity.explain_provider(self._store, provider, now)
            case "deployment" if (one := self._task_set(subject)) is not None:
                service = self._store.get(SERVICES, one.service_arn)
                assert service is not None, "a service outlives its task sets"
                records = await self._service(service)
                return explain_task_set(one, service, records.tasks, records.revisions, records.events, now)
            case "deployment":
                return explain_deployment(await self._deployment(subject), now)
            case "task":
                task = self._store.get(TASKS, subject.key)
                assert task is not None
                observed = await self._plane.tasks.steps.observed(task)
                return explain_task(replace(self.records(task), observed=observed), self._clock.now())
            case "load-balancer":
                balancer = self._store.get(LOAD_BALANCERS, subject.key)
                assert balancer is not None
                return explain_load_balancer(self._balancer(balancer), now)
            case "target-group":
                group = self._store.get(TARGET_GROUPS, subject.key)
                assert group is not None
                return explain_target_group(self._group(group), now)
            case "target":
                target = self._store.get(TARGETS, subject.key)
                group = self._store.get(TARGET_GROUPS, target.target_group_arn) if target is not None else None
                if target is None or group is None:
                    raise self._unknown(words, kind, scope)
                return explain_target(self._target(target), self._group(group), now)

    # --- services ----------------------------------------------------------------------------------------------------
    def plan(self, service: Service) -> ServicePlan:
        """What a pass over it would decide at this moment."""
        nobody = FreshIds(deployment="ecs-svc/(a new one)", service_deployment_arn="")
        return decide(snapshot_of(self._store, service, nobody), self._clock.now())

    async def _service(self, service: Service) -> ServiceRecords:
        plan = self.plan(service)
        daemon = service.scheduling_strategy == "DAEMON" and service.status == "ACTIVE"
        tasks = self._store.find(TASKS, "service", service.arn)
        said = self._plane.services.explain(service.arn) or ""
        return ServiceRecords(
            service=service,
            plan=plan,
            tasks=tuple(self.records(task, plan.verdicts.get(task.arn)) for task in tasks),
            ended=await self.ended(service.arn),
            revisions={one.arn: one for one in self._store.find(REVISIONS, "service", service.arn)},
            events=tuple(sorted(self._store.find(SERVICE_EVENTS, "service", service.arn), key=lambda e: -e.sequence)),
            trouble=said if "(attempt " in said else "",
            refused=None if daemon else refusals_of(self._store, service),
            standings=tuple(standings(daemon_facts(self._store, service, tasks), tasks)) if daemon else None,
            task_sets=task_sets_of(self._store, service),
            code_deploy=self._code_deploy(service),
            express=tuple(express_lines(*self._express(service.arn))),
            capacity=explain_capacity.of_service(self._store, service, self._clock.now()),
        )

    def _code_deploy(self, service: Service) -> tuple[str, ...]:
        """The CodeDeploy deployment that is under way, and what it waits for."""
        controller = self._plane.code_deploy
        if service.controller != "CODE_DEPLOY" or controller is None:
            return ()
        under_way = self._store.find(CODE_DEPLOYMENTS, "service", service.arn)
        return tuple(
            f"{one.id} is {one.status} ({one.phase}): {controller.explain(one.id) or 'about to begin'}"
            for one in under_way
        )

    def _task_set(self, subject: Subject) -> TaskSet | None:
        """The living task set of that id."""
        service_arn, id = subject.key.split(" ", 1)
        return self._store.get(TASK_SETS, arn_of(service_arn, id))

    async def ended(self, service_arn: str, limit: int = HISTORY) -> tuple[Task, ...]:
        """The tasks of a service that stopped or should stop, newest first, also those that left memory."""
        mine = self._store.find(TASKS, "service_all", service_arn)
        kept = await self._store.history(TASKS, "service_all", service_arn, limit)
        tasks = {task.arn: task for task in (*kept, *mine) if task.desired_status == "STOPPED"}
        return tuple(sorted(tasks.values(), key=lambda t: -(t.stopping_at or t.stopped_at or t.created_at)))

    async def _deployment(self, subject: Subject) -> DeploymentRecords:
        arn, id = subject.key.split(" ", 1)
        service = self._store.get(SERVICES, arn)
        assert service is not None, "the revisions of a service leave memory with it"
        live: Deployment | None = next((one for one in service.deployments if one.id == id), None)
        revisions = self._store.find(REVISIONS, "service", arn)
        mine = next(
            (r for r in revisions if f"ecs-svc/{r.number}" == id or (live and r.arn == live.revision_arn)), None
        )
        records = self._store.find(SERVICE_DEPLOYMENTS, "service", arn)
        record = next((r for r in records if mine is not None and r.target_revision == mine.arn), None)
        if live is not None:
            record = self._store.get(SERVICE_DEPLOYMENTS, live.service_deployment_arn) or record
        return DeploymentRecords(id, await self._service(service), live, record, mine)

    # --- tasks -------------------------------------------------------------------------------------------------------
    async def stopped_long_ago(self, limit: int, cluster: str = "") -> list[Task]:
        """The tasks that the ECS API has forgotten, an hour after they stopped: of every cluster (or one, by name or ARN)
        the last `limit`, newest first."""
        found: list[Task] = []
        for one in self._store.all(CLUSTERS):
            if cluster in ("", one.name, one.arn):
                found += await self._store.history(TASKS, "cluster_status", (one.arn, "STOPPED"), limit)
        return found

    async def _stopped_long_ago(self, words: str, scope: Scope, cluster: str) -> tuple[Task, ...]:
        """Tasks that left memory: by their ARN or their id; by how their id begins those that `moor tasks --stopped`
        lists."""
        if ":task/" in words:
            return tuple(await self._store.history(TASKS, "key", words, 1))
        found: list[Task] = []
        for one in self._store.all(CLUSTERS) if is_id(words) else ():
            if cluster in ("", one.name, one.arn):
                arn = f"{one.arn.replace(':cluster/', ':task/')}/{words}"
                found += await self._store.history(TASKS, "key", arn, 1)
        for limit in (LISTED, MOST_LISTED) if is_id(words) and not found else ():
            found = [task for task in await self.stopped_long_ago(limit, cluster) if task.id.startswith(words)]
            if found:
                break
        return tuple(t for t in found if Scope(t.account, t.region) == scope) or tuple(found)

    def records(self, task: Task, verdict: Verdict | None = None) -> TaskRecords:
        """What is known of a task. `verdict`: the scheduler's, when it was asked already."""
        definition = self._store.get(TASK_DEFINITIONS, task.task_definition_arn)
        document = definition.document if definition is not None else None
        service = self._store.get(SERVICES, task.service_arn) if task.service_arn is not None else None
        places = self._places(task)
        if verdict is None and service is not None and document is not None and task.desired_status == "RUNNING":
            facts = {
                one.target_group_arn: TargetFact(
                    one.target_group_arn, one.port, one.state.state, one.state.description or ""
                )
                for one in places
                if task.targets_registered
            }
            verdict = judge(task, document, facts, float(service.health_check_grace_period or 0), self._clock.now())
        said = self._plane.tasks.explain(task.arn) or ""
        capacity = explain_capacity.of_task(self._store, task, self._clock.now())
        return TaskRecords(task, document, said, verdict, places, service, capacity=capacity)

    def drain_left(self, tasks: Iterable[Task]) -> float | None:
        """Seconds until the last target of those that stop has drained; None when none drains."""
        stopping = [task for task in tasks if task.desired_status == "STOPPED"]
        drains = [place.drain_left for task in stopping for place in self._places(task) if place.drain_left is not None]
        return max(drains, default=None)

    def _places(self, task: Task) -> tuple[Place, ...]:
        """Its target groups; a stopped task has none, its address may be another's by now."""
        if task.last_status == "STOPPED":
            return ()
        places = []
        for place in task.target_places:
            arn = place.target_group_arn
            key = target_key(arn, place.id, place.port)
            state = target_state(self._store, arn, place.id, place.port)
            if state == NOT_REGISTERED and (task.desired_status == "STOPPED" or task.last_status != "RUNNING"):
                continue
            said, (drain, budget) = self._plane.targets.said(key) or "", self._times(key)
            places.append(Place(arn, place.port, state, drain, said, budget))
        return tuple(places)

    def _times(self, key: str) -> tuple[float | None, str]:
        """Of a target: seconds that are left of its deregistration delay (None: it stays); what its health waits for."""
        target, now = self._store.get(TARGETS, key), self._clock.now()
        group = self._store.get(TARGET_GROUPS, target.target_group_arn) if target is not None else None
        if target is None or group is None:
            return None, ""
        if target.deregistered_at is not None:
            return max(0.0, target.deregistered_at + deregistration_delay(group) - now), ""
        health = current_health(self._store, target)
        return None, next(time_budget(health, group.health_check, now), "") if health is not None else ""

    # --- load balancing ----------------------------------------------------------------------------------------------
    def _balancer(self, balancer: LoadBalancer) -> BalancerRecords:
        listeners = sorted(self._store.find(LISTENERS, "load_balancer", balancer.arn), key=lambda one: one.port)
        rules = {
            one.arn: tuple(sorted(self._store.find(RULES, "listener", one.arn), key=lambda rule: rule.priority))
            for one in listeners
        }
        named = [arn for one in listeners for arn in forwarded_to(one.default_actions)]
        named += [arn for of_one in rules.values() for rule in of_one for arn in forwarded_to(rule.actions)]
        groups = {
            arn: self._group(group)
            for arn in dict.fromkeys(named)
            if (group := self._store.get(TARGET_GROUPS, arn)) is not None
        }
        return BalancerRecords(
            load_balancer=balancer,
            listeners=tuple(listeners),
            rules=rules,
            groups=groups,
            said=self._plane.explain(balancer.arn) or "",
            proxy=self._proxy(),
            urls=self._urls(balancer),
        )

    def _group(self, group: TargetGroup) -> GroupRecords:
        targets = self._store.find(TARGETS, "target_group", group.arn)
        return GroupRecords(
            group=group,
            targets=tuple(self._target(target) for target in targets),
            load_balancers=load_balancers_of(self._store, group.arn),
            said=self._plane.targets.said(group.arn) or "",
        )

    def _target(self, target: Target) -> TargetRecords:
        return TargetRecords(
            target=target,
            state=target_state(self._store, target.target_group_arn, target.id, target.port),
            health=current_health(self._store, target),
            said=self._plane.targets.said(target.key) or "",
            task=self._owner(target),
        )

    def _owner(self, target: Target) -> Task | None:
        """The living task of a service that has this address."""
        service_arn = self._plane.services.owner_of(target.id, target.port)
        mine = self._store.find(TASKS, "service", service_arn) if service_arn is not None else ()
        return next((t for t in mine if any((p.id, p.port) == (target.id, target.port) for p in t.target_places)), None)

    # --- container instances, Express Mode ---------------------------------------------------------------------------
    def _instance(self, subject: Subject) -> InstanceRecords:
        instance = self._store.get(CONTAINER_INSTANCES, subject.key)
        assert instance is not None
        tasks = self._store.find(TASKS, "container_instance", instance.arn)
        [host] = hosts_of([instance], lambda _arn: tasks, lambda task: document_of(self._store, task))
        waiting = []
        for service in self._store.find(SERVICES, "cluster", (instance.cluster_arn, "ACTIVE")):
            refused = refusals_of(self._store, service) or ()
            mine = next((one for one in refused if one.host.instance.arn == instance.arn), None)
            if mine is not None:
                waiting.append((service.name, mine))
        return InstanceRecords(
            host, tuple((task, document_of(self._store, task)) for task in tasks), tuple(waiting[:MOST_NAMES])
        )

    def _express(self, arn: str) -> tuple[ExpressService | None, str, int]:
        """What Express Mode wants, what its controller said last, and the port of this machine for HTTPS."""
        making = self._plane.express.explain(arn) if self._plane.express is not None else None
        said = "; ".join(one for one in (making, self._plane.express_scaling.explain(arn)) if one)
        port: int = self._proxy().get("ports", {}).get(443, 443)
        return self._store.get(EXPRESS_SERVICES, arn), said, port

    def _unmade(self, subject: Subject) -> Explanation:
        record, said, port = self._express(subject.key)
        assert record is not None, "one of the two is there"
        return explain_unmade(record, said, port)

    # --- what cannot be answered -------------------------------------------------------------------------------------
    def _unknown(self, words: str, kind: Kind | None, scope: Scope) -> Unknown:
        what = (kind or "service, task, deployment, container instance, load balancer, target group or target").replace(
            "-", " "
        )
        return Unknown(
            f"There is no {what} '{words}' in account {scope.account}, {scope.region}",
            self.existing(kind, scope),
            "See what runs: moor status",
        )

    def existing(self, kind: Kind | None, scope: Scope) -> str:
        """What there is instead, in one sentence."""
        names = {
            "service": [
                f"{s.cluster_arn.rsplit('/', 1)[-1]}/{s.name}"
                for s in self._store.find(SERVICES, "scope", (scope.account, scope.region))
                if s.status != "INACTIVE"
            ],
            "instance": [
                f"{i.ec2_instance_id} ({i.id[:8]})"
                for i in self._store.all(CONTAINER_INSTANCES)
                if (i.account, i.region) == (scope.account, scope.region) and i.status != "INACTIVE"
            ]
            if kind == "instance"
            else [],
            "load-balancer": [b.name for b in self._store.find(LOAD_BALANCERS, "scope", (scope.account, scope.region))],
            "target-group": [g.name for g in self._store.find(TARGET_GROUPS, "scope", (scope.account, scope.region))],
        }
        told = [
            f"{one.replace('-', ' ')}s {', '.join(sorted(found)[:MOST_NAMES])}"
            + (f" and {len(found) - MOST_NAMES} more" if len(found) > MOST_NAMES else "")
            for one, found in names.items()
            if found and kind in (None, one, "task", "deployment", "target")
        ]
        return f"there are {'; '.join(told)}" if told else "there are none yet"


def _ambiguous(words: str, found: Sequence[Subject]) -> Ambiguous:
    scopes = {one.scope for one in found}
    commands = []
    for one in found[:MOST_NAMES]:
        where = f" --account {one.scope.account} --region {one.scope.region}" if len(scopes) > 1 else ""
        commands.append(f"moor explain {one.kind} {one.name}{where}")
    return Ambiguous(f"'{words}' may mean {len(found)} things", commands)
