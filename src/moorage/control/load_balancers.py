"""Load balancers in the proxy: pushes each one whole whenever it, a listener or a rule changes, and writes its state.

Decides nothing about traffic: the proxy's translation does. The state (`active`, or `failed` with the proxy's reason) is
observed state and written here only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import msgspec

from moorage.control.loop import Loop, Pass
from moorage.domain.clock import Clock
from moorage.domain.load_balancer import (
    LAYER_4,
    Listener,
    LoadBalancer,
    LoadBalancerNode,
    forwarded_to,
    load_balancer_of,
    trust_store_of,
)
from moorage.domain.target_group import TargetGroup, is_in_service
from moorage.proxy.driver import Certificate, LoadBalancerConfig, Proxy, ProxyRefused, TrustAnchors
from moorage.store.api import Change, StoreApi, Transaction
from moorage.store.elbv2_queries import load_balancers_of
from moorage.store.tables.elbv2 import (
    LISTENERS,
    LOAD_BALANCER_NODES,
    LOAD_BALANCERS,
    RULES,
    TARGET_GROUPS,
    TARGETS,
    TRUST_STORES,
)

PUSHES_AT_ONCE = 16
LOOK_AGAIN = 15.0
"""Seconds until a refused configuration is offered again: a port that was taken may have become free."""


RENEW_AFTER = 12 * 3600.0
"""Seconds between two looks at the certificates of a load balancer: the local authority renews its own."""
WAIT_FOR_OFFERS = 0.5
"""Seconds between two looks whether the proxy has taken everything, after a start."""


class Offering(Protocol):
    def offered(self) -> bool:
        """Has the proxy taken (or refused) every target group that there is?"""
        ...


class CertificateSource(Protocol):
    async def certificate(self, arn: str) -> CertificatePem | None:
        """What serves TLS for a certificate; None when there is none of this ARN."""
        ...


class CertificatePem(Protocol):
    @property
    def chain(self) -> bytes: ...

    @property
    def key(self) -> bytes: ...


class LoadBalancersController:
    """`target_groups`: the `TargetsController`. Start it first, so that the proxy knows the endpoints before the listeners
    open."""

    def __init__(self, store: StoreApi, clock: Clock, proxy: Proxy, target_groups: Offering) -> None:
        self._store = store
        self._clock = clock
        self._proxy = proxy
        self._target_groups = target_groups
        self._pushed: dict[str, LoadBalancerConfig] = {}
        self._refused: set[str] = set()
        self.loop = Loop("load-balancers", self._reconcile, workers=PUSHES_AT_ONCE)
        self._retained = Loop("proxy-retain", self._retain, workers=1)
        self._unwatch: Callable[[], None] = lambda: None
        self.certificates: CertificateSource | None = None
        """Where the certificates of HTTPS listeners come from; set before `start()`."""
        self.preserved: Callable[[TargetGroup], bool] = _never
        """Do targets of a group see the addresses of clients? Set before `start()`."""

    async def start(self) -> None:
        """Follows the store from now on and offers every load balancer to the proxy. Does not wait for the proxy. When
        the proxy has taken everything, it is told, once, to forget what no record names: a proxy that outlived us
        serves its old configuration until then."""
        self._unwatch = self._store.watch(self._changed)
        for record in self._store.all(LOAD_BALANCERS):
            self.loop.wake(record.arn)
        self._retained.wake("retain")

    async def close(self) -> None:
        self._unwatch()
        await self._retained.close()
        await self.loop.close()

    def certificate_changed(self, arn: str) -> None:
        """It was imported again: whoever serves it gets the new one."""
        for listener in self._store.all(LISTENERS):
            if arn in listener.certificates:
                self.loop.wake(listener.load_balancer_arn)

    def said(self, arn: str) -> str | None:
        """The last sentence about a load balancer."""
        return self.loop.said(arn)

    def _changed(self, changes: Sequence[Change[Any]]) -> None:
        for change in changes:
            record: Any = change.after if change.after is not None else change.before
            if change.table is LOAD_BALANCERS:
                if not _only_state_differs(change.before, change.after):
                    self.loop.wake(change.key)
            elif change.table is LISTENERS:
                self.loop.wake(load_balancer_of(change.key))
            elif change.table is LOAD_BALANCER_NODES:
                self.loop.wake(record.load_balancer_arn)
            elif change.table is TRUST_STORES:
                for listener in self._store.find(LISTENERS, "trust_store", change.key):
                    self.loop.wake(listener.load_balancer_arn)
            elif change.table is RULES:
                self.loop.wake(load_balancer_of(record.listener_arn))
            elif change.table is TARGET_GROUPS and record.protocol in LAYER_4:
                self._wake_users(change.key)
            elif change.table is TARGETS and is_in_service(change.before) != is_in_service(change.after):
                group = self._store.get(TARGET_GROUPS, record.target_group_arn)
                if group is not None and group.protocol in LAYER_4:
                    self._wake_users(group.arn)

    def _wake_users(self, target_group_arn: str) -> None:
        for owner in load_balancers_of(self._store, target_group_arn):
            self.loop.wake(owner)

    async def _reconcile(self, arn: str) -> Pass:
        record = self._store.get(LOAD_BALANCERS, arn)
        if record is None:
            self._pushed.pop(arn, None)
            self._refused.discard(arn)
            await self._proxy.remove_load_balancer(arn)
            asyncio.get_running_loop().call_soon(self.loop.forget, arn)
            return Pass("removed from the proxy")
        config = await self._with_certificates(self._config(record))
        if self._pushed.get(arn) != config:
            # Unknown until the proxy answers: a push that fails half-way must be repeated even if all changes back.
            self._pushed.pop(arn, None)
            try:
                await self._proxy.put_load_balancer(config)
            except ProxyRefused as refusal:
                self._refused.add(arn)
                await self._mark(arn, "failed", str(refusal))
                return Pass(f"the proxy refused it: {refusal}", again_after=LOOK_AGAIN)
            self._pushed[arn] = config
            self._refused.discard(arn)
        await self._mark(arn, "active", "")
        rules = sum(len(of_listener) for of_listener in config.rules.values())
        said = f"active with {len(config.listeners)} listeners and {rules} rules"
        missing = sorted({arn for one in config.listeners for arn in one.certificates} - set(config.certificates))
        if missing:
            said += f"; ACM has no certificate {', '.join(missing)}"
        secure = any(one.certificates for one in config.listeners)
        return Pass(said, again_after=(LOOK_AGAIN if missing else RENEW_AFTER) if secure else None)

    async def _with_certificates(self, config: LoadBalancerConfig) -> LoadBalancerConfig:
        arns = {arn for listener in config.listeners for arn in listener.certificates}
        if not arns or self.certificates is None:
            return config
        held: dict[str, Certificate] = {}
        for arn in sorted(arns):
            found = await self.certificates.certificate(arn)
            if found is not None:
                held[arn] = Certificate(arn, found.chain, found.key)
        return msgspec.structs.replace(config, certificates=held)

    def _config(self, record: LoadBalancer) -> LoadBalancerConfig:
        """Without the state: what we observe of the proxy is not part of what we tell it."""
        listeners = sorted(self._store.find(LISTENERS, "load_balancer", record.arn), key=lambda one: one.port)
        rules = {
            listener.arn: tuple(
                sorted(self._store.find(RULES, "listener", listener.arn), key=lambda rule: rule.priority)
            )
            for listener in listeners
        }
        plain = msgspec.structs.replace(record, state="provisioning", state_reason="")
        nodes = tuple(sorted(self._store.find(LOAD_BALANCER_NODES, "load_balancer", record.arn), key=_zone))
        stores = self._trust_stores(listeners)
        preserving = frozenset(one.arn for one in listeners if self._preserves(one)) if nodes else frozenset()
        return LoadBalancerConfig(
            plain, tuple(listeners), rules, trust_stores=stores, nodes=nodes, preserving=preserving
        )

    def _preserves(self, listener: Listener) -> bool:
        """Only if all its target groups do: a connection is made before its target group is chosen."""
        if listener.protocol not in LAYER_4:
            return False
        groups = [self._store.get(TARGET_GROUPS, arn) for arn in forwarded_to(listener.default_actions)]
        return bool(groups) and all(group is not None and self.preserved(group) for group in groups)

    def _trust_stores(self, listeners: Sequence[Listener]) -> dict[str, TrustAnchors]:
        found: dict[str, TrustAnchors] = {}
        for arn in {trust_store_of(one) for one in listeners} - {None}:
            store = self._store.get(TRUST_STORES, arn or "")
            if store is not None:
                revoked = b"".join(one.content for one in store.revocations)
                found[store.arn] = TrustAnchors(store.arn, store.bundle, revoked)
        return found

    async def _mark(self, arn: str, state: Literal["active", "failed"], reason: str) -> None:
        record = self._store.get(LOAD_BALANCERS, arn)
        if record is None or (record.state, record.state_reason) == (state, reason):
            return

        def change(tx: Transaction) -> None:
            current = tx.get(LOAD_BALANCERS, arn)
            if current is not None:
                tx.put(LOAD_BALANCERS, msgspec.structs.replace(current, state=state, state_reason=reason))

        await self._store.update(change)

    async def _retain(self, key: str) -> Pass:
        load_balancers = [record.arn for record in self._store.all(LOAD_BALANCERS)]
        taken = all(arn in self._pushed or arn in self._refused for arn in load_balancers)
        if not (taken and self._target_groups.offered()):
            return Pass("the proxy has not taken everything yet", again_after=WAIT_FOR_OFFERS)
        groups = [record.arn for record in self._store.all(TARGET_GROUPS)]
        await self._proxy.retain(load_balancers, groups)
        return Pass(f"the proxy keeps {len(load_balancers)} load balancers and {len(groups)} target groups")


def _only_state_differs(before: LoadBalancer | None, after: LoadBalancer | None) -> bool:
    if before is None or after is None:
        return False
    return msgspec.structs.replace(before, state=after.state, state_reason=after.state_reason) == after


def _never(group: TargetGroup) -> bool:
    return False


def _zone(node: LoadBalancerNode) -> str:
    return node.zone
