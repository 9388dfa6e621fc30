"""Security groups of load balancers, enforced at their nodes: who may open connections to their listeners from inside the
VPC. (This machine's own door, 127.0.0.1, is its operator's and always open.) Connections to a network load balancer that
has no target for them are reset there, before the proxy would take them and could only close them.

Decides nothing: `decide/security_groups` says what is let in. Looks again when a node, an interface that carries a group
which some rule names, a load balancer's groups or a rule changes. A load balancer without groups (network load balancers
may have none) lets everybody in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from moorage.control.loop import Loop, Pass
from moorage.control.ports import SecurityGroups
from moorage.decide.security_groups import allowed, named_groups
from moorage.domain.load_balancer import Listener, LoadBalancer, forwarded_to, load_balancer_of
from moorage.domain.network import EVERYWHERE, Ingress, NetworkInterface
from moorage.domain.scope import Scope
from moorage.domain.target_group import is_in_service
from moorage.network.firewall import Firewall
from moorage.store.api import Change, StoreApi
from moorage.store.elbv2_queries import load_balancers_of
from moorage.store.tables.elbv2 import LISTENERS, LOAD_BALANCER_NODES, LOAD_BALANCERS, TARGETS
from moorage.store.tables.network import NETWORK_INTERFACES

OPEN: tuple[Ingress, ...] = (Ingress("any", 0, 65535, (EVERYWHERE,)),)


class SecurityGroupsController:
    """`groups`: None: nothing is enforced."""

    def __init__(self, store: StoreApi, groups: SecurityGroups | None, firewall: Firewall) -> None:
        self._store = store
        self._groups = groups
        self._firewall = firewall
        self._applied: dict[str, tuple[tuple[Ingress, ...], tuple[int, ...]]] = {}
        self._members: dict[str, dict[str, None]] = {}
        self._named_by: dict[str, set[str]] = {}
        self._names: dict[str, frozenset[str]] = {}
        self.loop = Loop("security-groups", self._reconcile, workers=4)
        self._end_watch: Callable[[], None] = lambda: None

    def start(self) -> None:
        if self._groups is None:
            return
        for interface in self._store.all(NETWORK_INTERFACES):
            self._count(None, interface)
        self._end_watch = self._store.watch(self._changed)
        for node in self._store.all(LOAD_BALANCER_NODES):
            self.loop.wake(node.load_balancer_arn)

    async def close(self) -> None:
        self._end_watch()
        await self.loop.close()

    def said(self, arn: str) -> str | None:
        return self.loop.said(arn)

    def rules_changed(self, scope: Scope) -> None:
        """The rules of some security group there have changed."""
        for balancer in self._store.find(LOAD_BALANCERS, "scope", (scope.account, scope.region)):
            self.loop.wake(balancer.arn)

    # --- being woken -------------------------------------------------------------------------------------------------
    def _changed(self, changes: Sequence[Change[Any]]) -> None:
        for change in changes:
            if change.table is LOAD_BALANCER_NODES:
                record: Any = change.after if change.after is not None else change.before
                if change.after is None:
                    self._applied.pop(record.namespace, None)
                self.loop.wake(record.load_balancer_arn)
            elif change.table is LOAD_BALANCERS:
                if change.before is None or change.after is None or _groups_differ(change.before, change.after):
                    self.loop.wake(change.key)
            elif change.table is NETWORK_INTERFACES:
                for group_id in sorted(self._count(change.before, change.after)):
                    for arn in sorted(self._named_by.get(group_id, ())):
                        self.loop.wake(arn)
            elif change.table is LISTENERS:
                self.loop.wake(load_balancer_of(change.key))
            elif change.table is TARGETS and is_in_service(change.before) != is_in_service(change.after):
                target: Any = change.after if change.after is not None else change.before
                for arn in load_balancers_of(self._store, target.target_group_arn):
                    self.loop.wake(arn)

    def _count(self, before: NetworkInterface | None, after: NetworkInterface | None) -> set[str]:
        """Keeps the members of groups; the groups that have others now."""
        old = set() if before is None else {(group, before.ipv4) for group in before.security_groups}
        new = set() if after is None else {(group, after.ipv4) for group in after.security_groups}
        for group, address in old - new:
            members = self._members.get(group, {})
            members.pop(address, None)
            if not members:
                self._members.pop(group, None)
        for group, address in new - old:
            self._members.setdefault(group, {})[address] = None
        return {group for group, _ in old ^ new}

    # --- a pass ------------------------------------------------------------------------------------------------------
    async def _reconcile(self, arn: str) -> Pass:
        assert self._groups is not None
        record = self._store.get(LOAD_BALANCERS, arn)
        nodes = self._store.find(LOAD_BALANCER_NODES, "load_balancer", arn)
        if record is None or not nodes:
            self._remember(arn, frozenset())
            return Pass("no nodes to guard")
        if not record.security_groups:
            ingress = OPEN
            self._remember(arn, frozenset())
        else:
            scope = Scope(record.account, record.region)
            found = list((await self._groups.security_groups(scope, record.security_groups)).values())
            self._remember(arn, named_groups(found))
            ingress = allowed(found, lambda group_id: tuple(self._members.get(group_id, ())))
        resets = self._resets(record)
        for node in nodes:
            if self._applied.get(node.namespace) != (ingress, resets):
                await self._firewall.apply(node.namespace, ingress, resets)
                self._applied[node.namespace] = (ingress, resets)
        said = f"{len(nodes)} nodes let in what {len(ingress)} rules say"
        return Pass(f"{said}, and reset connections to {', '.join(map(str, resets))}" if resets else said)

    def _resets(self, record: LoadBalancer) -> tuple[int, ...]:
        """Ports of a network load balancer whose target groups are empty: connections there are reset."""
        if record.type != "network":
            return ()
        listeners = self._store.find(LISTENERS, "load_balancer", record.arn)
        return tuple(sorted(one.port for one in listeners if one.protocol != "UDP" and self._leads_nowhere(one)))

    def _leads_nowhere(self, listener: Listener) -> bool:
        groups = forwarded_to(listener.default_actions)
        targets = (target for arn in groups for target in self._store.find(TARGETS, "target_group", arn))
        return not any(map(is_in_service, targets))

    def _remember(self, arn: str, named: frozenset[str]) -> None:
        """Which load balancers look at the members of a group."""
        for group_id in self._names.pop(arn, frozenset()) - named:
            users = self._named_by.get(group_id, set())
            users.discard(arn)
            if not users:
                self._named_by.pop(group_id, None)
        if named:
            self._names[arn] = named
        for group_id in named:
            self._named_by.setdefault(group_id, set()).add(arn)


def _groups_differ(before: LoadBalancer, after: LoadBalancer) -> bool:
    return before.security_groups != after.security_groups
