"""Minutes of metrics: counted as requests come, put once, put again into a CloudWatch that has lost them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from moorage.control.elbv2_metrics import LoadBalancerMetrics
from moorage.control.open_flows import OpenFlows
from moorage.decide.elbv2_metrics import Datum
from moorage.domain.connection_record import ConnectionRecord
from moorage.domain.load_balancer import Rule, TargetGroupUse
from moorage.domain.request_record import RequestRecord
from moorage.domain.scope import Scope
from moorage.domain.target_group import Target, TargetHealth
from moorage.simulation.loop import VirtualClock, run
from moorage.store.log_memory import MemoryDisk, MemoryLog
from moorage.store.memory import Store
from moorage.store.tables import elbv2
from moorage.store.tables.elbv2 import LOAD_BALANCERS, RULES, TARGET_GROUP_USES, TARGET_GROUPS, TARGET_HEALTH, TARGETS
from proxy.builders import PREFIX, a_load_balancer, a_target_group, tg_arn

BALANCER = a_load_balancer()


class Sink:
    def __init__(self) -> None:
        self.started = 1
        self.got: list[Datum] = []
        self.scopes: set[Scope] = set()
        self.namespaces: set[tuple[str, str]] = set()

    def generation(self) -> object:
        return self.started

    async def put(self, scope: Scope, namespace: str, data: Sequence[Datum]) -> None:
        self.scopes.add(scope)
        self.namespaces |= {(namespace, one.name) for one in data}
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


def test_percentiles_are_made_of_what_is_put() -> None:
    async def story() -> None:
        clock = VirtualClock(asyncio.get_running_loop())
        sink = Sink()
        metrics = LoadBalancerMetrics(await a_store(), clock, sink)
        for milliseconds in (1, 1, 1, 900):
            metrics.take(BALANCER, a_request(clock.now(), target_time=milliseconds / 1000))
        await asyncio.sleep(60)
        await metrics.deliver()
        (times,) = sink.of("TargetResponseTime")
        assert times.values == ((0.001, 1), (0.001, 2), (0.9, 1))
        assert sink.of("RequestCount")[0].values == ()

    run(story())


def test_rules_that_were_evaluated_and_units_that_were_used() -> None:
    async def story() -> None:
        clock = VirtualClock(asyncio.get_running_loop())
        sink, store = Sink(), await a_store()
        listener = f"{PREFIX}listener/app/web/50dc6c495c0c9188/1"
        rules = [
            Rule(f"{PREFIX}listener-rule/app/web/50dc6c495c0c9188/1/{n}", listener, n, (), ()) for n in range(1, 13)
        ]
        await store.update(lambda tx: [tx.put(RULES, one) for one in rules])
        metrics = LoadBalancerMetrics(store, clock, sink)
        for rule, priority in (
            (rules[1].arn, 2),
            (rules[1].arn, 2),
            (f"{listener.replace('listener/', 'listener-rule/')}/d", 0),
        ):
            metrics.take(BALANCER, a_request(clock.now(), rule_arn=rule, priority=priority, received_bytes=2**30))
        await asyncio.sleep(60)
        await metrics.deliver()
        assert [one.total for one in sink.of("RuleEvaluations")] == [2 + 2 + 12]
        assert [one.total for one in sink.of("ConsumedLCUs")] == [3.0]  # three gigabytes in a minute

    run(story())


def test_a_group_with_too_few_healthy_targets_gets_its_requests_by_failing_open() -> None:
    async def story() -> None:
        clock = VirtualClock(asyncio.get_running_loop())
        sink, store = Sink(), await a_store()
        metrics = LoadBalancerMetrics(store, clock, sink)
        metrics.start()
        metrics.take(BALANCER, a_request(clock.now()))
        ill = TargetHealth(tg_arn("web"), "10.0.0.7", 80, "unhealthy", 1.0, 1.0)
        await store.update(lambda tx: tx.put(TARGET_HEALTH, ill))
        metrics.take(BALANCER, a_request(clock.now()))
        await asyncio.sleep(60)
        await metrics.deliver()
        assert [one.total for one in sink.of("UnhealthyRoutingRequestCount", 2)] == [1]
        for name in ("UnhealthyStateRouting", "UnhealthyStateDNS", "UnHealthyHostCount"):
            assert [one.total for one in sink.of(name, 2)] == [1], name
        assert sink.of("HealthyStateRouting", 2) == []
        await metrics.close()

    run(story())


def test_targets_that_are_passed_over() -> None:
    async def story() -> None:
        clock = VirtualClock(asyncio.get_running_loop())
        sink, store = Sink(), await a_store()
        watched = {
            "load_balancing.algorithm.type": "weighted_random",
            "load_balancing.algorithm.anomaly_mitigation": "on",
        }
        group = msgspec.structs.replace(a_target_group("web"), attributes=watched)
        await store.update(lambda tx: tx.put(TARGET_GROUPS, group))
        metrics = LoadBalancerMetrics(store, clock, sink)

        async def anomalies(arn: str) -> frozenset[tuple[str, int]]:
            return frozenset({("10.0.0.7", 80)}) if arn == group.arn else frozenset()

        metrics.anomalies = anomalies
        metrics.start()
        await asyncio.sleep(60)
        await store.update(lambda tx: tx.put(TARGET_GROUPS, a_target_group("web")))
        await asyncio.sleep(60)
        await metrics.deliver()
        for name in ("AnomalousHostCount", "MitigatedHostCount"):
            assert [one.total for one in sink.of(name, 2)] == [1], name
        await metrics.close()

    run(story())


def test_failed_handshakes() -> None:
    async def story() -> None:
        clock = VirtualClock(asyncio.get_running_loop())
        sink = Sink()
        metrics = LoadBalancerMetrics(await a_store(), clock, sink)
        failed = ConnectionRecord(
            f"{BALANCER.arn}:443", "HTTPS", "end", clock.now(), 0.1, "192.0.2.1:9", "127.0.0.1:443"
        )
        metrics.connection(BALANCER, failed)
        metrics.connection(BALANCER, msgspec.structs.replace(failed, handshake=0.1))
        await asyncio.sleep(60)
        await metrics.deliver()
        assert [one.total for one in sink.of("ClientTLSNegotiationErrorCount")] == [1]
        assert [one.total for one in sink.of("NewConnectionCount")] == [1]

    run(story())


def test_flows_of_a_network_load_balancer() -> None:
    net = msgspec.structs.replace(
        a_load_balancer("db"), arn=f"{PREFIX}loadbalancer/net/db/1", type="network", full_name="net/db/1"
    )

    async def story() -> None:
        clock = VirtualClock(asyncio.get_running_loop())
        sink, store = Sink(), await a_store()
        use = TargetGroupUse(user_arn="l", target_group_arn=tg_arn("web"), load_balancer_arn=net.arn)
        await store.update(lambda tx: (tx.put(LOAD_BALANCERS, net), tx.put(TARGET_GROUP_USES, use)))
        metrics = LoadBalancerMetrics(store, clock, sink)
        metrics.start()

        def told(event: str, number: int, size: int = 0) -> None:
            flow = ConnectionRecord(
                f"{net.arn}:5432", "TCP", "begin", clock.now(), 0.1, "192.0.2.1:9", "127.0.0.1:5432", number,
                target_group_arn=tg_arn("web"), target="10.0.0.7:80", received_bytes=size,
            )  # fmt: skip
            metrics.connection(net, msgspec.structs.replace(flow, event=event))

        told("begin", 1)
        told("begin", 2)
        told("end", 2, 100)
        await asyncio.sleep(60)
        told("during", 1, 30)
        await asyncio.sleep(60)
        told("end", 1, 50)
        await asyncio.sleep(60)
        await metrics.deliver()
        assert [one.total for one in sink.of("NewFlowCount_TCP")] == [2]
        assert [(one.least, one.most) for one in sink.of("ActiveFlowCount")] == [(1, 2), (1, 1)]
        assert [one.total for one in sink.of("ProcessedBytes_TCP")] == [100, 30, 20]
        assert next(one.total for one in sink.of("HealthyHostCount", 2)) == 1
        assert {name for namespace, name in sink.namespaces if namespace == "AWS/NetworkELB"} >= {
            "NewFlowCount", "ActiveFlowCount_TCP", "ConsumedLCUs", "ConsumedLCUs_TCP", "HealthyStateDNS",
        }  # fmt: skip
        await metrics.close()

    run(story())


def test_a_flow_whose_end_nobody_told_is_over_some_time() -> None:
    flows = OpenFlows()
    record = ConnectionRecord("arn:net:80", "TCP", "begin", 1.0, 0.1, "192.0.2.1:9", "127.0.0.1:80", 1)
    flows.heard(record, 0.0)
    flows.heard(msgspec.structs.replace(record, connection_id=2), 100.0)
    assert flows.open("arn:net") == {"TCP": 2}
    flows.forget_silent(200.0)
    assert flows.open("arn:net") == {"TCP": 1}
    flows.forget_silent(1000.0)
    assert flows.load_balancers() == set()
