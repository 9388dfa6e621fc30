"""CloudWatch metrics of load balancers: counts requests, connections and flows by the minute, looks at target groups once a
minute, and hands finished minutes to CloudWatch when somebody is about to ask it.

Decides nothing: what counts as what is `decide/elbv2_metrics`, `elbv2_flow_metrics`, `elbv2_capacity_units`. Handing over
late and not every minute means that an installation whose metrics nobody reads spends neither a process nor a disk on them.
Three hours are kept, so that a CloudWatch that was started anew gets them again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Protocol

from moorage.control.metric_minutes import MINUTE, MetricMinutes
from moorage.control.open_flows import OpenFlows
from moorage.decide import elbv2_capacity_units as units
from moorage.decide import elbv2_flow_metrics as flow_metrics
from moorage.decide.elbv2_metrics import (
    NAMESPACE,
    WELL,
    Datum,
    Measure,
    Sample,
    of_anomalies,
    of_connection,
    of_failed_handshake,
    of_request,
    of_targets,
    of_zones,
    requests_per_target,
)
from moorage.decide.target_traffic import crosses_zones, mitigates_anomalies, zone_of
from moorage.domain.clock import Clock
from moorage.domain.connection_record import ConnectionRecord
from moorage.domain.load_balancer import LoadBalancer, listener_of
from moorage.domain.request_record import RequestRecord
from moorage.domain.scope import Scope
from moorage.domain.target_group import Target, TargetGroup, below_minimum
from moorage.store.api import Change, StoreApi
from moorage.store.elbv2_queries import current_health, load_balancers_of
from moorage.store.tables.elbv2 import LOAD_BALANCERS, RULES, TARGET_GROUPS, TARGET_HEALTH, TARGETS

MOST_CONNECTIONS = 100_000
MOST_RULES = 10_000


class MetricSink(Protocol):
    """Where metrics go. `generation` differs when what was put before is gone."""

    def generation(self) -> object: ...

    async def put(self, scope: Scope, namespace: str, data: Sequence[Datum]) -> None: ...


class LoadBalancerMetrics:
    def __init__(self, store: StoreApi, clock: Clock, sink: MetricSink) -> None:
        self._store = store
        self._clock = clock
        self._sink = sink
        self._counted = MetricMinutes()
        self._connections: dict[int, set[tuple[str, int, str]]] = {}
        self._rules: Counter[tuple[str, int]] = Counter()
        """(rule ARN, priority) → how often it matched in the minute that is open"""
        self._active: set[str] = set()
        """Load balancers that did something in the minute that is open."""
        self._flows = OpenFlows()
        self._groups: dict[str, tuple[bool, bool]] = {}
        """Target group → (speaks gRPC, too few of its targets are healthy), until something of it changes."""
        self._closed_until = int(clock.now()) // MINUTE
        self.anomalies: Callable[[str], Awaitable[frozenset[tuple[str, int]]]] | None = None
        """Which targets of a group are passed over now; set before `start()`."""
        self._passed_over: dict[str, int] = {}
        self._put: set[int] = set()
        self._generation: object = None
        self._delivering = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._unwatch: Callable[[], None] = lambda: None

    def start(self) -> None:
        self._unwatch = self._store.watch(self._changed)
        self._task = asyncio.create_task(self._run(), name="load-balancer-metrics")

    async def close(self) -> None:
        self._unwatch()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    def forget(self) -> None:
        """Everything was reset."""
        self._counted.clear()
        self._connections.clear()
        self._rules.clear()
        self._active.clear()
        self._flows.clear()
        self._groups.clear()
        self._put.clear()

    def take(self, balancer: LoadBalancer, record: RequestRecord) -> None:
        """Counts a request; a late one counts in the minute that is open."""
        minute = max(int(record.at) // MINUTE, self._closed_until)
        grpc, fail_open = self._group(record.target_group_arn) if record.target_group_arn else (False, False)
        self._count(minute, balancer, of_request(record, grpc=grpc, fail_open=fail_open))
        if record.priority is not None and len(self._rules) < MOST_RULES:
            self._rules[record.rule_arn, record.priority] += 1
        known = self._connections.setdefault(minute, set())
        connection = (balancer.arn, record.connection_id, record.client)
        if connection not in known and len(known) < MOST_CONNECTIONS:
            known.add(connection)
            new = connection not in self._connections.get(minute - 1, ())
            self._count(minute, balancer, of_connection(new=new))

    def connection(self, balancer: LoadBalancer, record: ConnectionRecord) -> None:
        """Counts what happened to a connection of an HTTPS listener, or to a flow of a network load balancer."""
        now = self._clock.now()
        minute = max(int(now) // MINUTE, self._closed_until)
        if record.protocol == "HTTPS":
            if not record.tls_is_settled:
                self._count(minute, balancer, of_failed_handshake())
            return
        fresh = self._flows.heard(record, now)
        _, fail_open = self._group(record.target_group_arn) if record.target_group_arn else (False, False)
        self._count(minute, balancer, flow_metrics.of_flow(record, fresh_bytes=fresh, fail_open=fail_open))
        if record.event == "begin":
            # a flow that lasts less than a minute is seen too
            self._count(minute, balancer, flow_metrics.active(self._flows.open(balancer.arn)))

    async def deliver(self) -> None:
        """Puts the finished minutes that CloudWatch does not have."""
        async with self._delivering:
            self._finish_minutes()
            if self._sink.generation() != self._generation:
                self._put.clear()
            for minute in self._counted.minutes():
                if minute >= self._closed_until or minute in self._put:
                    continue
                for (scope, namespace), data in self._counted.data(minute).items():
                    await self._sink.put(scope, namespace, data)
                self._put.add(minute)
            self._generation = self._sink.generation()

    # --- inside ------------------------------------------------------------------------------------------------------

    def _count(self, minute: int, balancer: LoadBalancer, measures: Iterable[Measure]) -> None:
        self._active.add(balancer.arn)
        self._counted.count(minute, balancer, _namespace(balancer), measures)

    def _group(self, arn: str) -> tuple[bool, bool]:
        known = self._groups.get(arn)
        if known is None:
            group = self._store.get(TARGET_GROUPS, arn)
            if group is None:
                return (False, False)
            states = [state in WELL for _, state in self._targets(group)]
            too_few = bool(states) and below_minimum(group, "unhealthy_state_routing", sum(states), len(states))
            known = self._groups[arn] = (group.protocol_version == "GRPC", too_few)
        return known

    def _targets(self, group: TargetGroup) -> list[tuple[str, str]]:
        """(zone, state) of those that were checked."""
        found = [one for one in self._store.find(TARGETS, "target_group", group.arn) if one.deregistered_at is None]
        return [(zone_of(one), state) for one in found if (state := self._state(one))]

    def _state(self, target: Target) -> str:
        health = current_health(self._store, target)
        return health.state if health is not None else ""

    def _changed(self, changes: Sequence[Change[Any]]) -> None:
        for change in changes:
            if change.table is TARGET_GROUPS:
                self._groups.pop(change.key, None)
            elif change.table is TARGETS or change.table is TARGET_HEALTH:
                record: Any = change.after if change.after is not None else change.before
                self._groups.pop(record.target_group_arn, None)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(MINUTE - self._clock.now() % MINUTE)
            await self._look_for_anomalies()
            self._finish_minutes()

    async def _look_for_anomalies(self) -> None:
        self._passed_over.clear()
        for group in self._store.all(TARGET_GROUPS):
            if self.anomalies is not None and mitigates_anomalies(group):
                self._passed_over[group.arn] = len(await self.anomalies(group.arn))

    def _finish_minutes(self) -> None:
        """The health of the target groups is that of the end of the minute."""
        current = int(self._clock.now()) // MINUTE
        if current <= self._closed_until:
            return
        self._of_load_balancers(current - 1)
        self._of_groups(current - 1)
        self._closed_until = current
        for minute in [one for one in self._connections if one < current - 1]:
            del self._connections[minute]
        self._put.difference_update(self._counted.prune(current))

    def _of_load_balancers(self, minute: int) -> None:
        self._flows.forget_silent(self._clock.now())
        evaluated, charged = self._rules_evaluated()
        for arn in self._active | self._flows.load_balancers():
            balancer = self._store.get(LOAD_BALANCERS, arn)
            if balancer is None:
                continue
            if balancer.type == "network":
                self._count(minute, balancer, flow_metrics.active(self._flows.open(arn)))
                self._count(minute, balancer, self._units_of_flows(minute, balancer))
                continue
            self._count(minute, balancer, [Measure("ConsumedLCUs", self._units(minute, balancer, charged[arn]))])
            if evaluated[arn]:
                self._count(minute, balancer, [Measure("RuleEvaluations", evaluated[arn])])
        self._active.clear()

    def _rules_evaluated(self) -> tuple[Counter[str], Counter[str]]:
        """By load balancer: rules that requests went through, and those of them that cost something."""
        evaluated, charged, priorities = Counter[str](), Counter[str](), dict[str, list[int]]()
        for (rule, priority), times in self._rules.items():
            listener = listener_of(rule)
            if listener not in priorities:
                priorities[listener] = [one.priority for one in self._store.find(RULES, "listener", listener)]
            count = units.rules_evaluated(priority, priorities[listener])
            balancer = listener.replace(":listener/", ":loadbalancer/").rpartition("/")[0]
            evaluated[balancer] += count * times
            charged[balancer] += max(0, count - units.FREE_RULES) * times
        self._rules.clear()
        return evaluated, charged

    def _units(self, minute: int, balancer: LoadBalancer, charged_rules: float) -> float:
        return units.of_application(
            new_connections=self._total(minute, balancer, "NewConnectionCount"),
            active_connections=self._total(minute, balancer, "ActiveConnectionCount"),
            processed_bytes=self._total(minute, balancer, "ProcessedBytes"),
            charged_rules=charged_rules,
        )

    def _units_of_flows(self, minute: int, balancer: LoadBalancer) -> list[Measure]:
        measures = []
        for protocol in flow_metrics.PROTOCOLS:
            active = self._counted.total(minute, balancer, f"ActiveFlowCount_{protocol}")
            used = units.of_flows(
                protocol,
                new_flows=self._total(minute, balancer, f"NewFlowCount_{protocol}"),
                active_flows=active.most if active is not None else 0.0,
                processed_bytes=self._total(minute, balancer, f"ProcessedBytes_{protocol}"),
            )
            if used:
                measures.append(Measure(f"ConsumedLCUs_{protocol}", used))
        return [*measures, Measure("ConsumedLCUs", sum(one.value for one in measures))]

    def _total(self, minute: int, balancer: LoadBalancer, name: str, group: str = "") -> float:
        found = self._counted.total(minute, balancer, name, group)
        return found.total if found is not None else 0.0

    def _of_groups(self, minute: int) -> None:
        for group in self._store.all(TARGET_GROUPS):
            for arn in load_balancers_of(self._store, group.arn):
                balancer = self._store.get(LOAD_BALANCERS, arn)
                if balancer is None or balancer.type == "gateway":
                    continue
                samples = self._of_group(minute, group, balancer)
                self._counted.look(minute, balancer, _namespace(balancer), samples)

    def _of_group(self, minute: int, group: TargetGroup, balancer: LoadBalancer) -> list[Sample]:
        targets = self._targets(group)
        healthy = sum(state in WELL for _, state in targets)
        names = {"load_balancer": balancer.full_name, "target_group": group.full_name}
        zones = list(dict.fromkeys(zone for _, zone in balancer.subnets))
        asked = self._total(minute, balancer, "RequestCount", group.full_name)
        return [
            *of_targets(**names, zones=zones, targets=targets),
            *(
                of_anomalies(**names, passed_over=self._passed_over[group.arn])
                if group.arn in self._passed_over
                else ()
            ),
            *of_zones(
                group,
                load_balancer=balancer.full_name,
                zones=zones,
                targets=[(zone, state in WELL) for zone, state in targets],
                crosses=crosses_zones(group, balancer),
            ),
            *requests_per_target(**names, requests=asked, targets=healthy or len(targets)),
        ]


def _namespace(balancer: LoadBalancer) -> str:
    return flow_metrics.NAMESPACE if balancer.type == "network" else NAMESPACE
