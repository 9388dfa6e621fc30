"""What the proxy knows of target groups: one pass over a group brings the proxy's endpoints in step with the registrations
and their health, and drops registrations whose deregistration delay is over (only after the proxy stopped using them)."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from moorage.control.client_addresses import ClientAddresses
from moorage.control.loop import Loop, Pass
from moorage.control.target_common import (
    CLOSE_ENOUGH,
    PortOf,
    forget_after_this_pass,
    is_routable,
    port_of_targets,
    same_port,
    source_of,
)
from moorage.decide import target_traffic as traffic
from moorage.domain.clock import Clock
from moorage.domain.load_balancer import DATAGRAM, LoadBalancer, LoadBalancerNode
from moorage.domain.target_group import NOT_IN_USE, Target, TargetGroup, deregistration_delay
from moorage.proxy.driver import Endpoint, Proxy, ProxyRefused, TargetGroupConfig
from moorage.store.api import StoreApi, Transaction
from moorage.store.elbv2_queries import current_health, idle_state, in_use, load_balancers_of
from moorage.store.tables.elbv2 import LOAD_BALANCERS, TARGET_GROUPS, TARGET_HEALTH, TARGETS

PUSHES_AT_ONCE = 64
LOOK_AGAIN = 15.0
"""Seconds until a refused configuration is offered again."""
WAY_BACK_AGAIN = 1.0
"""Seconds until a way back that could not be made is tried again."""


class TargetEndpoints:
    """Keyed by target group ARN."""

    def __init__(self, store: StoreApi, clock: Clock, proxy: Proxy) -> None:
        self._store = store
        self._clock = clock
        self._proxy = proxy
        self._pushed: dict[str, TargetGroupConfig] = {}
        self._healthy: dict[str, frozenset[traffic.Place]] = {}
        self._refused: set[str] = set()
        self.loop = Loop("target-groups", self._reconcile, workers=PUSHES_AT_ONCE)
        self.clients: ClientAddresses | None = None
        """Makes the way back from targets that see the clients' own addresses; set before the start."""
        self.port_of: PortOf = same_port
        """Set before the start."""

    def offered(self) -> bool:
        """Has the proxy taken (or refused) every target group that there is?"""
        return all(group.arn in self._pushed or group.arn in self._refused for group in self._store.all(TARGET_GROUPS))

    async def _reconcile(self, arn: str) -> Pass:
        group = self._store.get(TARGET_GROUPS, arn)
        if group is None:
            self._pushed.pop(arn, None)
            self._healthy.pop(arn, None)
            self._refused.discard(arn)
            if self.clients is not None:
                self.clients.forget(arn)
            await self._proxy.remove_target_group(arn)
            await self._drop_orphans(arn)
            forget_after_this_pass(self.loop, arn)
            return Pass("removed from the proxy")
        targets = self._store.find(TARGETS, "target_group", arn)
        crosses = traffic.crosses_zones(group, self._load_balancer_of(arn))
        source = source_of(self._store, arn)
        preserved = source is not None and self.clients is not None and self.clients.preserved(group)
        endpoints, cut_off = self._endpoints(targets, crosses), dict[str, str]()
        if preserved:
            endpoints, cut_off = await self._with_way_back(group, endpoints, source)
        config = TargetGroupConfig(group, endpoints, crosses, source, self._leaving(group, targets, crosses))
        if self._pushed.get(arn) != config:
            # Unknown until the proxy answers: a push that fails half-way must be repeated even if all changes back.
            self._pushed.pop(arn, None)
            try:
                await self._proxy.put_target_group(config)
            except ProxyRefused as refusal:
                self._refused.add(arn)
                return Pass(f"the proxy refused it: {refusal}", again_after=LOOK_AGAIN)
            self._pushed[arn] = config
            self._refused.discard(arn)
        await self._leave_unhealthy(config)
        draining = [target for target in targets if target.deregistered_at is not None]
        left = await self._drop_drained(group, draining)
        healthy = sum(endpoint.healthy for endpoint in config.endpoints)
        said = f"{len(config.endpoints)} in the proxy, {healthy} of them healthy, {len(draining)} draining"
        if preserved:
            said += ", clients in the VPC keep their addresses"
        if cut_off:
            address, why = min(cut_off.items())
            said += f", {len(cut_off)} cannot answer clients in their subnets yet ({address}: {why})"
            left = WAY_BACK_AGAIN if left is None else min(left, WAY_BACK_AGAIN)
        return Pass(said, again_after=left)

    async def _with_way_back(
        self, group: TargetGroup, endpoints: tuple[Endpoint, ...], source: LoadBalancerNode | None
    ) -> tuple[tuple[Endpoint, ...], dict[str, str]]:
        """The endpoints that can answer clients by way of the load balancer, and what the others lack."""
        assert self.clients is not None
        assert source is not None
        cut_off = await self.clients.prepare(group, source, {one.address for one in endpoints})
        return tuple(one for one in endpoints if one.address not in cut_off), cut_off

    async def _leave_unhealthy(self, config: TargetGroupConfig) -> None:
        """Ends the connections to targets that have just fallen ill, where the target group says so."""
        arn = config.target_group.arn
        healthy = frozenset((one.address, one.port) for one in config.endpoints if one.healthy)
        fallen = self._healthy.get(arn, frozenset()) & {(one.address, one.port) for one in config.endpoints} - healthy
        if fallen and traffic.ends_connections_when_unhealthy(config.target_group):
            await self._cut(config.target_group, sorted(fallen))
        self._healthy[arn] = healthy

    def _load_balancer_of(self, arn: str) -> LoadBalancer | None:
        owner = next(iter(load_balancers_of(self._store, arn)), None)
        return self._store.get(LOAD_BALANCERS, owner) if owner is not None else None

    def _endpoints(self, targets: Collection[Target], crosses: bool) -> tuple[Endpoint, ...]:
        """Registered, not draining, in an enabled zone; in a steady order, so that the same set is the same
        configuration. A group that nothing forwards to yet is known as well (its targets not healthy), so that a rule
        that is about to name it finds it."""
        endpoints = {
            Endpoint(
                target.reaches or target.id,
                target.port,
                is_routable(self._store, target),
                "" if crosses else traffic.zone_of(target),
            )
            for target in targets
            if idle_state(self._store, target) in (None, NOT_IN_USE) and not self._is_gone(target)
        }
        return tuple(sorted(endpoints, key=lambda endpoint: (endpoint.address, endpoint.port)))

    def _is_gone(self, target: Target) -> bool:
        health = current_health(self._store, target)
        return health is not None and health.state == "unused"

    def _leaving(self, group: TargetGroup, targets: Collection[Target], crosses: bool) -> tuple[Endpoint, ...]:
        """Draining targets of datagrams whose delay is not over."""
        if group.protocol not in DATAGRAM or not in_use(self._store, group.arn):
            return ()
        begun = self._clock.now() - deregistration_delay(group) + CLOSE_ENOUGH
        leaving = {
            Endpoint(one.reaches or one.id, one.port, False, "" if crosses else traffic.zone_of(one))
            for one in targets
            if one.deregistered_at is not None and one.deregistered_at > begun
        }
        return tuple(sorted(leaving, key=lambda endpoint: (endpoint.address, endpoint.port)))

    async def _drop_drained(self, group: TargetGroup, draining: Sequence[Target]) -> float | None:
        """Ends registrations whose delay is over. Answers the seconds until the next one is, None if none drains."""
        if not draining:
            return None
        now = self._clock.now()
        delay = deregistration_delay(group) if in_use(self._store, group.arn) else 0.0
        ends = {target.key: (target.deregistered_at or 0.0) + delay for target in draining}
        over = [target for target in draining if ends[target.key] - now <= CLOSE_ENOUGH]

        def change(tx: Transaction) -> None:
            for target in over:
                if tx.get(TARGETS, target.key) == target:  # else registered again meanwhile
                    tx.delete(TARGETS, target.key)
                    tx.delete(TARGET_HEALTH, target.key)

        if over:
            if traffic.ends_connections_after_drain(group):
                await self._cut(group, self._places(over))
            await self._store.update(change)
        later = [end for end in ends.values() if end - now > CLOSE_ENOUGH]
        return min(later) - now if later else None

    async def _cut(self, group: TargetGroup, places: Sequence[traffic.Place]) -> None:
        port_of = port_of_targets(group, self.port_of)
        await self._proxy.cut([(address, port_of(port)) for address, port in places])

    def _places(self, targets: Sequence[Target]) -> list[traffic.Place]:
        """Where these targets answer, without those that are somebody else's target as well, or are one again."""
        return [
            (target.reaches or target.id, target.port)
            for target in targets
            if self._store.get(TARGETS, target.key) == target
            and not traffic.still_used(target, self._store.find(TARGETS, "id", target.id))
        ]

    async def _drop_orphans(self, arn: str) -> None:
        """Registrations that were written while their target group was being deleted."""
        if not self._store.find(TARGETS, "target_group", arn):
            return

        def change(tx: Transaction) -> None:
            if tx.get(TARGET_GROUPS, arn) is None:
                for target in list(tx.find(TARGETS, "target_group", arn)):
                    tx.delete(TARGETS, target.key)

        await self._store.update(change)
