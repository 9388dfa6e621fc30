"""Capacity providers of host groups: places the tasks that wait for an instance, and asks the Auto Scaling group for as
many instances as `decide/scaling` says (semantics ecs-services §8).

Two loops. One follows the groups of an account and region (`host_groups.py`); the other looks at one provider: who
waits, what fits now, how many instances are needed. Before it asks for anything it reads the group again, so that a
number is never asked for on the strength of an old one; an instance that is to go is marked first and terminated then,
so that a crash in between is made good by the next pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import replace

from moorage.control.capacity_facts import fleet_of, imagine, instances_of, waiting_tasks
from moorage.control.host_groups import DRAIN, HostGroupSync, cluster_of
from moorage.control.loop import Loop, Pass
from moorage.control.ports import HostGroups
from moorage.control.task_writes import fail
from moorage.decide.new_task import on_instance
from moorage.decide.placement.filters import explain
from moorage.decide.scaling.managed import ScalingPlan, decide_scaling
from moorage.decide.scaling.waiting import Outlook, outlook
from moorage.domain.capacity_provider import CapacityProvider, HostGroup, ScalingNote
from moorage.domain.clock import Clock, Ids
from moorage.domain.cluster import Cluster
from moorage.domain.container_instance import ContainerInstance
from moorage.domain.errors import AwsError, Retryable
from moorage.domain.scope import Scope
from moorage.domain.task import Task
from moorage.store.api import Change, StoreApi, Transaction
from moorage.store.tables.ecs import (
    CAPACITY_PROVIDERS,
    CONTAINER_INSTANCES,
    HOST_GROUPS,
    SCALING_NOTES,
    TASKS,
)

# A pass looks at every instance of the group: those of a large one wait until there is something to it.
LARGE, REST_PER_INSTANCE = 100, 0.002


class CapacityController:
    """`explain(provider arn)`: what the last pass said."""

    def __init__(self, store: StoreApi, clock: Clock, ids: Ids, groups: HostGroups) -> None:
        self._store = store
        self._clock = clock
        self._groups = groups
        self._sync = HostGroupSync(store, clock, ids, groups)
        self.group_loop = Loop("host groups", self._reconcile_groups, workers=4)
        self.loop = Loop("capacity", self._reconcile, workers=4)
        self._end_watch: Callable[[], None] = lambda: None

    def start(self) -> None:
        self._end_watch = self._store.watch(self._changed)
        self._groups.watch(lambda scope: self.group_loop.wake(_key(scope)))
        known: Sequence[CapacityProvider | HostGroup] = [
            *self._store.all(CAPACITY_PROVIDERS),
            *self._store.all(HOST_GROUPS),
        ]
        for record in known:
            self.group_loop.wake(_key(Scope(record.account, record.region)))
        for provider in self._store.all(CAPACITY_PROVIDERS):
            self.loop.wake(provider.arn)

    async def close(self) -> None:
        self._end_watch()
        await self.loop.close()
        await self.group_loop.close()

    def explain(self, provider_arn: str) -> str | None:
        return self.loop.said(provider_arn)

    # --- being woken -------------------------------------------------------------------------------------------------
    def _changed(self, changes: Sequence[Change[Any]]) -> None:
        for change in changes:
            record = change.after if change.after is not None else change.before
            match record:
                case Task():
                    self._task_changed(change, record)
                case ContainerInstance():
                    self._wake_provider(record)
                case CapacityProvider():
                    if change.after is None:
                        self.loop.forget(record.arn)
                    else:
                        self.loop.wake(record.arn)
                    if change.before is None or change.after is None or change.before.clusters != record.clusters:
                        self.group_loop.wake(_key(Scope(record.account, record.region)))
                case HostGroup():
                    for provider in self._store.find(CAPACITY_PROVIDERS, "group", record.arn):
                        self.loop.wake(provider.arn)
                case Cluster():
                    came = change.before is None or change.before.status != record.status
                    if came and self._store.find(HOST_GROUPS, "scope", (record.account, record.region)):
                        self.group_loop.wake(_key(Scope(record.account, record.region)))
                case _:
                    pass

    def _task_changed(self, change: Change[Task], task: Task) -> None:
        before = change.before
        if task.waiting is not None or (before is not None and before.waiting is not None):
            self.loop.wake(Scope(task.account, task.region).arn("ecs", f"capacity-provider/{task.capacity_provider}"))
        if task.instance is None:
            return
        came = before is None or before.instance is None
        left = change.after is None or (task.last_status == "STOPPED" and not came)
        if not came and not left:
            return
        instance = self._store.get(CONTAINER_INSTANCES, task.instance.arn)
        if instance is not None:
            self._wake_provider(instance)
            if left and instance.leaves_by is not None and instance.status != "INACTIVE":
                self.group_loop.wake(_key(Scope(instance.account, instance.region)))

    def _wake_provider(self, instance: ContainerInstance) -> None:
        if instance.capacity_provider is not None:
            scope = Scope(instance.account, instance.region)
            self.loop.wake(scope.arn("ecs", f"capacity-provider/{instance.capacity_provider}"))

    # --- groups ------------------------------------------------------------------------------------------------------
    async def _reconcile_groups(self, key: str) -> Pass:
        account, region = key.split("/")
        again = await self._sync.sync(Scope(account, region))
        return Pass("the instances are those of the groups", again)

    # --- a provider --------------------------------------------------------------------------------------------------
    async def _reconcile(self, arn: str) -> Pass:
        provider = self._store.get(CAPACITY_PROVIDERS, arn)
        if provider is None:
            return Pass("no action: the capacity provider is deleted")
        scope = Scope(provider.account, provider.region)
        plan, again = await self._store.update(lambda tx: self._decide(tx, arn, acting=False))
        if plan is None:
            return Pass("no action: managed scaling is off", again)
        rest = plan.running * REST_PER_INSTANCE if plan.running >= LARGE else 0.0
        if plan.desired is None and not plan.terminate and not self._marked(provider):
            return Pass(plan.said, again, rest)
        await self._sync.sync(scope)
        plan, again = await self._store.update(lambda tx: self._decide(tx, arn, acting=True))
        if plan is None:
            return Pass("no action: managed scaling is off", again)
        group = self._store.get(HOST_GROUPS, provider.group_arn)
        try:
            if plan.desired is not None and group is not None and plan.desired > group.desired:
                await self._groups.set_desired(scope, group.name, plan.desired)
            for instance_id in self._marked(provider):
                await self._groups.terminate(scope, instance_id)
        except AwsError as error:
            raise Retryable(f"The group of {provider.name} could not be scaled: {error.code}", error.message) from error
        finally:
            self.group_loop.wake(_key(scope))
        return Pass(plan.said, again, rest)

    def _marked(self, provider: CapacityProvider) -> list[str]:
        """The instances that are to go and are still in the group."""
        group = self._store.get(HOST_GROUPS, provider.group_arn)
        there = {machine.id for machine in group.instances} if group is not None else set()
        mine = self._store.find(CONTAINER_INSTANCES, "group", provider.group_arn)
        return [one.ec2_instance_id for one in mine if one.leaves_by is not None and one.ec2_instance_id in there]

    def _decide(self, tx: Transaction, arn: str, *, acting: bool) -> tuple[ScalingPlan | None, float | None]:
        """Places who fits, gives up who waited for too long, and says what the group should be. `acting`: the group was
        read just now, and what is to go is marked."""
        provider, now = tx.get(CAPACITY_PROVIDERS, arn), self._clock.now()
        if provider is None:
            return None, None
        group = tx.get(HOST_GROUPS, provider.group_arn)
        found = self._place(tx, provider, group, now)
        if not provider.is_managed or group is None or group.gone:
            tx.delete(SCALING_NOTES, arn)
            return None, found.again_after
        note = tx.get(SCALING_NOTES, arn)
        fleet = fleet_of(tx, group, found, note.below_since if note is not None else None)
        plan = decide_scaling(provider.managed_scaling, fleet, now)
        if acting:
            for record in instances_of(tx, group.arn):
                if record.ec2_instance_id in plan.terminate:
                    leaving = replace(record, status="DRAINING", leaves_by=now + DRAIN, changes=record.changes + 1)
                    tx.put(CONTAINER_INSTANCES, leaving)
        fresh = ScalingNote(
            provider_arn=arn,
            at=now,
            needed=plan.needed,
            running=plan.running,
            reservation=plan.reservation,
            desired=group.desired if plan.desired is None else plan.desired,
            said=plan.said,
            below_since=plan.below_since,
            refusal=explain(found.refused) if found.waiting else "",
        )
        if note is None or replace(note, at=now) != fresh:
            tx.put(SCALING_NOTES, fresh)
        times = [seconds for seconds in (plan.again_after, found.again_after) if seconds is not None]
        return plan, min(times) if times else None

    def _place(self, tx: Transaction, provider: CapacityProvider, group: HostGroup | None, now: float) -> Outlook:
        """What becomes of the waiting tasks; the outlook of the cluster that the group's instances join."""
        joins = cluster_of(tx, group, provider) if group is not None and not group.gone else None
        by_cluster = waiting_tasks(tx, provider)
        answer = Outlook()
        for cluster_arn, (tasks, hosts) in by_cluster.items():
            mine = joins is not None and joins.arn == cluster_arn
            image = imagine(group, cluster_arn, provider.name) if mine and group is not None else None
            found = outlook(tasks, hosts, image, group.zones if group is not None else (), now)
            for one in found.assigned:
                task = tx.get(TASKS, one.task_arn)
                if task is not None:
                    tx.put(TASKS, replace(on_instance(task, one.host.instance), version=task.version + 1))
            for given_up in found.given_up:
                task = tx.get(TASKS, given_up.task_arn)
                if task is not None:
                    failed = fail(task, "TaskFailedToStart", given_up.reason, now)
                    tx.put(TASKS, replace(failed, version=task.version + 1))
            if mine:
                answer = found
        return answer


def _key(scope: Scope) -> str:
    return f"{scope.account}/{scope.region}"
