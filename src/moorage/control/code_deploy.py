"""CodeDeploy: takes deployments of ECS services from phase to phase, by calling the APIs that people call.

What comes next is decided by `decide/code_deploy`; every call can be repeated (a token, or the same state again), so a kill
anywhere is made good by the next pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from moorage.control.loop import Loop, Pass
from moorage.control.ports import AwsCalls
from moorage.decide.code_deploy import Action, Known, advance, failed
from moorage.domain.clock import Clock
from moorage.domain.code_deployment import ENDED, CodeDeployment
from moorage.domain.errors import AwsError
from moorage.domain.scope import Scope
from moorage.domain.task_set import TaskSet, arn_of
from moorage.store.api import Change, StoreApi, Transaction
from moorage.store.tables.codedeploy import CODE_DEPLOYMENTS
from moorage.store.tables.ecs import SERVICES, TASK_SETS

RETRIES = 5
"""Refused calls in a row after which a deployment has failed: what a user changes may be in flux for a moment."""
_FORWARD = "forward"


class CodeDeployController:
    def __init__(self, store: StoreApi, clock: Clock, calls: AwsCalls) -> None:
        self._store = store
        self._clock = clock
        self._calls = calls
        self._refused: dict[str, int] = {}
        self.loop = Loop("code-deploy", self._reconcile)
        self._end_watch: Callable[[], None] = lambda: None

    def start(self) -> None:
        self._end_watch = self._store.watch(self._changed)
        for record in self._store.find(CODE_DEPLOYMENTS, "live", True):
            self.loop.wake(record.id)

    async def close(self) -> None:
        self._end_watch()
        await self.loop.close()

    def explain(self, id: str) -> str | None:
        return self.loop.said(id)

    def _changed(self, changes: Sequence[Change[Any]]) -> None:
        for change in changes:
            record = change.after if change.after is not None else change.before
            if isinstance(record, CodeDeployment):
                if change.after is None or record.status in ENDED:
                    self._refused.pop(record.id, None)
                else:
                    self.loop.wake(record.id)
            elif isinstance(record, TaskSet):
                for one in self._store.find(CODE_DEPLOYMENTS, "service", record.service_arn):
                    self.loop.wake(one.id)

    # --- a pass ------------------------------------------------------------------------------------------------------
    async def _reconcile(self, id: str) -> Pass:
        one = self._store.get(CODE_DEPLOYMENTS, id)
        if one is None or one.status in ENDED:
            return Pass("no action: the deployment is over")
        if one.green is None:
            # An earlier life may have made it and could not write it down any more.
            one = replace(one, green=self._made(one))
        turn = advance(one, self._known(one), self._clock.now())
        try:
            green = one.green
            for action in turn.actions:
                green = await self._perform(one, action) or green
        except AwsError as error:
            return await self._was_refused(one, error)
        self._refused.pop(id, None)
        await self._write(one, replace(turn.after, green=green))
        return Pass(turn.said, turn.again_after)

    async def _was_refused(self, one: CodeDeployment, error: AwsError) -> Pass:
        count = self._refused.get(one.id, 0) + 1
        if count < RETRIES:
            self._refused[one.id] = count
            return Pass(f"{error.code}: {error.message} (attempt {count})", 2.0**count)
        self._refused.pop(one.id, None)
        code = "ECS_UPDATE_ERROR" if one.phase in ("install", "promote", "clean") else "ALB_ERROR"
        await self._write(one, failed(one, code, error.message, self._clock.now()))
        return Pass(f"gives up: {error.code}: {error.message}")

    async def _write(self, before: CodeDeployment, after: CodeDeployment) -> None:
        """What people asked for meanwhile stays asked for."""

        def write(tx: Transaction) -> None:
            current = tx.get(CODE_DEPLOYMENTS, before.id)
            if current is None or current.status in ENDED:
                return
            stop = current.stop if after.stop is None else after.stop
            tx.put(CODE_DEPLOYMENTS, replace(after, continued=current.continued, stop=stop))

        if after != before:
            await self._store.update(write)

    def _made(self, one: CodeDeployment) -> str | None:
        found = self._store.find(TASK_SETS, "service", one.service_arn)
        return next((each.id for each in found if each.external_id == one.id), None)

    def _known(self, one: CodeDeployment) -> Known:
        service = self._store.get(SERVICES, one.service_arn)
        green = self._store.get(TASK_SETS, arn_of(one.service_arn, one.green)) if one.green is not None else None
        blue = self._store.get(TASK_SETS, arn_of(one.service_arn, one.blue))
        sets = self._store.find(TASK_SETS, "service", one.service_arn)
        return Known(
            others=tuple(
                each.id for each in sets if each.id not in (one.blue, one.green) and each.status != "DRAINING"
            ),
            green_steady=green is not None and green.steady and green.status != "DRAINING",
            green_gone=green is None or green.status == "DRAINING",
            blue_gone=blue is None or blue.status == "DRAINING",
            service_gone=service is None or service.status != "ACTIVE" or service.controller != "CODE_DEPLOY",
        )

    # --- calls -------------------------------------------------------------------------------------------------------
    async def _perform(self, one: CodeDeployment, action: Action) -> str | None:
        """The id of the task set that was made, if one was."""
        where = {"cluster": one.cluster_arn, "service": one.service_arn}
        match action.verb:
            case "create":
                asked = {**where, **one.task_set, "externalId": one.id, "clientToken": one.id}
                made = await self._call(
                    one, "ecs", "CreateTaskSet", {**asked, "scale": {"value": 100.0, "unit": "PERCENT"}}
                )
                return await self._sign(one, str(made["taskSet"]["id"]))
            case "promote":
                wanted = {**where, "primaryTaskSet": action.task_set}
                await self._call(one, "ecs", "UpdateServicePrimaryTaskSet", wanted)
            case "delete":
                try:
                    await self._call(one, "ecs", "DeleteTaskSet", {**where, "taskSet": action.task_set, "force": True})
                except AwsError as error:
                    if error.code != "TaskSetNotFoundException":
                        raise
            case "route":
                for listener in action.listeners:
                    await self._route(one, listener, action.percent)
        return None

    async def _sign(self, one: CodeDeployment, id: str) -> str:
        """Who started a task set is nothing that a caller can say."""

        def write(tx: Transaction) -> None:
            made = tx.get(TASK_SETS, arn_of(one.service_arn, id))
            if made is not None and made.started_by is None:
                tx.put(TASK_SETS, replace(made, started_by="CODE_DEPLOY"))

        await self._store.update(write)
        return id

    async def _route(self, one: CodeDeployment, listener: str, percent: float) -> None:
        """Every rule of the listener that forwards to one of the two target groups shares its requests between them."""
        found = await self._call(one, "elbv2", "DescribeRules", {"ListenerArn": listener})
        for rule in found["Rules"]:
            actions = [_shared(dict(action), one, percent) for action in rule["Actions"]]
            if actions == [dict(action) for action in rule["Actions"]]:
                continue
            if rule["IsDefault"]:
                await self._call(one, "elbv2", "ModifyListener", {"ListenerArn": listener, "DefaultActions": actions})
            else:
                await self._call(one, "elbv2", "ModifyRule", {"RuleArn": rule["RuleArn"], "Actions": actions})

    async def _call(
        self, one: CodeDeployment, service: str, operation: str, params: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        return await self._calls.call(Scope(one.account, one.region), service, operation, params)


def _shared(action: dict[str, Any], one: CodeDeployment, percent: float) -> dict[str, Any]:
    """The action with the share of the replacement; other actions as they are."""
    groups = [entry["TargetGroupArn"] for entry in (action.get("ForwardConfig") or {}).get("TargetGroups") or ()]
    groups = groups or [action.get("TargetGroupArn")]
    if action.get("Type") != _FORWARD or not {one.blue_group, one.green_group} & set(groups):
        return action
    weights = {one.blue_group: round(100 - percent), one.green_group: round(percent)}
    wanted = [{"TargetGroupArn": arn, "Weight": weight} for arn, weight in weights.items()]
    order = {"Order": action["Order"]} if "Order" in action else {}
    return {"Type": _FORWARD, **order, "ForwardConfig": {"TargetGroups": wanted}}
