"""Blue/green, linear and canary deployments as far as they touch records: weights on listener rules, what the service
deployment shows, and the calls of lifecycle hooks. What should happen is decided in `decide/shifting.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from moorage.control.ports import HookCaller, HookRequest
from moorage.decide.rollout import hooks
from moorage.decide.rollout.hooks import HookAnswer
from moorage.decide.rollout.traffic_shift import Weights, with_weights
from moorage.domain.clock import Clock
from moorage.domain.load_balancer import Action, Rule
from moorage.domain.scope import Scope
from moorage.domain.service import HookRun, Revision, Service, Shift
from moorage.store.api import StoreApi, Transaction, View
from moorage.store.elbv2_queries import put_listener, put_rule, rule_of
from moorage.store.tables.ecs import REVISIONS, SERVICE_DEPLOYMENTS, SERVICES

log = logging.getLogger(__name__)


def actions_of(view: View, arn: str) -> tuple[Action, ...] | None:
    record = rule_of(view, arn)
    return record.actions if isinstance(record, Rule) else record.default_actions if record is not None else None


def revisions_of(view: View, service: Service) -> dict[str, Revision]:
    """The revisions that traffic shifts between, by ARN."""
    found = {d.revision_arn: view.get(REVISIONS, d.revision_arn) for d in service.deployments}
    return {arn: revision for arn, revision in found.items() if revision is not None}


def rules_of(view: View, revisions: Mapping[str, Revision]) -> dict[str, tuple[Action, ...]]:
    """Actions of every production and test rule that the revisions name."""
    found: dict[str, tuple[Action, ...]] = {}
    for revision in revisions.values():
        for ref in revision.load_balancers:
            advanced = ref.advanced_configuration or {}
            for arn in (advanced.get("productionListenerRule"), advanced.get("testListenerRule")):
                actions = actions_of(view, str(arn)) if arn else None
                if actions is not None:
                    found[str(arn)] = actions
    return found


def write_weights(tx: Transaction, wanted: Weights) -> None:
    """A rule that is gone is left alone: on the way there the deployment has noticed, on the way back nobody is helped."""
    record = rule_of(tx, wanted.rule_arn)
    if isinstance(record, Rule):
        put_rule(tx, replace(record, actions=with_weights(record.actions, wanted)))
    elif record is not None:
        put_listener(tx, replace(record, default_actions=with_weights(record.default_actions, wanted)))


def note_shift(tx: Transaction, before: Shift | None, service: Service, now: float) -> None:
    """Copies how far the deployment is into the service deployment that the API shows."""
    shift = service.shift or before
    if shift is not None and service.shift is None and service.status == "ACTIVE":
        # It is over: the last thing was CLEAN_UP, however short.
        shift = replace(shift, stage="CLEAN_UP", hooks=())
    record = tx.get(SERVICE_DEPLOYMENTS, shift.service_deployment_arn) if shift is not None else None
    if shift is None or record is None:
        return
    # The stage before each shift has no name of its own in the API (§5.2, stage 7).
    stage = shift.stage
    if stage == "PRE_PRODUCTION_TRAFFIC_SHIFT":
        stage = "PRODUCTION_TRAFFIC_SHIFT" if shift.step else "POST_TEST_TRAFFIC_SHIFT"
    changed = replace(
        record,
        lifecycle_stage=stage,
        production_percent=shift.percent if shift.blue is not None else 100.0,
        test_percent=shift.test_percent if shift.blue is not None else 100.0,
        hooks=_told(record.hooks, before.hooks if before is not None else (), shift.hooks, now),
    )
    if changed != record:
        tx.put(SERVICE_DEPLOYMENTS, replace(changed, updated_at=now))


def _told(
    known: tuple[HookRun, ...], before: tuple[HookRun, ...], running: tuple[HookRun, ...], now: float
) -> tuple[HookRun, ...]:
    """The hooks that a service deployment shows: those that run, and how the earlier ones ended, oldest first. Of those
    that nobody waits for any more (their stage was left for another reason) nothing is told."""
    found = {run.hook_id: run for run in (*known, *hooks.timed_out(before, now), *running)}
    waits = {run.hook_id for run in running}
    pending = ("AWAITING_ACTION", "IN_PROGRESS")
    return tuple(run for run in found.values() if run.hook_id in waits or run.status not in pending)


class HookCalls:
    """Calls the functions of lifecycle hooks in the background and writes what they said. A call that was under way when
    the control plane ended is made again, with the same execution id."""

    def __init__(self, store: StoreApi, clock: Clock, caller: HookCaller) -> None:
        self._store = store
        self._clock = clock
        self._caller = caller
        self._running: dict[str, asyncio.Task[None]] = {}

    def make(self, service: Service) -> None:
        """Starts the calls that are due and not under way."""
        if service.shift is None:
            return
        now = self._clock.now()
        for run in service.shift.hooks:
            due = run.status == "IN_PROGRESS" and (run.again_at or 0.0) <= now
            if due and run.hook_id not in self._running:
                task = asyncio.get_running_loop().create_task(self._call(service, run), name=f"hook {run.hook_id}")
                self._running[run.hook_id] = task
                task.add_done_callback(lambda _, id=run.hook_id: self._running.pop(id, None))  # type: ignore[misc]

    async def close(self) -> None:
        calls = list(self._running.values())
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    async def _call(self, service: Service, run: HookRun) -> None:
        request = HookRequest(
            Scope(service.account, service.region),
            run.hook.hook_target_arn or "",
            run.hook.role_arn,
            event(service, run),
        )
        try:
            answer = await self._caller.call(request)
        except Exception as error:
            log.warning("the lifecycle hook %s gave no answer: %r", run.hook.hook_target_arn, error)
            answer = HookAnswer(failed=True)

        def write(tx: Transaction) -> None:
            current = tx.get(SERVICES, service.arn)
            if current is None or current.shift is None or run not in current.shift.hooks:
                return
            after = hooks.answered(run, answer, self._clock.now())
            runs = tuple(after if one == run else one for one in current.shift.hooks)
            tx.put(SERVICES, replace(current, shift=replace(current.shift, hooks=runs)))

        await self._store.update(write)


def event(service: Service, run: HookRun) -> dict[str, Any]:
    """What the function gets (§5.4). Weights are there only where traffic moves."""
    shift = service.shift
    assert shift is not None
    revisions = {d.id: d.revision_arn for d in service.deployments}
    green, blue = revisions.get(shift.green, ""), revisions.get(shift.blue or "")

    def split(percent: float, stage: str) -> dict[str, float]:
        if stage not in run.stage or blue is None:
            return {}
        return {green: percent, blue: 100.0 - percent}

    return {
        "executionId": run.execution_id,
        "lifecycleStage": run.stage,
        "resourceArn": shift.service_deployment_arn,
        "executionDetails": {
            "serviceArn": service.arn,
            "targetServiceRevisionArn": green,
            "testTrafficWeights": split(shift.test_percent, "TEST_TRAFFIC_SHIFT"),
            "productionTrafficWeights": split(shift.percent, "PRODUCTION_TRAFFIC_SHIFT"),
        },
        "hookDetails": run.details,
    }
