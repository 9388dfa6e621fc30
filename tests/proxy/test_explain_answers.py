"""`moor explain 502`, 503, 504, 460, 404: every cause is produced through a real Envoy, and the answer names it from what
was recorded: rule, target group, target, task and deployment."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import msgspec
import pytest

from control.test_requests import a_task
from moorage.control.explain_words import Explanation
from moorage.control.requests import RequestLog
from moorage.domain.clock import SystemClock
from moorage.domain.load_balancer import FixedResponse, LoadBalancer, Redirect
from moorage.domain.target_group import Target, TargetHealth
from moorage.domain.task import Container, Interface
from moorage.proxy.driver import Endpoint
from moorage.proxy.envoy.proxy import EnvoyProxy
from moorage.requests_door import AnswersExplained
from moorage.settings import Settings
from moorage.store.log_memory import MemoryDisk, MemoryLog
from moorage.store.memory import Store
from moorage.store.tables import ecs, elbv2
from moorage.store.tables.ecs import TASKS
from moorage.store.tables.elbv2 import LISTENERS, LOAD_BALANCERS, TARGET_HEALTH, TARGETS
from proxy.builders import a_listener, a_load_balancer, a_rule, a_target_group, path, targets, tg_arn, to
from proxy.conftest import Balanced, Ports
from proxy.servers import ask, backend, free_port, raw_backend, reset

IDLE = "idle_timeout__timeout_seconds"
TASK = a_task().arn


class World:
    """A real Envoy whose requests are explained from a real store."""

    def __init__(self, balanced: Balanced, store: Store, answers: AnswersExplained) -> None:
        self.balanced = balanced
        self.store = store
        self.answers = answers

    async def register(self, endpoint: Endpoint, *, state: str = "healthy") -> None:
        """The target in Envoy, its record, its health, and a task that has its address."""
        address, port = endpoint.address, endpoint.port
        await self.balanced.group("web", msgspec.structs.replace(endpoint, healthy=state == "healthy"))
        target = Target(tg_arn("web"), address, port, "us-east-1a", registered_at=1.0)
        health = TargetHealth(tg_arn("web"), address, port, state, 1.0, 1.0)  # type: ignore[arg-type]
        task = a_task(interface=Interface("a", "subnet-1", "vpc-1", (), ipv4=address))
        await self.store.update(
            lambda tx: (tx.put(TARGETS, target), tx.put(TARGET_HEALTH, health), tx.put(TASKS, task))
        )

    async def serve(self, *actions, **more) -> tuple[str, int]:  # type: ignore[no-untyped-def]
        balancer: LoadBalancer = more.get("balancer") or a_load_balancer()
        listener = a_listener(balancer, *actions)
        await self.store.update(lambda tx: (tx.put(LOAD_BALANCERS, balancer), tx.put(LISTENERS, listener)))
        return await self.balanced.serve(*actions, **more)

    async def task_stops(self, reason: str) -> None:
        def change(tx) -> None:  # type: ignore[no-untyped-def]
            task = tx.get(TASKS, TASK)
            ended = Container("app", "arn:c", "app:1", exit_code=137)
            tx.put(
                TASKS,
                msgspec.structs.replace(task, desired_status="STOPPED", stopped_reason=reason, containers=(ended,)),
            )

        await self.store.update(change)

    async def explained(self, status: int, **query: object) -> Explanation:
        """Envoy writes its log a moment late."""
        async with asyncio.timeout(10):
            while True:
                found = await self.answers.explain(status, **query)  # type: ignore[arg-type]
                if found.facts:
                    return found
                await asyncio.sleep(0.02)


@pytest.fixture
async def world(settings: Settings, ports: Ports) -> AsyncIterator[World]:
    store = await Store.open(MemoryLog(MemoryDisk()), (*ecs.TABLES, *elbv2.TABLES))
    log = RequestLog(store, SystemClock())
    log.start()
    proxy = EnvoyProxy(settings, port_of=ports, workers=1)
    proxy.on_requests = log.take
    await proxy.start()
    try:
        yield World(Balanced(proxy, ports), store, AnswersExplained(log, proxy, store, SystemClock()))
    finally:
        await proxy.stop()
        await store.close()


def text(explanation: Explanation) -> str:
    lines = [line for section in explanation.sections for line in (section.heading, *section.lines)]
    return "\n".join([explanation.title, *lines, explanation.next])


def causes(explanation: Explanation) -> list[str]:
    return [one["cause"] for one in explanation.facts["causes"]]


async def test_nothing_registered(world: World) -> None:
    await world.balanced.group("web")
    door = await world.serve(to("web"))
    assert (await ask(door)).status == 503
    told = await world.explained(503)
    assert causes(told) == ["NoRegisteredTargets"]
    assert "the target group has no registered targets" in told.title
    assert "target group web: 0 of 0 targets healthy when it happened" in text(told)
    assert "no rule of listener HTTP:80 matched, so its default action was taken" in text(told)
    assert told.next == "moor explain target-group web"


async def test_a_refused_connection_names_the_task_that_died(world: World) -> None:
    port = free_port()
    await world.register(Endpoint("127.0.0.1", port))
    door = await world.serve(to("web"))
    await world.task_stops("Essential container in task exited")
    assert (await ask(door)).status == 502
    told = await world.explained(502)
    assert causes(told) == ["TargetConnectionRefused"]
    assert f"target 127.0.0.1:{port}" in text(told)
    assert "deployment ecs-svc/1" in text(told)
    assert "Essential container in task exited" in text(told)
    assert "container app: exit code 137" in text(told)
    assert told.next == "moor explain task abc"


async def test_all_unhealthy(world: World) -> None:
    await world.register(Endpoint("127.0.0.1", free_port()), state="unhealthy")
    assert (await ask(await world.serve(to("web")))).status == 502
    told = await world.explained(502)
    assert "no target of the group is healthy, so requests go to all of them" in told.title
    assert "0 of 1 target healthy when it happened" in text(told)


@pytest.mark.parametrize(
    ("how", "status", "cause", "said"),
    [
        ("reset", 502, "TargetReset", "closed the connection before it answered, while its task was being stopped"),
        ("nonsense", 502, "TargetBadResponse", "not a valid HTTP response"),
        ("silence", 504, "TargetTimeout", "did not answer within the idle timeout"),
    ],
)
async def test_what_goes_wrong_at_the_target(world: World, how: str, status: int, cause: str, said: str) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if how == "reset":
            reset(writer)
        elif how == "nonsense":
            writer.write(b"what?\r\n\r\n")
        else:
            await reader.read()

    async with raw_backend(talk) as endpoint:
        await world.register(endpoint)
        door = await world.serve(to("web"), balancer=a_load_balancer(**{IDLE: "1"}))
        if how == "reset":
            await world.task_stops("Scaling activity initiated by (deployment ecs-svc/1)")
        assert (await ask(door, method="POST", body=b"x")).status == status
        told = await world.explained(status)
    assert causes(told) == [cause]
    assert said in told.title
    assert "task abc" in text(told)


async def test_no_connection_in_time(world: World) -> None:
    """A full backlog: the kernel answers nothing, as a dead address does."""
    with socket.socket() as full, contextlib.ExitStack() as held:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for client in [held.enter_context(socket.socket()) for _ in range(4)]:
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        await world.register(Endpoint(*full.getsockname()))
        assert (await ask(await world.serve(to("web")))).status == 504
        told = await world.explained(504)
    assert causes(told) == ["TargetConnectionTimeout"]
    assert "did not accept a connection in time" in told.title
    assert "task abc" in text(told)


async def test_a_target_that_does_not_speak_tls(world: World) -> None:
    async with backend("web") as web:
        await world.register(web.endpoint)
        await world.balanced.proxy.put_target_group(targets(a_target_group("web", protocol="HTTPS"), web.endpoint))
        assert (await ask(await world.serve(to("web")))).status == 502
        told = await world.explained(502)
    assert causes(told) == ["TargetTLSNegotiationFailed"]
    assert "the TLS handshake with it failed" in told.title


async def test_a_response_that_breaks_off(world: World) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
        await writer.drain()

    async with raw_backend(talk) as endpoint:
        await world.register(endpoint)
        door = await world.serve(to("web"))
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await ask(door)
        told = await world.explained(200)
    assert causes(told) == ["TargetResponseCut"]
    assert "closed the connection in the middle of its response" in told.title


async def test_what_is_cut_when_the_deregistration_delay_is_over(world: World) -> None:
    async with backend("web") as web:
        await world.register(web.endpoint)
        door = await world.serve(to("web"))
        asked = asyncio.create_task(ask(door, "/slow", method="POST", body=b"x"))
        await web.arrived.wait()
        target = Target(tg_arn("web"), *web.address, "us-east-1a", registered_at=1.0, deregistered_at=1.0)
        await world.store.update(lambda tx: tx.put(TARGETS, target))
        assert await world.balanced.proxy.cut([web.address]) == 1
        await world.store.update(lambda tx: tx.delete(TARGETS, target.key))
        assert (await asked).status == 502
        told = await world.explained(502)
    assert causes(told) == ["DeregistrationDelayOver"]
    assert "its deregistration delay was over before it had answered" in told.title


async def test_a_rule_whose_target_groups_have_no_weight(world: World) -> None:
    assert (await ask(await world.serve(to(("blue", 0), ("green", 0))))).status == 503
    told = await world.explained(503)
    assert causes(told) == ["RuleWithoutWeight"]
    assert "all target groups of the rule have weight 0" in told.title


async def test_a_redirect_that_leads_too_far(world: World) -> None:
    door = await world.serve(Redirect("HTTP_301", port="81"))
    assert (await ask(door, "/" + "x" * 9000)).status == 507
    told = await world.explained(507)
    assert causes(told) == ["RedirectTooLong"]


async def test_a_listener_whose_rules_do_not_match(world: World) -> None:
    rule = a_rule(1, path("/api/*"), action=FixedResponse("200"))
    door = await world.serve(FixedResponse("503", None, "closed"), rules=(rule,))
    assert (await ask(door, "/other")).status == 503
    told = await world.explained(503)
    assert causes(told) == ["RuleFixedResponse"]
    assert "no rule of listener HTTP:80 matched, so its default action was taken" in text(told)
    assert told.next == "moor explain load-balancer web"


async def test_a_name_that_no_load_balancer_has(world: World) -> None:
    await world.serve(FixedResponse("200"))
    assert (await ask(world.balanced.edge(), host="nobody.test")).status == 404
    assert causes(await world.explained(404)) == ["UnknownHost"]


async def test_a_client_that_goes_away(world: World) -> None:
    async with backend("web") as web:
        await world.register(web.endpoint)
        door = await world.serve(to("web"))
        slow = asyncio.create_task(ask(door, "/slow"))
        await web.arrived.wait()
        slow.cancel()
        told = await world.explained(460)
    assert causes(told) == ["ClientClosed"]


async def test_a_targets_own_error(world: World) -> None:
    async with backend("web") as web:
        await world.register(web.endpoint)
        await ask(await world.serve(to("web")), "/?status=503")
        told = await world.explained(503)
    assert causes(told) == ["TargetAnsweredError"]
    assert "the target itself answered with this status" in told.title


async def test_by_load_balancer_and_time(world: World) -> None:
    await world.balanced.group("web")
    await ask(await world.serve(to("web")))
    told = await world.explained(503, load_balancer="web")
    assert told.title.startswith("503 was answered 1 time by load balancer web")
    for query in ({"load_balancer": "other"}, {"until": 1.0}):
        found = await world.answers.explain(503, **query)  # type: ignore[arg-type]
        assert "was not answered" in found.title
    assert (await world.answers.explain(502)).title == "502 was not answered lately (1 request remembered)."
