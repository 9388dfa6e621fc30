"""Target health and what the proxy knows of target groups: which change of a record makes which of two loops look again.

* `groups` (`target_endpoints`), keyed by target group ARN, keeps the proxy's endpoints;
* `checks` (`target_checks`), keyed by target, makes health checks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from moorage.control.prober import Prober
from moorage.control.target_checks import TargetChecks
from moorage.control.target_common import PortOf, is_routable
from moorage.control.target_endpoints import TargetEndpoints
from moorage.decide import target_traffic as traffic
from moorage.domain.clock import Clock
from moorage.domain.target_group import TargetGroup
from moorage.proxy.driver import Proxy
from moorage.store.api import Change, StoreApi
from moorage.store.tables.ecs import CONTAINER_INSTANCES
from moorage.store.tables.elbv2 import (
    LOAD_BALANCER_NODES,
    LOAD_BALANCERS,
    TARGET_GROUP_USES,
    TARGET_GROUPS,
    TARGET_HEALTH,
    TARGETS,
)

MOST_TOLD = 5
"""Ailing targets that the sentence of a target group names."""


class TargetsController:
    def __init__(self, store: StoreApi, clock: Clock, prober: Prober, proxy: Proxy) -> None:
        self._store = store
        self.endpoints = TargetEndpoints(store, clock, proxy)
        self.health = TargetChecks(store, clock, prober)
        self.groups = self.endpoints.loop
        self.checks = self.health.loop
        self._unwatch: Callable[[], None] = lambda: None

    def listens_at(self, port_of: PortOf) -> None:
        """On which ports of this machine load balancers listen; before `start()`."""
        self.endpoints.port_of = self.health.port_of = port_of

    async def start(self) -> None:
        """Follows the store from now on and looks at everything in it once. Does not wait for the proxy."""
        self._unwatch = self._store.watch(self._changed)
        for group in self._store.all(TARGET_GROUPS):
            self.groups.wake(group.arn)
        for target in self._store.all(TARGETS):
            self.checks.wake(target.key)

    async def close(self) -> None:
        self._unwatch()
        await self.checks.close()
        await self.groups.close()

    def said(self, key: str) -> str | None:
        """What is being done about a target group (by ARN; with its targets that are not healthy) or a target (by
        `target_key`), and why."""
        words = self.groups.said(key)
        if words is None:
            return self.checks.said(key)
        ailing = [
            f"{target.id}:{target.port} {self.checks.said(target.key) or 'not checked yet'}"
            for target in self._store.find(TARGETS, "target_group", key)
            if not is_routable(self._store, target)
        ]
        return "; ".join([words, *ailing[:MOST_TOLD]])

    # --- what wakes what ---------------------------------------------------------------------------------------------

    def _changed(self, changes: Sequence[Change[Any]]) -> None:
        for change in changes:
            record: Any = change.after if change.after is not None else change.before
            if change.table is TARGETS:
                self.groups.wake(record.target_group_arn)
                self.checks.wake(change.key)
            elif change.table is TARGET_HEALTH:
                self.groups.wake(record.target_group_arn)
            elif change.table is TARGET_GROUPS:
                self.groups.wake(change.key)
                if _checks_differ(change.before, change.after):
                    self._wake_checks_of(change.key)
            elif change.table is TARGET_GROUP_USES:
                self.groups.wake(record.target_group_arn)
                self._wake_checks_of(record.target_group_arn)
            elif change.table is LOAD_BALANCER_NODES:
                for use in self._store.find(TARGET_GROUP_USES, "load_balancer", record.load_balancer_arn):
                    self.groups.wake(use.target_group_arn)
                self._wake_targets(record.address)
            elif change.table is CONTAINER_INSTANCES:
                self._wake_targets(record.ec2_instance_id)
            elif change.table is LOAD_BALANCERS and _zones_differ(change.before, change.after):
                for use in self._store.find(TARGET_GROUP_USES, "load_balancer", change.key):
                    self.groups.wake(use.target_group_arn)
                    self._wake_checks_of(use.target_group_arn)

    def _wake_checks_of(self, group_arn: str) -> None:
        for target in self._store.find(TARGETS, "target_group", group_arn):
            self.checks.wake(target.key)

    def _wake_targets(self, id: str) -> None:
        """Whoever has this address or is this instance."""
        for target in self._store.find(TARGETS, "id", id):
            self.groups.wake(target.target_group_arn)
            self.checks.wake(target.key)


def _checks_differ(before: TargetGroup | None, after: TargetGroup | None) -> bool:
    return before is None or after is None or before.health_check != after.health_check


def _zones_differ(before: Any, after: Any) -> bool:
    if before is None or after is None:
        return False
    return (before.subnets, before.attributes.get(traffic.CROSS_ZONE)) != (
        after.subnets,
        after.attributes.get(traffic.CROSS_ZONE),
    )
