"""What must never happen to deployments: how they end, what a rollback goes back to, what the events tell, and what the
rules of load balancers forward to meanwhile.

Told of every change in order, as `invariants.py` is. Source: semantics ecs-services §3.6, §4, §5.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from moorage.domain.load_balancer import Action, Forward, Listener, Rule, WeightedTargetGroup
from moorage.domain.service import ENDED, Deployment, Service, ServiceEvent
from moorage.domain.task import Task
from moorage.simulation.alarms import SimulatedAlarms
from moorage.store.api import Change, StoreApi
from moorage.store.tables.ecs import REVISIONS, SERVICE_DEPLOYMENTS, SERVICE_EVENTS, SERVICES
from moorage.store.tables.elbv2 import LISTENERS, RULES

# Seconds after which an alarm has been noticed, and after which every request follows new weights.
NOTICED, SETTLES = 20.0, 4.9


class DeploymentInvariants:
    def __init__(self, note: Callable[[str], None], alarms: SimulatedAlarms) -> None:
        self._note = note
        self._alarms = alarms
        self._good: dict[str, str] = {}
        """By service: the revision of its last deployment that was COMPLETED."""
        self._last: dict[str, ServiceEvent] = {}
        self._begun: set[str] = set()
        """Deployments that have begun to shift traffic: they found the rules in order, and answer for them from then on."""
        self._left: dict[str, float] = {}
        self._store: StoreApi | None = None

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    def watch(self, store: StoreApi) -> None:
        self._store = store
        self._last = {}
        for service in store.all(SERVICES):
            for event in store.find(SERVICE_EVENTS, "service", service.arn):
                self._last[service.arn] = event

    def changed(self, change: Change[Any]) -> None:
        if change.table is SERVICES:
            if change.after is None:
                self._good.pop(change.key, None)
                self._last.pop(change.key, None)
            else:
                self._service_changed(change.before, change.after)
        elif change.table is RULES or change.table is LISTENERS:
            self._rule_changed(change)
        elif change.table is SERVICE_EVENTS and change.after is not None:
            if change.before is not None:
                self._note(f"event {change.before.sequence} was told anew: {change.before.message}")
            self._event(change.after)

    def _rule_changed(self, change: Change[Any]) -> None:
        """Remembers when a target group lost its last share of a rule."""
        before, after = (
            {one.arn for one in _forwarded(_actions_of(record)) if one.weight > 0} if record is not None else set()
            for record in (change.before, change.after)
        )
        for arn in before - after:
            self._left[arn] = self._now()

    def _service_changed(self, before: Service | None, after: Service) -> None:
        if before is None or before.status == "INACTIVE":
            self._good.pop(after.arn, None)
        if len({one.id for one in after.deployments}) != len(after.deployments):
            self._note(f"{after.name} lists one deployment twice")
        if after.deployments and [one.status for one in after.deployments].count("PRIMARY") != 1:
            self._note(f"{after.name} has not one PRIMARY deployment")
        was = {one.id: one for one in before.deployments} if before is not None else {}
        for one in after.deployments:
            earlier = was.get(one.id)
            newly_back = one.rollback_of is not None and (earlier is None or earlier.rollback_of != one.rollback_of)
            good = self._good.get(after.arn)
            rolls = before is not None and before.shift is None and after.shift is None
            if newly_back and before is not None and rolls and not _may_roll_back(before):
                self._note(f"{after.name} is rolled back, and nobody asked for that")
            if newly_back and after.shift is None and good is not None and one.revision_arn != good:
                self._note(f"{after.name} is rolled back to {one.revision_arn}, the last good one is {good}")
        for one in after.deployments:
            earlier = was.get(one.id)
            if one.rollout_state == "COMPLETED" and (earlier is None or earlier.rollout_state != "COMPLETED"):
                self._good[after.arn] = one.revision_arn
                self._no_alarm(after, one)
                self._baked(after, one)
            if one.rollout_state == "FAILED" and (earlier is None or earlier.rollout_state == "IN_PROGRESS"):
                self._stays_failed(before, after, one)
            if one.rollout_state == "IN_PROGRESS" and one.failures > (earlier.failures if earlier is not None else 0):
                self._breaker(after, one)
        shift = after.shift
        if shift is None:
            return
        if shift.entered and shift.direction == "forward" and shift.stage != "RECONCILE_SERVICE":
            self._begun.add(shift.green)
        is_newest = self._store is not None and self._store.get(SERVICES, after.arn) is after
        if self._store is not None and is_newest and shift.green in self._begun:
            # Else the store is ahead of this change, and of what its rules said then.
            for problem in _not_as_the_stage_says(self._store, after):
                self._note(problem)

    def _no_alarm(self, service: Service, one: Deployment) -> None:
        """No deployment succeeds while an alarm rings that watches over it. (A rollback may: the alarm is why.)"""
        for name in service.deployment_configuration.watched_alarms if one.rollback_of is None else ():
            rings_for = self._alarms.rings_for(name)
            if rings_for is not None and rings_for > NOTICED:
                self._note(f"{service.name}: {one.id} is COMPLETED, {name} has been in ALARM for {rings_for:.0f} s")

    def _baked(self, service: Service, one: Deployment) -> None:
        """A rolling deployment is watched for its bake time at least before it is COMPLETED; a rollback need not be."""
        configuration, lasted = service.deployment_configuration, one.updated_at - one.created_at
        minutes = configuration.bake_time_minutes if configuration.strategy == "ROLLING" else None
        if minutes and service.shift is None and one.rollback_of is None and lasted < 60 * minutes:
            self._note(f"{service.name}: {one.id} is COMPLETED after {lasted:.0f} s, its bake time is {minutes} min")

    def _stays_failed(self, before: Service | None, after: Service, one: Deployment) -> None:
        """A rolling deployment that fails, and stays PRIMARY, although it was to be rolled back and could be."""
        configuration, good = after.deployment_configuration, self._good.get(after.arn)
        breaker, alarms = configuration.circuit_breaker, configuration.alarms or {}
        tripped = breaker.enable and breaker.rollback and one.failures >= _threshold(after)
        if not tripped and not (one.alarms and alarms.get("rollback")):
            return
        by_request = before is None or before.stop_requested is not None or after.shift is not None
        if (
            one.status == "PRIMARY"
            and not by_request
            and one.rollback_of is None
            and good not in (None, one.revision_arn)
        ):
            self._note(f"{after.name}: {one.id} has FAILED and is not rolled back to {good}")

    def _breaker(self, service: Service, one: Deployment) -> None:
        """With the default threshold: half of the desired count, at least 3, at most 200."""
        breaker, shift = service.deployment_configuration.circuit_breaker, service.shift
        most = _threshold(service)
        if not breaker.enable or one.status != "PRIMARY" or one.failures < most:
            return
        if shift is not None and shift.direction != "forward":
            return
        self._note(
            f"{service.name}: {one.id} goes on after {one.failures} failures, the circuit breaker allows {most - 1}"
        )

    def _event(self, event: ServiceEvent) -> None:
        before = self._last.get(event.service_arn)
        if before is not None and before.created_at <= event.created_at and event.sequence != before.sequence + 1:
            self._note(f"event {event.sequence} of {event.service_arn} follows {before.sequence}: {event.message}")
        if before is not None and event.created_at < before.created_at:
            self._note(f"an event of {event.service_arn} is older than the one before: {event.message}")
        self._last[event.service_arn] = event

    # --- when the scheduler stops a task that serves -----------------------------------------------------------------
    def stopped(self, service: Service, stopped: Task, left: Sequence[Task]) -> None:
        """`left`: those of the service that still serve. While traffic shifts, no target group that production is forwarded
        to loses its last one."""
        store, shift = self._store, service.shift
        if store is None or shift is None or shift.blue is None or not service.desired_count:
            return
        for arn in {place.target_group_arn for place in stopped.target_places} & self._left.keys():
            if (age := self._now() - self._left[arn]) < SETTLES and shift.direction == "forward":
                self._note(f"{service.name}: {stopped.id} is stopped {age:.1f} s after traffic left {arn}")
        remaining = {place.target_group_arn for task in left for place in task.target_places}
        gone = {place.target_group_arn for place in stopped.target_places} - remaining
        revision = store.get(REVISIONS, service.deployments[0].revision_arn)
        for configured in revision.load_balancers if revision is not None else ():
            rule_arn = (configured.advanced_configuration or {}).get("productionListenerRule")
            for actions in _actions(store, rule_arn):
                weights = {one.arn: one.weight for one in _forwarded(actions)}
                for arn in gone:
                    if weights.get(arn, 0) > 0:
                        self._note(f"{service.name}: {stopped.id} was the last to serve in {arn}, which has {weights}")

    # --- at rest -----------------------------------------------------------------------------------------------------
    @staticmethod
    def records(store: StoreApi) -> Iterator[str]:
        """A service deployment has ended when its deployment has."""
        for service in store.all(SERVICES):
            going = {one.service_deployment_arn for one in service.deployments if one.rollout_state == "IN_PROGRESS"}
            for record in (
                store.find(SERVICE_DEPLOYMENTS, "service", service.arn) if service.controller == "ECS" else ()
            ):
                if record.status not in ENDED and record.arn not in going and service.shift is None:
                    yield f"{service.name}: the deployment of {record.arn[-21:]} has ended, its record is {record.status}"

    @staticmethod
    def at_rest(store: StoreApi) -> Iterator[str]:
        """What is wrong with the deployments of a world in which nothing goes on any more."""
        for service in store.all(SERVICES):
            if service.status != "ACTIVE" or service.controller != "ECS":
                continue
            for record in store.find(SERVICE_DEPLOYMENTS, "service", service.arn):
                if record.status not in ENDED:
                    yield f"{service.name} is stable, its service deployment {record.arn[-21:]} is {record.status}"
            if service.shift is not None:
                yield f"{service.name} is stable and still in stage {service.shift.stage}"
            yield from _not_forwarded(store, service)


def _not_forwarded(store: StoreApi, service: Service) -> Iterator[str]:
    """All requests of a service with two target groups go to the one in which its tasks are."""
    revision = store.get(REVISIONS, service.deployments[0].revision_arn)
    if revision is None or not revision.resolved:
        return
    for configured, arn in zip(revision.load_balancers, revision.resolved, strict=True):
        rule_arn = (configured.advanced_configuration or {}).get("productionListenerRule")
        for actions in _actions(store, rule_arn):
            weights = {one.arn: one.weight for one in _forwarded(actions)}
            if weights and weights.get(arn, 0) == 0:
                yield f"{service.name} has its tasks in {arn}, its rule forwards to {weights}"


def _not_as_the_stage_says(store: StoreApi, service: Service) -> Iterator[str]:
    """While traffic is shifted, the weights of the production rule are 100 together (1000 where tenths of a
    percent matter), and green has its share."""
    shift = service.shift
    if shift is None or shift.blue is None:
        return
    green = next((one for one in service.deployments if one.id == shift.green), None)
    revision = store.get(REVISIONS, green.revision_arn) if green is not None else None
    if revision is None or not revision.resolved:
        return
    for configured, arn in zip(revision.load_balancers, revision.resolved, strict=True):
        rule_arn = (configured.advanced_configuration or {}).get("productionListenerRule")
        for actions in _actions(store, rule_arn):
            weights = {one.arn: one.weight for one in _forwarded(actions)}
            if len(weights) < 2:
                continue  # nothing was shifted here yet
            total = sum(weights.values())
            share = 100 * weights.get(arn, 0) / max(1, total)
            # A deployment that supersedes another first moves its traffic to where it is to start from.
            is_told = shift.stage == "RECONCILE_SERVICE" or abs(share - shift.percent) < 0.1
            if total not in (100, 1000) or not is_told:
                yield (
                    f"{service.name} is in stage {shift.stage} with {shift.percent:g} % for {arn}, "
                    f"its rule forwards to {weights}"
                )


def _threshold(service: Service) -> int:
    return min(200, max(3, -(-service.desired_count // 2)))


def _may_roll_back(service: Service) -> bool:
    """Somebody asked for it: now, or beforehand."""
    configuration = service.deployment_configuration
    breaker, alarms = configuration.circuit_breaker, configuration.alarms or {}
    return service.stop_requested == "ROLLBACK" or (breaker.enable and breaker.rollback) or bool(alarms.get("rollback"))


def _actions_of(record: Rule | Listener) -> tuple[Action, ...]:
    return record.actions if isinstance(record, Rule) else record.default_actions


def _forwarded(actions: tuple[Action, ...]) -> Iterator[WeightedTargetGroup]:
    for action in actions:
        if isinstance(action, Forward):
            yield from action.target_groups


def _actions(store: StoreApi, rule_arn: str | None) -> Iterator[tuple[Action, ...]]:
    if rule_arn is None:
        return
    rule = store.get(RULES, rule_arn)
    if rule is not None:
        yield rule.actions
    for listener in store.all(LISTENERS):
        if listener.default_rule_arn == rule_arn:
            yield listener.default_actions
