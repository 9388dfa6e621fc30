"""Auto Scaling groups of the simulated world: machines that take their time to come, and go when they are told to, or
without a word. They outlive the control plane, as the embedded EC2 Auto Scaling does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence

from msgspec.structs import replace

from moorage.domain.capacity_provider import GroupInstance, HostGroup
from moorage.domain.clock import Ids
from moorage.domain.errors import AwsError
from moorage.domain.scope import Scope

# Seconds that a call takes, and that a machine needs from launch to its first word.
CALL, LAUNCH = 0.05, 20.0


class SimulatedHostGroups:
    """`control.ports.HostGroups` and `services.lookups.HostGroupLookup`. `fail`: calls that change something are refused
    from now on. `asked`: every capacity that was asked for, in order."""

    def __init__(self, seed: int = 0, *, launch: float = LAUNCH) -> None:
        self._ids = Ids(seed)
        self._launch = launch
        self._groups: dict[str, HostGroup] = {}
        self._lost: set[str] = set()
        self._changed: Callable[[Scope], None] = lambda scope: None
        self.asked: list[int] = []
        self.fail = False

    # --- what a user of EC2 Auto Scaling does ------------------------------------------------------------------------
    def create(
        self,
        scope: Scope,
        name: str = "hosts",
        *,
        minimum: int = 0,
        maximum: int = 10,
        desired: int = 0,
        instance_type: str = "t3.medium",
        zones: Sequence[str] = ("us-east-1a", "us-east-1b"),
        cluster: str | None = None,
    ) -> str:
        arn = scope.arn("autoscaling", f"autoScalingGroup:{self._ids.uuid()}:autoScalingGroupName/{name}")
        self._groups[name] = HostGroup(
            arn, scope.account, scope.region, name, minimum, maximum, 0, instance_type, (), tuple(zones), cluster
        )
        self.scale(name, desired)
        return arn

    def scale(self, name: str, desired: int) -> None:
        """SetDesiredCapacity: what is too many goes at once, oldest first; what is missing comes after a while."""
        group = self._groups[name]
        kept = group.instances[max(0, len(group.instances) - desired) :]
        self._put(replace(group, desired=desired, instances=kept))
        missing = desired - len(kept)
        if missing > 0:
            asyncio.get_running_loop().call_later(self._launch, self._arrive, name)

    def delete(self, name: str) -> None:
        group = self._groups.pop(name)
        self._changed(Scope(group.account, group.region))

    def vanish(self, instance_id: str) -> None:
        """The machine is terminated under its tasks; the group starts another."""
        group = self._of(instance_id)
        assert group is not None
        self._lost.add(instance_id)
        left = tuple(one for one in group.instances if one.id != instance_id)
        self._put(replace(group, instances=left))
        asyncio.get_running_loop().call_later(self._launch, self._arrive, group.name)

    def has(self, name: str) -> bool:
        return name in self._groups

    def get(self, name: str = "hosts") -> HostGroup:
        return self._groups[name]

    def _arrive(self, name: str) -> None:
        group = self._groups.get(name)
        if group is None:
            return
        instances = list(group.instances)
        while len(instances) < group.desired:
            zone = min(group.zones, key=lambda z: sum(1 for one in instances if one.availability_zone == z))
            instances.append(GroupInstance(f"i-{self._ids.hex(17)}", zone, group.instance_type))
        if len(instances) != len(group.instances):
            self._put(replace(group, instances=tuple(instances)))

    def _put(self, group: HostGroup) -> None:
        self._groups[group.name] = group
        self._changed(Scope(group.account, group.region))

    def _of(self, instance_id: str) -> HostGroup | None:
        return next((g for g in self._groups.values() if any(i.id == instance_id for i in g.instances)), None)

    # --- what the control plane asks ---------------------------------------------------------------------------------
    async def group(self, scope: Scope, identifier: str) -> HostGroup | None:
        await asyncio.sleep(CALL)
        found = self._groups.get(identifier.rsplit("/", 1)[-1])
        return found if found is not None and Scope(found.account, found.region) == scope else None

    async def groups(self, scope: Scope) -> Sequence[HostGroup]:
        await asyncio.sleep(CALL)
        return [one for one in self._groups.values() if Scope(one.account, one.region) == scope]

    async def lost(self, scope: Scope, instance_ids: Collection[str]) -> Collection[str]:
        return self._lost.intersection(instance_ids)

    async def set_desired(self, scope: Scope, name: str, desired: int) -> None:
        await asyncio.sleep(CALL)
        self._refuse()
        self.asked.append(desired)
        self.scale(name, desired)

    async def terminate(self, scope: Scope, instance_id: str) -> None:
        await asyncio.sleep(CALL)
        self._refuse()
        group = self._of(instance_id)
        if group is None:
            return
        left = tuple(one for one in group.instances if one.id != instance_id)
        self.asked.append(group.desired - 1)
        self._put(replace(group, instances=left, desired=group.desired - 1))

    def watch(self, changed: Callable[[Scope], None]) -> None:
        self._changed = changed

    def _refuse(self) -> None:
        if self.fail:
            raise AwsError("ServiceUnavailable", "Auto Scaling is away", status=503)
