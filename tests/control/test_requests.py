"""The memory of requests: bounded, by cursor, failures tied to what was there when they happened."""

from __future__ import annotations

import asyncio

import msgspec

from moorage.control.requests import RequestLog
from moorage.domain.load_balancer import FixedResponse
from moorage.domain.request_record import RequestRecord
from moorage.domain.target_group import Target, TargetHealth
from moorage.domain.task import Interface, Task
from moorage.simulation.loop import VirtualClock, run
from moorage.store.log_memory import MemoryDisk, MemoryLog
from moorage.store.memory import Store
from moorage.store.tables import ecs, elbv2
from moorage.store.tables.ecs import TASKS
from moorage.store.tables.elbv2 import LISTENERS, LOAD_BALANCERS, TARGET_GROUPS, TARGET_HEALTH, TARGETS
from proxy.builders import a_listener, a_load_balancer, a_target_group, to

GROUP = "arn:aws:elasticloadbalancing:us-east-1:000000000000:targetgroup/web/1"
DELAY = "deregistration_delay.timeout_seconds"
TASK = "arn:aws:ecs:us-east-1:000000000000:task/default/abc"


async def a_store() -> Store:
    return await Store.open(MemoryLog(MemoryDisk()), (*ecs.TABLES, *elbv2.TABLES))


def a_request(
    path: str = "/", *, status: int = 200, flags: str = "", details: str = "", target: str = ""
) -> RequestRecord:
    return RequestRecord(
        1.0,
        "127.0.0.1:9",
        80,
        "HTTP/1.1",
        "GET",
        "h",
        path,
        status,
        0.1,
        flags,
        details,
        target_group_arn=GROUP,
        target=target,
    )


def a_task(**changes: object) -> Task:
    plain: dict[str, object] = {
        "arn": TASK,
        "account": "000000000000",
        "region": "us-east-1",
        "cluster_arn": "c",
        "task_definition_arn": "arn:aws:ecs:us-east-1:000000000000:task-definition/web:1",
        "group": "service:web",
        "launch_type": "FARGATE",
        "availability_zone": "us-east-1a",
        "desired_status": "RUNNING",
        "last_status": "RUNNING",
        "containers": (),
        "created_at": 0.0,
        "deployment_id": "ecs-svc/1",
        "interface": Interface("a", "subnet-1", "vpc-1", (), ipv4="10.0.0.7"),
    }
    return Task(**{**plain, **changes})  # type: ignore[arg-type]


def test_cursor_and_bound() -> None:
    async def story() -> None:
        log = RequestLog(await a_store(), VirtualClock(asyncio.get_running_loop()), remembered=3)
        log.take([a_request(f"/{n}") for n in range(5)])
        found, cursor = log.after()
        assert [one.record.path for one in found] == ["/2", "/3", "/4"]
        assert log.after(cursor) == ([], cursor)
        log.take([a_request("/5")])
        assert [one.record.path for one in log.after(cursor)[0]] == ["/5"]
        first, middle = log.after(0, limit=1)
        assert [one.record.path for one in log.after(middle)[0]] == ["/4", "/5"]
        assert len(first) == 1
        assert [one.record.path for one in log.latest(2)[0]] == ["/4", "/5"]

    run(story())


def test_a_refused_target_names_the_task_that_died() -> None:
    async def story() -> None:
        store = await a_store()
        log = RequestLog(store, VirtualClock(asyncio.get_running_loop()))
        log.start()
        await store.update(lambda tx: tx.put(TASKS, a_task()))
        died = a_task(
            desired_status="STOPPED",
            last_status="STOPPED",
            stopped_reason="Essential container in task exited",
            interface=Interface("a", "subnet-1", "vpc-1", (), ipv4="10.0.0.7", released=True),
        )
        await store.update(lambda tx: tx.put(TASKS, died))
        log.take([a_request(status=502, flags="UF", details="Connection_refused", target="10.0.0.7:80"), a_request()])
        (found,), _ = log.after(failed=True)
        assert (found.cause, found.task_arn, found.deployment_id) == ("TargetConnectionRefused", TASK, "ecs-svc/1")
        assert found.task_said == "STOPPED, stopping: Essential container in task exited"

    run(story())


def test_the_health_of_the_group_when_it_happened() -> None:
    async def story() -> None:
        store = await a_store()
        log = RequestLog(store, VirtualClock(asyncio.get_running_loop()))
        target = Target(GROUP, "10.0.0.7", 80, "us-east-1a", registered_at=1.0)
        ill = TargetHealth(GROUP, "10.0.0.7", 80, "unhealthy", 1.0, 1.0)
        await store.update(lambda tx: (tx.put(TARGETS, target), tx.put(TARGET_HEALTH, ill)))
        log.take([a_request(status=504, flags="SI", target="10.0.0.7:80")])
        await store.update(lambda tx: tx.delete(TARGETS, target.key))
        (found,), _ = log.after()
        assert (found.registered, found.healthy) == (1, 0)
        assert "no target of the group is healthy" in found.sentence

    run(story())


def test_what_came_after_the_request_does_not_count() -> None:
    async def story() -> None:
        store = await a_store()
        log = RequestLog(store, VirtualClock(asyncio.get_running_loop()))
        late = Target(GROUP, "10.0.0.7", 80, "us-east-1a", registered_at=1.1)
        await store.update(lambda tx: tx.put(TARGETS, late))
        log.take([a_request(status=503, flags="UH")])
        (found,), _ = log.after()
        assert (found.cause, found.registered) == ("NoRegisteredTargets", 0)

    run(story())


def test_a_connection_that_was_cut_when_the_deregistration_delay_was_over() -> None:
    async def story() -> None:
        store = await a_store()
        log = RequestLog(store, VirtualClock(asyncio.get_running_loop()))
        log.start()
        group = msgspec.structs.replace(a_target_group(), arn=GROUP, attributes={DELAY: "5"})
        gone = Target(GROUP, "10.0.0.7", 80, "us-east-1a", registered_at=0.0, deregistered_at=-4.0)
        well = TargetHealth(GROUP, "10.0.0.7", 80, "healthy", 0.0, 0.0)
        await store.update(
            lambda tx: (tx.put(TARGET_GROUPS, group), tx.put(TARGETS, gone), tx.put(TARGET_HEALTH, well))
        )
        cut = a_request(status=502, flags="UC", details="upstream_reset_before", target="10.0.0.7:80")
        log.take([cut])  # before the registration goes
        await store.update(lambda tx: (tx.delete(TARGETS, gone.key), tx.delete(TARGET_HEALTH, gone.key)))
        log.take([cut, msgspec.structs.replace(cut, target="10.0.0.8:80")])
        found, _ = log.after()
        assert [one.cause for one in found] == ["DeregistrationDelayOver", "DeregistrationDelayOver", "TargetReset"]
        assert "deregistration delay was over" in found[0].sentence

    run(story())


def test_a_target_that_went_since_counts_as_it_was() -> None:
    async def story() -> None:
        clock = VirtualClock(asyncio.get_running_loop())
        store, at = await a_store(), clock.now()
        log = RequestLog(store, clock)
        log.start()
        there = Target(GROUP, "10.0.0.7", 80, "us-east-1a", registered_at=at - 9)
        well = TargetHealth(GROUP, "10.0.0.7", 80, "healthy", at - 9, at - 9)
        await store.update(lambda tx: (tx.put(TARGETS, there), tx.put(TARGET_HEALTH, well)))
        await store.update(lambda tx: (tx.delete(TARGETS, there.key), tx.delete(TARGET_HEALTH, there.key)))
        refused = a_request(status=502, flags="UF", details="Connection_refused", target="10.0.0.7:80")
        log.take([msgspec.structs.replace(refused, at=at), msgspec.structs.replace(refused, at=at + 1)])
        found, _ = log.after()
        assert [(one.registered, one.healthy) for one in found] == [(1, 1), (0, 0)]

    run(story())


def test_an_empty_group_names_the_task_that_was_its_last_target() -> None:
    async def story() -> None:
        store = await a_store()
        log = RequestLog(store, VirtualClock(asyncio.get_running_loop()))
        log.start()
        for address, deregistered in (("10.0.0.6", 0.2), ("10.0.0.7", 0.5), ("10.0.0.8", 9.0)):
            one = Target(GROUP, address, 80, "us-east-1a", registered_at=0.0, deregistered_at=deregistered)
            await store.update(lambda tx, one=one: tx.put(TARGETS, one))
            await store.update(lambda tx, one=one: tx.delete(TARGETS, one.key))
        await store.update(lambda tx: tx.put(TASKS, a_task(desired_status="STOPPED", stopped_reason="it died")))
        tried = a_request(status=503, flags="UH", target="10.0.0.9:80")
        other = msgspec.structs.replace(a_request(status=503, flags="UH"), target_group_arn="arn:other")
        log.take([a_request(status=503, flags="UH"), tried, other])
        empty, gone, unknown = log.after()[0]
        assert (empty.cause, empty.last_target, empty.task_arn) == ("NoRegisteredTargets", "10.0.0.7:80", TASK)
        assert empty.task_said == "RUNNING, stopping: it died"
        assert (gone.last_target, gone.task_arn) == ("10.0.0.9:80", "")
        assert (unknown.last_target, unknown.task_arn) == ("", "")

    run(story())


def test_the_certificate_is_known_where_there_is_no_choice() -> None:
    async def story() -> None:
        store, balancer = await a_store(), a_load_balancer()
        log = RequestLog(store, VirtualClock(asyncio.get_running_loop()))
        plain = a_listener(balancer, port=443, protocol="HTTPS")
        one = msgspec.structs.replace(plain, certificates=("arn:one",))
        two = msgspec.structs.replace(
            a_listener(balancer, port=444, protocol="HTTPS"), certificates=("arn:one", "arn:two")
        )
        await store.update(lambda tx: (tx.put(LISTENERS, one), tx.put(LISTENERS, two)))
        seen = [msgspec.structs.replace(a_request(), rule_arn=each.default_rule_arn) for each in (one, two)]
        secure = [msgspec.structs.replace(each, tls_version="TLSv1.3") for each in seen]
        assert [log.certificate(each) for each in (*secure, *seen)] == ["arn:one", "", "", ""]

    run(story())


def test_a_rule_that_has_target_groups_but_no_weight() -> None:
    async def story() -> None:
        store, balancer = await a_store(), a_load_balancer()
        log = RequestLog(store, VirtualClock(asyncio.get_running_loop()))
        weightless = a_listener(balancer, to(("blue", 0), ("green", 0)))
        fixed = a_listener(balancer, FixedResponse("503"), port=81)
        await store.update(lambda tx: (tx.put(LISTENERS, weightless), tx.put(LISTENERS, fixed)))
        answered = msgspec.structs.replace(a_request(status=503, details="direct_response"), target_group_arn="")
        for listener in (weightless, fixed):
            log.take([msgspec.structs.replace(answered, rule_arn=listener.default_rule_arn, priority=0)])
        assert [one.cause for one in log.after()[0]] == ["RuleWithoutWeight", "RuleFixedResponse"]

    run(story())


def test_what_is_read_again_after_a_restart_is_remembered_and_not_told() -> None:
    async def story() -> None:
        store, balancer = await a_store(), a_load_balancer()
        await store.update(lambda tx: tx.put(LOAD_BALANCERS, balancer))
        log = RequestLog(store, VirtualClock(asyncio.get_running_loop()))
        told: list[str] = []
        log.on_request = lambda _, record: told.append(record.path)
        rule = a_listener(balancer).default_rule_arn
        for path, again in (("/known", True), ("/new", False)):
            log.take([msgspec.structs.replace(a_request(path), rule_arn=rule)], again=again)
        assert [one.record.path for one in log.after()[0]] == ["/known", "/new"]
        assert told == ["/new"]

    run(story())
