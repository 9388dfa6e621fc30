"""Health checks of targets: one pass makes one check when it is due and writes what changed. A timer per target; the cost
of an event does not grow with the number of targets. Only targets of a group that something forwards to are checked.

What a check means and when the next one is due is decided in `decide/target_health`; this module decides nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal, cast

import msgspec

from moorage.control.loop import Loop, Pass
from moorage.control.prober import Prober, ProbeRequest, ProtocolVersion
from moorage.control.target_common import (
    CLOSE_ENOUGH,
    PortOf,
    forget_after_this_pass,
    port_of_targets,
    same_port,
    source_of,
)
from moorage.decide import target_health as decide
from moorage.domain.clock import Clock
from moorage.domain.load_balancer import DATAGRAM, LAYER_4
from moorage.domain.target_group import (
    CHECKS_DISABLED,
    INVALID_STATE,
    ProbeResult,
    Target,
    TargetGroup,
    TargetHealth,
    TargetState,
)
from moorage.store.api import StoreApi, Transaction
from moorage.store.elbv2_queries import current_health, idle_state, load_balancers_of
from moorage.store.tables.elbv2 import (
    LISTENERS,
    LOAD_BALANCERS,
    TARGET_GROUP_USES,
    TARGET_GROUPS,
    TARGET_HEALTH,
    TARGETS,
)

CHECKS_AT_ONCE = 512
"""A target that does not answer holds its place for its whole timeout: many must fit beside it."""
NOT_LET_OUT = "the security groups of the load balancer do not let it connect there"
CheckFunction = Callable[[Target, TargetGroup], Awaitable[ProbeResult]]


async def _cannot_check(target: Target, group: TargetGroup) -> ProbeResult:
    return ProbeResult("failed", detail="functions are not invoked here")


def _always(account: str, region: str, instance_id: str) -> bool:
    return True


class _Watch(msgspec.Struct):
    """What the checker remembers of one target between two passes. `health` also carries counts that are not worth a
    write; `due` is epoch seconds."""

    registered_at: float
    health: TargetHealth
    due: float
    written: TargetHealth | None
    """What the store holds of this registration: behind `health` while the store refuses."""


class TargetChecks:
    """Keyed by target."""

    def __init__(self, store: StoreApi, clock: Clock, prober: Prober) -> None:
        self._store = store
        self._clock = clock
        self._prober = prober
        self._watched: dict[str, _Watch] = {}
        self.loop = Loop("health-checks", self._check, workers=CHECKS_AT_ONCE)
        # Set before the start:
        self.function: CheckFunction = _cannot_check
        """Makes one health check of a function."""
        self.instance_runs: Callable[[str, str, str], bool] = _always
        """Account, region, id → is there such an instance (still)?"""
        self.told: Callable[[Target, TargetGroup, ProbeResult, float, float], None] | None = None
        """Is told of every check that was made: when it began and ended (epoch seconds)."""
        self.lets_out: Callable[[str, str, int], bool] = lambda load_balancer, address, port: True
        """May a load balancer (ARN) connect to this address and port?"""
        self.port_of: PortOf = same_port

    async def _check(self, key: str) -> Pass:
        target = self._store.get(TARGETS, key)
        group = self._store.get(TARGET_GROUPS, target.target_group_arn) if target is not None else None
        if target is None or group is None:
            self._watched.pop(key, None)
            forget_after_this_pass(self.loop, key)
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
            result = await self.function(target, group)
        else:
            request = self._request(target, group)
            result = ProbeResult("timeout", detail=NOT_LET_OUT)
            if self._lets_out(group, request):
                result = await self._prober.probe(request)
        now = self._clock.now()
        if self.told is not None:
            self.told(target, group, result, started, now)
        watch.health = decide.after_probe(watch.health, result, check, now)
        due = decide.next_probe_at(watch.health, check, started, now)
        watch.due = now if due is None else due
        await self._write(target, watch)
        return Pass(_sentence(watch.health, result), again_after=max(0.0, watch.due - self._clock.now()))

    def _request(self, target: Target, group: TargetGroup) -> ProbeRequest:
        return request_for(target, group, self._asks_as(group), port_of_targets(group, self.port_of))

    def _lets_out(self, group: TargetGroup, request: ProbeRequest) -> bool:
        """Do the security groups of its load balancer? (Datagrams, and what goes with them, do not pass its nodes.)"""
        if group.protocol in DATAGRAM or group.target_type == "alb":
            return True
        owners = load_balancers_of(self._store, group.arn)
        return any(self.lets_out(arn, request.address, request.port) for arn in owners)

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
                node = source_of(self._store, group.arn)
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


def request_for(
    target: Target, group: TargetGroup, asks_as: str | None = None, port_of: PortOf = same_port
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
