"""The container instances of Auto Scaling groups: every machine of a group is one, in the cluster of its user data or of
its capacity provider; what left its group drains, or is gone at once (semantics ecs-services §8).

The group is asked, never believed from memory: a pass reads all groups of an account and region and brings the records
in line, in one transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

from msgspec.structs import replace

from moorage.control.ports import HostGroups
from moorage.decide.placement.addresses import lowest_free_address
from moorage.decide.placement.instances import group_instance
from moorage.domain import sentences
from moorage.domain.capacity_provider import CapacityProvider, GroupInstance, HostGroup
from moorage.domain.clock import Clock, Ids
from moorage.domain.cluster import Cluster
from moorage.domain.container_instance import ContainerInstance
from moorage.domain.errors import AwsError, Retryable
from moorage.domain.scope import Scope
from moorage.store.api import StoreApi, Transaction, View
from moorage.store.capacity_queries import address_in_use
from moorage.store.tables.ecs import CAPACITY_PROVIDERS, CLUSTERS, CONTAINER_INSTANCES, HOST_GROUPS, TASKS

# Seconds that a terminated machine waits for what still runs on it: as long as AWS's lifecycle hook does.
DRAIN = 48 * 3600.0


class HostGroupSync:
    def __init__(self, store: StoreApi, clock: Clock, ids: Ids, groups: HostGroups) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._groups = groups
        self._locks: dict[Scope, asyncio.Lock] = {}

    async def sync(self, scope: Scope) -> float | None:
        """Answers the seconds until a draining instance has drained for long enough. Raises Retryable."""
        async with self._locks.setdefault(scope, asyncio.Lock()):
            try:
                found = await self._groups.groups(scope)
                lost = await self._groups.lost(scope, self._missing(scope, found))
            except AwsError as error:
                raise Retryable(f"EC2 Auto Scaling does not answer: {error.code}", error.message) from error
            return await self._store.update(lambda tx: self._follow_all(tx, scope, found, lost))

    def _missing(self, scope: Scope, found: Sequence[HostGroup]) -> list[str]:
        """Registered instances that their group no longer has."""
        there = {machine.id for group in found for machine in group.instances}
        known = self._store.find(HOST_GROUPS, "scope", (scope.account, scope.region))
        registered = (i for group in known for i in self._store.find(CONTAINER_INSTANCES, "group", group.arn))
        return [one.ec2_instance_id for one in registered if one.ec2_instance_id not in there]

    def _follow_all(
        self, tx: Transaction, scope: Scope, found: Sequence[HostGroup], lost: Collection[str]
    ) -> float | None:
        known = {group.arn: group for group in tx.find(HOST_GROUPS, "scope", (scope.account, scope.region))}
        now = self._clock.now()
        groups = {group.arn: group for group in found}
        for arn, group in known.items():
            groups.setdefault(arn, replace(group, instances=(), desired=0, gone=True))
        for group in groups.values():
            provider = next(iter(tx.find(CAPACITY_PROVIDERS, "group", group.arn)), None)
            if provider is None and group.cluster is None and group.arn not in known:
                continue
            self._follow(tx, group, provider, lost, now)
            if group.gone and provider is None and not tx.find(CONTAINER_INSTANCES, "group", group.arn):
                tx.delete(HOST_GROUPS, group.arn)
            elif group != known.get(group.arn):
                tx.put(HOST_GROUPS, group)
        mine = (one for group in groups.values() for one in tx.find(CONTAINER_INSTANCES, "group", group.arn))
        left = [one.leaves_by - now for one in mine if one.leaves_by is not None]
        return max(0.0, min(left)) if left else None

    def _follow(
        self,
        tx: Transaction,
        group: HostGroup,
        provider: CapacityProvider | None,
        lost: Collection[str],
        now: float,
    ) -> None:
        cluster = cluster_of(tx, group, provider)
        name = provider.name if provider is not None and cluster and cluster.arn in provider.clusters else None
        registered = {one.ec2_instance_id: one for one in tx.find(CONTAINER_INSTANCES, "group", group.arn)}
        for machine in group.instances:
            record = registered.pop(machine.id, None)
            if record is None and cluster is not None:
                self._register(tx, group, machine, cluster, name, now)
            elif record is not None and name not in (None, record.capacity_provider):
                assert cluster is not None, "a provider's name comes with its cluster"
                if record.cluster_arn == cluster.arn:
                    tx.put(CONTAINER_INSTANCES, replace(record, capacity_provider=name))
        drains = provider is not None and provider.managed_draining == "ENABLED"
        for record in registered.values():
            leave(tx, record, drains=drains and record.ec2_instance_id not in lost, now=now)

    def _register(
        self, tx: Transaction, group: HostGroup, machine: GroupInstance, cluster: Cluster, name: str | None, now: float
    ) -> None:
        scope = Scope(group.account, group.region)
        for known in tx.find(CONTAINER_INSTANCES, "machine", (scope.account, scope.region, machine.id)):
            # Registered by hand, it becomes the group's; deregistered by hand, it stays so.
            if known.status != "INACTIVE" and known.cluster_arn == cluster.arn:
                tx.put(CONTAINER_INSTANCES, replace(known, group_arn=group.arn, capacity_provider=name))
            return
        address = lowest_free_address(lambda one: address_in_use(tx, one))
        if address is None:
            raise Retryable("There is no loopback address left for a container instance")
        record = group_instance(
            group,
            arn=scope.arn("ecs", f"container-instance/{cluster.name}/{self._ids.hex(32)}"),
            cluster_arn=cluster.arn,
            ec2_instance_id=machine.id,
            instance_type=machine.instance_type,
            zone=machine.availability_zone,
            address=address,
            provider=name,
            now=now,
        )
        tx.put(CONTAINER_INSTANCES, record)


def cluster_of(view: View, group: HostGroup, provider: CapacityProvider | None) -> Cluster | None:
    """Which cluster the instances of a group join: the one that their user data names, else the first of its provider."""
    scope = Scope(group.account, group.region)
    arns = [scope.arn("ecs", f"cluster/{group.cluster}")] if group.cluster else []
    arns += provider.clusters if provider is not None and not arns else ()
    found = (view.get(CLUSTERS, arn) for arn in arns)
    return next((one for one in found if one is not None and one.status == "ACTIVE"), None)


def leave(tx: Transaction, record: ContainerInstance, *, drains: bool, now: float) -> None:
    """Its machine is gone from the group: DRAINING while tasks are on it and time is left, then INACTIVE."""
    tasks = tx.find(TASKS, "container_instance", record.arn)
    deadline = record.leaves_by if record.leaves_by is not None else now + DRAIN
    if drains and tasks and now < deadline:
        if record.status != "DRAINING" or record.leaves_by is None:
            drained = replace(record, status="DRAINING", leaves_by=deadline, changes=record.changes + 1)
            tx.put(CONTAINER_INSTANCES, drained)
        return
    for task in tasks:
        if task.desired_status == "RUNNING":
            stopped = replace(
                task,
                desired_status="STOPPED",
                stop_code="TerminationNotice",
                stopped_reason=sentences.host_terminated(record.ec2_instance_id),
                stopping_at=now,
                version=task.version + 1,
            )
            tx.put(TASKS, stopped)
    changes = record.changes + 1
    gone = replace(record, status="INACTIVE", agent_connected=False, changes=changes, tags={}, inactive_at=now)
    tx.put(CONTAINER_INSTANCES, gone)
