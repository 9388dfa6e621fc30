"""What must never happen to deployments: how they end, what a rollback goes back to, what the events tell, and what the
rules of load balancers forward to meanwhile.

Told of every change in order, as `invariants.py` is. Source: semantics ecs-services §3.6, §4, §5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from moorage.domain.load_balancer import Action, Forward, WeightedTargetGroup
from moorage.domain.service import ENDED, Service, ServiceEvent
from moorage.store.api import Change, StoreApi
from moorage.store.tables.ecs import REVISIONS, SERVICE_DEPLOYMENTS, SERVICE_EVENTS, SERVICES
from moorage.store.tables.elbv2 import LISTENERS, RULES


class DeploymentInvariants:
    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._good: dict[str, str] = {}
        """By service: the revision of its last deployment that was COMPLETED."""
        self._last: dict[str, ServiceEvent] = {}
        self._begun: set[str] = set()
        """Deployments that have begun to shift traffic: they found the rules in order, and answer for them from then on."""
        self._store: StoreApi | None = None

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
        elif change.table is SERVICE_EVENTS and change.before is None and change.after is not None:
            self._event(change.after)

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
            if newly_back and after.shift is None and good is not None and one.revision_arn != good:
                self._note(f"{after.name} is rolled back to {one.revision_arn}, the last good one is {good}")
        for one in after.deployments:
            earlier = was.get(one.id)
            if one.rollout_state == "COMPLETED" and (earlier is None or earlier.rollout_state != "COMPLETED"):
                self._good[after.arn] = one.revision_arn

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

    def _event(self, event: ServiceEvent) -> None:
        before = self._last.get(event.service_arn)
        if before is not None and before.created_at <= event.created_at and event.sequence != before.sequence + 1:
            self._note(f"event {event.sequence} of {event.service_arn} follows {before.sequence}: {event.message}")
        if before is not None and event.created_at < before.created_at:
            self._note(f"an event of {event.service_arn} is older than the one before: {event.message}")
        self._last[event.service_arn] = event

    # --- at rest -----------------------------------------------------------------------------------------------------
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
