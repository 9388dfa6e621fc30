"""CloudWatch metrics of load balancers: counts requests by the minute, looks at the health of target groups once a minute,
and hands finished minutes to CloudWatch when somebody is about to ask it.

Decides nothing: what counts as what is `decide/elbv2_metrics`. Handing over late and not every minute means that an
installation whose metrics nobody reads spends neither a process nor a disk on them. Three hours are kept, so that a
CloudWatch that was started anew gets them again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Protocol

from moorage.decide.elbv2_metrics import (
    NAMESPACE,
    Datum,
    Dimensions,
    Sample,
    of_connection,
    of_request,
    of_targets,
    requests_per_target,
)
from moorage.domain.clock import Clock
from moorage.domain.load_balancer import LoadBalancer
from moorage.domain.request_record import RequestRecord
from moorage.domain.scope import Scope
from moorage.store.api import StoreApi
from moorage.store.elbv2_queries import current_health, load_balancers_of
from moorage.store.tables.elbv2 import LOAD_BALANCERS, TARGET_GROUPS, TARGETS

MINUTE = 60
KEPT = 180
"""Minutes."""
MOST_DATA = 50_000
"""Kept altogether; with more, the oldest minutes go first."""
MOST_CONNECTIONS = 100_000
_MINIMUM = "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count"


class MetricSink(Protocol):
    """Where metrics go. `generation` differs when what was put before is gone."""

    def generation(self) -> object: ...

    async def put(self, scope: Scope, namespace: str, data: Sequence[Datum]) -> None: ...


_Key = tuple[str, str, str, Dimensions, str]
"""(account, region, metric, dimensions, unit)"""
_Counts = dict[_Key, list[float]]
"""[samples, sum, minimum, maximum]"""


class LoadBalancerMetrics:
    def __init__(self, store: StoreApi, clock: Clock, sink: MetricSink) -> None:
        self._store = store
        self._clock = clock
        self._sink = sink
        self._minutes: OrderedDict[int, _Counts] = OrderedDict()
        self._connections: dict[int, set[tuple[str, str]]] = {}
        self._closed_until = int(clock.now()) // MINUTE
        self._put: set[int] = set()
        self._generation: object = None
        self._delivering = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="load-balancer-metrics")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    def forget(self) -> None:
        """Everything was reset."""
        self._minutes.clear()
        self._connections.clear()
        self._put.clear()

    def take(self, balancer: LoadBalancer, record: RequestRecord) -> None:
        """Counts a request; a late one counts in the minute that is open."""
        minute = max(int(record.at) // MINUTE, self._closed_until)
        zone = balancer.subnets[0][1] if balancer.subnets else ""
        self._add(minute, balancer, of_request(record, load_balancer=balancer.full_name, zone=zone))
        known = self._connections.setdefault(minute, set())
        connection = (balancer.arn, record.client)
        if connection not in known and len(known) < MOST_CONNECTIONS:
            known.add(connection)
            new = connection not in self._connections.get(minute - 1, ())
            self._add(minute, balancer, of_connection(load_balancer=balancer.full_name, zone=zone, new=new))

    async def deliver(self) -> None:
        """Puts the finished minutes that CloudWatch does not have."""
        async with self._delivering:
            self._finish_minutes()
            if self._sink.generation() != self._generation:
                self._put.clear()
            for minute in [one for one in self._minutes if one < self._closed_until and one not in self._put]:
                by_scope: dict[Scope, list[Datum]] = {}
                for (account, region, name, dimensions, unit), (samples, total, least, most) in self._minutes[
                    minute
                ].items():
                    datum = Datum(name, dimensions, unit, float(minute * MINUTE), samples, total, least, most)
                    by_scope.setdefault(Scope(account=account, region=region), []).append(datum)
                for scope, data in by_scope.items():
                    await self._sink.put(scope, NAMESPACE, data)
                self._put.add(minute)
            self._generation = self._sink.generation()

    def _add(self, minute: int, owner: LoadBalancer, samples: Iterable[Sample]) -> None:
        counts = self._minutes.setdefault(minute, {})
        for one in samples:
            key = (owner.account, owner.region, one.name, one.dimensions, one.unit)
            found = counts.get(key)
            if found is None:
                counts[key] = [1.0, one.value, one.value, one.value]
            else:
                found[0] += 1
                found[1] += one.value
                found[2] = min(found[2], one.value)
                found[3] = max(found[3], one.value)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(MINUTE - self._clock.now() % MINUTE)
            self._finish_minutes()

    def _finish_minutes(self) -> None:
        """The health of the target groups is that of the end of the minute."""
        current = int(self._clock.now()) // MINUTE
        if current <= self._closed_until:
            return
        for balancer, samples in list(self._of_groups(current - 1)):
            self._add(current - 1, balancer, samples)
        self._closed_until = current
        for minute in [one for one in self._connections if one < current - 1]:
            del self._connections[minute]
        while self._minutes and (
            min(self._minutes) < current - KEPT or sum(map(len, self._minutes.values())) > MOST_DATA
        ):
            oldest = min(self._minutes)
            del self._minutes[oldest]
            self._put.discard(oldest)

    def _of_groups(self, minute: int) -> Iterable[tuple[LoadBalancer, list[Sample]]]:
        counts = self._minutes.get(minute, {})
        for group in self._store.all(TARGET_GROUPS):
            for arn in load_balancers_of(self._store, group.arn):
                balancer = self._store.get(LOAD_BALANCERS, arn)
                if balancer is None or balancer.type != "application":
                    continue
                found = self._store.find(TARGETS, "target_group", group.arn)
                states = [
                    health.state
                    for target in found
                    if target.deregistered_at is None and (health := current_health(self._store, target)) is not None
                ]
                healthy = sum(state in ("healthy", "unavailable") for state in states)
                unhealthy = states.count("unhealthy")
                minimum = group.attributes.get(_MINIMUM, "1")
                names = {"load_balancer": balancer.full_name, "target_group": group.full_name}
                dimensions = (("TargetGroup", group.full_name), ("LoadBalancer", balancer.full_name))
                asked = counts.get((balancer.account, balancer.region, "RequestCount", dimensions, "Count"), [0, 0.0])
                yield (
                    balancer,
                    [
                        *of_targets(
                            **names,
                            healthy=healthy,
                            unhealthy=unhealthy,
                            enough=not minimum.isdigit() or healthy >= int(minimum),
                        ),
                        *requests_per_target(**names, requests=asked[1], targets=healthy or len(states)),
                    ],
                )
