"""Target health and what the proxy knows of target groups: watches registrations, checks targets, pushes endpoints.

Two loops over one store:

* *groups*, keyed by target group ARN: one pass brings the proxy's endpoints in step with the registrations and their
  health, and drops registrations whose deregistration delay is over (only after the proxy stopped using them).
* *checks*, keyed by target: one pass makes one health check when it is due and writes what changed. A timer per target;
  the cost of an event does not grow with the number of targets. Only targets of a group that a listener or rule
  forwards to are checked.

What a check means and when the next one is due is decided in `decide/target_health`; this module decides nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, Literal, cast

import msgspec

from moorage.control.client_addresses import ClientAddresses
from moorage.control.loop import Loop, Pass
from moorage.control.prober import Prober, ProbeRequest, ProtocolVersion
from moorage.decide import target_health as decide
from moorage.decide import target_traffic as traffic
from moorage.domain.clock import Clock
from moorage.domain.load_balancer import LAYER_4, LoadBalancer, LoadBalancerNode
from moorage.domain.target_group import (
    CHECKS_DISABLED,
    INVALID_STATE,
    NOT_IN_USE,
    ProbeResult,
    Target,
    TargetGroup,
    TargetHealth,
    TargetState,
    deregistration_delay,
)
from moorage.proxy.driver import Endpoint, Proxy, ProxyRefused, TargetGroupConfig
from moorage.store.api import Change, StoreApi, Transaction
from moorage.store.elbv2_queries import current_health, idle_state, in_use, load_balancers_of
from moorage.store.tables.ecs import CONTAINER_INSTANCES
from moorage.store.tables.elbv2 import (
    LISTENERS,
    LOAD_BALANCER_NODES,
    LOAD_BALANCERS,
    TARGET_GROUP_USES,
    TARGET_GROUPS,
    TARGET_HEALTH,
    TARGETS,
)

PUSHES_AT_ONCE = 64
LOOK_AGAIN = 15.0
"""Seconds until a refused configuration is offered again."""
CHECKS_AT_ONCE = 512
"""A target that does not answer holds its place for its whole timeout: many must fit beside it."""


WAY_BACK_AGAIN = 1.0
"""Seconds until a way back that could not be made is tried again."""
MOST_TOLD = 5
"""Ailing targets that the sentence of a target group names."""
CLOSE_ENOUGH = 0.001
"""Timers and the clock are two clocks: a timer may fire this many seconds before its moment."""


CheckFunction = Callable[[Target, TargetGroup], Awaitable[ProbeResult]]


async def _cannot_check(target: Target, group: TargetGroup) -> ProbeResult:
    return ProbeResult("failed", detail="functions are not invoked here")


class _Watch(msgspec.Struct):
    """What the checker remembers of one target between two passes. `health` also carries counts that are not worth a
    write; `due` is epoch seconds."""

    registered_at: float
    health: TargetHealth
    due: float
    written: TargetHealth | None
    """What the store holds of this registration: behind `health` while the store refuses."""


class TargetsController:
    def __init__(self, store: StoreApi, clock: Clock, prober: Prober, proxy: Proxy) -> None:
        self._store = store
        self._clock = clock
        self._prober = prober
        self._proxy = proxy
        self._watched: dict[str, _Watch] = {}
        self._pushed: dict[str, TargetGroupConfig] = {}
        self._healthy: dict[str, frozenset[traffic.Place]] = {}
        self._refused: set[str] = set()
        self.groups = Loop("target-groups", self._reconcile_group, workers=PUSHES_AT_ONCE)
        self.checks = Loop("health-checks", self._check, workers=CHECKS_AT_ONCE)
        self._unwatch: Callable[[], None] = lambda: None
        self.check_function: CheckFunction = _cannot_check
        """Makes one health check of a function; set before `start()`."""
        self.instance_runs: Callable[[str, str, str], bool] = _always
        """Account, region, id → is there such an instance (still)? Set before `start()`."""
        self.clients: ClientAddresses | None = None
        """Makes the way back from targets that see the clients' own addresses; set before `start()`."""
        self.on_check: Callable[[Target, TargetGroup, ProbeResult, float, float], None] | None = None
        """Is told of every check that was made: when it began and ended (epoch seconds)."""
        self.port_of: Callable[[int], int] = _same
        """Port of the API → port of this machine, where load balancers listen; set before `start()`."""

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
            if not self._is_routable(target)
        ]
        return "; ".join([words, *ailing[:MOST_TOLD]])

    def offered(self) -> bool:
        """Has the proxy taken (or refused) every target group that there is?"""
        return all(group.arn in self._pushed or group.arn in self._refused for group in self._store.all(TARGET_GROUPS))

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

    def _source(self, arn: str) -> LoadBalancerNode | None:
        """Where the group's load balancer connects from: its node in the first zone."""
        for owner in load_balancers_of(self._store, arn):
            nodes = self._store.find(LOAD_BALANCER_NODES, "load_balancer", owner)
            if nodes:
                return min(nodes, key=lambda node: node.zone)
        return None

    # --- endpoints ---------------------------------------------------------------------------------------------------

    async def _reconcile_group(self, arn: str) -> Pass:
        group = self._store.get(TARGET_GROUPS, arn)
        if group is None:
            self._pushed.pop(arn, None)
            self._healthy.pop(arn, None)
            self._refused.discard(arn)
            if self.clients is not None:
                self.clients.forget(arn)
            await self._proxy.remove_target_group(arn)
            await self._drop_orphans(arn)
            _forget_after_this_pass(self.groups, arn)
            return Pass("removed from the proxy")
        targets = self._store.find(TARGETS, "target_group", arn)
        crosses = traffic.crosses_zones(group, self._load_balancer_of(arn))
        source = self._source(arn)
        preserved = source is not None and self.clients is not None and self.clients.preserved(group)
        endpoints, cut_off = self._endpoints(targets, crosses), dict[str, str]()
        if preserved:
            endpoints, cut_off = await self._with_way_back(group, endpoints, source)
        config = TargetGroupConfig(group, endpoints, crosses, source)
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
                self._is_routable(target),
                "" if crosses else traffic.zone_of(target),
            )
            for target in targets
            if idle_state(self._store, target) in (None, NOT_IN_USE) and not self._is_gone(target)
        }
        return tuple(sorted(endpoints, key=lambda endpoint: (endpoint.address, endpoint.port)))

    def _is_gone(self, target: Target) -> bool:
        health = current_health(self._store, target)
        return health is not None and health.state == "unused"

    def _is_routable(self, target: Target) -> bool:
        health = current_health(self._store, target)
        return health is not None and health.state in ("healthy", "unavailable")

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
        port_of = self._port_of(group)
        await self._proxy.cut([(address, port_of(port)) for address, port in places])

    def _port_of(self, group: TargetGroup) -> Callable[[int], int]:
        """Load balancers listen on ports of this machine; everybody else on the port that is registered."""
        return self.port_of if group.target_type == "alb" else _same

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

    # --- health ------------------------------------------------------------------------------------------------------

    async def _check(self, key: str) -> Pass:
        target = self._store.get(TARGETS, key)
        group = self._store.get(TARGET_GROUPS, target.target_group_arn) if target is not None else None
        if target is None or group is None:
            self._watched.pop(key, None)
            _forget_after_this_pass(self.checks, key)
            return Pass("not registered")
        idle = idle_state(self._store, target)
        if idle is not None:
            self._watched.pop(key, None)
            if idle.state == "unused" and self._store.get(TARGET_HEALTH, key) is not None:
                # Unused targets have no health: when traffic comes, they begin as new ones.
                await self._store.update(lambda tx: tx.delete(TARGET_HEALTH, key))
            return Pass(f"no checks: {idle.description}")
        watch = self._watch(target, group)
        now = self._clock.now()
        if group.target_type == "instance" and not self.instance_runs(group.account, group.region, target.id):
            return await self._is_settled(target, watch, INVALID_STATE, now)
        if not group.health_check.enabled:
            return await self._is_settled(target, watch, CHECKS_DISABLED, now)
        watch.due = min(watch.due, now + group.health_check.interval)  # the interval may have been shortened
        if watch.due - now > CLOSE_ENOUGH:
            await self._write(target, watch)  # should the store have refused it last time
            return Pass(_sentence(watch.health), again_after=watch.due - now)
        return await self._probe(target, group, watch)

    def _watch(self, target: Target, group: TargetGroup) -> _Watch:
        watch = self._watched.get(target.key)
        if watch is None or watch.registered_at != target.registered_at:
            now = self._clock.now()
            known = current_health(self._store, target)
            health = known or decide.begin(target, group.health_check, now)
            due = decide.first_probe_at(health, group.health_check, now)
            watch = self._watched[target.key] = _Watch(target.registered_at, health, due, known)
        return watch

    async def _is_settled(self, target: Target, watch: _Watch, state: TargetState, now: float) -> Pass:
        """Without a check, until something changes; then at once."""
        watch.due = now
        if watch.health.reason != state.reason:
            watch.health = decide.enter(watch.health, state, now)
        await self._write(target, watch)
        return Pass(_sentence(watch.health))

    async def _probe(self, target: Target, group: TargetGroup, watch: _Watch) -> Pass:
        check = group.health_check
        if watch.health.state in ("unavailable", "unused"):
            watch.health = decide.begin(target, check, self._clock.now())
        started = self._clock.now()
        if group.target_type == "lambda":
            result = await self.check_function(target, group)
        else:
            result = await self._prober.probe(self._request(target, group))
        now = self._clock.now()
        if self.on_check is not None:
            self.on_check(target, group, result, started, now)
        watch.health = decide.after_probe(watch.health, result, check, now)
        due = decide.next_probe_at(watch.health, check, started, now)
        watch.due = now if due is None else due
        await self._write(target, watch)
        return Pass(_sentence(watch.health, result), again_after=max(0.0, watch.due - self._clock.now()))

    def _request(self, target: Target, group: TargetGroup) -> ProbeRequest:
        return request_for(target, group, self._asks_as(group), self._port_of(group))

    def _asks_as(self, group: TargetGroup) -> str | None:
        """A network load balancer names itself in the Host header of its checks: its node and port."""
        if group.protocol not in LAYER_4:
            return None
        for use in self._store.find(TARGET_GROUP_USES, "target_group", group.arn):
            listener, owner = (
                self._store.get(LISTENERS, use.user_arn),
                self._store.get(LOAD_BALANCERS, use.load_balancer_arn),
            )
            if listener is not None and owner is not None:
                node = self._source(group.arn)
                return f"{node.address if node is not None else owner.loopback}:{listener.port}"
        return None

    async def _write(self, target: Target, watch: _Watch) -> None:
        """Counts alone are not worth a write."""
        health = watch.health
        if not decide.visibly_differs(watch.written, health):
            return

        def change(tx: Transaction) -> None:
            current = tx.get(TARGETS, target.key)
            if current is not None and current.registered_at == target.registered_at:
                tx.put(TARGET_HEALTH, health)

        await self._store.update(change)
        watch.written = health


def _same(port: int) -> int:
    return port


def _always(account: str, region: str, instance_id: str) -> bool:
    return True


def request_for(
    target: Target, group: TargetGroup, asks_as: str | None = None, port_of: Callable[[int], int] = _same
) -> ProbeRequest:
    """The health check of this target, as the group's settings say (semantics elbv2 §5). `asks_as`: the Host header, if
    not the target's own address. `port_of`: port of the API → port of this machine, for targets that are load
    balancers."""
    check = group.health_check
    port = port_of(target.port if check.port == "traffic-port" else int(check.port))
    return ProbeRequest(
        protocol=cast("Literal['HTTP', 'HTTPS', 'TCP']", check.protocol),
        address=target.reaches or target.id,
        port=port,
        host=asks_as or f"{target.reaches or target.id}:{port}",
        path=check.path,
        timeout=float(check.timeout),
        version=cast("ProtocolVersion", group.protocol_version or "HTTP1") if check.protocol != "TCP" else "HTTP1",
    )


def _sentence(health: TargetHealth, result: ProbeResult | None = None) -> str:
    words = health.state if health.description is None else f"{health.state}: {health.description}"
    return f"{words} (last check: {result.detail})" if result is not None and result.detail else words


def _checks_differ(before: TargetGroup | None, after: TargetGroup | None) -> bool:
    return before is None or after is None or before.health_check != after.health_check


def _zones_differ(before: Any, after: Any) -> bool:
    if before is None or after is None:
        return False
    return (before.subnets, before.attributes.get(traffic.CROSS_ZONE)) != (
        after.subnets,
        after.attributes.get(traffic.CROSS_ZONE),
    )


def _forget_after_this_pass(loop: Loop, key: str) -> None:
    """The loop notes the sentence of a pass when it ends; nothing may stay of a key that is gone."""
    asyncio.get_running_loop().call_soon(loop.forget, key)
