"""Minutes of metrics: counted as requests come, put once, put again into a CloudWatch that has lost them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from moorage.control.elbv2_metrics import LoadBalancerMetrics
from moorage.decide.elbv2_metrics import Datum
from moorage.domain.load_balancer import TargetGroupUse
from moorage.domain.request_record import RequestRecord
from moorage.domain.scope import Scope
from moorage.domain.target_group import Target, TargetHealth
from moorage.simulation.loop import VirtualClock, run
from moorage.store.log_memory import MemoryDisk, MemoryLog
from moorage.store.memory import Store
from moorage.store.tables import elbv2
from moorage.store.tables.elbv2 import LOAD_BALANCERS, TARGET_GROUP_USES, TARGET_GROUPS, TARGET_HEALTH, TARGETS
from proxy.builders import a_load_balancer, a_target_group, tg_arn

BALANCER = a_load_balancer()


class Sink:
    def __init__(self) -> None:
        self.started = 1
        self.got: list[Datum] = []
        self.scopes: set[Scope] = set()

    def generation(self) -> object:
        return self.started

    async def put(self, scope: Scope, namespace: str, data: Sequence[Datum]) -> None:
        assert namespace == "AWS/ApplicationELB"
        self.scopes.add(scope)
        self.got += data

    def of(self, name: str, dimensions: int = 1) -> list[Datum]:
        return [one for one in self.got if one.name == name and len(one.dimensions) == dimensions]


async def a_store() -> Store:
    store = await Store.open(MemoryLog(MemoryDisk()), elbv2.TABLES)
    group = a_target_group("web")
    target = Target(tg_arn("web"), "10.0.0.7", 80, "us-east-1a", registered_at=1.0)
    health = TargetHealth(tg_arn("web"), "10.0.0.7", 80, "healthy", 1.0, 1.0)
    use = TargetGroupUse(user_arn="listener", target_group_arn=group.arn, load_balancer_arn=BALANCER.arn)
    await store.update(
        lambda tx: (
            tx.put(LOAD_BALANCERS, BALANCER),
            tx.put(TARGET_GROUPS, group),
            tx.put(TARGETS, target),
            tx.put(TARGET_HEALTH, health),
            tx.put(TARGET_GROUP_USES, use),
        )
    )
    return store


def a_request(at: float, **changes: object) -> RequestRecord:
    plain = RequestRecord(
        at, "192.0.2.1:9", 80, "HTTP/1.1", "GET", "h", "/", 200, 0.1, details="via_upstream",
        target_group_arn=tg_arn("web"), target="10.0.0.7:80", target_time=0.5,
    )  # fmt: skip
    return msgspec.structs.replace(plain, **changes)


def test_a_minute_is_put_once_when_it_is_over() -> None:
    async def story() -> None:
        clock = VirtualClock(asyncio.get_running_loop())
        sink = Sink()
        metrics = LoadBalancerMetrics(await a_store(), clock, sink)
        metrics.start()
        for target_time in (0.5, 1.5):
            metrics.take(BALANCER, a_request(clock.now(), target_time=target_time))
        await metrics.deliver()
        assert sink.got == []
        await asyncio.sleep(60)
        await metrics.deliver()
        await metrics.deliver()
        (requests,) = sink.of("RequestCount")
        assert (requests.samples, requests.total) == (2, 2)
        assert requests.at % 60 == 0
        (times,) = sink.of("TargetResponseTime")
        assert (times.total, times.least, times.most, times.unit) == (2.0, 0.5, 1.5, "Seconds")
        assert [one.total for one in sink.of("ActiveConnectionCount")] == [1]
        assert [one.total for one in sink.of("NewConnectionCount")] == [1]
        assert [one.total for one in sink.of("HealthyHostCount", 2)] == [1]
        assert [one.total for one in sink.of("RequestCountPerTarget", 2)] == [2]
        assert sink.scopes == {Scope("000000000000", "us-east-1")}
        # the connection is still there: not a new one
        metrics.take(BALANCER, a_request(clock.now()))
        await asyncio.sleep(60)
        await metrics.deliver()
        assert len(sink.of("ActiveConnectionCount")) == 2
        assert len(sink.of("NewConnectionCount")) == 1
        await metrics.close()

    run(story())


def test_a_new_cloudwatch_gets_everything_again_and_a_reset_nothing() -> None:
    async def story() -> None:
        clock = VirtualClock(asyncio.get_running_loop())
        sink = Sink()
        metrics = LoadBalancerMetrics(await a_store(), clock, sink)
        metrics.take(BALANCER, a_request(clock.now()))
        await asyncio.sleep(60)
        await metrics.deliver()
        sink.started = 2
        await metrics.deliver()
        assert len(sink.of("RequestCount")) == 2
        metrics.forget()
        sink.started = 3
        await metrics.deliver()
        assert len(sink.of("RequestCount")) == 2

    run(story())


def test_only_three_hours_are_kept() -> None:
    async def story() -> None:
        clock = VirtualClock(asyncio.get_running_loop())
        sink = Sink()
        metrics = LoadBalancerMetrics(await a_store(), clock, sink)
        metrics.start()
        await asyncio.sleep(5 * 3600)
        await metrics.deliver()
        assert 175 <= len(sink.of("HealthyHostCount", 2)) <= 181
        await metrics.close()

    run(story())
